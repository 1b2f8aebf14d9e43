"""What the run history finds in a history that is not whole."""

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

from trading_assets.defs.run_history import RunHistory

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-01-01-00:00", end_date="2026-01-02-00:00", timezone="UTC")
RANGE = {
    "dagster/asset_partition_range_start": "2026-01-01-03:00",
    "dagster/asset_partition_range_end": "2026-01-01-05:00",
}


@dg.asset(partitions_def=HOURS, backfill_policy=dg.BackfillPolicy.single_run())
def rows() -> None:
    pass


JOB = dg.Definitions(
    assets=[rows], jobs=[dg.define_asset_job("fill")], executor=dg.in_process_executor
).resolve_job_def("fill")

UNQUEUED = {"0 times PIPELINE_ENQUEUED, expected once", "0 times PIPELINE_STARTING, expected once"}
"""A run of a test is in no queue."""


def found(instance: dg.DagsterInstance) -> set[str]:
    history = RunHistory()
    texts = {text.split(": ", 1)[1] for text in history.inconsistencies()}
    history.close()
    return texts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ASSET_MATERIALIZATION", "1 materialisations are not as planned, such as rows 2026-01-01-05:00"),
        ("STEP_SUCCESS", "1 steps began, 0 succeeded"),
        ("PIPELINE_START", "0 times PIPELINE_START, expected once"),
    ],
)
def test_a_lost_event_is_told(installation: dg.DagsterInstance, kind: str, text: str) -> None:
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    run_id = JOB.execute_in_process(instance=installation, tags=RANGE, run_config=quiet).run_id
    assert found(installation) == UNQUEUED
    events = SqlEventLogStorageTable.c
    with installation.event_log_storage.run_connection(run_id) as connection:  # type: ignore[attr-defined]
        last = sa.select(sa.func.max(events.id)).where(events.dagster_event_type == kind)
        connection.execute(sa.delete(SqlEventLogStorageTable).where(events.id == connection.execute(last).scalar_one()))
    assert found(installation) == UNQUEUED | {text}
