"""`KernelEngine`: the kernel behind the interface of every engine, trade by trade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades, no_trades
from trading_assets.market.candles import Candles, FloatArray, Funding, IntArray

LINE = 10
"""Numbers of one simulated trade in the compiled loops."""


def warm_up() -> None:
    """Import the compiled code. Callers run this in a thread while they wait for something else."""
    from trading_assets.backtesting.kernel import indicators, loops  # noqa: F401, PLC0415 (numba: a second)


def market_of(candles: Candles, funding: Funding) -> FloatArray:
    """What the loops read of a window: the rows described in `kernel.loops`, shape (6, n)."""
    from trading_assets.backtesting.kernel import loops  # noqa: PLC0415 (numba: a second)

    market = np.empty((loops.MARKET_ROWS, len(candles)))
    loops.fill_market(  # type: ignore[call-arg]
        *map(_reals, (candles.open, candles.high, candles.low, candles.close)),
        _whole(candles.start_ms),
        candles.timeframe.ms,
        _whole(funding.time_ms),
        _reals(funding.rate),
        market,
    )
    return market


class KernelEngine:
    """See `Engine`. Columns are simulated one after the other; nothing is shared between calls."""

    def simulate(self, columns: Sequence[Column], costs: Costs) -> list[Trades]:
        """See `Engine.simulate`."""
        return [_simulate(column, costs) for column in columns]


def _simulate(column: Column, costs: Costs) -> Trades:
    bars = len(column.candles)
    if not (column.long.any() or column.short.any()):
        return no_trades()
    from trading_assets.backtesting.kernel import loops  # noqa: PLC0415 (numba: a second)

    market = market_of(column.candles, column.funding)
    entries, ends, signs = np.empty(bars, dtype=np.int64), np.empty(bars, dtype=np.int64), np.empty(bars)
    lines = np.empty((1, bars, LINE))
    count = loops.all_trades(
        np.array(column.long),
        np.array(column.short),
        market,
        np.array(column.stop_fraction, dtype=np.float64),
        float(column.reward_risk),
        (float(costs.fee), float(costs.slippage), float(costs.notional)),
        entries,
        ends,
        signs,
        lines,
    )
    entry, line = entries[:count].copy(), lines[0, :count]
    close = column.candles.close[entry]
    return Trades(
        entry=entry,
        exit=ends[:count].copy(),
        direction=signs[:count].astype(np.int64),
        size=costs.notional / close,
        entry_price=close * (1 + signs[:count] * costs.slippage),
        exit_price=line[:, loops.EXIT_PRICE].copy(),
        fees=line[:, loops.FEES].copy(),
        funding=line[:, loops.FUNDING].copy(),
        pnl=line[:, loops.PNL].copy(),
        confidence=column.confidence[entry],
        closed=line[:, loops.CLOSED] > 0,
    )


def _reals(values: FloatArray) -> FloatArray:
    return np.ascontiguousarray(values, dtype=np.float64)


def _whole(values: IntArray) -> IntArray:
    return np.ascontiguousarray(values, dtype=np.int64)
