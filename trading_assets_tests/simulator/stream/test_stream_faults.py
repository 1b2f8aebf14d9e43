"""Fault rules on WebSocket messages: what a client of a failing exchange hears."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from trading_assets.simulator.embedded import RunningExchange, serve_in_thread

TOPIC = "kline.1.BTCUSDT"


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread() as running:
        yield running


@pytest.fixture
def client(exchange: RunningExchange) -> Iterator[ClientConnection]:
    with connect(exchange.url.replace("http", "ws") + "/v5/public/linear") as connection:
        yield connection
    requests.delete(f"{exchange.url}/admin/faults", timeout=60).raise_for_status()


def arm(exchange: RunningExchange, **rule: Any) -> None:
    answer = requests.post(f"{exchange.url}/admin/faults", json={"where": "ws:kline.*", **rule}, timeout=60)
    assert answer.ok, answer.text


def heard(client: ClientConnection, count: int, within_s: float = 60.0) -> list[dict[str, Any]]:
    """The next pushes, at most so many and in so long a time; `heard_ms` is when each came."""
    client.send(json.dumps({"op": "subscribe", "args": [TOPIC]}))
    found: list[dict[str, Any]] = []
    until = time.monotonic() + within_s
    while len(found) < count and (left := until - time.monotonic()) > 0:
        try:
            message = json.loads(client.recv(timeout=left))
        except TimeoutError:
            break
        if "topic" in message:
            found.append({**message, "heard_ms": time.time_ns() // 1_000_000})
    return found


@pytest.mark.slow
def test_without_a_rule_each_push_comes_once(exchange: RunningExchange, client: ClientConnection) -> None:
    stamps = [message["ts"] for message in heard(client, 6)]
    assert len(stamps) == 6 and stamps == sorted(stamps)
    # The push at the subscription and the next one may share a millisecond; six pushes that came twice are three.
    assert len(set(stamps)) > 3


def test_silence_leaves_the_line_open_and_says_nothing(exchange: RunningExchange, client: ClientConnection) -> None:
    arm(exchange, silence=True)
    assert heard(client, 1, within_s=1.5) == []
    client.send('{"op":"ping"}')
    assert json.loads(client.recv(timeout=60))["ret_msg"] == "pong"


def test_a_duplicate_comes_twice(exchange: RunningExchange, client: ClientConnection) -> None:
    arm(exchange, duplicate=True, times=1)
    first, second = heard(client, 2)
    assert first | {"heard_ms": 0} == second | {"heard_ms": 0}


def test_a_reordered_message_comes_after_its_successor(exchange: RunningExchange, client: ClientConnection) -> None:
    arm(exchange, reorder=True, times=3)
    stamps = [message["ts"] for message in heard(client, 6)]
    assert stamps != sorted(stamps), "two of one millisecond cannot be told apart, three pairs can"


def test_a_delayed_message_is_late(exchange: RunningExchange, client: ClientConnection) -> None:
    arm(exchange, delay_ms=700, times=1)
    assert max(message["heard_ms"] - message["ts"] for message in heard(client, 3)) >= 690


def test_a_drop_cuts_the_line(exchange: RunningExchange, client: ClientConnection) -> None:
    arm(exchange, drop=True, times=1)
    with pytest.raises(ConnectionClosed):
        heard(client, 1000)
