# Stands in for rabbitmq:4 where no registry of images is reached: RabbitMQ of Debian 13, which reads the same conf.d.
ARG BASE=docker.io/library/debian:trixie-slim
FROM ${BASE}
# hadolint ignore=DL3008
RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \
    && apt-get update && apt-get install --yes --no-install-recommends rabbitmq-server && rm -rf /var/lib/apt/lists/* \
    && install -d /etc/rabbitmq/conf.d && chown -R rabbitmq:rabbitmq /etc/rabbitmq /var/lib/rabbitmq \
    && rm -rf /var/lib/rabbitmq/mnesia
ENV PATH=/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin RABBITMQ_LOGS=- RABBITMQ_NODENAME=rabbit@rabbitmq HOME=/var/lib/rabbitmq
USER rabbitmq
ENTRYPOINT ["rabbitmq-server"]
