"""What a fill costs by the liquidity of its bar: half a spread, and the order's share of what is traded in a minute.

Only the bar of the fill itself is looked at, so that a trade costs the same in whatever window it is simulated. The
form of the model is that of the literature, its level is an assumption: live fills tell the real one
(docs/parity.md). What an engine does with it is the engine's business.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trading_assets.backtesting.engine import Costs
from trading_assets.core.candles import Candles, FloatArray

REFERENCE_TURNOVER = 50_000.0
"""USD a minute (72 million a day) at which half the spread is the flat slippage. It goes with the root of it."""

LEAST_SPREAD, MOST_SPREAD = 0.25, 5.0
"""Half a spread is at least and at most so many times the flat slippage. At the default the latter is the widest spread
at which live enters."""

MOST_SLIPPAGE = 0.02
"""No fill slips by a larger fraction of the price, but a stop under stress."""


def slippage_by_bar(candles: Candles, costs: Costs, first: int = 0) -> FloatArray:
    """Slippage of a fill in each bar from `first` on, a fraction of the price, shape (..., n).

    Half a spread that is narrower where more is traded, and the impact of the order: volatility of a minute times the
    root of the order's share of the minute's turnover (Almgren, Thum, Hauptmann and Li 2005, "Direct estimation of
    equity market impact"; Toth and others 2011, Physical Review X 1). Volatility is that of the bar's range (Parkinson
    1980, Journal of Business 53). With flat costs there is nothing to compute: the last axis has no bars.
    """
    if not costs.liquidity:
        return np.empty((*np.shape(candles.close)[:-1], 0))
    minutes = candles.timeframe.minutes
    turnover = np.maximum(candles.turnover[..., first:] / minutes, 1.0)
    spread = np.clip(np.sqrt(REFERENCE_TURNOVER / turnover), LEAST_SPREAD, MOST_SPREAD) * costs.slippage
    ranges = np.log(candles.high[..., first:] / candles.low[..., first:])
    volatility = ranges / math.sqrt(4 * math.log(2) * minutes)
    return np.minimum(spread + volatility * np.sqrt(costs.notional / turnover), MOST_SLIPPAGE)


def both_fills(costs: Costs) -> float:
    """Fees and slippage of both fills of a trade, USD; by liquidity those at the widest spread, without impact."""
    slippage = costs.slippage * (MOST_SPREAD if costs.liquidity else 1.0)
    return 2 * (costs.fee + slippage) * costs.notional


def stop_slippage(price: FloatArray, worst: FloatArray, costs: Costs) -> FloatArray:
    """What a stop slips besides, a fraction of the price: a part of the way to the worst price of its bar."""
    return costs.stop_overshoot * np.abs(price - worst) / price


def price_before_slippage(fill: Any, direction: Any, slippage: Any, worst: Any, overshoot: Any) -> Any:
    """The price that an exit was made at, from that of its fill; `overshoot` is 0 for a target. Numbers or arrays."""
    return (fill - overshoot * worst) / (1 - direction * slippage - overshoot)
