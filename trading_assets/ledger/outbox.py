"""The outbox: messages to people, and what became of each on each channel. No sending.

A message is written in the transaction of what it tells, or right after it. Each channel has its own row of each
message, so one that fails delays and doubles nothing on the others. Rows are handed out in the order of writing. Times
are UTC ms of the local clock unless a name says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from trading_assets.core.errors import DataError
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import outbox_channels as channels
from trading_assets.ledger.tables import outbox_deliveries as deliveries
from trading_assets.ledger.tables import outbox_messages as messages

NEW_CHANNEL_BACK_MS = 10 * 60_000
"""A channel that is new gets the messages of this time before it."""


LONGEST_REST_MS = 300_000
"""Between two tries of a message, whatever a channel asks for."""


class State(StrEnum):
    """Of a message on a channel."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given up"
    LEFT_OUT = "left out"
    """The channel is not to have it: of its kind or severity."""


@dataclass(frozen=True)
class Delivery:
    """A message on its way to a channel.

    Attributes:
        attempts: how often it was tried.
        due_wall_ms: it is not tried again before.
        queued_wall_ms: since when it waits; its age counts from here.
        error: of the last try; no secrets.
    """

    message_id: int
    channel: str
    message: Message
    time_ms: int
    written_wall_ms: int
    attempts: int
    due_wall_ms: int
    queued_wall_ms: int
    error: str | None

    def is_due(self, wall_ms: int) -> bool:
        """Whether it may be tried. A rest that is longer than any is that of a clock that was put back since."""
        return self.due_wall_ms <= wall_ms or self.due_wall_ms > wall_ms + LONGEST_REST_MS


@dataclass(frozen=True)
class Backlog:
    """How a channel stands.

    Attributes:
        waiting: messages that are not delivered yet; `attempts` and `error` are of the oldest of them.
        given_up: messages that were given up since the time asked for; `why` is of the newest of them.
        newest_given_up: its number.
    """

    waiting: int = 0
    since_wall_ms: int | None = None
    attempts: int = 0
    error: str | None = None
    given_up: int = 0
    newest_given_up: int | None = None
    why: str | None = None


@dataclass(frozen=True)
class Kept:
    """A message as the outbox has it, with the state, tries and last error on each channel."""

    message_id: int
    message: Message
    time_ms: int
    written_wall_ms: int
    channels: dict[str, tuple[State, int, str | None]]


@dataclass(frozen=True)
class MessageFilter:
    """Which messages a channel is to have. Kinds: None means every one; a test always is."""

    kinds: frozenset[Kind] | None = None
    severities: frozenset[Severity] = frozenset(Severity)

    def has(self, kind: Kind, severity: Severity) -> bool:
        """Whether a message of this kind and severity is to be sent."""
        if kind is Kind.TEST:
            return True
        return severity in self.severities and (self.kinds is None or kind in self.kinds)


EVERYTHING = MessageFilter()


def add(connection: sa.Connection, account: str, message: Message, *, time_ms: int, wall_ms: int) -> int | None:
    """Keep a message, in the transaction of what it tells. Return its number; None where its key is known already.

    Args:
        time_ms: of what it tells, by the venue's clock where the venue tells it.
    """
    return next(iter(add_each(connection, account, [(message, time_ms)], wall_ms=wall_ms)), None)


def add_each(
    connection: sa.Connection, account: str, told: Sequence[tuple[Message, int]], *, wall_ms: int
) -> list[int]:
    """Keep messages, each with the time of what it tells, in one statement. Return the numbers of the new ones."""
    if not told:
        return []
    rows = [
        {
            "account": account,
            "kind": message.kind.value,
            "severity": message.severity.value,
            "title": message.title,
            "body": message.body,
            "time_ms": time_ms,
            "written_wall_ms": wall_ms,
            "facts": json.dumps(dict(message.facts)) if message.facts else None,
            "picture": message.picture,
            "key": message.key or None,
        }
        for message, time_ms in told
    ]
    insert: postgresql.Insert | sqlite.Insert
    insert = postgresql.insert(messages) if connection.dialect.name == "postgresql" else sqlite.insert(messages)
    statement = insert.values(rows).on_conflict_do_nothing(index_elements=[messages.c.account, messages.c.key])
    return list(connection.execute(statement.returning(messages.c.message_id)).scalars())


def is_known(database: Database, account: str, key: str) -> bool:
    """Whether the message of an event was written already."""
    known = sa.select(messages.c.message_id).where(_of(account), messages.c.key == key)
    with database.read() as connection:
        return connection.execute(known).first() is not None


def add_all(database: Database, account: str, told: Sequence[tuple[Message, int]]) -> None:
    """Keep messages, each with its time."""
    with database.write() as connection:
        for message, wall_ms in told:
            add(connection, account, message, time_ms=wall_ms, wall_ms=wall_ms)


