"""The jobs of a person's commands, and what a reconciliation shows, on the embedded exchange."""

from pathlib import Path

import dagster as dg
import pytest

from trading_assets.core.ports import Exchange
from trading_assets.core.settings import load_settings
from trading_assets.defs.jobs import RISK_JOBS
from trading_assets.ledger import risk, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.risk import confirmations
from trading_assets.trading.session import registry
from trading_assets_tests.defs.conftest import definitions, run_job
from trading_assets_tests.defs.test_trading import SYMBOL, account, ledger, put_signal, venue  # noqa: F401


def run(name: str, op: str, **config: object) -> dg.ExecuteInProcessResult:
    """Run a job with the config of its op."""
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            definitions()
            .resolve_job_def(name)
            .execute_in_process(instance=instance, raise_on_error=False, run_config={"ops": {op: {"config": config}}})
        )


def code(action: str) -> str:
    """A code as `trading-assets confirm` makes it."""
    return confirmations.create(load_settings(), action, "alice (command line)")


def states(database: Database) -> list[tuple[RiskState, str]]:
    return [(change.state, change.reason) for change in risk.read_history(database, "main")]


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


@pytest.mark.parametrize("either_ledger", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.usefixtures("either_ledger")
def test_the_jobs_halt_resume_and_flatten(ledger: Database, account: Exchange) -> None:  # noqa: F811
    assert run("halt", "halt_trading", reason="storm").success
    signal_id = put_signal(ledger, account)
    run_job("trade")
    assert signals.by_ids(ledger, [signal_id]).iloc[0]["status"] == signals.REJECTED
    assert not run("resume", "resume_trading", reason="calm").success
    assert run("resume", "resume_trading", reason="calm", confirmation=code("resume")).success
    put_signal(ledger, account, symbol="ETHUSDT")
    run_job("trade")
    held = [position.symbol for position in account.positions()]
    assert held == ["ETHUSDT"]
    shown = metadata_of(run_job("reconcile"))
    assert shown["risk_state"] == "ACTIVE"
    assert shown["exposure_usd"] > 50  # type: ignore[operator]
    assert {"drawdown_pct", "exposure", "results_by_strategy", "net_today_usd"} <= shown.keys()
    assert not run("flatten", "close_all_positions").success
    assert not run("flatten", "close_all_positions", confirmation=code("resume")).success
    assert not run("flatten", "close_all_positions", confirmation=code("flatten"), foreign=True).success
    assert len(account.positions()) == 1
    once = code("flatten")
    result = run("flatten", "close_all_positions", confirmation=once, reason="enough")
    assert result.success and metadata_of(result) == {"closed": 1, "left": 0, "not_ours": 0}
    assert list(account.positions()) == []
    assert not run("flatten", "close_all_positions", confirmation=once, reason="again").success
    assert run("reduce", "reduce_trading").success, "stricter already"
    assert states(ledger) == [
        (RiskState.HALTED, "storm"),
        (RiskState.ACTIVE, "calm"),
        (RiskState.HALTED, "enough"),
    ]
    halted, resumed, flattened = (change.actor for change in risk.read_history(ledger, "main"))
    assert halted.startswith("Dagster run ")
    assert resumed.startswith("alice (command line), Dagster run ") and flattened.startswith("alice (command line), ")


@pytest.mark.slow
@pytest.mark.usefixtures("account")
def test_a_job_before_the_wrong_books_is_refused_and_leaves_the_code(ledger: Database, tmp_path: Path) -> None:  # noqa: F811
    jobs = {"resume": "resume_trading", "flatten": "close_all_positions"}
    codes = {name: code(name) for name in jobs}
    settings = load_settings(home=tmp_path / "checkout", account="real")
    elsewhere = Database(settings.resolved_database_url)
    with registry.registered(settings, elsewhere, "run-of-the-session"):
        for name, op in jobs.items():
            assert not run(name, op, confirmation=codes[name]).success
        assert not run("reduce", "reduce_trading", reason="storm").success, "the session elsewhere was not reached"
    elsewhere.close()
    assert states(ledger) == [(RiskState.REDUCING, "storm")]
    assert run("resume", "resume_trading", confirmation=codes["resume"]).success


def test_a_persons_command_does_not_wait_for_trading() -> None:
    for job in RISK_JOBS:
        assert job.tags["trading_assets/concurrency_group"] == "risk" and int(job.tags["dagster/priority"]) > 0
        assert job.description
