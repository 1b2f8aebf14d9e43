"""A declared warm-up is what backtests, live and checks load, and an average of 200 bars works on every timeframe."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

from trading_assets.backtesting.run import BacktestRunner
from trading_assets.core.candles import FloatArray
from trading_assets.core.errors import StrategyError
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import (
    DAY_MS,
    HOUR_MS,
    LIVE_BARS,
    TRADED_TIMEFRAMES,
    WARM_UP_BARS,
    Timeframe,
    as_of_ms,
    floor_ms,
)
from trading_assets.market import lookback as depth
from trading_assets.market.loading import hour_loader, live_requests, load_strategy_data, open_strategy_data
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.strategies.base import Parameters, Strategy
from trading_assets.strategies.bias_checks import look_ahead, sufficient_warm_up, warm_up
from trading_assets.strategies.registry import ConfiguredStrategy, configure
from trading_assets_tests.strategies.biased_strategies import BarCounter, Crossing, Momentum, ema

HOUR = 1_772_323_200_000
"""2026-03-01 00:00 UTC."""
READER = MarketReader(SeededMarket(7, 5))
SETTINGS = load_settings()


class OwnPeriod(Parameters):
    period: int = Field(200, ge=2)


class Undeclared(Crossing):
    """Crosses its average of 200 bars, and says nothing of it."""

    name = "undeclared"
    Parameters = OwnPeriod
    parameters: OwnPeriod

    def line(self, data: StrategyData) -> FloatArray:
        return data.candles.close - ema(data.candles.close, self.parameters.period)


class Declared(Undeclared):
    """The same; its warm-up is a function of its parameters."""

    name = "declared"

    def needs(self) -> DataNeeds:
        return DataNeeds(warm_up=4 * self.parameters.period)


class Daily(Momentum):
    """Reads 90 days."""

    def needs(self) -> DataNeeds:
        return DataNeeds(candles={Timeframe.D1: 90})


@cache
def data_of(timeframe: Timeframe, strategy: type[Strategy]) -> StrategyData:
    return hour_loader(READER, HOUR)("ETHUSDT", timeframe, strategy().needs())


@pytest.mark.parametrize("timeframe", TRADED_TIMEFRAMES)
def test_an_average_of_200_bars_works_on_every_timeframe_once_it_is_declared(timeframe: Timeframe) -> None:
    data = data_of(timeframe, Declared)
    since_midnight = HOUR_MS // timeframe.ms  # the hour is the first of its day
    assert len(data.candles) == timeframe.window_bars + 800 + since_midnight
    checked = warm_up(Declared(), data)
    assert checked.passed and checked.signals > 0
    assert look_ahead(Declared(), data, signals=5, others=5).passed
    short = data_of(timeframe, Undeclared)
    assert len(short.candles) == timeframe.window_bars + WARM_UP_BARS + since_midnight
    assert not warm_up(Undeclared(), short).passed
    assert look_ahead(Undeclared(), short, signals=5, others=5).passed, "too short a warm-up is no look-ahead"


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.M15, Timeframe.M240])
def test_the_check_says_how_many_bars_would_do(timeframe: Timeframe) -> None:
    long = load_strategy_data(READER, "ETHUSDT", timeframe, DataNeeds(warm_up=2200), HOUR - 50 * timeframe.ms, HOUR)
    enough = sufficient_warm_up(Undeclared(), long)
    assert enough.bars is not None and 400 <= enough.bars <= 1000

    class AsSaid(Undeclared):
        def needs(self) -> DataNeeds:
            return DataNeeds(warm_up=enough.bars or 0)

    data = hour_loader(READER, HOUR)("ETHUSDT", timeframe, AsSaid().needs())
    assert warm_up(AsSaid(), data).passed
    assert sufficient_warm_up(BarCounter(), long).bars is None
    assert (sufficient_warm_up(Momentum(), long).bars or 999) <= WARM_UP_BARS


def test_a_warm_up_is_one_number_or_one_for_each_timeframe_and_never_below_that_of_the_stops() -> None:
    mapped = DataNeeds(warm_up={Timeframe.M15: 900})
    assert [mapped.warm_up_bars(timeframe) for timeframe in (Timeframe.M15, Timeframe.M240)] == [900, WARM_UP_BARS]
    assert DataNeeds(warm_up=30).warm_up_bars(Timeframe.M1) == WARM_UP_BARS
    deepest = DataNeeds.deepest([mapped, DataNeeds(warm_up=400)])
    assert [deepest.warm_up_bars(timeframe) for timeframe in (Timeframe.M15, Timeframe.M240)] == [900, 400]
    assert DataNeeds.deepest([DataNeeds(), DataNeeds()]) == DataNeeds()
    for nonsense in (-1, 1.5, True, 10**9):
        with pytest.raises(StrategyError, match="expected a whole number"):
            DataNeeds(warm_up=nonsense)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeframe", TRADED_TIMEFRAMES)
def test_requests_of_backtests_and_of_live_reach_back_to_the_declared_warm_up(timeframe: Timeframe) -> None:
    assert depth.reach_ms(timeframe, [Momentum(), Declared()]) == (timeframe.window_bars + 800) * timeframe.ms + DAY_MS
    assert depth.reach_ms(timeframe, [Momentum()]) == (timeframe.window_bars + WARM_UP_BARS) * timeframe.ms + DAY_MS
    (own,) = live_requests("ETHUSDT", timeframe, Declared().needs(), HOUR, "BTCUSDT")
    assert own[2] == HOUR - (LIVE_BARS + 800) * timeframe.ms


def test_a_strategy_asks_for_no_candles_of_timeframes_on_which_it_is_not_tried() -> None:
    hourly = replace(tried(Declared), timeframes=frozenset({Timeframe.M60}))
    assert depth.reach_ms(Timeframe.M60, [hourly]) == (Timeframe.M60.window_bars + 800 + 24) * Timeframe.M60.ms
    assert depth.reach_ms(Timeframe.M1, [hourly]) == depth.reach_ms(Timeframe.M1, [])
    levels = replace(tried(Momentum), sets=(Daily(),), timeframes=frozenset({Timeframe.M5}))
    of_day = depth.other_reach_ms(Timeframe.M5, Timeframe.D1, 90)
    assert depth.reach_ms(Timeframe.M240, [levels]) == -(-of_day // Timeframe.M240.ms) * Timeframe.M240.ms


def rows_of(timeframe: Timeframe, *strategies: ConfiguredStrategy) -> pd.DataFrame:
    scans = {hour: {"ETHUSDT": "a", "BTCUSDT": "b"} for hour in (HOUR - HOUR_MS, HOUR)}
    with BacktestRunner(strategies, SETTINGS, threads=1) as runner:
        return runner.rows(timeframe, scans, lambda *of: open_strategy_data(READER, *of))  # type: ignore[arg-type]


def tried(kind: type[Strategy], *sets: dict[str, int]) -> ConfiguredStrategy:
    return ConfiguredStrategy(
        kind.name, tuple(kind(one) for one in sets or ({},)), frozenset(), frozenset(TRADED_TIMEFRAMES)
    )


DEFAULTS = ("bollinger_rsi", "fibonacci_bollinger", "hyperrsi")


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", [Timeframe.M15, Timeframe.M240])
def test_the_rows_of_the_default_strategies_stay_the_same_beside_one_of_a_longer_warm_up(timeframe: Timeframe) -> None:
    row = {"parameters": "{}", "pairs": "[]", "timeframes": "[]", "grid": None}
    defaults = [configure({"name": name, **row}) for name in DEFAULTS]
    assert all(isinstance(one, ConfiguredStrategy) for one in defaults)
    alone = rows_of(timeframe, *defaults)  # type: ignore[arg-type]
    beside = rows_of(timeframe, *defaults, tried(Declared))  # type: ignore[arg-type]
    assert alone["total_trades"].sum() > 0
    pd.testing.assert_frame_equal(beside[beside["strategy"].isin(DEFAULTS)].reset_index(drop=True), alone)
    assert set(beside["strategy"]) == {*DEFAULTS, "declared"}


def test_each_parameter_set_is_computed_behind_its_own_warm_up_as_live_does() -> None:
    several = ({"period": 200}, {"period": 20}, {"period": 400}, {"period": 201})
    together = rows_of(Timeframe.M15, tried(Declared, *several))
    apart = [rows_of(Timeframe.M15, tried(Declared, one)) for one in several]
    assert (together["configurations"] == len(several)).all()
    figures = ["total_trades", "total_pnl", "bars", "out_of_sample_pnl"]
    keys = ["hour_ms", "symbol", "parameters"]
    expected = pd.concat(apart).set_index(keys)[figures]
    found = together.set_index(keys)[figures]
    pd.testing.assert_frame_equal(found, expected.loc[found.index])
    assert together["error"].isna().all() and (together["total_trades"] > 0).all()


def test_live_decides_with_the_declared_warm_up_as_the_backtest_does() -> None:
    timeframe = Timeframe.M15
    end = floor_ms(as_of_ms(HOUR), timeframe.ms)
    live = load_strategy_data(READER, "ETHUSDT", timeframe, Declared().needs(), end - LIVE_BARS * timeframe.ms, end)
    assert len(live.candles) == LIVE_BARS + 800
    whole, found = Declared().signals(data_of(timeframe, Declared)), Declared().signals(live)
    assert found.long[-LIVE_BARS:].any()
    np.testing.assert_array_equal(found.long[-LIVE_BARS:], whole.long[-LIVE_BARS:])
    np.testing.assert_array_equal(found.short[-LIVE_BARS:], whole.short[-LIVE_BARS:])


def test_a_strategy_that_declares_nonsense_is_broken_alone() -> None:
    class Nonsense(Momentum):
        def needs(self) -> DataNeeds:
            return replace(DataNeeds(), warm_up=-5)

    with pytest.raises(StrategyError, match="warm-up of -5 bars"):
        Nonsense().needs()
