"""The concurrency groups of the run queue: which run waits for which, and which comes first.

Every run is in one group, which its tag names; `dagster.yaml` holds the limits of the groups. The queue has a place for
each run that the limits let through, so a run waits for runs of its own group alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from trading_assets.core.foreign_text import get_logger

GROUP_TAG = "trading_assets/concurrency_group"
"""Tag by which `dagster.yaml` limits the runs of a group."""

OLD_GROUP_TAG = "trading_assets/lane"
"""What the tag was called. A `dagster.yaml` that limits by this one still works."""

PRIORITY_TAG = "dagster/priority"
MAX_RUNTIME_TAG = "dagster/max_runtime"
"""Seconds after which Dagster's run monitoring ends a run."""

BACKFILL_TAG = "dagster/backfill"
"""Tag of every run of a backfill, by Dagster itself."""

ACCOUNT_TAG = "trading_assets/account"
"""Tag of a run that concerns one account: its name. A run without it concerns that of the settings."""

ACTOR_TAG = "trading_assets/actor"
"""Tag of a run that was asked for through the web server: who asked, as far as its guard could tell."""

ACTOR_HEADER = "x-trading-assets-actor"
"""The guard of the web server sets it; one that comes from outside is removed there."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class ConcurrencyGroup:
    """At most `limit` runs at once; a higher priority is launched first.

    Attributes:
        max_runtime_s: a run that takes longer is ended, so that it frees its place; None where progress counts instead:
            `defs.stuck_runs`.
    """

    name: str
    priority: int
    limit: int
    max_runtime_s: int | None

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a job, or of a run, in this group."""
        return {
            GROUP_TAG: self.name,
            PRIORITY_TAG: str(self.priority),
            MAX_RUNTIME_TAG: str(self.max_runtime_s or 0),  # 0: Dagster sets no limit
        }


RISK = ConcurrencyGroup("risk", 100, 3, 600)
"""A person's command: halt, reduce, resume, flatten, and what stops or sets a strategy."""

TRADE = ConcurrencyGroup("trade", 50, 16, None)
"""Of each account a session and its successor. Which of them may send orders, a lease in the ledger decides."""

RECONCILE = ConcurrencyGroup("reconcile", 40, 4, 600)
"""The sensor asks for one of an account at once."""

RESEARCH = ConcurrencyGroup("research", 30, 1, 3600)
"""The newest hour, and selecting it again."""

MANUAL = ConcurrencyGroup("manual", 10, 2, None)
"""What a person materialises in the UI, the checks before a strategy starts, and any other run without a group."""

DAILY = ConcurrencyGroup("daily", 0, 1, 7200)
"""Parity, reports, retention."""

BACKFILL = ConcurrencyGroup("backfill", -10, 1, None)

GROUPS = (RISK, TRADE, RECONCILE, RESEARCH, MANUAL, DAILY, BACKFILL)
MAX_CONCURRENT_RUNS = sum(group.limit for group in GROUPS)

_NAMES = frozenset(group.name for group in GROUPS)


def missing_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that a run lacks to be in its group, or has from a group that is not its own; none when all is well.

    A backfill of a job carries the tags of that job, and is in the group of backfills all the same. A priority that a
    person gave to a run without a group stays.
    """
    if BACKFILL_TAG in tags:
        wanted = BACKFILL.tags
    elif tags.get(GROUP_TAG) in _NAMES:
        return {}
    else:
        wanted = {**MANUAL.tags, **{name: tags[name] for name in (PRIORITY_TAG, MAX_RUNTIME_TAG) if name in tags}}
    return {name: value for name, value in wanted.items() if tags.get(name) != value}


class ConcurrencyGroupRunCoordinator(dg.QueuedRunCoordinator):
    """Stock queue; a run is put into its group before it is queued, whoever asked for it. `dagster.yaml` names it.

    With stock alone, what is materialised in the UI has no tag of ours and fills every place, and a backfill of a job
    has the tags of that job.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """See Dagster's."""
        run = context.dagster_run
        tags = missing_tags(run.tags)
        asked = context.get_request_header(ACTOR_HEADER)
        if asked is not None or ACTOR_TAG in run.tags:
            # Whoever asks may give any tag: this one is the guard's word.
            tags[ACTOR_TAG] = asked or "somebody, by a web server without guard"
        if self._limits_by_old_tag:
            tags[OLD_GROUP_TAG] = tags.get(GROUP_TAG, run.tags.get(GROUP_TAG, ""))
        if tags and run.status is dg.DagsterRunStatus.NOT_STARTED:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)

    @cached_property
    def _limits_by_old_tag(self) -> bool:
        limits = self._instance.get_concurrency_config().run_queue_config
        old = limits is not None and any(limit["key"] == OLD_GROUP_TAG for limit in limits.tag_concurrency_limits)
        if old:
            _log.warning("dagster.yaml limits runs by the tag %s: write %s instead", OLD_GROUP_TAG, GROUP_TAG)
        return old
