"""An hour with a strategy that looks ahead, one that raises, and coins with bad data: everything else is selected, may
be traded, and what is left out is told in one place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner

import trading_assets.strategies as package
from trading_assets.cli.main import cli
from trading_assets.core.candles import Candles
from trading_assets.core.ports import MarketData
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, Timeframe
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import seed_registry, set_active
from trading_assets.market.stages import scan_hours
from trading_assets.market.store import CandleStore
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.strategies import registry
from trading_assets.venues import open_market_data
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, point_at, run_job, tables
from trading_assets_tests.defs.test_research import GivenMarket
from trading_assets_tests.market.test_bad_candles import FAULTS, Spoil
from trading_assets_tests.strategies.shipped import ACTIVE

STRATEGIES = """
from trading_assets_tests.strategies.biased_strategies import Crossing, NextClose

class Peeking(NextClose):
    name = "peeking"

class Raising(Crossing):
    name = "raising"

    def line(self, data):
        raise ZeroDivisionError("as it does")
"""

COSTLY = ("no answer",)
"""Kinds of faults that are left to the tests of the stages."""


@pytest.fixture
def faulty_strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "faulty.py").write_text(STRATEGIES)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    registry.discover.cache_clear()
    yield
    registry.discover.cache_clear()


class Spoiled:
    """A market in which some coins' candles are spoiled: of every timeframe, or of one."""

    def __init__(self, real: MarketData, everywhere: dict[str, Spoil], on_15m: dict[str, Spoil]) -> None:
        self._real, self._everywhere, self._on_15m = real, everywhere, on_15m

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        made = self._real.candles(symbol, timeframe, start_ms, end_ms)
        spoil = self._everywhere.get(symbol)
        if spoil is None and timeframe is Timeframe.M15:
            spoil = self._on_15m.get(symbol)
        return spoil(made) if spoil is not None and len(made) > 12 else made

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.mark.slow
def test_an_hour_with_every_fault_selects_all_that_is_sound_and_tells_the_rest_in_one_place(
    small: RunningExchange,
    researched: dict[str, pd.DataFrame],
    faulty_strategies: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path / "home"))
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    seed_registry(database)
    for name in ("peeking", "raising"):
        set_active(database, name, True)
    real = open_market_data(settings)
    scanned = list(researched["market_scan"]["symbol"])
    others = [coin.symbol for coin in real.instruments() if coin.symbol not in {*scanned, settings.symbols.btc}]
    kinds = [spoil for name, spoil in sorted(FAULTS.items()) if name not in COSTLY]
    # The first of those that may be left out without touching the scan has each kind that there are coins for.
    everywhere = dict(zip(sorted(others), kinds, strict=False))
    market = Spoiled(real, everywhere, {scanned[0]: FAULTS["a candle twice"]})
    result = run_job("research", HOUR_KEY, exchange=GivenMarket.of(market))  # type: ignore[arg-type]
    rows = tables([HOUR])

    assert list(rows["market_scan"]["symbol"]) == scanned
    assert checks.failed(database, [HOUR]) == {}
    excluded = checks.excluded(database, [HOUR])[HOUR]
    assert {strategy for _, strategy in excluded} == {"peeking"}
    assert {timeframe for timeframe, _ in excluded} == {timeframe.value for timeframe in TRADED_TIMEFRAMES}

    backtests = rows["backtest_results"]
    sound = backtests[backtests["error"].isna()]
    assert set(sound["strategy"]) >= {"bollinger_rsi", "fibonacci_bollinger", "peeking"}
    assert "raising" not in set(sound["strategy"])
    without = backtests[(backtests["symbol"] == scanned[0]) & (backtests["timeframe"] == "15m")]
    assert without["error"].notna().all() and len(without)

    selected, before = rows["strategy_selections"], researched["strategy_selections"]
    assert len(selected) and set(selected["strategy"]) <= set(ACTIVE)
    untouched = set(before["symbol"]) - {scanned[0]}
    assert set(selected["symbol"]) >= untouched
    keys = selected[["hour_ms", "timeframe", "symbol", "strategy", "parameters"]].to_dict("records")
    signals = [{"signal_id": str(at), **row} for at, row in enumerate(keys)]
    assert checks.blocked(database, signals, settings.symbols.btc) == {}, "all that is selected may be traded"
    refused = checks.blocked(database, [{**signals[0], "strategy": "peeking"}], settings.symbols.btc)
    assert "strategy peeking is excluded" in refused["0"]

    (event,) = [
        one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey("strategy_selections")
    ]
    told = [record.data for record in event.materialization.metadata["left_out"].value.records]  # type: ignore[union-attr]
    assert len(told) <= 10
    shown = {str(row["left_out"]): str(row["why"]) for row in told}
    assert shown["strategy peeking"] == "no_look_ahead"
    assert shown["strategy raising"] == "raised ZeroDivisionError"
    assert shown[f"coin {scanned[0]}"] == "not fetched"
    (scan,) = [one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey("market_scan")]
    dropped = [record.data for record in scan.materialization.metadata["dropped"].value.records]  # type: ignore[union-attr]
    assert sum("candles" in str(row["reason"]) for row in dropped) >= 1
    database.close()


