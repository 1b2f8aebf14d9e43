"""Where a trader kills itself or falls asleep: every edge of every step, taken from the steps themselves, and what a
round has to bring so that a rare step comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trading_assets.chaos.planned_exits import ExitKind
from trading_assets.chaos.signal_source import Waits
from trading_assets.core.models import EntryOrder
from trading_assets.trading.dca.steps import DcaStep
from trading_assets.trading.grid.steps import GridStep
from trading_assets.trading.saga.transitions import Step


def edges(*steps: Step | GridStep | DcaStep) -> tuple[str, ...]:
    """Before and after each step."""
    return tuple(f"{edge} {step}" for step in steps for edge in ("before", "after"))


def _of(steps: Iterable[Step], value: Waits) -> dict[str, Waits]:
    return dict.fromkeys(edges(*steps), value)


KINDS: Mapping[str, tuple[str, ...]] = {"saga": edges(*Step), "grid": edges(*GridStep), "dca": edges(*DcaStep)}
"""The edges by what they are of: no step of the saga, of a grid or of a DCA plan can be missing."""


def interleaved(kinds: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All points so that every beginning of them has its part of each kind."""
    placed = [
        ((at + 0.5) / len(kind), number, point) for number, kind in enumerate(kinds) for at, point in enumerate(kind)
    ]
    return tuple(point for *_, point in sorted(placed))


POINTS = interleaved(KINDS.values())
"""Where a trader kills itself, in turn."""

REFUSED = frozenset(edges(Step.EXIT))
"""Points that come only where the exchange refuses a stop."""

BARE = REFUSED | set(edges(Step.ATTACH))
"""Points that come only where the exchange forgets the stop of an entry."""

SLEEPS_AT = tuple(f"before {step}" for step in (Step.RESERVE, Step.LEVERAGE, Step.CREATE))
"""Where a trader that holds the lease falls asleep while another one starts."""

GRID_SLEEPS_AT = tuple(f"before {step}" for step in (GridStep.OBSERVE, GridStep.RESERVE, GridStep.CREATE))
PLAN_SLEEPS_AT = tuple(f"before {step}" for step in (DcaStep.OBSERVE, DcaStep.RESERVE, DcaStep.CREATE))
"""Where one that keeps grids does, and one that keeps DCA plans."""

WAITS: Mapping[str, Waits] = {
    **_of((Step.FOLLOW,), Waits(EntryOrder.LIMIT, 0.01, 1)),
    **_of((Step.AMEND,), Waits(EntryOrder.CHASE, 0.01, 1)),
    **_of((Step.CANCEL,), Waits(EntryOrder.LIMIT, 0.01, 1)),
}
"""Entries whose step comes in the life of the trader that sends them."""

PLANS: Mapping[str, ExitKind] = {
    point: kind
    for kind, steps in (
        (ExitKind.TIME, (Step.DECIDE, Step.LEAVE)),
        (ExitKind.TRAILING, (Step.TIGHTEN,)),
        (ExitKind.PARTS, (Step.PART, Step.CLEAR)),
    )
    for point in edges(*steps)
}
"""Exit plans that say something in the life of the trader that enters."""

CLEARS = frozenset(edges(Step.CLEAR))
"""Points that come only where a position has ended whose parts were decided and not placed."""

DIES_FIRST = f"before {Step.PART}"
"""Where the trader before one that is to clear dies."""

OF_PLANS = frozenset(edges(*DcaStep))
STOPS_PLAN = frozenset(edges(DcaStep.CANCEL, DcaStep.CHANGE))
PAUSES_PLAN = frozenset(edges(DcaStep.SKIP))
LOSES_PLAN_STOP = frozenset(edges(DcaStep.STOP))
"""Points of DCA plans: of any; where one stops; where one is paused; where what it holds has lost its stop."""

OF_GRIDS = frozenset(edges(*GridStep))
STOPS_GRID = frozenset(edges(GridStep.CANCEL))
LOSES_GRID_STOP = frozenset(edges(GridStep.STOP))
"""Points of grids: of any; that come where a grid stops; that come where the stop of what a grid holds is gone."""
