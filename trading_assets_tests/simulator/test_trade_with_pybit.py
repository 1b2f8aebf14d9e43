"""A whole life through pybit, on the seeded market: look, trade, wait, read the books."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import pybit_session
from trading_assets_tests.simulator.fake_market import DAY, HOUR, MINUTE

D = Decimal
START = 1_772_323_200_000  # 2026-03-01T00:00:00Z
SYMBOL = "BTCUSDT"


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, START), symbols=20)) as running:
        yield running


@pytest.fixture
def session(exchange: RunningExchange) -> HTTP:
    return pybit_session(exchange.url)


def rows(answer: Any) -> list[Any]:
    return answer["result"]["list"]


def refusal(caught: pytest.ExceptionInfo[InvalidRequestError]) -> int:
    return int(caught.value.status_code)


def order(session: HTTP, **more: Any) -> Any:
    return session.place_order(
        category="linear",
        symbol=SYMBOL,
        side="Buy",
        orderType="Market",
        positionIdx=0,
        **({"qty": "0.01"} | more),
    )


def entry(session: HTTP, tick: Decimal) -> tuple[Decimal, str, str]:
    """Last price, and a stop and target half a percent away, on the tick."""
    last = D(rows(session.get_tickers(category="linear", symbol=SYMBOL))[0]["lastPrice"])
    stop, target = ((last * factor / tick).to_integral_value() * tick for factor in (D("0.995"), D("1.005")))
    return last, str(stop), str(target)


def test_the_life_of_a_trade(exchange: RunningExchange, session: HTTP) -> None:
    instrument = rows(session.get_instruments_info(category="linear", symbol=SYMBOL))[0]
    tick = D(instrument["priceFilter"]["tickSize"])
    assert instrument["status"] == "Trading" and instrument["contractType"] == "LinearPerpetual"
    (wallet,) = rows(session.get_wallet_balance(accountType="UNIFIED"))
    assert wallet["totalAvailableBalance"] == "10000"

    session.set_leverage(category="linear", symbol=SYMBOL, buyLeverage="20", sellLeverage="20")
    with pytest.raises(InvalidRequestError) as caught:
        session.set_leverage(category="linear", symbol=SYMBOL, buyLeverage="20", sellLeverage="20")
    assert refusal(caught) == 110043

    _, stop, target = entry(session, tick)
    acknowledged = order(session, orderLinkId="life-1", stopLoss=stop, takeProfit=target, unknownKey=1)["result"]
    assert acknowledged["orderLinkId"] == "life-1"
    (confirmed,) = rows(session.get_open_orders(category="linear", symbol=SYMBOL, orderLinkId="life-1"))
    assert confirmed["orderStatus"] == "Filled" and confirmed["orderId"] == acknowledged["orderId"]
    assert confirmed["timeInForce"] == "IOC" and confirmed["cumExecQty"] == confirmed["qty"]
    assert D(confirmed["price"]) >= D(confirmed["avgPrice"])
    (position,) = rows(session.get_positions(category="linear", symbol=SYMBOL))
    assert (position["side"], position["size"], position["leverage"]) == ("Buy", "0.01", "20")
    assert (D(position["stopLoss"]), D(position["takeProfit"])) == (D(stop), D(target))
    children = rows(session.get_open_orders(category="linear", symbol=SYMBOL))
    assert {child["stopOrderType"] for child in children} == {"StopLoss", "TakeProfit"}
    assert {child["orderStatus"] for child in children} == {"Untriggered"}
    assert {child["parentOrderLinkId"] for child in children} == {"life-1"}

    with pytest.raises(InvalidRequestError) as caught:
        order(session, orderLinkId="life-1")
    assert refusal(caught) == 110072

    for _ in range(6 * 24 * 10):
        exchange.advance(10 * MINUTE)
        if not rows(session.get_positions(category="linear", settleCoin="USDT")):
            break
    (closed,) = rows(session.get_closed_pnl(category="linear", symbol=SYMBOL))
    assert closed["side"] == "Sell" and closed["closedSize"] == "0.01"
    net = D(closed["cumExitValue"]) - D(closed["cumEntryValue"]) - D(closed["openFee"]) - D(closed["closeFee"])
    assert D(closed["closedPnl"]) == net
    (why,) = rows(session.get_order_history(category="linear", orderId=closed["orderId"]))
    assert why["orderStatus"] == "Filled" and why["stopOrderType"] in ("StopLoss", "TakeProfit")
    assert why["createType"] == f"CreateBy{why['stopOrderType']}"
    assert abs(D(why["avgPrice"]) / D(why["triggerPrice"]) - 1) < D("0.002")
    history = rows(session.get_order_history(category="linear", symbol=SYMBOL))
    assert {row["orderStatus"] for row in history} == {"Filled", "Deactivated"}
    assert [row["cancelType"] for row in history if row["orderStatus"] == "Deactivated"] == ["CancelByTpSlTsClear"]

    executions = rows(session.get_executions(category="linear"))
    trades = [row for row in executions if row["execType"] == "Trade"]
    assert trades == rows(session.get_executions(category="linear", execType="Trade"))
    assert sum(D(row["execQty"]) * (1 if row["side"] == "Buy" else -1) for row in trades) == 0
    assert [int(row["execTime"]) for row in executions] == sorted(
        (int(r["execTime"]) for r in executions), reverse=True
    )
    funding = sum(D(row["execFee"]) for row in executions if row["execType"] == "Funding")
    (wallet,) = rows(session.get_wallet_balance(accountType="UNIFIED"))
    assert D(wallet["totalWalletBalance"]) == 10_000 + D(closed["closedPnl"]) - funding
    assert wallet["totalInitialMargin"] == "0" and wallet["totalEquity"] == wallet["totalWalletBalance"]


def test_a_flat_symbol_has_a_row_and_a_flat_account_none(session: HTTP) -> None:
    (flat,) = rows(session.get_positions(category="linear", symbol=SYMBOL))
    assert (flat["size"], flat["side"], flat["avgPrice"]) == ("0", "", "0")
    assert rows(session.get_positions(category="linear", settleCoin="USDT")) == []
    with pytest.raises(InvalidRequestError) as caught:
        session.get_positions(category="linear")
    assert refusal(caught) == 10001


def test_stops_can_be_set_changed_and_told_unchanged(session: HTTP) -> None:
    tick = D("0.10")
    _, stop, target = entry(session, tick)
    with pytest.raises(InvalidRequestError) as caught:
        session.set_trading_stop(category="linear", symbol=SYMBOL, tpslMode="Full", positionIdx=0, stopLoss=stop)
    assert refusal(caught) == 10001
    order(session)
    for expected in (0, 34040):
        code = 0
        try:
            session.set_trading_stop(
                category="linear",
                symbol=SYMBOL,
                tpslMode="Full",
                positionIdx=0,
                stopLoss=stop,
                takeProfit=target,
            )
        except InvalidRequestError as error:
            code = int(error.status_code)
        assert code == expected
    cancelled = session.cancel_all_orders(category="linear", settleCoin="USDT")["result"]
    assert len(cancelled["list"]) == 2 and cancelled["success"] == "1"
    (position,) = rows(session.get_positions(category="linear", symbol=SYMBOL))
    assert (position["stopLoss"], position["takeProfit"]) == ("", "")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"qty": "1e-05"}, 10001),
        ({"qty": "0.0123456"}, 10001),
        ({"positionIdx": 1}, 10001),
        ({"orderType": "Stop"}, 10001),
        ({"side": "buy"}, 10001),
        ({"symbol": "NOPE"}, 10001),
        ({"qty": "20"}, 110007),
        ({"reduceOnly": True}, 110017),
        ({"category": "spot"}, 10001),
    ],
)
def test_a_refused_order_carries_the_venues_code(session: HTTP, changes: dict[str, Any], code: int) -> None:
    wanted = {
        "category": "linear",
        "symbol": SYMBOL,
        "side": "Buy",
        "orderType": "Market",
        "qty": "0.01",
    } | changes
    with pytest.raises(InvalidRequestError) as caught:
        session.place_order(**wanted)
    assert refusal(caught) == code


def test_one_way_mode_is_told_unchanged(session: HTTP) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        session.switch_position_mode(category="linear", symbol=SYMBOL, mode=0)
    assert refusal(caught) == 110025


def test_the_first_candle_is_unfinished_and_later_agrees_with_itself(exchange: RunningExchange, session: HTTP) -> None:
    exchange.advance(90_000)
    now = exchange.now_ms()
    open_candle, closed_candle = rows(session.get_kline(category="linear", symbol=SYMBOL, interval="1", limit=2))
    assert int(open_candle[0]) == now - now % MINUTE and int(closed_candle[0]) == int(open_candle[0]) - MINUTE
    ticker = rows(session.get_tickers(category="linear", symbol=SYMBOL))[0]
    assert D(open_candle[4]) == D(ticker["lastPrice"])
    exchange.advance(MINUTE)
    finished = rows(
        session.get_kline(category="linear", symbol=SYMBOL, interval="1", start=open_candle[0], end=open_candle[0])
    )
    assert [finished[0][0], finished[0][1]] == open_candle[:2]
    assert D(finished[0][2]) >= D(open_candle[2]) and D(finished[0][3]) <= D(open_candle[3])


def test_start_and_end_are_inclusive_on_the_candles_start(exchange: RunningExchange, session: HTTP) -> None:
    base = START - 10 * HOUR
    asked = {"category": "linear", "symbol": SYMBOL, "interval": "60"}
    assert [int(row[0]) for row in rows(session.get_kline(**asked, start=base, end=base + 2 * HOUR))] == [
        base + 2 * HOUR,
        base + HOUR,
        base,
    ]
    assert rows(session.get_kline(**asked, start=base + 1, end=base + 2)) == []
    forward = rows(session.get_kline(**asked, start=base, limit=3))
    assert [int(row[0]) for row in forward] == [base + 2 * HOUR, base + HOUR, base]
    wide = rows(session.get_kline(**asked, start=base - 9 * DAY, end=base, limit=2))
    assert [int(row[0]) for row in wide] == [base, base - HOUR]
    assert len(rows(session.get_kline(**asked))) == 200
    earliest = rows(session.get_kline(**asked, start=9999, limit=1))
    launch = int(rows(session.get_instruments_info(category="linear", symbol=SYMBOL))[0]["launchTime"])
    assert 0 <= int(earliest[0][0]) - launch < HOUR
    assert rows(session.get_kline(**asked, end=launch - 1)) == []


def test_walking_back_by_end_finds_the_same_candles_as_one_page(session: HTTP) -> None:
    asked = {"category": "linear", "symbol": SYMBOL, "interval": "15"}
    whole = rows(session.get_kline(**asked, limit=1000))
    pieces: list[Any] = []
    end = None
    while len(pieces) < 1000:
        chosen = rows(session.get_kline(**asked, limit=130, **({"end": end} if end else {})))
        pieces += chosen
        end = int(chosen[-1][0]) - 1
    assert pieces[:1000] == whole


@pytest.mark.parametrize("interval", ["D", "W", "M"])
def test_calendar_candles_begin_where_the_calendar_does(session: HTTP, interval: str) -> None:
    got = rows(session.get_kline(category="linear", symbol=SYMBOL, interval=interval, limit=4))
    starts = [int(row[0]) for row in got]
    assert starts == sorted(starts, reverse=True) and len(starts) == 4
    if interval == "M":
        assert starts[0] == START
    if interval == "W":
        assert all((start - 4 * DAY) % (7 * DAY) == 0 for start in starts)


def test_instruments_come_in_pages_under_both_forms_of_cursor(session: HTTP) -> None:
    everything = rows(session.get_instruments_info(category="linear", limit=1000))
    assert {row["status"] for row in everything} == {"Trading"}
    for encode in (str, lambda cursor: quote(cursor, safe="")):
        seen: list[Any] = []
        cursor = ""
        while True:
            answer = session.get_instruments_info(
                category="linear", limit=7, **({"cursor": encode(cursor)} if cursor else {})
            )
            if not rows(answer):
                break
            seen += rows(answer)
            cursor = answer["result"]["nextPageCursor"]
        assert seen == everything


def test_orders_and_executions_come_in_pages(exchange: RunningExchange, session: HTTP) -> None:
    for index in range(7):
        order(session, orderLinkId=f"page-{index}", qty="0.001")
        exchange.advance(1000)
    for read in (session.get_order_history, session.get_executions):
        everything = rows(read(category="linear", limit=50))
        seen: list[Any] = []
        cursor = ""
        while True:
            answer = read(category="linear", limit=3, **({"cursor": cursor} if cursor else {}))
            if not rows(answer):
                break
            seen += rows(answer)
            cursor = answer["result"]["nextPageCursor"]
            assert cursor
        assert seen == everything
    links = [row["orderLinkId"] for row in rows(session.get_order_history(category="linear"))]
    assert links == [f"page-{index}" for index in reversed(range(7))]


def test_only_the_newest_closed_orders_are_known_to_realtime(session: HTTP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_assets.simulator.rest.trade.RECENT_CLOSED", 2)
    for index in range(3):
        order(session, orderLinkId=f"old-{index}", qty="0.001")
    found = [
        len(rows(session.get_open_orders(category="linear", symbol=SYMBOL, orderLinkId=f"old-{index}")))
        for index in range(3)
    ]
    assert found == [0, 1, 1]
    assert len(rows(session.get_order_history(category="linear", orderLinkId="old-0"))) == 1


def test_account_queries_span_seven_days_at_most(exchange: RunningExchange, session: HTTP) -> None:
    order(session)
    start = exchange.now_ms()
    exchange.advance(9 * DAY)
    assert rows(session.get_order_history(category="linear")) == []
    assert len(rows(session.get_order_history(category="linear", startTime=start))) == 1
    assert len(rows(session.get_order_history(category="linear", startTime=start, endTime=start + 7 * DAY))) == 1
    for read in (session.get_order_history, session.get_executions, session.get_closed_pnl):
        with pytest.raises(InvalidRequestError) as caught:
            read(category="linear", startTime=start, endTime=start + 8 * DAY)
        assert refusal(caught) == 10001


def test_funding_history_is_newest_first_and_a_lone_start_is_refused(exchange: RunningExchange, session: HTTP) -> None:
    got = rows(session.get_funding_rate_history(category="linear", symbol=SYMBOL, limit=5))
    times = [int(row["fundingRateTimestamp"]) for row in got]
    assert times == [START - index * 8 * HOUR for index in range(5)]
    far = session.get_funding_rate_history(
        category="linear", symbol=SYMBOL, startTime=times[3], endTime=START + 99 * DAY
    )
    assert [int(row["fundingRateTimestamp"]) for row in rows(far)] == times[:4]
    with pytest.raises(InvalidRequestError) as caught:
        session.get_funding_rate_history(category="linear", symbol=SYMBOL, startTime=times[3])
    assert refusal(caught) == 10001


def test_every_listed_symbol_has_a_ticker_and_a_book_around_it(session: HTTP) -> None:
    tickers = {row["symbol"]: row for row in rows(session.get_tickers(category="linear"))}
    listed = {row["symbol"]: row for row in rows(session.get_instruments_info(category="linear", limit=1000))}
    assert tickers.keys() == listed.keys()
    for symbol, ticker in tickers.items():
        assert D(ticker["bid1Price"]) < D(ticker["ask1Price"])
        assert D(ticker["lowPrice24h"]) <= D(ticker["lastPrice"]) <= D(ticker["highPrice24h"])
        tick = D(listed[symbol]["priceFilter"]["tickSize"])
        assert D(ticker["lastPrice"]) % tick == 0 and D(ticker["markPrice"]) % tick == 0
        dated = listed[symbol]["contractType"] == "LinearFutures"
        assert (ticker["fundingRate"] == "") is dated and (ticker["deliveryTime"] != "0") is dated
    book = session.get_orderbook(category="linear", symbol=SYMBOL, limit=50)["result"]
    bids, asks = ([D(price) for price, _ in book[side]] for side in "ba")
    assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
    assert len(bids) == len(asks) == 50


def test_other_categories_are_empty_lists(session: HTTP) -> None:
    for category in ("spot", "inverse", "option"):
        assert rows(session.get_instruments_info(category=category)) == []
        assert rows(session.get_tickers(category=category)) == []
    with pytest.raises(InvalidRequestError) as caught:
        session.get_tickers(category="lineal")
    assert refusal(caught) == 10001


def test_a_long_jump_and_small_steps_leave_the_same_books() -> None:
    def live(steps: int) -> list[Any]:
        with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, START), symbols=20)) as running:
            session = pybit_session(running.url)
            _, stop, target = entry(session, D("0.10"))
            order(session, stopLoss=stop, takeProfit=target)
            for _ in range(steps):
                running.advance(2 * DAY // steps)
            found = rows(session.get_executions(category="linear"))
            return [{k: v for k, v in row.items() if k not in ("execId", "orderId")} for row in found]

    assert live(1) == live(480)
