"""Connections to PostgreSQL that never wait for ever: for a connection, a lock, a statement, or a silent server.

A server that is stopped, or behind a cable that was pulled, says nothing: its own timeouts do not help, and psycopg2
has none for an answer. So one thread of the process watches what waits, and shuts the socket that has waited too long.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import sqlalchemy as sa

KEEPALIVES = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""A peer that is gone is noticed after 25 s where nothing is asked of it ..."""

UNACKNOWLEDGED_MS = 20_000
"""... and after this where something is."""

SPARE_S = 5.0
"""The client waits so much longer than the server allows: what the server says is clearer."""

LOOK_EVERY_S = 0.5


class Waits(Protocol):
    """How long is waited, s."""

    @property
    def lock(self) -> float: ...

    @property
    def connect(self) -> float: ...

    @property
    def statement(self) -> float: ...


def make_engine(url: sa.URL, waits: Waits) -> sa.Engine:
    """An engine whose connections give up in time. What they raise then is an `OperationalError`."""
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,  # the server may have been started again
        hide_parameters=True,
        connect_args={
            **KEEPALIVES,
            "tcp_user_timeout": UNACKNOWLEDGED_MS,
            "connect_timeout": max(int(waits.connect), 1),
            "connection_factory": _factory(waits),
        },
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET statement_timeout = {int(waits.statement * 1000)}; SET lock_timeout = {int(waits.lock * 1000)}; "
                f"SET idle_in_transaction_session_timeout = {int(waits.statement * 2000)}"
            )
        connection.commit()

    return engine


@contextmanager
def patient(connection: sa.Connection) -> Iterator[None]:
    """Let a transaction take as long as it needs, such as a migration of a large table."""
    if connection.dialect.name != "postgresql":
        yield
        return
    raw = connection.connection.dbapi_connection
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    before, raw.within_s = raw.within_s, None  # type: ignore[union-attr]
    try:
        yield
    finally:
        raw.within_s = before  # type: ignore[union-attr]


def _factory(waits: Waits) -> type:
    """The class of a connection that is not waited for longer than this."""
    from psycopg2 import extensions  # noqa: PLC0415 (a ledger on SQLite needs no PostgreSQL)

    class Cursor(extensions.cursor):
        def execute(self, *given: Any) -> None:
            with _WATCH.over(self.connection):
                super().execute(*given)

        def executemany(self, *given: Any) -> None:
            with _WATCH.over(self.connection):
                super().executemany(*given)

        def copy_expert(self, *given: Any) -> None:
            with _WATCH.over(self.connection):
                super().copy_expert(*given)

    class Connection(extensions.connection):
        within_s: float | None = waits.statement + SPARE_S

        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.cursor_factory = Cursor

        def commit(self) -> None:
            with _WATCH.over(self):
                super().commit()

        def rollback(self) -> None:
            with _WATCH.over(self):
                super().rollback()

    return Connection


class _Watch:
    """What waits for a server, each with the time at which its socket is shut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[float, int]] = {}
        self._has_work = threading.Event()
        self._thread: threading.Thread | None = None
        self._numbers = iter(range(2**62))

    @contextmanager
    def over(self, connection: Any) -> Iterator[None]:
        """Watch the block, which waits for the connection's server."""
        if connection.within_s is None or connection.closed:
            yield
            return
        number, until = next(self._numbers), time.monotonic() + connection.within_s
        with self._lock:
            self._waiting[number] = (until, connection.fileno())
            self._has_work.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="postgres-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[number]

    def _look(self) -> None:
        while True:
            self._has_work.wait()
            time.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            with self._lock:
                if not self._waiting:
                    self._has_work.clear()
                late = [fd for until, fd in self._waiting.values() if until < now]
                for fd in late:
                    # Under the lock: who waits has not gone on, so it is still its socket.
                    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as its:
                        its.shutdown(socket.SHUT_RDWR)


_WATCH = _Watch()


def _forget_after_fork() -> None:
    _WATCH.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_after_fork)
