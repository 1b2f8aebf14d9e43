"""How likely a backtest is to be luck: Sharpe ratios corrected for chance, and a p-value of its trades.

Arithmetic on figures and trades only: which backtests are compared is the business of `selection`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from trading_assets.core.candles import FloatArray

MIN_TRADES = 5
"""Fewer trades have no p-value, and a parameter set with fewer is chosen only where no other has as many."""

MIN_TRADES_OF_SHARPE = 20
"""Fewer trades have no deflated Sharpe ratio: the t statistics of so few do not spread as luck spreads them. Where wins
are small beside losses more are needed: `least_trades_of_sharpe`."""

GAP_R = 1.5
"""The worst loss that a trade is supposed to have, in multiples of its risk and before costs: a stop that is jumped
over by half its distance. A worse one that was seen counts instead."""

SIGNIFICANT = 0.05
"""The p-value below which a result is called significant."""

_NORMAL = NormalDist()
_EULER_MASCHERONI = 0.5772156649015329
_FLOOR = 1e-12
"""The errors of the quadrature are smaller than that."""


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


def expected_maximum(trials: float) -> float:
    """Expected highest of `trials` independent standard normal values (Bailey and Lopez de Prado 2014, eq. 6).

    An approximation that is good from about five trials on; below two it falls to 0 for a single one.
    """
    if trials <= 1:
        return 0.0
    if trials < 2:
        return (trials - 1) * expected_maximum(2)
    return (1 - _EULER_MASCHERONI) * _NORMAL.inv_cdf(1 - 1 / trials) + _EULER_MASCHERONI * _NORMAL.inv_cdf(
        1 - 1 / (trials * math.e)
    )


def deflated_sharpe(
    sharpe: float, bars: int, skewness: float, kurtosis: float, *, trials: float, spread_of_trials: float
) -> float:
    """Probabilistic Sharpe ratio against the best that luck alone would give (Bailey and Lopez de Prado 2014, eq. 9).

    Args:
        trials: number of independent configurations of which this one is the best.
        spread_of_trials: standard deviation of the trials' Sharpe ratios, per bar; 1 / sqrt(bars) by luck alone.
    """
    luck = spread_of_trials * expected_maximum(trials)
    return probabilistic_sharpe(sharpe, bars, skewness, kurtosis, benchmark=luck)


def mean_p_value(results: FloatArray, worst: float) -> float:
    """One-sided p-value of the hypothesis that the mean of bounded results is not above zero.

    Gaffke's statistic (Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a
    nonnegative variable", Mathematical Methods of Statistics 14(4); Learned-Miller and Thomas 2019, arXiv 1905.06208):
    the results and the bound share random weights of sum one, uniform over all such weights, and the p-value is the
    chance that the weighted sum is not positive. Weights are exponential numbers over their sum, so it is the chance
    that a sum of exponential numbers times results is not positive; the inversion formula of Gil-Pelaez (1951) gives it
    without any drawing. n results of +a alone give (worst / (a + worst))^n, the chance of so many in a row if the mean
    were zero. It is smaller for every larger result.

    Args:
        results: of each trade, shape (n,), such as multiples of its risk.
        worst: the largest loss that a trade can have, > 0, in the same unit. Without such a bound no test of a mean is
            valid (Bahadur and Savage 1956); a larger loss among the results replaces it.

    Returns:
        In (0, 1]; 1 without results. It says nothing of how many configurations were tried.
    """
    if not len(results):
        return 1.0
    values = np.append(results, -max(worst, -float(results.min())))
    values = values[values != 0]
    # The more results, the more waves the integrand has: as many nodes for each.
    nodes, weights = _quadrature(max(64, 1 << math.ceil(math.log2(16 * math.sqrt(len(values))))))
    scale = 2 / math.sqrt(float(values @ values))
    at = scale * nodes / (1 - nodes)
    with np.errstate(over="ignore", invalid="ignore"):
        # The reciprocal of the characteristic function only grows with each factor: what overflows adds nothing.
        reciprocal = np.prod(1 - 1j * np.outer(values, at), axis=0)
        heights = np.where(np.isfinite(reciprocal), (1 / reciprocal).imag, 0.0) / at
    integral = float(weights @ (heights * scale / (1 - nodes) ** 2))
    return min(max(0.5 - integral / math.pi, _FLOOR), 1.0)


@cache
def _quadrature(count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the Gauss-Legendre rule on (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def trades_p_value(pnl: FloatArray, risk: FloatArray, costs: float) -> tuple[float, float]:
    """`mean_p_value` of closed trades in multiples of their risk, and the win rate at which it would be no edge.

    Args:
        pnl: net of costs, USD, shape (n,).
        risk: loss of each trade at its stop, before costs, USD, shape (n,).
        costs: fees and slippage of both fills of one trade, USD.

    Returns:
        The p-value, NaN with fewer than `MIN_TRADES` trades; and worst loss / (worst loss + largest win), the share of
        wins at which trades of these two results earn nothing (see `least_trades`), NaN without a win.
    """
    if len(pnl) < MIN_TRADES:
        return math.nan, math.nan
    multiples = pnl / risk
    worst = max(GAP_R + costs / float(risk.min()), -float(multiples.min()))
    best = float(multiples.max())
    return mean_p_value(multiples, worst), worst / (worst + best) if best > 0 else math.nan


def corrected(p_value: Any, trials: Any) -> Any:
    """The p-value of the best of `trials` independent tries: 1 - (1 - p)^trials (Sidak 1967), of one or by row."""
    return -np.expm1(trials * np.log1p(-np.minimum(p_value, 1 - 1e-16)))


def least_trades(break_even: Any, trials: Any) -> Any:
    """How many trades it takes until a record of wins alone could be called significant among so many tries.

    Args:
        break_even: the share of wins at which trades earn nothing, between 0 and 1 (see `trades_p_value`).
        trials: number of independent tries.

    Returns:
        At least 1; NaN where no number would do.
    """
    wanted = -np.expm1(np.log1p(-SIGNIFICANT) / trials)
    # A win so small beside the worst loss that their sum is that loss: no number of them would do.
    share = np.where((break_even > 0) & (break_even < 1), break_even, np.nan)
    return np.maximum(np.ceil(np.log(wanted) / np.log(share) - 1e-9), 1.0)


def least_trades_of_sharpe(break_even: Any, trials: Any) -> Any:
    """How many trades a deflated Sharpe ratio needs, see `least_trades`.

    A record of wins alone spreads so little that its Sharpe ratio looks certain, and where wins are small beside losses
    the best of many tries is such a record by luck. So there are to be as many trades as that luck would not give.
    """
    return np.fmax(MIN_TRADES_OF_SHARPE, least_trades(break_even, trials))


def effective_trials(count: Any, statistics_variance: Any) -> Any:
    """How many independent tries a family of similar configurations stands for, at least 1 and at most `count`.

    Configurations whose results correlate by r are worth about r + (1 - r) count tries (Lopez de Prado and Lewis 2019,
    "Detection of false investment strategies using unsupervised learning methods", Quantitative Finance 19(9)). t
    statistics that luck alone spreads by 1 differ within such a family by a variance of 1 - r: that variance, two
    standard errors more, gives r. Where they differ by more than luck, each counts.

    Args:
        count: configurations of one strategy on one coin and timeframe that traded.
        statistics_variance: variance of their t statistics, as of a sample.
    """
    error = 2 * np.sqrt(2 / np.maximum(count - 1, 1))
    apart = np.clip(statistics_variance * (1 + error), 0.0, 1.0)
    return np.clip(1 - apart + apart * count, 1.0, np.maximum(count, 1.0))


def seed_from(key: Sequence[object]) -> int:
    """A seed from a row's key: the same in every process and on every machine."""
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
