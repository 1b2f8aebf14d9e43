"""The numbers of a report, from trades and equity curves. Nothing is simulated, read or drawn here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.backtesting.metrics import moments, profit_factor, win_rate
from trading_assets.backtesting.significance import GAP_R, deflated_sharpe, least_trades_of_sharpe
from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, to_datetime
from trading_assets.reporting.trade_table import REASONS, TradeTable
from trading_assets.reporting.trades import OPEN, ForwardTrade

_HOURS_PER_YEAR = 365 * 24

TRADE_COLUMNS = [
    *("entry_ms", "exit_ms", "symbol", "timeframe", "strategy", "parameters", "hour_ms", "side"),
    *("entry_price", "exit_price", "size", "fees", "slippage", "funding", "pnl", "r", "bps", "reason", "confidence"),
]
"""A trade of a report, ordered by entry. `hour_ms` is the hour of the selection; money in USD; `fees` of both fills,
`slippage` what the fills cost beyond the prices they were made at (contained in `pnl`), `funding` paid; `pnl` net of
all, and the same in multiples of the risk (`r`: the loss at the stop before costs) and in basis points of the
position's value at its entry (`bps`); `reason` stop, target, open or what the ledger says."""

DIMENSIONS = ("strategy", "timeframe", "symbol")


@dataclass(frozen=True)
class Curve:
    """Equity at whole hours, USD, arrays of shape (n,)."""

    name: str
    times_ms: IntArray
    equity: FloatArray

    @property
    def returns_pct(self) -> FloatArray:
        """Since the first hour, percent."""
        return (self.equity / self.equity[0] - 1) * 100

    @property
    def drawdown_pct(self) -> FloatArray:
        """Distance to the highest equity so far, percent, <= 0."""
        return (self.equity / np.maximum.accumulate(self.equity) - 1) * 100


@dataclass(frozen=True)
class Figures:
    """The headline numbers of one curve and its trades; percent of the opening equity where not said otherwise.

    What was closed and what is still open are apart; fees, slippage, funding and turnover are those of both.

    Attributes:
        sharpe_ratio: annualised, from hourly changes of equity as a fraction of the opening equity; riskless rate 0;
            NaN where they do not differ.
        sharpe_error: its standard error (Lo 2002, for independent normal changes).
        deflated_sharpe: chance that the true Sharpe ratio lies above the best that luck alone would give to as many
            tries as there are pairs of strategy and timeframe among the trades; NaN where equity never changes, or with
            fewer than `least_trades_of_sharpe` closed trades.
        trades, win_rate, profit_factor, pnl, mean_r, mean_bps, mean_hours: of closed trades; the means are NaN without.
        open_trades, open_pnl: of those open at the end, marked there.
        turnover: USD, both fills of every trade.
        exposure_pct: mean value of all positions, percent of equity, of the hours in which there was any.
    """

    return_pct: float
    max_drawdown_pct: float
    sharpe_ratio: float
    sharpe_error: float
    deflated_sharpe: float
    trades: int
    win_rate: float
    profit_factor: float
    pnl: float
    mean_r: float
    mean_bps: float
    open_trades: int
    open_pnl: float
    fees: float
    slippage: float
    funding: float
    turnover: float
    exposure_pct: float
    mean_hours: float

    @property
    def whole_pnl(self) -> float:
        """USD, of closed and open trades."""
        return self.pnl + self.open_pnl


def figures(curve: Curve, trades: pd.DataFrame, exposure: FloatArray) -> Figures:
    """The headline numbers. `exposure` is the value of all positions at the curve's hours, USD, shape (n,)."""
    changes = np.diff(curve.equity) / curve.equity[0]
    is_open = trades["reason"] == OPEN
    closed = trades[~is_open]
    pnl = closed["pnl"].to_numpy(dtype=np.float64)
    sharpe, error, deflated = _sharpe(changes, closed)
    turnover = trades["size"] * trades["entry_price"] + trades["size"] * trades["exit_price"] * ~is_open
    has_equity = curve.equity > 0
    return Figures(
        return_pct=float(curve.returns_pct[-1]),
        max_drawdown_pct=float(curve.drawdown_pct.min()),
        sharpe_ratio=sharpe,
        sharpe_error=error,
        deflated_sharpe=deflated,
        trades=len(closed),
        win_rate=win_rate(pnl),
        profit_factor=profit_factor(pnl),
        pnl=float(pnl.sum()),
        mean_r=_mean(closed["r"]),
        mean_bps=_mean(closed["bps"]),
        open_trades=int(is_open.sum()),
        open_pnl=float(trades.loc[is_open, "pnl"].sum()),
        fees=float(trades["fees"].sum()),
        slippage=float(trades["slippage"].sum()),
        funding=float(trades["funding"].sum()),
        turnover=float(turnover.sum()),
        exposure_pct=float((exposure[has_equity] / curve.equity[has_equity]).mean() * 100),
        mean_hours=_mean(closed["exit_ms"] - closed["entry_ms"]) / HOUR_MS,
    )


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else math.nan


def trades_frame(trades: Sequence[ForwardTrade]) -> pd.DataFrame:
    """One row a trade, columns `TRADE_COLUMNS`."""
    rows = [
        (
            *(
                trade.entry_ms,
                trade.exit_ms,
                trade.selection.symbol,
                trade.selection.timeframe,
                trade.selection.strategy,
            ),
            *(trade.selection.parameters, trade.selection.hour_ms, "LONG" if trade.direction > 0 else "SHORT"),
            *(trade.entry_price, trade.exit_price, trade.size, trade.fees, trade.slippage, trade.funding, trade.pnl),
            *(trade.r, trade.bps, trade.reason, trade.confidence),
        )
        for trade in trades
    ]
    return pd.DataFrame(rows, columns=TRADE_COLUMNS)


