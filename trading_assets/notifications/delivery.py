"""Delivers what the outbox has: at least once, in order on each channel, by one process at a time.

Whoever lives delivers: a session, a job at its end, a command, the daemon's sensor. A lease for each channel keeps them
apart. A message that fails is tried again after a growing rest, and holds those behind it back. It is given up when it
is too old, or when it fails again and again while the one behind it arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trading_assets.core.errors import LeaseLostError, TradingAssetsError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.timeframes import iso, local_ms
from trading_assets.ledger import leases, outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.outbox import Delivery
from trading_assets.notifications.channels import Channel, DeliveryError

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

_hanging: dict[str, threading.Thread] = {}


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
    busy = [one for one in channels if outbox.has_work(database, account, one.name, wall_ms=wall_ms())]

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
    """Send a message, and wait no longer than this.

    Raises:
        DeliveryError: it was not taken in time, or refused.
    """
    before = _hanging.get(channel.name)
    if before is not None and before.is_alive():
        raise DeliveryError("the message before it still hangs in this process")
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
        _hanging[channel.name] = thread
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
            outbox.enqueue(self.database, self.account, self.channel.name, wall_ms=self.wall_ms())
            found.given_up += self._expire(lease)
            while time.monotonic() < self.until:
                head = outbox.next_waiting(self.database, self.account, self.channel.name)
                if head is None or not head.is_due(self.wall_ms()):
                    break
                lease = leases.renew(self.database, lease, ttl_ms=LEASE_MS, wall_ms=self.wall_ms())
                if not self._send(head, lease, found) and not self._pass_by(head, lease, found):
                    break
        except LeaseLostError:
            pass  # this process was away for long: who has it now goes on
        finally:
            leases.release(self.database, lease)
        return found

    def _send(self, delivery: Delivery, lease: Lease, found: Round) -> bool:
        """Send a message and mark it. Whether it was taken, or is given up at once."""
        try:
            send_within(self.channel, self._dated(delivery))
        except DeliveryError as error:
            found.failed += 1
            self._mark_failed(delivery, lease, error, found)
            return error.is_final
        found.delivered += 1
        with self.database.write() as connection:
            leases.guard(connection, lease, wall_ms=self.wall_ms())
            outbox.mark_delivered(connection, delivery, self.wall_ms())
        return True

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
            if self.has_others and (error.is_final or tries == FAILING_FROM):
                text = f"{tries} tries of message {delivery.message_id} failed: {error}. Mend it, it gets nothing"
                told = Message(f"channel {self.channel.name} fails", text, Kind.SYSTEM, Severity.WARNING)
                outbox.add(connection, self.account, told, time_ms=now_ms, wall_ms=now_ms)

    def _pass_by(self, head: Delivery, lease: Lease, found: Round) -> bool:
        """Let the next message have a try where the first fails again and again: it may be the message's own fault.

        Return whether it was.
        """
        if head.attempts + 1 < FAILING_FROM or time.monotonic() >= self.until:
            return False
        following = outbox.next_waiting(self.database, self.account, self.channel.name, after=head.message_id)
        if following is None or not following.is_due(self.wall_ms()):
            return False
        if not self._send(following, lease, found):
            return False
        found.given_up += 1
        _log.error("message %d is given up on %s: the next one arrives", head.message_id, self.channel.name)
        with self.database.write() as connection:
            leases.guard(connection, lease, wall_ms=self.wall_ms())
            why = f"{head.attempts + 1} tries failed while the next message arrived; the one before: {head.error}"
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
        """The message, with its time where it comes late."""
        if self.wall_ms() - delivery.written_wall_ms < LATE_MS:
            return delivery.message
        body = f"{delivery.message.body}\n(written at {iso(delivery.written_wall_ms)}, it comes late)"
        return replace(delivery.message, body=body.lstrip("\n"))
