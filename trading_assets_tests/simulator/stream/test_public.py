"""The public stream over the wire: answers, rejections, subscriptions, several clients, limits."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from trading_assets.simulator import rate_limits as limits
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.simulator.stream import connection, streams
from trading_assets_tests.polling import until
from trading_assets_tests.simulator.clients import answer, get
from trading_assets_tests.simulator.fake_market import MINUTE, T0, FakeMarket
from trading_assets_tests.simulator.stream.raw import PRIVATE, PUBLIC, RawClient, client

TICKER, CANDLE = "tickers.BTCUSDT", "kline.1.BTCUSDT"


@pytest.fixture(scope="module")
def standing() -> Iterator[RunningExchange]:
    """One exchange for the tests that change nothing in it."""
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket()) as running:
        yield running


@pytest.mark.parametrize("req_id", ["abc", "", 7])
def test_an_answer_comes_late_enough_and_carries_the_request_s_id(standing: RunningExchange, req_id: object) -> None:
    with client(standing.url) as raw:
        for op in ("subscribe", "unsubscribe"):
            asked = time.perf_counter()
            told = raw.ask(op=op, args=[TICKER], req_id=req_id, unknownKey=[1])
            assert time.perf_counter() - asked >= 0.02
            assert (told["success"], told["ret_msg"], told["op"], told["req_id"]) == (True, op, op, req_id)
            assert len(told["conn_id"]) == 36


def test_the_answer_comes_before_the_first_push(standing: RunningExchange) -> None:
    with client(standing.url) as raw:
        raw.send(op="subscribe", args=[TICKER, CANDLE, "orderbook.1.BTCUSDT"])
        first, *pushes = (raw.receive() for _ in range(4))
        assert first["op"] == "subscribe" and first["req_id"] == ""
        assert {push["topic"]: push["type"] for push in pushes} == {
            TICKER: "snapshot",
            CANDLE: "snapshot",
            "orderbook.1.BTCUSDT": "snapshot",
        }


def test_pings_are_answered_in_both_layers(standing: RunningExchange) -> None:
    with client(standing.url) as raw:
        told = raw.ask(op="ping", req_id="100001")
        assert told == {
            "success": True,
            "ret_msg": "pong",
            "conn_id": told["conn_id"],
            "req_id": "100001",
            "op": "ping",
        }
        assert raw.socket.ping(b"frame").wait(60)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["tickers.NOPEUSDT"], "Invalid symbol :[tickers.NOPEUSDT]"),
        ([TICKER, "kline.2.BTCUSDT"], "error:handler not found,topic:kline.2.BTCUSDT"),
        (["orderbook.25.BTCUSDT"], "error:handler not found,topic:orderbook.25.BTCUSDT"),
        (["order"], "error:handler not found,topic:order"),
        ([""], "error:handler not found,topic:"),
        ([], "error:args must be a list of topics"),
        ([TICKER, 5], "error:args must be a list of topics"),
        (["kline.1." + "X" * 21_000], "error:args is longer than 21000 characters"),
    ],
)
def test_a_wrong_subscription_changes_nothing(standing: RunningExchange, args: list[Any], message: str) -> None:
    with client(standing.url) as raw:
        told = raw.ask(op="subscribe", args=args, req_id="r")
        assert (told["success"], told["ret_msg"], told["req_id"], told["op"]) == (False, message, "r", "subscribe")
        assert raw.ask(op="subscribe", args=[TICKER])["success"]
        assert raw.receive()["topic"] == TICKER


@pytest.mark.parametrize(
    "text", ["{", "[]", "5", '"subscribe"', '{"op":5}', '{"op":"order.create"}', '{"op":"auth"}', "[" * 50_000]
)
def test_what_is_not_a_request_is_refused_and_the_line_stays(standing: RunningExchange, text: str) -> None:
    with client(standing.url) as raw:
        raw.socket.send(text)
        told = raw.receive()
        assert told["success"] is False and told["ret_msg"].startswith("error:")
        raw.socket.send(b'{"op":"ping"}')
        assert raw.receive()["ret_msg"] == "pong"


def test_a_topic_is_subscribed_once(standing: RunningExchange) -> None:
    with client(standing.url) as raw:
        assert raw.ask(op="subscribe", args=[TICKER, TICKER])["success"]
        told = raw.ask(op="subscribe", args=[TICKER])
        assert told["ret_msg"] == f"error:already subscribed,topic:{TICKER}"


def test_liquidations_of_others_are_a_topic_that_stays_silent(standing: RunningExchange) -> None:
    """ccxt and cryptofeed ask for it; refused, the rest of the same request would be as well."""
    with client(standing.url) as raw:
        assert raw.ask(op="subscribe", args=["allLiquidation.BTCUSDT", TICKER])["success"]
        assert raw.push(TICKER)
        assert raw.is_silent(0.2)


def test_after_unsubscribing_nothing_more_comes(exchange: RunningExchange) -> None:
    with client(exchange.url) as raw, client(exchange.url) as other:
        for each in (raw, other):
            each.send(op="subscribe", args=[TICKER])
            each.push(TICKER)
        assert raw.ask(op="unsubscribe", args=[TICKER])["success"]
        exchange.advance(MINUTE)
        assert other.push(TICKER)["type"] == "delta"
        assert raw.is_silent(0.15)
        assert raw.ask(op="subscribe", args=[TICKER])["success"]
        assert raw.push(TICKER)["type"] == "snapshot"


def test_who_comes_later_gets_a_snapshot_and_then_the_same_deltas(exchange: RunningExchange) -> None:
    topic = "orderbook.50.BTCUSDT"
    with client(exchange.url) as first, client(exchange.url) as second:
        first.send(op="subscribe", args=[topic])
        opened = first.push(topic)
        exchange.advance(MINUTE)
        moved = first.push(topic)
        second.send(op="subscribe", args=[topic])
        joined = second.push(topic)
        assert (opened["type"], moved["type"], joined["type"]) == ("snapshot", "delta", "snapshot")
        assert joined["data"]["u"] == moved["data"]["u"] == opened["data"]["u"] + 1
        exchange.advance(MINUTE)
        assert first.push(topic) == second.push(topic)


def test_a_topic_is_computed_once_however_many_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    market, asked = FakeMarket(), []
    monkeypatch.setattr(market, "open_interest", lambda symbol, time_ms: asked.append(time_ms) or 1.0)
    with ExitStack() as stack:
        config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0))
        running = stack.enter_context(serve_in_thread(config, market))
        clients = [stack.enter_context(client(running.url)) for _ in range(5)]
        for raw in clients:
            raw.send(op="subscribe", args=[TICKER])
            assert raw.push(TICKER)["type"] == "snapshot"
        running.advance(MINUTE)
        deltas = [raw.push(TICKER) for raw in clients]
        assert deltas == [deltas[0]] * 5 and deltas[0]["type"] == "delta"
        assert asked == [T0, T0 + MINUTE]


def test_every_minute_of_a_leap_is_confirmed_in_order(exchange: RunningExchange) -> None:
    with client(exchange.url) as raw:
        raw.send(op="subscribe", args=[CANDLE])
        raw.push(CANDLE)
        exchange.advance(1440 * MINUTE)
        told = [raw.push(CANDLE)["data"][0] for _ in range(1441)]
        assert [candle["start"] for candle in told] == [T0 + index * MINUTE for index in range(1441)]
        assert [candle["confirm"] for candle in told] == [True] * 1440 + [False]


def test_an_accelerated_clock_skips_no_candle() -> None:
    config = ServeConfig(clock=ClockSpec(ClockMode.ACCELERATED, T0, 3600.0))
    with serve_in_thread(config, FakeMarket()) as running, client(running.url) as raw:
        raw.send(op="subscribe", args=[CANDLE, TICKER, "publicTrade.BTCUSDT"])
        starts = [candle["start"] for candle in (raw.push(CANDLE)["data"][0] for _ in range(80)) if candle["confirm"]]
        assert starts == [starts[0] + index * MINUTE for index in range(len(starts))] and len(starts) > 60


@pytest.mark.slow
def test_a_client_that_does_not_read_is_dropped_and_others_go_on(
    exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_WAITING", 1500)
    with client(exchange.url) as reader, stuck_client(exchange.url) as stuck:
        reader.send(op="subscribe", args=[CANDLE])
        reader.push(CANDLE)
        for _ in range(9):
            exchange.advance(1400 * MINUTE)
            told = [reader.push(CANDLE)["data"][0]["confirm"] for _ in range(1401)]
            assert told == [True] * 1400 + [False]
        stuck.settimeout(5)  # a line that is still open would time out here
        with contextlib.suppress(ConnectionResetError):
            while stuck.recv(1 << 20):
                pass
        assert reader.ask(op="ping")["ret_msg"] == "pong"


def stuck_client(url: str) -> socket.socket:
    """Subscribes to candles and does not read."""
    host, port = url.removeprefix("http://").split(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect((host, int(port)))
    line.sendall(
        f"GET {PUBLIC} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b" 101 " in line.recv(1000)
    request = json.dumps({"op": "subscribe", "args": [f"kline.1.{name}" for name in ("BTCUSDT", "ALTUSDT")]}).encode()
    line.sendall(bytes([0x81, 0x80 | len(request)]) + bytes(4) + request)  # masked with zeros
    return line


@pytest.mark.slow
def test_a_quiet_line_is_closed_after_the_time_the_client_chose(
    exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MIN_QUIET_S", 2.0)
    with client(exchange.url, f"{PUBLIC}?max_active_time=0s") as raw:
        began = time.monotonic()
        time.sleep(1.0)
        raw.ask(op="ping")
        with pytest.raises(ConnectionClosed):
            raw.receive()
        assert time.monotonic() - began >= 2.9, "the ping counted"


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", 600),
        ("max_active_time=1m", 60),
        ("max_active_time=45s", 45),
        ("max_active_time=5s", 30),
        ("max_active_time=11m", 600),
        ("max_active_time=soon", 600),
        ("a=1&max_active_time=90", 90),
    ],
)
def test_the_time_a_quiet_line_is_kept(query: str, seconds: float) -> None:
    assert streams._quiet_seconds(query.encode()) == seconds


def status_of(url: str, path: str) -> int:
    with pytest.raises(InvalidStatus) as caught, client(url, path):
        pass
    return int(caught.value.response.status_code)


def test_other_paths_and_too_many_connections_are_refused(
    exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert status_of(exchange.url, "/v5/public/spot") == 404
    monkeypatch.setattr(limits, "CONNECTIONS_KEPT_MAX", 2)
    with client(exchange.url) as one, client(exchange.url):
        assert status_of(exchange.url, PUBLIC) == 403
        with client(exchange.url, PRIVATE):
            one.socket.close()
            until(lambda: len(exchange._server.streams.clients) == 2)
            with client(exchange.url) as again:
                assert again.ask(op="ping")["success"]
    monkeypatch.setattr(limits, "CONNECTIONS_OPENED_MAX", 4)
    assert status_of(exchange.url, PUBLIC) == 403
    assert capfd.readouterr().err == ""


def test_openings_are_forgotten_after_a_while() -> None:
    now = 0.0
    counted = limits.ConnectionLimits(lambda: now)
    for _ in range(limits.CONNECTIONS_OPENED_MAX):
        assert counted.enter("a", PUBLIC) == ""
        counted.leave("a", PUBLIC)
    assert "500 connections in 300 s" in counted.enter("a", PUBLIC)
    assert counted.enter("b", PUBLIC) == ""
    now = limits.CONNECTIONS_WINDOW_S
    assert counted.enter("a", PUBLIC) == ""


def test_an_open_stream_keeps_the_exchange_from_stopping() -> None:
    with serve_in_thread(ServeConfig(idle_stop_s=0.4), FakeMarket()) as running, client(running.url) as raw:
        time.sleep(0.8)
        assert raw.ask(op="ping")["success"]
        assert answer(get(running.url, "/v5/market/time"))["retCode"] == 0


def test_stopping_the_exchange_says_so_to_its_clients() -> None:
    with serve_in_thread(ServeConfig(), FakeMarket()) as running:
        opened = client(running.url)
        raw: RawClient = opened.__enter__()
        raw.send(op="subscribe", args=[TICKER])
        raw.push(TICKER)
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            raw.receive()
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 1012
    opened.__exit__(None, None, None)


def test_every_message_leaves_by_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = streams.Streams.outgoing

    def spy(self: streams.Streams, text: str, topic: str, to: connection.Connection) -> None:
        seen.append(topic)
        real(self, text, topic, to)

    monkeypatch.setattr(streams.Streams, "outgoing", spy)
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0))
    with serve_in_thread(config, FakeMarket()) as running, client(running.url) as raw:
        raw.ask(op="subscribe", args=[TICKER])
        raw.push(TICKER)
        raw.ask(op="ping")
        raw.ask(op="nothing")
    assert seen == ["", TICKER, "", ""]
