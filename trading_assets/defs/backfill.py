"""Researches a range of hours, as runs of the job `research` that the UI shows like any other.

The command `trading-assets backfill` calls this; it decides which hours, and what is printed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import dagster as dg

from trading_assets.core import memory
from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, floor_ms, iso, local_ms
from trading_assets.defs.backfill_processes import Ended, MakeJob, Range, RunOne, Told, in_processes
from trading_assets.defs.backfill_queue import in_queue
from trading_assets.defs.instance.concurrency_groups import BACKFILL, RESEARCH
from trading_assets.defs.instance.dagster_private import InMemoryJob, execute_run
from trading_assets.defs.partitions import hourly, key_of
from trading_assets.defs.research_settings import AS_OF_TAG
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.ledger import rows_in_hand, sealing

_log = get_logger(__name__)

HOURS_OF_A_RUN = 6 * 24
"""A run holds the rows of all its hours in memory, and in SQL until they are sealed: a longer range is several runs."""

MEMORY_OF_A_PROCESS_MB = 1_500
"""By default there are no more processes than have so much each."""

LEAST_HOURS_OF_A_PROCESS = 4 * 24
"""A process takes as long to begin as for some days."""

RUNS_OF_A_QUEUE = 4
"""For so many at once a range is split by default, as the limit of `deploy/celery/dagster.yaml` is."""

_MOST_PROCESSES = 8
"""By default. All write one ledger and one history."""

_DAY = 24

_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

Follow = Callable[[dg.EventLogEntry], None]


def research_range(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    first_ms: int,
    hours: int,
    follow: Follow,
    *,
    raise_on_error: bool = True,
    as_of_settings: bool = False,
) -> dg.JobExecutionResult:
    """One run of `hours` hours, with the tags that the schedule gives an hour and the UI's backfill a range.

    Args:
        follow: called with every event as it happens.
        as_of_settings: research each hour with the settings that were used when it ended.
    """
    first, last = key_of(first_ms), key_of(first_ms + (hours - 1) * HOUR_MS)
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    if hours == 1:
        tags = {"dagster/partition": first}
    if as_of_settings:
        tags |= {AS_OF_TAG: "true"}
    # The schedule's hour does not wait for it.
    group = RESEARCH if hours == 1 else BACKFILL
    run = instance.create_run_for_job(
        job, run_id=str(uuid.uuid4()), run_config=_QUIET, tags={**job.tags, **group.tags, **tags}
    )
    instance.add_event_listener(run.run_id, follow)
    return execute_run(InMemoryJob(job), run, instance, raise_on_error=raise_on_error)


def backfill(
    make_job: MakeJob,
    first_ms: int,
    last_ms: int,
    follow: Callable[[Told], None],
    *,
    as_of_settings: bool = False,
    processes: int = 1,
    queue: bool = False,
) -> Iterator[Ended]:
    """Research the hours from `first_ms` to `last_ms` (starts of hours, UTC ms), on the instance of `DAGSTER_HOME`.

    The oldest run begins first. Backtests that are old enough are sealed after each run.

    Args:
        follow: called with every event of every run.
        processes: runs at once.
        queue: not here: Dagster's daemon starts the runs, see `backfill_queue`. Nothing is followed then.

    Yields:
        Each run that succeeded; with `queue`, each range, as the id of its backfill.

    Raises:
        DataError: a run failed; what it had written before stays.
    """
    ranges, run_one = ranges_of(first_ms, last_ms, processes), partial(_run_one, last_ms=last_ms)
    if queue:
        ended = in_queue(ranges, make_job, as_of_settings=as_of_settings)
    elif min(processes, len(ranges)) == 1:
        ended = _here(make_job, ranges, run_one, follow, as_of_settings=as_of_settings)
    else:
        ended = in_processes(ranges, processes, make_job, run_one, follow, as_of_settings=as_of_settings)
    left = list(ranges)
    with closing(ended):
        for one in ended:
            if one.failed is not None:
                raise DataError(
                    f"{'backfill' if queue else 'run'} {one.run_id} failed: {one.failed}. What it had written before "
                    "stays; mend it and give the same command again"
                )
            left.remove(one.given)
            _seal(left[0][0] if left else None)
            yield one


def ranges_of(first_ms: int, last_ms: int, processes: int) -> list[Range]:
    """The runs of a range: each process has one at least, and a day is in one run where it can be."""
    hours = (last_ms - first_ms) // HOUR_MS + 1
    turns = -(-hours // (processes * HOURS_OF_A_RUN))
    longest = -(-hours // (processes * turns))
    if longest > _DAY:
        longest = min(-(-longest // _DAY) * _DAY, HOURS_OF_A_RUN)
    found, begin = list[Range](), first_ms
    while begin <= last_ms:
        end = begin + longest * HOUR_MS
        if longest >= _DAY:
            end = floor_ms(end, DAY_MS)
        end = min(end, last_ms + HOUR_MS)
        found.append((begin, (end - begin) // HOUR_MS))
        begin = end
    return found


def processes_by_default(hours: int) -> int:
    """For a range of so many hours: one for each core that may be used, where there is memory and work for it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = int(memory.limit_mb()[0] // MEMORY_OF_A_PROCESS_MB)
    return max(min(cores, most, hours // LEAST_HOURS_OF_A_PROCESS, _MOST_PROCESSES), 1)


def _here(
    make_job: MakeJob,
    ranges: Sequence[Range],
    run_one: RunOne,
    follow: Callable[[Told], None],
    *,
    as_of_settings: bool,
) -> Generator[Ended, None, None]:
    """The runs in this process, one after the other."""
    memory.keep_few_arenas()
    job = make_job()
    with dg.DagsterInstance.get() as instance:
        for given in ranges:
            yield run_one(instance, job, given, lambda entry: follow(Told.of(entry)), as_of_settings)
            memory.give_back()


def _run_one(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    given: Range,
    follow: Follow,
    as_of_settings: bool,
    last_ms: int,
) -> Ended:
    """Research a range, and seal what of it is old enough, or will be at the last hour of all ranges."""
    begin, hours = given
    with rows_in_hand.keeping(DatabaseResource().get()):
        result = research_range(
            instance, job, begin, hours, follow, raise_on_error=False, as_of_settings=as_of_settings
        )
        if result.success:
            _seal(begin + hours * HOUR_MS, begin, last_ms)  # here, where the rows are in hand
    return Ended(given, result.run_id, None if result.success else _why(result))


def _seal(before_ms: int | None = None, since_ms: int = 0, newest_ms: int = 0) -> None:
    """Seal what is old enough now: however long the range, SQL has the backtests of some runs and some days.

    Args:
        before_ms: but no day that ends later: a run may be writing it.
        since_ms: and none that began earlier.
        newest_ms: an hour that will have been researched, if none is newer.
    """
    ledger = DatabaseResource().get()
    before = sealing.before_ms(ledger, SettingsResource().of_research().seal_results_after_days, newest_ms)
    if before is None:
        return
    before = before if before_ms is None else floor_ms(min(before, before_ms), DAY_MS)
    for day, why in sealing.seal(ledger, before, local_ms, since=since_ms).failed.items():
        _log.warning("the backtests of %s were not sealed, and stay in SQL: %s", iso(day)[:10], why)


def first_partition_ms() -> int:
    """Start of the first hour that is a partition, UTC ms."""
    return int(hourly.start.timestamp() * 1000)


def find_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of `DAGSTER_HOME`, or of the `dagster.yaml` in the folder: the one that `dagster dev` uses there.

    Raises:
        ConfigurationError: there is neither.
    """
    if not os.environ.get("DAGSTER_HOME"):
        if not (folder / "dagster.yaml").is_file():
            raise ConfigurationError(
                f"DAGSTER_HOME is not set and {folder} has no dagster.yaml, so the UI would not see the run: go to the "
                "directory in which you start `dagster dev`, or set DAGSTER_HOME"
            )
        os.environ["DAGSTER_HOME"] = str(folder)
    return dg.DagsterInstance.get()


def _why(result: dg.JobExecutionResult) -> str:
    """The first step that failed, and the message of the error that caused it."""
    failures = result.get_step_failure_events()
    if not failures:
        return "a blocking check has failed, see its page in the UI"
    error = failures[0].step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{failures[0].step_key}: {error.message.strip() if error is not None else 'no reason was recorded'}"
