"""A request has a deadline as a whole, however busily its server answers, and nothing is sent after it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from trading_assets.core.errors import AmbiguousOutcomeError
from trading_assets.exchange.keys import ApiKeys
from trading_assets.exchange.transport import Connection, Transport

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
