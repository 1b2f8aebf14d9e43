"""`fibonacci_bollinger`: `bollinger_rsi` with Fibonacci levels of four timeframes, volatility, BTC trend, funding."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.alignment import as_of_close, as_of_open, funding_as_of_close
from trading_assets.strategies.base import STOPS, Entries, ParameterSets, Values, combinations
from trading_assets.strategies.bollinger_rsi import BollingerRsi, BollingerRsiParameters, stretched

LEVEL_TIMEFRAMES = (Timeframe.D1, Timeframe.M240, Timeframe.M60, Timeframe.M15)
"""Timeframes whose levels count; a fifth one would be the own."""
RATIOS = (0.0, 0.236, 0.382, 0.5, 0.618, 0.786, 1.0)
_HOURS_OF_A_DAY = 24


class FibonacciBollingerParameters(BollingerRsiParameters):
    """The defaults are the numbers of the strategy as described (docs/choices.md)."""

    level_window: int = Field(30, ge=2, description="bars of each timeframe that span its levels")
    level_timeframes: Literal[4, 5] = Field(4, description="1D, 240m, 60m, 15m; 5: the own timeframe, too")
    near_pct: float = Field(2.0, gt=0, lt=100, description="a level this close counts as near, percent of the level")
    max_volatility_pct: float = Field(50.0, gt=0, description="no entry with a larger 24 h range, percent")
    btc_bars: int = Field(20, ge=1, description="240m bars of BTCUSDT that make its trend")
    btc_trend_pct: float = Field(2.0, gt=0, description="a larger change is a trend, percent")
    level_required: bool = Field(False, description="no entry without a near level; else that is a bonus alone")
    trend_required: bool = Field(
        False, description="no entry without a BTC trend in its direction; else that is a bonus alone"
    )
    funding_required: bool = Field(
        False, description="no entry without funding against the crowd; else that is a bonus alone"
    )
    level_bonus: float = Field(10.0, ge=0, le=100, description="confidence that a near level adds")
    trend_bonus: float = Field(10.0, ge=0, le=100, description="confidence that such a BTC trend adds")
    funding_bonus: float = Field(5.0, ge=0, le=100, description="confidence that such funding adds")

    @property
    def highest_confidence(self) -> float:
        return super().highest_confidence + self.level_bonus + self.trend_bonus + self.funding_bonus


class FibonacciBollinger(BollingerRsi):
    """Long only with BTC bullish or neutral, short with BTC bearish or neutral; confidence 60 to 95."""

    name = "fibonacci_bollinger"
    description = "Bollinger and RSI with Fibonacci levels, BTC trend and funding"
    # The window of the levels is left open. It is not varied: it moves a bonus, and no entry.
    described_parameters = frozenset(FibonacciBollingerParameters.model_fields) - {"level_window"}
    Parameters = FibonacciBollingerParameters
    parameters: FibonacciBollingerParameters

    def needs(self) -> DataNeeds:
        p = self.parameters
        candles = dict.fromkeys(LEVEL_TIMEFRAMES, p.level_window)
        candles[Timeframe.M60] = max(p.level_window, _HOURS_OF_A_DAY)
        return DataNeeds(candles=candles, btc={Timeframe.M240: p.btc_bars + 1}, funding=True)

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        """Those of `bollinger_rsi` and:

        * `fib_strength`: number of timeframes, of the four or five, that have a level near the close;
        * `volatility_pct`: range of the last 24 hourly candles that had closed, percent of its low;
        * `btc_trend`: 1 bullish, 0 neutral, -1 bearish;
        * `funding_rate`: the last one paid by the close, fraction of notional.
        """
        p = self.parameters
        own, hours, btc = data.candles, data.other[Timeframe.M60], data.btc[Timeframe.M240]
        high = indicators.rolling_max(hours.high, _HOURS_OF_A_DAY)
        low = indicators.rolling_min(hours.low, _HOURS_OF_A_DAY)
        change = indicators.change_pct(btc.close, p.btc_bars)
        trend = np.where(change > p.btc_trend_pct, 1.0, np.where(change < -p.btc_trend_pct, -1.0, 0.0))
        ranges = [data.other[timeframe] for timeframe in LEVEL_TIMEFRAMES] + [own] * (p.level_timeframes - 4)
        strength = np.sum([self._near(own, other) for other in ranges], axis=0)
        return {
            **super().indicators(data),
            "fib_strength": strength,
            "volatility_pct": as_of_close(own, hours, (high - low) / low * 100),
            "btc_trend": as_of_close(own, btc, np.where(np.isnan(change), np.nan, trend)),
            "funding_rate": funding_as_of_close(own, data.funding),
        }

    @staticmethod
    def entries(v: Values, p: FibonacciBollingerParameters) -> Entries:  # type: ignore[override]
        basic = stretched(v, p)
        near = v.fib_strength > 0
        calm = v.volatility_pct <= p.max_volatility_pct
        allowed = calm & (near | (p.level_required < 1))
        up, down = v.btc_trend > 0, v.btc_trend < 0
        paid_long, paid_short = v.funding_rate < 0, v.funding_rate > 0
        any_trend, any_funding = p.trend_required < 1, p.funding_required < 1
        neutral = v.btc_trend == 0
        long = basic.long & allowed & (up | (neutral & any_trend)) & (paid_long | any_funding)
        short = basic.short & allowed & (down | (neutral & any_trend)) & (paid_short | any_funding)
        confidence = (
            basic.confidence
            + p.level_bonus * near
            + p.trend_bonus * ((long & up) | (short & down))
            + p.funding_bonus * ((long & paid_long) | (short & paid_short))
        )
        return Entries(long, short, confidence)

    @classmethod
    def grid(cls) -> ParameterSets:
        return combinations(
            cls.Parameters,
            [{"band": 0.7}, {"band": 0.9}],
            [{"max_volatility_pct": 50.0}, {"max_volatility_pct": 15.0}],
            STOPS,
        )

    def _near(self, own: Candles, other: Candles) -> FloatArray:
        """1 where the close is near a level of `other`, whose window had ended when the own bar opened, else 0."""
        p = self.parameters
        low = as_of_open(own, other, indicators.rolling_min(other.low, p.level_window))
        high = as_of_open(own, other, indicators.rolling_max(other.high, p.level_window))
        return indicators.near_level(own.close, low, high, RATIOS, p.near_pct)
