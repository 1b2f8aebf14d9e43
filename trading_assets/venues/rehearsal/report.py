"""What a rehearsal tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True)
class Row:
    """One thing to compare."""

    step: str
    expected: str
    found: str
    ok: bool


@dataclass
class RehearsalReport:
    """All that was compared. `left` is what could not be taken back; empty is what is wanted."""

    venue: str
    symbol: str
    qty: str
    rows: list[Row] = field(default_factory=list)
    left: str = ""

    @property
    def is_well(self) -> bool:
        """Whether all is as expected, and nothing is left."""
        return not self.left and all(row.ok for row in self.rows)


def bps(price: Decimal, reference: Decimal) -> Decimal:
    """How far a price lies above a reference, basis points."""
    return (price / reference - 1) * 10_000 if reference else Decimal(0)


def number(value: Decimal | None) -> str:
    """As a row shows it."""
    return "none" if value is None else f"{value:f}"
