"""What a strategy asks for, sees and answers: records only. Strategies are in `trading_assets.strategies`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding
from trading_assets.core.errors import StrategyError
from trading_assets.core.exits import NO_PLAN, ExitPlan
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe

MOST_WARM_UP_BARS = 10_000
"""A longer warm-up is refused: a week of 1m candles, four and a half years of 240m ones."""


@dataclass(frozen=True)
class DataNeeds:
    """Data beyond the bars of the window.

    Attributes:
        warm_up: bars of the own timeframe before the first decided bar: one number for all timeframes, or one for each
            (`WARM_UP_BARS` for those that are not named). Fewer than `WARM_UP_BARS` count as that many.
        candles: bars of other timeframes of the symbol itself that must be known at the first decided bar.
        btc: bars of the venue's BTC perpetual likewise.
        funding: whether funding rates are needed: a strategy that does not say so and reads them fails.
    """

    candles: Mapping[Timeframe, int] = field(default_factory=dict)
    btc: Mapping[Timeframe, int] = field(default_factory=dict)
    funding: bool = False
    warm_up: int | Mapping[Timeframe, int] = WARM_UP_BARS

    def __post_init__(self) -> None:
        declared = self.warm_up.values() if isinstance(self.warm_up, Mapping) else (self.warm_up,)
        for bars in declared:
            if type(bars) is not int or not 0 <= bars <= MOST_WARM_UP_BARS:
                raise StrategyError(f"warm-up of {bars!r} bars; expected a whole number from 0 to {MOST_WARM_UP_BARS}")

    def warm_up_bars(self, timeframe: Timeframe) -> int:
        """Bars before the first decided bar of a timeframe, at least `WARM_UP_BARS`."""
        declared = self.warm_up.get(timeframe, 0) if isinstance(self.warm_up, Mapping) else self.warm_up
        return max(declared, WARM_UP_BARS)

    def within(self, other: DataNeeds, timeframe: Timeframe) -> bool:
        """Whether data that were loaded for `other` on a timeframe are enough."""
        wanted = ((self.candles, other.candles), (self.btc, other.btc))
        return (
            self.warm_up_bars(timeframe) <= other.warm_up_bars(timeframe)
            and self.funding <= other.funding
            and all(bars <= held.get(of, 0) for needed, held in wanted for of, bars in needed.items())
        )

    @classmethod
    def deepest(cls, needs: Iterable[DataNeeds]) -> DataNeeds:
        """What covers all of them."""
        listed = list(needs)
        return cls(
            candles=_deepest(need.candles for need in listed),
            btc=_deepest(need.btc for need in listed),
            funding=any(need.funding for need in listed),
            warm_up=_longest(listed),
        )


def _longest(listed: list[DataNeeds]) -> int | dict[Timeframe, int]:
    if all(isinstance(need.warm_up, int) for need in listed):
        return max((need.warm_up_bars(Timeframe.M1) for need in listed), default=WARM_UP_BARS)
    return {timeframe: max(need.warm_up_bars(timeframe) for need in listed) for timeframe in Timeframe}


def _deepest(wanted: Iterable[Mapping[Timeframe, int]]) -> dict[Timeframe, int]:
    deepest: dict[Timeframe, int] = {}
    for one in wanted:
        for timeframe, bars in one.items():
            deepest[timeframe] = max(bars, deepest.get(timeframe, 0))
    return deepest


class _UndeclaredFunding(Funding):
    """What a strategy is given that declares no funding: live does not load it, so whoever reads it is told."""

    def __getattribute__(self, name: str) -> object:
        if name in ("time_ms", "rate"):
            raise StrategyError(
                "it reads funding rates that it does not declare; expected needs() to return DataNeeds(funding=True)"
            )
        return super().__getattribute__(name)


UNDECLARED_FUNDING: Funding = _UndeclaredFunding.empty()


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
        exit_long, exit_short: a position of that side is closed at this bar's close; None where none ever is so.
        exits: what else ends a position.
    """

    long: BoolArray
    short: BoolArray
    confidence: FloatArray
    stop_distance: FloatArray
    reward_risk: float
    indicators: Mapping[str, FloatArray]
    exit_long: BoolArray | None = None
    exit_short: BoolArray | None = None
    exits: ExitPlan = NO_PLAN
