"""An account in the wild: lists that lag, rows that are odd, orders that are rejected late, contracts that leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP

from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets_tests.simulator.clients import answer, get, post, pybit_session
from trading_assets_tests.simulator.fake_market import T0, FakeMarket
from trading_assets_tests.simulator.stream.raw import PRIVATE, client

D = Decimal
BTC, PERP, FUTURE = "BTCUSDT", "BTCPERP", "BTCUSDT-30JAN26"
Rows = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket()) as running:
        yield running


@pytest.fixture
def session(exchange: RunningExchange) -> HTTP:
    return pybit_session(exchange.url)


def arm(exchange: RunningExchange, **rule: Any) -> None:
    exchange.faults.add(parse_rules(rule, ENDPOINTS), exchange.now_ms())


def order(session: HTTP, side: str = "Buy", qty: str = "0.01", symbol: str = BTC, **more: Any) -> str:
    placed = session.place_order(
        category="linear", symbol=symbol, side=side, qty=qty, **({"orderType": "Market"} | more)
    )
    return str(placed["result"]["orderId"])


def listed(result: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result["result"]["list"]
    return rows


def of_position(session: HTTP) -> list[dict[str, Any]]:
    return listed(session.get_positions(category="linear", settleCoin="USDT"))


def of_open_orders(session: HTTP) -> list[dict[str, Any]]:
    return listed(session.get_open_orders(category="linear", settleCoin="USDT"))


def of_order_history(session: HTTP) -> list[dict[str, Any]]:
    return listed(session.get_order_history(category="linear"))


def of_executions(session: HTTP) -> list[dict[str, Any]]:
    return listed(session.get_executions(category="linear"))


def of_closed_pnl(session: HTTP) -> list[dict[str, Any]]:
    return listed(session.get_closed_pnl(category="linear"))


def of_wallet(session: HTTP) -> list[dict[str, Any]]:
    (row,) = listed(session.get_wallet_balance(accountType="UNIFIED"))
    return [coin for coin in row["coin"] if D(coin["walletBalance"]) != 10_000]


def of_log(session: HTTP) -> list[dict[str, Any]]:
    return listed(session.get_transaction_log(category="linear"))


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("order/realtime", of_open_orders),
        ("order/history", of_order_history),
        ("position/list", of_position),
        ("execution/list", of_executions),
        ("position/closed-pnl", of_closed_pnl),
        ("account/wallet-balance", of_wallet),
        ("account/transaction-log", of_log),
    ],
)
def test_a_list_shows_the_account_of_a_while_ago(
    exchange: RunningExchange, session: HTTP, path: str, read: Callable[[HTTP], list[dict[str, Any]]]
) -> None:
    arm(exchange, where=f"GET /v5/{path}", lag_ms=5000)
    order(session, qty="0.03")
    order(session, side="Sell", reduceOnly=True)
    order(session, orderType="Limit", price="50000")
    assert read(session) == []
    exchange.advance(4999)
    assert read(session) == []
    exchange.advance(1)
    shown = read(session)
    exchange.faults.remove()
    assert shown and [row.keys() for row in shown] == [row.keys() for row in read(session)]


def test_what_was_there_before_the_lag_stays_seen_and_changes_late(exchange: RunningExchange, session: HTTP) -> None:
    order(session, qty="0.03")
    arm(exchange, where="GET /v5/position/list", lag_ms=1000)
    order(session, side="Sell", qty="0.03", reduceOnly=True)
    (row,) = of_position(session)
    assert (row["size"], row["side"]) == ("0.03", "Buy")
    assert len(of_closed_pnl(session)) == 1
    exchange.advance(1000)
    assert of_position(session) == []


def test_other_lists_do_not_lag_and_an_order_by_its_id_does(exchange: RunningExchange, session: HTTP) -> None:
    arm(exchange, where="GET /v5/order/realtime", lag_ms=1000)
    placed = order(session)
    assert listed(session.get_open_orders(category="linear", symbol=BTC, orderId=placed)) == []
    assert of_order_history(session)[0]["orderId"] == placed


def test_rows_are_changed_left_out_and_repeated(exchange: RunningExchange, session: HTTP) -> None:
    order(session, orderType="Limit", price="50000")
    order(session, symbol="ALTUSDT", qty="1000", orderType="Limit", price="0.02")
    arm(
        exchange,
        where="GET /v5/order/realtime",
        rows={"symbol": "ALT*"},
        set={"orderStatus": "Active", "cumFeeDetail.USDT": "-"},
        without=["positionIdx"],
        repeat_rows=True,
    )
    alt, again, btc = of_open_orders(session)
    assert alt == again and (alt["orderStatus"], alt["cumFeeDetail"]) == ("Active", {"USDT": "-"})
    assert "positionIdx" not in alt and btc["orderStatus"] == "New" and btc["positionIdx"] == 0
    arm(exchange, where="GET /v5/order/realtime", calls=1, leave_out=True)
    assert of_open_orders(session) == []
    assert len(of_open_orders(session)) == 3


def test_fields_inside_lists_and_public_rows_are_reached(exchange: RunningExchange, session: HTTP) -> None:
    arm(exchange, where="GET /v5/account/wallet-balance", set={"totalEquity": "", "coin.equity": ""})
    (row,) = listed(session.get_wallet_balance(accountType="UNIFIED"))
    assert (row["totalEquity"], row["coin"][0]["equity"], row["totalWalletBalance"]) == ("", "", "10000")
    arm(exchange, where="GET /v5/market/instruments-info", rows={"symbol": FUTURE}, without="fundingInterval")
    arm(exchange, where="GET /v5/market/instruments-info", set={"lotSizeFilter.qtyStep": "0.5"})
    rows = {row["symbol"]: row for row in listed(session.get_instruments_info(category="linear"))}
    assert "fundingInterval" not in rows[FUTURE] and rows[BTC]["fundingInterval"] == 480
    assert {row["lotSizeFilter"]["qtyStep"] for row in rows.values()} == {"0.5"}
    arm(exchange, where="GET /v5/account/info", set={"marginMode": "FUTURE_MARGIN"})
    assert session.get_account_info()["result"]["marginMode"] == "FUTURE_MARGIN"


def test_a_later_page_begins_with_rows_of_the_page_before(exchange: RunningExchange, session: HTTP) -> None:
    for _ in range(5):
        order(session)
    arm(exchange, where="GET /v5/execution/list", overlap_rows=1)
    seen, cursor = [], ""
    for _ in range(3):
        page = session.get_executions(category="linear", limit=2, **({"cursor": cursor} if cursor else {}))["result"]
        seen.append([row["seq"] for row in page["list"]])
        cursor = page["nextPageCursor"]
    assert [len(page) for page in seen] == [2, 3, 2]
    assert [seen[1][0], seen[2][0]] == [seen[0][-1], seen[1][-1]]
    assert len({number for page in seen for number in page}) == 5


def test_rows_of_a_stream_are_changed(exchange: RunningExchange, session: HTTP) -> None:
    arm(exchange, where="ws:order", rows={"symbol": BTC}, set={"orderStatus": "Unknown"}, repeat_rows=True)
    arm(exchange, where="ws:position", leave_out=True)
    with client(exchange.url, PRIVATE) as raw:
        raw.login()
        raw.ask(op="subscribe", args=["order", "position", "execution"])
        order(session)
        assert [row["orderStatus"] for row in raw.push("order")["data"]] == ["Unknown", "Unknown"]
        assert raw.push("execution")["data"]
        assert raw.is_silent(0.3)


def test_an_acknowledged_order_is_rejected_with_a_reason(exchange: RunningExchange, session: HTTP) -> None:
    arm(exchange, where="POST /v5/order/create", calls=1, reject_reason="EC_NoEnoughQtyToFill")
    placed = order(session, orderLinkId="late", stopLoss="50000")
    (row,) = listed(session.get_open_orders(category="linear", symbol=BTC, orderLinkId="late"))
    assert (row["orderId"], row["orderStatus"], row["rejectReason"]) == (placed, "Rejected", "EC_NoEnoughQtyToFill")
    assert (row["cumExecQty"], of_position(session), of_open_orders(session)) == ("0.000", [], [])
    assert of_order_history(session)[0]["rejectReason"] == "EC_NoEnoughQtyToFill"
    with pytest.raises(InvalidRequestError, match="duplicate"):
        order(session, orderLinkId="late")
    order(session)
    assert len(of_position(session)) == 1


def test_a_closing_that_fills_over_minutes_is_one_row_that_grows(exchange: RunningExchange, session: HTTP) -> None:
    order(session, qty="0.03")
    arm(exchange, where="POST /v5/order/create", fill_parts=3)
    closing = order(session, side="Sell", qty="0.03", reduceOnly=True)
    exchange.faults.remove()
    seen = []
    for _ in range(4):
        (row,) = of_closed_pnl(session)
        (state,) = listed(session.get_open_orders(category="linear", symbol=BTC, orderId=closing))
        seen.append((row["orderId"], row["closedSize"], row["fillCount"], state["orderStatus"]))
        exchange.advance(MINUTE_MS)
    assert seen == [
        (closing, "0.01", "1", "PartiallyFilled"),
        (closing, "0.02", "2", "PartiallyFilled"),
        (closing, "0.03", "3", "Filled"),
        (closing, "0.03", "3", "Filled"),
    ]
    assert [D(row["execQty"]) for row in of_executions(session)] == [D("0.01")] * 3 + [D("0.03")]
    assert of_position(session) == []


def test_the_remaining_parts_of_an_order_can_be_cancelled(exchange: RunningExchange, session: HTTP) -> None:
    arm(exchange, where="POST /v5/order/create", fill_parts=2)
    placed = order(session, qty="0.02")
    session.cancel_order(category="linear", symbol=BTC, orderId=placed)
    exchange.advance(5 * MINUTE_MS)
    (row,) = of_position(session)
    assert row["size"] == "0.01"


def test_a_public_limit_comes_without_the_reset_header(exchange: RunningExchange) -> None:
    arm(exchange, where="GET /v5/market/*", ret_code=10006)
    response = get(exchange.url, f"/v5/market/tickers?category=linear&symbol={BTC}")
    assert answer(response)["retCode"] == 10006
    assert not [name for name in response.headers if name.lower().startswith("x-bapi")]


def test_a_flat_row_is_empty_and_the_bankruptcy_price_always(exchange: RunningExchange, session: HTTP) -> None:
    (flat,) = listed(session.get_positions(category="linear", symbol=BTC))
    told = {name for name, value in flat.items() if value not in ("", 0, False)} - {"avgPrice"}
    assert told == {
        "symbol", "size", "positionStatus", "leverage", "markPrice", "cumRealisedPnl", "riskId", "riskLimitValue",
        "tpslMode", "createdTime", "updatedTime",
    }  # fmt: skip
    order(session)
    assert of_position(session)[0]["bustPrice"] == ""


@pytest.mark.parametrize(
    ("status", "opens", "leaves"),
    [("PreLaunch", 110074, 110074), ("Delivering", 30228, 0), ("Settling", 110063, 110063), ("Closed", 110074, 110074)],
)
def test_the_status_of_a_contract_says_who_may_enter_and_leave(
    exchange: RunningExchange, session: HTTP, status: str, opens: int, leaves: int
) -> None:
    order(session)
    answer(post(exchange.url, "/admin/contracts", {"symbol": BTC, "status": status}))
    assert BTC not in {row["symbol"] for row in listed(session.get_instruments_info(category="linear"))}
    (row,) = listed(session.get_instruments_info(category="linear", status=status))
    assert row["symbol"] == BTC
    for code, side, reduce_only in ((opens, "Buy", False), (leaves, "Sell", True)):
        try:
            order(session, side=side, reduceOnly=reduce_only)
            found = 0
        except InvalidRequestError as error:
            found = error.status_code
        assert found == code


def test_an_announced_delivery_closes_without_an_order(exchange: RunningExchange, session: HTTP) -> None:
    order(session, qty="0.02", stopLoss="50000")
    answer(post(exchange.url, "/admin/contracts", {"symbol": BTC, "delivery_in_ms": 2 * HOUR_MS}))
    (contract,) = listed(session.get_instruments_info(category="linear", symbol=BTC))
    assert (contract["status"], contract["deliveryTime"]) == ("Trading", str(T0 + 2 * HOUR_MS))
    (ticker,) = listed(session.get_tickers(category="linear", symbol=BTC))
    assert ticker["deliveryTime"] == contract["deliveryTime"]
    (news,) = answer(get(exchange.url, "/v5/announcements/index?locale=en-US&type=delistings"))["result"]["list"]
    assert BTC in news["title"]
    order(session)
    exchange.advance(3 * HOUR_MS)
    delivery, *fills = of_executions(session)
    assert (delivery["execType"], delivery["orderType"], delivery["execQty"]) == ("Delivery", "UNKNOWN", "0.03")
    assert delivery["orderId"] not in {row["orderId"] for row in of_order_history(session)}
    assert [row["execType"] for row in fills] == ["Trade", "Trade"]
    assert (of_position(session), of_open_orders(session)) == ([], [])
    (closed,) = of_closed_pnl(session)
    assert (closed["execType"], closed["closeFee"]) == ("Settle", "0")
    (record,) = listed(session.get_option_delivery_record(category="linear"))
    assert (record["symbol"], record["side"], record["position"]) == (BTC, "Buy", "0.03")
    assert D(record["deliveryRpl"]) == D(closed["closedPnl"]) + D(closed["openFee"])
    assert of_log(session)[0]["type"] == "DELIVERY"
    with pytest.raises(InvalidRequestError, match="not live"):
        order(session)


def test_a_grown_quantity_step_refuses_what_no_longer_fits(exchange: RunningExchange, session: HTTP) -> None:
    answer(post(exchange.url, "/admin/contracts", {"symbol": BTC, "qty_step": "0.01"}))
    with pytest.raises(InvalidRequestError, match="minimum limit"):
        order(session, qty="0.005")
    order(session, qty="0.01")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"symbol": "NOUSDT"}, "symbol invalid"),
        ({"symbol": BTC, "status": "Gone"}, "status must be one of"),
        ({"symbol": BTC, "delivery_ms": T0}, "must lie ahead"),
        ({"symbol": BTC, "qty_step": "0.0007"}, "qty_step must be"),
        ({"symbol": BTC, "tick": "1"}, "unknown: tick"),
    ],
)
def test_a_wrong_change_of_a_contract_is_refused(exchange: RunningExchange, body: dict[str, Any], words: str) -> None:
    response = post(exchange.url, "/admin/contracts", body)
    assert response.status_code == 400 and words in response.json()["error"]


@pytest.mark.parametrize(
    ("reason", "execution", "has_order", "log"),
    [
        ("adl", "AdlTrade", True, "ADL"),
        ("liquidation", "BustTrade", True, "LIQUIDATION"),
        ("settlement", "Settle", False, "DELIVERY"),
        ("delivery", "Delivery", False, "DELIVERY"),
    ],
)
def test_the_venue_closes_for_several_reasons(
    exchange: RunningExchange, session: HTTP, reason: str, execution: str, has_order: bool, log: str
) -> None:
    order(session, qty="0.03", stopLoss="50000")
    body = {"symbol": BTC, "qty": "0.01", "reason": reason}
    assert answer(post(exchange.url, "/admin/positions", body)) == {"closed": "0.01", "left": "0.02"}
    newest = of_executions(session)[0]
    assert (newest["execType"], newest["side"], newest["execQty"]) == (execution, "Sell", "0.01")
    assert (newest["orderId"] in {row["orderId"] for row in of_order_history(session)}) is has_order
    assert of_log(session)[0]["type"] == log
    assert of_position(session)[0]["stopLoss"] == "50000.00"
    assert post(exchange.url, "/admin/positions", body | {"qty": "5"}).status_code == 400
    assert post(exchange.url, "/admin/positions", body | {"reason": "whim"}).status_code == 400


def test_the_stream_tells_only_of_the_legs_of_the_mode(exchange: RunningExchange, session: HTTP) -> None:
    order(session)
    order(session, side="Sell", reduceOnly=True)
    session.switch_position_mode(category="linear", symbol=BTC, mode=3)
    with client(exchange.url, PRIVATE) as raw:
        raw.login()
        raw.ask(op="subscribe", args=["position"])
        order(session, positionIdx=1)
        assert [row["positionIdx"] for row in raw.push("position")["data"]] == [1]
        order(session, orderType="Limit", price="50000", positionIdx=1)
        assert [row["positionIdx"] for row in raw.push("position")["data"]] == [1, 2]
        session.set_leverage(category="linear", symbol=BTC, buyLeverage="5", sellLeverage="5")
        assert [row["positionIdx"] for row in raw.push("position")["data"]] == [1, 2]


def test_money_that_leaves_is_in_the_log(exchange: RunningExchange, session: HTTP) -> None:
    for adjust, amount in ((0, "500"), (1, "200")):
        post_money(session, adjust, amount)
    assert [(row["type"], row["change"], row["cashBalance"]) for row in of_transfers(session)] == [
        ("TRANSFER_OUT", "-200", "10300"),
        ("TRANSFER_IN", "500", "10500"),
    ]
    with pytest.raises(InvalidRequestError, match="insufficient"):
        post_money(session, 1, "10301")


def post_money(session: HTTP, adjust: int, amount: str) -> None:
    query = {"adjustType": adjust, "utaDemoApplyMoney": [{"coin": "USDT", "amountStr": amount}]}
    session._submit_request(
        method="POST", path=f"{session.endpoint}/v5/account/demo-apply-money", query=query, auth=True
    )


def of_transfers(session: HTTP) -> list[dict[str, Any]]:
    return listed(session.get_transaction_log(accountType="UNIFIED"))


@pytest.mark.parametrize("symbol", [PERP, FUTURE])
def test_other_contracts_are_listed_and_traded(exchange: RunningExchange, session: HTTP, symbol: str) -> None:
    post_coins = {"adjustType": 0, "utaDemoApplyMoney": [{"coin": "USDC", "amountStr": "10000"}]}
    session._submit_request(
        method="POST", path=f"{session.endpoint}/v5/account/demo-apply-money", query=post_coins, auth=True
    )
    (contract,) = listed(session.get_instruments_info(category="linear", symbol=symbol))
    coin = contract["settleCoin"]
    order(session, symbol=symbol, qty="0.05")
    (row,) = listed(session.get_positions(category="linear", settleCoin=coin))
    assert (row["symbol"], row["size"]) == (symbol, "0.05")
    coins = {row["coin"]: row for row in listed(session.get_wallet_balance(accountType="UNIFIED"))[0]["coin"]}
    assert D(coins[coin]["totalPositionIM"]) > 0
    order(session, symbol=symbol, side="Sell", qty="0.05", reduceOnly=True)
    assert of_closed_pnl(session)[0]["symbol"] == symbol


def test_margin_is_added_to_an_isolated_position(exchange: RunningExchange, session: HTTP) -> None:
    def add(margin: str) -> dict[str, Any]:
        path = f"{session.endpoint}/v5/position/add-margin"
        query = {"category": "linear", "symbol": BTC, "margin": margin}
        result: dict[str, Any] = session._submit_request(method="POST", path=path, query=query, auth=True)["result"]
        return result

    order(session, qty="0.1")
    with pytest.raises(InvalidRequestError, match="isolated"):
        add("10")
    session.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
    (before,) = of_position(session)
    after = add("200")
    assert D(after["positionIM"]) - D(before["positionIM"]) == 200
    assert D(after["liqPrice"]) < D(before["liqPrice"])
    for margin, words in (("-201", "insufficient"), ("100000", "insufficient"), ("0", "not been modified")):
        with pytest.raises(InvalidRequestError, match=words):
            add(margin)
    order(session, side="Sell", qty="0.05", reduceOnly=True)
    assert round(D(add("-100")["positionIM"]) - D(before["positionIM"]) / 2, 6) == 0
    session.set_auto_add_margin(category="linear", symbol=BTC, autoAddMargin=1)
    assert of_position(session)[0]["autoAddMargin"] == 1


def test_a_window_of_disconnection_is_remembered(exchange: RunningExchange, session: HTTP) -> None:
    assert session.get_account_info()["result"]["dcpStatus"] == "OFF"
    session.set_dcp(product="DERIVATIVES", timeWindow=40)
    info = session.get_account_info()["result"]
    assert (info["dcpStatus"], info["timeWindow"]) == ("ON", 40)
    path = f"{session.endpoint}/v5/account/query-dcp-info"
    assert session._submit_request(method="GET", path=path, query={}, auth=True)["result"]["dcpInfos"] == [
        {"product": "DERIVATIVES", "dcpStatus": "ON", "timeWindow": "40"}
    ]
    with pytest.raises(InvalidRequestError, match="timeWindow"):
        session.set_dcp(timeWindow=2)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v5/system/status", []),
        ("/v5/market/insurance?coin=USDT", ["USDT"]),
        (f"/v5/market/adlAlert?symbol={BTC}", ["USDT"]),
    ],
)
def test_public_routes_that_have_little_to_tell(exchange: RunningExchange, path: str, shown: list[str]) -> None:
    assert [row["coin"] for row in listed(answer(get(exchange.url, path)))] == shown


def test_private_routes_that_have_little_to_tell(session: HTTP) -> None:
    assert [row["currency"] for row in listed(session.get_collateral_info())] == ["USDC", "USDT"]
    assert listed(session.get_borrow_history()) == listed(session.get_coin_greeks()) == []
    assert listed(session.get_usdc_contract_settlement(category="linear")) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"where": "GET /v5/market/tickers", "lag_ms": 5}, "lists of the account"),
        ({"where": "GET /v5/order/realtime", "reject_reason": "EC_Others"}, "POST /v5/order/create"),
        ({"where": "POST /v5/order/cancel", "fill_parts": 2}, "POST /v5/order/create"),
        ({"where": "GET /v5/order/realtime", "rows": {"symbol": BTC}}, "does nothing"),
        ({"where": "GET /v5/order/realtime", "rows": {"symbol": BTC}, "latency_ms": 5}, "rows goes with"),
        ({"where": "ws:order", "lag_ms": 5}, "ws: rule takes only"),
    ],
)
def test_rules_that_could_do_nothing_are_refused(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_rules(rule, ENDPOINTS)
