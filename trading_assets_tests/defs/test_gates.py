"""Checks as gates: what is bad leaves out its coin, what failed lets nothing through, what changed makes stale."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

# Dagster shows staleness in its UI, and has no other path to it.
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

import trading_assets
from trading_assets.backtesting.code_version import SOURCES, code_version
from trading_assets.core.candles import Candles
from trading_assets.core.schemas import CANDLE_COVERAGE
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import Timeframe
from trading_assets.definitions import build_definitions
from trading_assets.defs.checks.quality import QUALITY
from trading_assets.defs.checks.schema import CHECK_NAME
from trading_assets.ledger import checks
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions, replace_partitions
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.strategies.registry import strategy_classes
from trading_assets.venues import open_market_data
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, run_job, tables
from trading_assets_tests.defs.test_research import GivenMarket, PoisonedMarket

SELECTIONS = dg.AssetKey("strategy_selections")


class BrokenMarket(PoisonedMarket):
    """One coin's 5m candles jump, and come back."""

    def __init__(self, real: object, symbol: str) -> None:
        super().__init__(real, 2**62)  # type: ignore[arg-type]
        self.symbol = symbol

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        candles = super().candles(symbol, timeframe, start_ms, end_ms)
        if symbol != self.symbol or timeframe is not Timeframe.M5:
            return candles
        up = candles.start_ms % (50 * Timeframe.M5.ms) == 0
        prices = {name: getattr(candles, name).copy() for name in ("open", "high", "low", "close")}
        for values in prices.values():
            values[up] *= 3.0
        return replace(candles, **prices)


@pytest.mark.slow
def test_a_coin_with_bad_candles_is_left_out_of_its_timeframe_and_the_hour_goes_on(
    researched: dict[str, pd.DataFrame], small: RunningExchange
) -> None:
    good = researched
    symbol = str(good["market_scan"]["symbol"].iloc[0])
    market = BrokenMarket(open_market_data(load_settings()), symbol)
    result = run_job("research", HOUR_KEY, exchange=GivenMarket.of(market))
    bad = tables([HOUR])
    assert result.success
    coverage = bad["candle_coverage"].set_index(["timeframe", "symbol"])["fault"]
    assert coverage[coverage.notna()].index.tolist() == [("5m", symbol)]
    assert coverage["5m", symbol].startswith("jump: ")
    verdicts = {
        check.asset_key.path[-1]: check for check in result.get_asset_check_evaluations() if check.check_name == QUALITY
    }
    assert len(verdicts) == 8
    assert [name for name, check in verdicts.items() if not check.passed] == ["5m"]
    assert verdicts["5m"].severity is dg.AssetCheckSeverity.WARN
    assert symbol in str(verdicts["5m"].metadata["faults"])
    of_coin = (bad["backtest_results"]["symbol"] == symbol) & (bad["backtest_results"]["timeframe"] == "5m")
    assert bad["backtest_results"][of_coin]["error"].str.contains(f"5m candles of {symbol}: jump").all()
    pd.testing.assert_frame_equal(
        bad["backtest_results"][~of_coin].reset_index(drop=True),
        good["backtest_results"][
            (good["backtest_results"]["symbol"] != symbol) | (good["backtest_results"]["timeframe"] != "5m")
        ].reset_index(drop=True),
    )
    chosen = bad["strategy_selections"].set_index("symbol")["timeframe"]
    assert symbol not in chosen or chosen[symbol] != "5m"


