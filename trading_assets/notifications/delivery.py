"""Delivers what the outbox has: at least once, in order on each channel, by one process at a time.

Whoever lives delivers: a session, a job at its end, a command, the daemon's sensor. A lease for each channel keeps them
apart. A message that fails is tried again after a growing rest, and holds those behind it back. It is given up when it
is too old, or when it fails again and again while the one behind it arrives.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from trading_assets.core.errors import LeaseLostError, TradingAssetsError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.timeframes import iso, local_ms
from trading_assets.ledger import leases, outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.outbox import Delivery
from trading_assets.notifications.channel import Channel, DeliveryError

_log = get_logger(__name__)

SEND_WITHIN_S = 20.0
"""A messenger that has not answered by then has failed; what it does later is not waited for."""

LEASE_MS = 60_000
"""Others wait this long for a process that died while it sent."""

FIRST_REST_S = 2.0
"""After a failure; twice as long after each further one, up to the outbox's longest."""

FAILING_FROM = 5
"""So many failures in a row are told on the other channels, and let the next message have a try."""

LATE_MS = 120_000
"""A message says when it was written where it comes later than this."""

SIGNAL_MAX_AGE_MS = 15 * 60_000
"""A new signal that comes later is no news: it is given up."""

GROUP_MOST = 25
"""Most messages of one text."""

_MINUTE_MS = 60_000
_LONGEST_LINE = 300

_hanging: dict[str, _Sending] = {}

_groups: dict[tuple[str, str], list[int]] = {}
"""By ledger and channel the messages of a text that was not taken, as far as is known: it is tried again as it was."""

_unmarked: set[tuple[str, str, int, int]] = set()
"""What a channel has taken and the ledger could not be told yet: ledger, channel, number and time of the message."""


@dataclass
class _Sending:
    """A message on its way to a channel, in a thread of its own; `outcome` has its end, None where it was taken."""

    message: Message
    thread: threading.Thread
    outcome: list[DeliveryError | None]

    def has_taken(self, message: Message) -> bool:
        """Whether the channel took this message after its deadline. A message that comes late has a line more."""
        same = message.title == self.message.title and message.body.startswith(self.message.body)
        return same and self.outcome == [None]


class Outcome(Enum):
    """Of a try."""

    TAKEN = "taken"
    FAILED = "failed"
    """It is tried again."""
    REFUSED = "refused"
    """The channel would never take this message; it is given up."""


