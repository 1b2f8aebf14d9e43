"""Which of a strategy's parameter sets is used: decided on the in-sample part of the window, never on the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.significance import MIN_TRADES
from trading_assets.core.candles import BoolArray, FloatArray, IntArray

_METRICS = [field.name for field in fields(Metrics)]
_TRADES, _SCORE, _PNL = (_METRICS.index(name) for name in ("in_sample_trades", "in_sample_score", "in_sample_pnl"))
_SHARPE = _METRICS.index("sharpe_ratio")


@dataclass(frozen=True)
class Trials:
    """What all parameter sets together tell of luck, by coin: those that traded, and their annualised Sharpe ratios."""

    configurations_traded: IntArray
    sharpe_mean: FloatArray
    sharpe_spread: FloatArray


def choose_parameters(figures: FloatArray, parameters: Sequence[str], usable: BoolArray) -> IntArray:
    """The chosen one of a strategy's parameter sets on each coin at a timeframe and hour; -1 where none is usable.

    The set with the highest in-sample score, among those with `MIN_TRADES` trades there if there are any: a single
    lucky trade scores higher than twenty good ones. Ties go to the larger in-sample PnL, then to the parameters' text.
    The rest of the figures is not looked at, so the out-of-sample part tells what the choice is worth.

    Args:
        figures: the fields of `Metrics`, shape (coins, sets, fields).
        parameters: text of each set.
        usable: the sets that did not fail, shape (coins, sets).
    """
    if len(parameters) == 1:
        return np.where(usable[:, 0], 0, -1)
    trades, score, pnl = (figures[:, :, column] for column in (_TRADES, _SCORE, _PNL))
    text = np.broadcast_to(_ranks(tuple(parameters)), usable.shape)
    best = np.lexsort((text, -pnl, -score, trades < MIN_TRADES, ~usable), axis=-1)[:, 0]
    return np.where(usable.any(axis=1), best, -1)


@lru_cache(maxsize=64)
def _ranks(texts: tuple[str, ...]) -> IntArray:
    return np.argsort(np.argsort(np.array(texts)))


def trials_from(figures: FloatArray, usable: BoolArray) -> Trials:
    """Of the same figures; a set that never traded has a Sharpe ratio of 0."""
    sharpe = figures[:, :, _SHARPE]
    counts = usable & (sharpe != 0)
    traded = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(counts, sharpe, 0.0).sum(axis=1) / traded
        spread = np.sqrt((np.where(counts, sharpe - mean[:, None], 0.0) ** 2).sum(axis=1) / traded)
    return Trials(traded, np.where(traded > 0, mean, 0.0), np.where(traded > 0, spread, 0.0))
