"""Every key of Bybit's own documented stream messages is in ours, with the same JSON type and number format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import answer, signed
from trading_assets_tests.simulator.fake_market import MINUTE, T0, FakeMarket
from trading_assets_tests.simulator.stream.raw import PRIVATE, RawClient, client
from trading_assets_tests.simulator.test_bybit_examples import CASES, EXAMPLES, ORDER, UNSERVED, differences

PUBLIC_TOPICS = {
    "websocket_public_kline": "kline.5.BTCUSDT",
    "websocket_public_orderbook": "orderbook.50.BTCUSDT",
    "websocket_public_ticker": "tickers.BTCUSDT",
    "websocket_public_ticker_2": "tickers.BTCUSDT-30JAN26",
    "websocket_public_trade": "publicTrade.BTCUSDT",
}
PRIVATE_TOPICS = {
    "websocket_private_order_2": "order",
    "websocket_private_execution_2": "execution",
    "websocket_private_position_2": "position",
    "websocket_private_wallet_2": "wallet",
}
ANSWERS = {
    "websocket_wss-authentication": "auth",
    "websocket_wss-authentication_2": "public ping",
    "websocket_wss-authentication_3": "public ping",
    "websocket_wss-authentication_4": "private ping",
    "websocket_wss-authentication_5": "private ping",
    "websocket_wss-authentication_7": "private subscribe",
    "websocket_wss-authentication_8": "public subscribe",
    "websocket_wss-authentication_9": "private subscribe, named",
}
OTHERS = {
    "websocket_public_ticker_3": "options",
    "websocket_public_ticker_4": "spot",
    "websocket_wss-authentication_6": "a request of a client",
    "websocket_wss-authentication_10": "options",
    **{f"websocket_private_{name}": "a request of a client" for name in ("order", "execution", "position", "wallet")},
}
"""Messages that the embedded exchange does not send."""
# Fees of other countries: the example has one, an account without has an empty string.
IGNORED = ("$.data[0].extraFees",)


@pytest.fixture(scope="module")
def messages() -> Iterator[dict[str, dict[str, Any]]]:
    """One message of every topic, and one of every kind of answer."""
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0))
    with (
        serve_in_thread(config, FakeMarket()) as running,
        client(running.url) as public,
        client(running.url, PRIVATE) as private,
    ):
        yield answers(public, private) | pushes(running, public, private)


def answers(public: RawClient, private: RawClient) -> dict[str, dict[str, Any]]:
    return {
        "auth": private.login(),
        "private ping": private.ask(op="ping", req_id="test"),
        "private subscribe": private.ask(op="subscribe", args=sorted(PRIVATE_TOPICS.values())),
        "private subscribe, named": private.ask(op="subscribe", args=["execution.fast"], req_id=""),
        "public ping": public.ask(op="ping"),
        "public subscribe": public.ask(op="subscribe", args=sorted(PUBLIC_TOPICS.values()), req_id="10001"),
    }


def pushes(running: RunningExchange, public: RawClient, private: RawClient) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    for _ in range(4):
        message = public.receive()
        told[message["topic"]] = message
    running.advance(MINUTE)
    while told.keys() != set(PUBLIC_TOPICS.values()) or told["orderbook.50.BTCUSDT"]["type"] != "delta":
        message = public.receive()
        if not message["topic"].startswith("tickers"):
            told[message["topic"]] = message
    for side in ("Buy", "Sell"):
        assert answer(signed(running.url, "POST", "/v5/order/create", ORDER % (side, "")))["retCode"] == 0
    for _ in range(8):
        message = private.receive()
        told[message["topic"]] = message
    return told


@pytest.mark.parametrize(("name", "kind"), sorted((PUBLIC_TOPICS | PRIVATE_TOPICS | ANSWERS).items()))
def test_every_documented_key_is_there_with_its_type(messages: dict[str, dict[str, Any]], name: str, kind: str) -> None:
    file = EXAMPLES / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"Bybit's examples are not at {EXAMPLES}")
    theirs, ours = json.loads(file.read_text()), messages[kind]
    assert [item for item in differences(theirs, ours) if not item.startswith(IGNORED)] == []
    for key in ("type", "success", "op", "ret_msg"):
        assert ours.get(key) == theirs.get(key)


@pytest.mark.parametrize(("name", "kind"), sorted(PUBLIC_TOPICS.items()))
def test_public_messages_have_no_other_keys(messages: dict[str, dict[str, Any]], name: str, kind: str) -> None:
    file = EXAMPLES / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"Bybit's examples are not at {EXAMPLES}")
    assert differences(messages[kind], json.loads(file.read_text())) == []


def test_every_example_is_held_against_ours_or_named_with_a_reason() -> None:
    if not EXAMPLES.is_dir():
        pytest.skip(f"Bybit's examples are not at {EXAMPLES}")
    walked = {*PUBLIC_TOPICS, *PRIVATE_TOPICS, *ANSWERS, *OTHERS, *CASES, *UNSERVED}
    assert walked == {file.stem for file in EXAMPLES.glob("*.json")}


def test_numbers_are_written_as_bybit_writes_them(messages: dict[str, dict[str, Any]]) -> None:
    fixed_price, trimmed = re.compile(r"\d+\.\d\d"), re.compile(r"(0|[1-9]\d*)(\.\d*[1-9])?")
    (trade,) = messages["publicTrade.BTCUSDT"]["data"][-1:]
    book = messages["orderbook.50.BTCUSDT"]["data"]
    for price, quantity in (*book["b"], *book["a"], (trade["p"], trade["v"])):
        assert fixed_price.fullmatch(price) and trimmed.fullmatch(quantity)
    (candle,) = messages["kline.5.BTCUSDT"]["data"]
    for name in ("open", "high", "low", "close", "volume", "turnover"):
        assert trimmed.fullmatch(candle[name])
    assert fixed_price.fullmatch(messages["tickers.BTCUSDT"]["data"]["lastPrice"])