def add_sent(database: Database, account: str, message: Message, outcomes: Mapping[str, str], wall_ms: int) -> None:
    """Keep a message that was sent past the outbox, once.

    Args:
        outcomes: by channel why it was not taken; empty where it was.
    """
    with database.write(one_at_a_time=f"outbox of {account}") as connection:
        message_id = add(connection, account, message, time_ms=wall_ms, wall_ms=wall_ms)
        for name, why in sorted(outcomes.items()):
            row = {
                "message_id": message_id,
                "channel": name,
                "state": (State.GIVEN_UP if why else State.DELIVERED).value,
                "attempts": 1,
                "due_wall_ms": 0,
                "queued_wall_ms": wall_ms,
                "ended_wall_ms": wall_ms,
                "error": why or None,
            }
            connection.execute(sa.insert(deliveries).values(**row))


def add_again(
    database: Database, account: str, told: Sequence[tuple[Message, int, Collection[str]]], wall_ms: int
) -> None:
    """Keep messages that may be here already: a write that failed may have come through all the same.

    Args:
        told: each message, its time, and the channels that have it: they do not get it once more.
    """
    with database.write(one_at_a_time=f"outbox of {account}") as connection:
        for message, written_ms, taken_by in told:
            message_id = _same(connection, account, message, written_ms)
            if message_id is None:
                message_id = add(connection, account, message, time_ms=written_ms, wall_ms=written_ms)
            if message_id is None:
                continue  # another process has told of the same event
            ended = {"state": State.DELIVERED.value, "ended_wall_ms": wall_ms}
            fresh = {"attempts": 1, "due_wall_ms": 0, "queued_wall_ms": written_ms}
            for name in sorted(taken_by):
                here = (deliveries.c.message_id == message_id) & (deliveries.c.channel == name)
                if connection.execute(sa.update(deliveries).where(here).values(**ended)).rowcount == 0:
                    row = {"message_id": message_id, "channel": name, **fresh, **ended}
                    connection.execute(sa.insert(deliveries).values(**row))


def has_work(
    database: Database,
    account: str,
    channel: str,
    *,
    wall_ms: int,
    severities: Collection[Severity] = frozenset(Severity),
) -> bool:
    """Whether something of these severities is to be sent to a channel now, or a message has no row of it yet."""
    with database.read() as connection:
        head = _waiting(connection, account, channel, 0, 1, severities)
        if head and head[0].is_due(wall_ms):
            return True
        after = _after(connection, account, channel)
        return connection.execute(_lacking(account, channel, after or 0).limit(1)).first() is not None


def enqueue(
    database: Database, account: str, channel: str, *, wall_ms: int, wanted: MessageFilter = EVERYTHING
) -> None:
    """Give a channel its row of each message that it has none of; one that it is not to have is left out for good."""
    with database.write(one_at_a_time=f"outbox of {account}") as connection:
        after = _after(connection, account, channel)
        if after is None:
            past = _of(account) & (messages.c.written_wall_ms < wall_ms - NEW_CHANNEL_BACK_MS)
            newest_past = sa.select(sa.func.coalesce(sa.func.max(messages.c.message_id), 0)).where(past)
            after = connection.execute(newest_past).scalar_one()
            connection.execute(sa.insert(channels).values(account=account, name=channel, after_message_id=after))
        rows = [
            {
                "message_id": message_id,
                "channel": channel,
                "state": (State.WAITING if has else State.LEFT_OUT).value,
                "attempts": 0,
                "due_wall_ms": 0,
                "queued_wall_ms": min(written, wall_ms),
                "ended_wall_ms": None if has else wall_ms,
            }
            for message_id, written, has in [
                (message_id, written, wanted.has(Kind(kind), Severity(severity)))
                for message_id, written, kind, severity in connection.execute(_lacking(account, channel, after))
            ]
        ]
        if rows:
            connection.execute(sa.insert(deliveries), rows)


def next_waiting(
    database: Database,
    account: str,
    channel: str,
    *,
    after: int = 0,
    severities: Collection[Severity] = frozenset(Severity),
) -> Delivery | None:
    """Return the oldest message that a channel waits for, of those after the one with this number."""
    return next(iter(waiting(database, account, channel, after=after, severities=severities, limit=1)), None)


def waiting(
    database: Database,
    account: str,
    channel: str,
    *,
    limit: int,
    after: int = 0,
    severities: Collection[Severity] = frozenset(Severity),
) -> list[Delivery]:
    """Return the oldest messages that a channel waits for, of these severities, after the one with this number."""
    with database.read() as connection:
        return _waiting(connection, account, channel, after, limit, severities)


