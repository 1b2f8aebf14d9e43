"""`bollinger_rsi`: a stretched price in its Bollinger bands, confirmed by RSI, on its own timeframe alone."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from trading_assets.core.candles import FloatArray
from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies import indicators
from trading_assets.strategies.base import STOPS, Entries, Parameters, ParameterSets, Strategy, Values, combinations


class BollingerRsiParameters(Parameters):
    """The defaults are the numbers of the strategy as described (docs/choices.md)."""

    bollinger_period: int = Field(20, ge=2, description="bars of the bands")
    bollinger_deviations: float = Field(2.0, gt=0, description="half width of the bands, standard deviations")
    band: float = Field(0.7, gt=0, description="long below -band, short above band")
    rsi_period: int = Field(14, ge=2, description="bars of the RSI")
    rsi_low: float = Field(30.0, ge=0, le=100, description="no entry with RSI below")
    rsi_high: float = Field(70.0, ge=0, le=100, description="no entry with RSI above")
    rsi_extreme_low: float = Field(35.0, ge=0, le=100, description="long with RSI below is extreme")
    rsi_extreme_high: float = Field(65.0, ge=0, le=100, description="short with RSI above is extreme")
    extreme_required: bool = Field(False, description="no entry without an extreme RSI; else that is a bonus alone")
    base_confidence: float = Field(60.0, ge=0, le=100, description="confidence without any bonus, percent")
    extreme_bonus: float = Field(10.0, ge=0, le=100, description="confidence that an extreme RSI adds")

    @property
    def highest_confidence(self) -> float:
        """Confidence of an entry that earns every bonus."""
        return self.base_confidence + self.extreme_bonus

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rsi_low >= self.rsi_high:
            raise ValueError(
                f"rsi_low {self.rsi_low:g} must lie below rsi_high {self.rsi_high:g}, else nothing is ever an entry"
            )
        if self.highest_confidence > 100:
            raise ValueError(
                f"base_confidence and all bonuses add up to {self.highest_confidence:g}, at most 100 is possible"
            )
        return self


class BollingerRsi(Strategy):
    """Long below -0.7 of the bands, short above 0.7, with RSI between 30 and 70."""

    name = "bollinger_rsi"
    description = "Bollinger band and RSI on its own timeframe"
    version = "2"
    active_by_default = True
    described_parameters = frozenset(BollingerRsiParameters.model_fields)
    Parameters = BollingerRsiParameters
    parameters: BollingerRsiParameters

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        p = self.parameters
        close = data.candles.close
        return {
            "bb_position": indicators.bollinger_position(close, p.bollinger_period, p.bollinger_deviations),
            "rsi": indicators.rsi(close, p.rsi_period),
        }

    @staticmethod
    def entries(v: Values, p: BollingerRsiParameters) -> Entries:
        return stretched(v, p)

    @classmethod
    def grid(cls) -> ParameterSets:
        return combinations(
            cls.Parameters,
            [{"band": 0.7}, {"band": 0.9}],
            [{"rsi_low": 30.0, "rsi_high": 70.0}, {"rsi_low": 20.0, "rsi_high": 80.0}],
            STOPS,
        )


def stretched(v: Values, p: BollingerRsiParameters) -> Entries:
    """Entries of this strategy, for strategies that extend it."""
    moderate = (v.rsi >= p.rsi_low) & (v.rsi <= p.rsi_high)
    any_rsi = p.extreme_required < 1
    extreme_long, extreme_short = v.rsi < p.rsi_extreme_low, v.rsi > p.rsi_extreme_high
    long = moderate & (v.bb_position < -p.band) & (extreme_long | any_rsi)
    short = moderate & (v.bb_position > p.band) & (extreme_short | any_rsi)
    extreme = (long & extreme_long) | (short & extreme_short)
    return Entries(long, short, p.base_confidence + p.extreme_bonus * extreme)
