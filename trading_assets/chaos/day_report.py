"""What `chaos day` found: its figures, and a sentence for each finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trading_assets.chaos.plan_figures import PLAN_LAWS, PlanFigures

FIGURES: Mapping[str, str] = {
    "duplicates": "duplicates",
    "orphans": "orphans",
    "unprotected": "unprotected_positions",
    "mismatches": "mismatches",
    "foreign": "foreign_touched",
    "wrong_levels": "wrong_levels",
    "misattributed": "misattributed",
    "silent": "silent",
    "sums": "wrong_sums",
    "left_waiting": "left_waiting",
    **PLAN_LAWS,
}
"""Which figure of the report counts the findings of a law."""


@dataclass
class DayReport(PlanFigures):
    """What happened and what was found broken; `broken` has a sentence for each finding.

    Attributes:
        hours: of market from the first session on.
        hours_expected: hours of market that ended while it ran, its start included, and the one before.
        unprotected_seconds_max: longest time in which a position was seen without its stop, being dead included;
            `_of_market` the same by the market's clock.
        seconds_without_session, longest_gap_seconds: no process alive that holds the lease on trading, from the first
            session on.
        failed_runs: by job and reason.
        disk_mb: growth by directory.
    """

    seed: int
    hours: float
    speed: float
    home: str
    seconds: float = 0.0
    seconds_to_first_session: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    slept: int = 0
    faults: int = 0
    stops_taken: int = 0
    closed_by_hand: int = 0
    signals: dict[str, int] = field(default_factory=dict)
    orders: int = 0
    closings: dict[str, int] = field(default_factory=dict)
    open_positions: int = 0
    hours_researched: int = 0
    hours_expected: int = 0
    duplicates: int = 0
    orphans: int = 0
    unprotected_positions: int = 0
    unprotected_seconds_max: float = 0.0
    unprotected_seconds_max_of_market: float = 0.0
    mismatches: int = 0
    foreign_touched: int = 0
    wrong_levels: int = 0
    misattributed: int = 0
    silent: int = 0
    wrong_sums: int = 0
    left_waiting: int = 0
    by_hand: dict[str, int] = field(default_factory=dict)
    left_to_repair: int = 0
    sessions: int = 0
    session_gaps: int = 0
    seconds_without_session: float = 0.0
    longest_gap_seconds: float = 0.0
    restarts: dict[str, int] = field(default_factory=dict)
    runs: dict[str, dict[str, int]] = field(default_factory=dict)
    failed_runs: dict[str, int] = field(default_factory=dict)
    dagster_events: int = 0
    risk_events: int = 0
    disk_mb: dict[str, float] = field(default_factory=dict)
    recovered_in_seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
