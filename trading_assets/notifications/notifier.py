"""Messages to people: one log line each, a row in the outbox, and the channels. No order waits for a message.

A thread of its own writes what is told into the ledger and delivers it; so does whoever lives later. Where the ledger
cannot be written, this process sends by itself what it was told.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 (a messenger may need it, and an ending process cannot import it)
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.foreign_text import get_logger, plain, plain_lines
from trading_assets.core.messages import Message, Severity
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications.channel import Channel, DeliveryError
from trading_assets.notifications.channels import channels_of, with_rules_of_now
from trading_assets.notifications.delivery import deliver, send_within

_log = get_logger(__name__)

QUEUE_LENGTH = 1000
LOOK_EVERY_S = 15.0
"""A living process looks so often for messages that are due again, also those of others."""

END_SEEN_S = 0.5
"""So long after its main thread a process still waits at most before it delivers for the last time."""

ROUND_S = 60.0
"""Longest round of deliveries in the background."""

FLUSH_S = 5.0
"""A process waits so long for its deliveries at its end."""

OWN_SEND_S = 8.0


@dataclass
class _Told:
    """A message in memory.

    Attributes:
        wall_ms: when it was told.
        taken_by: the channels that have it, past the ledger.
        may_be_kept: writing it was tried, and may have come through although it failed.
    """

    message: Message
    wall_ms: int
    taken_by: set[str] = field(default_factory=set)
    may_be_kept: bool = False

    @property
    def is_new(self) -> bool:
        """Whether neither the ledger nor a channel can have it."""
        return not self.may_be_kept and not self.taken_by


class Notifier:
    """Tells people, from a thread of its own that begins with the first message.

    Args:
        database: opens the ledger when it is first needed; None where there is none.
        max_age_s: a message that was not delivered for so long is given up.
        newest: what holds of both now, by the ledger; None: they stay as they are.
    """

    def __init__(
        self,
        database: Callable[[], Database] | None,
        account: str,
        channels: Sequence[Channel],
        *,
        max_age_s: float,
        newest: Callable[[Database], tuple[Sequence[Channel], float]] | None = None,
        wall_ms: Callable[[], int] = local_ms,
    ) -> None:
        self._database, self._account, self._channels = database, account, tuple(channels)
        self._wall_ms = wall_ms
        self._newest = newest or (lambda _: (self._channels, max_age_s))
        self._queue: deque[_Told] = deque()
        self._sent_from_here: deque[_Told] = deque(maxlen=QUEUE_LENGTH)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asked = self._done = 0
        self._is_closing = False
        self.dropped = 0

    def notify(self, message: Message) -> None:
        """Log a message, and let it be kept and delivered; returns at once. A full queue drops it, and says so."""
        title, body = plain(message.title), plain_lines(message.body)
        _log.info("%s: %s", title, body)
        with self._changed:
            if not message.is_kept:
                if len(self._queue) >= QUEUE_LENGTH:
                    self.dropped += 1
                    _log.warning("notification dropped: %d wait already", QUEUE_LENGTH)
                    return
                kept = replace(message, title=title, body=body, is_kept=True)
                self._queue.append(_Told(kept, self._wall_ms()))
            self._asked += 1
            if self._thread is None or not self._thread.is_alive():
                self._is_closing = False
                # No daemon: a run's process ends when its last op does, and waits for the last deliveries.
                self._thread = threading.Thread(target=self._work, name="notifier", daemon=False)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was told is kept, and was tried once; whether it was, within this time (`FLUSH_S`)."""
        with self._changed:
            if self._thread is None:
                return True
            asked = self._asked
            return self._changed.wait_for(lambda: self._done >= asked, FLUSH_S if timeout_s is None else timeout_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Let what was told be kept and tried, and end the thread; whether that was done within this time (`FLUSH_S`).

        A round that still hangs then is its last. What is told later begins a new thread.
        """
        with self._changed:
            thread = self._thread
            self._is_closing = True
            self._changed.notify_all()
        if thread is None:
            return True
        thread.join(FLUSH_S if timeout_s is None else timeout_s)
        return not thread.is_alive()

    def _work(self) -> None:
        looked = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing or self._asked > self._done, END_SEEN_S)
                asked, has_news = self._asked, self._asked > self._done
                is_end = self._is_closing or not threading.main_thread().is_alive()
            if has_news or is_end or time.monotonic() - looked >= LOOK_EVERY_S:
                self._try_round(FLUSH_S if is_end else ROUND_S)
                looked = time.monotonic()
            with self._changed:
                self._done = asked
                self._changed.notify_all()
                if is_end and self._asked == asked:
                    self._thread = None
                    return

    def _try_round(self, within_s: float) -> None:
        try:
            self._round(within_s)
        except TradingAssetsError as error:
            _log.warning("messages are not delivered now: %s", error)
        except Exception:  # noqa: BLE001 (the thread goes on: the next message may fare better)
            _log.exception("messages are not delivered now")

    def _round(self, within_s: float) -> None:
        ledger = self._keep()
        if ledger is not None and self._channels:
            channels, max_age_s = self._newest(ledger)
            self._channels = tuple(channels)  # their rules hold, too, while the ledger cannot be asked
            deliver(ledger, self._account, channels, max_age_s=max_age_s, within_s=within_s, wall_ms=self._wall_ms)

    def _keep(self) -> Database | None:
        """Write what waits in memory into the outbox. Return the ledger; None where it cannot be used."""
        with self._changed:
            waiting = list(self._queue)
        try:
            if self._database is None:
                raise TradingAssetsError("there is no ledger here")
            ledger = self._database()
            self._write(ledger, waiting)
        except TradingAssetsError as error:
            if waiting:
                _log.warning("%d messages could not be kept, they are sent from here: %s", len(waiting), error)
            if waiting and self._send_from_here(waiting):
                self._sent_from_here.extend(waiting)
                self._take(len(waiting))
            return None
        self._take(len(waiting))
        return ledger

    def _write(self, ledger: Database, waiting: Sequence[_Told]) -> None:
        """Write what waits, and what went past the ledger: no channel gets that from the outbox once more."""
        earlier = [*self._sent_from_here, *(one for one in waiting if not one.is_new)]
        fresh = [one for one in waiting if one.is_new]
        for one in waiting:
            one.may_be_kept = True
        if earlier:
            told = [(one.message, one.wall_ms, one.taken_by) for one in earlier]
            outbox.add_again(ledger, self._account, told, self._wall_ms())
            self._sent_from_here.clear()
        if fresh:
            outbox.add_all(ledger, self._account, [(one.message, one.wall_ms) for one in fresh])

    def _take(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._queue.popleft()

    def _send_from_here(self, waiting: Sequence[_Told]) -> bool:
        """Send past the ledger. Whether every channel has taken every message; else they stay in memory.

        A channel gets only what it has not taken yet, however often another one fails, and by its rule as it was known
        last: what its quiet hours hold back waits in memory.
        """

        until = time.monotonic() + OWN_SEND_S

        def work(channel: Channel) -> None:
            for one in waiting:
                if channel.name in one.taken_by or not _is_wanted(channel, one.message):
                    continue
                if channel.rule.is_quiet(self._wall_ms()) and one.message.severity is not Severity.CRITICAL:
                    continue
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return  # the next round goes on: two at once would send twice
                try:
                    send_within(channel, one.message, left_s)
                except DeliveryError as error:
                    _log.warning("%s did not take %r: %s", channel.name, one.message.title, error)
                    return
                one.taken_by.add(channel.name)

        threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in self._channels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(OWN_SEND_S + 1)
        return bool(self._channels) and all(
            channel.name in one.taken_by or not _is_wanted(channel, one.message)
            for one in waiting
            for channel in self._channels
        )


def _is_wanted(channel: Channel, message: Message) -> bool:
    """Whether the channel's rule lets it have the message at any time."""
    return outbox.MessageFilter(channel.rule.kinds, channel.rule.severities).has(message.kind, message.severity)


def notifier_of(settings: Settings, database: Callable[[], Database] | None) -> Notifier:
    """The notifier of the settings' account."""
    channels = channels_of(settings)
    return Notifier(
        database,
        settings.account,
        channels,
        max_age_s=settings.notify_max_age_s,
        newest=lambda ledger: with_rules_of_now(channels, ledger, settings),
    )


@contextmanager
def notifying(settings: Settings, database: Callable[[], Database] | None) -> Iterator[Notifier]:
    """A notifier for a block. What it was told is kept and tried before the block is left, for seconds at most."""
    notifier = notifier_of(settings, database)
    try:
        yield notifier
    finally:
        notifier.close()
