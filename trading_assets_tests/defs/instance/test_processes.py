"""A run whose process was killed together with the code server is reported as failed, and its place is free."""

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from trading_assets.defs import instance_queries
from trading_assets.defs.instance.processes import process_has_ended, process_of_run
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.defs.run_history import RunHistory, RunStart
from trading_assets.defs.sensors import end_stuck_runs

WITHIN_S = 60.0

_RUN = """
import sys, time
from pathlib import Path
import dagster as dg

@dg.op
def work():
    Path(sys.argv[2]).touch()
    time.sleep(60)

@dg.job
def reconcile():
    work()

with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    reconcile.execute_in_process(instance=instance)
"""


@pytest.mark.slow
def test_a_killed_run_ends_and_a_living_one_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, begun = tmp_path / "dagster", tmp_path / "begun"
    home.mkdir()
    process = subprocess.Popen([sys.executable, "-c", _RUN, str(home), str(begun)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + WITHIN_S
        while not begun.exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            (run,) = instance.get_runs()
            found = process_of_run(instance, run.run_id)
            assert found is not None and found[0] == process.pid
            instance_queries.fail_runs_without_process(instance, "reconcile")
            assert instance_queries.in_progress(instance, "reconcile"), "its process lives"
            with monkeypatch.context() as patch:
                patch.setattr("psutil.Process.create_time", lambda _self: 4e9)
                assert process_has_ended(instance, run.run_id), "the number has gone to a younger process"
            process.kill()
            process.wait(WITHIN_S)
            assert instance_queries.in_progress(instance, "reconcile"), "nobody has told Dagster"
            instance_queries.fail_runs_without_process(instance)
            assert instance_queries.in_progress(instance, "reconcile"), "its own sensor asks for it"
            end_stuck_runs(
                dg.build_sensor_context(
                    instance, resources={"settings": SettingsResource(), "database": DatabaseResource()}
                )
            )
            assert not instance_queries.in_progress(instance, "reconcile"), "whatever sensors of trading are off"
    finally:
        process.kill()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (home / "dagster.yaml").write_text("")
    history = RunHistory()
    assert history.counts() == {"reconcile": {"failure": 1}}
    assert history.failures() == {f"reconcile: {instance_queries.GONE}": 1}
    assert history.live_pids("reconcile") == [] and history.pid_of(run.run_id) is None
    history.close()


@pytest.mark.slow
def test_a_killed_run_of_a_backfill_ends_though_no_job_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_queries, "process_has_ended", lambda _instance, run_id: run_id == backfill.run_id)

    @dg.asset
    def hour() -> None: ...

    job = dg.Definitions(assets=[hour]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        backfill, living = (
            instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/backfill": "b"})
            for _ in range(2)
        )
        instance_queries.fail_runs_without_process(instance)
        ended = {run.run_id: run.is_finished for run in instance.get_runs()}
    assert ended == {backfill.run_id: True, living.run_id: False}


@pytest.mark.slow
def test_a_run_that_has_not_begun_is_not_taken_for_dead(tmp_path: Path) -> None:
    @dg.job(name="reconcile")
    def waiting() -> None:
        pass

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = instance.create_run_for_job(waiting, status=dg.DagsterRunStatus.STARTED)
        assert process_of_run(instance, run.run_id) is None
        instance_queries.fail_runs_without_process(instance, "reconcile")
        assert instance_queries.in_progress(instance, "reconcile")


@pytest.mark.slow
def test_the_history_has_how_long_a_run_waited_and_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    @dg.job
    def trade() -> None: ...

    with dg.DagsterInstance.get() as instance:
        begun, waiting = (instance.create_run_for_job(trade) for _ in range(2))
        for run, kind, at in (
            (begun, dg.DagsterEventType.PIPELINE_ENQUEUED, 100.0),
            (begun, dg.DagsterEventType.PIPELINE_STARTING, 101.5),
            (begun, dg.DagsterEventType.STEP_START, 104.0),
            (begun, dg.DagsterEventType.STEP_START, 107.0),
            (waiting, dg.DagsterEventType.PIPELINE_ENQUEUED, 105.0),
        ):
            event = dg.DagsterEvent(kind.value, job_name=trade.name)
            instance.event_log_storage.store_event(
                dg.EventLogEntry(None, "info", "", run.run_id, at, job_name=trade.name, dagster_event=event)
            )
    history = RunHistory()
    assert history.starts("trade") == [RunStart(queued_s=1.5, launched_s=2.5)]
    assert history.starts("reconcile") == []
    history.close()
