"""The matched benchmark: the report's own trades, entered at random moments and in random coins instead.

A plain random choice trades other timeframes, and as often as those let it, so beating it may mean no more than trading
less. Here everything is matched but the moment and the coin: number of trades, side, timeframe, distance of stop and
target in ATR (so holding times, too), costs, the coins that were selected that day, and which trades came together. No
account: a trade counts whether or not another one is open.

The rank is of results before fees and slippage. The same costs weigh more where a coin moves less, so after costs a
draw in calmer coins and hours loses more, however good its entries are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.kernel.kernel_engine import trades_apart
from trading_assets.backtesting.significance import seed_from
from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, WARM_UP_BARS, Timeframe
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.trades import ForwardTrade, SelectedStrategy
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Parameters
from trading_assets.strategies.registry import make_strategy

DRAWS = 999
"""With so many the smallest p-value is one in a thousand."""

INTERVAL = 0.95


@dataclass(frozen=True)
class MatchedBenchmark:
    """Mean results of the trades and of random ones in their place.

    Attributes:
        trades: how many were matched, those still open among them, marked at the end like the random ones.
        gross_r, mean_r, mean_bps: means of these trades: in multiples of the risk before fees and slippage and after
            them, and after them in basis points of a position's value.
        drawn_gross_r, drawn_r, drawn_bps: the same of each draw, shape (draws,).
    """

    trades: int
    gross_r: float
    mean_r: float
    mean_bps: float
    drawn_gross_r: FloatArray
    drawn_r: FloatArray
    drawn_bps: FloatArray

    @property
    def draws(self) -> int:
        return len(self.drawn_gross_r)

    @property
    def behind(self) -> int:
        """Draws whose mean before costs is smaller than that of the trades."""
        return int((self.drawn_gross_r < self.gross_r).sum())

    @property
    def p_value(self) -> float:
        """Chance that random entries do as well or better before costs: (1 + draws that do) / (1 + draws)."""
        return (1 + self.draws - self.behind) / (1 + self.draws)

    @property
    def band_r(self) -> tuple[float, float]:
        """Between these lie 95 % of the draws, R before costs."""
        low, high = np.quantile(self.drawn_gross_r, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
        return float(low), float(high)


def share_interval(count: int, of: int) -> tuple[float, float]:
    """Where a share that was seen `count` times in `of` draws lies with 95 % confidence (Wilson 1927), 0 to 1."""
    if not of:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + INTERVAL) / 2), count / of
    middle, scale = share + z * z / (2 * of), 1 + z * z / of
    width = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return min(max(0.0, (middle - width) / scale), share), max(min(1.0, (middle + width) / scale), share)


def matched_benchmark(
    reader: CandleReader,
    trades: Sequence[ForwardTrade],
    chosen: Sequence[SelectedStrategy],
    costs: Costs,
    start_ms: int,
    end_ms: int,
    *,
    draws: int = DRAWS,
) -> MatchedBenchmark | None:
    """Draw random entries in place of trades; None where nothing was traded, or the candles for it are missing.

    Each draw moves all trades of a day together by the same number of hours within the day, and gives each coin's
    trades to another coin of the day: trades that came together come together in every draw, so that a falling market
    that stops many of them at once makes the draws as wide as it makes the result.

    Args:
        chosen: the selections; the coins selected in a day are those of its draws.
        start_ms, end_ms: whole hours; days are counted from the start, the last one may be shorter.
    """
    blocks = _blocks(trades, chosen, start_ms, end_ms)
    if not blocks:
        return None
    _fill(reader, blocks, costs, start_ms, end_ms)
    rng = np.random.default_rng(seed_from(("matched", start_ms, end_ms)))
    total, count = np.zeros((3, draws)), np.zeros(draws)
    for block in blocks:
        hours = rng.integers(0, block.hours, draws)
        coins = rng.permuted(np.tile(np.arange(len(block.coins)), (draws, 1)), axis=1)
        rows = np.arange(len(block.trades))
        found = block.results[:, rows[None, :], hours[:, None], coins[:, block.coin_of]]
        known = np.isfinite(found[0])
        total += np.where(known, found, 0.0).sum(axis=2)
        count += known.sum(axis=1)
    if not count.all():
        return None  # candles of these days are missing
    means = total / count
    return MatchedBenchmark(
        trades=len(trades),
        gross_r=float(np.mean([(trade.pnl + trade.fees + trade.slippage) / trade.risk for trade in trades])),
        mean_r=float(np.mean([trade.r for trade in trades])),
        mean_bps=float(np.mean([trade.bps for trade in trades])),
        drawn_gross_r=means[0],
        drawn_r=means[1],
        drawn_bps=means[2],
    )


@dataclass(frozen=True)
class _Block:
    """The trades of a day, and what they would have been.

    Attributes:
        coins: those selected in it, sorted.
        coin_of: place of each trade's coin, shape (trades,).
        times: entry of each trade moved by 0, 1, ... hours, UTC ms, shape (trades, hours).
        results: R before costs, R and basis points, NaN where no entry is possible, shape (3, trades, hours, coins).
    """

    hours: int
    trades: Sequence[ForwardTrade]
    coins: Sequence[str]
    coin_of: IntArray
    times: IntArray
    results: FloatArray


def _blocks(
    trades: Sequence[ForwardTrade], chosen: Sequence[SelectedStrategy], start_ms: int, end_ms: int
) -> list[_Block]:
    last = (end_ms - start_ms - 1) // DAY_MS

    def block_of(time_ms: int) -> int:
        return min((time_ms - start_ms) // DAY_MS, last)

    coins: dict[int, set[str]] = {}
    for selection in chosen:
        coins.setdefault(block_of(selection.end_ms - HOUR_MS), set()).add(selection.symbol)
    members: dict[int, list[ForwardTrade]] = {}
    for trade in trades:
        members.setdefault(block_of(trade.entry_ms), []).append(trade)
    found = []
    for number, of_block in sorted(members.items()):
        first_ms = start_ms + number * DAY_MS
        hours = max((min(first_ms + DAY_MS, end_ms) - first_ms) // HOUR_MS, 1)
        # A trade on the bar of a full hour may be of the selection before.
        names = sorted(coins.get(number, set()) | {trade.selection.symbol for trade in of_block})
        place = {name: at for at, name in enumerate(names)}
        steps = np.array([Timeframe(trade.selection.timeframe).ms for trade in of_block])[:, None]
        since = np.array([trade.entry_ms for trade in of_block])[:, None] - first_ms
        moved = first_ms + (since + np.arange(hours) * HOUR_MS) % (hours * HOUR_MS)
        times = moved // steps * steps
        times += np.where(times < first_ms, steps, 0)
        found.append(
            _Block(
                hours,
                of_block,
                names,
                np.array([place[trade.selection.symbol] for trade in of_block]),
                times,
                np.full((3, len(of_block), hours, len(names)), np.nan),
            )
        )
    return found


def _fill(reader: CandleReader, blocks: Sequence[_Block], costs: Costs, start_ms: int, end_ms: int) -> None:
    """Simulate every trade that a draw may need: those of one coin and timeframe together."""
    free = Costs(0.0, 0.0, costs.notional, costs.liquidation)
    wanted: dict[tuple[str, str], list[tuple[_Block, int, list[int]]]] = {}
    for block in blocks:
        of_timeframe: dict[str, list[int]] = {}
        for row, trade in enumerate(block.trades):
            of_timeframe.setdefault(trade.selection.timeframe, []).append(row)
        for timeframe, rows in of_timeframe.items():
            for coin, symbol in enumerate(block.coins):
                wanted.setdefault((symbol, timeframe), []).append((block, coin, rows))
    for (symbol, name), parts in wanted.items():
        timeframe = Timeframe(name)
        candles = reader.read(symbol, timeframe, start_ms - WARM_UP_BARS * timeframe.ms, end_ms).closed_by(end_ms)
        if not len(candles):
            continue
        funding = reader.read_funding(symbol, start_ms, end_ms + 1)
        ranges: dict[int, FloatArray] = {}
        asked: list[tuple[FloatArray, ...]] = []
        places: list[tuple[_Block, int, IntArray, IntArray]] = []
        for block, coin, rows in parts:
            stops = _stops([block.trades[row] for row in rows])
            for period, of_period in stops.items():
                if period not in ranges:
                    ranges[period] = indicators.atr(candles.high, candles.low, candles.close, period) / candles.close
                of_trades = np.array([rows[at] for at in of_period])
                bars = np.searchsorted(candles.end_ms, block.times[of_trades])
                there = bars < len(candles)
                there &= candles.end_ms[np.minimum(bars, len(candles) - 1)] == block.times[of_trades]
                numbers = np.array(list(of_period.values()))  # direction, stop_atr, reward_risk
                at_row, at_hour = np.nonzero(there)
                bar = bars[at_row, at_hour]
                direction, stop_atr, reward_risk = numbers[at_row].T
                asked.append((bar, direction, ranges[period][bar] * stop_atr, reward_risk))
                places.append((block, coin, of_trades[at_row], at_hour))
        # All of them at once: what is made of the candles before is made once.
        bar, direction, stop, reward_risk = (np.concatenate(columns) for columns in zip(*asked, strict=True))
        pnl, prices = trades_apart(candles, funding, bar, direction, stop, reward_risk, costs)
        gross, _ = trades_apart(candles, funding, bar, direction, stop, reward_risk, free)
        risk, size = stop * costs.notional, costs.notional / candles.close[bar]
        results = np.array([gross / risk, pnl / risk, pnl / (size * prices) * 10_000])
        begin = 0
        for block, coin, at_trade, at_hour in places:
            block.results[:, at_trade, at_hour, coin] = results[:, begin : begin + len(at_hour)]
            begin += len(at_hour)


def _stops(trades: Sequence[ForwardTrade]) -> Mapping[int, Mapping[int, tuple[float, float, float]]]:
    """By ATR period and place of the trade: direction, stop in ATR, reward to risk."""
    found: dict[int, dict[int, tuple[float, float, float]]] = {}
    for at, trade in enumerate(trades):
        p = _parameters(trade.selection.strategy, trade.selection.parameters)
        found.setdefault(p.atr_period, {})[at] = (float(trade.direction), p.stop_atr, p.reward_risk)
    return found


@cache
def _parameters(strategy: str, text: str) -> Parameters:
    return make_strategy(strategy, text).parameters
