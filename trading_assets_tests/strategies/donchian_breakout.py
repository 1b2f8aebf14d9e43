"""The example of README.md: a strategy as a user writes one. No test here."""

from pydantic import Field

from trading_assets.core.candles import FloatArray
from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values


class DonchianParameters(Parameters):
    channel: int = Field(20, ge=2, description="bars whose extremes make the channel")


class DonchianBreakout(Strategy):
    name = "donchian_breakout"
    description = "Close above the highest high, or below the lowest low, of the bars before"
    Parameters = DonchianParameters
    parameters: DonchianParameters

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        candles, bars = data.candles, self.parameters.channel
        return {
            "upper": indicators.previous(indicators.rolling_max(candles.high, bars)),
            "lower": indicators.previous(indicators.rolling_min(candles.low, bars)),
            "rsi": indicators.rsi(candles.close),
        }

    @staticmethod
    def entries(v: Values, p: DonchianParameters) -> Entries:
        return Entries(long=v.close > v.upper, short=v.close < v.lower, confidence=65.0)
