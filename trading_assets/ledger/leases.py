"""Leases in the ledger: each is held by one process at a time, on SQLite and PostgreSQL alike.

A lease runs out by the local clock, so that others do not wait long for a dead holder. A clock that was put back since
makes nobody wait longer: an end that lies beyond the lease's own length is drawn in by whoever looks, and a living
holder renews it all the same. Each new holder gets a higher fence. A holder that was paused beyond the end of its lease
writes under an old fence, and that fails.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, replace

import sqlalchemy as sa

from trading_assets.core.errors import ConflictError, LeaseLostError
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import leases

SKEW_MS = 1_000
"""An end beyond a lease's length by less than this is the clock of another machine."""


@dataclass(frozen=True)
class Lease:
    """A lease as its holder has it. Times are UTC ms of the local clock."""

    name: str
    holder: str
    fence: int
    expires_wall_ms: int
    ttl_ms: int


def this_holder() -> str:
    """Return a new name for a holder in this process: host, process id, and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def acquire(database: Database, name: str, holder: str, *, ttl_ms: int, wall_ms: int) -> Lease | None:
    """Return the lease until `wall_ms + ttl_ms`; None while it is held, also by the same holder."""
    expires = wall_ms + ttl_ms
    take = (
        sa.update(leases)
        .where(leases.c.name == name, leases.c.expires_wall_ms <= wall_ms)
        .values(holder=holder, fence=leases.c.fence + 1, expires_wall_ms=expires, ttl_ms=ttl_ms)
    )
    create = sa.insert(leases).values(name=name, holder=holder, fence=1, expires_wall_ms=expires, ttl_ms=ttl_ms)
    fence = sa.select(leases.c.fence).where(leases.c.name == name)
    try:
        with database.write() as connection:
            _draw_in(connection, name, wall_ms)
            if connection.execute(take).rowcount == 1:
                return Lease(name, holder, connection.execute(fence).scalar_one(), expires, ttl_ms)
            if connection.execute(fence).first() is not None:
                return None
            connection.execute(create)
    except ConflictError:
        return None  # another process has created it in between
    return Lease(name, holder, 1, expires, ttl_ms)


def renew(database: Database, lease: Lease, *, ttl_ms: int, wall_ms: int) -> Lease:
    """Return the lease, renewed until `wall_ms + ttl_ms`. It may have run out, as long as nobody took it.

    Raises:
        LeaseLostError: another holder has it.
    """
    expires = wall_ms + ttl_ms
    prolong = (
        sa.update(leases)
        .where(*_is(lease), leases.c.expires_wall_ms > 0)
        .values(expires_wall_ms=expires, ttl_ms=ttl_ms)
    )
    with database.write() as connection:
        if connection.execute(prolong).rowcount != 1:
            raise _lost(lease)
    return replace(lease, expires_wall_ms=expires, ttl_ms=ttl_ms)


def release(database: Database, lease: Lease) -> bool:
    """Give the lease back. Return False where another holder has it already, which keeps it."""
    with database.write() as connection:
        return connection.execute(sa.update(leases).where(*_is(lease)).values(expires_wall_ms=0)).rowcount == 1


def holder_of(database: Database, name: str, *, wall_ms: int) -> Lease | None:
    """Return who holds the lease now; None where it was never taken, was given back, or has run out."""
    statement = sa.select(leases).where(leases.c.name == name, leases.c.expires_wall_ms > wall_ms)
    with database.read() as connection:
        row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    if row["expires_wall_ms"] <= wall_ms + row["ttl_ms"] + SKEW_MS:
        return Lease(**row)
    with database.write() as connection:
        _draw_in(connection, name, wall_ms)
        row = connection.execute(statement).mappings().one_or_none()
    return Lease(**row) if row is not None else None


def lost_by(database: Database, name: str, *, wall_ms: int) -> str | None:
    """Return the holder whose lease ran out: it was not given back, nor taken by another since. None: there is none."""
    statement = sa.select(leases.c.holder).where(
        leases.c.name == name, leases.c.expires_wall_ms > 0, leases.c.expires_wall_ms <= wall_ms
    )
    with database.read() as connection:
        return connection.execute(statement).scalar_one_or_none()


def guard(connection: sa.Connection, lease: Lease, *, wall_ms: int) -> None:
    """Let a write transaction continue only for the holder. Until it ends, nobody else can take the lease.

    Raises:
        LeaseLostError: it has run out, or another holder has it.
    """
    mine = sa.select(leases.c.name).where(*_is(lease), leases.c.expires_wall_ms > wall_ms).with_for_update()
    if connection.execute(mine).first() is None:
        raise _lost(lease)


def _draw_in(connection: sa.Connection, name: str, wall_ms: int) -> None:
    """Let a lease whose end lies beyond its length end after its length from now: the clock was put back since."""
    beyond = leases.c.expires_wall_ms > wall_ms + leases.c.ttl_ms + SKEW_MS
    ending = sa.update(leases).where(leases.c.name == name, beyond)
    connection.execute(ending.values(expires_wall_ms=wall_ms + leases.c.ttl_ms))


def _is(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.fence == lease.fence


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"{lease.holder} no longer holds {lease.name!r} (fence {lease.fence}): it ran out, was given back or was taken "
        "by another process. Nothing was written; acquire it again before going on"
    )
