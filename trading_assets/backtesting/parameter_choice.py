"""Which of a strategy's parameter sets is used: decided on the in-sample part of the window, never on the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from trading_assets.backtesting.significance import MIN_TRADES, bootstrap_p_value, seed_of
from trading_assets.market.candles import FloatArray
from trading_assets.schemas.tables import BACKTEST_RESULTS

_ONE_CHOICE = ["hour_ms", "timeframe", "symbol", "strategy"]


def choose_parameters(backtests: pd.DataFrame) -> pd.DataFrame:
    """The chosen parameter set of each hour, timeframe, symbol and strategy.

    The set with the highest in-sample score, among those with `MIN_TRADES` trades there if there are any: a single
    lucky trade scores higher than twenty good ones. Ties go to the larger in-sample PnL, then to the parameters' text.
    The out-of-sample columns of the rows are not looked at, so they tell what the choice is worth.

    Args:
        backtests: rows of `backtest_results`; those that failed with an error are never chosen.

    Returns:
        Some of the rows, in their order and with their index.
    """
    sound = backtests[backtests["error"].isna()]
    ordered = sound.assign(_few=sound["in_sample_trades"] < MIN_TRADES).sort_values(
        [*_ONE_CHOICE, "_few", "in_sample_score", "in_sample_pnl", "parameters"],
        ascending=[True] * len(_ONE_CHOICE) + [True, False, False, True],
        kind="stable",
    )
    return sound[sound.index.isin(ordered.drop_duplicates(_ONE_CHOICE).index)]


def with_p_values(backtests: pd.DataFrame, pnl_of: Callable[[int], FloatArray]) -> pd.DataFrame:
    """`backtests` with `p_value`: of chosen parameter sets that earned anything; nothing else can be selected.

    Args:
        pnl_of: PnL of the closed trades, USD, of the row at a position. Asked of those rows alone, so an engine that
            keeps no trades makes them for these.
    """
    asked = choose_parameters(backtests)
    asked = asked[asked["total_pnl"] > 0]
    values = np.full(len(backtests), np.nan)
    keys = backtests[list(BACKTEST_RESULTS.key)]
    for position in backtests.index.get_indexer(asked.index).tolist():
        values[position] = bootstrap_p_value(pnl_of(position), seed_of(tuple(keys.iloc[position])))
    return backtests.assign(p_value=values)
