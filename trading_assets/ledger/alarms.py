"""Alarms as they stand in the ledger: pending, firing or resolved. A change of state is told in its own transaction.

Times are UTC ms of the local clock. What is looked for is in `observability.alarms`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.timeframes import iso
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import alarms as table

KEPT_MS = 7 * 86_400_000
"""An alarm that was resolved is shown for so long."""


class AlarmState(StrEnum):
    """Of an alarm."""

    PENDING = "pending"
    """What it looks for is there, but not for long enough yet."""
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class Alarm:
    """An alarm of an account. `detail`: what was found last, and what to do."""

    account: str
    name: str
    state: AlarmState
    severity: Severity
    detail: str
    since_wall_ms: int
    seen_wall_ms: int

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


@dataclass(frozen=True)
class Found:
    """What a look has found. `lasts_s`: it fires when it was there for so long."""

    severity: Severity
    detail: str
    lasts_s: float = 0.0


def step(
    database: Database, account: str, found: Mapping[str, Found], wall_ms: int, *, unknown: Collection[str] = ()
) -> list[Alarm]:
    """Keep what a look at an account has found, and tell what begins to fire and what is resolved.

    Two processes that look at the same time tell it once.

    Args:
        found: by name of the alarm.
        unknown: alarms that could not be looked for: they stay as they are.

    Returns:
        The alarms that changed between firing and resolved.
    """
    changed = []
    with database.write(one_at_a_time=f"alarms of {account}") as connection:
        before = {one.name: one for one in _read(connection, account)}
        for name in sorted({*before, *found} - set(unknown)):
            was, now = before.get(name), found.get(name)
            after = _after(account, name, was, now, wall_ms)
            if after is None:
                if was is not None:
                    connection.execute(sa.delete(table).where(*_is(was)))
                continue
            _keep(connection, was, after)
            fired = after.state is AlarmState.FIRING and (was is None or was.state is not AlarmState.FIRING)
            ended = after.state is AlarmState.RESOLVED and was is not None and was.state is AlarmState.FIRING
            if fired or ended:
                changed.append(after)
                outbox.add(connection, account, _message(after, was), time_ms=wall_ms, wall_ms=wall_ms)
    return changed


def current(database: Database, account: str) -> list[Alarm]:
    """Return the alarms of an account, those that fire first."""
    with database.read() as connection:
        found = _read(connection, account)
    first = (AlarmState.FIRING, AlarmState.PENDING, AlarmState.RESOLVED)
    return sorted(found, key=lambda one: (first.index(one.state), one.since_wall_ms, one.name))


def _after(account: str, name: str, was: Alarm | None, now: Found | None, wall_ms: int) -> Alarm | None:
    """The alarm after a look; None where there is nothing to keep."""
    if now is None:
        if was is None or was.state is AlarmState.PENDING:
            return None
        if was.state is AlarmState.RESOLVED:
            return was if wall_ms - was.since_wall_ms < KEPT_MS else None
        return Alarm(account, name, AlarmState.RESOLVED, was.severity, was.detail, wall_ms, wall_ms)
    is_new = was is None or was.state is AlarmState.RESOLVED
    # A clock that was put back makes nothing pending for longer.
    began = wall_ms if was is None or is_new else min(was.since_wall_ms, wall_ms)
    if not is_new and was is not None and was.state is AlarmState.FIRING:
        return Alarm(account, name, AlarmState.FIRING, now.severity, now.detail, began, wall_ms)
    fires = wall_ms - began >= now.lasts_s * 1000
    state = AlarmState.FIRING if fires else AlarmState.PENDING
    return Alarm(account, name, state, now.severity, now.detail, began, wall_ms)


def _message(alarm: Alarm, was: Alarm | None) -> Message:
    facts = {"name": alarm.name, "state": alarm.state.value, "detail": alarm.detail}
    if alarm.state is AlarmState.FIRING:
        return Message(f"alarm: {alarm.name}", alarm.detail, Kind.ALARM, alarm.severity, facts=facts)
    since = f" (it fired since {iso(was.since_wall_ms)})" if was is not None else ""
    return Message(f"resolved: {alarm.name}", f"{alarm.detail}{since}", Kind.ALARM, Severity.INFO, facts=facts)


def _read(connection: sa.Connection, account: str) -> list[Alarm]:
    rows = connection.execute(sa.select(table).where(table.c.account == account)).mappings()
    return [
        Alarm(
            row["account"],
            row["name"],
            AlarmState(row["state"]),
            Severity(row["severity"]),
            row["detail"],
            row["since_wall_ms"],
            row["seen_wall_ms"],
        )
        for row in rows
    ]


def _keep(connection: sa.Connection, was: Alarm | None, after: Alarm) -> None:
    values = {
        "state": after.state.value,
        "severity": after.severity.value,
        "detail": after.detail,
        "since_wall_ms": after.since_wall_ms,
        "seen_wall_ms": after.seen_wall_ms,
    }
    if was is None:
        connection.execute(sa.insert(table).values(account=after.account, name=after.name, **values))
    elif was != after:
        connection.execute(sa.update(table).where(*_is(was)).values(values))


def _is(alarm: Alarm) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.account == alarm.account, table.c.name == alarm.name
