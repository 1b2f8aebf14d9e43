"""What `chaos orders` found: its figures, and a sentence for each finding."""

from __future__ import annotations

from dataclasses import dataclass, field

from trading_assets.chaos.findings import Findings


@dataclass
class ChaosReport:
    """What happened and what was found broken; `broken` has a sentence for each finding.

    `unprotected_seconds_max` counts from the fill (or the loss of a stop) to the new stop or the exit, the time in
    which no trader lived included, by the clock on the wall. `silent_minutes` counts by the traders' clock for how long
    something differed that was not told.

    Attributes:
        points: edges of steps that there are; `steps_killed_at` of them saw a death, `points_missed` did not.
        exits: how many signals had each kind of exit plan; `exit_decisions` what was decided, by kind.
        second_maintainers: grids' keepers that slept while another one began.
        grid_orders, grid_fills, grid_closed: orders of grids, their executions, and closers of levels that were filled.
        grid_duplicates: orders of a level beside another one, or filled beyond what was wished.
        grid_inventory: grids whose inventory was not that of their fills, or of their position.
        grid_profit: grids whose profit was not that of their matched pairs, or whose total was not the change of money.
        grid_restless: grids at which a second pass did something, with nothing new at the exchange.
        beyond_bounds: orders of levels outside their grid.
        self_trades: own orders of a contract that crossed, or traded with each other.
        left_waiting: orders of exit plans whose position had ended.
        dca: how many DCA plans of each side; `dca_times` the outcomes of their scheduled times.
        dca_orders, dca_fills: orders of plans, and executions in their contracts.
        dca_duplicates: orders of a scheduled time or step beside another one, or filled beyond what was wished.
        dca_schedule: scheduled times without an outcome, with two, or with another one than executions tell; more
            deployed than may be.
        dca_inventory: plans that did not hold what their executions come to; `dca_profit` whose total was not the
            change of money.
        dca_restless: plans at which pass after pass did something, with nothing new at the exchange.
    """

    seed: int
    intents: int = 0
    kills: int = 0
    kills_at_steps: int = 0
    steps_killed_at: int = 0
    points: int = 0
    points_missed: list[str] = field(default_factory=list)
    faults: int = 0
    orders: int = 0
    duplicates: int = 0
    orphans: int = 0
    unprotected_positions: int = 0
    unprotected_seconds_max: float = 0.0
    mismatches: int = 0
    foreign_touched: int = 0
    wrong_levels: int = 0
    misattributed: int = 0
    silent_minutes: float = 0.0
    wrong_sums: int = 0
    second_traders: int = 0
    second_maintainers: int = 0
    two_traded: int = 0
    stops_lost: int = 0
    waited: int = 0
    cancelled_by_venue: int = 0
    closed_by_hand: int = 0
    by_hand: dict[str, int] = field(default_factory=dict)
    closings: int = 0
    exits: dict[str, int] = field(default_factory=dict)
    exit_decisions: dict[str, int] = field(default_factory=dict)
    left_waiting: int = 0
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
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def count(self, found: Findings, where: str) -> None:
        """Add the findings of a comparison; of silence the caller says for how long it lasted."""
        for law, figure in FIGURES.items():
            setattr(self, figure, getattr(self, figure) + len(getattr(found, law)))
        self.broken += [f"{where}: {text}" for text in found.broken]


FIGURES = {
    "duplicates": "duplicates",
    "orphans": "orphans",
    "unprotected": "unprotected_positions",
    "mismatches": "mismatches",
    "foreign": "foreign_touched",
    "wrong_levels": "wrong_levels",
    "misattributed": "misattributed",
    "sums": "wrong_sums",
    "left_waiting": "left_waiting",
    "grid_duplicates": "grid_duplicates",
    "grid_inventory": "grid_inventory",
    "grid_profit": "grid_profit",
    "grid_restless": "grid_restless",
    "beyond_bounds": "beyond_bounds",
    "self_trades": "self_trades",
    "dca_duplicates": "dca_duplicates",
    "dca_schedule": "dca_schedule",
    "dca_inventory": "dca_inventory",
    "dca_profit": "dca_profit",
    "dca_restless": "dca_restless",
}
"""Which figure counts the findings of a law."""