@pytest.mark.slow
def test_verdicts_run_code_and_versions_are_written_and_a_failed_check_stops_the_selection(
    small: RunningExchange,
) -> None:
    instance = dg.DagsterInstance.ephemeral()
    definitions = build_definitions()
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

    def run(job: str) -> dg.ExecuteInProcessResult:
        return definitions.resolve_job_def(job).execute_in_process(
            instance=instance, partition_key=HOUR_KEY, run_config=quiet
        )

    def stale(asset: dg.AssetKey) -> StaleStatus:
        graph = definitions.get_repository_def().asset_graph
        return CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance)).get_status(asset, HOUR_KEY)

    first = run("research")
    database = Database(load_settings().resolved_database_url)
    with database.read() as connection:
        names = {f"candles/{tf}" for tf in ("5m", "60m")} | {"backtest_results/5m", "strategy_selections"}
        verdicts = checks.by_asset(connection, HOUR, names)
    assert all(row["passed"] and row["run_id"] == first.run_id for row in verdicts)
    assert {(row["asset"], row["check_name"]) for row in verdicts} >= {
        ("strategy_selections", CHECK_NAME),
        ("backtest_results/5m", "no_look_ahead"),
        ("backtest_results/5m", "agrees_with_vectorbt"),
    }
    backtests = dg.AssetKey(["backtest_results", "5m"])
    assert stale(backtests) is StaleStatus.FRESH
    # The same candles again have the same version; other ones make what was made of them stale.
    before = _version(instance, dg.AssetKey(["candles", "5m"]))
    run("research")
    assert _version(instance, dg.AssetKey(["candles", "5m"])) == before
    assert stale(backtests) is StaleStatus.FRESH
    instance.report_runless_asset_event(
        dg.AssetMaterialization(["candles", "5m"], partition=HOUR_KEY, tags={"dagster/data_version": "other candles"})
    )
    assert stale(backtests) is StaleStatus.STALE
    assert len(tables([HOUR])["strategy_selections"])
    checks.record(database, [Verdict("backtest_results/5m", "no_look_ahead", False, "it looks ahead")], [HOUR], "later")
    again = run("select")
    (event,) = [one for one in again.get_asset_materialization_events() if one.asset_key == SELECTIONS]
    assert "no_look_ahead of backtest_results/5m failed: it looks ahead" in str(
        event.materialization.metadata["blocked_by"].value
    )
    assert tables([HOUR])["strategy_selections"].empty
    database.close()
    instance.dispose()


def _version(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    event = instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    return event.asset_materialization.tags["dagster/data_version"]


def test_another_version_of_a_strategy_or_of_the_engine_is_another_code_version(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    classes = list(strategy_classes().values())
    source = tmp_path_factory.mktemp("engine") / "engine.py"
    source.write_text("a = 1")
    now = code_version(classes, [source])
    assert now == code_version(reversed(classes), [source])
    changed = type("Changed", (classes[0],), {"version": "1000"})
    assert code_version([changed, *classes[1:]], [source]) != now
    source.write_text("a = 2")
    assert code_version(classes, [source]) != now


DECIDES_NO_FIGURE = {
    *("trading_assets.backtesting.worker_threads", "trading_assets.market.store", "trading_assets.market.spans"),
    *("trading_assets.market.chunks", "trading_assets.strategies.registry", "trading_assets.strategies.grids"),
    "trading_assets.strategies.failures",
    *(f"trading_assets.core.{name}" for name in ("errors", "foreign_text", "ports", "schemas", "settings")),
}


def test_the_code_version_is_of_every_module_that_the_figures_depend_on() -> None:
    package = Path(trading_assets.__file__).parent
    imported = {
        node.module
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    files = {name: package.parent.joinpath(*name.split(".")).with_suffix(".py") for name in imported}
    ours = {name for name, path in files.items() if path.is_file() and package in path.parents}
    assert {name for name in ours if files[name] not in SOURCES} <= DECIDES_NO_FIGURE


def test_candles_left_out_are_read_as_they_were_written(small: RunningExchange) -> None:
    database = Database(load_settings().resolved_database_url)
    row = dict.fromkeys(CANDLE_COVERAGE.columns, 0) | {"symbol": "AUSDT", "timeframe": "5m", "expected_bars": 1}
    rows = pd.DataFrame([{**row, "hour_ms": HOUR, "content_hash": "0" * 16, "coverage_pct": 0.0, "fault": "gap"}])
    replace_partitions(database, CANDLE_COVERAGE, rows, [HOUR], {"timeframe": "5m"})
    assert read_partitions(database, CANDLE_COVERAGE, [HOUR])["fault"].tolist() == ["gap"]
    assert checks.candle_faults(database, [HOUR]) == {HOUR: {("5m", "AUSDT"): "gap"}}
    database.close()
