"""Limit, conditional, partial and hedged orders through pybit, on the seeded market."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import pybit_session
from trading_assets_tests.simulator.fake_market import DAY, HOUR

D = Decimal
START = 1_772_323_200_000  # 2026-03-01T00:00:00Z
BTC = {"category": "linear", "symbol": "BTCUSDT"}
TICK = D("0.1")


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, START), symbols=20)) as running:
        yield running


@pytest.fixture
def session(exchange: RunningExchange) -> HTTP:
    return pybit_session(exchange.url)


def rows(answer: Any) -> list[Any]:
    return answer["result"]["list"]


def refused(code: int) -> Any:
    return pytest.raises(InvalidRequestError, match=f"ErrCode: {code}")


def away(session: HTTP, factor: str) -> str:
    last = D(rows(session.get_tickers(**BTC))[0]["lastPrice"])
    return str((last * D(factor) / TICK).to_integral_value() * TICK)


def limit(session: HTTP, factor: str, side: str = "Buy", **more: Any) -> Any:
    price = away(session, factor)
    wanted = {"side": side, "orderType": "Limit", "qty": "0.01", "price": price} | more
    return session.place_order(**BTC, **wanted)["result"]


def test_a_resting_order_is_amended_and_filled_as_maker(exchange: RunningExchange, session: HTTP) -> None:
    made = limit(session, "0.98", orderLinkId="rest", timeInForce="PostOnly")
    price = away(session, "0.999")
    assert session.amend_order(**BTC, orderLinkId="rest", price=price, qty="0.02")["result"] == made
    with refused(10001):
        session.amend_order(**BTC, orderLinkId="rest", price=price)
    (row,) = rows(session.get_open_orders(**BTC))
    assert (D(row["price"]), row["qty"], row["orderStatus"], row["timeInForce"]) == (
        D(price),
        "0.020",
        "New",
        "PostOnly",
    )
    for _ in range(48):
        exchange.advance(HOUR)
        if not rows(session.get_open_orders(**BTC)):
            break
    fills = rows(session.get_executions(**BTC, execType="Trade"))
    assert {fill["isMaker"] for fill in fills} == {True} and {D(fill["execPrice"]) for fill in fills} == {D(price)}
    assert sum(D(fill["execQty"]) for fill in fills) == D("0.02")
    assert {fill["feeRate"] for fill in fills} == {"0.0002"}
    with refused(110008):
        session.amend_order(**BTC, orderLinkId="rest", price=away(session, "0.9"))


def test_orders_are_cancelled_one_by_one_and_together(session: HTTP) -> None:
    for link in ("a", "b", "c"):
        limit(session, "0.97", orderLinkId=link)
    session.cancel_order(**BTC, orderLinkId="b")
    with refused(110010):
        session.cancel_order(**BTC, orderLinkId="b")
    assert [row["orderLinkId"] for row in rows(session.get_open_orders(**BTC))] == ["c", "a"]
    assert len(rows(session.cancel_all_orders(**BTC, orderFilter="Order"))) == 2
    history = rows(session.get_order_history(**BTC))
    assert {row["orderStatus"] for row in history} == {"Cancelled"}
    assert {row["cancelType"] for row in history} == {"CancelByUser"}


def test_a_conditional_order_waits_for_its_trigger(exchange: RunningExchange, session: HTTP) -> None:
    trigger = away(session, "1.004")
    wanted = {"side": "Buy", "orderType": "Market", "qty": "0.01", "triggerPrice": trigger, "orderLinkId": "wait"}
    with refused(10001):
        session.place_order(**BTC, **wanted)
    with refused(110093):
        session.place_order(**BTC, **wanted, triggerDirection=2)
    session.place_order(**BTC, **wanted, triggerDirection=1, triggerBy="MarkPrice", stopLoss=away(session, "0.9"))
    (row,) = rows(session.get_open_orders(**BTC, orderFilter="StopOrder"))
    assert (row["orderStatus"], row["stopOrderType"], row["triggerBy"]) == ("Untriggered", "Stop", "MarkPrice")
    assert D(row["triggerPrice"]) == D(trigger) and row["triggerDirection"] == 1
    moved = away(session, "1.002")
    session.amend_order(**BTC, orderLinkId="wait", triggerPrice=moved)
    for _ in range(14 * 4):
        exchange.advance(DAY // 4)
        (row,) = rows(session.get_open_orders(**BTC, orderLinkId="wait"))
        if row["orderStatus"] != "Untriggered":
            break
    assert (row["orderStatus"], row["cumExecQty"]) == ("Filled", "0.010")
    assert abs(D(row["avgPrice"]) / D(moved) - 1) < D("0.005")
    assert rows(session.get_executions(**BTC, orderId=row["orderId"]))[0]["stopOrderType"] == "Stop"


def test_partial_stops_beside_the_full_one(session: HTTP) -> None:
    session.place_order(**BTC, side="Buy", orderType="Market", qty="0.03", stopLoss=away(session, "0.9"))
    part = {"tpslMode": "Partial", "positionIdx": 0, "tpSize": "0.01", "slSize": "0.01"}
    levels = {"takeProfit": away(session, "1.05"), "stopLoss": away(session, "0.95")}
    session.set_trading_stop(**BTC, **part, **levels)
    kinds = {row["stopOrderType"]: row["qty"] for row in rows(session.get_open_orders(**BTC))}
    assert kinds == {"StopLoss": "0.030", "PartialStopLoss": "0.010", "PartialTakeProfit": "0.010"}
    session.place_order(**BTC, side="Sell", orderType="Market", qty="0", reduceOnly=True, closeOnTrigger=True)
    assert rows(session.get_open_orders(**BTC)) == []
    gone = [row for row in rows(session.get_order_history(**BTC)) if row["orderStatus"] == "Deactivated"]
    assert {row["cancelType"] for row in gone} == {"CancelByTpSlTsClear"} and len(gone) == 3


def test_a_hedged_life(exchange: RunningExchange, session: HTTP) -> None:
    session.switch_position_mode(category="linear", coin="USDT", mode=3)
    with refused(110025):
        session.switch_position_mode(**BTC, mode=3)
    with refused(10001):
        session.place_order(**BTC, side="Buy", orderType="Market", qty="0.01")
    order = {"orderType": "Market", "qty": "0.01"}
    session.place_order(**BTC, **order, side="Buy", positionIdx=1, stopLoss=away(session, "0.8"))
    session.place_order(**BTC, **order, side="Sell", positionIdx=2)
    session.set_trading_stop(**BTC, tpslMode="Full", positionIdx=2, stopLoss=away(session, "1.2"))
    long, short = rows(session.get_positions(**BTC))
    assert [(leg["positionIdx"], leg["side"], leg["size"]) for leg in (long, short)] == [
        (1, "Buy", "0.01"),
        (2, "Sell", "0.01"),
    ]
    assert D(long["stopLoss"]) < D(long["avgPrice"]) < D(short["stopLoss"])
    exchange.advance(8 * HOUR)
    paid = rows(session.get_executions(**BTC, execType="Funding"))
    assert len(paid) == 2 and sum(D(row["execFee"]) for row in paid) == 0
    session.place_order(**BTC, **order, side="Sell", positionIdx=1, reduceOnly=True)
    with refused(110017):
        session.place_order(**BTC, **order, side="Sell", positionIdx=1, reduceOnly=True)
    with refused(110024):
        session.switch_position_mode(**BTC, mode=0)
    session.place_order(**BTC, **order, side="Buy", positionIdx=2, reduceOnly=True)
    assert rows(session.get_positions(category="linear", settleCoin="USDT")) == []
    assert {row["side"] for row in rows(session.get_closed_pnl(category="linear"))} == {"Buy", "Sell"}
    session.switch_position_mode(**BTC, mode=0)
    session.place_order(**BTC, **order, side="Buy", positionIdx=0)
    assert [row["positionIdx"] for row in rows(session.get_positions(**BTC))] == [0]


def test_a_batch_through_pybit(session: HTTP) -> None:
    price = away(session, "0.97")
    one = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": price}
    made = session.place_batch_order(category="linear", request=[one | {"orderLinkId": "x"}, one | {"qty": "-1"}])
    assert [outcome["code"] for outcome in made["retExtInfo"]["list"]] == [0, 10001]
    changed = session.amend_batch_order(
        category="linear", request=[{"symbol": "BTCUSDT", "orderLinkId": "x", "qty": "0.02"}]
    )
    assert changed["retExtInfo"]["list"] == [{"code": 0, "msg": "OK"}]
    session.cancel_batch_order(category="linear", request=[{"symbol": "BTCUSDT", "orderLinkId": "x"}])
    assert rows(session.get_open_orders(**BTC)) == []
