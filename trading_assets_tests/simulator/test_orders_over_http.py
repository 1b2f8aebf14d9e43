"""Orders and account over HTTP, by plain signed requests: batches, pre-check, the money log, play money."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.clients import answer, signed
from trading_assets_tests.simulator.fake_market import DAY, HOUR, T0

D = Decimal
BTC = "BTCUSDT"


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    market = straight(100_000, 100_000, 98_000, funding=0.0001)
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), market) as running:
        yield running


@pytest.fixture(scope="module")
def idle() -> Iterator[Caller]:
    """An exchange for requests that change nothing."""
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), straight(100_000, 100_000)) as running:
        yield Caller(running)


class Caller:
    """Signed requests; `post` and `get` return the whole envelope."""

    def __init__(self, exchange: RunningExchange) -> None:
        self.url = exchange.url

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return answer(signed(self.url, "POST", f"/v5{path}", json.dumps({"category": "linear", **body})))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
        return answer(signed(self.url, "GET", f"/v5{path}", text))

    def rows(self, path: str, **query: Any) -> list[dict[str, Any]]:
        got = self.get(path, **{"category": "linear", **query})
        assert got["retCode"] == 0, got["retMsg"]
        return got["result"]["list"]

    def open_orders(self) -> list[dict[str, Any]]:
        return self.rows("/order/realtime", symbol=BTC)

    def wallet(self) -> dict[str, Any]:
        return self.rows("/account/wallet-balance", accountType="UNIFIED")[0]


@pytest.fixture
def call(exchange: RunningExchange) -> Caller:
    return Caller(exchange)


def limit(price: str, qty: str = "0.01", **more: Any) -> dict[str, Any]:
    return {"symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": qty, "price": price, **more}


def codes(envelope: dict[str, Any]) -> list[int]:
    return [one["code"] for one in envelope["retExtInfo"]["list"]]


def test_a_batch_places_what_it_may_and_tells_each_outcome(exchange: RunningExchange, call: Caller) -> None:
    made = call.post(
        "/order/create-batch",
        request=[
            limit("99000", orderLinkId="one"),
            limit("99000", "0.0105", orderLinkId="bad-quantity"),
            limit("99000", orderLinkId="one"),
            limit("99000", symbol="NOPE"),
            {"symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "0.01", "orderLinkId": "two"},
            limit("99000", "90"),
        ],
    )
    assert (made["retCode"], made["retMsg"]) == (0, "OK")
    assert codes(made) == [0, 10001, 110072, 10001, 0, 110007]
    assert made["retExtInfo"]["list"][0]["msg"] == "OK"
    rows = made["result"]["list"]
    assert [row["orderLinkId"] for row in rows] == ["one", "bad-quantity", "one", "", "two", ""]
    assert [bool(row["orderId"]) for row in rows] == [True, False, False, False, True, False]
    assert [row["symbol"] for row in rows] == [BTC, BTC, BTC, "NOPE", BTC, BTC]
    assert {row["category"] for row in rows} == {"linear"}
    assert [row["createAt"] for row in rows] == [str(T0), "", "", "", str(T0), ""]
    assert [row["orderLinkId"] for row in call.open_orders()] == ["one"]


def test_batches_amend_and_cancel_each_order_by_itself(call: Caller) -> None:
    for link in ("a", "b"):
        assert call.post("/order/create", **limit("99000", orderLinkId=link))["retCode"] == 0
    amended = call.post(
        "/order/amend-batch",
        request=[
            {"symbol": BTC, "orderLinkId": "a", "price": "98500"},
            {"symbol": BTC, "orderLinkId": "b", "price": "99000.0"},
            {"symbol": BTC, "orderLinkId": "c", "price": "98500"},
            {"symbol": BTC, "price": "98500"},
        ],
    )
    assert codes(amended) == [0, 10001, 110001, 10001]
    assert [row["orderLinkId"] for row in amended["result"]["list"]] == ["a", "b", "c", ""]
    assert {row["orderLinkId"]: row["price"] for row in call.open_orders()} == {"a": "98500.00", "b": "99000.00"}
    cancelled = call.post(
        "/order/cancel-batch",
        request=[{"symbol": BTC, "orderLinkId": link} for link in ("a", "nobody", "a")],
    )
    assert codes(cancelled) == [0, 110001, 110010]
    assert [row["orderLinkId"] for row in call.open_orders()] == ["b"]


@pytest.mark.parametrize("requests", [[], [limit("99000")] * 21])
def test_a_batch_has_one_to_twenty_orders(idle: Caller, requests: list[Any]) -> None:
    assert idle.post("/order/create-batch", request=requests)["retCode"] == 10001
    assert idle.open_orders() == []


@pytest.mark.parametrize("request_", [None, "x", [1], [None], [[limit("99000")]], {"symbol": BTC}])
def test_a_batch_that_is_no_list_of_orders_is_refused(idle: Caller, request_: Any) -> None:
    assert idle.post("/order/create-batch", request=request_)["retCode"] == 10001


def test_a_pre_check_tells_margins_and_changes_nothing(call: Caller) -> None:
    before = (call.wallet(), call.open_orders())
    checked = call.post("/order/pre-check", **limit("99000", "0.5", orderLinkId="later"))["result"]
    assert (checked["preImrE4"], checked["preMmrE4"]) == (0, 0)
    assert checked["postImrE4"] == int(49_500 / D(10) + 49_500 * D("0.00055") * D("0.9"))
    taken = call.post("/order/pre-check", symbol=BTC, side="Buy", orderType="Market", qty="0.5")["result"]
    assert taken["postImrE4"] > 5000 and taken["postMmrE4"] > 0
    assert call.post("/order/pre-check", **limit("99000", "90"))["retCode"] == 110007
    assert (call.wallet(), call.open_orders()) == before
    assert call.rows("/execution/list") == call.rows("/order/history") == []
    assert call.post("/order/create", **limit("99000", "0.5", orderLinkId="later"))["retCode"] == 0
    again = call.post("/order/pre-check", **limit("99000", "0.1"))["result"]
    assert again["preImrE4"] == checked["postImrE4"] < again["postImrE4"]


def test_the_money_log_adds_up_to_the_wallet(exchange: RunningExchange, call: Caller) -> None:
    for side, qty in (("Buy", "0.05"), ("Sell", "0.02"), ("Sell", "0.06")):
        call.post("/order/create", symbol=BTC, side=side, orderType="Market", qty=qty)
    exchange.advance(9 * HOUR)
    call.post("/order/create", symbol=BTC, side="Buy", orderType="Market", qty="0.03")
    log = call.rows("/account/transaction-log", accountType="UNIFIED")
    assert [row["type"] for row in log] == ["TRADE", "SETTLEMENT", "TRADE", "TRADE", "TRADE"]
    balance = D(10_000)
    for row in reversed(log):
        assert D(row["change"]) == D(row["cashFlow"]) + D(row["funding"] or "0") - D(row["fee"])
        balance += D(row["change"])
        assert D(row["cashBalance"]) == balance
    assert D(call.wallet()["totalWalletBalance"]) == balance
    (funding,) = (row for row in log if row["type"] == "SETTLEMENT")
    (paid,) = call.rows("/execution/list", execType="Funding")
    assert D(funding["funding"]) == -D(paid["execFee"]) > 0, "a short receives"
    assert funding["fee"] == "0" and D(paid["execFee"]) < 0


def test_the_money_log_comes_in_pages_and_by_kind(exchange: RunningExchange, call: Caller) -> None:
    call.post("/order/create", symbol=BTC, side="Buy", orderType="Market", qty="0.05")
    exchange.advance(DAY)
    everything = call.rows("/account/transaction-log", limit=50)
    assert len(everything) == 4
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    for _ in range(10):
        page = call.get("/account/transaction-log", limit=3, **cursor)["result"]
        if not page["list"]:
            break
        seen += page["list"]
        cursor = {"cursor": page["nextPageCursor"]}
    assert seen == everything
    assert [row["type"] for row in call.rows("/account/transaction-log", type="TRADE")] == ["TRADE"]
    assert len(call.rows("/account/transaction-log", type="SETTLEMENT", baseCoin="BTC")) == 3
    assert call.rows("/account/transaction-log", currency="USDC") == []
    exchange.advance(HOUR)
    assert len(call.rows("/account/transaction-log")) == 3, "24 hours unless told otherwise"
    assert len(call.rows("/account/transaction-log", startTime=T0)) == 4


def test_a_long_pays_funding_with_opposite_signs_in_log_and_executions(exchange: RunningExchange, call: Caller) -> None:
    call.post("/order/create", symbol=BTC, side="Buy", orderType="Market", qty="0.05")
    exchange.advance(8 * HOUR)
    row = call.rows("/account/transaction-log")[0]
    (paid,) = call.rows("/execution/list", execType="Funding")
    assert D(row["funding"]) == -D(paid["execFee"]) == D(row["change"]) == D("-0.49")


def test_play_money_is_a_deposit_and_no_profit(call: Caller) -> None:
    given = call.post(
        "/account/demo-apply-money",
        adjustType=0,
        utaDemoApplyMoney=[{"coin": "USDT", "amountStr": "500.5"}, {"coin": "USDC", "amountStr": "100"}],
    )
    assert given["retCode"] == 0
    wallet = call.wallet()
    coins = {row["coin"]: row for row in wallet["coin"]}
    assert (coins["USDT"]["walletBalance"], coins["USDC"]["walletBalance"]) == ("10500.5", "100")
    assert {row["cumRealisedPnl"] for row in coins.values()} == {"0"}
    assert wallet["totalEquity"] == "10600.5"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"utaDemoApplyMoney": []},
        {"adjustType": 2, "utaDemoApplyMoney": [{"coin": "USDT", "amountStr": "5"}]},
        {"utaDemoApplyMoney": [{"coin": "DOGE", "amountStr": "5"}]},
        {"utaDemoApplyMoney": [{"coin": "USDT", "amountStr": "-5"}]},
        {"utaDemoApplyMoney": [{"coin": "USDT", "amountStr": "5"}, {"coin": "USDT", "amountStr": "100001"}]},
        {"utaDemoApplyMoney": [{"coin": "USDT", "amountStr": "NaN"}]},
    ],
)
def test_play_money_asked_for_wrongly_is_refused_whole(idle: Caller, body: dict[str, Any]) -> None:
    assert idle.post("/account/demo-apply-money", **body)["retCode"] == 10001
    assert idle.wallet()["totalWalletBalance"] == "10000"


def test_cross_and_isolated_margin_are_offered_but_no_portfolio_margin(idle: Caller) -> None:
    for mode in ("ISOLATED_MARGIN", "REGULAR_MARGIN", "REGULAR_MARGIN"):
        assert idle.post("/account/set-margin-mode", setMarginMode=mode)["retCode"] == 0
        assert idle.get("/account/info")["result"]["marginMode"] == mode
    for mode, code in (("PORTFOLIO_MARGIN", 110073), ("CROSS", 10001)):
        assert idle.post("/account/set-margin-mode", setMarginMode=mode)["retCode"] == code
    assert idle.get("/account/info")["result"]["marginMode"] == "REGULAR_MARGIN"


def test_no_coin_can_be_moved(idle: Caller) -> None:
    assert idle.get("/asset/coin/query-info")["result"] == {"rows": []}


def test_an_order_is_amended_and_read_back(exchange: RunningExchange, call: Caller) -> None:
    made = call.post("/order/create", **limit("99000", orderLinkId="mine"))["result"]
    exchange.advance(5)
    changed = call.post("/order/amend", symbol=BTC, orderId=made["orderId"], price="98900", qty="0.02")
    assert changed["result"] == made
    (row,) = call.open_orders()
    assert (row["price"], row["qty"], row["leavesQty"], row["orderStatus"]) == ("98900.00", "0.020", "0.020", "New")
    assert (row["createdTime"], row["updatedTime"]) == (str(T0), str(T0 + 5))
    for body, code in (
        ({"orderId": made["orderId"], "price": "98900"}, 10001),
        ({"orderId": "x", "price": "98900"}, 110001),
        ({"price": "98900"}, 10001),
    ):
        assert call.post("/order/amend", symbol=BTC, **body)["retCode"] == code
    call.post("/order/cancel", symbol=BTC, orderLinkId="mine")
    assert call.post("/order/amend", symbol=BTC, orderLinkId="mine", price="98800")["retCode"] == 110010


def test_cancel_all_cancels_what_the_filter_means(call: Caller) -> None:
    def place() -> None:
        call.post("/order/create", **limit("97000"))
        call.post("/order/create", **limit("97000", symbol="BTCUSDT", triggerPrice="99000", triggerDirection=2))
        call.post("/order/create", symbol=BTC, side="Buy", orderType="Market", qty="0.01", stopLoss="90000")

    def left() -> list[str]:
        return sorted(row["stopOrderType"] for row in call.open_orders())

    place()
    assert left() == ["", "Stop", "StopLoss"]
    for kind, kept in (("Order", ["Stop", "StopLoss"]), ("tpslOrder", ["Stop"]), ("StopOrder", [])):
        gone = call.post("/order/cancel-all", symbol=BTC, orderFilter=kind)["result"]
        assert len(gone["list"]) == 1 and gone["success"] == "1"
        assert left() == kept
    place()
    assert call.post("/order/cancel-all", symbol=BTC, orderFilter="Nothing")["retCode"] == 10001
    assert call.post("/order/cancel-all", symbol="ALTUSDT")["result"]["list"] == []
    assert call.post("/order/cancel-all")["retCode"] == 10001
    assert len(call.post("/order/cancel-all", settleCoin="USDT")["result"]["list"]) == 3 and left() == []


def test_available_balance_is_what_orders_and_positions_leave(call: Caller) -> None:
    call.post("/order/create", **limit("99000", "0.1"))
    wallet = call.wallet()
    held = D(wallet["totalInitialMargin"])
    assert held == D(wallet["coin"][0]["totalOrderIM"]) == 990 + 9900 * D("0.00055") * D("0.9")
    assert D(wallet["totalAvailableBalance"]) == 10_000 - held
    call.post("/order/cancel-all", symbol=BTC)
    assert call.wallet()["totalAvailableBalance"] == "10000"
    call.post("/order/create", symbol=BTC, side="Buy", orderType="Market", qty="0.01")
    wallet = call.wallet()
    assert D(wallet["totalEquity"]) == D(wallet["totalWalletBalance"]) + D(wallet["totalPerpUPL"])
    assert D(wallet["coin"][0]["totalOrderIM"]) == 0 < D(wallet["coin"][0]["totalPositionIM"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"triggerPrice": "101000"}, 10001),
        ({"triggerPrice": "99000", "triggerDirection": 1}, 110092),
        ({"triggerPrice": "101000", "triggerDirection": 2}, 110093),
        ({"triggerPrice": "101000", "triggerDirection": 1, "triggerBy": "BestPrice"}, 10001),
        ({"timeInForce": "DAY"}, 10001),
        ({"price": ""}, 10001),
        ({"price": "1e400"}, 10001),
        ({"positionIdx": 3}, 10001),
        ({"takeProfit": "101000", "tpslMode": "Half"}, 10001),
        ({"takeProfit": "101000", "tpOrderType": "Limit", "tpLimitPrice": "101000"}, 10001),
        ({"takeProfit": "101000", "tpOrderType": "Limit", "tpslMode": "Partial"}, 10001),
        ({"stopLoss": "89000", "slOrderType": "Limit", "slLimitPrice": "88000.01", "tpslMode": "Partial"}, 10001),
    ],
)
def test_a_malformed_order_is_refused_with_its_code(idle: Caller, changes: dict[str, Any], code: int) -> None:
    refused = idle.post("/order/create", **(limit("99000") | changes))
    assert refused["retCode"] == code and refused["retMsg"]
    assert idle.open_orders() == []


def test_trading_stop_over_http_adds_parts_and_changes_the_whole(call: Caller) -> None:
    call.post("/order/create", symbol=BTC, side="Buy", orderType="Market", qty="0.05")
    part = {"symbol": BTC, "positionIdx": 0, "tpslMode": "Partial"}
    limits = {"tpOrderType": "Limit", "tpLimitPrice": "101500"}
    sizes = {"tpSize": "0.02", "slSize": "0.02"}
    added = call.post("/position/trading-stop", **part, **sizes, **limits, takeProfit="101000", stopLoss="99000")
    assert added["retCode"] == 0, added["retMsg"]
    rows = {row["stopOrderType"]: row for row in call.open_orders()}
    target = rows["PartialTakeProfit"]
    assert (target["orderType"], target["price"], target["qty"]) == ("Limit", "101500.00", "0.020")
    assert (target["tpslMode"], rows["PartialStopLoss"]["orderType"]) == ("Partial", "Market")
    (position,) = call.rows("/position/list", symbol=BTC)
    assert (position["takeProfit"], position["stopLoss"]) == ("", "")
    unequal = call.post("/position/trading-stop", **part, tpSize="0.01", slSize="0.02", takeProfit="101000")
    assert unequal["retCode"] == 10001
    assert call.post("/position/trading-stop", symbol=BTC, positionIdx=1, stopLoss="99000")["retCode"] == 10001
    assert call.post("/position/trading-stop", symbol=BTC, stopLoss="98000")["retCode"] == 0
    assert call.post("/position/trading-stop", symbol=BTC, stopLoss="98000")["retCode"] == 34040
    assert D(call.rows("/position/list", symbol=BTC)[0]["stopLoss"]) == 98_000
