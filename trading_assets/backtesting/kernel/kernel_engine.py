"""`KernelEngine`: the kernel behind the interface of every engine, trade by trade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades, no_trades
from trading_assets.backtesting.kernel.panel import Prices

RECORD_FIELDS = 8
"""Fields of a trade record in the compiled loops."""


def warm_up() -> None:
    """Import the compiled code. Callers run this in a thread while they wait for something else."""
    from trading_assets.backtesting.kernel import indicators, loops  # noqa: F401, PLC0415 (numba: a second)


class KernelEngine:
    """See `Engine`. Columns are simulated one after the other; nothing is shared between calls."""

    def simulate(self, columns: Sequence[Column], costs: Costs) -> list[Trades]:
        """See `Engine.simulate`."""
        return [_simulate(column, costs) for column in columns]


def _simulate(column: Column, costs: Costs) -> Trades:
    bars = len(column.candles)
    long, short = column.entries(costs)
    if not (long.any() or short.any()):
        return no_trades()
    from trading_assets.backtesting.kernel import loops  # noqa: PLC0415 (numba: a second)

    prices = Prices.from_candles(column.candles, column.funding)
    entries, ends = np.empty(bars, dtype=np.int64), np.empty(bars, dtype=np.int64)
    signs, exit_prices, records = np.empty(bars), np.empty(bars), np.empty((1, bars, RECORD_FIELDS))
    count = loops.all_trades(
        long,
        short,
        prices.open[0],
        prices.high[0],
        prices.low[0],
        prices.close[0],
        prices.paid[0],
        prices.payments_by,
        np.array(column.stop_fraction, dtype=np.float64),
        float(column.reward_risk),
        (float(costs.fee), float(costs.slippage), float(costs.notional)),
        entries,
        ends,
        signs,
        exit_prices,
        records,
    )
    entry, end, record = entries[:count].copy(), ends[:count], records[0, :count]
    close = column.candles.close[entry]
    return Trades(
        entry=entry,
        exit=np.minimum(end, bars - 1),
        direction=signs[:count].astype(np.int64),
        size=costs.notional / close,
        entry_price=close * (1 + signs[:count] * costs.slippage),
        exit_price=exit_prices[:count].copy(),
        fees=record[:, loops.FEES].copy(),
        funding=record[:, loops.FUNDING].copy(),
        pnl=record[:, loops.PNL].copy(),
        confidence=column.confidence[entry],
        closed=end < bars,
    )
