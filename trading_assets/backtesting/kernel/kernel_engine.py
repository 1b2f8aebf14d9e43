"""`KernelEngine`: the kernel behind the interface of every engine, trade by trade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades, no_trades
from trading_assets.backtesting.kernel.panel import Prices
from trading_assets.backtesting.liquidity import slippage_by_bar
from trading_assets.core.candles import Candles, FloatArray, Funding, IntArray

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
    slips = slippage_by_bar(column.candles, costs)
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
        _numbers(costs),
        slips,
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
        entry_price=close * (1 + signs[:count] * (slips[entry] if costs.liquidity else costs.slippage)),
        exit_price=exit_prices[:count].copy(),
        fees=record[:, loops.FEES].copy(),
        funding=record[:, loops.FUNDING].copy(),
        pnl=record[:, loops.PNL].copy(),
        confidence=column.confidence[entry],
        closed=end < bars,
    )


def trades_apart(
    candles: Candles,
    funding: Funding,
    bars: IntArray,
    direction: FloatArray,
    stop_fraction: FloatArray,
    reward_risk: FloatArray,
    costs: Costs,
) -> tuple[FloatArray, FloatArray]:
    """PnL and entry price of the trade that each entry would be by itself, whatever the others do.

    Args:
        bars: entry bars, shape (k,), as the next three.
        direction: 1 long, -1 short.

    Returns:
        USD, NaN where `Column.entries` or a strategy would not enter, and USDT; shapes (k,).
    """
    from trading_assets.backtesting.kernel import loops  # noqa: PLC0415 (numba: a second)

    prices, slips = Prices.from_candles(candles, funding), slippage_by_bar(candles, costs)
    pnl = np.empty(len(bars))
    loops.each_trade(
        np.ascontiguousarray(bars, dtype=np.int64),
        np.ascontiguousarray(direction, dtype=np.float64),
        np.ascontiguousarray(stop_fraction, dtype=np.float64),
        np.ascontiguousarray(reward_risk, dtype=np.float64),
        prices.open[0],
        prices.high[0],
        prices.low[0],
        prices.close[0],
        prices.paid[0],
        prices.payments_by,
        _numbers(costs),
        slips,
        np.empty((1, 1, RECORD_FIELDS)),
        pnl,
    )
    return pnl, candles.close[bars] * (1 + direction * (slips[bars] if costs.liquidity else costs.slippage))


def _numbers(costs: Costs) -> tuple[float, ...]:
    """`costs` of the compiled loops; the capital is that of one trade."""
    numbers = (costs.fee, costs.slippage, costs.notional, costs.notional, costs.liquidation, costs.stop_overshoot)
    return tuple(map(float, numbers))
