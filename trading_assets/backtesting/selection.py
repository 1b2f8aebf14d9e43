"""From backtests to the one best strategy and timeframe of each coin. Filters and score of the spec, nothing else.

The same filters and score say which of a strategy's parameter sets are worth a row (`worth_keeping`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.market.candles import BoolArray, FloatArray, IntArray
from trading_assets.market.timeframes import TRADED_TIMEFRAMES
from trading_assets.schemas.tables import STRATEGY_SELECTIONS

Backtests = pd.DataFrame | Mapping[str, FloatArray]
"""Columns of `backtest_results` by name: a frame, or arrays of one shape."""

_ORDER = {timeframe.value: index for index, timeframe in enumerate(TRADED_TIMEFRAMES)}


@dataclass(frozen=True)
class Preset:
    """Least values that a backtest needs; None means no such filter. `max_drawdown` in percent, <= 0."""

    trades: int
    win_rate: float
    profit_factor: float | None = None
    max_drawdown: float | None = None
    total_pnl: float | None = None


PRESETS: Mapping[str, Preset] = {
    "strict": Preset(trades=5, win_rate=50.0, profit_factor=1.5, max_drawdown=-20.0),
    "volume": Preset(trades=20, win_rate=45.0, total_pnl=100.0),
    "volume_loose": Preset(trades=10, win_rate=40.0, total_pnl=50.0),
}
"""The spec's filters: strict [A, section 4], volume [B, section 5] and its loosened form."""


@dataclass(frozen=True)
class Selection:
    """What came out of the backtests of an hour.

    Attributes:
        rows: of `strategy_selections`, one per coin.
        passed: backtests that passed every filter.
        failed: backtests that failed each filter, by its description; one may fail several.
        scores: of every backtest that passed, highest first, shape (passed,).
    """

    rows: pd.DataFrame
    passed: int
    failed: dict[str, int] = field(default_factory=dict)
    scores: FloatArray = field(default_factory=lambda: np.empty(0))


def score(backtests: Backtests) -> Any:
    """win_rate * profit_factor * ln(total_trades + 1), by row."""
    return backtests["win_rate"] * backtests["profit_factor"] * np.log(backtests["total_trades"] + 1)


def select_best(hour_ms: int, backtests: pd.DataFrame, preset: Preset) -> Selection:
    """The best passing backtest of each coin; ties go to more trades, then the shorter timeframe, then the name.

    A backtest that failed with an error counts as that and fails no filter besides.
    """
    sound = backtests[backtests["error"].isna()]
    tests = _tests(sound, preset)
    good = pd.Series(True, index=sound.index)
    for test in tests.values():
        good &= test
    failed = {name: int((~test).sum()) for name, test in tests.items() if not test.all()}
    if len(sound) < len(backtests):
        failed["failed with an error"] = len(backtests) - len(sound)
    passing = sound[good]
    if passing.empty:
        return Selection(STRATEGY_SELECTIONS.empty(), 0, failed)
    ranked = passing.assign(hour_ms=hour_ms, score=score(passing), _order=passing["timeframe"].map(_ORDER)).sort_values(
        ["symbol", "score", "total_trades", "_order", "strategy", "parameters"],
        ascending=[True, False, False, True, True, True],
        kind="stable",
    )
    best = ranked.groupby("symbol").head(1)
    return Selection(
        STRATEGY_SELECTIONS.conform(best[STRATEGY_SELECTIONS.columns]),
        len(passing),
        failed,
        np.sort(ranked["score"].to_numpy())[::-1],
    )


def _tests(backtests: Backtests, preset: Preset) -> dict[str, Any]:
    """Whether each backtest passes, by the description of failing."""
    tests = {
        f"fewer than {preset.trades} trades": backtests["total_trades"] >= preset.trades,
        f"win rate below {preset.win_rate:g} %": backtests["win_rate"] >= preset.win_rate,
    }
    if preset.profit_factor is not None:
        enough = backtests["profit_factor"] >= preset.profit_factor
        tests[f"profit factor below {preset.profit_factor:g}"] = enough
    if preset.max_drawdown is not None:
        tests[f"drawdown beyond {preset.max_drawdown:g} %"] = backtests["max_drawdown"] >= preset.max_drawdown
    if preset.total_pnl is not None:
        tests[f"PnL below ${preset.total_pnl:g}"] = backtests["total_pnl"] >= preset.total_pnl
    return tests


def worth_keeping(figures: Mapping[str, FloatArray], rank: IntArray, usable: BoolArray) -> BoolArray:
    """Which parameter sets of a strategy `select_best` may choose under any preset; else the best by score alone.

    Args:
        figures: metrics by name, each of shape (coins, sets).
        rank: order of the sets by the text of their parameters, the last resort of a tie, shape (sets,).
        usable: sets that did not fail, shape (coins, sets).

    Returns:
        Shape (coins, sets); at least one set of each coin that has a usable one.
    """
    points = score(figures)
    kept = np.zeros(usable.shape, dtype=bool)
    for preset in PRESETS.values():
        passing = usable.copy()
        for test in _tests(figures, preset).values():
            passing &= test
        kept |= _best(points, figures["total_trades"], rank, passing)
    return kept | _best(points, figures["total_trades"], rank, usable & ~kept.any(axis=1, keepdims=True))


def _best(points: FloatArray, trades: FloatArray, rank: IntArray, among: BoolArray) -> BoolArray:
    """The best of each row, ties as in `select_best`; none where `among` has none."""
    left = among
    for values in (points, trades, -rank.astype(np.float64)[None, :]):
        ranked = np.where(left, values, -np.inf)
        left = left & (ranked == ranked.max(axis=1, keepdims=True))
    return left


def coin_summary(backtests: pd.DataFrame) -> pd.DataFrame:
    """B's summary: per coin the timeframe with the largest PnL, its PnL and win rate, and the best of each timeframe.

    Returns:
        Columns symbol, optimal_timeframe, optimal_pnl, optimal_win_rate, and for each timeframe present its best
        strategy with PnL and win rate as text; one row per coin, the largest PnL first.
    """
    traded = backtests[backtests["total_trades"] > 0]
    ordered = traded.assign(_order=traded["timeframe"].map(_ORDER)).sort_values(
        ["total_pnl", "_order", "strategy", "parameters"], ascending=[False, True, True, True], kind="stable"
    )
    best: dict[str, dict[str, object]] = {}
    for row in ordered[["symbol", "timeframe", "strategy", "total_pnl", "win_rate"]].to_dict("records"):
        coin = best.setdefault(
            row["symbol"],
            {
                "symbol": row["symbol"],
                "optimal_timeframe": row["timeframe"],
                "optimal_pnl": row["total_pnl"],
                "optimal_win_rate": row["win_rate"],
                **dict.fromkeys(_ORDER, ""),
            },
        )
        if not coin[row["timeframe"]]:
            coin[row["timeframe"]] = f"{row['strategy']} ${row['total_pnl']:.0f} {row['win_rate']:.0f} %"
    columns = ["symbol", "optimal_timeframe", "optimal_pnl", "optimal_win_rate", *_ORDER]
    summary = pd.DataFrame(list(best.values()), columns=columns)
    return summary.sort_values(["optimal_pnl", "symbol"], ascending=[False, True]).reset_index(drop=True)
