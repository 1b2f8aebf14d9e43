"""A loopback HTTP server that answers as it is told: the bad days of an exchange, on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from trading_assets.exchange.keys import ApiKeys

KEY, SECRET = "visible-key-0123", "visible-secret-4567"


def keys_of(key: str, secret: str) -> ApiKeys:
    return ApiKeys(SecretStr(key), SecretStr(secret))


KEYS = keys_of(KEY, SECRET)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the stub does after it has read a request."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    missing_bytes: int = 0
    drop: bool = False
    silent: bool = False


def envelope(
    result: object = None,
    code: int = 0,
    message: str = "OK",
    headers: Mapping[str, str] | None = None,
    time_ms: int = 0,
) -> Reply:
    body = {"retCode": code, "retMsg": message, "result": {} if result is None else result, "retExtInfo": {}}
    return Reply(json.dumps({**body, "time": time_ms}).encode(), headers=headers or {})


def server_time(ms: int) -> Reply:
    return envelope({"timeSecond": str(ms // 1000), "timeNano": str(ms * 1_000_000)}, time_ms=ms)


TIMEOUT = Reply(silent=True)
DROPPED = Reply(drop=True)
HTML_502 = Reply(b"<html><h1>502 Bad Gateway</h1></html>", 502, "text/html")
HTML_200 = Reply(b"<html>maintenance</html>", 200, "text/html")
TRUNCATED = Reply(b'{"retCode": 0, "retMsg": "OK", "resu', missing_bytes=500)
JSON_LIST = Reply(b"[1, 2]")
JSON_NULL = Reply(b"null")
JSON_OTHER = Reply(b'{"message": "hello"}')
BANNED = Reply(b"access too frequent", 403, "text/plain")
COUNTRY = Reply(b"The Amazon CloudFront distribution is configured to block your country", 403, "text/html")

Script = Callable[[Request], Reply]


class Stub:
    """Requests that came, and the script that answers them; a script may be replaced at any time."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: Script = lambda _: envelope()
        self.released = threading.Event()
        self.url = ""

    def answer(self, *replies: Reply) -> None:
        """Give these one by one, then the last one for ever."""
        left = list(replies)
        self.script = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def of(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._reply(Request("GET", parts.path, dict(parse_qsl(parts.query))))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._reply(Request("POST", urlsplit(self.path).path, json.loads(body or b"{}")))

        def _reply(self, request: Request) -> None:
            stub.requests.append(request)
            reply = stub.script(request)
            if reply.silent:
                stub.released.wait(60)
            if reply.silent or reply.drop:
                self.close_connection = True
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body) + reply.missing_bytes))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            self.wfile.flush()
            self.close_connection = self.close_connection or reply.missing_bytes > 0

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

    return Handler


@contextmanager
def serving() -> Iterator[Stub]:
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
