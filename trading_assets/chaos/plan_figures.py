"""What a trial counts of grids and DCA plans: their figures, and the laws of theirs that are held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class PlanFigures:
    """The part of a report that tells of grids and DCA plans.

    Attributes:
        grids: how many grids of each kind.
        grid_orders, grid_fills, grid_closed: orders of grids, their executions, and closers of levels that were filled.
        grid_duplicates: orders of a level beside another one, or filled beyond what was wished.
        grid_inventory: grids whose inventory was not that of their fills, or of their position.
        grid_profit: grids whose profit was not that of their matched pairs, or whose total was not the change of money.
        grid_restless: grids at which a second pass did something, with nothing new at the exchange.
        beyond_bounds: orders of levels outside their grid.
        self_trades: own orders of a contract that crossed, or traded with each other.
        dca: how many DCA plans of each side; `dca_times` the outcomes of their scheduled times.
        dca_orders, dca_fills: orders of plans, and executions in their contracts.
        dca_duplicates: orders of a scheduled time or step beside another one, or filled beyond what was wished.
        dca_schedule: scheduled times without an outcome, with two, or with another one than executions tell; more
            deployed than may be.
        dca_inventory: plans that did not hold what their executions come to; `dca_profit` whose total was not the
            change of money.
        dca_restless: plans at which pass after pass did something, with nothing new at the exchange.
    """

    grids: dict[str, int] = field(default_factory=dict)
    grid_orders: int = 0
    grid_fills: int = 0
    grid_closed: int = 0
    grid_duplicates: int = 0
    grid_inventory: int = 0
    grid_profit: int = 0
    grid_restless: int = 0
    beyond_bounds: int = 0
    self_trades: int = 0
    dca: dict[str, int] = field(default_factory=dict)
    dca_orders: int = 0
    dca_fills: int = 0
    dca_times: dict[str, int] = field(default_factory=dict)
    dca_duplicates: int = 0
    dca_schedule: int = 0
    dca_inventory: int = 0
    dca_profit: int = 0
    dca_restless: int = 0


PLAN_LAWS: Mapping[str, str] = {
    one: one
    for one in (
        *("grid_duplicates", "grid_inventory", "grid_profit", "grid_restless", "beyond_bounds", "self_trades"),
        *("dca_duplicates", "dca_schedule", "dca_inventory", "dca_profit", "dca_restless"),
    )
}
"""By law, the figure that counts its findings."""
