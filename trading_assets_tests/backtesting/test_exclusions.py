"""A coin with bad candles is left out with the reason on its rows; the others' rows are what they would be anyway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from trading_assets.backtesting.exclusions import backtest_with_exclusions
from trading_assets.backtesting.run import BacktestRunner
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe, as_of_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import active_strategies, seed_registry, set_active
from trading_assets.market.loading import OpenedData, exclusion_reason, load_strategy_data

HOUR = 1_772_413_200_000
M60 = Timeframe.M60
SCAN = {HOUR: dict.fromkeys(("AUSDT", "BUSDT"), "scan-20260302-020000")}
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]
STRATEGIES = ("bollinger_rsi", "fibonacci_bollinger")


class Walks:
    """A reader of random walks, one for each coin and timeframe."""

    btc = "BTCUSDT"

    @staticmethod
    @cache
    def _all(symbol: str, timeframe: Timeframe) -> Candles:
        bars = 3000
        close = 100 * np.exp(np.cumsum(np.random.default_rng(len(symbol) + ord(symbol[0])).normal(0, 0.006, bars)))
        open_ = np.append(100.0, close[:-1])
        end = as_of_ms(HOUR) - as_of_ms(HOUR) % timeframe.ms
        starts = end - np.arange(bars, 0, -1) * timeframe.ms
        return Candles(
            timeframe, starts, open_, np.maximum(open_, close), np.minimum(open_, close), close, close, close
        )

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        return self._all(symbol, timeframe).between(start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return Funding.empty()


def open_strategy_data(symbol: str, timeframe: Timeframe, needs: DataNeeds, _hours: object) -> OpenedData:
    bars = timeframe.window_bars
    return OpenedData(
        lambda hour: load_strategy_data(
            Walks(), symbol, timeframe, needs, as_of_ms(hour) - bars * timeframe.ms, as_of_ms(hour)
        )
    )


def test_a_fault_zeroes_the_strategies_that_read_it_and_changes_no_other_row(sqlite: Database) -> None:
    assert WARM_UP_BARS < 3000
    seed_registry(sqlite)
    for name in ("bollinger_rsi", "fibonacci_bollinger", "hyperrsi"):
        set_active(sqlite, name, name in STRATEGIES)
    strategies = active_strategies(sqlite).usable
    assert {strategy.name for strategy in strategies} == set(STRATEGIES)

    def rows(faults: dict[tuple[str, str], str]) -> pd.DataFrame:
        found = backtest_with_exclusions(
            strategies, SETTINGS, M60, SCAN, open_strategy_data, {HOUR: faults} if faults else {}
        )
        return found.set_index(["symbol", "strategy"]).sort_index()

    with BacktestRunner(strategies, SETTINGS) as backtests:
        plain = backtests.rows(M60, SCAN, open_strategy_data).set_index(["symbol", "strategy"]).sort_index()
    pd.testing.assert_frame_equal(rows({}), plain)
    assert plain["error"].isna().all()
    for faults, out in (
        ({("60m", "AUSDT"): "jump"}, [("AUSDT", name) for name in STRATEGIES]),
        ({("240m", "AUSDT"): "gap"}, [("AUSDT", "fibonacci_bollinger")]),
        ({("240m", "BTCUSDT"): "gap"}, [("AUSDT", "fibonacci_bollinger"), ("BUSDT", "fibonacci_bollinger")]),
        ({("1m", "AUSDT"): "gap", ("60m", "ZUSDT"): "gap"}, []),
    ):
        found = rows(faults)
        good = [key for key in plain.index if key not in out]
        pd.testing.assert_frame_equal(found.loc[good], plain.loc[good])
        for key in out:
            assert found.loc[key, "total_trades"] == 0
            (timeframe, symbol), fault = next(iter(faults.items()))
            assert f"{timeframe} candles of {symbol}: {fault}" in str(found.loc[key, "error"])


def test_every_bad_series_is_named() -> None:
    needs = DataNeeds(candles={Timeframe.D1: 10, Timeframe.M15: 10}, btc={Timeframe.M240: 20})
    faults = {("240m", "AUSDT"): "old", ("240m", "BTCUSDT"): "gap", ("5m", "AUSDT"): "none of its business"}
    assert (
        exclusion_reason("AUSDT", M60, needs, faults, "BTCUSDT")
        == "240m candles of AUSDT: old; 240m candles of BTCUSDT: gap"
    )
    assert exclusion_reason("BUSDT", M60, needs, {("60m", "AUSDT"): "old"}, "BTCUSDT") is None


PRICES = ("open", "high", "low", "close")
ODD: dict[str, Callable[[Candles], Candles]] = {
    "of tiny prices": lambda c: scaled(c, 2.0**-40),
    "of huge prices": lambda c: scaled(c, 2.0**40),
    "that does not move": lambda c: replace(c, **dict.fromkeys(PRICES, np.full(len(c), 7.0))),
    "with two candles": lambda c: c.select(slice(-2, None)),
    "with a hole every seventh": lambda c: c.select(np.arange(len(c)) % 7 != 0),
}


def scaled(candles: Candles, by: float) -> Candles:
    prices = {name: getattr(candles, name) * by for name in PRICES}
    return replace(candles, **prices)


def test_odd_but_possible_markets_have_rows_that_the_table_takes_and_touch_no_other(sqlite: Database) -> None:
    """Powers of two change no rounding, so a coin's price level alone changes no figure at all."""
    seed_registry(sqlite)
    for name in (*STRATEGIES, "hyperrsi"):
        set_active(sqlite, name, name == "bollinger_rsi")
    strategies = active_strategies(sqlite).usable

    def rows(spoil: Callable[[Candles], Candles]) -> pd.DataFrame:
        class Spoiled(Walks):
            def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
                held = super().read(symbol, timeframe, start_ms, end_ms)
                return spoil(held) if symbol == "AUSDT" else held

        def opened(symbol: str, timeframe: Timeframe, needs: DataNeeds, _hours: object) -> OpenedData:
            span = timeframe.window_bars * timeframe.ms
            return OpenedData(
                lambda hour: load_strategy_data(
                    Spoiled(), symbol, timeframe, needs, as_of_ms(hour) - span, as_of_ms(hour)
                )
            )

        found = backtest_with_exclusions(strategies, SETTINGS, M60, SCAN, opened, {})
        BACKTEST_RESULTS.model.validate(found, lazy=True)
        return found.set_index("symbol")

    plain = rows(lambda candles: candles)
    assert plain.loc["AUSDT", "total_trades"] > 5
    for name, spoil in ODD.items():
        found = rows(spoil)
        pd.testing.assert_series_equal(found.loc["BUSDT"], plain.loc["BUSDT"])
        assert found["error"].isna().all(), name
        if "prices" in name:
            pd.testing.assert_series_equal(found.loc["AUSDT"], plain.loc["AUSDT"], check_exact=False, rtol=1e-9)
        elif "hole" not in name:
            assert found.loc["AUSDT", "total_trades"] == 0, name