@pytest.mark.slow
def test_every_kind_of_fault_costs_its_own_coin_and_nothing_else(
    faulty_strategies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coin with each fault at the top of the ranks, a strategy that looks ahead and one that raises, in one hour."""
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path / "home"))
    clock = ClockSpec(ClockMode.MANUAL, start_ms=HOUR + 4 * HOUR_MS)
    with serve_in_thread(ServeConfig(symbols=60, clock=clock)) as running:
        point_at(running, monkeypatch)
        settings = load_settings()
        database = Database(settings.resolved_database_url)
        seed_registry(database)
        for name in ("peeking", "raising"):
            set_active(database, name, True)
        real = open_market_data(settings)
        honest = scan_hours(real, CandleStore(tmp_path / "honest"), [HOUR], load_settings(max_symbols=100)).rows
        ranked = [name for name in honest.sort_values("rank")["symbol"] if name != settings.symbols.btc]
        kinds = {name: spoil for name, spoil in sorted(FAULTS.items()) if name not in COSTLY}
        assert len(ranked) >= len(kinds) + 3
        spoiled = dict(zip(ranked, kinds.values(), strict=False))
        result = run_job("research", HOUR_KEY, exchange=GivenMarket.of(Spoiled(real, spoiled, {})))  # type: ignore[arg-type]
    rows = tables([HOUR])
    scanned = set(rows["market_scan"]["symbol"])
    assert scanned == set(ranked[len(kinds) : len(kinds) + 3]), "the scan ranks what is sound"
    assert checks.failed(database, [HOUR]) == {}
    sound = rows["backtest_results"][rows["backtest_results"]["error"].isna()]
    for symbol in scanned:
        of_coin = sound[sound["symbol"] == symbol]
        assert set(of_coin["timeframe"]) == {timeframe.value for timeframe in TRADED_TIMEFRAMES}
        assert set(of_coin["strategy"]) >= {"bollinger_rsi", "fibonacci_bollinger", "hyperrsi"}
    selected = rows["strategy_selections"]
    assert len(selected) and not set(selected["strategy"]) & {"peeking", "raising"}
    told = {}
    for event in result.get_asset_materialization_events():
        if event.asset_key in (dg.AssetKey("market_scan"), dg.AssetKey("strategy_selections")):
            told |= dict(event.materialization.metadata)
    dropped = {str(one.data["reason"]): one.data["count"] for one in told["dropped"].value.records}
    assert sum(int(count) for reason, count in dropped.items() if "candles" in reason or "history" in reason) >= len(
        kinds
    )
    left_out = [one.data for one in told["left_out"].value.records]
    assert {str(one["left_out"]) for one in left_out} >= {"strategy peeking", "strategy raising"}
    assert len(left_out) <= 4
    database.close()
    shown = CliRunner().invoke(cli, ["strategies", "show", "raising"]).output
    assert shown.count("failed: ") == len(TRADED_TIMEFRAMES) and min(scanned) in shown and HOUR_KEY in shown
    assert 'raise ZeroDivisionError("as it does")' in shown and "the same traceback" in shown
    assert "failed: " not in CliRunner().invoke(cli, ["strategies", "show", "bollinger_rsi"]).output
