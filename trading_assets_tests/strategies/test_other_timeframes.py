"""What one strategy declares of other timeframes changes nothing of another one's backtests."""

from __future__ import annotations

import pandas as pd
import pytest
from pydantic import Field

from trading_assets.backtesting.run import BacktestRunner
from trading_assets.core.candles import FloatArray
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, Timeframe
from trading_assets.market.loading import open_strategy_data
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.strategies.alignment import as_of_close
from trading_assets.strategies.base import Parameters, Strategy
from trading_assets.strategies.registry import ConfiguredStrategy
from trading_assets_tests.strategies.biased_strategies import Crossing, Momentum, ema

HOUR = 1_772_323_200_000
"""2026-03-01 00:00 UTC."""
READER = MarketReader(SeededMarket(7, 5))
SETTINGS = load_settings()


class OwnBars(Parameters):
    bars: int = Field(40, ge=2)


class HourlyAverage(Crossing):
    """Crosses an exponential average of hourly closes, which never quite forgets its first candle."""

    name = "hourly_average"
    Parameters = OwnBars
    parameters: OwnBars

    def needs(self) -> DataNeeds:
        return DataNeeds(candles={Timeframe.M60: self.parameters.bars}, btc={Timeframe.M60: self.parameters.bars})

    def line(self, data: StrategyData) -> FloatArray:
        of_btc = data.btc[Timeframe.M60]
        hourly = as_of_close(data.candles, data.other[Timeframe.M60], ema(data.other[Timeframe.M60].close, 60))
        drift = as_of_close(data.candles, of_btc, ema(of_btc.close, 60) / of_btc.close - 1)
        return data.candles.close - hourly * (1 + drift / 10)


class Deep(Momentum):
    """Declares far more hourly candles."""

    name = "deep"

    def needs(self) -> DataNeeds:
        return DataNeeds(candles={Timeframe.M60: 400, Timeframe.M240: 9}, btc={Timeframe.M60: 400})


class Undeclared(HourlyAverage):
    """Reads hourly candles and does not say so: live has none for it."""

    name = "undeclared"

    def needs(self) -> DataNeeds:
        return DataNeeds()


def tried(kind: type[Strategy], *sets: dict[str, int]) -> ConfiguredStrategy:
    return ConfiguredStrategy(
        kind.name, tuple(kind(one) for one in sets or ({},)), frozenset(), frozenset(TRADED_TIMEFRAMES)
    )


def rows_of(*strategies: ConfiguredStrategy) -> pd.DataFrame:
    scans = {hour: {"ETHUSDT": "a", "SOLUSDT": "b"} for hour in (HOUR - HOUR_MS, HOUR)}
    with BacktestRunner(strategies, SETTINGS, threads=1) as runner:
        return runner.rows(Timeframe.M15, scans, lambda *of: open_strategy_data(READER, *of))  # type: ignore[arg-type]


@pytest.mark.slow
def test_rows_stay_the_same_beside_a_strategy_that_declares_more_of_another_timeframe() -> None:
    alone, beside = rows_of(tried(HourlyAverage)), rows_of(tried(HourlyAverage), tried(Deep))
    assert alone["error"].isna().all() and (alone["total_trades"] > 0).all()
    found = beside[beside["strategy"] == "hourly_average"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, alone)


def test_each_parameter_set_sees_as_much_of_other_timeframes_as_it_declares() -> None:
    several = ({"bars": 40}, {"bars": 300}, {"bars": 90})
    together = rows_of(tried(HourlyAverage, *several))
    apart = pd.concat([rows_of(tried(HourlyAverage, one)) for one in several])
    keys, figures = ["hour_ms", "symbol", "parameters"], ["total_trades", "total_pnl", "out_of_sample_pnl", "p_value"]
    found = together.set_index(keys)[figures]
    assert (together["configurations_traded"] == len(several)).all() and together["error"].isna().all()
    pd.testing.assert_frame_equal(found, apart.set_index(keys)[figures].loc[found.index])
    mean = apart.groupby(["hour_ms", "symbol"])["sharpe_ratio"].mean().to_list()
    assert together["sharpe_mean"].to_list() == pytest.approx(mean)


@pytest.mark.parametrize("others", [(), (tried(Deep),)], ids=["alone", "beside one that declares them"])
def test_candles_that_are_not_declared_are_not_there_as_live(others: tuple[ConfiguredStrategy, ...]) -> None:
    rows = rows_of(tried(Undeclared), *others)
    assert rows[rows["strategy"] == "undeclared"]["error"].str.contains("KeyError").all()