def delivered_since(database: Database, account: str, channel: str, wall_ms: int) -> list[int]:
    """Return when each message of the time since was delivered on a channel, UTC ms; those of one text count once."""
    ended = deliveries.c.ended_wall_ms
    statement = (
        sa.select(ended)
        .join(messages, messages.c.message_id == deliveries.c.message_id)
        .where(
            _of(account),
            deliveries.c.channel == channel,
            deliveries.c.state == State.DELIVERED.value,
            ended >= wall_ms,
        )
        .distinct()
        .order_by(ended)
    )
    with database.read() as connection:
        return list(connection.execute(statement).scalars())


def mark_delivered(connection: sa.Connection, delivery: Delivery, wall_ms: int) -> None:
    """A channel has taken a message."""
    _end(connection, delivery, State.DELIVERED, wall_ms, delivery.error)


def give_up(connection: sa.Connection, delivery: Delivery, why: str, wall_ms: int) -> None:
    """Try a message no more on a channel."""
    _end(connection, delivery, State.GIVEN_UP, wall_ms, why)


def expire(
    connection: sa.Connection, account: str, channel: str, *, queued_before_ms: int, why: str, wall_ms: int
) -> int:
    """Give up what has waited for a channel since before a time. Return how many messages that were."""
    ours = sa.select(messages.c.message_id).where(_of(account))
    late = sa.update(deliveries).where(
        deliveries.c.channel == channel,
        deliveries.c.state == State.WAITING.value,
        deliveries.c.queued_wall_ms < queued_before_ms,
        deliveries.c.message_id.in_(ours),
    )
    error = sa.func.coalesce(sa.literal(f"{why}; the last try: ") + deliveries.c.error, why)
    return connection.execute(late.values(state=State.GIVEN_UP.value, ended_wall_ms=wall_ms, error=error)).rowcount


def mark_failed(connection: sa.Connection, delivery: Delivery, why: str, due_wall_ms: int) -> None:
    """A try has failed; the next one follows at `due_wall_ms`."""
    connection.execute(
        sa.update(deliveries)
        .where(_is(delivery))
        .values(attempts=deliveries.c.attempts + 1, due_wall_ms=due_wall_ms, error=why)
    )


def resend(database: Database, account: str, message_id: int, names: Iterable[str], wall_ms: int) -> None:
    """Let these channels have a message again, whatever became of it; its age counts anew.

    Raises:
        DataError: the account has no such message.
    """
    with database.write(one_at_a_time=f"outbox of {account}") as connection:
        known = sa.select(messages.c.message_id).where(_of(account), messages.c.message_id == message_id)
        if connection.execute(known).first() is None:
            raise DataError(
                f"account {account!r} has no message {message_id}; expected a number of trading-assets notify list"
            )
        fresh = {
            "state": State.WAITING.value,
            "attempts": 0,
            "due_wall_ms": wall_ms,
            "queued_wall_ms": wall_ms,
            "ended_wall_ms": None,
            "error": None,
        }
        for name in names:
            here = (deliveries.c.message_id == message_id) & (deliveries.c.channel == name)
            if connection.execute(sa.update(deliveries).where(here).values(**fresh)).rowcount == 0:
                connection.execute(sa.insert(deliveries).values(message_id=message_id, channel=name, **fresh))


def backlog(database: Database, account: str, channel: str, *, since_wall_ms: int) -> Backlog:
    """Return how a channel stands; what was given up counts from `since_wall_ms` on."""
    here = (deliveries.c.channel == channel) & (deliveries.c.message_id == messages.c.message_id) & _of(account)
    waiting = sa.select(sa.func.count()).where(here, deliveries.c.state == State.WAITING.value)
    lost = sa.and_(
        here,
        deliveries.c.state == State.GIVEN_UP.value,
        deliveries.c.ended_wall_ms >= since_wall_ms,
        messages.c.kind != Kind.TEST.value,
    )
    newest = (
        sa.select(deliveries.c.message_id, deliveries.c.error)
        .where(lost)
        .order_by(deliveries.c.ended_wall_ms.desc(), deliveries.c.message_id.desc())
        .limit(1)
    )
    with database.read() as connection:
        head = _head(connection, account, channel)
        last = connection.execute(newest).one_or_none()
        return Backlog(
            waiting=connection.execute(waiting).scalar_one(),
            since_wall_ms=head.queued_wall_ms if head is not None else None,
            attempts=head.attempts if head is not None else 0,
            error=head.error if head is not None else None,
            given_up=connection.execute(sa.select(sa.func.count()).where(lost)).scalar_one(),
            newest_given_up=last[0] if last is not None else None,
            why=last[1] if last is not None else None,
        )


