"""Researches a range of hours in this process, as runs of the job `research` that the UI shows like any other.

The command `trading-assets backfill` calls this; it decides which hours, and what is printed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg

from trading_assets.core import memory
from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.timeframes import HOUR_MS, iso, local_ms
from trading_assets.defs.instance.concurrency_groups import BACKFILL, RESEARCH
from trading_assets.defs.instance.dagster_private import InMemoryJob, execute_run
from trading_assets.defs.partitions import hourly, key_of
from trading_assets.defs.research_settings import AS_OF_TAG
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.ledger import sealing

_log = get_logger(__name__)

HOURS_OF_A_RUN = 7 * 24
"""A run holds the rows of all its hours in memory, and in SQL until they are sealed: a longer range is several runs,
one after the other."""

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
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    first_ms: int,
    last_ms: int,
    follow: Follow,
    *,
    as_of_settings: bool = False,
) -> Iterator[tuple[str, int, int]]:
    """Research the hours from `first_ms` to `last_ms` (starts of hours, UTC ms), the oldest run first.

    Backtests that are old enough are sealed after each run.

    Yields:
        Of each run that succeeded: its id, its first hour, and how many hours it has written.

    Raises:
        DataError: a run failed; what it had written before stays.
    """
    for begin in range(first_ms, last_ms + 1, HOURS_OF_A_RUN * HOUR_MS):
        hours = min((last_ms - begin) // HOUR_MS + 1, HOURS_OF_A_RUN)
        result = research_range(
            instance, job, begin, hours, follow, raise_on_error=False, as_of_settings=as_of_settings
        )
        if not result.success:
            raise DataError(
                f"run {result.run_id} failed: {_why(result)}. What it had written before stays; mend it and give the "
                "same command again"
            )
        _seal()
        memory.give_back()
        yield result.run_id, begin, hours


def _seal() -> None:
    """Seal what is old enough now: however long the range, SQL has the backtests of a run and some days."""
    ledger = DatabaseResource().get()
    before = sealing.before_ms(ledger, SettingsResource().of_research().seal_results_after_days)
    if before is None:
        return
    for day, why in sealing.seal(ledger, before, local_ms).failed.items():
        _log.warning("the backtests of %s were not sealed, and stay in SQL: %s", iso(day)[:10], why)


def progress_text(entry: dg.EventLogEntry) -> str | None:
    """What an event means to a person who waits: the step that began, or a line of its log; None for other events."""
    event = entry.dagster_event
    if event is None:
        return entry.user_message.strip() or None
    if event.event_type is dg.DagsterEventType.STEP_START and event.step_key is not None:
        return event.step_key.replace("__", "/")
    return None


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
