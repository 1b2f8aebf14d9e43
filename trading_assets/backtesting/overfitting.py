"""Does the best of many tries stay the best, and how deep may a drawdown be? Resampling of results, no simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from trading_assets.core.candles import FloatArray

BLOCKS = 10
"""Parts of the time: 252 ways to take one half of them."""

MIN_PERIODS = 4 * BLOCKS
MIN_TRIES = 5
"""With fewer periods or tries the probability of overfitting says nothing."""

PATHS, BLOCK_DAYS, MIN_DAYS = 1_000, 3, 20
"""Of a drawdown's bootstrap: paths, days that stay together, and days that are needed at least."""


@dataclass(frozen=True)
class Overfitting:
    """What combinatorially symmetric cross-validation says (Bailey, Borwein, Lopez de Prado and Zhu 2017, "The
    probability of backtest overfitting", Journal of Computational Finance 20(4)).

    Attributes:
        probability: share of the splits in which the best try of one half is not above the middle in the other half.
            About a half where ranks are luck. It is of ranks, not of money: where costs alone tell tries apart it is
            small, although all of them lose. NaN where `reason` is given.
        interval: of the mean of such probabilities over other draws of the same world, by leaving out blocks of the
            time. It held that mean in 93 and 90 of 100 draws (no edge; one of 40 tries with a true t of 3), and it is
            wide: one record says little. NaN with fewer than four blocks.
        loss: share of the splits in which the best try of one half loses money in the other half.
        slope: of the result in the other half on that in the first, by the chosen tries of all splits.
        splits, tries: how many; `tries` counts those that traded.
        reason: why there is no verdict; empty where there is one.
    """

    probability: float
    interval: tuple[float, float]
    loss: float
    slope: float
    splits: int
    tries: int
    reason: str = ""


def overfitting(results: FloatArray, blocks: int = BLOCKS) -> Overfitting:
    """The probability of backtest overfitting of tries.

    Args:
        results: of each try in each period, such as USD in an hour, shape (periods, tries): all tries, also the bad
            ones. Periods should be longer than positions are held. A try without any result does not count.
        blocks: even; so many parts the time is cut into.
    """
    traded = results[:, np.any(results != 0, axis=0)]
    periods, tries = traded.shape
    if periods < MIN_PERIODS or tries < MIN_TRIES:
        reason = (
            f"too few: {periods} {'period' if periods == 1 else 'periods'} and {tries} "
            f"{'try' if tries == 1 else 'tries'} that traded; at least {MIN_PERIODS} and {MIN_TRIES} are needed"
        )
        return Overfitting(math.nan, (math.nan, math.nan), math.nan, math.nan, 0, tries, reason)
    parts = np.array_split(traded, blocks)
    moments = np.array([[part.sum(axis=0), (part**2).sum(axis=0), np.full(tries, len(part))] for part in parts])
    found, loss, slope, splits = _of_blocks(moments)
    if blocks < 4:
        return Overfitting(found, (math.nan, math.nan), loss, slope, splits, tries)
    # One block left out at a time, and one more, as halves must be equal: the jackknife of pairs of blocks.
    left_out = [_of_blocks(np.delete(moments, [block, (block + 1) % blocks], axis=0))[0] for block in range(blocks)]
    spread = float(np.sqrt((blocks - 2) / 2 * np.mean((np.array(left_out) - np.mean(left_out)) ** 2)))
    low, high = max(found - 1.96 * spread, 0.0), min(found + 1.96 * spread, 1.0)
    return Overfitting(found, (low, high), loss, slope, splits, tries)


def _of_blocks(moments: FloatArray) -> tuple[float, float, float, int]:
    """Probability, share of losses, slope and number of splits, from sums of each block, shape (blocks, 3, tries)."""
    blocks, _, tries = moments.shape
    below, lost = list[float](), list[bool]()
    seen, unseen = list[float](), list[float]()
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.zeros(blocks, dtype=bool)
        inside[list(chosen)] = True
        in_sample, mean_in = _scores(moments[inside].sum(axis=0))
        out_of_sample, mean_out = _scores(moments[~inside].sum(axis=0))
        best = int(np.argmax(in_sample))
        # Ties share their middle rank, which lies in (0, 1).
        rank = (
            np.sum(out_of_sample < out_of_sample[best]) + 0.5 * np.sum(out_of_sample == out_of_sample[best])
        ) / tries
        below.append(1.0 if rank < 0.5 else 0.5 if rank == 0.5 else 0.0)
        lost.append(bool(mean_out[best] < 0))
        seen.append(float(mean_in[best]))
        unseen.append(float(mean_out[best]))
    spread = float(np.var(seen))
    slope = float(np.cov(seen, unseen, bias=True)[0, 1]) / spread if spread > 0 else math.nan
    return float(np.mean(below)), float(np.mean(lost)), slope, len(below)


