"""The backtest checks on an hour of the embedded exchange: it passes, and each finds what it is meant to find."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

import trading_assets.strategies as package
from trading_assets.backtesting.run import production_engine
from trading_assets.core.schemas import BACKTEST_RESULTS, STRATEGY_SELECTIONS, Table
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, Timeframe
from trading_assets.definitions import build_definitions
from trading_assets.defs.checks import lookahead
from trading_assets.defs.checks.lookahead import AGREES, BACKTEST_CHECKS, NO_LOOK_AHEAD, SURVIVES, WARM_UP_SUFFICES
from trading_assets.ledger import checks, fees
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions, replace_partitions
from trading_assets.ledger.tables import account_fees
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.strategies import registry
from trading_assets_tests.backtesting.test_validation import WRONG
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, ResearchedHour, run_job
from trading_assets_tests.strategies.shipped import ACTIVE

BIASED = """
from trading_assets_tests.strategies.biased_strategies import LongAverage, NextClose

class Peeking(NextClose):
    name = "peeking"

class Forgetful(LongAverage):
    name = "forgetful"
"""


@pytest.fixture
def ledger(
    researched_hour: ResearchedHour, small: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """The database of the researched hour, its rows as the hour left them afterwards."""
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(researched_hour.home))
    database = Database(load_settings().resolved_database_url)
    before = {table: read_partitions(database, table, [HOUR]) for table in (BACKTEST_RESULTS, STRATEGY_SELECTIONS)}
    yield database
    for table, rows in before.items():
        replace_partitions(database, table, rows, [HOUR])
    database.close()


@pytest.fixture
def biased_strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two strategies more, which are biased."""
    (tmp_path / "biased.py").write_text(BIASED)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.discover.cache_clear()
    yield
    registry.discover.cache_clear()


def look(*checks: str) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """Execute the backtest checks alone on the newest hour; their results by asset and name."""
    definitions = build_definitions()
    selection = dg.AssetSelection.checks(*BACKTEST_CHECKS)
    job = dg.define_asset_job("look", selection=selection, executor_def=dg.in_process_executor)
    with_job = dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        resources=definitions.resources,
        jobs=[job],
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = with_job.resolve_job_def("look").execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    found = {
        (check.asset_key.to_user_string(), check.check_name): check for check in result.get_asset_check_evaluations()
    }
    return {key: check for key, check in found.items() if not checks or key[1] in checks}


def add_backtests_of(database: Database, strategy: str, timeframe: Timeframe) -> None:
    """The hour's backtests of a timeframe, said to be of another strategy."""
    rows = read_partitions(database, BACKTEST_RESULTS, [HOUR])
    of_timeframe = rows[(rows["timeframe"] == timeframe) & (rows["strategy"] == "bollinger_rsi")]
    more = of_timeframe.assign(strategy=strategy, parameters="{}")
    replace_partitions(database, BACKTEST_RESULTS, pd.concat([rows, more]), [HOUR])


@pytest.mark.slow
def test_the_run_of_an_researched_hour_makes_every_check_and_passes(researched_hour: ResearchedHour) -> None:
    assert researched_hour.passed >= {AGREES, NO_LOOK_AHEAD, WARM_UP_SUFFICES}


@pytest.mark.slow
def test_an_researched_hour_passes_and_each_check_says_what_it_looked_at(ledger: Database) -> None:
    found = look()
    names = [f"backtest_results/{timeframe.value}" for timeframe in TRADED_TIMEFRAMES]
    assert set(found) == {
        *((name, check) for name in names for check in (AGREES, NO_LOOK_AHEAD, WARM_UP_SUFFICES)),
        ("strategy_selections", SURVIVES),
    }
    for (_, name), check in found.items():
        assert check.passed or name == SURVIVES
    for name in names:
        assert found[name, AGREES].metadata["backtests"].value == 3
        assert found[name, AGREES].metadata["trades"].value > 0
        assert found[name, NO_LOOK_AHEAD].metadata["strategies"].value == len(ACTIVE)
        assert found[name, NO_LOOK_AHEAD].metadata["signals"].value > 0
        assert found[name, WARM_UP_SUFFICES].metadata["bars"].value > 50
    assert found["strategy_selections", SURVIVES].metadata["selections"].value > 0


