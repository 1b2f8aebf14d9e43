"""The project's storages hold what Dagster's own hold, in far fewer transactions; without them stock works."""

import itertools
import json
import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_graphql.test.utils import execute_dagster_graphql
from dagster_postgres import PostgresEventLogStorage

from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.defs.instance.storage import (
    BATCH_SIZE_VARIABLE,
    CREATION_LOCK,
    PLANNED,
    TESTED_VERSIONS,
    BatchedPostgresStorage,
    is_tested,
)
from trading_assets.ledger.database import Database
from trading_assets_tests.conftest import create_database, database_url, drop_database

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-01-01-00:00", end_date="2026-01-02-00:00", timezone="UTC")
FIRST, LAST = "2026-01-01-03:00", "2026-01-01-08:00"
RANGE = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST}
KEYS = [f"2026-01-01-{hour:02}:00" for hour in range(3, 9)]


@dg.asset(partitions_def=HOURS, backfill_policy=dg.BackfillPolicy.single_run())
def first(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.add_asset_metadata({"hour": key}, partition_key=key)


@dg.asset(partitions_def=HOURS, backfill_policy=dg.BackfillPolicy.single_run(), deps=[first])
def second() -> None:
    pass


@dg.asset_check(asset=first)
def a_check() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


JOB = dg.Definitions(
    assets=[first, second], asset_checks=[a_check], jobs=[dg.define_asset_job("both")], executor=dg.in_process_executor
).resolve_job_def("both")

CHECK = dg.AssetCheckKey(dg.AssetKey("first"), "a_check")

STORAGES: dict[str, dict[str, Any]] = {
    "sqlite": {
        "stock": {"sqlite": {"base_dir": "PLACE"}},
        "ours": {
            "custom": {
                "module": "trading_assets.defs.instance.storage",
                "class": "BatchedSqliteStorage",
                "config": {"base_dir": "PLACE"},
            }
        },
    },
    "postgresql": {
        "stock": {"postgres": {"postgres_url": "PLACE"}},
        "ours": {
            "custom": {
                "module": "trading_assets.defs.instance.storage",
                "class": "BatchedPostgresStorage",
                "config": {"postgres_url": "PLACE"},
            }
        },
    },
}
OTHER = {"stock": "ours", "ours": "stock"}


@dataclass
class Stores:
    """Opens instances with stock's storage or ours, on one engine. A place is a folder or a database."""

    engine: str
    folder: Path
    new_place: Callable[[], str]

    def opened(self, which: str, place: str) -> dg.DagsterInstance:
        storage = json.dumps(STORAGES[self.engine][which]).replace("PLACE", place)
        (self.folder / "dagster.yaml").write_text(f'{{"telemetry": {{"enabled": false}}, "storage": {storage}}}')
        return dg.DagsterInstance.from_config(str(self.folder))


@pytest.fixture(params=list(STORAGES))
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    numbers = itertools.count()
    if request.param == "postgresql":
        return Stores(request.param, tmp_path, request.getfixturevalue("new_history"))
    return Stores(request.param, tmp_path, lambda: str(tmp_path / f"place{next(numbers)}"))


@pytest.fixture(autouse=True)
def batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage sets the variable for its process: not for the tests after it."""
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "0")
    monkeypatch.delenv(BATCH_SIZE_VARIABLE)


@pytest.fixture
def place(stores: Stores) -> str:
    return stores.new_place()


@pytest.fixture
def instance(stores: Stores, place: str) -> Iterator[dg.DagsterInstance]:
    with stores.opened("ours", place) as opened_instance:
        yield opened_instance


def run(instance: dg.DagsterInstance, **tags: str) -> dg.ExecuteInProcessResult:
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    return JOB.execute_in_process(instance=instance, tags=tags or RANGE, run_config=quiet)


def told(instance: dg.DagsterInstance, run_id: str) -> dict[str, object]:
    """What the UI asks of the storage."""
    keys = [dg.AssetKey("first"), dg.AssetKey("second")]
    materialised = {
        key.to_user_string(): [
            (record.partition_key, dict(record.asset_materialization.metadata))
            for record in instance.fetch_materializations(key, limit=100).records
            if record.asset_materialization is not None
        ]
        for key in keys
    }
    newest = {key.to_user_string(): instance.get_latest_materialization_event(key) for key in keys}
    return {
        "materialised": materialised,
        "partitions": {key.to_user_string(): sorted(instance.get_materialized_partitions(key)) for key in keys},
        "newest": {name: event.asset_materialization.partition for name, event in newest.items() if event},  # type: ignore[union-attr]
        "checks": [
            (execution.key.name, execution.status.value)
            for execution in instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=100)
        ],
        "events": sorted(
            (event.dagster_event.event_type_value, event.dagster_event.partition or "")
            for event in instance.all_logs(run_id)
            if event.dagster_event is not None
        ),
    }


@pytest.mark.slow
def test_a_range_is_told_as_dagsters_own_storage_tells_it_and_each_reads_what_the_other_wrote(stores: Stores) -> None:
    answers = []
    for which, other in OTHER.items():
        place = stores.new_place()
        with stores.opened(which, place) as instance:
            run_id = run(instance).run_id
            answers.append(told(instance, run_id))
        with stores.opened(other, place) as instance:
            answers.append(told(instance, run_id))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["partitions"] == {"first": KEYS, "second": KEYS}
    assert answers[0]["newest"] == {"first": LAST, "second": LAST}


EVENTS = """
query Events($asset: AssetKeyInput!, $before: String) {
  assetOrError(assetKey: $asset) { ... on Asset {
    assetMaterializations(limit: 100, beforeTimestampMillis: $before) { runId timestamp partition }
    assetEventHistory(limit: 100, eventTypeSelectors: [MATERIALIZATION]) {
      results { ... on MaterializationEvent { __typename runId timestamp partition } }
    }
  } }
}
"""
"""What the UI asks for the Events of an asset; it takes those of one run, millisecond and type for one."""


@pytest.mark.slow
def test_the_ui_lists_every_hour_of_a_range(instance: dg.DagsterInstance) -> None:
    last = "2026-01-01-20:00"
    hours = [f"2026-01-01-{hour:02}:00" for hour in range(3, 21)]
    run(instance, **{**RANGE, "dagster/asset_partition_range_end": last})
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        for asset in ("first", "second"):

            def ask(before: str | None = None, asset: str = asset) -> Any:
                variables = {"asset": {"path": [asset]}, "before": before}
                answer = execute_dagster_graphql(workspace.create_request_context(), EVENTS, variables)
                return answer.data["assetOrError"]

            found = ask()
            for events in (found["assetMaterializations"], found["assetEventHistory"]["results"]):
                assert sorted(event["partition"] for event in events) == hours
                assert len({(event["runId"], event["timestamp"]) for event in events}) == len(hours)
                times = [int(event["timestamp"]) for event in events]
                assert times == sorted(times, reverse=True)
            older = ask(before=found["assetMaterializations"][7]["timestamp"])["assetMaterializations"]
            assert len(older) == len(hours) - 8, "a page goes on where the one before it ended"


@pytest.mark.slow
def test_a_range_takes_few_writes_however_many_hours_it_has(
    stores: Stores, place: str, instance: dg.DagsterInstance
) -> None:
    """SQLite waits for the disk at each commit, a server for each statement."""
    counted: list[str] = []

    def is_here(connection: sa.Connection) -> bool:
        """Threads of others write elsewhere meanwhile."""
        return (connection.engine.url.database or "-") in place or place in (connection.engine.url.database or "")

    def committed(connection: sa.Connection) -> None:
        if is_here(connection):
            counted.append("commit")

    def said(connection: sa.Connection, cursor: object, statement: str, *_: object) -> None:
        # Reads are Dagster's own business: the versions of an asset's hours one by one, by whatever storage.
        if statement.startswith(("INSERT", "UPDATE", "DELETE")) and is_here(connection):
            counted.append(statement)

    listen = ("commit", committed) if stores.engine == "sqlite" else ("before_cursor_execute", said)

    def writes(last: str) -> int:
        counted.clear()
        sa.event.listen(sa.engine.Engine, *listen)
        run(instance, **{**RANGE, "dagster/asset_partition_range_end": last})
        sa.event.remove(sa.engine.Engine, *listen)
        return len(counted)

    writes(FIRST)
    assert writes("2026-01-01-20:00") == writes("2026-01-01-05:00") > 20
    assert os.environ[BATCH_SIZE_VARIABLE] != "0"


@pytest.mark.slow
def test_who_follows_a_run_sees_its_events_while_it_runs(
    stores: Stores, place: str, instance: dg.DagsterInstance
) -> None:
    run_id = run(instance).run_id
    seen, last = [], threading.Event()

    def follow(event: dg.EventLogEntry, _cursor: str) -> None:
        text = event.get_dagster_event().message
        seen.append(text)
        if text == "line 1":
            last.set()

    with stores.opened("ours", place) as ui:
        known = ui.get_records_for_run(run_id).cursor
        ui.watch_event_logs(run_id, known, follow)
        # The run goes on, and its connections stay open. Two changes of a file at once may be told as one.
        for number in range(30):
            instance.report_engine_event(f"line {number}", run_id=run_id, job_name="both")
            if last.wait(2):
                break
        ui.end_watch_event_logs(run_id, follow)
    assert len(seen) >= 2 and seen == [f"line {number}" for number in range(len(seen))]


@pytest.mark.slow
def test_a_history_that_another_process_wiped_is_begun_anew(
    stores: Stores, place: str, instance: dg.DagsterInstance
) -> None:
    run(instance)
    with stores.opened("stock", place) as another:
        another.wipe()
    run_id = run(instance).run_id
    assert instance.get_materialized_partitions(dg.AssetKey("first")) == set(KEYS)
    assert any(event.dagster_event for event in instance.all_logs(run_id))


@pytest.mark.slow
def test_the_events_of_a_run_are_numbered_in_their_order_and_go_with_it(instance: dg.DagsterInstance) -> None:
    kept, gone = run(instance).run_id, run(instance).run_id
    events = instance.get_records_for_run(gone).records
    assert [record.storage_id for record in events] == sorted({record.storage_id for record in events})
    times = [record.event_log_entry.timestamp for record in events]
    assert times == sorted(times)
    assert len(events) == len(instance.get_records_for_run(kept).records) > 30
    instance.delete_run(gone)
    assert instance.get_records_for_run(gone).records == []
    assert instance.get_materialized_partitions(dg.AssetKey("first")) == set(KEYS), "those of the other run"


def backend(instance: dg.DagsterInstance) -> int:
    """The server's process at the other end of the connection."""
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        return int(connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one())


@pytest.mark.slow
@pytest.mark.parametrize("which", ["stock", "ours"])
def test_a_run_with_more_hours_than_a_statement_takes_variables_is_planned_and_deleted(
    which: str, tmp_path: Path
) -> None:
    """A year has 8,760 hours, SQLite 32,766 variables. Here a day of two assets meets 30."""

    day = {
        "dagster/asset_partition_range_start": "2026-01-01-00:00",
        "dagster/asset_partition_range_end": "2026-01-01-23:00",
    }

    def limited(connection: sqlite3.Connection, _record: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 30)

    def refused() -> AbstractContextManager[object]:
        if which == "stock":
            return pytest.raises(sa.exc.OperationalError, match="too many SQL variables")
        return nullcontext()

    with Stores("sqlite", tmp_path, lambda: "").opened(which, str(tmp_path / "place")) as instance:
        run_id = run(instance, **day).run_id
        sa.event.listen(sa.engine.Engine, "connect", limited)
        try:
            with refused():
                run(instance, **day)
            with refused():
                instance.delete_run(run_id)
        finally:
            sa.event.remove(sa.engine.Engine, "connect", limited)


@pytest.mark.slow
def test_a_deleted_run_leaves_no_file_behind(tmp_path: Path) -> None:
    stores = Stores("sqlite", tmp_path, lambda: "")
    with stores.opened("ours", str(tmp_path / "place")) as instance:
        run_id = run(instance).run_id
        assert list((tmp_path / "place").rglob(f"{run_id}*"))
        instance.delete_run(run_id)
        assert list((tmp_path / "place").rglob(f"{run_id}*")) == []
        instance.report_engine_event("a late event", run_id=run_id, job_name="both")
        assert len(instance.all_logs(run_id)) == 1


@pytest.mark.slow
def test_with_an_untested_dagster_the_stock_storages_work_and_one_warning_says_so(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = stores.new_place()
    with stores.opened("ours", place) as instance:
        before = run(instance).run_id
        ours = type(instance.event_log_storage)
    monkeypatch.setattr(dg, "__version__", "1.13.999")
    is_tested.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                with stores.opened("ours", place) as instance:
                    assert type(instance.event_log_storage) in (SqliteEventLogStorage, PostgresEventLogStorage)
                    assert told(instance, before)["partitions"] == {"first": KEYS, "second": KEYS}
                    run(instance)
        warnings = [record.getMessage() for record in caplog.records if "was not tested" in record.getMessage()]
        assert len(warnings) == 1 and "1.13.999" in warnings[0]
    finally:
        monkeypatch.undo()
        is_tested.cache_clear()
    with stores.opened("ours", place) as instance:
        assert type(instance.event_log_storage) is ours


def test_the_installed_dagster_is_tested() -> None:
    """Where this fails after an update: run the other tests here, then add the version."""
    assert dg.__version__ in TESTED_VERSIONS


@pytest.mark.slow
def test_an_installation_keeps_one_connection_and_a_forked_child_makes_its_own(
    new_history: Callable[[], str], tmp_path: Path
) -> None:
    stores, place = Stores("postgresql", tmp_path, new_history), new_history()
    asks = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    with stores.opened("ours", place) as instance:
        run(instance)
        instance.get_ticks("a", "b")
        watcher = sa.create_engine(place, poolclass=sa.pool.NullPool)
        with watcher.connect() as connection:
            assert connection.execute(asks).scalar_one() == 2, "ours, and the one that asks"
        parents = backend(instance)
        assert parents == backend(instance)
        child = os.fork()
        if child == 0:
            # On one connection each would read the other's answers.
            os._exit(0 if backend(instance) != parents else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert instance.get_materialized_partitions(dg.AssetKey("first")) == set(KEYS)
        # The server ends every connection, as when it is started again.
        with watcher.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid() "
                    "AND datname = current_database()"
                )
            )
        run(instance)
        watcher.dispose()


@pytest.mark.slow
def test_who_finds_an_empty_database_waits_for_another_who_creates_the_tables(postgres_url: str) -> None:
    name = f"h{uuid.uuid4().hex[:12]}"
    create_database(postgres_url, name)
    url = database_url(postgres_url, name)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    try:
        with ThreadPoolExecutor(3) as pool:
            with engine.connect() as creator:
                creator.execute(sa.select(sa.func.pg_advisory_lock(sa.func.hashtextextended(CREATION_LOCK, 0))))
                made = [pool.submit(BatchedPostgresStorage, url) for _ in range(3)]
                waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                while creator.execute(waiting).scalar_one() < 3:
                    assert not any(one.done() for one in made)
                assert sa.inspect(creator).get_table_names() == []
            for one in made:
                one.result().event_log_storage.dispose()
        with engine.connect() as connection:
            assert {"runs", "event_logs", "jobs"} <= set(sa.inspect(connection).get_table_names())
    finally:
        drop_database(postgres_url, name)


def test_a_database_of_the_ledger_is_refused_by_dagster_and_one_of_dagster_by_the_ledger(
    postgres_database: Database, new_history: Callable[[], str]
) -> None:
    url = postgres_database.url.render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match=r"holds the ledger.*CREATE DATABASE dagster"):
        BatchedPostgresStorage(url)
    with pytest.raises(StorageError, match=r"Dagster's own tables.*TRADING_ASSETS_DATABASE_URL"):
        Database(new_history())


