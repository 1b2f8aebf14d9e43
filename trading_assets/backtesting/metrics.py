"""The figures of a backtest, from its trades. Percentages in percent, money in USD."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from trading_assets.backtesting.engine import Trades
from trading_assets.core.candles import Candles, FloatArray

PROFIT_FACTOR_CAP = 100.0
"""The largest profit factor: without losses, or almost without, a larger one says no more."""

ROUNDING = 1e-12
"""A variance that is no larger part of the mean square, or of this part of the capital squared, is rounding of equal
changes: they have no Sharpe ratio."""


@dataclass(frozen=True)
class Metrics:
    """Columns of `backtest_results`: closed trades only, but drawdown, Sharpe and exposure see the open one too.

    Skewness and kurtosis (3 for a normal distribution) are of the equity changes that the Sharpe ratio is made of. A
    trade is in sample when it ended before the split, out of sample when it began after it; one across it is neither,
    because its result belongs to both parts.
    """

    total_trades: int
    win_rate: float
    profit_factor: float
    total_return: float
    max_drawdown: float
    sharpe_ratio: float
    total_pnl: float
    confidence_avg: float
    fees_paid: float
    funding_paid: float
    exposure_pct: float
    skewness: float
    kurtosis: float
    in_sample_trades: int
    in_sample_score: float
    in_sample_pnl: float
    out_of_sample_trades: int
    out_of_sample_pnl: float


NO_TRADES = Metrics(0, *(0.0,) * 10, 0.0, 3.0, 0, 0.0, 0.0, 0, 0.0)


def metrics(trades: Trades, candles: Candles, capital: float, split: int | None = None) -> Metrics:
    """Figures of one backtest of `capital` USD over `candles` (the window).

    `split` is the first bar of the out-of-sample part (see `split_bar`); by default everything is in sample.

    The Sharpe ratio (Sharpe 1994) is of equity changes per bar as a fraction of `capital`, with a riskless rate of 0,
    annualised by the square root of the bars of a year; 0 where equity never changes, or always by the same.
    """
    bars = len(candles)
    if not bars or not len(trades):
        return NO_TRADES
    equity = equity_curve(trades, candles, capital)
    peak = np.maximum.accumulate(np.maximum(equity, capital))
    changes = np.diff(equity, prepend=capital) / capital
    spread, skewness, kurtosis = moments(changes)
    sharpe = float(changes.mean()) / spread * math.sqrt(candles.timeframe.bars_per_year) if spread > 0 else 0.0
    closed = trades.closed
    pnl = trades.pnl[closed]
    count = len(pnl)
    total = float(pnl.sum())
    border = bars if split is None else split
    seen = trades.pnl[closed & (trades.exit < border)]
    held_back = trades.pnl[closed & (trades.entry >= border)]
    return Metrics(
        total_trades=count,
        win_rate=win_rate(pnl),
        profit_factor=profit_factor(pnl),
        total_return=total / capital * 100,
        max_drawdown=min(float((equity / peak - 1).min() * 100), 0.0),
        sharpe_ratio=sharpe,
        total_pnl=total,
        confidence_avg=float(trades.confidence[closed].mean()) if count else 0.0,
        fees_paid=float(trades.fees[closed].sum()),
        funding_paid=float(trades.funding[closed].sum()),
        exposure_pct=float((trades.exit - trades.entry).sum() / bars * 100),
        skewness=skewness,
        kurtosis=kurtosis,
        in_sample_trades=len(seen),
        in_sample_score=float(score(win_rate(seen), profit_factor(seen), len(seen))),
        in_sample_pnl=float(seen.sum()),
        out_of_sample_trades=len(held_back),
        out_of_sample_pnl=float(held_back.sum()),
    )


def split_bar(bars: int, out_of_sample_pct: float) -> int:
    """The first bar of the out-of-sample part of a window; `bars` where nothing is held back."""
    return bars - int(bars * out_of_sample_pct / 100)


def moments(changes: FloatArray) -> tuple[float, float, float]:
    """Population standard deviation, skewness and kurtosis; 0, 0 and 3 where all changes are the same but for rounding.

    An engine that keeps sums of the first four powers has the same: from the mean m1 and the raw moments m2 to m4, the
    third central moment is m3 - 3 m1 m2 + 2 m1^3 and the fourth m4 - 4 m1 m3 + 6 m1^2 m2 - 3 m1^4.
    """
    mean = float(changes.mean())
    distance = changes - mean
    squares = distance * distance
    variance = float(squares.mean())
    if variance <= ROUNDING * max(mean * mean + variance, ROUNDING):
        return 0.0, 0.0, 3.0
    third, fourth = float((squares * distance).mean()), float((squares * squares).mean())
    return math.sqrt(variance), third / variance**1.5, fourth / variance**2


def score(win_rate: Any, profit_factor: Any, trades: Any) -> Any:
    """win_rate * profit_factor * ln(trades + 1), of one backtest or by row."""
    return win_rate * profit_factor * np.log(trades + 1)


def win_rate(pnl: FloatArray) -> float:
    """Percent of trades that earned anything; 0 without trades."""
    return float((pnl > 0).mean() * 100) if len(pnl) else 0.0


def mean_r(pnl: FloatArray, risk: FloatArray) -> float:
    """Mean result in multiples of the risk, both in USD and of shape (n,); NaN without trades."""
    return float((pnl / risk).mean()) if len(pnl) else math.nan


def profit_factor(pnl: FloatArray) -> float:
    """Gross profit / gross loss, at most `PROFIT_FACTOR_CAP`; 0 without profit."""
    profit, loss = float(pnl[pnl > 0].sum()), float(-pnl[pnl < 0].sum())
    if profit <= 0:
        return 0.0
    return profit / loss if loss * PROFIT_FACTOR_CAP > profit else PROFIT_FACTOR_CAP


def equity_curve(trades: Trades, candles: Candles, capital: float) -> FloatArray:
    """Capital, realised PnL and open PnL at every close, shape (n,); the last value is capital and all PnL.

    The entry's fee counts from the entry on; the exit's fee and funding when the trade ends, or at the last bar. Trades
    must not overlap.
    """
    bars = len(candles)
    booked = np.bincount(trades.exit, weights=np.where(trades.closed, trades.pnl, -trades.funding), minlength=bars)
    equity = capital + np.cumsum(booked, dtype=np.float64)
    # Bars at whose close a trade is open: from its entry until before its exit, or until the end.
    lengths = np.where(trades.closed, trades.exit, bars) - trades.entry
    trade = np.repeat(np.arange(len(trades)), lengths)
    bar = np.arange(len(trade)) - np.repeat(np.cumsum(lengths) - lengths - trades.entry, lengths)
    entry_share = trades.entry_price / (trades.entry_price + trades.exit_price)
    parts, open_share = trades.parts, np.ones(len(trades))
    if parts is not None:
        taken = np.bincount(parts.trade, weights=parts.share * parts.price, minlength=len(trades))
        open_share = trades.entry_price / (trades.entry_price + taken)
    entry_fee = trades.fees * np.where(trades.closed, entry_share, open_share)
    if trades.entry_fee is not None:
        entry_fee = trades.entry_fee
    gain = (candles.close[bar] - trades.entry_price[trade]) * (trades.direction * trades.size)[trade]
    equity[bar] += gain - entry_fee[trade]
    if parts is not None:
        fee = entry_fee / trades.entry_price  # of the whole size, per unit of price
        if trades.entry_fee is not None:  # exits have another rate; without any there is none
            sold_at = np.where(trades.closed, trades.exit_price, np.maximum(taken, np.finfo(float).tiny))
            fee = (trades.fees - entry_fee) / sold_at
        for one, bar, share, price in zip(parts.trade, parts.bar, parts.share, parts.price, strict=True):
            # What was sold at a target moves no more, until the trade's end books it all.
            sold = slice(bar, trades.exit[one] if trades.closed[one] else bars)
            moved = trades.direction[one] * trades.size[one] * (price - candles.close[sold])
            equity[sold] += share * (moved - fee[one] * price)
    return equity
