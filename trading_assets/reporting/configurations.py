"""What each pair of strategy and timeframe earned, whether ranks of pairs last, and how large positions could be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.liquidity import slippage_by_bar
from trading_assets.backtesting.overfitting import MIN_PERIODS, Overfitting, overfitting
from trading_assets.core.candles import Candles, FloatArray, IntArray
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.estimates import MIN_TRADES, Estimate, mean_by_day
from trading_assets.reporting.trades import OPEN

PERIODS_H = (4, 6, 8, 12, 24)
SIZES = (1, 10, 100)
"""Positions so many times as large."""

MOST_OF_A_MINUTE = 0.01
"""An order of a larger share of a minute's turnover is called large."""


@dataclass(frozen=True)
class Configuration:
    """A pair of strategy and timeframe, in R of closed trades.

    Attributes:
        tried: of random choices among all backtests of the hours; None where nothing was drawn.
        traded: of what the report is about; None where it did not trade the pair.
    """

    strategy: str
    timeframe: str
    tried: Estimate | None
    traded: Estimate | None


@dataclass(frozen=True)
class ParameterSets:
    """Parameter sets of pairs: how many traded, and of those with `estimates.MIN_TRADES` trades, how many earned."""

    traded: int
    judged: int
    earned: int


def configurations(tried: pd.DataFrame, traded: pd.DataFrame) -> list[Configuration]:
    """By strategy and timeframe, the shorter ones first. Frames have `figures.TRADE_COLUMNS`."""
    of_tried, of_traded = _by_pair(tried), _by_pair(traded)
    pairs = sorted({*of_tried, *of_traded}, key=lambda pair: (pair[0], Timeframe(pair[1]).ms))
    return [Configuration(*pair, of_tried.get(pair), of_traded.get(pair)) for pair in pairs]


def _by_pair(trades: pd.DataFrame) -> dict[tuple[str, str], Estimate]:
    closed = trades[trades["reason"] != OPEN]
    return {
        (str(strategy), str(timeframe)): mean_by_day(rows["r"].to_numpy(), rows["entry_ms"].to_numpy())
        for (strategy, timeframe), rows in closed.groupby(["strategy", "timeframe"], observed=True)
    }


def parameter_sets(trades: pd.DataFrame) -> ParameterSets:
    """Of closed trades, by strategy, timeframe and parameters."""
    closed = trades[trades["reason"] != OPEN]
    rows = closed.groupby(["strategy", "timeframe", "parameters"])["r"].agg(["size", "mean"])
    judged = rows[rows["size"] >= MIN_TRADES]
    return ParameterSets(len(rows), len(judged), int((judged["mean"] > 0).sum()))


