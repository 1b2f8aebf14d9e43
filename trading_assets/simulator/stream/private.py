"""The private topics: who listens to which, and the way from the account's changes to them. Rows are in
`private_rows`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

from trading_assets.core.errors import DataError, StorageError
from trading_assets.simulator.account.state import Batch
from trading_assets.simulator.clock import ClockMode
from trading_assets.simulator.rest.common import LINEAR
from trading_assets.simulator.stream.connection import Connection, Outgoing
from trading_assets.simulator.stream.private_rows import WALLET, messages
from trading_assets.simulator.stream.protocol import DISCONNECTION
from trading_assets.simulator.venue import Venue

SETTLE_S = 0.2
"""How often the account is settled while somebody listens: else a stop would be told at the next request."""


class _News(NamedTuple):
    """Rows of one kind, JSON already."""

    kind: str
    time_ms: int
    rows: str


class PrivateTopics:
    """Listens to the venue only while somebody listens here."""

    def __init__(self, venue: Venue, outgoing: Outgoing) -> None:
        self._venue, self._outgoing = venue, outgoing
        self._members: defaultdict[str, set[Connection]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_listening: Callable[[], None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._news: deque[_News] = deque()
        self._wallet: _News | None = None

    def join(self, connection: Connection, topic: str) -> None:
        self._members[topic].add(connection)
        if topic == DISCONNECTION:
            self._watch(is_connected=True)
        if self._stop_listening is None:
            self._loop = asyncio.get_running_loop()
            self._stop_listening = self._venue.listen(self._hear)
            self._settling = asyncio.create_task(self._settle())

    def leave(self, connection: Connection, topic: str) -> None:
        self._members[topic].discard(connection)
        if not self._members[topic]:
            del self._members[topic]
            if topic == DISCONNECTION:
                self._watch(is_connected=False)
        if not self._members:
            self.stop()

    def _watch(self, *, is_connected: bool) -> None:
        with contextlib.suppress(StorageError, DataError):
            self._venue.transact(lambda now: self._venue.engine.watch_connection(is_connected=is_connected, now_ms=now))

    def stop(self) -> None:
        """Listen to the venue no longer."""
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_S)
            if self._venue.clock.mode is not ClockMode.MANUAL:
                # Whoever asks next is told of a full disk; here nobody asked.
                with contextlib.suppress(StorageError, DataError):
                    self._venue.transact(lambda now: None)

    def _hear(self, batch: Batch) -> None:
        """The venue's listener: in any thread, nobody else inside the venue."""
        told = messages(self._venue, batch)
        with self._lock:
            self._news += [_News(kind, batch.time_ms, rows) for kind, rows in told.items() if kind != WALLET]
            if WALLET in told:
                # The wallet is the one of now, so of several at once only the last has a meaning.
                self._wallet = _News(WALLET, batch.time_ms, told[WALLET])
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._lock:
            news = [*self._news, *([self._wallet] if self._wallet is not None else [])]
            self._news.clear()
            self._wallet = None
        for item in news:
            for topic in (item.kind, f"{item.kind}.{LINEAR}"):
                members = self._members.get(topic)
                if not members:
                    continue
                name = f"{self._venue.engine.state.header.account_id}_{item.time_ms}_{next(self._numbers)}"
                head = f'{{"id":"{name}","topic":"{topic}","creationTime":{item.time_ms}'
                text = f'{head},"data":{item.rows}}}'
                for connection in tuple(members):
                    self._outgoing(text, topic, connection)
