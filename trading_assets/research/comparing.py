"""Several backtests side by side: their figures in one frame, their equity on one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from trading_assets.core.errors import ConfigurationError
from trading_assets.research.backtests import Backtest

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Comparison:
    """Backtests side by side.

    Attributes:
        table: one row for each figure of `Backtest.metrics`, one column for each backtest.
        equity: USD at closes, one column for each; between the closes of one its last value stands.
        shared: trades that begin at the same close on the same side, as a share of each one's trades: rows have them,
            columns are held against. Two that share nearly all are one idea.
    """

    table: pd.DataFrame
    equity: pd.DataFrame
    shared: pd.DataFrame

    def plot(self) -> go.Figure:
        """Return of each since its start, percent of what it began with."""
        from trading_assets.research.figures import curves  # noqa: PLC0415 (plotly)

        began = self.equity.bfill().iloc[0]
        returns = (self.equity / began - 1) * 100
        return curves({str(name): returns[name].dropna() for name in returns}, "Return", "percent")


def compare(backtests: Mapping[str, Backtest] | Sequence[Backtest]) -> Comparison:
    """Hold backtests against each other.

    Args:
        backtests: by the names they shall have, or in a row: they are named by strategy, symbol and timeframe.

    Raises:
        ConfigurationError: there are fewer than two, or two have one name.

    Example:
        ```python
        both = research.compare({"as described": bt, "wide stop": wide})
        both.table.loc[["total_trades", "mean_r", "max_drawdown"]]
        both.plot()
        ```
    """
    named = dict(backtests) if isinstance(backtests, Mapping) else {one.title: one for one in backtests}
    if len(named) < 2 or len(named) < len(backtests):
        raise ConfigurationError(
            f"expected two or more backtests with names of their own, found {', '.join(named) or 'none'}: give them as "
            "a dict by name"
        )
    equity = pd.concat({name: one.equity["equity"] for name, one in named.items()}, axis=1).sort_index().ffill()
    begun = {
        name: set(zip(one.trades["entry_time"], one.trades["side"], [one.symbol] * len(one.trades), strict=True))
        for name, one in named.items()
    }
    shared = {
        other: {name: len(mine & theirs) / len(mine) if mine else float("nan") for name, mine in begun.items()}
        for other, theirs in begun.items()
    }
    return Comparison(
        pd.DataFrame({name: pd.Series(one.metrics) for name, one in named.items()}), equity, pd.DataFrame(shared)
    )
