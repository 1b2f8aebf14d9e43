"""Rows of `backtest_results` from the outcome of a sweep: of each window the row of the set that was chosen, with what
its trades say about luck, and that of a set that failed. No storing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.kernel.sweep_result import SweepResult
from trading_assets.backtesting.liquidity import both_fills
from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.parameter_choice import choose_parameters, trials_from
from trading_assets.backtesting.significance import MIN_TRADES, trades_p_value
from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.registry import ConfiguredStrategy

_log = get_logger(__name__)

_METRICS = [field.name for field in fields(Metrics)]
_TOTAL_TRADES, _TOTAL_PNL = _METRICS.index("total_trades"), _METRICS.index("total_pnl")


@dataclass(frozen=True)
class Block:
    """Rows of one strategy: by column what has one value per row besides the figures, and those, shape (rows, fields).

    In columns a month takes a tenth of the memory: texts are shared, numbers are arrays.
    """

    columns: Mapping[str, Sequence[object] | npt.NDArray[Any]]
    figures: FloatArray


def rows_of(
    timeframe: Timeframe,
    hours: Sequence[int],
    symbols: Sequence[str],
    bars: Sequence[int],
    strategy: ConfiguredStrategy,
    outcome: SweepResult,
    costs: Costs,
    *,
    searched: bool = False,
) -> tuple[Block, Mapping[int, int]]:
    """Of each window (its hour, coin and bars) the row of the chosen parameter set, and that of the first that
    failed.

    Only a chosen set that earned anything has a p-value, since nothing else can be selected.

    Args:
        searched: whether a search has proposed the sets.

    Returns:
        The rows, and of each window in which sets failed the first one of them.
    """
    usable = outcome.usable
    chosen = choose_parameters(outcome.figures, strategy.parameters, usable)
    trials = trials_from(outcome.figures, usable)
    failed: dict[int, int] = {}
    for window, index in outcome.failures:
        failed[window] = min(index, failed.get(window, index))
    windows, sets, errors = list[int](), list[int](), list[str | None]()
    for window, symbol in enumerate(symbols):
        if chosen[window] >= 0:
            windows.append(window)
            sets.append(int(chosen[window]))
            errors.append(None)
        if window in failed:
            reason = outcome.failures[window, failed[window]]
            windows.append(window)
            sets.append(failed[window])
            errors.append(f"{type(reason).__name__}: {reason}")
            _log.debug("%s failed on %s", strategy.name, symbol, exc_info=reason)
    rows = len(windows)
    texts = [strategy.parameters[index] for index in sets]
    figures = outcome.figures[windows, sets]
    p_values, break_evens, in_r = _chances(outcome, figures, outcome.starts[windows, sets], costs)
    columns = {
        "hour_ms": np.array([hours[window] for window in windows], dtype=np.int64),
        "timeframe": [timeframe.value] * rows,
        "symbol": [symbols[window] for window in windows],
        "strategy": [strategy.name] * rows,
        "parameters": texts,
        "bars": np.array(
            [bars[window] if error is None else 0 for window, error in zip(windows, errors, strict=True)],
            dtype=np.int64,
        ),
        "configurations": np.full(rows, len(strategy.sets)),
        "searched": np.full(rows, len(strategy.sets) if searched else math.nan),
        **{name: values[windows] for name, values in vars(trials).items()},
        "p_value": p_values,
        "break_even": break_evens,
        "mean_r": in_r,
        "error": errors,
    }
    return Block(columns, figures), failed


def _chances(
    outcome: SweepResult, figures: FloatArray, starts: IntArray, costs: Costs
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each row p-value and break-even win rate, NaN where it has too few trades or no profit; mean result in
    multiples of the risk, NaN without trades.

    Args:
        figures: the fields of `Metrics`, shape (rows, fields).
        starts: where its trades are among those of the outcome, shape (rows,).
    """
    from trading_assets.backtesting.kernel.means import mean_multiples  # noqa: PLC0415 (numba: a second)

    gains, risks, counts = outcome.gains, outcome.risks, figures[:, _TOTAL_TRADES].astype(np.int64)
    in_r = mean_multiples(gains, risks, costs.notional, starts, counts)
    p_values, break_evens = np.full(len(starts), math.nan), np.full(len(starts), math.nan)
    earned = (counts >= MIN_TRADES) & (figures[:, _TOTAL_PNL] > 0)
    fills, before, found = both_fills(costs), (-1, -1), (math.nan, math.nan)
    for row in np.flatnonzero(earned).tolist():
        start, end = int(starts[row]), int(starts[row] + counts[row])
        if (start, end) != before:
            before = start, end
            found = _p_value_of(gains[start:end].tobytes(), risks[start:end].tobytes(), costs.notional, fills)
        p_values[row], break_evens[row] = found
    return p_values, break_evens, in_r


@lru_cache(maxsize=4096)
def _p_value_of(results: bytes, risks: bytes, notional: float, costs: float) -> tuple[float, float]:
    """See `trades_p_value`. Windows that follow each other often have the same trades: half of them do."""
    return trades_p_value(np.frombuffer(results), np.frombuffer(risks) * notional, costs)


def frame_of(blocks: Sequence[Block]) -> pd.DataFrame:
    """Rows of all blocks, in their order."""
    columns: dict[str, Any] = {}
    for name, first_values in blocks[0].columns.items():
        parts: list[Any] = [block.columns[name] for block in blocks]
        columns[name] = np.concatenate(parts) if isinstance(first_values, np.ndarray) else [*chain.from_iterable(parts)]
    figures = np.concatenate([block.figures for block in blocks])
    return pd.DataFrame({**columns, **dict(zip(_METRICS, figures.T, strict=True))})


def log_failures(rows: pd.DataFrame, timeframe: Timeframe) -> None:
    """One warning for each strategy that failed somewhere."""
    for name, failed in rows[rows["error"].notna()].groupby("strategy"):
        first = failed.iloc[0]
        _log.warning(
            "strategy %s failed on %d coins at %s, first on %s: %s",
            name,
            failed["symbol"].nunique(),
            timeframe.value,
            first["symbol"],
            first["error"],
        )
