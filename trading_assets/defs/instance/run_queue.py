"""Dagster's run queue, in which every run has a lane. Named in both `dagster.yaml`; which lane is `lanes`' business."""

from __future__ import annotations

import dagster as dg

# The class that dagster.yaml names; Dagster has no other path to what it is given.
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

from trading_assets.defs.instance.concurrency_groups import missing_tags


class LaneRunCoordinator(QueuedRunCoordinator):
    """Stock queue; a run is put into its lane before it is queued, whoever asked for it."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """See Dagster's."""
        run = context.dagster_run
        tags = missing_tags(run.tags)
        if tags and run.status is dg.DagsterRunStatus.NOT_STARTED:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)
