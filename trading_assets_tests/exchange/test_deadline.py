"""A request has a deadline as a whole, however busily its server answers, and nothing is sent after it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from trading_assets.core.errors import AmbiguousOutcomeError, ExchangeError
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.keys import ApiKeys
from trading_assets.exchange.transport import Transport

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
KEYS = ApiKeys(SecretStr("key"), SecretStr("secret"))
ORDER = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "1"}


class Server:
    """Answers every connection by a function; knows what was sent, and whether the client hung up."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.received: list[bytes] = []
        self.cut = threading.Event()
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://localhost:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client:
            try:
                self.received.append(client.recv(65536))
                self._serve(client)
            except OSError:
                self.cut.set()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[Server]:
    server = Server(serve)
    try:
        yield server
    finally:
        server.close()


def one_byte_after_another(beginning: bytes, byte: bytes) -> Callable[[socket.socket], None]:
    """Serve `beginning`, then a byte each 50 ms, until the client has gone."""

    def serve(client: socket.socket) -> None:
        client.sendall(beginning)
        for _ in range(20 * 600):
            client.sendall(byte)
            threading.Event().wait(0.05)

    return serve


def transport(url: str) -> Transport:
    return Transport(Connection(url, keys=KEYS, timeout_s=0.5), limited=False)


@pytest.mark.parametrize(
    ("beginning", "byte"),
    [
        (b"", b"H"),
        (HEADERS + b"X-Long: ", b"x"),
        (HEADERS + b"Content-Length: 100000\r\n\r\n", b" "),
        (HEADERS + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["status", "header", "body", "chunks"],
)
def test_a_byte_now_and_then_does_not_hold_an_order(beginning: bytes, byte: bytes) -> None:
    with serving(one_byte_after_another(beginning, byte)) as server:
        connector = transport(server.url)
        with pytest.raises(AmbiguousOutcomeError):
            connector.write("place_order", **ORDER)
        assert server.cut.wait(60), "the connection is cut"
        assert len(server.received) == 1, "it was sent once"
        connector.close()


def test_an_order_whose_name_is_looked_up_too_long_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, may_answer, answered = socket.getaddrinfo, threading.Event(), threading.Event()

    def slow(*arguments: object, **named: object) -> object:
        may_answer.wait(120)
        answered.set()
        return look_up(*arguments, **named)  # type: ignore[arg-type]

    connected = threading.Event()
    with serving(lambda client: connected.set()) as server:
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        before = set(threading.enumerate())
        with pytest.raises(AmbiguousOutcomeError, match=r"no whole answer within 0\.75 s"):
            transport(server.url).write("place_order", **ORDER)
        left = [one for one in threading.enumerate() if one.name == "request" and one not in before]
        may_answer.set()
        assert answered.wait(60)
        for one in left:
            one.join(60)
            assert not one.is_alive()
        assert not any(server.received), "what was given up is not sent later"


SECONDS = json.dumps({"retCode": 0, "retMsg": "OK", "result": {"timeNano": "1"}, "retExtInfo": {}, "time": 1}).encode()


def silent_once(told: threading.Event) -> Callable[[socket.socket], None]:
    """Keep the first connection silent, as a dead one is; answer each one after it."""
    connections = iter(range(1000))

    def serve(client: socket.socket) -> None:
        if next(connections) == 0:
            told.set()
            while client.recv(65536):
                continue  # the rest of the question
            return
        client.sendall(HEADERS + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(SECONDS) + SECONDS)

    return serve


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except ExchangeError as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def test_a_read_on_a_dead_connection_is_asked_again_when_the_link_is_back() -> None:
    waited: list[float] = []
    told = threading.Event()
    with serving(silent_once(told)) as server:
        patient = Transport(Connection(server.url, timeout_s=60.0), limited=False, sleep=waited.append)
        thread, results = in_thread(lambda: patient.read("get_server_time"))
        assert told.wait(30)
        asked = time.monotonic()
        patient.repeat_reads(asked - 60.0)  # asked later than that: not a dead one
        assert thread.is_alive()
        patient.repeat_reads(asked)
        thread.join(30)
    assert results == [{"timeNano": "1"}] and len(server.received) == 2 and waited == []


def test_an_order_on_a_dead_connection_is_not_sent_again() -> None:
    told = threading.Event()
    with serving(silent_once(told)) as server:
        patient = Transport(Connection(server.url, keys=KEYS, timeout_s=60.0), limited=False)
        thread, _ = in_thread(lambda: patient.write("place_order", **ORDER))
        assert told.wait(30)
        patient.repeat_reads(time.monotonic())
        thread.join(0.2)
        assert thread.is_alive() and len(server.received) == 1, "its answer may come"


def test_a_read_that_cannot_connect_is_overtaken_as_well() -> None:
    """The connection is not there yet, so there is none to be shut."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    url = f"http://127.0.0.1:{full.getsockname()[1]}"
    waiting = socket.create_connection(full.getsockname())  # nobody accepts: the next one waits
    patient = Transport(Connection(url, timeout_s=60.0), limited=False)
    thread, _ = in_thread(lambda: patient.read("get_server_time"))
    deadline = time.monotonic() + 30
    while not patient._reading and time.monotonic() < deadline:
        time.sleep(0.01)
    first = next(iter(patient._reading))
    patient.repeat_reads(time.monotonic())
    while (not patient._reading or first in patient._reading) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thread.is_alive() and patient._reading and first not in patient._reading, "it asks again"
    full.close()
    waiting.close()


def test_a_connection_can_be_opened_where_somebody_listens() -> None:
    with serving(lambda _client: None) as server:
        assert Transport(Connection(server.url), limited=False).can_connect(30.0)
    assert not any(server.received), "nothing was asked"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # it listens at nothing, and nobody else can take the port meanwhile
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert not Transport(Connection(url), limited=False).can_connect(30.0)
