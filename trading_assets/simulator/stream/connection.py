"""One client's WebSocket: what is waiting to be sent, sending it, and when to give up. No topics, no data."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
"""An ASGI message."""

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

MAX_WAITING = 50_000
MAX_WAITING_CHARS = 16_000_000
"""A client that lets more than one of these pile up is dropped: it does not read."""

CLOSE_S = 10.0
"""What a client has to take its last messages and the close frame."""

_SENT_AT_ONCE = 64
"""Messages sent before others get a turn."""


class Connection:
    """A client. Use it only in the server's event loop.

    Attributes:
        topics: what it is subscribed to.
        held: messages that a fault keeps back until after the next one.
        quiet_s: drop it after so many seconds without a message in either direction.
    """

    def __init__(self, conn_id: str, *, is_private: bool, quiet_s: float, abort: Callable[[], None]) -> None:
        self.conn_id, self.is_private, self.quiet_s = conn_id, is_private, quiet_s
        self.is_authenticated = False
        self.topics: set[str] = set()
        self.held: list[str] = []
        self.is_closed = False
        self._abort = abort
        self._waiting: deque[str] = deque()
        self._chars = 0
        self._wake = asyncio.Event()
        self._ending = False
        self._code, self._reason = 1000, ""
        self._loop = asyncio.get_running_loop()
        self._active_s = self._loop.time()

    def put(self, text: str) -> None:
        """Send `text` after what is waiting already. A client that does not read is dropped."""
        if self.is_closed or self._ending:
            return
        self._waiting.append(text)
        self._chars += len(text)
        self._wake.set()
        if len(self._waiting) > MAX_WAITING or self._chars > MAX_WAITING_CHARS:
            self.drop()

    def release_held(self) -> None:
        """Send what a fault has kept back."""
        held, self.held = self.held, []
        for text in held:
            self.put(text)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something in `delay_s` seconds, unless the connection has gone."""
        self._loop.call_later(delay_s, lambda: None if self.is_closed else action())

    def close(self, code: int, reason: str = "") -> None:
        """Send what is waiting, then a close frame; nothing more is accepted. Who does not take it is dropped."""
        self._ending, self._code, self._reason = True, code, reason
        self._wake.set()
        self.later(CLOSE_S, self.drop)

    def drop(self) -> None:
        """Cut the line without a word; what is waiting is forgotten."""
        self.is_closed = True
        self._waiting.clear()
        self._chars = 0
        self._abort()

    async def run(self, receive: Receive, send: Send, handle: Callable[[str], None]) -> None:
        """Serve until either side ends; `handle` is called with every text received."""
        writer = asyncio.create_task(self._write(send))
        reader = asyncio.create_task(self._read(receive, handle))
        self._watch = self._loop.call_later(self.quiet_s, self._check_quiet)
        try:
            done, _ = await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.is_closed = True
            self._watch.cancel()
            writer.cancel()
            reader.cancel()
            self._waiting.clear()
            await asyncio.gather(writer, reader, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        try:
            while True:
                sent = 0
                while self._waiting and sent < _SENT_AT_ONCE:
                    sent += 1
                    text = self._waiting.popleft()
                    self._chars -= len(text)
                    await send({"type": "websocket.send", "text": text})
                if sent:
                    self._active_s = self._loop.time()
                if self._waiting:
                    await asyncio.sleep(0)
                elif self._ending:
                    await send({"type": "websocket.close", "code": self._code, "reason": self._reason})
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except OSError:  # the client has gone
            return

    async def _read(self, receive: Receive, handle: Callable[[str], None]) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            self._active_s = self._loop.time()
            text = message.get("text")
            handle(text if text is not None else message["bytes"].decode(errors="replace"))

    def _check_quiet(self) -> None:
        left = self._active_s + self.quiet_s - self._loop.time()
        if left <= 0:
            self.close(1000, "no ping and no data")
        else:
            self._watch = self._loop.call_later(left, self._check_quiet)


Outgoing = Callable[[str, str, Connection], None]
"""Called with (text, topic, connection); an answer has no topic."""
