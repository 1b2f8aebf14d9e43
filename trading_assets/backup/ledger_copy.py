"""The ledger of one moment as files, while others write, and back. SQLite: its own file. PostgreSQL: a file a table.

PostgreSQL's tables go through the connection (COPY): no program of the server's version has to be installed, and the
schema is made by our migrations.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import sqlalchemy as sa

from trading_assets.backup.manifest import CHUNK, LEDGER
from trading_assets.core.errors import DamagedFileError, StorageError
from trading_assets.core.private_files import private_file
from trading_assets.ledger import migrations
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import order_intents, schema_compatibility

SQLITE, POSTGRESQL = "sqlite", "postgresql"
FILE = f"{LEDGER}/ledger.db"
_VERSION = "alembic_version"
_LOCK_WITHIN_MS = 30_000


class Readable(Protocol):
    """What a part is read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class Writable(Protocol):
    """What a part is written to."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True)
class LedgerCopy:
    """The ledger of one moment.

    Attributes:
        writers: what writes each part, by the part's name.
    """

    storage: str
    revision: str
    columns: dict[str, list[str]]
    writers: Mapping[str, Callable[[Writable], None]] = field(repr=False)


@contextmanager
def ledger_of_a_moment(database: Database, folder: Path, meanwhile: Callable[[], None]) -> Iterator[LedgerCopy]:
    """The ledger as it is while `meanwhile` is called, during which no order can be reserved, confirmed or closed.

    Args:
        folder: has room for a copy of a SQLite ledger.
        meanwhile: takes what must be of the same moment; others wait for it.

    Raises:
        StorageError: it cannot be read, or others hold it for too long.
    """
    with database.read() as connection:
        with database.write() as lock:
            if database.dialect == POSTGRESQL:
                lock.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_WITHIN_MS}")
                lock.exec_driver_sql(f"LOCK TABLE {order_intents.name} IN EXCLUSIVE MODE")
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            meanwhile()
            revision = migrations.revision_of(connection)  # the first read: from here on it sees this moment
        if revision is None:
            raise StorageError(f"there is no ledger at {database.url.render_as_string()}: nothing to back up")
        if database.dialect == POSTGRESQL:
            columns = _columns(connection)
            writers = {f"{LEDGER}/{name}.copy": _copier(connection, name, columns[name]) for name in columns}
            yield LedgerCopy(POSTGRESQL, revision, columns, writers)
        else:
            yield LedgerCopy(SQLITE, revision, {}, {FILE: lambda out: _write_sqlite(connection, folder, out)})


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database that others write into, whole.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        private_file(target)
        uri = f"{source.as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=30.0)) as one,
            closing(sqlite3.connect(target)) as other,
        ):
            one.backup(other)
            other.execute("PRAGMA journal_mode=DELETE")
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{source} cannot be copied: {error}") from error


def check_sqlite(path: Path) -> None:
    """
    Raises:
        DamagedFileError: it is no whole SQLite database.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise DamagedFileError(f"the backup holds a damaged database ({found}); take another one. Nothing was changed")


def load_tables(
    database: Database,
    revision: str,
    columns: Mapping[str, list[str]],
    part: Callable[[str], AbstractContextManager[Readable]],
    aside: str,
    at_last: Callable[[], None],
) -> bool:
    """Put tables of a backup into a PostgreSQL database, in one transaction: all of it, or nothing has changed.

    Args:
        part: opens a part of the backup by its name.
        aside: a new schema that takes the tables that are there.
        at_last: called before the transaction ends; if it raises, nothing has changed.

    Returns: whether there were some.

    Raises:
        StorageError: the database refuses, or somebody else uses its tables.
        DamagedFileError: a part is not whole.
    """
    with database.write(one_at_a_time=migrations.LOCK) as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_WITHIN_MS}")
        found = _move_aside(connection, aside)
        migrations.upgrade(connection, revision)
        made = _columns(connection)
        for name, kept in columns.items():
            if set(kept) - set(made.get(name, [])):
                raise DamagedFileError(f"the backup's table {name} is not of revision {revision}; nothing was changed")
        if schema_compatibility.name in columns:  # the one table that a migration fills
            connection.execute(sa.delete(schema_compatibility))
        for table in _sorted(connection):
            if table in columns:
                with part(f"{LEDGER}/{table}.copy") as stream:
                    _copy(connection, f"COPY {_named(table, columns[table])} FROM STDIN", stream)
                _set_counters(connection, table)
        at_last()
        return found


def others_connected(database: Database) -> list[str]:
    """Who else is connected to the PostgreSQL database, for people."""
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT pid, usename, coalesce(nullif(application_name, ''), 'unnamed program') FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return [f"{program} of {user} (server process {pid})" for pid, user, program in rows]


def _columns(connection: sa.Connection) -> dict[str, list[str]]:
    look = sa.inspect(connection)
    return {
        name: [column["name"] for column in look.get_columns(name)]
        for name in sorted(look.get_table_names())
        if name != _VERSION
    }


def _sorted(connection: sa.Connection) -> list[str]:
    """Tables, those that others refer to first."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table.name for table in found.sorted_tables]


def _copier(connection: sa.Connection, table: str, columns: list[str]) -> Callable[[Writable], None]:
    return lambda out: _copy(connection, f"COPY {_named(table, columns)} TO STDOUT", out)


def _copy(connection: sa.Connection, statement: str, stream: Readable | Writable) -> None:
    with closing(connection.connection.cursor()) as cursor:
        try:
            cursor.copy_expert(statement, stream)
        except connection.dialect.dbapi.Error as error:  # type: ignore[union-attr]
            raise StorageError(f"the database refused a table: {str(error).strip()}; nothing was changed") from error


def _named(table: str, columns: list[str]) -> str:
    quoted = ", ".join(_quoted(name) for name in columns)
    return f"{_quoted(table)} ({quoted})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _move_aside(connection: sa.Connection, aside: str) -> bool:
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return False
    connection.exec_driver_sql(f"CREATE SCHEMA {_quoted(aside)}")
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {_quoted(table)} SET SCHEMA {_quoted(aside)}")
    functions = connection.exec_driver_sql(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
    )
    for function in functions.scalars().all():
        connection.exec_driver_sql(f"ALTER FUNCTION {function} SET SCHEMA {_quoted(aside)}")
    return True


def _set_counters(connection: sa.Connection, table: str) -> None:
    """Numbers that the database gives go on behind those that are there."""
    owned = connection.exec_driver_sql(
        "SELECT attname, pg_get_serial_sequence(%(table)s, attname) FROM pg_attribute "
        "WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped",
        {"table": table},
    )
    for column, counter in owned.all():
        if counter is not None:
            connection.exec_driver_sql(
                f"SELECT setval('{counter}', coalesce(max({_quoted(column)}), 0) + 1, false) FROM {_quoted(table)}"
            )


def _write_sqlite(connection: sa.Connection, folder: Path, out: Writable) -> None:
    target = folder / ".ledger.copying"
    try:
        target.unlink(missing_ok=True)
        private_file(target)
        source = connection.connection.driver_connection
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy)  # type: ignore[union-attr]
            copy.execute("PRAGMA journal_mode=DELETE")
        with target.open("rb") as stream:
            pour(stream, out)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"the ledger cannot be copied into {folder}: {error}; is there room?") from error
    finally:
        target.unlink(missing_ok=True)


def pour(stream: BinaryIO | Readable, out: Writable) -> None:
    """Write all that a stream has."""
    shutil.copyfileobj(stream, out, CHUNK)
