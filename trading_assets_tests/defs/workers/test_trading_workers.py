"""Trade runs on two Celery workers: one trades, and a cancel or a lost worker ends it as it should."""

import sys
from pathlib import Path

import dagster as dg
import pytest

from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import MINUTE_MS, local_ms
from trading_assets.definitions import build_definitions
from trading_assets.defs.instance.workers import launcher as launchers
from trading_assets.defs.instance.workers.launcher import WORKER, WorkersRunLauncher
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.trading.session.lease import trader_of
from trading_assets.venues import open_exchange
from trading_assets_tests.defs.test_session import ledger, venue  # noqa: F401 (fixtures)
from trading_assets_tests.defs.workers.processes import WorkerProcesses, until, write_dagster_yaml

STARTED, SUCCESS = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_two_trade_runs_on_two_workers_one_trades_and_a_lost_one_is_not_started_again(
    venue: RunningExchange,  # noqa: F811
    ledger: Database,  # noqa: F811
    processes: WorkerProcesses,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_dagster_yaml(tmp_path, namespace)
    nodes = {name: processes.hire("trading", name) for name in ("first", "second")}
    processes.wait_for(*nodes.values())
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, WorkersRunLauncher)

        def status(run_id: str) -> dg.DagsterRunStatus:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            return run.status

        def begun(run_id: str) -> bool:
            return status(run_id) not in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)

        both = [launch(instance, launcher) for _ in range(2)]
        until(lambda: all(begun(run) for run in both), processes.tails)
        refused = until(lambda: next((run for run in both if status(run) is SUCCESS), ""), processes.tails)
        (trading,) = set(both) - {refused}
        trader = trader_of(ledger, "main", wall_ms=local_ms())
        assert trader is not None and trader.run == trading and status(trading) is STARTED
        texts = [entry.user_message for entry in instance.all_logs(refused)]
        assert any(f"{trader} trades account main on the same selection" in text for text in texts)
        workers = {run.tags[WORKER] for run in instance.get_runs()}
        assert workers == set(nodes.values()), "each worker has taken one"

        venue.advance(MINUTE_MS - venue.now_ms() % MINUTE_MS + 100)
        until(lambda: signals.EXECUTED in set(signals.since(ledger, "main", 0)["status"]), processes.tails)
        assert launcher.terminate(trading)
        until(lambda: status(trading) is dg.DagsterRunStatus.CANCELED, processes.tails)
        assert trader_of(ledger, "main", wall_ms=local_ms()) is None, "the lease was given back"

        def new_session() -> tuple[dg.DagsterRun, str]:
            """A run that trades, and the name of its worker."""
            run_id = launch(instance, launcher)
            until(lambda: trader_of(ledger, "main", wall_ms=local_ms()), processes.tails)
            run = instance.get_run_by_id(run_id)
            assert run is not None and launcher.check_run_worker_health(run).status.name == "RUNNING"
            return run, next(name for name, node in nodes.items() if node == run.tags[WORKER])

        stopped, name = new_session()
        processes.tell_to_stop(name)
        until(lambda: status(stopped.run_id) is SUCCESS, processes.tails)  # a planned stop is no failure
        assert trader_of(ledger, "main", wall_ms=local_ms()) is None, "a worker that is told to stop ends its runs"

        lost, name = new_session()
        processes.kill(name)
        monkeypatch.setattr(launchers, "ASKED_FOR_S", 0.5)
        assert launcher.check_run_worker_health(lost).status.name == "RUNNING", "it may only be late"
        monkeypatch.setattr(launchers, "SILENT_FOR_S", 0.0)
        assert launcher.check_run_worker_health(lost).status.name == "FAILED"
        until(lambda: trader_of(ledger, "main", wall_ms=local_ms()) is None)
        assert status(lost.run_id) is STARTED, "the broker has given it to nobody else"
        assert lost.tags["dagster/max_retries"] == "0"
    lines = [line for name in nodes for line in (tmp_path / f"{name}.log").read_text().splitlines()]
    told = [line for line in lines if " - dagster - " in line]
    assert any(" - INFO - trade - " in line for line in told), "what a run tells is in its worker's log"
    assert not [line for line in told if line.startswith("[")], "as it is: Celery would call each line a warning"
    account = open_exchange(load_settings())
    positions = account.positions()
    account.close()
    assert positions and all(position.stop_loss is not None for position in positions)


def launch(instance: dg.DagsterInstance, launcher: WorkersRunLauncher) -> str:
    """A trade run as the daemon launches one; its id."""
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.launcher import LaunchRunContext
    from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

    trade = build_definitions().resolve_job_def("trade")
    origin = JobPythonOrigin(
        trade.name,
        RepositoryPythonOrigin(sys.executable, ModuleCodePointer("trading_assets.definitions", "defs")),
    )
    run = instance.create_run_for_job(
        trade, status=dg.DagsterRunStatus.STARTING, tags=dict(trade.tags), job_code_origin=origin
    )
    launcher.launch_run(LaunchRunContext(run, None))
    return run.run_id
