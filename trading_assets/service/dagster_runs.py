"""Metrics of Dagster's runs, for the process beside Dagster. Read from its storage, at most every few seconds."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, RunRecord, RunsFilter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trading_assets.core.foreign_text import get_logger
from trading_assets.observability.metrics import PREFIX

MOST_RUNS = 2000
READ_EVERY_S = 30.0

_log = get_logger(__name__)


class RunsCollector(Collector):
    """Runs of the last day. Where there is no Dagster, or it cannot be read, there are no metrics of it."""

    def __init__(self) -> None:
        self._lock, self._kept, self._kept_at = threading.Lock(), list[Metric](), 0.0

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's."""
        with self._lock:
            if not self._kept_at or time.monotonic() - self._kept_at > READ_EVERY_S:
                self._kept, self._kept_at = _read(), time.monotonic()
            yield from self._kept


def _read() -> list[Metric]:
    if not os.environ.get("DAGSTER_HOME"):
        return []
    since = datetime.now(UTC) - timedelta(days=1)
    try:
        with DagsterInstance.get() as instance:
            records = instance.get_run_records(RunsFilter(created_after=since), limit=MOST_RUNS)
    except Exception as error:  # noqa: BLE001 (whatever its storage raises: the other metrics are shown)
        _log.warning("no metrics of Dagster's runs: %s", error)
        return []
    return metrics_of(list(records))


def metrics_of(records: list[RunRecord]) -> list[Metric]:
    """Runs by job and state, how long they waited in the queue, and how long they took."""
    runs = GaugeMetricFamily(PREFIX + "runs_last_day", "Runs of the last day.", labels=("job", "state"))
    counted = Counter((one.dagster_run.job_name, one.dagster_run.status.value) for one in records)
    for (job, state), number in sorted(counted.items()):
        runs.add_metric((job, state), number)
    waits: dict[str, list[float]] = {}
    lasted: dict[str, list[float]] = {}
    for one in records:
        job, created = one.dagster_run.job_name, one.create_timestamp.timestamp()
        if one.start_time is not None:
            waits.setdefault(job, []).append(max(0.0, one.start_time - created))
            if one.end_time is not None:
                lasted.setdefault(job, []).append(one.end_time - one.start_time)
    wait = GaugeMetricFamily(
        PREFIX + "run_queue_max_seconds", "Longest wait of a run for its start in the last day.", labels=("job",)
    )
    mean = GaugeMetricFamily(PREFIX + "run_mean_seconds", "Mean duration of runs of the last day.", labels=("job",))
    for job, values in sorted(waits.items()):
        wait.add_metric((job,), max(values))
    for job, values in sorted(lasted.items()):
        mean.add_metric((job,), sum(values) / len(values))
    return [runs, wait, mean]
