"""Dagster's PostgreSQL storage, with batches of events and a kept connection. Named in `deploy/dagster.yaml`.

Same tables as `dagster-postgres`, so that either reads what the other wrote. Stock opens a connection, and PostgreSQL a
process, for every statement; here a process keeps one for its runs, events and schedules together.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

# The class that dagster.yaml names; Dagster has no other path to these.
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorageMetadata
from dagster._core.storage.runs import RunStorageSqlMetadata
from dagster._core.storage.schedules import ScheduleStorageSqlMetadata
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import (
    create_pg_connection,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)

from trading_assets.core.errors import ConfigurationError
from trading_assets.defs.instance.event_batches import EventBatches, collect_batches
from trading_assets.ledger.database import with_driver
from trading_assets.ledger.tables import metadata

KEPT, MORE = 1, 20
"""Connections that a process keeps, and may have besides while its threads need them."""

RECYCLE_S = 1800
"""A connection is not kept for longer: something between may have dropped it."""

LOCK = "tables of dagster"
"""What one process may create at a time."""

_TABLES = {
    table.name
    for schema in (RunStorageSqlMetadata, SqlEventLogStorageMetadata, ScheduleStorageSqlMetadata)
    for table in schema.sorted_tables
}


class BatchedPostgresEventLog(EventBatches, PostgresEventLogStorage):
    """Stock event log whose batches are transactions."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """As `EventBatches`; what stock leaves out stays out."""
        super().store_event_batch(
            [event for event in events if not event.get_dagster_event().is_asset_failed_to_materialize]
        )

    def dispose(self) -> None:
        """Close every connection; the engine is that of runs and schedules, too."""
        super().dispose()
        self._engine.dispose()


class BatchedPostgresStorage(DagsterPostgresStorage):
    """Stock PostgreSQL storage of runs and schedules, with `BatchedPostgresEventLog` and one engine for all.

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
        url = with_driver(postgres_url, "the URL of Dagster's storage").render_as_string(hide_password=False)
        with _alone_while_incomplete(url, token_provider) as incomplete:
            create = should_autocreate_tables and incomplete
            super().__init__(url, create, inst_data, token_provider)
            self._event_log_storage = BatchedPostgresEventLog(url, create, None, token_provider)
        engine = create_pg_engine(
            url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            pool_size=KEPT,
            max_overflow=MORE,
            pool_recycle=RECYCLE_S,
            pool_pre_ping=True,  # the server may have been started again
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine.dispose()
            storage._engine = engine
        _leave_to_the_parent(engine)
        collect_batches()

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
def _alone_while_incomplete(url: str, token_provider: Any) -> Iterator[bool]:
    """Whether tables of Dagster are missing; if so, only one process at a time comes here.

    Stock lets daemon and webserver create them at once, and then one of them ends.

    Raises:
        ConfigurationError: the ledger is there. Both count their revisions in a table of one name.
    """
    engine = create_pg_engine(url, token_provider, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with create_pg_connection(engine) as connection:
        incomplete = not _has_tables(connection)
        if incomplete:
            connection.execute(sa.select(sa.func.pg_advisory_lock(sa.func.hashtextextended(LOCK, 0))))
            incomplete = not _has_tables(connection)
        yield incomplete  # the lock ends with the connection


def _has_tables(connection: sa.Connection) -> bool:
    there = set(sa.inspect(connection).get_table_names())
    if there >= {table.name for table in metadata.sorted_tables}:
        raise ConfigurationError(
            f"Dagster's storage is to be in {connection.engine.url.render_as_string(hide_password=True)}, which holds "
            "the ledger; expected a database of its own. Create one on the same server (CREATE DATABASE dagster) and "
            "name it in DAGSTER_POSTGRES_URL"
        )
    return there >= _TABLES


def _leave_to_the_parent(engine: sa.Engine) -> None:
    """A forked child would speak on its parent's connection: it makes its own."""
    ours = weakref.ref(engine)

    def forget() -> None:
        if (inherited := ours()) is not None:
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
