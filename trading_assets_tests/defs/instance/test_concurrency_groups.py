"""The run queue as Dagster's daemon works it, on the project's own instances: what is launched, and in which order."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from trading_assets.definitions import build_definitions
from trading_assets.defs import instance_queries
from trading_assets.defs.instance.concurrency_groups import (
    BACKFILL,
    BACKFILL_TAG,
    GROUP_TAG,
    GROUPS,
    MANUAL,
    MAX_CONCURRENT_RUNS,
    PRIORITY_TAG,
    RECONCILE,
    RISK,
    TRADE,
    missing_tags,
)
from trading_assets.defs.jobs import TRADING

ROOT = Path(__file__).resolve().parents[3]

JOBS = {job.name: dict(job.tags) for job in build_definitions().jobs or ()}


ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("trading_assets"), "__repository__")


class Launched(dg.DefaultRunLauncher):
    """Notes what the daemon launches. To Dagster such a run is in progress."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[str] = []

    def launch_run(self, context: Any) -> None:
        self.runs.append(context.dagster_run.run_id)


class Queue:
    """An instance with its queue, and the daemon that works it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.launcher = Launched()
        self.launcher.register_instance(instance)
        instance._run_launcher = self.launcher
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1, page_size=4)

    def ask(self, job: str, **tags: str) -> str:
        """Submit a run with the tags of its job, as a schedule, a sensor, a person and a backfill do."""
        origin = RemoteJobOrigin(ORIGIN, job)
        tags = {**JOBS.get(job, {}), **tags}
        run = create_run_for_test(self.instance, job_name=job, tags=tags, remote_job_origin=origin)
        return self.instance.run_coordinator.submit_run(dg.SubmitRunContext(run, workspace=None)).run_id  # type: ignore[arg-type]

    def backfill(self, job: str, runs: int) -> list[str]:
        return [self.ask(job, **{BACKFILL_TAG: f"backfill-{job}"}) for _ in range(runs)]

    def look(self) -> list[str]:
        """What one look of the daemon launches, in this order."""
        before = len(self.launcher.runs)
        list(self._daemon.run_iteration(SimpleNamespace(instance=self.instance, create_request_context=lambda: None)))  # type: ignore[arg-type]
        return self.launcher.runs[before:]

    def end(self, run_id: str) -> None:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        self.instance.report_run_failed(run)

    def group(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.tags[GROUP_TAG]


@pytest.fixture
def queue(installation: dg.DagsterInstance) -> Queue:
    return Queue(installation)


@pytest.mark.slow
def test_neither_trading_nor_the_hour_waits_behind_backfills(queue: Queue) -> None:
    first = queue.backfill("__ASSET_JOB", 3)
    second = queue.backfill("research", 3)
    assert queue.look() == first[:1], "one run of all backfills together"
    assert queue.look() == []
    hour = queue.ask("research")
    session, halt, books = queue.ask("trade"), queue.ask("halt"), queue.ask("reconcile")
    assert queue.look() == [halt, session, books, hour]
    assert not instance_queries.in_progress(queue.instance, "select") and instance_queries.in_progress(
        queue.instance, "research"
    )
    queue.end(hour)
    assert not instance_queries.in_progress(queue.instance, "research"), "a backfill of the job is not the newest hour"
    queue.end(first[0])
    assert queue.look() == first[1:2], "backfills go on in the order in which they were asked for"
    assert {queue.group(run) for run in (*first, *second)} == {BACKFILL.name}


@pytest.mark.slow
def test_what_a_person_asks_for_fills_its_own_group_alone(queue: Queue) -> None:
    asked = [queue.ask("__ASSET_JOB") for _ in range(4)]
    strange = queue.ask("somebodys_job", **{GROUP_TAG: "express"})
    urgent = queue.ask("another_job", **{PRIORITY_TAG: "99"})
    assert queue.look() == [urgent, asked[0]]
    assert queue.group(strange) == MANUAL.name
    assert queue.look() == []
    sessions = [queue.ask("trade") for _ in range(TRADE.limit + 1)]
    assert queue.look() == sessions[:-1], "of each account a session and its successor"
    hours = [queue.ask("research"), queue.ask("select")]
    assert queue.look() == hours[:1]


@pytest.mark.slow
def test_when_every_other_group_is_full_a_command_finds_its_place(queue: Queue) -> None:
    for group in GROUPS:
        for _ in range(group.limit + 1):
            queue.ask("anything", **group.tags, **({BACKFILL_TAG: "b"} if group is BACKFILL else {}))
    launched = queue.look()
    priorities = [group.priority for group in GROUPS for _ in range(group.limit)]
    assert [group.name for group in GROUPS for _ in range(group.limit)] == [queue.group(run) for run in launched]
    assert priorities == sorted(priorities, reverse=True) and len(launched) == MAX_CONCURRENT_RUNS


@pytest.mark.parametrize(
    ("file", "backfills"), [("dagster.yaml", 1), ("deploy/dagster.yaml", 1), ("deploy/celery/dagster.yaml", 4)]
)
def test_the_limits_of_the_files_are_those_of_the_groups(file: str, backfills: int) -> None:
    runs = yaml.safe_load((ROOT / file).read_text())["concurrency"]["runs"]
    limits = {group.name: group.limit for group in GROUPS} | {BACKFILL.name: backfills}
    assert runs["tag_concurrency_limits"] == [
        {"key": GROUP_TAG, "value": name, "limit": of} for name, of in limits.items()
    ]
    assert runs["max_concurrent_runs"] == sum(limits.values())


def test_every_job_is_in_a_group() -> None:
    assert {"research", "trade", "halt"} <= JOBS.keys()
    assert {name: missing_tags(tags) for name, tags in JOBS.items()} == {name: {} for name in JOBS}
    by_name = {group.name: group for group in GROUPS}
    for name, tags in JOBS.items():
        group = by_name[tags[GROUP_TAG]]
        assert tags == group.tags | (TRADING if group in (RISK, TRADE, RECONCILE) else {}), name


def test_every_run_has_a_longest_time_or_is_judged_by_what_it_tells() -> None:
    limits = {name: float(tags.get("dagster/max_runtime", 0)) for name, tags in JOBS.items()}
    # A session lives as long as its lease; the checks of a strategy are judged by what they tell.
    assert {name for name, limit in limits.items() if not limit} == {"trade", "start_strategy"}
    assert limits["halt"] == limits["flatten"] == limits["reconcile"] == 600 and limits["research"] == 3600
    # A range of hours has the tags of its job, and takes as long as it takes.
    assert missing_tags({**JOBS["research"], BACKFILL_TAG: "x"})["dagster/max_runtime"] == "0"
    assert missing_tags({"dagster/max_runtime": "60"}).get("dagster/max_runtime") is None, "a person's own limit stays"


@pytest.mark.parametrize("group", [BACKFILL, MANUAL])
def test_a_range_that_tells_nothing_any_more_frees_its_place(group: Any) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = create_run_for_test(instance, job_name="research", tags=group.tags)
        session = create_run_for_test(instance, job_name="trade", tags=TRADE.tags)
        for one in (run, session):
            instance.handle_new_event(_started(one))
        told = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records[0].event_log_entry.timestamp
        assert instance_queries.end_runs_without_progress(instance, told + 7000) == []
        assert instance_queries.end_runs_without_progress(instance, told + 7300) == [run.run_id]
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE
        assert instance.get_run_by_id(session.run_id).status is dg.DagsterRunStatus.STARTED
        assert instance_queries.end_runs_without_progress(instance, told + 9000) == []


def _started(run: dg.DagsterRun) -> dg.EventLogEntry:
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name, message="started")
    return dg.EventLogEntry(
        error_info=None, level=20, user_message="", run_id=run.run_id, timestamp=1_790_000_000.0, dagster_event=event
    )
