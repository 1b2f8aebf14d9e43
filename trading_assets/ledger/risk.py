"""The states and gate events of the risk guard in the ledger. Rows are only added. No decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from trading_assets.core.messages import Message
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import risk_events, risk_states

_GATE, _OPEN = "gate ", "open"
_ENDED = "ended"


class RiskState(StrEnum):
    """What the system may do. Stops work in every state, and an unprotected position is closed in every state."""

    ACTIVE = "ACTIVE"
    """It trades."""
    REDUCING = "REDUCING"
    """No new entries. A waiting signal goes on waiting until it expires."""
    HALTED = "HALTED"
    """Nothing is opened, and waiting signals are rejected: none is executed when trading resumes."""


class Cause(StrEnum):
    """What changed the state: a person, a limit, or a position without its stop."""

    COMMAND = "command"
    DRAWDOWN = "drawdown"
    DAILY_LOSS = "daily loss"
    UNPROTECTED = "unprotected"
    """A position has lost its stop and cannot be given one; it ends by itself."""


@dataclass(frozen=True)
class StateChange:
    """A row of the history. With `until_ms` it ends by itself, and the state before it is in force again."""

    state: RiskState
    cause: Cause
    reason: str
    actor: str
    time_ms: int
    until_ms: int | None = None

    def ended(self, now_ms: int) -> bool:
        return self.until_ms is not None and self.until_ms <= now_ms


NEVER_SET = StateChange(RiskState.ACTIVE, Cause.COMMAND, "never set", "", 0)


def in_force(history: Sequence[StateChange], now_ms: int) -> StateChange:
    """Return the newest change that has not ended. `history` ascends in time."""
    return next((change for change in reversed(history) if not change.ended(now_ms)), NEVER_SET)


def accepted_ms(history: Sequence[StateChange], cause: Cause) -> int:
    """Return when a person last resumed after this limit had halted trading, UTC ms; 0 if never.

    From then on the limit counts anew. A resume after a halt for another reason, or after a halt that had ended by
    itself, accepts nothing.
    """
    accepted, halted = 0, None
    for change in history:
        if change.state is RiskState.ACTIVE:
            if halted is not None and not halted.ended(change.time_ms):
                accepted = change.time_ms
            halted = None
        elif change.cause is cause:
            halted = change
    return accepted


def history(connection: sa.Connection, account: str) -> list[StateChange]:
    """Return every change of an account, ascending."""
    rows = connection.execute(
        sa.select(risk_states).where(risk_states.c.account == account).order_by(risk_states.c.state_id)
    ).mappings()
    return [
        StateChange(
            state=RiskState(row["state"]),
            cause=Cause(row["cause"]),
            reason=row["reason"],
            actor=row["actor"],
            time_ms=row["time_ms"],
            until_ms=row["until_ms"],
        )
        for row in rows
    ]


def entries_allowed(connection: sa.Connection, account: str, now_ms: int) -> bool:
    """Return whether a position may be opened. Asked again inside the transaction that reserves one."""
    return in_force(history(connection, account), now_ms).state is RiskState.ACTIVE


def read_history(database: Database, account: str) -> list[StateChange]:
    """Read `history` in a transaction of its own."""
    with database.read() as connection:
        return history(connection, account)


def change_state(
    database: Database,
    account: str,
    change: StateChange,
    *,
    unless: Callable[[StateChange], bool],
    message: Message | None = None,
    wall_ms: int = 0,
) -> StateChange | None:
    """Add a change, and the message of it, unless `unless` is true of the one in force.

    It waits for reservations in progress. Every later reservation reads the change.

    Return the state in force before; None if nothing was added.
    """
    with database.write(one_at_a_time=f"orders of {account}") as connection:
        held = in_force(history(connection, account), change.time_ms)
        if unless(held):
            return None
        connection.execute(
            sa.insert(risk_states).values(
                account=account,
                state=change.state.value,
                cause=change.cause.value,
                reason=change.reason,
                actor=change.actor,
                until_ms=change.until_ms,
                time_ms=change.time_ms,
            )
        )
        if message is not None:
            outbox.add(connection, account, message, time_ms=change.time_ms, wall_ms=wall_ms)
    return held


def failed_gates(connection: sa.Connection, account: str) -> set[str]:
    """Return the gates of the account whose newest event is a failure."""
    newest = (
        sa.select(sa.func.max(risk_events.c.event_id))
        .where(risk_events.c.account == account, risk_events.c.kind.startswith(_GATE, autoescape=True))
        .group_by(risk_events.c.kind)
    )
    rows = connection.execute(
        sa.select(risk_events.c.kind).where(risk_events.c.event_id.in_(newest), risk_events.c.detail != _OPEN)
    ).scalars()
    return {kind.removeprefix(_GATE) for kind in rows}


def add_gate_event(connection: sa.Connection, account: str, gate: str, found: str | None, time_ms: int) -> None:
    """Record that a gate of the account failed for what was found, or is open again (None)."""
    connection.execute(
        sa.insert(risk_events).values(account=account, kind=_GATE + gate, detail=found or _OPEN, time_ms=time_ms)
    )


def open_episodes(connection: sa.Connection, account: str, prefixes: Sequence[str]) -> set[str]:
    """Return the kinds of episodes, of those that begin with one of these words, that have not ended."""
    newest = (
        sa.select(sa.func.max(risk_events.c.event_id))
        .where(
            risk_events.c.account == account,
            sa.or_(*(risk_events.c.kind.startswith(prefix, autoescape=True) for prefix in prefixes)),
        )
        .group_by(risk_events.c.kind)
    )
    rows = connection.execute(
        sa.select(risk_events.c.kind).where(risk_events.c.event_id.in_(newest), risk_events.c.detail != _ENDED)
    ).scalars()
    return set(rows)


def begin_episode(connection: sa.Connection, account: str, kind: str, detail: str, time_ms: int) -> None:
    """Record that an episode has begun."""
    connection.execute(sa.insert(risk_events).values(account=account, kind=kind, detail=detail, time_ms=time_ms))


def end_episode(connection: sa.Connection, account: str, kind: str, time_ms: int) -> None:
    """Record that an episode has ended."""
    begin_episode(connection, account, kind, _ENDED, time_ms)
