"""Commands by chat in the ledger: how far they were read, who gave each, and what became of it. No decisions.

A command is written in the transaction that goes past it, so none is lost and none is read twice. Times are UTC ms of
the local clock unless a name says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.tables import chat_bots as bots
from trading_assets.ledger.tables import chat_commands as table

LONGEST_ACTOR = 64


class State(StrEnum):
    """Of a command."""

    RECEIVED = "received"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    """Its process ended while it acted: what it did is not known."""


UNFINISHED = (State.RECEIVED, State.STARTED)


@dataclass(frozen=True)
class Command:
    """What somebody wrote, or the button that he pressed.

    Attributes:
        actor: who, in words, as other histories have it.
        text: the command; what a button stands for.
        answers_to: id of the button's press, or of the message, at the messenger.
        sent_wall_ms: when it was written, by the messenger.
    """

    update_id: int
    chat_id: int
    user_id: int
    actor: str
    text: str
    is_button: bool
    answers_to: str
    sent_wall_ms: int
    state: State = State.RECEIVED
    answer: Mapping[str, Any] | None = None
    received_wall_ms: int = 0
    ended_wall_ms: int | None = None


def next_update_id(database: Database, bot: str) -> tuple[int, int] | None:
    """Return what the messenger is to be asked for next, and since when; None before the first command."""
    columns = (bots.c.next_update_id, bots.c.asked_wall_ms)
    with database.read() as connection:
        row = connection.execute(sa.select(*columns).where(bots.c.name == bot)).one_or_none()
    return None if row is None else (row[0], row[1])


def receive(
    database: Database,
    bot: str,
    account: str,
    commands: Sequence[Command],
    next_id: int,
    *,
    lease: Lease,
    wall_ms: int,
) -> list[Command]:
    """Write commands, and go past them, in one transaction. Return those that were new.

    Raises:
        LeaseLostError: another process reads the bot's chats now.
        StorageError: the ledger cannot be written; the messenger will be asked for the same again.
    """
    with database.write() as connection:
        leases.guard(connection, lease, wall_ms=wall_ms)
        new = [
            one
            for one in commands
            if connection.execute(
                _insert(database, table)
                .values(
                    bot=bot,
                    update_id=one.update_id,
                    account=account,
                    chat_id=one.chat_id,
                    user_id=one.user_id,
                    actor=one.actor[:LONGEST_ACTOR],
                    text=one.text,
                    is_button=one.is_button,
                    answers_to=one.answers_to,
                    state=one.state.value,
                    answer=None if one.answer is None else json.dumps(dict(one.answer)),
                    sent_wall_ms=one.sent_wall_ms,
                    received_wall_ms=wall_ms,
                    ended_wall_ms=None if one.state in UNFINISHED else wall_ms,
                )
                .on_conflict_do_nothing(index_elements=[table.c.bot, table.c.update_id])
            ).rowcount
        ]
        values = {"next_update_id": next_id, "asked_wall_ms": wall_ms}
        connection.execute(
            _insert(database, bots)
            .values(name=bot, **values)
            .on_conflict_do_update(index_elements=[bots.c.name], set_=values)
        )
        return new


def start(database: Database, bot: str, update_id: int) -> None:
    """Say that a command is about to act. After a death from here on nobody knows what it did."""
    _set(database, bot, update_id, state=State.STARTED.value)


def end(
    database: Database,
    bot: str,
    update_id: int,
    state: State,
    answer: Mapping[str, Any],
    wall_ms: int,
    *,
    text: str,
) -> None:
    """Say what became of a command, what is to be answered, and how the command is kept: without a code."""
    values = {"state": state.value, "answer": json.dumps(dict(answer)), "ended_wall_ms": wall_ms, "text": text}
    _set(database, bot, update_id, **values)


def answered(database: Database, bot: str, command: Command, wall_ms: int) -> None:
    """Its answer was taken, or will never be. Of its buttons the words are kept, without the codes that they send."""
    answer = dict(command.answer or {})
    answer["buttons"] = [[word, ""] for word, _ in answer.get("buttons", [])]
    _set(database, bot, command.update_id, answered_wall_ms=wall_ms, answer=json.dumps(answer))


def unfinished(database: Database, bot: str) -> list[Command]:
    """Return the commands that were not done yet, in the order of their writing."""
    return _read(database, table.c.bot == bot, table.c.state.in_([one.value for one in UNFINISHED]))


def unanswered(database: Database, bot: str) -> list[Command]:
    """Return the commands whose answers were not taken yet, in the order of their writing."""
    return _read(database, table.c.bot == bot, table.c.answer.is_not(None), table.c.answered_wall_ms.is_(None))


def count_since(database: Database, bot: str, user_id: int, wall_ms: int) -> int:
    """Return how many commands a user has given since a time."""
    mine = (table.c.bot == bot) & (table.c.user_id == user_id) & (table.c.received_wall_ms >= wall_ms)
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()


def count_refused_since(database: Database, bot: str, wall_ms: int) -> int:
    """Return how many commands of all users were refused since a time."""
    refused = (table.c.bot == bot) & (table.c.state == State.REFUSED.value) & (table.c.received_wall_ms >= wall_ms)
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).where(refused)).scalar_one()


def newest(database: Database, account: str, limit: int) -> list[Command]:
    """Return the account's newest commands, the newest first."""
    return _read(database, table.c.account == account, limit=limit)


def delete_before(database: Database, wall_ms: int, *, dry_run: bool = False) -> int:
    """Delete the refused commands from before; those that did something stay for good. Return how many."""
    old = (table.c.ended_wall_ms < wall_ms) & (table.c.state == State.REFUSED.value)
    if dry_run:
        with database.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table).where(old)).scalar_one()
    with database.write() as connection:
        return connection.execute(sa.delete(table).where(old)).rowcount


def _set(database: Database, bot: str, update_id: int, **values: object) -> None:
    this = (table.c.bot == bot) & (table.c.update_id == update_id)
    with database.write() as connection:
        connection.execute(sa.update(table).where(this).values(**values))


def _read(database: Database, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Command]:
    order = table.c.update_id.asc() if limit is None else table.c.received_wall_ms.desc()
    statement = sa.select(table).where(*where).order_by(order).limit(limit)
    with database.read() as connection:
        rows = connection.execute(statement).mappings().all()
    return [
        Command(
            update_id=row["update_id"],
            chat_id=row["chat_id"],
            user_id=row["user_id"],
            actor=row["actor"],
            text=row["text"],
            is_button=row["is_button"],
            answers_to=row["answers_to"] or "",
            sent_wall_ms=row["sent_wall_ms"],
            state=State(row["state"]),
            answer=json.loads(row["answer"]) if row["answer"] else None,
            received_wall_ms=row["received_wall_ms"],
            ended_wall_ms=row["ended_wall_ms"],
        )
        for row in rows
    ]


def _insert(database: Database, into: sa.Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(into) if database.dialect == "postgresql" else sqlite.insert(into)
