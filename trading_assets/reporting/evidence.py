"""What the answers of a report rest on, put together from its trades. The arithmetic is elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trading_assets.backtesting.overfitting import DrawdownPaths, Overfitting
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.configurations import (
    Capacity,
    Configuration,
    ParameterSets,
    capacity,
    configurations,
    parameter_sets,
    ranks_last,
)
from trading_assets.reporting.estimates import (
    Estimate,
    OrderOfTrades,
    below_peak_since,
    drawdowns_of,
    mean_by_day,
    order_of_trades,
)
from trading_assets.reporting.figures import Curve
from trading_assets.reporting.regimes import Regime, regimes
from trading_assets.reporting.trades import OPEN


@dataclass(frozen=True)
class Evidence:
    """Estimates of one account's closed trades.

    Attributes:
        mean_r, mean_bps: of a trade, net.
        gross_bps: before fees, slippage and funding: costs of so many basis points would leave nothing.
        cost_bps: what they were, mean.
        halves: mean R of the trades entered in the first and the second half of the range; NaN without any.
        ranks: whether the best pair of strategy and timeframe of one half of the time stays good in the other.
        drawdowns, order: falls in other orders of days and of trades.
        below_peak_since: the day of the last peak of equity.
    """

    mean_r: Estimate
    mean_bps: Estimate
    gross_bps: Estimate
    cost_bps: float
    halves: tuple[float, float]
    ranks: Overfitting
    drawdowns: DrawdownPaths
    order: OrderOfTrades
    below_peak_since: str
    regimes: Sequence[Regime]
    configurations: Sequence[Configuration]
    parameter_sets: ParameterSets
    capacity: Capacity | None


def evidence(reader: CandleReader, curve: Curve, trades: pd.DataFrame, tried: pd.DataFrame) -> Evidence:
    """Estimate all of it.

    Args:
        trades, tried: of the account, and of random choices among all backtests (`figures.TRADE_COLUMNS`); the latter
            may be empty.
    """
    start_ms, end_ms = int(curve.times_ms[0]), int(curve.times_ms[-1])
    closed = trades[trades["reason"] != OPEN]
    entries = closed["entry_ms"].to_numpy(dtype=np.int64)
    r, bps = (closed[name].to_numpy(dtype=np.float64) for name in ("r", "bps"))
    paid = closed["fees"] + closed["slippage"] + closed["funding"]
    cost_bps = (paid / (closed["size"] * closed["entry_price"]) * 10_000).to_numpy(dtype=np.float64)
    first = entries < (start_ms + end_ms) // 2
    return Evidence(
        mean_r=mean_by_day(r, entries),
        mean_bps=mean_by_day(bps, entries),
        gross_bps=mean_by_day(bps + cost_bps, entries),
        cost_bps=_mean(cost_bps),
        halves=(_mean(r[first]), _mean(r[~first])),
        ranks=ranks_last(trades if tried.empty else tried, start_ms, end_ms),
        drawdowns=drawdowns_of(curve),
        order=order_of_trades(closed),
        below_peak_since=below_peak_since(curve),
        regimes=regimes(reader, trades),
        configurations=configurations(tried, trades),
        parameter_sets=parameter_sets(trades),
        capacity=capacity(reader, trades),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