def newest(database: Database, account: str, limit: int, *, state: State | None = None) -> list[Kept]:
    """Return the account's newest messages, the newest first; with `state` those in it on some channel."""
    wanted = sa.select(messages).where(_of(account)).order_by(messages.c.message_id.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(
            sa.exists().where(deliveries.c.message_id == messages.c.message_id, deliveries.c.state == state.value)
        )
    with database.read() as connection:
        rows = connection.execute(wanted).mappings().all()
        of_these = sa.select(deliveries).where(deliveries.c.message_id.in_([row["message_id"] for row in rows]))
        found: dict[int, dict[str, tuple[State, int, str | None]]] = {}
        for one in connection.execute(of_these.order_by(deliveries.c.channel)).mappings():
            here = found.setdefault(one["message_id"], {})
            here[one["channel"]] = (State(one["state"]), one["attempts"], one["error"])
    return [
        Kept(
            row["message_id"],
            _message(row),
            row["time_ms"],
            row["written_wall_ms"],
            found.get(row["message_id"], {}),
        )
        for row in rows
    ]


def delete_before(database: Database, wall_ms: int, *, dry_run: bool = False) -> int:
    """Delete the messages that were written before, with what became of them. Return how many."""
    old = messages.c.written_wall_ms < wall_ms
    if dry_run:
        with database.read() as connection:
            return connection.execute(sa.select(sa.func.count()).where(old)).scalar_one()
    with database.write() as connection:
        ids = sa.select(messages.c.message_id).where(old)
        connection.execute(sa.delete(deliveries).where(deliveries.c.message_id.in_(ids)))
        return connection.execute(sa.delete(messages).where(old)).rowcount


def _of(account: str) -> sa.ColumnElement[bool]:
    return messages.c.account == account


def _same(connection: sa.Connection, account: str, message: Message, written_ms: int) -> int | None:
    """The number of a message that was written at this time with this text."""
    same = sa.select(messages.c.message_id).where(
        _of(account),
        messages.c.written_wall_ms == written_ms,
        messages.c.title == message.title,
        messages.c.body == message.body,
    )
    return connection.execute(same.limit(1)).scalar_one_or_none()


def _is(delivery: Delivery) -> sa.ColumnElement[bool]:
    return (deliveries.c.message_id == delivery.message_id) & (deliveries.c.channel == delivery.channel)


def _after(connection: sa.Connection, account: str, channel: str) -> int | None:
    """After which message a channel gets them; None where it is new."""
    known = sa.select(channels.c.after_message_id).where(channels.c.account == account, channels.c.name == channel)
    return connection.execute(known).scalar_one_or_none()


def _lacking(account: str, channel: str, after: int) -> sa.Select[Any]:
    """Messages that the channel has no row of. Not those after its newest: what commits late has a smaller number."""
    has_row = sa.exists().where(deliveries.c.message_id == messages.c.message_id, deliveries.c.channel == channel)
    return (
        sa.select(messages.c.message_id, messages.c.written_wall_ms, messages.c.kind, messages.c.severity)
        .where(_of(account), messages.c.message_id > after, ~has_row)
        .order_by(messages.c.message_id)
    )


def _head(connection: sa.Connection, account: str, channel: str) -> Delivery | None:
    return next(iter(_waiting(connection, account, channel, 0, 1, frozenset(Severity))), None)


def _waiting(
    connection: sa.Connection, account: str, channel: str, after: int, limit: int, severities: Collection[Severity]
) -> list[Delivery]:
    statement = (
        sa.select(deliveries, *(column for column in messages.c if column is not messages.c.message_id))
        .join(messages, messages.c.message_id == deliveries.c.message_id)
        .where(
            deliveries.c.channel == channel,
            deliveries.c.state == State.WAITING.value,
            deliveries.c.message_id > after,
            _of(account),
        )
        .order_by(deliveries.c.message_id)
        .limit(limit)
    )
    if len(frozenset(severities)) < len(Severity):
        statement = statement.where(messages.c.severity.in_([one.value for one in severities]))
    return [
        Delivery(
            row["message_id"],
            row["channel"],
            _message(row),
            row["time_ms"],
            row["written_wall_ms"],
            row["attempts"],
            row["due_wall_ms"],
            row["queued_wall_ms"],
            row["error"],
        )
        for row in connection.execute(statement).mappings()
    ]


def _message(row: sa.RowMapping) -> Message:
    return Message(
        row["title"],
        row["body"],
        Kind(row["kind"]),
        Severity(row["severity"]),
        is_kept=True,
        facts=json.loads(row["facts"] or "{}"),
        picture=row["picture"],
        key=row["key"] or "",
    )


def _end(connection: sa.Connection, delivery: Delivery, state: State, wall_ms: int, error: str | None) -> None:
    connection.execute(
        sa.update(deliveries)
        .where(_is(delivery))
        .values(state=state.value, attempts=deliveries.c.attempts + 1, ended_wall_ms=wall_ms, error=error)
    )
