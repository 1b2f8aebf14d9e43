"""A backfill over two workers, one of which is killed at work, ends with the rows that one process gives."""

import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.core.schemas import HOURLY_TABLES
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.defs.instance.workers import launcher as launchers
from trading_assets.defs.instance.workers.launcher import WORKER, WorkersRunLauncher
from trading_assets.defs.jobs import RESEARCH_GROUPS
from trading_assets.defs.partitions import key_of
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.ledger.tables import check_results, partition_writes
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR
from trading_assets_tests.defs.workers.processes import WorkerProcesses, until, write_dagster_yaml

HOURS = [HOUR - 11 * HOUR_MS + at * HOUR_MS for at in range(12)]
DEFINITIONS = "trading_assets_tests.defs.workers.plain_research"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_backfill_loses_a_worker_and_ends_with_the_rows_of_one_process(
    day: RunningExchange,
    ledger_url: str,
    processes: WorkerProcesses,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Fewer processes than runs at a time: a run waits for one as long as another takes, and is not given up.
    monitoring = {"poll_interval_seconds": 1, "start_timeout_seconds": 3600}
    write_dagster_yaml(tmp_path, namespace, run_monitoring=monitoring)
    with monkeypatch.context() as many:
        many.setenv("TRADING_ASSETS_DATABASE_URL", ledger_url)
        many.setenv("TRADING_ASSETS_HOME", str(tmp_path / "shared"))
        many.setenv("TRADING_ASSETS_BACKFILL_HOURS_PER_RUN", "3")
        many.setenv("DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS", "1")
        many.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        nodes = [processes.hire("research", name) for name in ("first", "second")]
        processes.start("daemon", "dagster._daemon", "run", "-m", DEFINITIONS)
    expected = one_process()
    processes.wait_for(*nodes)
    with dg.DagsterInstance.get() as instance:
        backfill = request_backfill(instance)
        runs = dg.RunsFilter(tags={"dagster/backfill": backfill})

        def in_the_middle() -> dg.DagsterRun | None:
            at_work = [run for run in instance.get_runs(runs) if run.status is dg.DagsterRunStatus.STARTED]
            return next((run for run in at_work if any_written(ledger_url, run.run_id)), None)

        killed = until(in_the_middle, processes.tails)
        assert killed is not None
        gone = killed.tags[WORKER]
        (left,) = set(nodes) - {gone}
        processes.kill(gone.partition("@")[0])
        launcher = instance.run_launcher
        assert isinstance(launcher, WorkersRunLauncher)
        until(lambda: ended(instance, backfill), processes.tails)
        found = instance.get_runs(runs)
        of_status = {status: [run for run in found if run.status is status] for status in {run.status for run in found}}
        assert set(of_status) == {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}
        (lost,) = of_status[dg.DagsterRunStatus.FAILURE]
        assert lost.run_id == killed.run_id
        events = (entry.dagster_event for entry in instance.all_logs(lost.run_id))
        told = " ".join(event.message or "" for event in events if event is not None)
        delivered_again = f"Its worker {gone} was lost: the broker has delivered it again, to {left}." in told
        # On a slow machine the other worker has no process free before the daemon has missed this one.
        assert delivered_again or f"worker {gone} has not answered for" in told
        again = [run for run in found if run.parent_run_id == lost.run_id]
        assert [run.tags[WORKER] for run in again] == [left]
        assert len(of_status[dg.DagsterRunStatus.SUCCESS]) == 12 // 3, "each three hours are one run"
        # A worker that is gone is found out also where the broker has nothing to deliver again.
        monkeypatch.setattr(launchers, "ASKED_FOR_S", 0.3)
        assert launcher.check_run_worker_health(killed).status.name == "RUNNING", "it may only be late"
        monkeypatch.setattr(launchers, "SILENT_FOR_S", 0.0)
        assert launcher.check_run_worker_health(killed).status.name == "FAILED"
        assert launcher.check_run_worker_health(again[0]).status.name == "FAILED", "it no longer works on it"
    rows = rows_in(ledger_url)
    for name, frame in expected.items():
        assert len(frame) > 0, name
        pd.testing.assert_frame_equal(rows[name], frame, obj=name)


def one_process() -> dict[str, pd.DataFrame]:
    """The hours in this process, in a home of its own."""
    from trading_assets_tests.defs.workers.plain_research import defs

    tags = {"dagster/asset_partition_range_start": key_of(HOURS[0]), "dagster/asset_partition_range_end": key_of(HOUR)}
    with dg.DagsterInstance.ephemeral() as instance:
        defs.resolve_job_def("plain_research").execute_in_process(
            instance=instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        )
    return rows_in(load_settings().resolved_database_url)


def rows_in(url: str) -> dict[str, pd.DataFrame]:
    """Every row of the hours that research writes, but which run wrote it and when."""
    database = Database(url)
    found = {table.name: read_partitions(database, table, HOURS) for table in HOURLY_TABLES}
    with database.read() as connection:
        for table, but in ((partition_writes, {"run_id", "written_wall_ms"}), (check_results, {"run_id"})):
            columns = [column for column in table.columns if column.name not in but]
            frame = pd.DataFrame(connection.execute(sa.select(*columns)).mappings().all())
            found[table.name] = frame.sort_values(list(frame.columns)[:3], ignore_index=True)
    database.close()
    return found


def any_written(url: str, run_id: str) -> bool:
    """Whether a run is in the middle: some of its assets are in the ledger."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count = sa.select(sa.func.count()).where(partition_writes.c.run_id == run_id)
        written = connection.execute(count).scalar_one()
    engine.dispose()
    return bool(written)


def request_backfill(instance: dg.DagsterInstance) -> str:
    """As "Launch backfill" in the UI does; its identity."""
    from dagster._core.execution.backfill import PartitionBackfill

    from trading_assets_tests.defs.workers.plain_research import defs

    graph = defs.resolve_asset_graph()
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="aday",
        asset_graph=graph,
        partition_names=[key_of(hour) for hour in HOURS],
        asset_selection=list(dg.AssetSelection.groups(*RESEARCH_GROUPS).resolve(graph)),
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def ended(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """Whether no run is to come. What failed is asked of the runs, and of the rows.

    Dagster reads first which partitions failed and then whether a run is left: a retry that succeeds between the two
    makes the backfill "completed, failed" although each of its partitions is there.
    """
    backfill = instance.get_backfill(backfill_id)
    assert backfill is not None
    unfinished: Sequence[str] = ("REQUESTED", "CANCELING", "FAILING")
    assert backfill.status.value != "FAILED", backfill.error
    return backfill.status.value not in unfinished
