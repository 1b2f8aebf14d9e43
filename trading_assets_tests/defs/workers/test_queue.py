"""`trading-assets backfill --queue` on two workers: the rows of one process, each worker a part of the runs."""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from trading_assets.defs import backfill
from trading_assets.defs.backfill_queue import why_failed
from trading_assets.defs.instance.workers.launcher import WORKER
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.workers.plain_research import research_job
from trading_assets_tests.defs.workers.processes import WorkerProcesses, write_dagster_yaml
from trading_assets_tests.defs.workers.test_lost_worker import DEFINITIONS, HOURS, one_process, rows_in


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_workers_leave_the_rows_of_one_process(
    day: RunningExchange,
    ledger_url: str,
    processes: WorkerProcesses,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_dagster_yaml(tmp_path, namespace, run_monitoring={"poll_interval_seconds": 1, "start_timeout_seconds": 3600})
    monkeypatch.setattr(backfill, "HOURS_OF_A_RUN", 3)
    with monkeypatch.context() as many:
        many.setenv("TRADING_ASSETS_DATABASE_URL", ledger_url)
        many.setenv("TRADING_ASSETS_HOME", str(tmp_path / "shared"))
        many.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        nodes = [processes.hire("research", name) for name in ("first", "second")]
        processes.start("daemon", "dagster._daemon", "run", "-m", DEFINITIONS)
        expected = one_process_elsewhere(monkeypatch, tmp_path)
        processes.wait_for(*nodes)
        ended = list(backfill.backfill(research_job, HOURS[0], HOURS[-1], lambda _told: None, queue=True))
    assert sorted(one.given for one in ended) == [(hour, 3) for hour in HOURS[::3]]
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs()
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS} and len(runs) == 4
        assert {run.tags["dagster/backfill"] for run in runs} == {one.run_id for one in ended}
        assert {run.tags[WORKER] for run in runs} == set(nodes)
        assert {run.tags["trading_assets/concurrency_group"] for run in runs} == {"backfill"}
    rows = rows_in(ledger_url)
    for name, frame in expected.items():
        assert len(frame) > 0, name
        pd.testing.assert_frame_equal(rows[name], frame, obj=name)


def one_process_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, pd.DataFrame]:
    """The rows of one process, with a ledger and candles of its own."""
    with monkeypatch.context() as alone:
        alone.delenv("TRADING_ASSETS_DATABASE_URL")
        alone.setenv("TRADING_ASSETS_HOME", str(tmp_path / "alone"))
        return one_process()


def run(run_id: str, status: dg.DagsterRunStatus, root: str | None = None) -> dg.DagsterRun:
    tags = {} if root is None else {"dagster/root_run_id": root}
    return dg.DagsterRun(job_name="research", run_id=run_id, status=status, tags=tags)


FAILURE, SUCCESS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS


def test_a_range_is_computed_when_the_newest_try_of_each_of_its_runs_has_succeeded() -> None:
    again = run("c", SUCCESS, root="a")
    assert why_failed([again, run("b", SUCCESS), run("a", FAILURE)], "completed_failed") is None
    assert "run b is failure" in str(why_failed([again, run("b", FAILURE), run("a", FAILURE)], "completed_failed"))
    assert "run c is canceled" in str(
        why_failed([run("c", dg.DagsterRunStatus.CANCELED, root="a"), run("a", FAILURE)], "canceled")
    )
    assert "the backfill is failed and had no run" in str(why_failed([], "failed"))
