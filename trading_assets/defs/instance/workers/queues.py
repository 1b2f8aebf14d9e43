"""The two queues, and the Celery settings that launcher and workers have to agree on. Nothing is sent or read here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu import Queue

RESEARCH, TRADING = "research", "trading"
"""Where runs go: every run to research, but those whose job says otherwise by the tag `dagster-celery/queue`."""

_LONGEST_RUN_MS = 24 * 3_600_000
"""RabbitMQ takes a delivery back that was not acknowledged for so long, by default after half an hour (this argument
needs RabbitMQ 3.12; an older one has it in `rabbitmq.conf`)."""

AGREED: Mapping[str, Any] = {
    # A launch counts as done when the broker has stored it. A restart of the broker is waited for, half a minute.
    "broker_transport_options": {"confirm_publish": True, "max_retries": 3, "interval_start": 0, "interval_step": 0.2},
    "task_publish_retry_policy": {"max_retries": 9, "interval_start": 0.5, "interval_step": 0.75, "interval_max": 5},
    "broker_connection_retry_on_startup": True,
    # What became of a run is in Dagster's storage, so no results are kept.
    "task_ignore_result": True,
    "worker_prefetch_multiplier": 1,
    # What a run tells goes to the worker's own output as it is. Celery would take it, and call each line a warning.
    "worker_redirect_stdouts": False,
}

RULES: Mapping[str, Mapping[str, Any]] = {
    # Acknowledged when the run has ended: a lost worker's runs are delivered again at once, and no worker keeps one
    # waiting behind another. What loses its connection ends, as its run is delivered again.
    RESEARCH: {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
    },
    # Acknowledged before the run begins: it is never delivered a second time, and trades on while the broker is away.
    TRADING: {
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Two sessions at a hand-over, a reconciliation, and room for a person's commands: none waits for another one.
        "worker_concurrency": 8,
    },
}


def arrange(app: Celery, namespace: str) -> None:
    """Give an app the two queues of an installation. Two installations on one broker differ in their namespaces."""
    app.conf.task_queues = [
        Queue(
            f"{namespace}.{name}",
            routing_key=f"{namespace}.{name}",
            alias=name,
            queue_arguments={"x-consumer-timeout": _LONGEST_RUN_MS},
        )
        for name in (RESEARCH, TRADING)
    ]
    app.conf.task_create_missing_queues = False
    app.conf.task_routes = {}  # dagster-celery's lead to a queue of its own
    app.conf.task_default_queue = f"{namespace}.{RESEARCH}"
    app.conf.control_exchange = f"{namespace}.control"
    app.conf.event_exchange = f"{namespace}.events"
