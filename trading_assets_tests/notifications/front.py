"""What stands before a messenger on loopback: it takes requests, or passes them on, or fails, refuses and hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from trading_assets_tests.notifications.servers import HANG

_OF_ONE_HOP = ("host", "connection", "content-length", "transfer-encoding", "content-encoding", "accept-encoding")


@dataclass
class Front:
    """What it has passed on or taken: bodies, and headers in lower case.

    Attributes:
        upstream: URL of the messenger behind it; empty: it is the messenger itself, and says ok.
        answer: an HTTP status, or `HANG`: no answer until `release`, and nothing is done.
        asks_for: the header Retry-After of an answer that is no 200.
        wants: its body, instead of one as of Telegram.
    """

    upstream: str = ""
    port: int = 0
    answer: Any = 200
    asks_for: str | None = None
    wants: bytes = b""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    tried: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def front_of(upstream: str = "") -> Iterator[Front]:
    found = Front(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.tried += 1
            if found.answer == HANG:
                found.release.wait(120)
                return
            if found.answer != 200:
                refusal = b'{"ok": false, "error_code": %d, "description": "on demand"}' % found.answer
                self.say(found.answer, found.wants or refusal, found.asks_for)
                return
            found.bodies.append(body)
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            if not found.upstream:
                self.say(200, b"ok")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
            answer = requests.post(f"{found.upstream}{self.path}", data=body, headers=headers, timeout=60)
            self.say(answer.status_code, answer.content)

        def say(self, status: int, body: bytes, asks_for: str | None = None) -> None:
            self.send_response(status)
            if asks_for is not None:
                self.send_header("Retry-After", asks_for)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        found.release.set()
        server.shutdown()
        server.server_close()