@pytest.mark.parametrize("spelling", ["postgresql:", "postgres:", "postgresql+psycopg2:"])
def test_both_take_every_spelling_of_a_url(
    spelling: str, new_history: Callable[[], str], postgres_database: Database
) -> None:
    storage = BatchedPostgresStorage(new_history().replace("postgresql+psycopg2:", spelling))
    assert storage.run_storage.get_runs() == []
    storage.event_log_storage.dispose()
    ledger = postgres_database.url.render_as_string(hide_password=False).replace("postgresql+psycopg2:", spelling)
    database = Database(ledger)
    assert database.dialect == "postgresql"
    database.close()


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:hidden-word@h/d", "postgresql+asyncpg://u:hidden-word@h/d"])
def test_another_driver_is_a_clear_error(url: str) -> None:
    for what in (BatchedPostgresStorage, Database):
        with pytest.raises(ConfigurationError, match=r"expected postgresql\+psycopg2://") as raised:
            what(url)
        assert "hidden-word" not in str(raised.value)


@pytest.mark.slow
def test_a_server_that_was_started_again_costs_no_request(new_history: Callable[[], str]) -> None:
    """The web server answered 500 once to each of its connections that had died."""
    url = new_history()
    storage = BatchedPostgresStorage(url)
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    ended = sa.text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid != pg_backend_pid() "
        "AND datname = current_database()"
    )
    try:
        for _ in range(3):
            assert storage.run_storage.get_runs() == []
            assert storage.schedule_storage.all_instigator_state() == []
            assert storage.event_log_storage.all_asset_keys() == []
            with admin.connect() as connection:
                assert connection.execute(ended).scalar_one() >= 1
    finally:
        storage.event_log_storage.dispose()
        admin.dispose()


