"""What is left of a backtest when trading costs twice as much: an edge that thin does not survive a busy market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trading_assets.backtesting.engine import Column, Costs, Engine, Trades

FACTOR = 2.0


@dataclass(frozen=True)
class CostSensitivity:
    """PnL of closed trades in USD at the costs assumed and at `FACTOR` times fee and slippage, and their numbers."""

    pnl: float
    trades: int
    pnl_at_double: float
    trades_at_double: int

    @property
    def survives(self) -> bool:
        """Whether a profit stays one; what lost money before has nothing to lose."""
        return self.pnl_at_double > 0 or self.pnl <= 0


def at_double_costs(columns: Sequence[Column], costs: Costs, engine: Engine) -> list[CostSensitivity]:
    """Simulate each column at single and double costs. Stops are measured from the fill, so exits may differ too."""
    double = replace(costs, fee=costs.fee * FACTOR, slippage=costs.slippage * FACTOR)
    return [
        CostSensitivity(*_closed(single), *_closed(doubled))
        for single, doubled in zip(engine.simulate(columns, costs), engine.simulate(columns, double), strict=True)
    ]


def _closed(trades: Trades) -> tuple[float, int]:
    return float(trades.pnl[trades.closed].sum()), int(trades.closed.sum())
