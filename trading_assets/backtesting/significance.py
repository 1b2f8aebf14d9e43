"""How likely a backtest is to be luck: Sharpe ratios corrected for chance, and a p-value of its trades.

Arithmetic on figures and trades only: which backtests are compared is the business of `selection`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from trading_assets.core.candles import FloatArray

RESAMPLES = 1000
MIN_TRADES = 5
"""Fewer trades have no p-value: there are too few different ways to draw them again."""

_NORMAL = NormalDist()
_EULER_MASCHERONI = 0.5772156649015329


def probabilistic_sharpe(
    sharpe: float, bars: int, skewness: float, kurtosis: float, *, benchmark: float = 0.0
) -> float:
    """Chance, 0 to 1, that the true Sharpe ratio lies above `benchmark` (Bailey and Lopez de Prado 2012, eq. 11).

    Args:
        sharpe, benchmark: per bar, not annualised.
        bars: number of returns; fewer than two give NaN.
        skewness, kurtosis: of the returns; a normal distribution has 0 and 3.
    """
    if bars < 2:
        return math.nan
    spread = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if spread <= 0:
        # No distribution has it but that of two values, whose Sharpe ratio is then known without error.
        return 1.0 if sharpe > benchmark else 0.0
    return _NORMAL.cdf((sharpe - benchmark) * math.sqrt((bars - 1) / spread))


def expected_maximum(trials: int) -> float:
    """Expected highest of `trials` independent standard normal values (Bailey and Lopez de Prado 2014, eq. 6).

    An approximation that is good from about five trials on; 0 for a single trial.
    """
    if trials < 2:
        return 0.0
    return (1 - _EULER_MASCHERONI) * _NORMAL.inv_cdf(1 - 1 / trials) + _EULER_MASCHERONI * _NORMAL.inv_cdf(
        1 - 1 / (trials * math.e)
    )


def deflated_sharpe(
    sharpe: float, bars: int, skewness: float, kurtosis: float, *, trials: int, spread_of_trials: float
) -> float:
    """Probabilistic Sharpe ratio against the best that luck alone would give (Bailey and Lopez de Prado 2014, eq. 9).

    Args:
        trials: number of configurations of which this one is the best.
        spread_of_trials: standard deviation of the trials' Sharpe ratios, per bar.
    """
    luck = spread_of_trials * expected_maximum(trials)
    return probabilistic_sharpe(sharpe, bars, skewness, kurtosis, benchmark=luck)


def bootstrap_p_value(pnl: FloatArray, seed: int) -> float:
    """One-sided p-value of the hypothesis that a trade earns nothing on average, shape (k,) PnL of closed trades.

    The bootstrap-t (Efron and Tibshirani 1993, section 16.4): trades less their mean are drawn again with replacement,
    and the p-value is the share of draws whose t statistic reaches that of the trades, themselves counted as one.
    It is never below 2^-k, the chance of k wins in a row of a fair coin: from wins alone no loss can be drawn.

    Returns:
        In (0, 1]; NaN with fewer than `MIN_TRADES` trades. It says nothing of how many configurations were tried.
    """
    count = len(pnl)
    if count < MIN_TRADES:
        return math.nan
    from trading_assets.backtesting.kernel.resampling import reaching  # noqa: PLC0415 (numba: a second)

    reached = reaching(np.ascontiguousarray(pnl, dtype=np.float64), np.uint64(seed), RESAMPLES)
    return max((1 + reached) / (1 + RESAMPLES), 0.5**count)


def seed_from(key: Sequence[object]) -> int:
    """A seed from a row's key: the same in every process and on every machine."""
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