@pytest.mark.slow
def test_costs_that_changed_after_an_hour_do_not_fail_its_backtests(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look(SURVIVES)["strategy_selections", SURVIVES].metadata["sample"]
    monkeypatch.setenv("TRADING_ASSETS_TAKER_FEE", "0.004")
    monkeypatch.setenv("TRADING_ASSETS_COST_MODEL", "stress")
    fees.write(ledger, load_settings().account, fees.AccountFees(taker=0.006, maker=0.001, time_ms=HOUR))
    try:
        found = look(AGREES, SURVIVES)
    finally:
        with ledger.write() as connection:
            connection.execute(sa.delete(account_fees))
    agreed = [check.passed for (_, name), check in found.items() if name == AGREES]
    assert agreed == [True] * len(TRADED_TIMEFRAMES)
    assert found["strategy_selections", SURVIVES].metadata["sample"] == before


@pytest.mark.slow
def test_a_biased_strategy_fails_the_check_that_is_meant_for_it_on_its_timeframe_alone(
    ledger: Database, biased_strategies: None
) -> None:
    add_backtests_of(ledger, "peeking", Timeframe.M15)
    add_backtests_of(ledger, "forgetful", Timeframe.M60)
    found = look(NO_LOOK_AHEAD, WARM_UP_SUFFICES)
    failed = {key for key, check in found.items() if not check.passed}
    assert failed == {("backtest_results/15m", NO_LOOK_AHEAD), ("backtest_results/60m", WARM_UP_SUFFICES)}
    peeking = found["backtest_results/15m", NO_LOOK_AHEAD]
    assert peeking.severity is dg.AssetCheckSeverity.WARN
    assert NO_LOOK_AHEAD not in str(checks.failed(ledger, [HOUR])), "the hour goes on"
    excluded = checks.excluded(ledger, [HOUR])[HOUR]
    assert set(excluded) == {("15m", "peeking"), ("60m", "forgetful")}
    assert excluded["15m", "peeking"].startswith("no_look_ahead: ")
    assert "peeking" in str(peeking.description) and "forgetful" not in str(peeking.description)
    assert {record.data["what"] for record in peeking.metadata["found"].records} >= {"indicator line"}


@pytest.mark.slow
def test_a_strategy_that_is_gone_fails_its_check_and_the_others_are_judged(ledger: Database) -> None:
    add_backtests_of(ledger, "unheard_of", Timeframe.M15)
    found = look(NO_LOOK_AHEAD)
    assert {name for (name, _), check in found.items() if not check.passed} == {"backtest_results/15m"}
    assert "unknown strategy 'unheard_of'" in str(found["backtest_results/15m", NO_LOOK_AHEAD].metadata["found"])


@pytest.mark.slow
def test_a_figure_stored_wrong_is_a_disagreement(ledger: Database) -> None:
    rows = read_partitions(ledger, BACKTEST_RESULTS, [HOUR])
    rows["total_pnl"] += (rows["timeframe"] == "5m") * 0.01
    replace_partitions(ledger, BACKTEST_RESULTS, rows, [HOUR])
    found = look(AGREES)
    assert {name for (name, _), check in found.items() if not check.passed} == {"backtest_results/5m"}
    check = found["backtest_results/5m", AGREES]
    assert check.metadata["differences"].value == 3
    assert {record.data["what"] for record in check.metadata["found"].records} == {"total_pnl"}


@pytest.mark.slow
def test_a_wrong_production_engine_stops_the_run_before_the_selection(
    small: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "production_engine", lambda: WRONG["fee"][0])
    result = run_job("research", HOUR_KEY, raise_on_error=False)
    assert not result.success
    failed = {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}
    assert failed == {AGREES}
    database = Database(load_settings().resolved_database_url)
    assert len(read_partitions(database, BACKTEST_RESULTS, [HOUR]))
    assert read_partitions(database, STRATEGY_SELECTIONS, [HOUR]).empty
    database.close()


@pytest.mark.slow
def test_selections_that_lose_at_double_costs_are_a_warning_only(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dear:
        """Double costs eat every profit."""

        def simulate(self, columns: list, costs: object) -> list:
            found = production_engine().simulate(columns, costs)  # type: ignore[arg-type]
            if costs.fee > load_settings().taker_fee:  # type: ignore[attr-defined]
                return [replace(trades, pnl=-abs(trades.pnl)) for trades in found]
            return found

    monkeypatch.setattr(lookahead, "production_engine", Dear)
    check = look(SURVIVES)["strategy_selections", SURVIVES]
    assert not check.passed and check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["thin"].value == check.metadata["selections"].value > 0


@pytest.mark.slow
def test_of_a_long_range_a_few_hours_are_looked_at_and_the_same_ones_always(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_run(*_: object) -> list[int]:
        return [HOUR + number * HOUR_MS for number in range(300)]

    asked: list[list[int]] = []

    def reading(database: Database, table: Table, hours: list[int], where: dict[str, str]) -> pd.DataFrame:
        asked.append(list(hours))
        return read_partitions(database, table, hours, where)

    monkeypatch.setattr(lookahead, "hours_to_check", of_run)
    monkeypatch.setattr(lookahead, "read_partitions", reading)
    found = look(AGREES)
    assert all(check.passed for check in found.values())
    assert len(asked) > 8 and all(hours == asked[0] and len(hours) == lookahead.HOURS_SAMPLE for hours in asked)


@pytest.mark.slow
def test_before_anything_is_materialised_every_check_says_so(small: RunningExchange) -> None:
    found = look()
    assert len(found) == 25
    for check in found.values():
        assert check.passed and "materialise an hour first" in str(check.description)