def ranks_last(trades: pd.DataFrame, start_ms: int, end_ms: int) -> Overfitting:
    """Probability of backtest overfitting of the pairs: R by exit in periods longer than 19 of 20 trades.

    Args:
        trades: of all pairs that could be chosen, the bad ones among them.
    """
    closed = trades[trades["reason"] != OPEN]
    held = (closed["exit_ms"] - closed["entry_ms"]).to_numpy(dtype=np.float64)
    longest = float(np.quantile(held, 0.95)) / HOUR_MS if len(held) else 0.0
    hours = next((one for one in PERIODS_H if one >= longest), 0)
    if not hours:
        nan, least = math.nan, PERIODS_H[-1]
        reason = f"one of twenty trades lasts longer than {longest:.0f} hours, periods are of {least} at most"
        return Overfitting(nan, (nan, nan), nan, nan, 0, 0, reason)
    periods = max((end_ms - start_ms) // (hours * HOUR_MS), 1)
    strategies, _ = pd.factorize(closed["strategy"])
    timeframes, known = pd.factorize(closed["timeframe"])
    pairs, names = pd.factorize(strategies * len(known) + timeframes)
    at = np.minimum((closed["exit_ms"].to_numpy(dtype=np.int64) - 1 - start_ms) // (hours * HOUR_MS), periods - 1)
    results: FloatArray = np.zeros((periods, len(names)))
    np.add.at(results, (at, pairs), closed["r"].to_numpy(dtype=np.float64))
    found = overfitting(results)
    if found.reason and periods < MIN_PERIODS:
        return replace(found, reason=f"{found.reason} (a period is {hours} hours)")
    return found


@dataclass(frozen=True)
class Size:
    """Positions of one size.

    Attributes:
        times, notional: so many times as large as they were; mean value of a position, USD.
        share_median, share_high: share of the turnover of a minute at the entry, percent; 5 % of entries have more
            than `share_high`.
        impact_bps: what both fills cost more than at the size that was, basis points of a position's value, mean.
        mean_bps: mean of a closed trade after that.
    """

    times: int
    notional: float
    share_median: float
    share_high: float
    impact_bps: float
    mean_bps: float


@dataclass(frozen=True)
class Capacity:
    """How large positions could be.

    Attributes:
        largest: USD; of positions of this size 19 of 20 entries are at most `MOST_OF_A_MINUTE` of their minute.
        entries: how many could be judged: those whose bar is held and was traded in.
    """

    sizes: Sequence[Size]
    largest: float
    entries: int


_NEAR_BARS = 2048
"""Candles between entries farther apart are not read."""


def capacity(reader: CandleReader, trades: pd.DataFrame) -> Capacity | None:
    """From the turnover and range of the bars at whose close closed trades were entered; None where none is held.

    The impact is that of `liquidity.slippage_by_bar`, whatever the costs of the report were; the exit's is taken to be
    the entry's.
    """
    closed = trades[trades["reason"] != OPEN]
    found: list[tuple[float, float, float, float]] = []
    for (symbol, name), rows in closed.groupby(["symbol", "timeframe"]):
        timeframe = Timeframe(str(name))
        entries = rows["entry_ms"].to_numpy(dtype=np.int64) // timeframe.ms * timeframe.ms
        near = np.flatnonzero(np.diff(entries) > _NEAR_BARS * timeframe.ms) + 1
        for places in np.split(np.arange(len(entries)), near):
            first_ms, last_ms = int(entries[places].min()), int(entries[places].max())
            candles = reader.read(str(symbol), timeframe, first_ms - timeframe.ms, last_ms)
            found += _entered(candles, rows.iloc[places], entries[places])
    if not found:
        return None
    minute, impact, value, bps = np.array(found).T
    share = value / minute * 100
    sizes = []
    for times in SIZES:
        more = 2 * impact * (np.sqrt(value * times) - np.sqrt(value)) * 10_000
        median, high = np.quantile(share * times, [0.5, 0.95])
        sizes.append(
            Size(
                times,
                float(value.mean() * times),
                float(median),
                float(high),
                float(more.mean()),
                float((bps - more).mean()),
            )
        )
    return Capacity(sizes, float(np.quantile(minute, 0.05)) * MOST_OF_A_MINUTE, len(found))


def _entered(candles: Candles, rows: pd.DataFrame, entries: IntArray) -> list[tuple[float, float, float, float]]:
    """Turnover of the minute, impact of an order of a dollar, value and basis points of entries whose bar is held."""
    if not len(candles):
        return []
    bars = np.searchsorted(candles.end_ms, entries)
    held = bars < len(candles)
    held &= candles.end_ms[np.minimum(bars, len(candles) - 1)] == entries
    held &= candles.turnover[np.minimum(bars, len(candles) - 1)] > 0
    # It goes with the root of the size.
    impact = slippage_by_bar(candles, Costs(fee=0.0, slippage=0.0, notional=1.0, liquidity=True))[bars[held]]
    minute = candles.turnover[bars[held]] / candles.timeframe.minutes
    value = (rows["size"] * rows["entry_price"]).to_numpy(dtype=np.float64)[held]
    return list(zip(minute, impact, value, rows["bps"].to_numpy(dtype=np.float64)[held], strict=True))
