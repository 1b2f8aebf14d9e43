"""Connections to PostgreSQL that never wait for ever: for a connection, a lock, a statement, or a silent server.

A server that is stopped, or behind a cable that was pulled, says nothing: its own timeouts do not help. So the client
waits with a deadline, too. psycopg2 has one place for that in a process, and other connections than ours are let alone.
"""

from __future__ import annotations

import select
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

_installing = threading.Lock()
_installed = False


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


@contextmanager
def blocking() -> Iterator[None]:
    """Let the driver wait by itself, without a limit of its own: COPY does not work with a callback that waits.

    The callback is of the process, so one thread at a time copies. Others may wait without a limit meanwhile; the
    server's own limits hold for all.
    """
    from psycopg2 import extensions  # noqa: PLC0415 (a ledger on SQLite needs no PostgreSQL)

    with _installing:
        extensions.set_wait_callback(None)
        try:
            yield
        finally:
            if _installed:
                extensions.set_wait_callback(_wait)


def _factory(waits: Waits) -> type:
    """The class of a connection that is not waited for longer than this."""
    from psycopg2.extensions import connection  # noqa: PLC0415 (a ledger on SQLite needs no PostgreSQL)

    _install()

    class Connection(connection):
        within_s: float | None = waits.statement + SPARE_S
        connect_within_s = waits.connect
        is_connected = False

    return Connection


def _install() -> None:
    global _installed  # noqa: PLW0603 (psycopg2 has one callback in a process)
    from psycopg2 import extensions  # noqa: PLC0415 (as above)

    with _installing:
        if not _installed:
            extensions.set_wait_callback(_wait)
            _installed = True


def _wait(connection: Any) -> None:
    """Wait until the server has answered, at most as long as the connection says; then it is closed."""
    from psycopg2 import OperationalError, extensions  # noqa: PLC0415 (as above)

    is_connected = getattr(connection, "is_connected", True)
    within_s = connection.connect_within_s if not is_connected else getattr(connection, "within_s", None)
    until = None if within_s is None else time.monotonic() + within_s
    poller: select.poll | None = None
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            if not is_connected:
                connection.is_connected = True
            return
        wanted = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        poller = select.poll()
        poller.register(connection.fileno(), wanted)
        left_ms = None if until is None else max(until - time.monotonic(), 0.0) * 1000
        if not poller.poll(left_ms):
            what = "gave no connection" if not is_connected else "has said nothing"
            raise OperationalError(f"the server {what} within {within_s:g} s")
