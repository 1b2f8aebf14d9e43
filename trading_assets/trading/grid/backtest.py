"""A plan of a grid over a time: both readings of its bars, and what they are compared with. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import Instrument
from trading_assets.trading.grid.bars import bars_of, legs_of
from trading_assets.trading.grid.levels import GridError, Plan
from trading_assets.trading.grid.simulation import GridCosts, GridResult, simulate

MANY_WIDE_BARS_PCT = 5.0
"""Above that share of bars that span two levels or more, a shorter timeframe tells more."""


@dataclass(frozen=True)
class GridBacktest:
    """What a grid would have come to.

    Attributes:
        proven: what the bars prove; its figures are those that count.
        path: the same over one way of the price that the bars allow (`legs_of`). Between both lies what bars of this
            length cannot tell, and often the truth.
        wide_bars_pct: share of the bars that span two levels or more.
        holding: what the plan's capital would have come to in the coin itself, without leverage, USD.
    """

    proven: GridResult
    path: GridResult
    wide_bars_pct: float
    holding: float

    @property
    def return_pct(self) -> float:
        """Of the capital that was reserved, percent."""
        return float(self.proven.figures.total / self.proven.plan.capital * 100)

    @property
    def uncertain(self) -> float:
        """How far both readings lie apart, USD."""
        return abs(float(self.path.figures.total - self.proven.figures.total))


def backtest(
    plan: Plan,
    candles: Candles,
    instrument: Instrument,
    costs: GridCosts,
    funding: Funding,
    *,
    detail: Candles | None = None,
) -> GridBacktest:
    """Run a plan from the close of the first candle to that of the last.

    Args:
        detail: shorter candles of the same time; where they are whole they stand for the longer ones.

    Raises:
        GridError: bounds or levels make no grid, or there are too few candles.
    """
    bars = bars_of(candles, detail)
    if len(bars) < 2:
        raise GridError(f"{len(bars)} candles of {plan.symbol}: a backtest of a grid needs 2 or more")
    proven = simulate(plan, bars, instrument, costs, funding)
    path = simulate(plan, legs_of(bars), instrument, costs, funding)
    step = min(float(one.high - one.low) for one in proven.levels)
    wide = 100.0 * float(np.mean(bars.high - bars.low >= 2 * step))
    moved = Decimal(repr(float(bars.close[-1]))) / Decimal(repr(float(bars.close[0]))) - 1
    return GridBacktest(proven, path, wide, float(plan.capital * moved))
