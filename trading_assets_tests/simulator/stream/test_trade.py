"""Orders over the trade stream: raw messages, and pybit's WebSocketTrading."""

from __future__ import annotations

import queue
import time
from typing import Any

import pybit._websocket_trading as pybit_trading
import pytest
from pybit.unified_trading import WebSocketTrading

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import pybit_session
from trading_assets_tests.simulator.fake_market import T0, FakeMarket
from trading_assets_tests.simulator.stream.raw import PRIVATE, RawClient, client

TRADE = "/v5/trade"
ORDER = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.01"}


def enter(trader: RawClient, op: str, *args: object, **more: Any) -> dict[str, Any]:
    header = {"X-BAPI-TIMESTAMP": str(time.time_ns() // 1_000_000)}
    return trader.ask(op=op, header=header, args=list(args), **more)


def test_an_order_is_answered_as_over_rest_and_told_on_the_private_stream(exchange: RunningExchange) -> None:
    with client(exchange.url, TRADE) as trader, client(exchange.url, PRIVATE) as listener:
        listener.login()
        listener.ask(op="subscribe", args=["order"])
        login = trader.login()
        assert {key: login[key] for key in ("retCode", "retMsg", "op")} == {"retCode": 0, "retMsg": "OK", "op": "auth"}
        answer = enter(trader, "order.create", {**ORDER, "orderLinkId": "first"}, reqId="r1")
        assert set(answer) == {"reqId", "retCode", "retMsg", "op", "data", "retExtInfo", "header", "connId"}
        assert (answer["reqId"], answer["retCode"], answer["op"]) == ("r1", 0, "order.create")
        assert answer["data"]["orderLinkId"] == "first" and answer["connId"] == login["connId"]
        assert {"Timenow", "Traceid"} <= answer["header"].keys()
        (row,) = listener.push("order")["data"]
        assert (row["orderId"], row["orderStatus"]) == (answer["data"]["orderId"], "Filled")
        again = enter(trader, "order.create", {**ORDER, "orderLinkId": "first"})
        assert again["retCode"] == 110072 and "reqId" not in again


def test_a_resting_order_is_amended_and_cancelled_alone_and_in_batches(exchange: RunningExchange) -> None:
    limit = {**ORDER, "orderType": "Limit", "price": "95000"}
    with client(exchange.url, TRADE) as trader:
        trader.login()
        order = {"category": "linear", "symbol": "BTCUSDT", **enter(trader, "order.create", limit)["data"]}
        assert enter(trader, "order.amend", {**order, "price": "94000"})["retCode"] == 0
        assert enter(trader, "order.cancel", order)["retCode"] == 0
        assert enter(trader, "order.cancel", order)["retCode"] == 110010
        both = enter(trader, "order.create-batch", {"category": "linear", "request": [limit, {**limit, "qty": "0"}]})
        assert [row["code"] for row in both["retExtInfo"]["list"]] == [0, 10001]
        assert len(both["data"]["list"]) == 2


def test_what_cannot_be_carried_out_says_why(exchange: RunningExchange) -> None:
    with client(exchange.url, TRADE) as trader:
        assert enter(trader, "order.create", ORDER)["retCode"] == 10005
        trader.login()
        assert trader.login()["retCode"] == 20001
        assert trader.ask(op="ping")["op"] == "pong"
        assert enter(trader, "order.fly", ORDER)["retCode"] == 10404
        assert enter(trader, "order.create", ORDER, ORDER)["retCode"] == 10001
        assert trader.ask(op="order.create", args=[ORDER])["retCode"] == 10001
        late = trader.ask(op="order.create", args=[ORDER], header={"X-BAPI-TIMESTAMP": str(T0 - 10_000)})
        assert late["retCode"] == 10002
        wide = {"X-BAPI-TIMESTAMP": str(T0 - 10_000), "X-BAPI-RECV-WINDOW": "20000"}
        assert trader.ask(op="order.create", args=[ORDER], header=wide)["retCode"] == 0
        trader.socket.send("[1]")
        assert trader.receive()["retCode"] == 10001


def test_a_wrong_key_is_told_and_the_line_closed(exchange: RunningExchange) -> None:
    with client(exchange.url, TRADE) as trader:
        assert trader.login(key="nobody")["retCode"] == 10003
        with pytest.raises(Exception, match="1008"):
            trader.receive()


def test_limits_are_those_of_the_rest_endpoint() -> None:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0), limits=True)
    with serve_in_thread(config, FakeMarket()) as exchange, client(exchange.url, TRADE) as trader:
        trader.login()
        answers = []
        for number in range(12):
            header = {"X-BAPI-TIMESTAMP": str(T0)}
            trader.send(op="order.create", args=[{**ORDER, "qty": "0.001"}], header=header, reqId=str(number))
        for _ in range(12):
            answers.append(trader.receive())
        assert [answer["reqId"] for answer in answers] == [str(number) for number in range(12)]
        assert [answer["retCode"] for answer in answers] == [0] * 10 + [10006] * 2
        assert answers[0]["header"]["X-Bapi-Limit"] == "10"
        assert answers[9]["header"]["X-Bapi-Limit-Status"] == "0"


def test_a_lost_answer_cuts_the_line_and_the_order_is_placed(exchange: RunningExchange) -> None:
    exchange.faults.add([FaultRule(where="POST /v5/order/create", calls="2", lost_answer=True)], T0)
    exchange.faults.add([FaultRule(where="POST /v5/order/create", calls="1", ret_code=10016)], T0)
    with client(exchange.url, TRADE) as trader:
        trader.login()
        assert enter(trader, "order.create", ORDER)["retCode"] == 10016
        with pytest.raises(Exception, match="no close frame"):
            enter(trader, "order.create", {**ORDER, "orderLinkId": "lost"})
    session = pybit_session(exchange.url)
    rows = session.get_order_history(category="linear")["result"]["list"]
    assert [row["orderLinkId"] for row in rows] == ["lost"]


def test_pybit_places_and_cancels(exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pybit_trading, "TRADE_WSS", exchange.url.replace("http://", "ws://") + TRADE)
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    trader = WebSocketTrading(testnet=False, api_key=exchange.key, api_secret=exchange.secret)
    try:
        limit = {**ORDER, "orderType": "Limit", "price": "95000"}
        trader.place_order(answers.put, **limit)
        placed = answers.get(timeout=60)
        trader.cancel_order(answers.put, category="linear", symbol="BTCUSDT", orderId=placed["data"]["orderId"])
        assert answers.get(timeout=60)["retCode"] == 0
        trader.place_order(lambda _: None, error_callback=answers.put, **{**limit, "qty": "0"})
        assert answers.get(timeout=60)["retMsg"] == "Qty invalid"
    finally:
        trader.exit()
