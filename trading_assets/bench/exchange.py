"""How fast the embedded exchange answers: requests in a second, latency, and the processor time of the server for each.

The server runs in a process of its own; the client is as thin as Python allows (a socket to each thread, requests
built before the clock starts where they can be), because it shares the machine.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import psutil

from trading_assets.bench.measurement import cpu_s, serving
from trading_assets.bench.streams import StreamMeasure, measure_streams
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.simulator.auth import Credentials

ANSWER_TIMEOUT_S = 10.0
WARM_UP_REQUESTS = 50
_RECEIVED = 1 << 16

Requests = Callable[[], bytes]
"""Gives the next request, as it goes over the line."""


@dataclass(frozen=True)
class Measure:
    """One kind of request.

    Attributes:
        server_cpu_ms: processor time of the server for one request.
        failed: answers whose `retCode` is not 0.
    """

    name: str
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    failed: int


@dataclass(frozen=True)
class ExchangeReport:
    """All measures; `connections` threads asked at a time, each on a connection that is kept."""

    connections: int
    cores: int
    measures: tuple[Measure, ...]
    streams: tuple[StreamMeasure, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Line:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """Send one request and read its whole answer; the body.

        Raises:
            ExchangeUnavailableError: the connection ended.
        """
        self._socket.sendall(request)
        received = b""
        head = -1
        while head < 0:
            received += self._more()
            head = received.find(b"\r\n\r\n")
        at = received.lower().find(b"content-length:", 0, head)
        length = int(received[at + 15 : received.find(b"\r\n", at)])
        missing = head + 4 + length - len(received)
        parts = [received[head + 4 :]]
        while missing > 0:
            part = self._more()
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        part = self._socket.recv(_RECEIVED)
        if not part:
            raise ExchangeUnavailableError("the embedded exchange closed the connection in the middle of a measure")
        return part


def measure_exchange(requests: int, connections: int, symbols: int, stream_s: float) -> ExchangeReport:
    """Start an exchange with a new account, measure each kind of request `requests` times, and stop it; then listen
    for `stream_s` seconds to the streams of others.

    Raises:
        ExchangeUnavailableError: it did not start, or closed a connection.
    """
    with serving(symbols) as (process, port):
        kinds: dict[str, Requests] = {
            "order create": _orders(),
            "order realtime, by link": _signed("/v5/order/realtime", "category=linear&symbol=BTCUSDT&orderLinkId=none"),
            "wallet balance": _signed("/v5/account/wallet-balance", "accountType=UNIFIED"),
            "position list": _signed("/v5/position/list", "category=linear&symbol=BTCUSDT"),
            "kline, 200 rows": _public("/v5/market/kline?category=linear&symbol=BTCUSDT&interval=5&limit=200"),
            "kline, 1000 rows": _public("/v5/market/kline?category=linear&symbol=BTCUSDT&interval=1&limit=1000"),
            "ticker, one symbol": _public("/v5/market/tickers?category=linear&symbol=BTCUSDT"),
            f"tickers, {symbols} symbols": _public("/v5/market/tickers?category=linear"),
            "server time": _public("/v5/market/time"),
        }
        measures = tuple(_measure(name, make, process, port, requests, connections) for name, make in kinds.items())
    return ExchangeReport(connections, psutil.cpu_count() or 1, measures, measure_streams(symbols, stream_s))


def _measure(name: str, make: Requests, process: psutil.Process, port: int, requests: int, connections: int) -> Measure:
    lines = [Line(port) for _ in range(connections)]
    try:
        for _ in range(min(WARM_UP_REQUESTS, requests)):
            lines[0].ask(make())
        latencies: list[list[float]] = [[] for _ in lines]
        failed: list[int] = [0 for _ in lines]
        share = max(1, requests // connections)

        def work(number: int) -> None:
            line, taken = lines[number], latencies[number]
            for _ in range(share):
                request = make()
                began = time.perf_counter()
                body = line.ask(request)
                taken.append(time.perf_counter() - began)
                failed[number] += not body.startswith(b'{"retCode":0,')

        used = cpu_s(process)
        began = time.perf_counter()
        threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = time.perf_counter() - began
        used = cpu_s(process) - used
    finally:
        for line in lines:
            line.close()
    everything = sorted(latency for taken in latencies for latency in taken)
    if len(everything) < share * connections:
        raise ExchangeUnavailableError(f"{name}: the embedded exchange answered {len(everything)} requests only")
    return Measure(
        name=name,
        requests=len(everything),
        per_second=round(len(everything) / took_s, 1),
        p50_ms=round(everything[len(everything) // 2] * 1000, 3),
        p99_ms=round(everything[len(everything) * 99 // 100] * 1000, 3),
        server_cpu_ms=round(used / len(everything) * 1000, 4),
        failed=sum(failed),
    )


def _orders() -> Requests:
    """Market orders of the smallest size, buying and selling by turns, so that the position stays small."""
    numbers = count()

    def make() -> bytes:
        number = next(numbers)
        side = "Sell" if number % 2 else "Buy"
        body = (
            f'{{"category":"linear","symbol":"BTCUSDT","side":"{side}","orderType":"Market","qty":"0.001",'
            f'"orderLinkId":"bench-{number}"}}'
        )
        return _request("POST", "/v5/order/create", body)

    return make


def _signed(path: str, query: str) -> Requests:
    return lambda: _request("GET", path, query)


def _public(target: str) -> Requests:
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    return lambda: request


def _request(method: str, path: str, payload: str) -> bytes:
    credentials = Credentials()
    stamp = time.time_ns() // 1_000_000
    sign = credentials.sign(f"{stamp}{credentials.key}5000{payload}".encode())
    target, body = (f"{path}?{payload}", "") if method == "GET" else (path, payload)
    return (
        f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-BAPI-API-KEY: {credentials.key}\r\nX-BAPI-TIMESTAMP: {stamp}\r\nX-BAPI-RECV-WINDOW: 5000\r\n"
        f"X-BAPI-SIGN: {sign}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