def _scores(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sharpe ratio per period and mean of each try, from sum, sum of squares and count."""
    mean = sums[0] / sums[2]
    variance = np.maximum(sums[1] / sums[2] - mean**2, 0.0)
    spread = np.sqrt(variance)
    return np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0), mean


@dataclass(frozen=True)
class DrawdownPaths:
    """What else could have come of an account's days, in another order and with repetitions.

    Nobody's future, and no p-value: it assumes days like those that were seen.

    Attributes:
        seen: the largest drawdown that was, percent (<= 0).
        median, worst: of the paths; 5 % of them are deeper than `worst`. NaN where `reason` is given.
        end: 5 %, 50 % and 95 % of what the paths end with, percent of the opening equity.
        longest_days: 5 % of the paths stay below their peak for longer.
        days, block_days: how many were seen, and how many in a row stay together, so that losses may cluster.
        reason: why there is no verdict; empty where there is one.
    """

    seen: float
    median: float
    worst: float
    end: tuple[float, float, float]
    longest_days: float
    days: int
    block_days: int = BLOCK_DAYS
    reason: str = ""


def drawdown_paths(
    daily: FloatArray, capital: float, *, paths: int = PATHS, block_days: int = BLOCK_DAYS, seed: int = 1
) -> DrawdownPaths:
    """Draw the days of an account again, some in a row together (Politis and Romano 1994, "The stationary bootstrap",
    Journal of the American Statistical Association 89).

    Args:
        daily: the account's result of each day, all its positions together, USD, shape (days,).
        capital: opening equity, USD.
        block_days: mean number of days in a row that stay together.
        seed: the same number gives the same paths.
    """
    days = len(daily)
    seen = float(_drawdowns(daily[None] / capital)[0][0]) if days else 0.0
    if days < MIN_DAYS:
        nan = math.nan
        return DrawdownPaths(
            seen,
            nan,
            nan,
            (nan, nan, nan),
            nan,
            days,
            block_days,
            f"too few: {days} {'day' if days == 1 else 'days'}, at least {MIN_DAYS} are needed",
        )
    rng = np.random.default_rng(seed)
    begins = rng.random((paths, days)) < 1 / block_days
    begins[:, 0] = True
    drawn = np.where(begins, rng.integers(days, size=(paths, days)), 0)
    # Within a block each day follows the one before; after the last day comes the first.
    since = np.arange(days) - np.maximum.accumulate(np.where(begins, np.arange(days), 0), axis=1)
    first = np.take_along_axis(drawn, np.maximum.accumulate(np.where(begins, np.arange(days), 0), axis=1), axis=1)
    moves = daily[(first + since) % days] / capital
    depths, lengths = _drawdowns(moves)
    ends = np.quantile(moves.sum(axis=1) * 100, [0.05, 0.5, 0.95])
    return DrawdownPaths(
        seen,
        float(np.median(depths)),
        float(np.quantile(depths, 0.05)),
        (float(ends[0]), float(ends[1]), float(ends[2])),
        float(np.quantile(lengths, 0.95)),
        days,
        block_days,
    )


def _drawdowns(moves: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of paths of shape (paths, days) as fractions of the capital: the largest drawdown, percent, and the most days in
    a row below the peak."""
    equity = 1 + np.cumsum(moves, axis=1)
    peak = np.maximum.accumulate(np.maximum(equity, 1.0), axis=1)
    depths = np.minimum((equity / peak - 1).min(axis=1) * 100, 0.0)
    below = equity < peak * (1 - 1e-12)
    days = np.arange(1, moves.shape[1] + 1)
    since = days - np.maximum.accumulate(np.where(below, 0, days), axis=1)
    return depths, since.max(axis=1).astype(np.float64)
