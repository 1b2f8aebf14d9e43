"""Runs whose process was killed together with what looks after them: they end in Dagster, and others are left alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from trading_assets.defs import looking
from trading_assets.defs.processes import is_gone, process_of
from trading_assets.defs.run_book import RunBook


@dg.op
def work() -> None:
    pass


@dg.job
def reconcile() -> None:
    work()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that launches runs as processes of this machine."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


def started(instance: dg.DagsterInstance, pid: int | None) -> str:
    """A run that counts as running in the process `pid`."""
    run = instance.create_run_for_job(reconcile, status=dg.DagsterRunStatus.STARTED)
    if pid is not None:
        instance.report_engine_event(
            "Started process", run, dg.EngineEventData(metadata={"pid": dg.MetadataValue.text(str(pid))})
        )
    return run.run_id


@pytest.fixture
def ended() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    return process.pid


def test_a_run_whose_process_was_killed_ends_and_its_lane_is_free(instance: dg.DagsterInstance, ended: int) -> None:
    run = started(instance, ended)
    assert looking.in_progress(instance, "reconcile")
    looking.end_dead(instance, "reconcile")
    assert not looking.in_progress(instance, "reconcile")
    found = instance.get_run_by_id(run)
    assert found is not None and found.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_lives_or_has_not_started_is_left_alone(instance: dg.DagsterInstance) -> None:
    alive, waiting = started(instance, os.getpid()), started(instance, None)
    looking.end_dead(instance, "reconcile")
    assert process_of(instance, waiting) is None
    assert {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))} == {
        alive,
        waiting,
    }


def test_a_number_that_went_to_a_younger_process_is_not_the_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance, os.getpid())
    assert not is_gone(instance, run)
    monkeypatch.setattr("psutil.Process.create_time", lambda _self: 4e9)
    assert is_gone(instance, run)


def test_runs_of_another_launcher_are_not_judged_by_this_machines_processes(ended: int) -> None:
    with dg.DagsterInstance.ephemeral() as elsewhere:
        assert not is_gone(elsewhere, started(elsewhere, ended))


def test_the_book_of_runs_counts_and_names_the_reason_of_failures(
    instance: dg.DagsterInstance, ended: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alive = started(instance, os.getpid())
    started(instance, ended)
    looking.end_dead(instance, "reconcile")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    book = RunBook()
    assert book.counts() == {"reconcile": {"started": 1, "failure": 1}}
    assert book.working("reconcile") == [os.getpid()] and book.pid_of(alive) == os.getpid()
    assert book.failures() == {"reconcile: its process is gone": 1}
    book.close()
