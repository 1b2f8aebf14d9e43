"""Runs of a backfill that Dagster's daemon starts: on Celery workers where the instance has them, else as processes of
its own. Each range is a backfill of assets, as "Launch backfill" in the UI makes one, so that lost runs are started
again, and the limit of the group `backfill` says how many run at once.

Whoever asks waits; when he ends, what was asked for goes on.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Sequence

import dagster as dg

from trading_assets.core.timeframes import HOUR_MS
from trading_assets.defs.backfill_processes import Ended, MakeJob, Range
from trading_assets.defs.instance.dagster_private import PartitionBackfill
from trading_assets.defs.partitions import key_of
from trading_assets.defs.research_settings import AS_OF_TAG

LOOK_EVERY_S = 2.0

_UNDER_WAY = frozenset({"REQUESTED", "CANCELING", "FAILING"})
_RETRIED_OF = "dagster/root_run_id"


def in_queue(
    ranges: Sequence[Range],
    make_job: MakeJob,
    wait: Callable[[int], None] = lambda _runs: time.sleep(LOOK_EVERY_S),
    *,
    as_of_settings: bool,
) -> Generator[Ended, None, None]:
    """Ask for every range at once, and yield each that has ended, with the backfill's id.

    Args:
        wait: called between two looks, with the number of runs at work.
    """
    layer = make_job().asset_layer
    with dg.DagsterInstance.get() as instance:
        asked = {}
        for begin, hours in ranges:
            backfill = PartitionBackfill.from_asset_partitions(
                backfill_id=uuid.uuid4().hex[:8],
                asset_graph=layer.asset_graph,
                partition_names=[key_of(begin + hour * HOUR_MS) for hour in range(hours)],
                asset_selection=sorted(layer.selected_asset_keys),
                backfill_timestamp=time.time(),
                tags={AS_OF_TAG: "true"} if as_of_settings else {},
                dynamic_partitions_store=instance,
                all_partitions=False,
                title=f"{hours} hours from {key_of(begin)}",
                description=None,
                run_config=None,
            )
            instance.add_backfill(backfill)
            asked[backfill.backfill_id] = (begin, hours)
        while asked:
            at_work = 0
            for backfill_id, given in list(asked.items()):
                runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id}))
                at_work += sum(run.status is dg.DagsterRunStatus.STARTED for run in runs)
                found = instance.get_backfill(backfill_id)
                if found is None or found.status.value not in _UNDER_WAY:
                    del asked[backfill_id]
                    state = "deleted" if found is None else found.status.value.lower()
                    yield Ended(given, backfill_id, why_failed(runs, state))
            if asked:
                wait(at_work)


def why_failed(runs: Sequence[dg.DagsterRun], state: str) -> str | None:
    """Why a backfill that has ended has not computed its hours; None where it has.

    What it says of itself is not asked: Dagster reads first which partitions failed and then whether a run is left, and
    calls a backfill failed of which a run was lost and its retry succeeded.

    Args:
        runs: the newest first.
    """
    newest: dict[str, dg.DagsterRun] = {}
    for run in runs:
        newest.setdefault(run.tags.get(_RETRIED_OF, run.run_id), run)
    bad = [run for run in newest.values() if run.status is not dg.DagsterRunStatus.SUCCESS]
    if bad:
        return f"run {bad[0].run_id} is {bad[0].status.value.lower()}, see its page in the UI"
    return None if newest else f"the backfill is {state} and had no run, see its page in the UI"
