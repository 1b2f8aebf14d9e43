"""What a sweep has found, and how the outcomes of its parts become one. Nothing is simulated here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field

import numpy as np

from trading_assets.backtesting.metrics import NO_TRADES
from trading_assets.core.candles import BoolArray, FloatArray, IntArray

FIGURES = len(astuple(NO_TRADES))


@dataclass(frozen=True)
class SweepResult:
    """The figures of each set of a strategy in each window of a panel: of each coin, where it has one alone.

    Attributes:
        figures: the fields of `Metrics`, shape (windows, sets, FIGURES); those of `NO_TRADES` where one failed.
        gains, risks: of closed trades the PnL in USD, and the distance of the stop as a fraction of price; those of a
            window and set from `starts` on, shapes (trades,), (windows, sets).
        failures: errors by window and set.
    """

    figures: FloatArray
    gains: FloatArray
    risks: FloatArray
    starts: IntArray
    failures: Mapping[tuple[int, int], Exception] = field(default_factory=dict)

    def pnl(self, coin: int, index: int) -> FloatArray:
        """PnL of the closed trades of one window and set, in order, USD."""
        return self.gains[self._places(coin, index)]

    def risk(self, coin: int, index: int) -> FloatArray:
        """Distance of their stops as a fraction of price."""
        return self.risks[self._places(coin, index)]

    def _places(self, coin: int, index: int) -> slice:
        start = int(self.starts[coin, index])
        return slice(start, start + int(self.figures[coin, index, 0]))

    @property
    def usable(self) -> BoolArray:
        """Whether a set did not fail, shape (windows, sets)."""
        usable = np.ones(self.starts.shape, dtype=bool)
        for place in self.failures:
            usable[place] = False
        return usable


def no_figures(sets: int) -> FloatArray:
    """Figures of sets without trades, shape (sets, FIGURES)."""
    return np.tile(np.array(astuple(NO_TRADES), dtype=np.float64), (sets, 1))


def joined(outcomes: Sequence[SweepResult]) -> SweepResult:
    """One outcome of all windows from those of some after others."""
    if len(outcomes) == 1:
        return outcomes[0]
    before = np.cumsum([0, *(len(outcome.gains) for outcome in outcomes[:-1])])
    firsts = np.cumsum([0, *(len(outcome.starts) for outcome in outcomes[:-1])]).tolist()
    return SweepResult(
        np.concatenate([outcome.figures for outcome in outcomes]),
        np.concatenate([outcome.gains for outcome in outcomes]),
        np.concatenate([outcome.risks for outcome in outcomes]),
        np.concatenate([outcome.starts + skip for outcome, skip in zip(outcomes, before, strict=True)]),
        {
            (first + window, index): error
            for first, outcome in zip(firsts, outcomes, strict=True)
            for (window, index), error in outcome.failures.items()
        },
    )


def ordered(outcome: SweepResult, order: IntArray) -> SweepResult:
    """The windows of an outcome in another order: `order` has the place of each."""
    moved = {int(place): at for at, place in enumerate(order)}
    return SweepResult(
        outcome.figures[order],
        outcome.gains,
        outcome.risks,
        outcome.starts[order],
        {(moved[window], index): error for (window, index), error in outcome.failures.items()},
    )


def merged_sets(outcomes: Sequence[SweepResult], places: Sequence[Sequence[int]]) -> SweepResult:
    """One outcome of all sets of a strategy, from those of parts of them on the same coins.

    Args:
        places: of each outcome the places of its sets among all.
    """
    if len(outcomes) == 1:
        return outcomes[0]
    order = np.argsort(np.concatenate([np.asarray(some, dtype=np.int64) for some in places]))
    before = np.cumsum([0, *(len(outcome.gains) for outcome in outcomes[:-1])])
    starts = [outcome.starts + skip for outcome, skip in zip(outcomes, before, strict=True)]
    return SweepResult(
        np.concatenate([outcome.figures for outcome in outcomes], axis=1)[:, order],
        np.concatenate([outcome.gains for outcome in outcomes]),
        np.concatenate([outcome.risks for outcome in outcomes]),
        np.concatenate(starts, axis=1)[:, order],
        {
            (coin, some[index]): error
            for outcome, some in zip(outcomes, places, strict=True)
            for (coin, index), error in outcome.failures.items()
        },
    )
