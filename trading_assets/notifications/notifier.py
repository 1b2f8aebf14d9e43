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
from dataclasses import dataclass, field

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.foreign_text import get_logger, plain, plain_lines
from trading_assets.core.messages import Message
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications.channels import Channel, DeliveryError, channels_of
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


@dataclass(frozen=True)
class _Told:
    """A message in memory, when it was told, and the channels that it was sent to past the ledger."""

    message: Message
    wall_ms: int
    taken_by: set[str] = field(default_factory=set)


class Notifier:
    """Tells people, from a thread of its own that begins with the first message.

    Args:
        database: opens the ledger when it is first needed; None where there is none.
        max_age_s: a message that was not delivered for so long is given up.
    """

    def __init__(
        self,
        database: Callable[[], Database] | None,
        account: str,
        channels: Sequence[Channel],
        *,
        max_age_s: float,
        wall_ms: Callable[[], int] = local_ms,
    ) -> None:
        self._database, self._account, self._channels = database, account, tuple(channels)
        self._max_age_s, self._wall_ms = max_age_s, wall_ms
        self._queue: deque[_Told] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asked = self._done = 0
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
                kept = Message(title, body, message.kind, message.severity, is_kept=True)
                self._queue.append(_Told(kept, self._wall_ms()))
            self._asked += 1
            if self._thread is None or not self._thread.is_alive():
                # No daemon: a run's process ends when its last op does, and waits for the last deliveries.
                self._thread = threading.Thread(target=self._work, name="notifier", daemon=False)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until all that was told is kept, and was tried once; whether it was, within this time."""
        with self._changed:
            if self._thread is None:
                return True
            asked = self._asked
            return self._changed.wait_for(lambda: self._done >= asked, timeout_s)

    def _work(self) -> None:
        looked = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._done, END_SEEN_S)
                asked, has_news = self._asked, self._asked > self._done
            is_end = not threading.main_thread().is_alive()
            if has_news or is_end or time.monotonic() - looked >= LOOK_EVERY_S:
                self._try_round(FLUSH_S if is_end else ROUND_S)
                looked = time.monotonic()
            with self._changed:
                self._done = asked
                self._changed.notify_all()
            if is_end:
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
            deliver(
                ledger,
                self._account,
                self._channels,
                max_age_s=self._max_age_s,
                within_s=within_s,
                wall_ms=self._wall_ms,
            )

    def _keep(self) -> Database | None:
        """Write what waits in memory into the outbox. Return the ledger; None where it cannot be used."""
        with self._changed:
            waiting = list(self._queue)
        try:
            if self._database is None:
                raise TradingAssetsError("there is no ledger here")
            ledger = self._database()
            if waiting:
                outbox.add_all(ledger, self._account, [(one.message, one.wall_ms) for one in waiting])
        except TradingAssetsError as error:
            if waiting:
                _log.warning("%d messages could not be kept, they are sent from here: %s", len(waiting), error)
            if waiting and self._send_from_here(waiting):
                self._take(len(waiting))
            return None
        self._take(len(waiting))
        return ledger

    def _take(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._queue.popleft()

    def _send_from_here(self, waiting: Sequence[_Told]) -> bool:
        """Send past the ledger. Whether every channel has taken every message; else they stay in memory.

        A channel gets only what it has not taken yet, however often another one fails.
        """

        until = time.monotonic() + OWN_SEND_S

        def work(channel: Channel) -> None:
            for one in waiting:
                if channel.name in one.taken_by:
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
        names = {channel.name for channel in self._channels}
        return bool(names) and all(names <= one.taken_by for one in waiting)


def notifier_of(settings: Settings, database: Callable[[], Database] | None) -> Notifier:
    """The notifier of the settings' account."""
    return Notifier(database, settings.account, channels_of(settings), max_age_s=settings.notify_max_age_s)


@contextmanager
def notifying(settings: Settings, database: Callable[[], Database] | None) -> Iterator[Notifier]:
    """A notifier for a block. What it was told is kept and tried before the block is left, for seconds at most."""
    notifier = notifier_of(settings, database)
    try:
        yield notifier
    finally:
        notifier.flush()
