"""The lanes of the run queue: what waits for what, and who comes first. `dagster.yaml` holds their limits.

Every run is in one lane (`run_queue` sees to it), and there is a place for each run that the lanes let through, so no
lane can take another's. A run waits for runs of its own lane alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LANE = "trading_assets/lane"
"""Tag by which `dagster.yaml` limits the runs of a lane."""

PRIORITY = "dagster/priority"
BACKFILL_ID = "dagster/backfill"
"""Tag of every run of a backfill, by Dagster itself."""


@dataclass(frozen=True)
class Lane:
    """A lane: at most `limit` runs at once; a higher priority is launched first."""

    name: str
    priority: int
    limit: int

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a job, or of a run, in this lane."""
        return {LANE: self.name, PRIORITY: str(self.priority)}


RISK = Lane("risk", 100, 3)
"""A person's command: halt, reduce, resume, flatten."""

TRADE = Lane("trade", 50, 2)
"""A session and its successor. Which of them may send orders, a lease in the ledger decides."""

RECONCILE = Lane("reconcile", 40, 1)
RESEARCH = Lane("research", 30, 1)
"""The newest hour, and selecting it again."""

MANUAL = Lane("manual", 10, 2)
"""What a person materialises in the UI, and any other run without a lane."""

DAILY = Lane("daily", 0, 1)
"""Looks back, reports, deletion of what is old."""

BACKFILL = Lane("backfill", -10, 1)

LANES = (RISK, TRADE, RECONCILE, RESEARCH, MANUAL, DAILY, BACKFILL)
PLACES = sum(lane.limit for lane in LANES)
"""Runs at once, in all lanes together."""

_NAMES = frozenset(lane.name for lane in LANES)


def missing_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that a run lacks to be in its lane, or has from a lane that is not its own; none when all is well.

    A backfill of a job carries the tags of that job, and is in the lane of backfills all the same. A priority that a
    person gave to a run without a lane stays.
    """
    if BACKFILL_ID in tags:
        wanted = BACKFILL.tags
    elif tags.get(LANE) in _NAMES:
        return {}
    else:
        wanted = {**MANUAL.tags, **{name: tags[name] for name in (PRIORITY,) if name in tags}}
    return {name: value for name, value in wanted.items() if tags.get(name) != value}
