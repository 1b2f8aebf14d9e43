"""What `chaos orders` found: its figures, and a sentence for each finding."""

from __future__ import annotations

from dataclasses import dataclass, field

from trading_assets.chaos.findings import Findings
from trading_assets.chaos.plan_figures import PLAN_LAWS, PlanFigures


@dataclass
class ChaosReport(PlanFigures):
    """What happened and what was found broken; `broken` has a sentence for each finding.

    `unprotected_seconds_max` counts from the fill (or the loss of a stop) to the new stop or the exit, the time in
    which no trader lived included, by the clock on the wall. `silent_minutes` counts by the traders' clock for how long
    something differed that was not told.

    Attributes:
        points: edges of steps that there are; `steps_killed_at` of them saw a death, `points_missed` did not;
            `reached` tells it by kind.
        exits: how many signals had each kind of exit plan; `exit_decisions` what was decided, by kind.
        second_maintainers: grids' keepers that slept while another one began; `second_plan_maintainers` DCA plans'.
        sums_not_compared: comparisons of all sums during each of which something happened: no finding, and no proof.
        left_waiting: orders of exit plans whose position had ended.
    """

    seed: int
    intents: int = 0
    kills: int = 0
    kills_at_steps: int = 0
    steps_killed_at: int = 0
    points: int = 0
    points_missed: list[str] = field(default_factory=list)
    reached: dict[str, str] = field(default_factory=dict)
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
    second_plan_maintainers: int = 0
    sums_not_compared: int = 0
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
    **PLAN_LAWS,
}
"""Which figure counts the findings of a law."""
