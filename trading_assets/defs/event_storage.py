"""Dagster's SQLite storage, with batches of events and kept connections. Named in `dagster.yaml`; same files as stock.

A range of hours is a materialisation per hour and asset, planned and done: 26,000 events for a month. Stock SQLite
storage opens three databases for each of them, 20 ms of CPU, which is more than the work itself. Here the events that
Dagster hands over as a batch are one transaction per database, as in dagster-postgres, and connections stay open.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

# The classes that dagster.yaml names; Dagster has no other path to them.
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData, serialize_value

BATCH_SIZE_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_SIZE = 500
"""Dagster collects events of a step into batches only where this environment variable says so."""

_BUSY_TIMEOUT_S = 30
_OPEN_DATABASES = 8


class BatchedSqliteEventLog(SqliteEventLogStorage):
    """Stock event log whose batches are transactions."""

    def __init__(self, base_dir: str) -> None:
        self._engines: OrderedDict[str, tuple[int, sa.Engine]] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir)
        # Read by Dagster at every event, in each process that opens this storage.
        os.environ.setdefault(BATCH_SIZE_VARIABLE, str(BATCH_SIZE))

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> sa.Engine:
        path = Path(self.path_for_shard(shard))
        known = self._engines.get(shard)
        # Another process may have wiped the file: its successor is another one.
        if known is not None and path.exists() and path.stat().st_ino == known[0]:
            self._engines.move_to_end(shard)
            return known[1]
        if known is not None:
            known[1].dispose()
            self._initialized_dbs.discard(shard)
        engine = sa.create_engine(self.conn_string_for_shard(shard), connect_args={"timeout": _BUSY_TIMEOUT_S})
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = (path.stat().st_ino, engine)
        while len(self._engines) > _OPEN_DATABASES:
            self._engines.popitem(last=False)[1][1].dispose()
        return engine

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table. Asked at every event; a table that is there stays."""
        if table_name not in self._tables:
            self._tables.update(sa.inspect(self._engine(INDEX_SHARD_NAME)).get_table_names())
        return table_name in self._tables

    def store_event(self, event: EventLogEntry) -> None:
        """See Dagster's."""
        super().store_event(event)
        self._show(event.run_id)

    def _show(self, run_id: str) -> None:
        """Wake who follows a run, such as its open page in the UI: it watches the run's file.

        Stock closes its connection after each event, which moves the event from SQLite's write-ahead log into the file.
        Of kept connections the file may not change for a whole run, and its page would stand still.
        """
        with contextlib.suppress(FileNotFoundError):  # the run is deleted meanwhile
            os.utime(self.path_for_shard(run_id))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the asset events of a run in one transaction per database, other events one by one."""
        assets = [event for event in events if event.dagster_event_type in ASSET_EVENTS]
        if len({event.run_id for event in assets}) != 1:
            super().store_event_batch(events)
            return
        rows = [self._event_to_row(event) for event in assets]
        with self.run_connection(assets[0].run_id) as connection:
            connection.execute(sa.insert(SqlEventLogStorageTable), rows)
        # What an asset's own row shows is its last event.
        last = {event.get_dagster_event().asset_key: at for at, event in enumerate(assets)}
        with self.index_transaction() as connection:
            insert = sa.insert(SqlEventLogStorageTable)
            ids = connection.execute(
                insert.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True), rows
            ).scalars()
            numbers = list(ids)
            self._store_asset_event_tags(connection, assets, numbers)
            for at in last.values():
                self._store_asset_event(connection, assets[at], numbers[at])
        self._show(assets[0].run_id)
        super().store_event_batch([event for event in events if event.dagster_event_type not in ASSET_EVENTS])

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """A row per hour of the range that a check of the run will look at: stock makes the event's text for each."""
        planned = event.get_dagster_event().asset_check_planned_data
        hours = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }
        with self.index_connection() as connection:
            connection.execute(sa.insert(AssetCheckExecutionsTable), [{**row, "partition": hour} for hour in hours])

    def delete_events(self, run_id: str) -> None:
        """Forget a run: its rows in the index and its file, which stock leaves behind empty, as large as it was."""
        with self.index_connection() as connection:
            self.delete_events_for_run(connection, run_id)
        if self.supports_global_concurrency_limits:
            self.free_concurrency_slots_for_run(run_id)
        with self._db_lock:
            held = self._engines.pop(run_id, None)
            if held is not None:
                held[1].dispose()
            self._initialized_dbs.discard(run_id)
            path = Path(self.path_for_shard(run_id))
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)

    def delete_events_for_run(self, conn: sa.Connection, run_id: str) -> None:
        """By one statement each: a backfill has more events than SQLite takes variables."""
        of_run = SqlEventLogStorageTable.c.run_id == run_id
        numbers = sa.select(SqlEventLogStorageTable.c.id).where(of_run)
        conn.execute(sa.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(numbers)))
        conn.execute(sa.delete(SqlEventLogStorageTable).where(of_run))

    def wipe(self) -> None:
        """See Dagster's."""
        super().wipe()
        self.dispose()

    def dispose(self) -> None:
        """Close every connection."""
        super().dispose()
        while self._engines:
            self._engines.popitem()[1][1].dispose()


class BatchedSqliteStorage(DagsterSqliteStorage):
    """Stock SQLite storage of runs and schedules, with `BatchedSqliteEventLog`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = BatchedSqliteEventLog(str(Path(base_dir) / "history" / "runs"))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> BatchedSqliteStorage:
        """See Dagster's."""
        return cls.from_local(inst_data=inst_data, **config_value)
