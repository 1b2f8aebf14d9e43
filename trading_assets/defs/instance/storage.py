"""Dagster's SQLite and PostgreSQL storages, which write a batch of events in one transaction. Named in `dagster.yaml`.

A backfill of a month has 26,000 events of assets. Stock storages write most of them one by one: docs/production.md has
the figures. Tables and files are stock's, so either reads what the other wrote. With a version of Dagster that was not
tested, stock storages work instead of these.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.foreign_text import get_logger
from trading_assets.defs.instance import sqlite_files
from trading_assets.defs.instance.asking import ask_less_often
from trading_assets.defs.instance.dagster_private import (
    ASSET_EVENTS,
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    ConfigurableClassData,
    DagsterSqliteStorage,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
    SqliteRunStorage,
    SqliteScheduleStorage,
    create_pg_connection,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)
from trading_assets.defs.instance.run_logs import start_log
from trading_assets.defs.instance.web_guard import guard_this_webserver
from trading_assets.ledger.database import shown, with_driver
from trading_assets.ledger.tables import metadata

TESTED_VERSIONS = frozenset({"1.13.27"})
"""Versions of Dagster with which the tests of this module pass. Add one when the lock file gets it."""

BATCH_SIZE_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_SIZE = 500
"""Dagster collects the events of a step into batches only where this environment variable says so."""

_revised: dict[Path, dict[str, sqlite_files.Identity | None]] = {}
"""By directory, the URLs of the files of runs and ticks whose revisions this process has looked at."""

_INDEX = "index"
"""The file of events that all runs share, as Dagster calls it."""

_RUNS_KEPT = 100
"""Runs whose newest event is remembered: a batch continues the one before it."""

PLANNED = "PLANNED"
"""How Dagster stores that a check has not been evaluated yet."""

CREATION_LOCK = "tables of dagster"
"""Name of the advisory lock under which one process at a time creates Dagster's tables."""

_log = get_logger(__name__)


@lru_cache
def is_tested() -> bool:
    """Whether the installed Dagster is a version that was tested; warns once where it is not."""
    if dg.__version__ in TESTED_VERSIONS:
        return True
    _log.warning(
        "Dagster %s was not tested with the project's storages (%s was): its stock storages are used. The "
        "history stays the same, a long backfill is slower",
        dg.__version__,
        ", ".join(sorted(TESTED_VERSIONS)),
    )
    return False


class _EventBatches(SqlEventLogStorage):
    """For a storage of events in SQL, to stand before it among the bases."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._told: dict[str, float] = {}
        """Time of the newest event of each of the runs told last, seconds."""
        self._telling = threading.Lock()

    def _store_in_run_file(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store rows where a run's events are kept apart from the index."""

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store the asset events of a run in one transaction, other events one by one."""
        events = self._told_apart(events)
        assets = [event for event in events if event.dagster_event_type in ASSET_EVENTS]
        if len({event.run_id for event in assets}) != 1:
            super().store_event_batch(events)
            return
        rows = [self._event_to_row(event) for event in assets]
        self._store_in_run_file(assets[0].run_id, rows)
        # The row of an asset shows its last event.
        last = {event.get_dagster_event().asset_key: index for index, event in enumerate(assets)}
        insert = sa.insert(SqlEventLogStorageTable).returning(
            SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
        )
        with self.index_transaction() as connection:
            ids = list(connection.execute(insert, rows).scalars())
            self._store_asset_event_tags(connection, assets, ids)
            for index in last.values():
                self._store_asset_event(connection, assets[index], ids[index])
        for event in events:
            if event.dagster_event_type not in ASSET_EVENTS:
                self.store_event(event)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store one event, see `_told_apart`."""
        super().store_event(self._told_apart([event])[0])

    def _told_apart(self, events: Sequence[dg.EventLogEntry]) -> list[dg.EventLogEntry]:
        """The events, in order of time, each event of an asset in a millisecond of its own.

        The hours of a range are told within a few milliseconds. The UI takes events of a run with the same type and
        millisecond for one, and of 24 hours it listed three.
        """
        with self._telling:
            return [self._later(event) for event in events]

    def _later(self, event: dg.EventLogEntry) -> dg.EventLogEntry:
        before = self._told.pop(event.run_id, 0.0)
        at = max(event.timestamp, before)
        if event.dagster_event_type in ASSET_EVENTS and int(at * 1000) == int(before * 1000):
            # The middle of the next millisecond: whoever multiplies by 1000 gets that one.
            at = (int(before * 1000) + 1.5) / 1000
        self._told[event.run_id] = at
        if len(self._told) > _RUNS_KEPT:
            self._told.pop(next(iter(self._told)))
        return event if at == event.timestamp else event._replace(timestamp=at)

    def _store_asset_check_evaluation_planned(self, event: dg.EventLogEntry, event_id: int | None) -> None:
        """Store a row per hour that a check of the run will look at.

        Stock serialises the event once per hour, and puts all rows into one statement: of a year's hours SQLite says
        `too many SQL variables`.
        """
        planned = event.get_dagster_event().asset_check_planned_data
        hours = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": PLANNED,
            "evaluation_event": dg.serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }
        with self.index_connection() as connection:
            connection.execute(sa.insert(AssetCheckExecutionsTable), [{**row, "partition": hour} for hour in hours])

    def delete_events_for_run(self, conn: sa.Connection, run_id: str) -> None:
        """Delete by one statement each: a long backfill has more events than a statement of SQLite takes variables."""
        of_run = SqlEventLogStorageTable.c.run_id == run_id
        ids = sa.select(SqlEventLogStorageTable.c.id).where(of_run)
        conn.execute(sa.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(ids)))
        conn.execute(sa.delete(SqlEventLogStorageTable).where(of_run))


