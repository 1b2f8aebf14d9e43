"""`trading-assets bench luck`: how often the tests against luck are wrong, and how often they see what is there.

Simulated worlds whose truth is known, judged by the functions that judge backtests. No market, no engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from trading_assets.backtesting.metrics import moments
from trading_assets.backtesting.significance import (
    GAP_R,
    SIGNIFICANT,
    corrected,
    deflated_sharpe,
    effective_trials,
    least_trades_of_sharpe,
    mean_p_value,
)
from trading_assets.core.candles import FloatArray
from trading_assets.core.timeframes import DAY_MS
from trading_assets.reporting.estimates import mean_by_day

DRAWS = 2000
COUNTS = (5, 10, 20, 50)
"""Trades of a backtest."""

RECORDS = (20, 30, 50, 100)
"""Trades of a backtest that has a deflated Sharpe ratio."""

DAYS = (10, 30, 90)
"""Days of a report."""

_BARS = 1000
_LEVEL = 1 - SIGNIFICANT

Draw = Callable[[np.random.Generator, int], FloatArray]


@dataclass(frozen=True)
class Cell:
    """How often a test called something significant.

    Attributes:
        test: what was tested, such as `p-value of 10 trades`.
        world: what was simulated.
        edge: what is truly there; 0 where each finding is an error. Mean result of a trade in R, or a t statistic.
        share: of the draws, 0 to 1.
    """

    test: str
    world: str
    edge: float
    share: float


def luck(draws: int = DRAWS, seed: int = 1) -> list[Cell]:
    """Every world judged `draws` times."""
    rng = np.random.default_rng(seed)
    return [*_means(rng, draws), *_searches(rng, draws), *_records(rng, draws), *_intervals(rng, draws)]


def table(cells: list[Cell], draws: int) -> Table:
    """A line for each cell: type I error where there is no edge, power where there is one."""
    shown = Table("test", "world", "edge", "found, %", title=f"{draws:,} draws each, level {SIGNIFICANT:.0%}")
    for cell in cells:
        shown.add_row(cell.test, cell.world, f"{cell.edge:g}" if cell.edge else "none", f"{100 * cell.share:.1f}")
    return shown


def _means(rng: np.random.Generator, draws: int) -> Iterator[Cell]:
    """`mean_p_value` of results in R: losses of 1, wins of several sizes, losses beyond the stop now and then."""
    worlds: list[tuple[str, float, Draw]] = [
        *((f"{win:g} : 1", 0.0, _two_results(win, 0.0)) for win in (0.25, 0.5, 1.0, 2.0)),
        ("2 : 1, sizes 0.5 to 1.5", 0.0, _of_any_size),
        ("1 : 1, one of 50 loses 5", 0.0, _with_gaps),
        ("0.5 : 1", 0.3, _two_results(0.5, 0.3)),
        ("2 : 1", 0.6, _two_results(2.0, 0.6)),
    ]
    for world, edge, draw in worlds:
        for count in COUNTS:
            found = sum(mean_p_value(draw(rng, count), GAP_R) <= SIGNIFICANT for _ in range(draws))
            yield Cell(f"p-value, {count} trades", world, edge, found / draws)


def _two_results(win: float, edge: float) -> Draw:
    chance = (1 + edge) / (1 + win)
    return lambda rng, count: np.where(rng.random(count) < chance, win, -1.0)


def _of_any_size(rng: np.random.Generator, count: int) -> FloatArray:
    return np.where(rng.random(count) < 1 / 3, 2.0, -1.0) * rng.uniform(0.5, 1.5, count)


def _with_gaps(rng: np.random.Generator, count: int) -> FloatArray:
    chance = rng.random(count)
    win = (0.02 * 5 + 0.98) / (0.98 * 2)
    return np.where(chance < 0.02, -5.0, np.where(rng.random(count) < win, 1.0, -1.0))


def _searches(rng: np.random.Generator, draws: int) -> Iterator[Cell]:
    """The best of many configurations: t statistics in families (strategy and timeframe) of alike parameter sets."""
    families, sets = 5, 20
    worlds: list[tuple[str, float, float, float]] = [
        ("5 families of 20 independent sets", 0.0, 0.0, 0.0),
        ("5 families of 20 sets that correlate by 0.9", 0.9, 0.0, 0.0),
        ("the same, costs of 0 to 4", 0.9, 4.0, 0.0),
        ("the same, costs of 0 to 4", 0.9, 4.0, 3.0),
        ("the same, costs of 0 to 4", 0.9, 4.0, 4.0),
    ]
    for world, likeness, costs, edge in worlds:
        deflated = sidak = 0
        for _ in range(draws):
            common = rng.normal(size=(families, 1))
            found = math.sqrt(likeness) * common + math.sqrt(1 - likeness) * rng.normal(size=(families, sets))
            found -= np.linspace(0, costs, families)[:, None]
            found[0] += edge
            tries = float(effective_trials(sets, found.var(axis=1, ddof=1)).sum())
            best = float(found.max())
            luck_alone = 1 / math.sqrt(_BARS)
            chance = deflated_sharpe(best * luck_alone, _BARS, 0.0, 3.0, trials=tries, spread_of_trials=luck_alone)
            deflated += chance > _LEVEL
            sidak += corrected(0.5 * math.erfc(best / math.sqrt(2)), tries) <= SIGNIFICANT
        yield Cell("deflated Sharpe", world, edge, deflated / draws)
        yield Cell("corrected p-value of the best", world, edge, float(sidak) / draws)


def _records(rng: np.random.Generator, draws: int) -> Iterator[Cell]:
    """The deflated Sharpe ratio of few trades of two results, of the best of several independent tries."""
    for tries in (1, 60):
        for win in (0.25, 0.5, 1.0, 2.0):
            for count in RECORDS:
                wins = rng.binomial(count, 1 / (1 + win), size=(draws, tries)).max(axis=1)
                least = least_trades_of_sharpe(GAP_R / (GAP_R + win), tries)
                chances = {won: _of_record(won, count, win, tries) for won in set(wins.tolist())}
                found = sum(chances[won] > _LEVEL for won in wins.tolist()) if count >= least else 0
                yield Cell(f"deflated Sharpe, {count} trades, best of {tries}", f"{win:g} : 1", 0.0, found / draws)


def _intervals(rng: np.random.Generator, draws: int) -> Iterator[Cell]:
    """The interval of a report's mean trade, by day: how often it leaves out a mean of zero, on either side.

    Five trades a day on average. Where those of a day are alike, the day's chance of a win is 0.2 or 1.8 times the
    usual one (0.5 or 1.5 times where wins are half of losses).
    """
    for alike in (False, True):
        for win in (0.5, 2.0):
            for days in DAYS:
                found = 0
                for _ in range(draws):
                    count = rng.poisson(4, days) + 1
                    chance = np.full(days, 1 / (1 + win))
                    chance *= (1 + min(0.8, win) * rng.choice([-1.0, 1.0], days)) if alike else 1.0
                    of_day = np.repeat(np.arange(days, dtype=np.int64), count)
                    results = np.where(rng.random(len(of_day)) < chance[of_day], win, -1.0)
                    found += mean_by_day(results, of_day * DAY_MS).excludes_zero
                world = f"{win:g} : 1" + (", trades of a day alike" if alike else "")
                yield Cell(f"interval of a mean, {days} days", world, 0.0, found / draws)


def _of_record(won: int, count: int, win: float, tries: int) -> float:
    """The deflated Sharpe ratio of so many wins among the trades, each result on a bar of its own."""
    results = np.zeros(_BARS)
    results[:won], results[won:count] = win, -1.0
    spread, skewness, kurtosis = moments(results)
    sharpe = float(results.mean()) / spread
    return deflated_sharpe(sharpe, _BARS, skewness, kurtosis, trials=tries, spread_of_trials=1 / math.sqrt(_BARS))
