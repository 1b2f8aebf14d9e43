"""What a strategy asks for, sees and answers: records only. Strategies are in `trading_assets.strategies`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding
from trading_assets.core.timeframes import Timeframe


@dataclass(frozen=True)
class DataNeeds:
    """Data beyond the own timeframe's candles.

    Attributes:
        candles: bars of other timeframes of the symbol itself that must be known at the first decided bar.
        btc: bars of the venue's BTC perpetual likewise.
        funding: whether funding rates are needed.
    """

    candles: Mapping[Timeframe, int] = field(default_factory=dict)
    btc: Mapping[Timeframe, int] = field(default_factory=dict)
    funding: bool = False

    @classmethod
    def deepest(cls, needs: Iterable[DataNeeds]) -> DataNeeds:
        """What covers all of them."""
        listed = list(needs)
        return cls(
            candles=_deepest(need.candles for need in listed),
            btc=_deepest(need.btc for need in listed),
            funding=any(need.funding for need in listed),
        )


def _deepest(wanted: Iterable[Mapping[Timeframe, int]]) -> dict[Timeframe, int]:
    deepest: dict[Timeframe, int] = {}
    for one in wanted:
        for timeframe, bars in one.items():
            deepest[timeframe] = max(bars, deepest.get(timeframe, 0))
    return deepest


@dataclass(frozen=True)
class StrategyData:
    """What a strategy sees: closed candles only. `candles` begins with the warm-up.

    `other` holds closed candles of the other timeframes in `DataNeeds.candles`, `btc` those of the venue's BTC
    perpetual. Use `as_of_open`/`as_of_close` of `trading_assets.strategies.alignment` to bring them onto the own bars.
    Above `max_price` (in the settle coin) a position's quantity would be below the contract's smallest: no entry there.
    """

    symbol: str
    candles: Candles
    other: Mapping[Timeframe, Candles] = field(default_factory=dict)
    btc: Mapping[Timeframe, Candles] = field(default_factory=dict)
    funding: Funding = field(default_factory=Funding.empty)
    max_price: float = math.inf

    @property
    def timeframe(self) -> Timeframe:
        return self.candles.timeframe


@dataclass(frozen=True)
class Signals:
    """A strategy's decision at the close of every bar, shape (n,).

    Attributes:
        long, short: entry at this bar's close; never both.
        confidence: percent; NaN where there is no entry.
        stop_distance: distance of the stop from the entry price, price units; NaN before it is defined.
        reward_risk: the target stands `reward_risk` stop distances away.
        indicators: every array the strategy computed, by name, for reports and the signal's row.
    """

    long: BoolArray
    short: BoolArray
    confidence: FloatArray
    stop_distance: FloatArray
    reward_risk: float
    indicators: Mapping[str, FloatArray]