@lru_cache(maxsize=64)
def _engine_of(url: str) -> sa.Engine:
    """An engine of an SQLite file, without kept connections. Stock makes one for each connection, and with it compiles
    every statement anew: half of what a short run's events cost."""
    return sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args={"timeout": sqlite_files.LOCK_TIMEOUT_S})


class _SqliteEvents(_EventBatches, SqliteEventLogStorage):
    """Stock event log with batches, one engine a file, kept connections to its index, and patience for a lock."""

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            engine = _engine_of(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def index_connection(self) -> AbstractContextManager[sa.Connection]:
        """See Dagster's, which opens the file for every statement."""
        return self._connect_index()

    @contextmanager
    def _connect_index(self) -> Iterator[sa.Connection]:
        with self._db_lock:
            file = sqlite_files.opened(self.conn_string_for_shard(_INDEX))
            if not file.is_revised:
                self._initdb(file.engine, for_index_shard=True)
                file.is_revised = True
            with file.engine.begin() as connection:
                yield connection

    def has_table(self, table_name: str) -> bool:
        """See Dagster's, which asks the file each time."""
        return sqlite_files.opened(self.conn_string_for_shard(_INDEX)).knows(table_name, super().has_table)

    def _store_in_run_file(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with self.run_connection(run_id) as connection:
            connection.execute(sa.insert(SqlEventLogStorageTable), rows)

    def delete_events(self, run_id: str) -> None:
        """Forget a run, and its file, which stock leaves behind empty and as large as it was."""
        super().delete_events(run_id)
        path = Path(self.path_for_shard(run_id))
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        self._initialized_dbs.discard(run_id)  # an event after that begins a new file


class _PostgresEvents(_EventBatches, PostgresEventLogStorage):
    """Stock event log with batches; its engine is that of runs and schedules, too."""

    def dispose(self) -> None:
        """Close every connection."""
        super().dispose()
        self._engine.dispose()


class _PatientConnections:
    """Kept connections that wait for another process's lock; to stand before a stock storage among the bases.

    Stock opens a connection for every statement; the last one that is closed writes the whole log of writes back. It
    waits for the 5 s of the driver where it writes runs and ticks. A process that is put to sleep in a transaction, or
    a slow disk, keeps a lock for longer.
    """

    _conn_string: str

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection in a transaction."""
        with sqlite_files.opened(self._conn_string).engine.begin() as connection:
            yield connection


class _SqliteRuns(_PatientConnections, SqliteRunStorage):
    """Stock storage of runs, with patience. What the daemon asks each second is read again after a commit."""

    def get_runs(self, *args: Any, **kwargs: Any) -> Sequence[dg.DagsterRun]:
        """See Dagster's."""
        return list(self._answer(super().get_runs, args, kwargs))

    def get_run_records(self, *args: Any, **kwargs: Any) -> Sequence[dg.RunRecord]:
        """See Dagster's."""
        return list(self._answer(super().get_run_records, args, kwargs))

    def get_runs_count(self, *args: Any, **kwargs: Any) -> int:
        """See Dagster's."""
        return int(self._answer(super().get_runs_count, args, kwargs))

    def _answer(self, ask: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        question = repr((ask.__name__, args, sorted(kwargs.items())))
        return sqlite_files.opened(self._conn_string).answer(question, lambda: ask(*args, **kwargs))

    def has_built_index(self, migration_name: str) -> bool:
        """See Dagster's, which asks the file each time."""
        return sqlite_files.opened(self._conn_string).knows(migration_name, super().has_built_index)


class _SqliteSchedules(_PatientConnections, SqliteScheduleStorage):
    """Stock storage of ticks, with patience."""

    def has_built_index(self, migration_name: str) -> bool:
        """See Dagster's, which asks the file each time."""
        return sqlite_files.opened(self._conn_string).knows(migration_name, super().has_built_index)

    def has_instigators_table(self) -> bool:
        """See Dagster's, which asks the file each time."""
        has = super().has_instigators_table
        return sqlite_files.opened(self._conn_string).knows("the table of instigators", lambda _: has())


class BatchedSqliteStorage(DagsterSqliteStorage):
    """Stock SQLite storage whose event log writes batches, and which waits longer for a lock."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        if unusable := set(base_dir) & set("%?"):
            raise ConfigurationError(
                f"Dagster's SQLite storage cannot live in {base_dir}: Dagster makes a URL of the path, in which "
                f"{' and '.join(sorted(unusable))} mean something else. Choose another DAGSTER_HOME, or PostgreSQL"
            )
        start_log()
        guard_this_webserver()
        ask_less_often()
        if not is_tested():
            super().__init__(base_dir, inst_data)
        else:
            runs, schedules = self._revised_files(base_dir, inst_data)
            self._event_log_storage = _SqliteEvents(str(Path(base_dir) / "history" / "runs"))
            self._run_storage = _SqliteRuns(runs)
            self._schedule_storage = _SqliteSchedules(schedules)
        os.environ.setdefault(BATCH_SIZE_VARIABLE, str(BATCH_SIZE))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> BatchedSqliteStorage:
        """See Dagster's."""
        return cls.from_local(inst_data=inst_data, **config_value)

    def _revised_files(self, base_dir: str, inst_data: ConfigurableClassData | None) -> tuple[str, str]:
        """URLs of the files of runs and ticks, whose revisions are looked at once in a process.

        Dagster makes the storages anew for every tick of a schedule or sensor, and looks each time.
        """
        place = Path(base_dir).absolute()
        found = _revised.get(place)
        if found is not None and all(sqlite_files.identity(url) == file for url, file in found.items()):
            self.base_dir, self._inst_data = base_dir, inst_data
            super(DagsterSqliteStorage, self).__init__()
        else:
            super().__init__(base_dir, inst_data)
            urls = self._run_storage._conn_string, self._schedule_storage._conn_string
            found = _revised[place] = {url: sqlite_files.identity(url) for url in urls}
        runs, schedules = found
        return runs, schedules


class BatchedPostgresStorage(DagsterPostgresStorage):
    """Stock PostgreSQL storage whose event log writes batches, with a kept connection.

    Stock opens a connection, and PostgreSQL a process, for every statement.

    `postgres_url` may be written as `postgresql://`, `postgres://` or `postgresql+psycopg2://`.

    Raises:
        ConfigurationError: the URL names another driver, or the database is the ledger's.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        start_log()
        guard_this_webserver()
        ask_less_often()
        url = with_driver(postgres_url, "the URL of Dagster's storage").render_as_string(hide_password=False)
        with _creating_tables(url, token_provider):
            super().__init__(url, should_autocreate_tables, inst_data, token_provider)
            if is_tested():
                self._event_log_storage = _PostgresEvents(url, False, None, token_provider)
                self._keep_connection(url, token_provider)
        os.environ.setdefault(BATCH_SIZE_VARIABLE, str(BATCH_SIZE))

    def _keep_connection(self, url: str, token_provider: Any) -> None:
        """One engine for all three storages of a process: one connection kept, more while its threads need them."""
        engine = create_pg_engine(
            url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=20,
            pool_recycle=1800,  # something between may drop a connection
            pool_pre_ping=True,  # the server may have been started again
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine
        dispose = weakref.WeakMethod(engine.dispose)
        # A forked child would speak on its parent's connection.
        os.register_at_fork(after_in_child=lambda: (forget := dispose()) and forget(close=False))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> BatchedPostgresStorage:
        """See Dagster's."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


@contextmanager
def _creating_tables(url: str, token_provider: Any) -> Iterator[None]:
    """Let one process at a time open the storage: stock lets daemon and webserver create its tables at once, and then
    one of them ends.

    Raises:
        ConfigurationError: the ledger is there. Both count their revisions in a table of one name.
    """
    engine = create_pg_engine(url, token_provider, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with create_pg_connection(engine) as connection:
        if {table.name for table in metadata.sorted_tables} <= set(sa.inspect(connection).get_table_names()):
            raise ConfigurationError(
                f"Dagster's storage is to be in {shown(engine.url)}, which holds the "
                "ledger; expected a database of its own. Create one on the same server (CREATE DATABASE dagster) and "
                "name it in DAGSTER_POSTGRES_URL"
            )
        connection.execute(sa.select(sa.func.pg_advisory_lock(sa.func.hashtextextended(CREATION_LOCK, 0))))
        yield  # the lock ends with the connection
