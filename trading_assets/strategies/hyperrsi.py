"""`hyperrsi`: RSI that comes back from an extreme, in the direction of the trend of a longer timeframe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from trading_assets.core.candles import FloatArray
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.alignment import as_of_close
from trading_assets.strategies.base import STOPS, Entries, Parameters, ParameterSets, Strategy, Values, combinations

TREND_TIMEFRAME: Mapping[Timeframe, Timeframe] = {
    Timeframe.M1: Timeframe.M15,
    Timeframe.M3: Timeframe.M15,
    Timeframe.M5: Timeframe.M60,
    Timeframe.M15: Timeframe.M60,
    Timeframe.M30: Timeframe.M240,
    Timeframe.M60: Timeframe.M240,
    Timeframe.M120: Timeframe.D1,
    Timeframe.M240: Timeframe.D1,
}
"""The timeframe whose trend filters the entries of each traded one."""


class HyperRsiParameters(Parameters):
    """Wilder's numbers. The trend is the direction of the mean of the longer timeframe's closes."""

    rsi_period: int = Field(14, ge=2, description="bars of the RSI")
    rsi_low: float = Field(30.0, ge=0, le=100, description="long when RSI comes back above")
    rsi_high: float = Field(70.0, ge=0, le=100, description="short when RSI comes back below")
    trend_period: int = Field(20, ge=2, description="closed bars of the longer timeframe in the mean")
    deep: float = Field(5.0, ge=0, le=100, description="RSI this far beyond its level was extreme")
    base_confidence: float = Field(60.0, ge=0, le=100, description="confidence without any bonus, percent")
    extreme_bonus: float = Field(10.0, ge=0, le=100, description="confidence that an extreme RSI adds")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rsi_low >= self.rsi_high:
            raise ValueError(f"rsi_low {self.rsi_low:g} must lie below rsi_high {self.rsi_high:g}")
        if self.base_confidence + self.extreme_bonus > 100:
            raise ValueError(
                f"base_confidence and extreme_bonus add up to {self.base_confidence + self.extreme_bonus:g}, at most "
                "100 is possible"
            )
        return self


class HyperRsi(Strategy):
    """Long when RSI crosses back above 30 in an upward trend, short when it crosses back below 70 in a downward one."""

    name = "hyperrsi"
    description = "RSI that comes back from an extreme, with a trend filter"
    version = "2"
    active_by_default = True
    Parameters = HyperRsiParameters
    parameters: HyperRsiParameters

    def needs(self) -> DataNeeds:
        bars = self.parameters.trend_period + 1
        return DataNeeds(candles=dict.fromkeys(sorted(set(TREND_TIMEFRAME.values())), bars))

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        """RSI at each bar and the bar before, and `trend` of the last closed longer bar: 1 up, -1 down, 0 neither."""
        p = self.parameters
        longer = data.other[TREND_TIMEFRAME[data.timeframe]]
        # The mean rises where the close does against the one that leaves it: a tie is a tie, without any rounding.
        change = indicators.change_pct(longer.close, p.trend_period)
        rsi = indicators.rsi(data.candles.close, p.rsi_period)
        return {
            "rsi": rsi,
            "rsi_before": indicators.previous(rsi),
            "trend": as_of_close(data.candles, longer, np.sign(change)),
        }

    @staticmethod
    def entries(v: Values, p: HyperRsiParameters) -> Entries:
        long = (v.rsi_before < p.rsi_low) & (v.rsi >= p.rsi_low) & (v.trend > 0)
        short = (v.rsi_before > p.rsi_high) & (v.rsi <= p.rsi_high) & (v.trend < 0)
        extreme = (long & (v.rsi_before < p.rsi_low - p.deep)) | (short & (v.rsi_before > p.rsi_high + p.deep))
        return Entries(long, short, p.base_confidence + p.extreme_bonus * extreme)

    @classmethod
    def grid(cls) -> ParameterSets:
        return combinations(
            cls.Parameters,
            [{"rsi_period": 14}, {"rsi_period": 7}],
            [{"rsi_low": 30.0, "rsi_high": 70.0}, {"rsi_low": 25.0, "rsi_high": 75.0}],
            STOPS,
        )
