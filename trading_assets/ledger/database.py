"""The connection to the system of record (SQLite or PostgreSQL), and the translation of its errors.

Tables are in `ledger.tables`, reads and writes in the repositories beside this module.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import InvalidOperation
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from trading_assets.core.errors import ConfigurationError, ConflictError, DatabaseLockedError, StorageError
from trading_assets.core.objects import Objects, open_objects
from trading_assets.core.private_files import private_file, private_folder
from trading_assets.core.settings import Settings
from trading_assets.ledger import forks, migrations, postgres

if TYPE_CHECKING:
    from trading_assets.ledger.rows_in_hand import RowsInHand

_WAL_REST_S = 0.02

RESULTS = "results"
"""Folder of sealed results, in the home or below the prefix in S3."""

DRIVER = "postgresql+psycopg2"
_EXPECTED = f"sqlite:///PATH or {DRIVER}://user:password@host/database"


def with_driver(url: str | sa.URL, what: str) -> sa.URL:
    """Return the URL with the driver that is installed: SQLAlchemy reads a plain `postgresql:` as psycopg 3.

    Args:
        what: names the URL in an error, which never shows its password.

    Raises:
        ConfigurationError: the URL is malformed or names another driver of PostgreSQL.
    """
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        # Not the URL itself: a password may be in what could not be read.
        raise ConfigurationError(f"{what} is not usable (it is no URL); expected {_EXPECTED}") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername=DRIVER)
    if parsed.get_backend_name() in ("postgres", "postgresql") and parsed.drivername != DRIVER:
        raise ConfigurationError(
            f"{what} names the driver {parsed.drivername}, which is not installed; expected {DRIVER}://, or plain "
            "postgresql://"
        )
    return parsed


def _use_wal(cursor: sqlite3.Cursor, timeout_s: float) -> None:
    """Switch a new file to WAL. Of several processes that do so at once SQLite refuses all but one, without waiting."""
    give_up = time.monotonic() + timeout_s
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(_WAL_REST_S)


def shown(url: sa.URL) -> str:
    """Return where a database is, without what may be a secret: the password, and the query, which may have another."""
    return url.set(query={}).render_as_string(hide_password=True)


@dataclass(frozen=True)
class Timeouts:
    """How long a ledger is waited for, s.

    Attributes:
        lock: for another process's lock.
        connect: for a connection (PostgreSQL).
        statement: for an answer (PostgreSQL), also where the server has fallen silent.
    """

    lock: float = 30.0
    connect: float = 10.0
    statement: float = 120.0

    @classmethod
    def of(cls, settings: Settings) -> Timeouts:
        """Those of the settings."""
        return cls(
            settings.database_busy_timeout_s,
            settings.database_connect_timeout_s,
            settings.database_statement_timeout_s,
        )

    def at_most(self, seconds: float) -> Timeouts:
        """The same, none of them longer than this: for a command that cannot wait."""
        # The lock a little shorter: then the server says that it was a lock.
        return Timeouts(min(self.lock, 0.8 * seconds), min(self.connect, seconds), min(self.statement, seconds))


class Database:
    """One engine. `read()` and `write()` give a transaction that commits on leaving and rolls back on an error.

    Args:
        upgrade: bring the schema to today's revision first; otherwise it is left as it is.
        results: opens the files of sealed results, when they are first asked for: nothing that trades or halts waits
            for them. Without it no partition that is sealed can be read.

    Raises:
        ConfigurationError: the URL is malformed or names an unknown database.
        StorageError: the database cannot be opened or created, or a newer version of this program wrote it.
    """

    rows_in_hand: RowsInHand | None = None
    """What this process has just written, see there; None where nobody asked for it."""

    def __init__(
        self,
        url: str | sa.URL,
        *,
        busy_timeout_s: float | None = None,
        timeouts: Timeouts = Timeouts(),
        upgrade: bool = True,
        results: Callable[[], Objects] | None = None,
    ) -> None:
        self.url = with_driver(url, "database_url")
        self._open_results = results
        self._writing, self._writers_pid = threading.Lock(), os.getpid()
        if busy_timeout_s is not None:
            timeouts = replace(timeouts, lock=busy_timeout_s)
        self._lock_s = timeouts.lock
        try:
            self._engine = self._make_engine(timeouts)
            forks.watch(self._engine)
        except (ArgumentError, NoSuchModuleError) as error:
            kind = type(error).__name__  # its text may hold what could not be read
            raise ConfigurationError(
                f"database_url is not usable ({kind} for {shown(self.url)}); expected {_EXPECTED}"
            ) from None
        if upgrade:
            self._upgrade()

    @classmethod
    def of(cls, settings: Settings, *, timeouts: Timeouts | None = None, upgrade: bool = True) -> Database:
        """The ledger of the settings, with its sealed results: files in the home, or S3 where `store_url` says so."""
        return cls(
            settings.resolved_database_url,
            timeouts=timeouts or Timeouts.of(settings),
            upgrade=upgrade,
            results=cache(lambda: open_objects(settings, RESULTS)),
        )

    @property
    def results(self) -> Objects | None:
        """The files of sealed results; None where the ledger was opened without them.

        Raises:
            ConfigurationError: the settings do not say where they are.
        """
        return None if self._open_results is None else self._open_results()

    def _make_engine(self, timeouts: Timeouts) -> sa.Engine:
        if self.url.get_backend_name() != "sqlite":
            return postgres.make_engine(self.url, timeouts)
        busy_timeout_s = timeouts.lock
        if self.url.database:
            folder = Path(self.url.database).parent
            try:
                private_folder(folder)
                private_file(Path(self.url.database))  # SQLite gives its other files the same mode
            except OSError as error:
                raise StorageError(
                    f"cannot create {folder} for the database: {error.strerror}; choose a writable directory with "
                    "TRADING_ASSETS_HOME"
                ) from error
        engine = sa.create_engine(self.url, connect_args={"timeout": busy_timeout_s}, hide_parameters=True)

        @sa.event.listens_for(engine, "connect")
        def _configure(connection: object, _record: object) -> None:
            forks.require_own(self.url.database)
            cursor = connection.cursor()  # type: ignore[attr-defined]
            _use_wal(cursor, busy_timeout_s)
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()
            # Let SQLAlchemy, not the driver, begin transactions, so that a read and the write after it are one.
            connection.isolation_level = None  # type: ignore[attr-defined]

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            # IMMEDIATE takes the write lock up front: a reader that turns writer cannot wait out another one, and is
            # told at once that the database is locked. So whoever reads cannot write.
            immediate = connection.get_execution_options().get("write", False)
            if immediate:
                connection.exec_driver_sql("PRAGMA query_only=0")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            # By the driver itself: neither waits for a lock, and SQLAlchemy's way takes as long as a short read.
            driver = connection.connection.driver_connection
            driver.execute("PRAGMA query_only=1")  # type: ignore[union-attr]
            driver.execute("BEGIN")  # type: ignore[union-attr]

        return engine

    def _upgrade(self) -> None:
        with self.read() as connection:
            if migrations.is_usable(connection):
                return
        with self.write(one_at_a_time=migrations.LOCK) as connection:
            if not migrations.is_usable(connection):  # another process may have been first
                with postgres.patient(connection):
                    migrations.upgrade(connection)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction: one consistent snapshot. On SQLite a write in it is refused."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, one_at_a_time: str | None = None) -> Iterator[sa.Connection]:
        """Open a write transaction. It commits when the block ends, and rolls back when the block raises.

        `one_at_a_time` names what only one transaction may do at once, in any process. SQLite has one writer anyway.
        """
        with self._translated(), self._turn():
            engine = self._engine.execution_options(write=True)
            with engine.begin() as connection:
                if one_at_a_time is not None and self.dialect == "postgresql":
                    lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(one_at_a_time, 0))
                    connection.execute(sa.select(lock))
                yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """On SQLite the threads of this process write one after the other: who waits for the file's lock sleeps up to
        100 ms between two looks at it, while others come and go. After the time for a lock SQLite is asked all the
        same, and says itself that it is locked."""
        if self._writers_pid != os.getpid():  # forked: nobody here would give back what a thread of the parent has
            self._writing, self._writers_pid = threading.Lock(), os.getpid()
        turn = self._writing
        is_mine = self.dialect == "sqlite" and turn.acquire(timeout=self._lock_s)
        try:
            yield
        finally:
            if is_mine:
                turn.release()

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def size(self) -> int:
        """Bytes that the database takes, its free pages included.

        Raises:
            StorageError: it cannot be read.
        """
        with self.read() as connection:
            if self.dialect == "postgresql":
                return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())

    def compact(self) -> int:
        """Give the space of deleted rows back to the disk; return how many bytes. Others wait for it meanwhile.

        PostgreSQL keeps such space for rows to come, and frees it by itself where it can.

        Raises:
            DatabaseLockedError: others use it.
        """
        if self.dialect != "sqlite":
            return 0
        before = self.size()
        with self._translated():
            connection = self._engine.raw_connection()
            try:
                # In no transaction, which is what SQLAlchemy would begin.
                for statement in ("PRAGMA query_only=0", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    connection.cursor().execute(statement).fetchall()
            except sqlite3.Error as error:
                raise DBAPIError.instance("VACUUM", None, error, sqlite3.Error, dialect=self._engine.dialect) from error
            finally:
                connection.close()
        return before - self.size()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            reason = str(error.orig)
            where = shown(self.url)
            if any(word in reason for word in ("locked", "busy", "lock timeout", "deadlock")):
                raise DatabaseLockedError(
                    f"another process keeps the database {where} locked; end it (or wait for its run), then try again. "
                    "Nothing was written."
                ) from error
            raise StorageError(
                f"the database {where} cannot be used: {reason.strip()}; nothing was written. Check that the disk has "
                "room and the path is writable, or that the server runs"
            ) from error
        except PoolTimeoutError as error:
            raise StorageError(
                f"all connections to the database {shown(self.url)} are in use, and none was given back in time; "
                "nothing was written"
            ) from error
        except IntegrityError as error:
            raise ConflictError(f"the database refused: {_reason(error)}; nothing was written") from error
        except DBAPIError as error:
            raise StorageError(f"the database refused: {_reason(error)}; nothing was written") from error
        except (StatementError, OverflowError, InvalidOperation, UnicodeError) as error:
            raise StorageError(
                f"the database cannot hold a value, or holds one that cannot be read ({error}); nothing was written"
            ) from error


def _reason(error: DBAPIError) -> str:
    """What the database says, without the values of the row that PostgreSQL adds to it."""
    told = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    return str(told or error.orig).strip()
