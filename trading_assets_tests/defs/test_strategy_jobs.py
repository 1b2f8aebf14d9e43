"""The jobs of a person who starts, stops and sets strategies in the UI."""

from collections.abc import Iterator

import dagster as dg
import pytest

from trading_assets.core.settings import load_settings
from trading_assets.ledger import strategies as rows
from trading_assets.ledger.database import Database
from trading_assets.strategies import registry
from trading_assets.trading.risk import confirmations
from trading_assets_tests.defs.conftest import definitions
from trading_assets_tests.strategies.biased_strategies import NextClose

pytestmark = pytest.mark.usefixtures("small")


class Biased(NextClose):
    name = "biased"


def run(job: str, op: str, /, **config: object) -> dg.ExecuteInProcessResult:
    """Run a job with the config of its op."""
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            definitions()
            .resolve_job_def(job)
            .execute_in_process(instance=instance, raise_on_error=False, run_config={"ops": {op: {"config": config}}})
        )


def told(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return str(event.step_output_data.metadata["changes"].value)


@pytest.fixture
def ledger() -> Iterator[Database]:
    database = Database(load_settings().resolved_database_url)
    rows.seed_registry(database)
    yield database
    database.close()


@pytest.mark.slow
def test_a_strategy_is_set_from_the_launchpad_and_a_dry_run_only_tells(ledger: Database) -> None:
    wanted = {"name": "hyperrsi", "parameters": ["rsi_period=9"], "grid": ["declared"], "timeframes": ["60m"]}
    dry = run("set_strategy", "change_row", **wanted, dry_run=True)
    assert dry.success and "dry run: nothing was changed" in told(dry)
    assert rows.registry_row(ledger, "hyperrsi").grid is None
    done = run("set_strategy", "change_row", **wanted)
    assert "grid: as the setting says -> declared" in told(done)
    row = rows.registry_row(ledger, "hyperrsi")
    assert (row.parameters, row.grid, row.timeframes) == ('{"rsi_period": 9}', "declared", '["60m"]')
    assert not run("set_strategy", "change_row", name="hyperrsi", parameters=["nope=1"]).success
    assert not run("set_strategy", "change_row", name="moonshot").success
    assert rows.registry_row(ledger, "hyperrsi") == row


@pytest.mark.slow
def test_a_strategy_is_stopped_and_started_after_its_check(ledger: Database) -> None:
    run("set_strategy", "change_row", name="hyperrsi", timeframes=["60m"])
    assert "is_active: True -> False" in told(run("stop_strategy", "switch_off", name="hyperrsi"))
    assert "hyperrsi" not in rows.active_names(ledger)
    assert run("start_strategy", "check_and_start", name="hyperrsi", dry_run=True).success
    assert "hyperrsi" not in rows.active_names(ledger)
    assert run("start_strategy", "check_and_start", name="hyperrsi").success
    assert "hyperrsi" in rows.active_names(ledger)


@pytest.mark.slow
def test_what_looks_ahead_is_not_started_but_by_force(ledger: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.discover()
    with_biased = registry.Discovery({**known.classes, "biased": Biased}, known.broken)
    monkeypatch.setattr(registry, "discover", lambda: with_biased)
    assert run("set_strategy", "change_row", name="biased", timeframes=["60m"]).success
    assert not run("start_strategy", "check_and_start", name="biased").success
    assert "biased" not in rows.active_names(ledger)
    assert run("start_strategy", "check_and_start", name="biased", force=True).success
    assert "biased" in rows.active_names(ledger)


@pytest.mark.slow
def test_where_money_is_real_what_decides_on_trades_wants_a_code_and_a_stop_does_not(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "mainnet")
    monkeypatch.setenv("TRADING_ASSETS_ALLOW_MAINNET", "true")
    before = rows.registry_row(ledger, "hyperrsi")
    for job, op in (("set_strategy", "change_row"), ("start_strategy", "check_and_start")):
        given = {"timeframes": ["60m"]} if job == "set_strategy" else {"force": True}
        refused = run(job, op, name="hyperrsi", **given)
        assert not refused.success and "needs a one-time code" in str(refused.all_events)
    assert rows.registry_row(ledger, "hyperrsi") == before
    code = confirmations.create(load_settings(), "settings", "a person")
    assert run("set_strategy", "change_row", name="hyperrsi", timeframes=["60m"], confirmation=code).success
    assert rows.registry_row(ledger, "hyperrsi").timeframes == '["60m"]'
    assert run("stop_strategy", "switch_off", name="hyperrsi").success
