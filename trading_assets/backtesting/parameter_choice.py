"""Which of a strategy's parameter sets is used: decided on the in-sample part of the window, never on the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.significance import MIN_TRADES
from trading_assets.market.candles import BoolArray, FloatArray

_METRICS = [field.name for field in fields(Metrics)]
_TRADES, _SCORE, _PNL = (_METRICS.index(name) for name in ("in_sample_trades", "in_sample_score", "in_sample_pnl"))
_SHARPE = _METRICS.index("sharpe_ratio")


@dataclass(frozen=True)
class Tried:
    """What all parameter sets together tell of luck: those that traded, and their annualised Sharpe ratios."""

    configurations_traded: int
    sharpe_mean: float
    sharpe_spread: float


def choose(figures: FloatArray, parameters: Sequence[str], usable: BoolArray) -> int | None:
    """The chosen one of a strategy's parameter sets on one coin, timeframe and hour; None where none is usable.

    The set with the highest in-sample score, among those with `MIN_TRADES` trades there if there are any: a single
    lucky trade scores higher than twenty good ones. Ties go to the larger in-sample PnL, then to the parameters' text.
    The rest of the figures is not looked at, so the out-of-sample part tells what the choice is worth.

    Args:
        figures: the fields of `Metrics` of each set, shape (sets, fields).
        parameters: text of each set.
        usable: the sets that did not fail, shape (sets,).
    """
    trades, score, pnl = (figures[:, column].tolist() for column in (_TRADES, _SCORE, _PNL))
    return min(
        np.flatnonzero(usable).tolist(),
        key=lambda one: (trades[one] < MIN_TRADES, -score[one], -pnl[one], parameters[one]),
        default=None,
    )


def tried(figures: FloatArray, usable: BoolArray) -> Tried:
    """Of the same figures; a set that never traded has a Sharpe ratio of 0."""
    sharpe = figures[usable, _SHARPE]
    traded = sharpe[sharpe != 0]
    return Tried(len(traded), float(traded.mean()), float(traded.std())) if len(traded) else Tried(0, 0.0, 0.0)
