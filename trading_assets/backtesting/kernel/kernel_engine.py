"""`KernelEngine`: the kernel behind the interface of every engine, trade by trade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trading_assets.backtesting.engine import Column, Costs, PartFills, Trades, no_trades
from trading_assets.backtesting.kernel.panel import Prices
from trading_assets.backtesting.liquidity import slippage_by_bar
from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding, IntArray
from trading_assets.core.exits import ExitPlan

RECORD_FIELDS, LIMIT_RECORD_FIELDS = 8, 12
"""Fields of a trade record in the compiled loops, and in those of entries that wait."""


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
    if column.has_exits or costs.entry is not None:
        return _simulate_with_exits(column, prices, long, short, costs)
    entries, ends = np.empty(bars, dtype=np.int64), np.empty(bars, dtype=np.int64)
    slips = slippage_by_bar(column.candles, costs)
    signs, exit_prices, records = np.empty(bars), np.empty(bars), np.empty((bars, RECORD_FIELDS))
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
        cost_numbers(costs),
        slips,
        entries,
        ends,
        signs,
        exit_prices,
        records,
    )
    entry, end, record = entries[:count].copy(), ends[:count], records[:count]
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


def _simulate_with_exits(column: Column, prices: Prices, long: BoolArray, short: BoolArray, costs: Costs) -> Trades:
    from trading_assets.backtesting.kernel import exit_loops, limit_loops, loops  # noqa: PLC0415 (numba: a second)

    entry_rule = costs.entry
    bars, slips = len(column.candles), slippage_by_bar(column.candles, costs)
    plan, roi, parts = plan_arrays([column.exits])
    entries, ends, reasons = (np.empty(bars, dtype=np.int64) for _ in range(3))
    fields = RECORD_FIELDS if entry_rule is None else LIMIT_RECORD_FIELDS
    signs, exit_prices, records = np.empty(bars), np.empty(bars), np.empty((bars, fields))
    part_bars, part_prices = np.empty((bars, parts.shape[1]), dtype=np.int64), np.empty((bars, parts.shape[1]))
    rules = (
        bar_numbers(column.candles),
        exit_codes(column),
        plan[0],
        roi[0],
        parts[0],
        np.empty(bars),
        part_bars[0],
        part_prices[0],
    )
    simulate = exit_loops.all_trades_with_exits if entry_rule is None else limit_loops.all_trades_with_limit
    count = simulate(
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
        cost_numbers(costs),
        slips,
        rules,
        *([] if entry_rule is None else [entry_rule.numbers]),
        entries,
        ends,
        signs,
        exit_prices,
        reasons,
        records,
        part_bars,
        part_prices,
    )
    signal, end, record = entries[:count].copy(), ends[:count], records[:count]
    close = column.candles.close[signal]
    trade, part = np.nonzero(part_bars[:count] >= 0)
    entry, size = signal, costs.notional / close
    prices_in = close * (1 + signs[:count] * (slips[signal] if costs.liquidity else costs.slippage))
    if entry_rule is not None:
        entry = record[:, limit_loops.FILL].astype(np.int64)
        size = costs.notional / (close * (1 - signs[:count] * entry_rule.offset))
        prices_in = record[:, limit_loops.ENTRY_PRICE].copy()
    return Trades(
        entry=entry,
        exit=np.minimum(end, bars - 1),
        direction=signs[:count].astype(np.int64),
        size=size,
        entry_price=prices_in,
        exit_price=exit_prices[:count].copy(),
        fees=record[:, loops.FEES].copy(),
        funding=record[:, loops.FUNDING].copy(),
        pnl=record[:, loops.PNL].copy(),
        confidence=column.confidence[signal],
        closed=end < bars,
        reason=reasons[:count].copy(),
        parts=PartFills(trade, part_bars[trade, part], parts[0, part, 1], part_prices[trade, part])
        if len(column.exits.parts)
        else None,
        signal=None if entry_rule is None else signal,
        entry_fee=None if entry_rule is None else record[:, limit_loops.ENTRY_FEE].copy(),
    )


def plan_arrays(plans: Sequence[ExitPlan]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Numbers, ROI tables and parts of plans as the compiled loops read them, shapes (plans, ...)."""
    from trading_assets.backtesting.kernel.exit_loops import NEVER  # noqa: PLC0415 (numba: a second)

    numbers = [(p.after_bars, p.trail, p.trail_from, p.break_even_from, p.break_even_to) for p in plans]
    steps, most_parts = max(len(p.roi) for p in plans), max(len(p.parts) for p in plans)
    roi, parts = np.full((len(plans), steps, 2), float(NEVER)), np.zeros((len(plans), most_parts, 2))
    for row, plan in enumerate(plans):
        roi[row, : len(plan.roi)] = np.array(plan.roi).reshape(-1, 2)
        parts[row, : len(plan.parts)] = np.array(plan.parts).reshape(-1, 2)
    return np.array(numbers, dtype=np.float64), roi, parts


def bar_numbers(candles: Candles, first: int = 0) -> IntArray:
    """Numbers of the bars from `first` on: consecutive where none is missing."""
    return np.ascontiguousarray(candles.start_ms[first:], dtype=np.int64) // candles.timeframe.ms


def exit_codes(column: Column) -> npt.NDArray[np.uint8]:
    """What each close ends, 1 a long position, 2 a short one; of no bar where none ends any."""
    if column.exit_long is None and column.exit_short is None:
        return np.empty(0, dtype=np.uint8)
    none = np.zeros(len(column.candles), dtype=bool)
    long = none if column.exit_long is None else column.exit_long
    short = none if column.exit_short is None else column.exit_short
    return np.bitwise_or(long.astype(np.uint8), np.where(short, np.uint8(2), np.uint8(0)))


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
        cost_numbers(costs),
        slips,
        np.empty((1, RECORD_FIELDS)),
        pnl,
    )
    return pnl, candles.close[bars] * (1 + direction * (slips[bars] if costs.liquidity else costs.slippage))


def cost_numbers(costs: Costs) -> tuple[float, ...]:
    """Return `costs` of the compiled loops; the capital is that of one trade."""
    numbers = (costs.fee, costs.slippage, costs.notional, costs.notional, costs.liquidation, costs.stop_overshoot)
    return tuple(map(float, numbers))
