"""The private stream over the wire: login, topics, and what an account's life tells."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from trading_assets.simulator.auth import Credentials
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.simulator.stream import protocol
from trading_assets.simulator.stream.private import SETTLE_S
from trading_assets.simulator.stream.protocol import Rejection, Request
from trading_assets_tests.polling import until
from trading_assets_tests.simulator.clients import answer, signed
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket, rising_then_falling
from trading_assets_tests.simulator.stream.raw import PRIVATE, RawClient, client

D = Decimal
ALL = ["order", "execution", "position", "wallet"]
KEYS = Credentials("key", "secret")
TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(["order", "order.linear", "subscribe"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=5,
)
FALLING = rising_then_falling("BTCUSDT", T0, [100_000, 100_100, 98_000, 98_500])


@pytest.fixture
def falling() -> Iterator[RunningExchange]:
    """A price that falls by two percent in the second minute."""
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket(FALLING)) as running:
        yield running


def post(exchange: RunningExchange, path: str, **body: Any) -> dict[str, Any]:
    told = answer(signed(exchange.url, "POST", path, json.dumps({"category": "linear"} | body)))
    assert told["retCode"] == 0, told["retMsg"]
    result: dict[str, Any] = told["result"]
    return result


def order(exchange: RunningExchange, **body: Any) -> dict[str, Any]:
    given = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.01"}
    return post(exchange, "/v5/order/create", **(given | body))


def read(exchange: RunningExchange, path: str, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer(signed(exchange.url, "GET", path, query))["result"]["list"]
    return rows


def subscribed(raw: RawClient, *topics: str) -> RawClient:
    assert raw.login()["success"]
    assert raw.ask(op="subscribe", args=list(topics))["success"]
    return raw


@pytest.mark.parametrize("as_text", [True, False])
def test_login_takes_the_expiry_as_number_and_as_text(exchange: RunningExchange, as_text: bool) -> None:
    expires = time.time_ns() // 1_000_000 + 60_000
    with client(exchange.url, PRIVATE) as raw:
        asked = time.perf_counter()
        told = raw.login(str(expires) if as_text else expires, req_id=3)
        assert time.perf_counter() - asked >= 0.02
        assert told == {"success": True, "ret_msg": "", "op": "auth", "conn_id": told["conn_id"], "req_id": 3}
        again = raw.ask(op="subscribe", args=["order"])
        assert again == {"success": True, "ret_msg": "", "op": "subscribe", "conn_id": told["conn_id"]}
        pong = raw.ask(op="ping", req_id="p")
        assert pong == {"req_id": "p", "op": "pong", "args": [str(T0)], "conn_id": told["conn_id"]}


def test_a_failed_login_is_answered_and_closed(exchange: RunningExchange) -> None:
    with client(exchange.url, PRIVATE) as raw:
        told = raw.login(key="somebody")
        assert (told["success"], told["ret_msg"], told["op"]) == (False, "API key is invalid.", "auth")
        with pytest.raises(ConnectionClosed):
            raw.receive()


def good(expires: object) -> str:
    return KEYS.sign(f"GET/realtime{expires}".encode())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Params Error"),
        (("key", 2000, good(2000), "more"), "Params Error"),
        (("key", 2000.5, good(2000.5)), "Params Error"),
        (("key", "2e3", good("2e3")), "Params Error"),
        (("key", "-2000", good("-2000")), "Params Error"),
        (("key", True, good(True)), "Params Error"),
        (("Key", 2000, good(2000)), "API key is invalid."),
        (("key", 1000, good(1000)), "Your request has expired."),
        (("key", 2000, good(2001)), "error sign!"),
        (("key", 2000, "ü"), "error sign!"),
        (("\ud800", 2000, good(2000)), "API key is invalid."),
    ],
)
def test_a_login_that_is_wrong(args: tuple[object, ...], message: str) -> None:
    protocol.check_auth(("key", "2000", good(2000)), KEYS, (1000, 5000))
    with pytest.raises(Rejection, match=message):
        protocol.check_auth(args, KEYS, (1000, 5000))


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        (["order", "position.linear"], "error:topics of both kinds in one request"),
        (["order.linear", "wallet", "execution"], "error:topics of both kinds in one request"),
        (["wallet.linear"], "error:handler not found,topic:wallet.linear"),
        (["position.spot"], "error:handler not found,topic:position.spot"),
        (["tickers.BTCUSDT"], "error:handler not found,topic:tickers.BTCUSDT"),
        (["order."], "error:handler not found,topic:order."),
        (["execution.fast.linear", "execution"], "error:topics of both kinds in one request"),
    ],
)
def test_private_topics_that_are_refused(topics: list[str], message: str) -> None:
    protocol.check_private(["order.linear", "execution.inverse", "wallet"])
    with pytest.raises(Rejection, match=message):
        protocol.check_private(topics)


def test_nothing_private_before_the_login(exchange: RunningExchange) -> None:
    with client(exchange.url, PRIVATE) as raw:
        told = raw.ask(op="subscribe", args=["order"], req_id="x")
        assert (told["success"], told["ret_msg"], told["req_id"]) == (False, "Request not authorized", "x")
        order(exchange)
        assert raw.is_silent(0.15)


def test_an_order_is_told_with_what_it_did(falling: RunningExchange) -> None:
    with client(falling.url, PRIVATE) as raw:
        subscribed(raw, *ALL)
        placed = order(falling, stopLoss="99000", orderLinkId="mine")
        told = [raw.receive() for _ in range(4)]
        assert [message["topic"] for message in told] == ALL
        assert {message["creationTime"] for message in told} == {T0}
        assert len({message["id"] for message in told}) == 4
        orders, (execution,), (position,), (wallet,) = (message["data"] for message in told)
        assert [(row["orderStatus"], row["stopOrderType"]) for row in orders] == [
            ("Filled", ""),
            ("Untriggered", "StopLoss"),
        ]
        assert orders[0]["orderId"] == placed["orderId"] == execution["orderId"]
        assert {row["category"] for row in (*orders, execution, position)} == {"linear"}
        assert (execution["execPnl"], execution["closedSize"]) == ("0", "0")
        (theirs,) = read(falling, "/v5/position/list", "category=linear&symbol=BTCUSDT")
        assert position["entryPrice"] == theirs.pop("avgPrice")
        same = [name for name in position if name in theirs and position[name] != "0"]
        assert {name: position[name] for name in same} == {name: theirs[name] for name in same}
        assert (position["stopLoss"], position["takeProfit"]) == ("99000.00", "0")
        assert [wallet] == read(falling, "/v5/account/wallet-balance", "accountType=UNIFIED")
        assert raw.is_silent(0.15)


def test_a_stop_in_a_leap_of_the_clock_is_told_as_it_happened(falling: RunningExchange) -> None:
    with client(falling.url, PRIVATE) as raw:
        order(falling, stopLoss="99000")
        subscribed(raw, *ALL)
        falling.advance(HOUR)
        told = [raw.receive() for _ in range(4)]
        assert [message["topic"] for message in told] == ALL
        happened = told[0]["creationTime"]
        assert T0 + MINUTE < happened < T0 + 2 * MINUTE
        (stop,), (execution,), (position,), (wallet,) = (message["data"] for message in told)
        assert (stop["orderStatus"], stop["stopOrderType"]) == ("Filled", "StopLoss")
        assert (position["side"], position["size"], position["liqPrice"]) == ("", "0", "0")
        (closed,) = read(falling, "/v5/position/closed-pnl", "category=linear")
        gross = D(closed["closedPnl"]) + D(closed["openFee"]) + D(closed["closeFee"])
        assert D(execution["execPnl"]) == gross < 0
        assert wallet["totalPerpUPL"] == "0" and wallet["totalEquity"] == wallet["totalWalletBalance"]


def test_a_short_s_profit_counts_the_other_way(falling: RunningExchange) -> None:
    with client(falling.url, PRIVATE) as raw:
        order(falling, side="Sell", qty="0.02")
        falling.advance(2 * MINUTE)
        subscribed(raw, "execution")
        order(falling, side="Buy", qty="0.01", reduceOnly=True)
        (execution,) = raw.push("execution")["data"]
        (closed,) = read(falling, "/v5/position/closed-pnl", "category=linear")
        assert D(execution["execPnl"]) == D(closed["cumEntryValue"]) - D(closed["cumExitValue"]) > 15


def test_an_order_that_fills_nothing_still_tells_the_position(exchange: RunningExchange) -> None:
    with client(exchange.url, PRIVATE) as raw:
        order(exchange, stopLoss="80000")
        subscribed(raw, "order", "position")
        post(exchange, "/v5/order/cancel-all", symbol="BTCUSDT")
        assert [row["orderStatus"] for row in raw.push("order")["data"]] == ["Deactivated"]
        assert raw.push("position")["data"][0]["stopLoss"] == "0"


def test_leverage_is_told_as_a_position(exchange: RunningExchange) -> None:
    with client(exchange.url, PRIVATE) as raw:
        subscribed(raw, *ALL)
        post(exchange, "/v5/position/set-leverage", symbol="BTCUSDT", buyLeverage="7", sellLeverage="7")
        (row,) = raw.receive()["data"]
        assert (row["leverage"], row["size"], row["entryPrice"], row["positionValue"]) == ("7", "0", "0", "0")
        assert raw.is_silent(0.15)


def test_categorised_topics_are_told_under_their_name_and_two_clients_hear_the_same(
    exchange: RunningExchange,
) -> None:
    with client(exchange.url, PRIVATE) as one, client(exchange.url, PRIVATE) as two:
        subscribed(one, "order.linear", "execution.linear", "order.inverse")
        subscribed(two, "order")
        order(exchange)
        categorised, plain = one.push("order.linear"), two.push("order")
        assert categorised["data"] == plain["data"]
        assert one.receive()["topic"] == "execution.linear"
        assert two.ask(op="unsubscribe", args=["order"]) | {"conn_id": ""} == {
            "success": True,
            "ret_msg": "",
            "op": "unsubscribe",
            "conn_id": "",
        }
        order(exchange)
        assert one.push("order.linear") and two.is_silent(0.15)


def test_fast_executions_are_short_and_only_trades(exchange: RunningExchange) -> None:
    with client(exchange.url, PRIVATE) as raw:
        subscribed(raw, "execution.fast", "execution")
        order(exchange)
        (fast,), (full,) = raw.push("execution.fast")["data"], raw.push("execution")["data"]
        assert len(fast) == 11 and fast == {name: full[name] for name in fast}
        exchange.advance(8 * HOUR)
        assert raw.receive()["data"][0]["execType"] == "Funding"


def test_the_venue_is_listened_to_only_while_somebody_listens(exchange: RunningExchange) -> None:
    def journal() -> object:
        return exchange.venue.engine.state.journal

    assert journal() is None
    with client(exchange.url, PRIVATE) as raw:
        subscribed(raw, "order", "wallet")
        assert journal() == []
        raw.ask(op="unsubscribe", args=["order"])
        assert journal() == []
    until(lambda: journal() is None)
    with client(exchange.url, PRIVATE) as raw:
        subscribed(raw, "order")
        order(exchange)
        assert raw.push("order")


def test_on_a_running_clock_a_stop_is_told_without_anybody_asking() -> None:
    config = ServeConfig(clock=ClockSpec(ClockMode.ACCELERATED, T0, 60.0))
    with serve_in_thread(config, FakeMarket(FALLING)) as running, client(running.url, PRIVATE) as raw:
        subscribed(raw, "order")
        order(running, stopLoss="99000")
        assert raw.push("order")["data"][0]["orderStatus"] == "Filled"
        told = raw.push("order")
        assert [row["stopOrderType"] for row in told["data"]] == ["StopLoss"]
        assert running.now_ms() - told["creationTime"] < 60 * 1000 * (SETTLE_S + 60.0)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["op", "args", "req_id", "x"]), JSON) | JSON)
def test_whatever_is_sent_is_a_request_or_is_refused(value: object) -> None:
    text = json.dumps(value)
    try:
        request = protocol.parse(text)
        topics = request.topics()
        protocol.check_private(topics)
    except Rejection as rejection:
        told = json.loads(protocol.refusal(str(rejection), None, "id", is_private=False))
        assert told["success"] is False
    else:
        answer = json.loads(protocol.acknowledgement(request, "id", is_private=True))
        assert answer.get("req_id") == request.req_id
    with pytest.raises(Rejection):
        protocol.check_auth((value, "2000", value), KEYS, (1000,))


def test_requests_are_read_with_their_own_identifiers() -> None:
    assert protocol.parse('{"op":"ping"}') == Request("ping", (), None)
    assert protocol.parse('{"op":"subscribe","args":["a"],"req_id":5}') == Request("subscribe", ("a",), 5)
    for text in ('{"op":"ping","req_id":true}', '{"op":"ping","req_id":{}}', '{"op":"ping","args":"order"}'):
        with pytest.raises(Rejection):
            protocol.parse(text)
