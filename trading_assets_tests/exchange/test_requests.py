"""What the connector asks for: pages, windows of time, and numbers as text."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import ExchangeError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.exchange import SETTLE_COINS, fields
from trading_assets.exchange import clock as clock_module
from trading_assets.market.store import CandleStore
from trading_assets_tests.exchange import stub as stubs
from trading_assets_tests.exchange import venue_rows
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import Reply, Request, Stub, envelope, server_time

T0 = venue_rows.T0


def test_executions_of_one_millisecond_stay_in_the_exchanges_order() -> None:
    """It lists the newest first; ids are random. Who follows a position that turns round needs the order."""
    names = [f"{number * 37 % 10}" for number in range(10)]
    rows = [venue_rows.execution(exec_id=name, execTime=str(T0 + number // 5)) for number, name in enumerate(names)]
    with stubs.serving() as stub:
        stub.answer(envelope({"list": rows[::-1], "nextPageCursor": ""}))
        exchange = _exchange(stub)
        found = exchange.executions(T0, T0 + 100)
        exchange.close()
    assert [row.exec_id for row in found] == names


def order_row(number: int) -> dict[str, Any]:
    return venue_rows.order(order_id=f"o{number}")


def execution_row(number: int, time_ms: int) -> dict[str, Any]:
    return venue_rows.execution(exec_id=f"e{number:05d}", execTime=str(time_ms))


@pytest.mark.parametrize(
    ("sizes", "cursors", "calls"),
    [
        ([0], ["x"], 1),
        ([0], [""], 1),
        ([3], ["more"], 1),
        ([50], [""], 1),
        ([50, 7], ["a", "b"], 2),
        ([50, 0], ["a", "a"], 2),
        ([50, 50], ["a", "a"], 2),
        ([50, 50, 50, 1], ["a", "b", "c", "d"], 4),
        ([50, 50, 50], ["a", "b", "a"], 3),
    ],
)
def test_pages_end_at_a_short_an_empty_or_a_repeated_one(
    stub: Stub, connect: Connect, sizes: list[int], cursors: list[str], calls: int
) -> None:
    numbers = iter(range(10_000))
    pages = [
        envelope({"list": [order_row(next(numbers)) for _ in range(size)], "nextPageCursor": cursor})
        for size, cursor in zip(sizes, cursors, strict=True)
    ]
    stub.answer(*pages)
    orders = connect().open_orders("BTCUSDT")
    assert len(stub.requests) == calls
    assert [order.order_id for order in orders] == [f"o{i}" for i in range(sum(sizes[:calls]))]
    assert [request.params.get("cursor", "") for request in stub.requests] == ["", *cursors[: calls - 1]]


def test_a_cursor_goes_back_as_it_came(stub: Stub, connect: Connect) -> None:
    cursor = "o1%3A1700000000000%2Co0%3A1600000000000"
    sent = []

    def script(request: Request) -> Reply:
        sent.append(request.params.get("cursor"))
        rows = [order_row(i) for i in range(50)] if len(sent) == 1 else []
        return envelope({"list": rows, "nextPageCursor": cursor})

    stub.script = script
    connect().open_orders("BTCUSDT")
    assert sent == [None, "o1:1700000000000,o0:1600000000000"]


@settings(max_examples=25)
@given(st.integers(1, 30 * DAY_MS), st.integers(0, 40))
def test_windows_of_at_most_seven_days_cover_a_span_without_overlap(span_ms: int, count: int) -> None:
    rows = [execution_row(i, T0 + (i * 7_919_000) % span_ms) for i in range(count)]

    def script(request: Request) -> Reply:
        low, high = int(request.params["startTime"]), int(request.params["endTime"])
        assert low <= high
        assert high - low <= 7 * DAY_MS
        found = [row for row in rows if low <= int(row["execTime"]) <= high]
        return envelope({"list": found[::-1], "nextPageCursor": "always"})

    with stubs.serving() as stub:
        stub.script = script
        exchange = _exchange(stub)
        found = exchange.executions(T0, T0 + span_ms)
        exchange.close()
    asked = [(int(r.params["startTime"]), int(r.params["endTime"])) for r in stub.requests]
    assert asked[0][0] == T0
    assert asked[-1][1] == T0 + span_ms - 1
    assert all(after[0] == before[1] + 1 for before, after in pairwise(asked))
    assert sorted(e.exec_id for e in found) == sorted(row["execId"] for row in rows)
    times = [e.time_ms for e in found]
    assert times == sorted(times)


def _exchange(stub: Stub) -> Any:
    from trading_assets.exchange.bybit import BybitExchange
    from trading_assets.exchange.connection import Connection
    from trading_assets.exchange.transport import Transport

    connection = Connection(url=stub.url, keys=stubs.KEYS)
    return BybitExchange(Transport(connection, limited=False), virtual_clock=True)


def kline_script(now_ms: int, first_ms: int = 0) -> stubs.Script:
    """Bybit's kline rules: start and end inclusive, newest first, the newest `limit` rows of a wider span."""

    def script(request: Request) -> Reply:
        if request.path == "/v5/market/time":
            return server_time(now_ms)
        step = int(request.params["interval"]) * MINUTE_MS
        low, high = max(int(request.params["start"]), first_ms), min(int(request.params["end"]), now_ms)
        starts = range(-(-low // step) * step, high + 1, step)
        rows = [[str(s), "1", "2", "0.5", "1.5", "10", "15"] for s in starts]
        newest = rows[::-1][: int(request.params["limit"])]
        return envelope({"symbol": "X", "list": newest}, time_ms=now_ms)

    return script


@settings(max_examples=25)
@given(
    st.sampled_from([Timeframe.M1, Timeframe.M15, Timeframe.M240]),
    st.integers(0, 10 * DAY_MS),
    st.integers(0, 4 * DAY_MS),
    st.integers(0, 12 * DAY_MS),
)
def test_candles_are_those_that_start_in_the_span_and_have_closed(
    timeframe: Timeframe, after: int, span: int, now: int
) -> None:
    start, end, now_ms = T0 + after, T0 + after + span, T0 + now
    with stubs.serving() as stub:
        stub.script = kline_script(now_ms)
        exchange = _exchange(stub)
        candles = exchange.candles("X", timeframe, start, end)
        exchange.close()
    step = timeframe.ms
    expected = [s for s in range(-(-start // step) * step, end, step) if s + step <= now_ms]
    assert candles.start_ms.tolist() == expected
    asked = stub.of("/v5/market/kline")
    wanted = max(min(end, now_ms) - start, 0)
    assert len(asked) <= wanted // (1000 * step) + 1


def test_candles_with_a_hole_longer_than_a_page_are_read_on_its_far_side(stub: Stub, connect: Connect) -> None:
    now_ms = T0 + 10 * DAY_MS
    stub.script = kline_script(now_ms, first_ms=now_ms - HOUR_MS)
    candles = connect().candles("X", Timeframe.M1, T0, now_ms)
    assert len(candles) == 60
    assert len(stub.of("/v5/market/kline")) == 15


def test_an_answer_that_does_not_tell_its_time_is_not_read_as_no_candles(stub: Stub, connect: Connect) -> None:
    """The candle store would remember the span as answered and never ask again."""
    inner = kline_script(T0 + DAY_MS)

    def script(request: Request) -> Reply:
        body = json.loads(inner(request).body)
        if request.path == "/v5/market/kline":
            del body["time"]
        return Reply(json.dumps(body).encode())

    stub.script = script
    try:
        found = connect().candles("X", Timeframe.M1, T0, T0 + HOUR_MS)
    except ExchangeError:
        return
    assert len(found) == 60


def test_a_candle_that_closes_while_the_clocks_disagree_is_not_lost_for_ever(
    stub: Stub, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locally the minute is over, at the venue (0.7 s behind, within the guard's limit) it is not."""
    store = CandleStore(tmp_path)
    exchange = connect(virtual_clock=False)
    for local_ms, venue_ms in ((T0 + HOUR_MS + 300, T0 + HOUR_MS - 400), (T0 + 2 * HOUR_MS, T0 + 2 * HOUR_MS)):
        monkeypatch.setattr(clock_module, "local_ms", lambda local_ms=local_ms: local_ms)
        stub.script = kline_script(venue_ms)
        store.fill(exchange, "X", Timeframe.M1, T0, local_ms)
    assert len(store.read("X", Timeframe.M1, T0, T0 + 2 * HOUR_MS)) == 120


def funding_script(now_ms: int | None, times: list[int]) -> Callable[[Request], Reply]:
    """Payments of every time in `times`; an answer of `now_ms`, or of no time."""

    def script(request: Request) -> Reply:
        rows = [{"symbol": "X", "fundingRate": "0.0001", "fundingRateTimestamp": str(time)} for time in times[::-1]]
        body = json.loads(envelope({"category": "linear", "list": rows}).body)
        body.pop("time", None)
        return Reply(json.dumps(body if now_ms is None else {**body, "time": now_ms}).encode())

    return script


def test_a_payment_that_is_yet_to_come_is_none(stub: Stub, connect: Connect) -> None:
    stub.script = funding_script(T0 + 2 * HOUR_MS, [T0 + hour * HOUR_MS for hour in range(4)])
    assert connect().funding("X", T0, T0 + DAY_MS).time_ms.tolist() == [T0, T0 + HOUR_MS, T0 + 2 * HOUR_MS]


def test_payments_of_an_answer_without_a_time_are_not_taken(stub: Stub, connect: Connect) -> None:
    stub.script = funding_script(None, [T0])
    with pytest.raises(ExchangeError):
        connect().funding("X", T0, T0 + DAY_MS)


def test_funding_is_paged_backwards_until_the_start(stub: Stub, connect: Connect) -> None:
    times = [T0 + i * HOUR_MS for i in range(700)]

    def script(request: Request) -> Reply:
        low, high = int(request.params["startTime"]), int(request.params["endTime"])
        found = [t for t in times if low <= t <= high][::-1][: int(request.params["limit"])]
        rows = [{"symbol": "X", "fundingRate": "0.0001", "fundingRateTimestamp": str(t)} for t in found]
        return envelope({"category": "linear", "list": rows}, time_ms=times[-1])

    stub.script = script
    found = connect().funding("X", times[3], times[650])
    assert found.time_ms.tolist() == times[3:650]
    assert np.all(found.rate == 0.0001)
    assert len(stub.requests) == 4


NUMBERS = st.decimals(
    min_value=Decimal("-1e12"), max_value=Decimal("1e12"), allow_nan=False, allow_infinity=False, places=None
)


@given(NUMBERS)
def test_a_number_is_written_in_plain_digits_and_is_the_same_number(value: Decimal) -> None:
    text = fields.number(value)
    assert "e" not in text.lower()
    assert Decimal(text) == value.normalize()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.00001", "0.00001"),
        ("1E+3", "1000"),
        ("1E-8", "0.00000001"),
        ("100", "100"),
        ("0.10", "0.1"),
        ("0", "0"),
        ("0E-8", "0"),
        ("123456789.12345678", "123456789.12345678"),
    ],
)
def test_numbers_as_bybit_wants_them(value: str, text: str) -> None:
    assert fields.number(Decimal(value)) == text


def test_an_order_is_sent_with_all_that_it_says(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope({"orderId": "7", "orderLinkId": "link-1"}))
    request = OrderRequest("1000PEPEUSDT", Side.SELL, Decimal("1E+3"), "link-1", Decimal("0.0000120"), Decimal("1E-5"))
    ack = connect().place_order(request)
    assert (ack.order_id, ack.order_link_id) == ("7", "link-1")
    sent = dict(stub.requests[0].params)
    assert json.loads(json.dumps(sent)) == {
        "category": "linear",
        "symbol": "1000PEPEUSDT",
        "side": "Sell",
        "orderType": "Market",
        "qty": "1000",
        "positionIdx": 0,
        "orderLinkId": "link-1",
        "reduceOnly": False,
        "smpType": "CancelTaker",
        "stopLoss": "0.000012",
        "takeProfit": "0.00001",
        "slTriggerBy": "LastPrice",
        "tpTriggerBy": "LastPrice",
        "tpslMode": "Full",
    }


def test_a_closing_order_carries_no_stops(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope({"orderId": "7", "orderLinkId": "link-1"}))
    connect().place_order(OrderRequest("BTCUSDT", Side.SELL, Decimal(1), "link-1", reduce_only=True))
    assert stub.requests[0].params["reduceOnly"] is True
    assert not {"stopLoss", "takeProfit", "tpslMode"} & set(stub.requests[0].params)


@pytest.mark.parametrize(
    ("stops", "sent"),
    [((Decimal("9E+4"), None), ("90000", "0")), ((None, Decimal("1.10")), ("0", "1.1")), ((None, None), ("0", "0"))],
)
def test_a_stop_that_is_none_is_cancelled(
    stub: Stub, connect: Connect, stops: tuple[Decimal | None, Decimal | None], sent: tuple[str, str]
) -> None:
    connect().set_stops("BTCUSDT", *stops)
    params = stub.requests[0].params
    assert (params["stopLoss"], params["takeProfit"]) == sent


def test_leverage_is_one_number_for_both_sides(stub: Stub, connect: Connect) -> None:
    connect().set_leverage("BTCUSDT", Decimal("1E+1"))
    params = stub.requests[0].params
    assert (params["buyLeverage"], params["sellLeverage"]) == ("10", "10")


def test_an_order_is_looked_for_among_open_ones_then_in_the_history(stub: Stub, connect: Connect) -> None:
    history = {**order_row(1), "orderLinkId": "link-1", "orderStatus": "Filled"}
    stub.script = lambda r: envelope({"list": [history] if r.path.endswith("history") else []})
    found = connect().find_order("BTCUSDT", "link-1")
    assert found is not None
    assert found.order_id == "o1"
    assert [request.path for request in stub.requests] == ["/v5/order/realtime", "/v5/order/history"]


def test_an_order_of_another_name_is_not_the_one_looked_for(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope({"list": [{**order_row(1), "orderLinkId": "other"}]}))
    assert connect().find_order("BTCUSDT", "link-1") is None
    assert len(stub.requests) == 2


@pytest.mark.parametrize("name", ["positions", "open_orders"])
def test_the_settle_coins_of_a_list_are_asked_for_side_by_side(stub: Stub, connect: Connect, name: str) -> None:
    together = threading.Barrier(len(SETTLE_COINS))

    def answer(_request: Request) -> Reply:
        together.wait(60)  # breaks unless all wait at the same time
        return envelope({"list": []})

    stub.script = answer
    assert list(getattr(connect(), name)()) == []
    assert sorted(str(one.params["settleCoin"]) for one in stub.requests) == sorted(SETTLE_COINS)
