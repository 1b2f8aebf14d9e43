"""What a comparison of ledger and exchange may find broken: the laws by name, each with its sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass
class Findings:
    """Broken laws, each as a sentence; empty lists are what is wanted."""

    duplicates: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unprotected: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    wrong_levels: list[str] = field(default_factory=list)
    """intents, orders and positions that are not what their signal says: side, quantity, stop, target, leverage"""
    misattributed: list[str] = field(default_factory=list)
    """closings of which another part is booked as ours than was"""
    silent: list[str] = field(default_factory=list)
    """what differs and is not told, or is told and no longer differs"""
    left_waiting: list[str] = field(default_factory=list)
    """orders of exit plans that wait for more than is left, or whose position has ended"""
    grid_duplicates: list[str] = field(default_factory=list)
    grid_inventory: list[str] = field(default_factory=list)
    grid_profit: list[str] = field(default_factory=list)
    grid_restless: list[str] = field(default_factory=list)
    beyond_bounds: list[str] = field(default_factory=list)
    self_trades: list[str] = field(default_factory=list)
    """of grids, see `chaos.grid_invariants`"""
    dca_duplicates: list[str] = field(default_factory=list)
    dca_schedule: list[str] = field(default_factory=list)
    dca_inventory: list[str] = field(default_factory=list)
    dca_profit: list[str] = field(default_factory=list)
    dca_restless: list[str] = field(default_factory=list)
    """of DCA plans, see `chaos.dca_invariants`"""
    sums: list[str] = field(default_factory=list)
    """money of which ledger and exchange have different sums"""
    entries: set[str] = field(default_factory=set)
    """exchange ids of all entry orders that were filled"""

    @property
    def broken(self) -> list[str]:
        return [text for name in LAWS for text in getattr(self, name)]


LAWS = (
    "duplicates",
    "orphans",
    "unprotected",
    "mismatches",
    "foreign",
    "wrong_levels",
    "misattributed",
    "silent",
    "left_waiting",
    "grid_duplicates",
    "grid_inventory",
    "grid_profit",
    "grid_restless",
    "beyond_bounds",
    "self_trades",
    "dca_duplicates",
    "dca_schedule",
    "dca_inventory",
    "dca_profit",
    "dca_restless",
    "sums",
)


@dataclass(frozen=True)
class Foreign:
    """What is not this system's and must stay as it is: position sizes and open orders by symbol."""

    sizes: Mapping[str, Decimal]
    orders: Mapping[str, str]


Levels = Mapping[str, tuple[Decimal | None, Decimal | None]]
"""Stop and target that a person has set on a position of ours, by symbol."""

NO_FOREIGN = Foreign({}, {})
