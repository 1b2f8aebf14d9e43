"""A raw WebSocket client for the tests: send JSON, receive JSON, every wait bounded."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET

WAIT_S = 60.0
PUBLIC, PRIVATE = "/v5/public/linear", "/v5/private"


class RawClient:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def send(self, **request: Any) -> None:
        self.socket.send(json.dumps(request))

    def receive(self, timeout: float = WAIT_S) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.socket.recv(timeout))
        return message

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer; pushes before it are thrown away."""
        self.send(**request)
        return self.until(lambda message: "topic" not in message)

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            message = self.receive(max(deadline - time.monotonic(), 0.001))
            if wanted(message):
                return message
        raise TimeoutError("the message did not come")

    def push(self, topic: str) -> dict[str, Any]:
        """The next push of a topic."""
        return self.until(lambda message: message.get("topic") == topic)

    def is_silent(self, seconds: float) -> bool:
        try:
            self.receive(seconds)
        except TimeoutError:
            return True
        return False

    def login(self, expires: int | str | None = None, key: str = DEFAULT_API_KEY, **more: Any) -> dict[str, Any]:
        expires = time.time_ns() // 1_000_000 + 60_000 if expires is None else expires
        signature = hmac.new(DEFAULT_API_SECRET.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256)
        return self.ask(op="auth", args=[key, expires, signature.hexdigest()], **more)


@contextmanager
def client(url: str, path: str = PUBLIC) -> Iterator[RawClient]:
    with connect(url.replace("http://", "ws://") + path, proxy=None, compression=None, max_queue=None) as socket:
        yield RawClient(socket)
