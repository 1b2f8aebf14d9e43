"""The reference engine: vectorbt's `Portfolio.from_signals`, compiled in Rust.

Of exits besides stop and target it can represent exit conditions at a close. Its stops cannot pass the entry, it knows
no age of a position and no targets with a part: see `represents`. Nor does it know entries that wait.

vectorbt costs seconds to import, so it is imported where it is used, never with this module.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades, funding_paid, no_trades
from trading_assets.backtesting.liquidity import slippage_by_bar, stop_slippage
from trading_assets.core.candles import BoolArray

PLENTY_OF_CASH = 1e12

RULES: Mapping[str, Any] = {
    "size_type": "value",
    "init_cash": PLENTY_OF_CASH,
    "stop_entry_price": "close",
    "stop_exit_price": "stopmarket",
    "upon_opposite_entry": "ignore",
    "accumulate": False,
}
"""Arguments of `Portfolio.from_signals` that make its rules ours (see `engine`)."""

_NOT_NEEDED = ("ccxt", "rfc3987_syntax")
"""What vectorbt, or a library of it, imports only where it is installed: downloads, and addresses in notebooks. That is
nearly half of the time that vectorbt takes to load."""

_CLOSED = 1
_CELLS = 4_000_000
"""Bars x columns of one call: 32 MB for each of its seven arrays."""


def _vectorbt() -> Any:
    if "vectorbt" in sys.modules:
        return sys.modules["vectorbt"]
    loaded: dict[str, Any] = sys.modules
    absent = [name for name in _NOT_NEEDED if name not in loaded]
    loaded.update(dict.fromkeys(absent))  # to import them is an error that vectorbt expects
    try:
        return importlib.import_module("vectorbt")
    finally:
        for name in absent:
            loaded.pop(name, None)


def represents(column: Column) -> bool:
    """Whether vectorbt can simulate a column by our rules."""
    return not column.exits


class VectorbtEngine:
    """Columns are simulated together, as many as fit into `_CELLS`; a shorter one starts later in its batch."""

    def simulate(self, columns: Sequence[Column], costs: Costs) -> list[Trades]:
        """See `Engine.simulate`.

        Raises:
            NotImplementedError: a column is none that it `represents`, or entries wait.
        """
        if costs.entry is not None:
            raise NotImplementedError("vectorbt cannot represent an entry that waits at a price")
        if not all(map(represents, columns)):
            raise NotImplementedError("vectorbt cannot represent this plan of exits")
        trades = [no_trades() for _ in columns]
        for batch in _batches(columns):
            for index, found in zip(batch, _simulate([columns[i] for i in batch], costs), strict=True):
                trades[index] = found
        return trades


def _batches(columns: Sequence[Column]) -> Iterator[list[int]]:
    """Indices of columns that have an entry at all, of similar length first, so that little is padded."""
    entering = [i for i, column in enumerate(columns) if column.long.any() or column.short.any()]
    entering.sort(key=lambda i: len(columns[i].candles), reverse=True)
    while entering:
        count = max(_CELLS // len(columns[entering[0]].candles), 1)
        yield entering[:count]
        entering = entering[count:]


def _simulate(columns: Sequence[Column], costs: Costs) -> list[Trades]:
    """Trades of each column; the first one is the longest."""
    if not costs.liquidity:
        return _with_slippage(columns, costs, costs.slippage)
    # No slippage moves an exit, so those without any tell in which bars stops slip.
    free = _with_slippage(columns, costs, 0.0)
    slips = [_slippage(column, trades, costs) for column, trades in zip(columns, free, strict=True)]
    return _with_slippage(columns, costs, _stack(len(columns[0].candles), slips))


def _slippage(column: Column, free: Trades, costs: Costs) -> np.ndarray:
    """Slippage in each bar of a column, given its trades without any: a bar has one order at most."""
    candles, slips = column.candles, slippage_by_bar(column.candles, costs)
    bars, long = free.exit, free.direction > 0
    worst = np.where(long, candles.low[bars], candles.high[bars])
    level = candles.close[free.entry] * (1 - free.direction * column.stop_fraction[free.entry])
    stopped = free.closed & (np.where(long, worst <= level, worst >= level))
    slips[bars[stopped]] += stop_slippage(free.exit_price, worst, costs)[stopped]
    return slips


def _with_slippage(columns: Sequence[Column], costs: Costs, slippage: float | np.ndarray) -> list[Trades]:
    vbt = _vectorbt()
    rows = len(columns[0].candles)
    stop = _stack(rows, [column.stop_fraction for column in columns])
    entries = [column.entries(costs) for column in columns]
    portfolio = vbt.Portfolio.from_signals(
        _stack(rows, [column.candles.close for column in columns]),
        open=_stack(rows, [column.candles.open for column in columns]),
        high=_stack(rows, [column.candles.high for column in columns]),
        low=_stack(rows, [column.candles.low for column in columns]),
        entries=_stack(rows, [long for long, _ in entries]),
        short_entries=_stack(rows, [short for _, short in entries]),
        size=costs.notional,
        fees=costs.fee,
        slippage=slippage,
        sl_stop=stop,
        tp_stop=stop * np.array([column.reward_risk for column in columns]),
        engine="rust",
        **_exit_conditions(rows, columns),
        **RULES,
    )
    records = portfolio.exit_trades.values
    records = records[np.lexsort((records["entry_idx"], records["col"]))]
    edges = np.searchsorted(records["col"], np.arange(len(columns) + 1))
    return [
        _trades(column, records[low:high], rows - len(column.candles))
        for column, low, high in zip(columns, edges[:-1], edges[1:], strict=True)
    ]


def _exit_conditions(rows: int, columns: Sequence[Column]) -> Mapping[str, np.ndarray]:
    """Arguments of `Portfolio.from_signals`; none where no column has any."""
    if not any(column.has_exits for column in columns):
        return {}
    return {
        "exits": _stack(rows, [_or_never(column.exit_long, column) for column in columns]),
        "short_exits": _stack(rows, [_or_never(column.exit_short, column) for column in columns]),
    }


def _or_never(condition: BoolArray | None, column: Column) -> BoolArray:
    return np.zeros(len(column.candles), dtype=bool) if condition is None else condition


def _trades(column: Column, records: np.ndarray, padding: int) -> Trades:
    entry = records["entry_idx"].astype(np.int64) - padding
    exit_ = records["exit_idx"].astype(np.int64) - padding
    direction = np.where(records["direction"] == 0, 1, -1).astype(np.int64)
    size = records["size"].astype(np.float64)
    closed = records["status"] == _CLOSED
    paid = funding_paid(column.candles, column.funding, entry, exit_, direction, size, closed)
    return Trades(
        entry=entry,
        exit=exit_,
        direction=direction,
        size=size,
        entry_price=records["entry_price"].astype(np.float64),
        exit_price=records["exit_price"].astype(np.float64),
        fees=(records["entry_fees"] + records["exit_fees"]).astype(np.float64),
        funding=paid,
        pnl=records["pnl"] - paid,
        confidence=column.confidence[entry],
        closed=closed,
    )


def _stack(rows: int, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Shape (rows, columns), C order: vectorbt's Rust engine is several times slower on any other.

    A shorter array is preceded by its first value (False for signals): bars on which nothing happens.
    """
    stacked = np.empty((rows, len(arrays)), dtype=arrays[0].dtype)
    for column, array in enumerate(arrays):
        padding = rows - len(array)
        stacked[padding:, column] = array
        stacked[:padding, column] = False if array.dtype == bool else array[0]
    return stacked