_SLICE_MS = 16 * DAY_MS
"""Trades of so long are put in order at a time: of a year there are millions."""


def tried_frame(table: TradeTable) -> pd.DataFrame:
    """One row a signal that was a position, in live's order, as far as is asked of trades that nobody took: `entry_ms`,
    `exit_ms`, `r`, and as categories `timeframe`, `strategy`, `reason`."""
    chosen, filled = table.selections, table.is_filled
    parts: dict[str, list[np.ndarray]] = {}
    slices = table.entry_ms // _SLICE_MS
    for number in np.unique(slices).tolist():
        rows = table.signals(np.flatnonzero(slices == number))
        rows = rows[filled[rows]]
        of = table.selection[rows]
        for name, column in (
            ("entry_ms", table.entry_ms[rows]),
            ("exit_ms", table.exit_ms[rows]),
            ("timeframe", chosen.timeframe[of].astype(np.int16)),
            ("strategy", chosen.strategy[of].astype(np.int16)),
            ("r", table.pnl[rows] / table.risk[rows]),
            ("reason", table.reason[rows]),
        ):
            parts.setdefault(name, []).append(column)
    texts = {"timeframe": chosen.texts["timeframe"], "strategy": chosen.texts["strategy"], "reason": REASONS}
    columns: dict[str, Any] = {}
    for name in list(parts):
        joined = np.concatenate(parts.pop(name))
        columns[name] = pd.Categorical.from_codes(joined, pd.Index(texts[name])) if name in texts else joined
    return pd.DataFrame(columns, copy=False) if columns else trades_frame([])


def by_dimension(trades: pd.DataFrame, dimension: str) -> pd.DataFrame:
    """Per strategy, timeframe or symbol, the largest PnL first.

    Returns:
        Of closed trades `trades`, `win_rate`, `mean_r`, `mean_bps` (the last three NaN without any), `pnl`; of open
        ones `open_trades`, `open_pnl`; of both `fees`, `funding`.
    """
    is_open = trades["reason"] == OPEN
    won = (trades["pnl"] > 0).astype(np.float64).where(~is_open)
    closed = trades[["pnl", "r", "bps"]].where(~is_open)
    apart = trades.assign(
        won=won,
        closed_pnl=closed["pnl"],
        r=closed["r"],
        bps=closed["bps"],
        is_open=is_open,
        marked=trades["pnl"] * is_open,
    )
    rows = (
        apart.groupby(dimension)
        .agg(
            trades=("closed_pnl", "count"),
            win_rate=("won", "mean"),
            mean_r=("r", "mean"),
            mean_bps=("bps", "mean"),
            fees=("fees", "sum"),
            funding=("funding", "sum"),
            pnl=("closed_pnl", "sum"),
            open_trades=("is_open", "sum"),
            open_pnl=("marked", "sum"),
        )
        .reset_index()
    )
    rows["win_rate"] *= 100
    return rows.sort_values(["pnl", dimension], ascending=[False, True], kind="stable").reset_index(drop=True)


def daily_returns(curve: Curve) -> Mapping[str, float]:
    """Change of equity of each day (UTC, `2026-03-02`), percent of its equity at the day's start; none of a day without
    any."""
    days = (curve.times_ms - 1) // DAY_MS
    # The first point belongs to the day that it opens.
    days[0] = curve.times_ms[0] // DAY_MS
    ends = [*(np.flatnonzero(np.diff(days)).tolist()), len(days) - 1]
    return {
        to_datetime(int(days[end]) * DAY_MS).strftime("%Y-%m-%d"): float(curve.equity[end] / curve.equity[begin] - 1)
        * 100
        for begin, end in pairwise([0, *ends])
        if end > begin and curve.equity[begin] > 0
    }


def _sharpe(changes: FloatArray, closed: pd.DataFrame) -> tuple[float, float, float]:
    """Annualised Sharpe ratio, its standard error, and deflated Sharpe ratio (see `Figures`)."""
    hours = len(changes)
    spread, skewness, kurtosis = moments(changes) if hours else (0.0, 0.0, 3.0)
    if spread <= 0:
        return math.nan, math.nan, math.nan
    sharpe = float(changes.mean()) / spread
    annualised = sharpe * math.sqrt(_HOURS_PER_YEAR)
    error = math.sqrt((1 + sharpe**2 / 2) / hours * _HOURS_PER_YEAR)
    tries = len(closed.groupby(["strategy", "timeframe"]))
    if not len(closed) or len(closed) < least_trades_of_sharpe(_break_even(closed["r"]), tries):
        return annualised, error, math.nan
    luck = 1 / math.sqrt(hours)
    deflated = deflated_sharpe(sharpe, hours, skewness, kurtosis, trials=tries, spread_of_trials=luck)
    return annualised, error, deflated


def _break_even(multiples: pd.Series) -> float:
    """The share of wins at which such trades earn nothing, see `significance.trades_p_value`; NaN without a win."""
    worst, best = max(GAP_R, -float(multiples.min())), float(multiples.max())
    return worst / (worst + best) if best > 0 else math.nan
