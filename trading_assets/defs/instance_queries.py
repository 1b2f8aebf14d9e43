"""What schedules and sensors ask Dagster's instance before they decide: runs in progress, newest materialisations."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile

import dagster as dg

from trading_assets.core.timeframes import TRADED_TIMEFRAMES
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG, BACKFILL, GROUP_TAG, MANUAL, MAX_RUNTIME_TAG
from trading_assets.defs.instance.processes import process_has_ended
from trading_assets.defs.ops.session import SERVES
from trading_assets.defs.partitions import hour_of, key_of
from trading_assets.trading.automation import SESSIONS_LOOKED_AT, SessionRun

BACKTEST_KEYS = [dg.AssetKey(["backtest_results", timeframe.value]) for timeframe in TRADED_TIMEFRAMES]
SELECTION_KEY = dg.AssetKey("strategy_selections")

TRADING_JOBS = frozenset(
    {"trade", "reconcile", "maintain_grids", "maintain_dca", "halt", "reduce", "resume", "flatten", "retention"}
)
"""Jobs that write no hour of research. Any other job may, and so may the unnamed job of a backfill in the UI."""

_WITH_OWN_SENSOR = frozenset({"trade", "reconcile", "maintain_grids", "maintain_dca"})
"""Jobs whose own sensors end their dead runs."""

PARTITION_TAG = "dagster/partition"
_REASON_TAG, _INTERRUPTED = "dagster/failure_reason", "UNEXPECTED_TERMINATION"
"""Dagster tags a run so whose process was asked to end by something else than Dagster."""

RUNS_LOOKED_AT = 50
"""Newest runs of an hour among which failures are counted."""

LOOKED_AT_FOR_FAILURES = 4 * SESSIONS_LOOKED_AT
"""Newest runs of a job, whatever account they are of."""

NO_PROGRESS_S = 7200.0
OVERDUE_S = 300.0
"""Run monitoring looks every few minutes."""

GONE = "its process is gone; if nobody ended it, the machine had no memory left for it: trading-assets doctor"
"""Of a run whose process was killed. The kernel says so nowhere but in its own log."""

RECENT_HOURS = 6
"""Hours before now that the every-minute schedule selects again."""

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

_LAUNCHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def in_progress(instance: dg.DagsterInstance, *job_names: str) -> bool:
    """Whether a run of one of the jobs is queued or running. Backfills do not count: the newest hour goes on."""

    def unfinished(name: str, **tags: str) -> int:
        return instance.get_runs_count(dg.RunsFilter(job_name=name, statuses=_UNFINISHED, tags=tags))

    return any(unfinished(name) > unfinished(name, **{GROUP_TAG: BACKFILL.name}) for name in job_names)


def end_runs_without_progress(
    instance: dg.DagsterInstance, now_s: float | None = None, silent_s: float = NO_PROGRESS_S
) -> list[str]:
    """End runs without a longest time, sessions apart, that have told nothing for `silent_s`; return their ids.

    A range of hours may take a day, and tells of every step and hour that it has done.
    """
    now = time.time() if now_s is None else now_s
    ended = []
    for group in (BACKFILL, MANUAL):
        running = instance.get_runs(dg.RunsFilter(statuses=_LAUNCHED, tags={GROUP_TAG: group.name}))
        for run in running:
            newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
            if not newest or now - newest[0].event_log_entry.timestamp < silent_s:
                continue
            with contextlib.suppress(Exception):  # a launcher may raise anything; the run has ended all the same
                instance.run_launcher.terminate(run.run_id)
            if not has_ended(instance, run.run_id):
                instance.report_run_failed(run, f"It has told nothing for {silent_s / 3600:g} hours: it is stuck")
            ended.append(run.run_id)
    return ended


@dataclass(frozen=True)
class Whose:
    """Runs of one account: those that its tag names; of the account of the settings also those that name none."""

    account: str
    is_default: bool = True

    def has(self, run: dg.DagsterRun) -> bool:
        """Whether it is one of them."""
        return run.tags.get(ACCOUNT_TAG, self.account if self.is_default else None) == self.account


def sessions(instance: dg.DagsterInstance, job_name: str, whose: Whose) -> list[SessionRun]:
    """The runs of the job for an account that have not ended, as Dagster knows it."""
    now = time.time()
    records = instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED))
    records = [record for record in records if whose.has(record.dagster_run)]
    return [
        SessionRun(
            record.dagster_run.run_id, record.dagster_run.tags.get(SERVES), now - record.create_timestamp.timestamp()
        )
        for record in records
    ]


def unfinished_of(instance: dg.DagsterInstance, job_name: str, whose: Whose) -> bool:
    """Whether a run of the job for an account is queued or running."""
    return any(map(whose.has, instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED))))


def seconds_since_failures(instance: dg.DagsterInstance, job_name: str, whose: Whose | None = None) -> list[float]:
    """Seconds since each of the newest runs of the job failed, the newest first, up to the first that did not.

    A planned stop is left out, and so are other accounts' runs.
    """
    ago = []
    for record in instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=LOOKED_AT_FOR_FAILURES):
        if was_stopped(record.dagster_run) or (whose is not None and not whose.has(record.dagster_run)):
            continue
        if record.dagster_run.status is not dg.DagsterRunStatus.FAILURE or record.end_time is None:
            break
        ago.append(time.time() - record.end_time)
    return ago[:SESSIONS_LOOKED_AT]


def was_stopped(run: dg.DagsterRun) -> bool:
    """Whether a run ended because its process was asked to end (SIGTERM, SIGINT): a planned stop, no failure."""
    return run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(_REASON_TAG) == _INTERRUPTED


def consecutive_failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """The number of runs that failed in a row up to this failed one: of its hour where it has one, else of its job."""
    partition = run.tags.get(PARTITION_TAG)
    if partition is None:
        named = run.tags.get(ACCOUNT_TAG)
        whose = Whose(named, is_default=False) if named is not None else None
        return max(len(seconds_since_failures(instance, run.job_name, whose)), 1)
    filters = dg.RunsFilter(job_name=run.job_name, tags={PARTITION_TAG: partition})
    newest = [
        one for one in instance.get_runs(filters, limit=RUNS_LOOKED_AT) if one.is_finished and not was_stopped(one)
    ]
    up_to_it = dropwhile(lambda one: one.run_id != run.run_id, newest)
    failures = takewhile(lambda one: one.status is dg.DagsterRunStatus.FAILURE, up_to_it)
    return max(sum(1 for _ in failures), 1)


def attempts(instance: dg.DagsterInstance, job_name: str, hour_ms: int, tags: Mapping[str, str] | None = None) -> int:
    """The number of runs with these tags that an hour has had, whatever their outcome; planned stops apart."""
    wanted = {PARTITION_TAG: key_of(hour_ms), **(tags or {})}
    stopped = dg.RunsFilter(
        job_name=job_name, statuses=[dg.DagsterRunStatus.FAILURE], tags={**wanted, _REASON_TAG: _INTERRUPTED}
    )
    every = dg.RunsFilter(job_name=job_name, tags=wanted)
    return instance.get_runs_count(every) - instance.get_runs_count(stopped)


def runs_of(instance: dg.DagsterInstance, job_name: str, hour_ms: int) -> int:
    """The number of runs that an hour has had, planned stops included."""
    return instance.get_runs_count(dg.RunsFilter(job_name=job_name, tags={PARTITION_TAG: key_of(hour_ms)}))


def newest_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """The run as the instance knows it now."""
    return instance.get_run_by_id(run.run_id) or run


def overdue_runs(instance: dg.DagsterInstance, now_s: float | None = None) -> list[str]:
    """Runs that are stuck, in words: longer than the longest time of their job, or on their way to their end for long.

    Dagster's run monitoring ends them; where it is off or cannot, they keep a place of their group.
    """
    now, found = time.time() if now_s is None else now_s, []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_LAUNCHED)):
        run = record.dagster_run
        limit_s = float(run.tags.get(MAX_RUNTIME_TAG, 0) or 0)
        began = record.start_time or record.create_timestamp.timestamp()
        if limit_s and now - began > limit_s + OVERDUE_S:
            found.append(
                f"run {run.run_id[:8]} of {run.job_name} is stuck: it began {(now - began) / 60:.0f} minutes ago and "
                f"may take {limit_s / 60:.0f}; terminate it in the UI, its group waits for it"
            )
    return found


def fail_runs_without_process(instance: dg.DagsterInstance, *job_names: str) -> None:
    """Report runs as failed whose processes are gone.

    The code server reports a run whose process it has seen end. A run that was killed together with the code server
    would be in progress for ever, and would keep its place in its concurrency group.

    Args:
        job_names: runs of these jobs; without any, runs of all jobs but the two whose own sensors do this for them.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=_LAUNCHED)):
        concerned = run.job_name in job_names if job_names else run.job_name not in _WITH_OWN_SENSOR
        if concerned and process_has_ended(instance, run.run_id):
            # A run reports its end before its process ends.
            now = instance.get_run_by_id(run.run_id)
            if now is not None and now.status in _LAUNCHED:
                instance.report_run_failed(now, GONE)


def has_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether Dagster knows the run and its end."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


def fail_run_without_lease(instance: dg.DagsterInstance, run_id: str) -> None:
    """Report a session as failed whose process has ended: it would keep its place in the queue for ever."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, "its process is gone: it does not hold the lease on trading any more")


def latest_materializations(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], hours_ms: Sequence[int]
) -> dict[int, int]:
    """Newest storage id of a materialisation of any of the assets, by hour; hours without one are absent."""
    partitions = {key_of(hour) for hour in hours_ms}
    writes: dict[int, int] = {}
    for key in keys:
        found = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions)
        for partition, storage_id in found.items():
            hour = hour_of(partition)
            writes[hour] = max(writes.get(hour, 0), storage_id)
    return writes


def research_in_progress(instance: dg.DagsterInstance, *, excluding: str) -> bool:
    """Whether a run that may read old candles is queued or running, the run `excluding` apart."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED))
    runs = [record.dagster_run for record in records]
    return any(run.run_id != excluding and run.job_name not in TRADING_JOBS for run in runs)