@dataclass
class Round:
    """What became of one round: messages delivered, tries that failed, messages given up."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0

    def add(self, other: Round) -> None:
        """Count another round in."""
        self.delivered += other.delivered
        self.failed += other.failed
        self.given_up += other.given_up


def deliver(
    database: Database,
    account: str,
    channels: Sequence[Channel],
    *,
    max_age_s: float,
    within_s: float,
    wall_ms: Callable[[], int] = local_ms,
) -> Round:
    """Send what is due on every channel, side by side. A channel that hangs keeps no other one.

    Args:
        within_s: nothing more is begun after this time; a message that is being sent then is not waited for.

    Raises:
        StorageError: the ledger cannot be read or written.
    """
    until = time.monotonic() + within_s
    found, errors, lock = Round(), list[TradingAssetsError](), threading.Lock()
    busy = [
        one
        for one in channels
        if outbox.has_work(database, account, one.name, wall_ms=wall_ms(), severities=_now_wanted(one, wall_ms()))
    ]

    def work(channel: Channel) -> None:
        try:
            others = any(one.name != channel.name for one in channels)
            part = _ChannelRound(database, account, channel, max_age_s, until, wall_ms, others).run()
            with lock:
                found.add(part)
        except TradingAssetsError as error:
            with lock:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(one,), name=f"deliver-{one.name}", daemon=True) for one in busy]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))
    with lock:
        if errors:
            raise errors[0]
        return replace(found)


def send_within(channel: Channel, message: Message, within_s: float = SEND_WITHIN_S) -> None:
    """Send a message, and wait no longer than this. What was taken after that time is not sent a second time.

    Raises:
        DeliveryError: it was not taken in time, or refused.
    """
    before = _hanging.get(channel.name)
    if before is not None and before.thread.is_alive():
        raise DeliveryError("the message before it still hangs in this process")
    _hanging.pop(channel.name, None)
    if before is not None and before.has_taken(message):
        return
    outcome: list[DeliveryError | None] = []

    def work() -> None:
        try:
            channel.send(message)
            outcome.append(None)
        except DeliveryError as error:
            outcome.append(error)
        except Exception as error:  # noqa: BLE001 (a channel's fault ends its own message)
            outcome.append(DeliveryError(f"fault of the channel: {type(error).__name__}"))

    thread = threading.Thread(target=work, name=f"send-{channel.name}", daemon=True)
    thread.start()
    thread.join(within_s)
    if not outcome:
        _hanging[channel.name] = _Sending(message, thread, outcome)
        raise DeliveryError(f"no answer within {within_s:g} s")
    if outcome[0] is not None:
        raise outcome[0]


def send_to_each(channels: Sequence[Channel], message: Message) -> dict[str, str]:
    """Send a message past the outbox, side by side. Return by channel why it was not taken; empty where it was."""
    found = {channel.name: f"no answer within {SEND_WITHIN_S:g} s" for channel in channels}

    def work(channel: Channel) -> None:
        try:
            send_within(channel, message)
            found[channel.name] = ""
        except DeliveryError as error:
            found[channel.name] = str(error)

    threads = [threading.Thread(target=work, args=(channel,), daemon=True) for channel in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SEND_WITHIN_S + 1)
    return found


@dataclass
class _ChannelRound:
    """One channel's round, under its lease."""

    database: Database
    account: str
    channel: Channel
    max_age_s: float
    until: float
    wall_ms: Callable[[], int]
    has_others: bool

    def run(self) -> Round:
        """Send until nothing is due, the time is over, or the channel fails. Nothing where another process does."""
        found = Round()
        name = f"notify:{self.account}:{self.channel.name}"
        lease = leases.acquire(self.database, name, leases.this_holder(), ttl_ms=LEASE_MS, wall_ms=self.wall_ms())
        if lease is None:
            return found
        try:
            rule = self.channel.rule
            wanted = outbox.MessageFilter(rule.kinds, rule.severities)
            outbox.enqueue(self.database, self.account, self.channel.name, wall_ms=self.wall_ms(), wanted=wanted)
            found.given_up += self._expire(lease)
            while time.monotonic() < self.until:
                batch = self._next()
                if not batch or not batch[0].is_due(self.wall_ms()):
                    break
                lease = leases.renew(self.database, lease, ttl_ms=LEASE_MS, wall_ms=self.wall_ms())
                if self._send(batch, lease, found) is Outcome.FAILED and not self._pass_by(batch[0], lease, found):
                    break
        except LeaseLostError:
            pass  # this process was away for long: who has it now goes on
        finally:
            leases.release(self.database, lease)
        return found

    def _next(self) -> list[Delivery]:
        """What goes out next as one text; nothing while the channel has had its share, or waits for the morning."""
        now_ms, rule = self.wall_ms(), self.channel.rule
        most = max(GROUP_MOST if rule.group_from else 1, 1)
        severities = _now_wanted(self.channel, now_ms)
        waiting = outbox.waiting(self.database, self.account, self.channel.name, limit=most, severities=severities)
        if not waiting or waiting[0].message.severity is Severity.CRITICAL:
            return waiting[:1]
        past = outbox.delivered_since(self.database, self.account, self.channel.name, now_ms - _MINUTE_MS)
        if len([one for one in past if one <= now_ms]) >= rule.per_minute:
            critical = outbox.next_waiting(
                self.database, self.account, self.channel.name, severities=(Severity.CRITICAL,)
            )
            return [critical] if critical is not None else []
        before = _groups.get((str(self.database.url), self.channel.name), [])
        if waiting[0].attempts and waiting[0].message_id in before and waiting[0].attempts < FAILING_FROM:
            return [one for one in waiting if one.message_id in before]
        group = list(itertools.takewhile(_may_be_grouped, waiting))
        return group if rule.group_from and len(group) >= max(rule.group_from, 2) else waiting[:1]

    def _send(self, batch: list[Delivery], lease: Lease, found: Round) -> Outcome:
        """Send messages as one text and mark them."""
        keys = [(str(self.database.url), self.channel.name, one.message_id, one.written_wall_ms) for one in batch]
        if not _unmarked.issuperset(keys):
            try:
                if len(batch) == 1 and self._is_no_news(batch[0]):
                    raise DeliveryError("a new signal is no news any more", is_final=True)
                send_within(self.channel, self._dated(batch[0]) if len(batch) == 1 else self._grouped(batch))
            except DeliveryError as error:
                if len(batch) > 1 and error.is_final:
                    # One of them may be the reason: each for itself.
                    ends = (self._send([one], lease, found) for one in batch)
                    return Outcome.FAILED if Outcome.FAILED in ends else Outcome.TAKEN
                _groups[keys[0][:2]] = [one.message_id for one in batch]
                found.failed += 1
                self._mark_failed(batch[0], lease, error, found)
                return Outcome.REFUSED if error.is_final else Outcome.FAILED
            _unmarked.update(keys)
        with self.database.write() as connection:
            now_ms = self.wall_ms()
            leases.guard(connection, lease, wall_ms=now_ms)
            for one in batch:
                outbox.mark_delivered(connection, one, now_ms)
        _unmarked.difference_update(keys)
        found.delivered += len(batch)
        return Outcome.TAKEN

    def _is_no_news(self, delivery: Delivery) -> bool:
        is_late = self.wall_ms() - delivery.queued_wall_ms > SIGNAL_MAX_AGE_MS
        return delivery.message.kind is Kind.SIGNAL and is_late

    def _grouped(self, batch: list[Delivery]) -> Message:
        """Several messages as one, a line each with the time of its writing; the same again in another try."""
        lines = []
        for one in batch:
            told = self._rendered(one)
            line = f"• {iso(one.written_wall_ms)[11:16]} {told.title}: {told.body}"
            lines.append(line.replace("\n", "; ")[:_LONGEST_LINE])
        severity = max((one.message.severity for one in batch), key=list(Severity).index)
        return Message(f"{len(batch)} messages", "\n".join(lines), batch[0].message.kind, severity, is_kept=True)

    def _mark_failed(self, delivery: Delivery, lease: Lease, error: DeliveryError, found: Round) -> None:
        tries = delivery.attempts + 1
        rest_s = error.retry_after_s or FIRST_REST_S * 2 ** min(tries - 1, 20)
        rest_ms = min(int(rest_s * 1000), outbox.LONGEST_REST_MS)
        _log.warning("message %d was not taken by %s, try %d: %s", delivery.message_id, self.channel.name, tries, error)
        with self.database.write() as connection:
            now_ms = self.wall_ms()
            leases.guard(connection, lease, wall_ms=now_ms)
            if error.is_final:
                found.given_up += 1
                outbox.give_up(connection, delivery, str(error), now_ms)
            else:
                outbox.mark_failed(connection, delivery, str(error), now_ms + rest_ms)
            is_news = delivery.message.kind is not Kind.SIGNAL
            if self.has_others and ((error.is_final and is_news) or tries == FAILING_FROM):
                text = f"{tries} tries of message {delivery.message_id} failed: {error}. Mend it, it gets nothing"
                told = Message(f"channel {self.channel.name} fails", text, Kind.SYSTEM, Severity.WARNING)
                outbox.add(connection, self.account, told, time_ms=now_ms, wall_ms=now_ms)

    def _pass_by(self, head: Delivery, lease: Lease, found: Round) -> bool:
        """Let those behind have a try where the first fails again and again: it may be the message's own fault.

        Return whether one was taken: the first is given up then. One that is refused for good says nothing of it.
        """
        if head.attempts + 1 < FAILING_FROM:
            return False
        after, outcome = head.message_id, Outcome.REFUSED
        while outcome is Outcome.REFUSED:
            severities = _now_wanted(self.channel, self.wall_ms())
            following = outbox.next_waiting(
                self.database, self.account, self.channel.name, after=after, severities=severities
            )
            if following is None or not following.is_due(self.wall_ms()) or time.monotonic() >= self.until:
                return False
            after, outcome = following.message_id, self._send([following], lease, found)
        if outcome is Outcome.FAILED:
            return False
        found.given_up += 1
        _log.error("message %d is given up on %s: a later one arrives", head.message_id, self.channel.name)
        with self.database.write() as connection:
            leases.guard(connection, lease, wall_ms=self.wall_ms())
            why = f"{head.attempts + 1} tries failed while a later message arrived; the one before: {head.error}"
            outbox.give_up(connection, head, why, self.wall_ms())
        return True

    def _expire(self, lease: Lease) -> int:
        """Give up what has waited for too long."""
        now_ms = self.wall_ms()
        with self.database.write() as connection:
            leases.guard(connection, lease, wall_ms=now_ms)
            count = outbox.expire(
                connection,
                self.account,
                self.channel.name,
                queued_before_ms=now_ms - int(self.max_age_s * 1000),
                why=f"too old after {self.max_age_s:g} s",
                wall_ms=now_ms,
            )
        if count:
            _log.error("%d messages are given up on %s: too old", count, self.channel.name)
        return count

    def _dated(self, delivery: Delivery) -> Message:
        """The message in the user's words, with its time where it comes late."""
        told = self._rendered(delivery)
        if not self._is_late(delivery):
            return told
        body = f"{told.body}\n(written at {iso(delivery.written_wall_ms)}, it comes late)"
        return replace(told, body=body.lstrip("\n"))

    def _rendered(self, delivery: Delivery) -> Message:
        templates = self.channel.templates
        return delivery.message if templates is None else templates.rendered(delivery.message, delivery.time_ms)

    def _is_late(self, delivery: Delivery) -> bool:
        return self.wall_ms() - delivery.written_wall_ms >= LATE_MS


def _may_be_grouped(delivery: Delivery) -> bool:
    """What is critical, has a picture or has failed goes out alone."""
    message = delivery.message
    return message.severity is not Severity.CRITICAL and message.picture is None and delivery.attempts == 0


def _now_wanted(channel: Channel, wall_ms: int) -> frozenset[Severity]:
    """In quiet hours only what is critical goes out; the rest waits."""
    return frozenset({Severity.CRITICAL} if channel.rule.is_quiet(wall_ms) else Severity)
