"""Every job but sessions, and what is judged by its progress, has a longest time; what is stuck is seen."""

from __future__ import annotations

import time
import uuid

import dagster as dg
import pytest

from trading_assets.definitions import build_definitions
from trading_assets.defs import instance_queries
from trading_assets.defs.instance.concurrency_groups import BACKFILL, GROUP_TAG, MANUAL, MAX_RUNTIME_TAG, TRADE

_BY_PROGRESS = {BACKFILL.name, MANUAL.name, TRADE.name}
_JOBS = [job for job in build_definitions().get_repository_def().get_all_jobs() if not job.name.startswith("__")]


@pytest.mark.parametrize("job", _JOBS, ids=lambda job: job.name)
def test_each_job_has_a_group_and_a_longest_time_or_is_judged_by_progress(job: dg.JobDefinition) -> None:
    group, longest = job.tags[GROUP_TAG], int(job.tags[MAX_RUNTIME_TAG])
    assert (longest == 0) == (group in _BY_PROGRESS)
    assert longest <= 2 * 3600


def test_a_run_that_is_longer_than_its_longest_time_is_named() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for longest in ("600", "0"):
            run = dg.DagsterRun(
                job_name="reconcile",
                run_id=str(uuid.uuid4()),
                status=dg.DagsterRunStatus.STARTED,
                tags={MAX_RUNTIME_TAG: longest},
            )
            instance.add_run(run)
        assert instance_queries.overdue_runs(instance) == []
        (late,) = instance_queries.overdue_runs(instance, now_s=time.time() + 600 + instance_queries.OVERDUE_S + 60)
        assert "reconcile is stuck" in late and "may take 10" in late
