"""How the trades of a column ended, and how far the price went for and against them meanwhile. Nothing is simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades, risked
from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.exits import AT_CLOSE, ExitReason

_AT_CLOSE = tuple(reason.value for reason in AT_CLOSE)


def signal_bars(trades: Trades) -> IntArray:
    """The bar of each trade's signal, shape (k,): that of its entry, but where the entry waited."""
    return trades.entry if trades.signal is None else trades.signal


def reasons(column: Column, trades: Trades) -> IntArray:
    """`ExitReason` of each trade, shape (k,), also of an engine that does not tell it: it knows stop and target alone.

    A trade whose last bar reached its stop was stopped: the stop counts first.
    """
    if trades.reason is not None:
        return trades.reason
    candles, signal, sign = column.candles, signal_bars(trades), trades.direction
    close = candles.close[signal]
    worst = np.where(sign > 0, candles.low[trades.exit], candles.high[trades.exit])
    stopped = sign * (worst - close) <= -close * column.stop_fraction[signal]
    ended = np.where(stopped, int(ExitReason.STOP), int(ExitReason.TARGET))
    return np.where(trades.closed, ended, int(ExitReason.OPEN))


def words(column: Column, trades: Trades) -> list[str]:
    """The same in words: stop, target, signal, time, roi, open."""
    return [ExitReason(number).word for number in reasons(column, trades).tolist()]


@dataclass(frozen=True)
class Levels:
    """Prices of each trade's stop and target as they stood at its entry, shape (k,)."""

    stop: FloatArray
    target: FloatArray


def levels(column: Column, trades: Trades) -> Levels:
    """Stop and target are measured from the close of the signal's bar, whatever the fill."""
    signal = signal_bars(trades)
    close, sign = column.candles.close[signal], trades.direction
    distance = close * column.stop_fraction[signal]
    return Levels(close - sign * distance, close + sign * distance * column.reward_risk)


def risk_usd(column: Column, trades: Trades, costs: Costs) -> FloatArray:
    """What each trade loses at its stop before costs, USD, shape (k,)."""
    return risked(column, trades, costs) * costs.notional


def excursions(column: Column, trades: Trades, costs: Costs) -> tuple[FloatArray, FloatArray]:
    """How far the price went against each trade (<= 0) and for it (>= 0), in multiples of its risk, shapes (k,).

    Measured from the price of the fill, over the bars after that of the entry. Of the bar in which a stop or target
    ended the trade only its open and the fill count: what else it did may have come later. Of one that was left at its
    close all counts.
    """
    candles, ended = column.candles, reasons(column, trades)
    risk = risk_usd(column, trades, costs)
    worst, best = np.zeros(len(trades)), np.zeros(len(trades))
    for at in range(len(trades)):
        first, last, sign = int(trades.entry[at]) + 1, int(trades.exit[at]), int(trades.direction[at])
        at_close = ended[at] == ExitReason.OPEN or int(ended[at]) in _AT_CLOSE
        whole = slice(first, last + 1 if at_close else last)
        prices = np.concatenate([candles.high[whole], candles.low[whole], [trades.exit_price[at]]])
        if not at_close and last >= first:
            prices = np.append(prices, candles.open[last])
        gains = sign * (prices - trades.entry_price[at]) * trades.size[at] / risk[at]
        worst[at], best[at] = min(float(gains.min()), 0.0), max(float(gains.max()), 0.0)
    return worst, best
