# One image for every role: web, code, daemon, research, trading, serve, exchange, migrate. docs/howto/compose.md tells
# how it is built and run. The base is Debian 13 with Python 3.13 as `python3`; another one can be named.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src
COPY requirements-build.lock requirements.runtime.lock ./
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --require-hashes -r requirements-build.lock \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/build/bin/uv pip install --quiet --require-hashes --python /opt/venv/bin/python3 -r requirements.runtime.lock
# What no role imports: the tests of libraries, Arrow's headers and Flight. Then bytecode, once for all processes.
COPY deploy/image/trim.py ./
RUN python3 trim.py /opt/venv && python3 -m compileall -q -j 1 /opt/venv/lib > /tmp/compileall.log || true

COPY pyproject.toml setup.py README.md LICENSE ./
COPY trading_assets trading_assets
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/build/bin/uv pip install --quiet --no-deps --python /opt/venv/bin/python3 /tmp/wheel/*.whl
# Machine code is kept by the source's time, and a layer cuts times to whole seconds: so the sources get a whole one.
# It is also kept by the processor, so it is made for the oldest that the image is to run on. For ARM64: generic.
ARG NUMBA_CPU=x86-64-v2
ENV NUMBA_CPU_NAME=${NUMBA_CPU} NUMBA_CPU_FEATURES=""
ARG SOURCE_TIME=2026-01-01T00:00:00Z
RUN package="$(/opt/venv/bin/python3 -I -c 'import importlib.util as u; print(u.find_spec("trading_assets").submodule_search_locations[0])')" \
    && find "$package" -name '*.py' -exec touch -d "${SOURCE_TIME}" {} + \
    && python3 -m compileall -q -f "$package" \
    && mkdir -p /opt/numba /tmp/warm \
    && HOME=/tmp/warm NUMBA_CACHE_DIR=/opt/numba TRADING_ASSETS_HOME=/tmp/warm/home \
       /opt/venv/bin/trading-assets demo > /tmp/warm/demo.log 2>&1 || { tail -n 40 /tmp/warm/demo.log; exit 1; }

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG NUMBA_CPU=x86-64-v2
LABEL org.opencontainers.image.title="trading_assets" \
      org.opencontainers.image.description="Hourly scan, backtest, selection and order placement on Bybit perpetuals" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# tini passes signals on and reaps runs that have ended. Its version is the distribution's: old ones are not kept there.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 trading && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp trading \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/trading_assets
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/numba /opt/numba
COPY deploy/dagster.yaml /opt/trading_assets/dagster/processes.yaml
COPY deploy/celery/dagster.yaml /opt/trading_assets/dagster/workers.yaml
COPY deploy/image/role.py deploy/image/health.py /opt/trading_assets/
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CPU_NAME=${NUMBA_CPU} NUMBA_CPU_FEATURES="" NUMBA_CACHE_DIR=/tmp/numba \
    HOME=/tmp DAGSTER_HOME=/tmp/dagster \
    TRADING_ASSETS_HOME=/var/lib/trading_assets/home IMAGE_REVISION=${REVISION}
USER 10001:10001
WORKDIR /tmp
# /tmp, too: a volume of Fargate has the owner and mode of the folder in the image only where that is named here.
VOLUME ["/tmp", "/var/lib/trading_assets"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "--", "python3", "/opt/trading_assets/role.py"]
CMD ["roles"]