@pytest.mark.slow
def test_every_file_waits_long_for_a_lock(tmp_path: Path) -> None:
    """A process that sleeps in a transaction keeps its lock: of runs and ticks stock gives up after 5 s."""
    stores = Stores("sqlite", tmp_path, lambda: str(tmp_path / "place"))
    with stores.opened("ours", stores.new_place()) as instance:
        storage: Any = instance
        connections = {
            "runs": storage.run_storage.connect(),
            "ticks": storage.schedule_storage.connect(),
            "events": storage.event_log_storage.index_connection(),
            "events of a run": storage.event_log_storage.run_connection("a-run"),
        }
        for name, opened in connections.items():
            with opened as connection:
                assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() >= 30_000, name


@pytest.mark.slow
def test_a_run_is_written_after_a_lock_of_six_seconds(tmp_path: Path) -> None:
    stores = Stores("sqlite", tmp_path, lambda: str(tmp_path / "place"))
    with stores.opened("ours", stores.new_place()) as instance:
        storage: Any = instance
        run_id = instance.create_run_for_job(JOB).run_id
        held = sqlite3.connect(storage.run_storage._conn_string.removeprefix("sqlite:///"), check_same_thread=False)
        held.execute("BEGIN IMMEDIATE")
        wakes = threading.Timer(6, held.rollback)
        wakes.start()
        instance.add_run_tags(run_id, {"who": "waited"})
        wakes.join()
        held.close()
        found = instance.get_run_by_id(run_id)
        assert found is not None and found.tags["who"] == "waited"


def test_a_check_that_was_not_evaluated_yet_is_stored_as_dagster_stores_it() -> None:
    assert AssetCheckExecutionRecordStatus(PLANNED) is AssetCheckExecutionRecordStatus.PLANNED
