"""Dagster's SQLite storage, with batches of events and kept connections. Named in `dagster.yaml`; same files as stock.

A range of hours is a materialisation per hour and asset, planned and done: 26,000 events for a month. Stock SQLite
storage opens three databases for each of them, 20 ms of CPU, which is more than the work itself. Here the events that
Dagster hands over as a batch are one transaction per database, and connections stay open.
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
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from trading_assets.defs.instance.event_batches import EventBatches, collect_batches

_BUSY_TIMEOUT_S = 30
_OPEN_DATABASES = 8


class BatchedSqliteEventLog(EventBatches, SqliteEventLogStorage):
    """Stock event log whose batches are transactions."""

    def __init__(self, base_dir: str) -> None:
        self._engines: OrderedDict[str, tuple[int, sa.Engine]] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir)
        collect_batches()

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

    def _store_apart(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """The run's own file; the index has the asset events of all runs."""
        with self.run_connection(run_id) as connection:
            connection.execute(sa.insert(SqlEventLogStorageTable), rows)
        self._show(run_id)

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
