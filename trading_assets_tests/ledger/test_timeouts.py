"""A ledger that does not answer is given up in time, whatever keeps it from answering."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_assets.core.errors import DatabaseLockedError, StorageError
from trading_assets.ledger.database import Database, Timeouts

SHORT = Timeouts(lock=0.3, connect=2.0, statement=1.0)
FAR_TOO_LONG_S = 60.0
"""Without a deadline each of these waits for ever."""


class Link:
    """A way to a server on loopback which can be cut silently: what is sent is swallowed, and nobody is told."""

    def __init__(self, host: str, port: int, folder: str | None = None) -> None:
        self._target = (host, port, folder)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_silent = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            host, port, folder = self._target
            if folder is not None:
                far = socket.socket(socket.AF_UNIX)
                far.connect(f"{folder}/.s.PGSQL.{port}")
            else:
                far = socket.create_connection((host, port))
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.is_silent:
                    sink.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        for one in (self._listener, *self._open):
            one.close()


@contextmanager
def linked(database: Database) -> Iterator[tuple[Link, str]]:
    """The way to the server of this database, and its URL through there."""
    query = database.url.query
    folder = query.get("host")
    link = Link(database.url.host or "", database.url.port or 5432, str(folder) if folder else None)
    url = database.url.set(host="127.0.0.1", port=link.port, query={"sslmode": "disable"})
    try:
        yield link, url.render_as_string(hide_password=False)
    finally:
        link.close()


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(StorageError, match="timeout expired"):
            Database(f"postgresql://someone:a-word@127.0.0.1:{silent.getsockname()[1]}/ledger", timeouts=SHORT)
        assert time.monotonic() - began < FAR_TOO_LONG_S


@pytest.mark.slow
def test_a_server_that_falls_silent_is_given_up_and_used_again_when_it_is_back(postgres_database: Database) -> None:
    with linked(postgres_database) as (link, url):
        database = Database(url, timeouts=SHORT)
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
        link.is_silent = True
        began = time.monotonic()
        with pytest.raises(StorageError), database.read() as connection:
            connection.exec_driver_sql("SELECT 2")
        assert time.monotonic() - began < FAR_TOO_LONG_S
        link.is_silent = False
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT 3").scalar_one() == 3
        database.close()


def test_a_locked_table_is_waited_for_no_longer_than_the_setting_says(postgres_database: Database) -> None:
    database = Database(postgres_database.url, timeouts=SHORT)
    with postgres_database.write() as holder:
        holder.exec_driver_sql("LOCK TABLE risk_states IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseLockedError), database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM risk_states")
    database.close()


def test_a_lock_by_name_is_waited_for_no_longer_either(postgres_database: Database) -> None:
    database = Database(postgres_database.url, timeouts=SHORT)
    with (
        postgres_database.write(one_at_a_time="orders of main"),
        pytest.raises(DatabaseLockedError),
        database.write(one_at_a_time="orders of main"),
    ):
        pass
    database.close()


def test_a_statement_that_takes_too_long_is_given_up(postgres_database: Database) -> None:
    database = Database(postgres_database.url, timeouts=SHORT)
    with pytest.raises(StorageError, match="statement timeout"), database.read() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(300)")
    database.close()


def test_connections_that_are_all_in_use_are_an_error_of_the_tree(postgres_database: Database) -> None:
    database = Database(postgres_database.url, timeouts=SHORT)
    engine = database._engine
    engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    held = [engine.connect() for _ in range(15)]
    try:
        with pytest.raises(StorageError, match="in use"), database.read():
            pass
    finally:
        for connection in held:
            connection.close()
        database.close()


@pytest.mark.slow
def test_other_connections_of_the_process_are_let_alone(postgres_database: Database) -> None:
    Database(postgres_database.url, timeouts=SHORT).close()
    engine = sa.create_engine(postgres_database.url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1 FROM pg_sleep(7)").scalar_one() == 1
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0"
    engine.dispose()


def test_a_thread_that_keeps_its_turn_to_write_is_told_as_a_lock(tmp_path: Path) -> None:
    """Threads of one process wait for each other, and no longer than for another process."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}", upgrade=False, timeouts=SHORT)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE told (who TEXT)")
    found = list[Exception]()

    def write() -> None:
        try:
            with database.write() as connection:
                connection.exec_driver_sql("INSERT INTO told VALUES ('another thread')")
        except StorageError as error:
            found.append(error)

    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO told VALUES ('one')")
        other = threading.Thread(target=write)
        other.start()
        other.join(FAR_TOO_LONG_S)
    assert [type(error) for error in found] == [DatabaseLockedError]
    write()
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM told").scalar_one() == 2
