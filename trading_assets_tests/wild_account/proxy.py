"""A proxy between the connector and the exchange that rewrites, delays, refuses or swallows answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = dict[str, Any]
Row = dict[str, Any]

POSITIONS = "/v5/position/list"
CLOSED = "/v5/position/closed-pnl"
EXECUTIONS = "/v5/execution/list"
OPEN_ORDERS = "/v5/order/realtime"
ORDER_HISTORY = "/v5/order/history"
WALLET = "/v5/account/wallet-balance"
ACCOUNT = "/v5/account/info"
MONEY_LOG = "/v5/account/transaction-log"
KEY = "/v5/user/query-api"
TICKERS = "/v5/market/tickers"
INSTRUMENTS = "/v5/market/instruments-info"
TIME = "/v5/market/time"
CREATE = "/v5/order/create"
LEVERAGE = "/v5/position/set-leverage"
STOPS = "/v5/position/trading-stop"
EVERY_LIST = (POSITIONS, CLOSED, EXECUTIONS, OPEN_ORDERS, ORDER_HISTORY, WALLET)

_PAGING = frozenset({"startTime", "endTime", "cursor"})
_NOT_PASSED_ON = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})


@dataclass(frozen=True)
class Request:
    """A request of the connector; `params` are those of its query or its body."""

    method: str
    path: str
    params: dict[str, Any]

    @property
    def symbol(self) -> str:
        return str(self.params.get("symbol", ""))

    @property
    def kind(self) -> tuple[str, ...]:
        """What it asks for, whatever the page and the window of time."""
        return (self.path, *(f"{name}={value}" for name, value in sorted(self.params.items()) if name not in _PAGING))


class Cut(Exception):
    """The connection breaks before an answer."""


@dataclass
class _Rule:
    path: str
    match: dict[str, str]
    times: int | None
    before: Callable[[Request], Answer | bytes | None] | None = None
    change: Callable[[Request, Answer], Answer | bytes | None] | None = None
    hits: int = 0

    def meets(self, request: Request) -> bool:
        return (
            request.path == self.path
            and (self.times is None or self.hits < self.times)
            and all(str(request.params.get(name, "")) == value for name, value in self.match.items())
        )


@dataclass
class Proxy:
    """Passes everything on until it is told otherwise; rules apply in their order, `times` limits their use."""

    upstream: str
    seen: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._newest: dict[tuple[str, ...], Answer] = {}
        self._open: set[socket.socket] = set()
        self.is_up = True
        self._server = self._listen(0)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    # What becomes of answers

    def rewrite(
        self,
        path: str,
        change: Callable[[Request, Answer], Answer | bytes | None],
        *,
        times: int | None = None,
        **match: str,
    ) -> None:
        """`change` alters the answer in place, or gives another; bytes are a body that may be anything."""
        self._add(_Rule(path, match, times, change=change))

    def each_row(self, path: str, change: Callable[[Row], object], *, times: int | None = None, **match: str) -> None:
        """`change` alters each row in place; where it gives False, the row is left out."""

        def rows(_: Request, answer: Answer) -> None:
            listed = answer["result"].get("list") or []
            answer["result"]["list"] = [row for row in listed if change(row) is not False]

        self.rewrite(path, rows, times=times, **match)

    def empty(self, *paths: str, times: int | None = None, **match: str) -> None:
        """The lists have no rows."""
        for path in paths:
            self.each_row(path, lambda _row: False, times=times, **match)

    def late(self, *paths: str, times: int | None = None, **match: str) -> None:
        """The lists stay as they were when each was last asked for, with the same question."""
        with self._lock:
            before = dict(self._newest)
        for path in paths:
            self.rewrite(path, lambda request, _: before.get(request.kind), times=times, **match)

    def twice(self, *paths: str, times: int | None = None) -> None:
        """Each row comes two times in one answer."""

        def double(_: Request, answer: Answer) -> None:
            answer["result"]["list"] = [row for row in answer["result"]["list"] for _ in (1, 2)]

        for path in paths:
            self.rewrite(path, double, times=times)

    def overlapping_pages(self, *paths: str) -> None:
        """A full first page, and a second one that begins with the rows of the first."""
        first: dict[str, Answer] = {}

        def page(request: Request, answer: Answer) -> None:
            rows = answer["result"]["list"]
            if rows:
                first[request.path] = json.loads(json.dumps(answer))
                missing = int(request.params.get("limit", 50)) - len(rows)
                answer["result"] |= {"list": rows + rows[-1:] * missing, "nextPageCursor": "again"}

        def again(request: Request) -> Answer | None:
            return first[request.path] if request.params.get("cursor") == "again" else None

        for path in paths:
            self.instead(path, again)
            self.rewrite(path, page)

    def refuse(
        self,
        path: str,
        code: int,
        message: str = "refused",
        *,
        times: int | None = None,
        processed: bool = False,
        **match: str,
    ) -> None:
        """The venue says no; with `processed` it has done what was asked all the same."""
        answer = {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": _wall_ms()}
        if processed:
            self.rewrite(path, lambda _request, _answer: dict(answer), times=times, **match)
        else:
            self.instead(path, lambda _request: dict(answer), times=times, **match)

    def instead(
        self, path: str, answer: Callable[[Request], Answer | bytes | None], *, times: int | None = None, **match: str
    ) -> None:
        """The request is not passed on, unless `answer` gives None."""
        self._add(_Rule(path, match, times, before=answer))

    def lose(self, path: str, *, processed: bool, times: int | None = None, **match: str) -> None:
        """The connection breaks, before or after the exchange has processed the request."""

        def cut(*_: object) -> None:
            raise Cut

        if processed:
            self.rewrite(path, cut, times=times, **match)
        else:
            self.instead(path, cut, times=times, **match)

    def clear(self) -> None:
        """Truthful again."""
        with self._lock:
            self._rules = []

    def asked(self, path: str, **match: str) -> int:
        """How often the connector has asked for this."""
        rule = _Rule(path, match, None)
        return sum(rule.meets(request) for request in list(self.seen))

    # Its life

    def down(self) -> None:
        """Refuse every connection, and break those that are open."""
        self._server.shutdown()
        self._server.server_close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

        self.is_up = False

    def up(self) -> None:
        self._server = self._listen(self.port)
        self.is_up = True

    def close(self) -> None:
        if self.is_up:
            self.down()

    def _add(self, rule: _Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def _meeting(self, request: Request, part: str) -> Iterator[_Rule]:
        for rule in list(self._rules):
            with self._lock:
                fires = getattr(rule, part) is not None and rule.meets(request)
                rule.hits += fires
            if fires:
                yield rule

    def _answer(self, request: Request, ask: Callable[[], tuple[int, dict[str, str], bytes]]) -> tuple[int, Any, bytes]:
        self.seen.append(request)
        for rule in self._meeting(request, "before"):
            given = rule.before(request) if rule.before is not None else None
            if given is not None:
                return 200, {}, given if isinstance(given, bytes) else json.dumps(given).encode()
        status, headers, body = ask()
        try:
            answer = json.loads(body)
        except ValueError:
            return status, headers, body
        with self._lock:
            self._newest[request.kind] = json.loads(body)
        for rule in self._meeting(request, "change"):
            if rule.change is not None:
                given = rule.change(request, answer)
                if isinstance(given, bytes):
                    return status, headers, given
                answer = given or answer
        return status, headers, json.dumps(answer).encode()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = _Server(("127.0.0.1", port), _handler(self))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news."""


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    host = urlsplit(proxy.upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            proxy._open.add(self.connection)
            self.upstream = HTTPConnection(host, timeout=30)

        def finish(self) -> None:
            proxy._open.discard(self.connection)
            self.upstream.close()
            with suppress(OSError):
                super().finish()

        def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
            for attempt in (1, 2):
                try:
                    self.upstream.request(self.command, self.path, body or None, headers)
                    response = self.upstream.getresponse()
                    return response.status, dict(response.headers.items()), response.read()
                except (OSError, HTTPException):
                    self.upstream.close()
                    if attempt == 2:
                        raise
            raise AssertionError("unreachable")

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            params = json.loads(body) if body else dict(parse_qsl(parts.query, keep_blank_values=True))
            try:
                request = Request(self.command, parts.path, params)
                status, headers, content = proxy._answer(request, lambda: self._pass_on(body))
            except (Cut, OSError, HTTPException):
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _do

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Handler


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Relay:
    """A link that bytes go through, REST and streams alike, until it falls silent or is cut.

    `silent_at`: it falls silent when a client sends this, before the exchange sees it; None never.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (str(parts.hostname), int(parts.port or 80))
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._quiet = threading.Event()
        self.silent_at: bytes | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def is_silent(self) -> bool:
        return self._quiet.is_set()

    def silence(self) -> None:
        """What is sent arrives nowhere; nobody is told."""
        self._quiet.set()

    def cut(self) -> None:
        """Open connections break, new ones are refused."""
        self._cut = True
        self._break()

    def heal(self) -> None:
        """New connections go through. Those of before are dead."""
        self.silent_at = None
        self._break()
        self._cut = False
        self._quiet = threading.Event()

    def close(self) -> None:
        self._cut = True
        self._listener.close()
        self._break()

    def _break(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                client.close()
                continue
            upstream = socket.create_connection(self._upstream)
            for one in (client, upstream):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((client, upstream))
            quiet = self._quiet
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._carry, args=(source, sink, quiet, source is client), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, quiet: threading.Event, from_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if from_client and self.silent_at is not None and self.silent_at in data:
                    quiet.set()
                if not quiet.is_set():
                    sink.sendall(data)
            if not quiet.is_set():
                sink.shutdown(socket.SHUT_WR)
