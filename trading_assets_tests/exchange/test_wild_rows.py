"""Lists of the venue with odd rows: the others are read, each once and in its latest state; the odd one is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import (
    AccountShapeError,
    AmbiguousOutcomeError,
    ExchangeUnavailableError,
    TradingAssetsError,
    UnreadableAnswerError,
)
from trading_assets.core.models import MarginMode, OrderStatus, PositionMode, Rows
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.exchange import SETTLE_COINS
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import LARGEST_BODY, Connection
from trading_assets.exchange.transport import READ_ATTEMPTS, Transport
from trading_assets_tests.exchange import stub as stubs
from trading_assets_tests.exchange import venue_rows
from trading_assets_tests.exchange.code_matrix import PLACE, READ
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import Reply, Request, Stub, envelope

Json = dict[str, Any]
ODD, GOOD = "ODDUSDT", ("AUSDT", "BUSDT", "CUSDT")
T0 = venue_rows.T0


@dataclass(frozen=True)
class Listed:
    """A list read.

    Attributes:
        row: a good row of a symbol; `number` makes its id.
        required: fields without which a row is of no use.
        grows: what a later state of the same row changes, and the attribute that shows it.
    """

    row: Callable[[str, int], Json]
    required: tuple[str, ...]
    grows: tuple[Json, str] | None = None


LISTS: Mapping[str, Listed] = {
    "positions": Listed(
        lambda symbol, _: venue_rows.position(symbol),
        ("positionIdx", "size", "side", "avgPrice", "markPrice"),
        ({"size": "2", "updatedTime": str(T0 + 1)}, "size"),
    ),
    "open_orders": Listed(
        lambda symbol, n: venue_rows.order(symbol, f"o{n}"),
        ("side", "qty", "cumExecQty", "orderId"),
        ({"cumExecQty": "0.5", "updatedTime": str(T0 + 1)}, "filled_qty"),
    ),
    "executions": Listed(
        lambda symbol, n: venue_rows.execution(symbol, f"e{n}"),
        ("side", "execPrice", "execQty", "execFee", "execTime", "execId"),
    ),
    "closed_pnl": Listed(
        lambda symbol, n: venue_rows.closed_pnl(symbol, f"o{n}"),
        ("side", "closedSize", "closedPnl", "updatedTime", "orderId"),
        ({"closedSize": "3", "closedPnl": "-9", "updatedTime": str(T0 + 1)}, "qty"),
    ),
    "transactions": Listed(
        lambda symbol, n: venue_rows.transaction(symbol, f"t{n}"),
        ("id", "change", "cashBalance", "currency", "transactionTime"),
    ),
    "tickers": Listed(lambda symbol, _: venue_rows.ticker(symbol), ("lastPrice", "markPrice")),
    "instruments": Listed(
        lambda symbol, _: venue_rows.instrument(symbol),
        ("fundingInterval", "lotSizeFilter", "priceFilter", "leverageFilter"),
    ),
}
READERS = {name: READ[name] for name in LISTS} | {"open_orders": lambda one: one.open_orders("AUSDT")}

NOT_NUMBERS = [
    *("NaN", "-Infinity", "sNaN", "1e999999", "1e999999999999999999", "-1e-999999", "9" * 5_000, "free"),
    *([], [[]], {}, {"": {}}, True, float("nan"), float("inf"), 10**400),
]
"""In place of a number; each as JSON can hold it."""

_DEEP = json.loads("[" * 500 + "]" * 500)
NO_ROWS: list[Any] = [None, 7, "row", [], _DEEP, True, {}, {"symbol": None}, {"symbol": {}}, {"symbol": ""}]
"""In place of a row: nothing tells whose it is."""


@pytest.fixture(scope="module")
def venue() -> Iterator[tuple[Stub, BybitExchange]]:
    with stubs.serving() as stub:
        transport = Transport(Connection(url=stub.url, keys=stubs.KEYS, timeout_s=60), limited=False)
        transport._sleep = lambda _: None  # type: ignore[method-assign]
        exchange = BybitExchange(transport, virtual_clock=True)
        yield stub, exchange
        exchange.close()


def answered(venue: tuple[Stub, BybitExchange], name: str, *pages: list[Any]) -> Any:
    """What a list read makes of pages; the other settle coin has nothing."""
    stub, exchange = venue

    def script(request: Request) -> Reply:
        if request.params.get("settleCoin") == "USDC":
            return envelope({"list": []})
        number = int(request.params.get("cursor", "0"))
        return envelope({"list": pages[number], "nextPageCursor": str(number + 1) if number + 1 < len(pages) else ""})

    stub.script = script
    return READERS[name](exchange)


def symbols_of(found: Any) -> list[str]:
    rows = found.values() if isinstance(found, dict) else found
    return sorted(row.symbol for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_one_odd_row_leaves_the_others_and_is_named(
    venue: tuple[Stub, BybitExchange], name: str, data: st.DataObject
) -> None:
    listed = LISTS[name]
    key = data.draw(st.sampled_from(listed.required))
    bad = listed.row(ODD, 9)
    odd = data.draw(st.sampled_from(["missing", "empty", "null", "wrong", "unknown word"]))
    if odd == "missing":
        del bad[key]
    elif odd == "unknown word" and "side" in bad and name != "transactions":
        bad["side"] = data.draw(st.text(max_size=20).filter(lambda text: text not in ("Buy", "Sell")))
    else:
        bad[key] = {"empty": "", "null": None}.get(odd, data.draw(st.sampled_from([_DEEP, {"x": []}, [1], True])))
    raw = [listed.row(symbol, number) for number, symbol in enumerate(GOOD)]
    raw.insert(data.draw(st.integers(0, len(raw))), bad)
    found = answered(venue, name, raw)
    assert symbols_of(found) == sorted(GOOD)
    assert [row.symbol for row in found.unreadable] == [ODD]
    if isinstance(found, Rows):
        assert found.may_hide(ODD)
        assert not found.may_hide("AUSDT")


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("bad", NO_ROWS, ids=lambda bad: type(bad).__name__ + str(bad)[:12])
def test_a_row_of_nobody_says_that_any_may_be_hidden(venue: tuple[Stub, BybitExchange], name: str, bad: Any) -> None:
    found = answered(venue, name, [LISTS[name].row("AUSDT", 1), bad])
    assert symbols_of(found) == ["AUSDT"]
    assert [row.symbol for row in found.unreadable] == [None]
    if isinstance(found, Rows):
        assert found.may_hide("AUSDT")


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: type(value).__name__ + str(value)[:12])
def test_what_is_no_number_makes_one_row_unreadable(venue: tuple[Stub, BybitExchange], name: str, value: Any) -> None:
    listed = LISTS[name]
    bad = listed.row(ODD, 9)
    for key, given_value in bad.items():
        if key not in ("symbol", "side", "id", "orderId", "execId") and str(given_value)[:1].isdigit():
            changed = {**bad, key: value}
            found = answered(venue, name, [listed.row("AUSDT", 1), changed])
            assert "AUSDT" in symbols_of(found), key
            assert all(row.symbol == ODD for row in found.unreadable), key
            if key in listed.required:
                assert len(found.unreadable) == 1, key


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.data())
def test_rows_that_come_twice_are_one(
    venue: tuple[Stub, BybitExchange], name: str, numbers: list[int], data: st.DataObject
) -> None:
    """In one answer, and over two pages whose rows have moved on in between."""
    limit = {"open_orders": 50, "executions": 100, "closed_pnl": 100, "transactions": 50}.get(name)
    raw = [LISTS[name].row(f"S{number}USDT", number) for number in numbers]
    pages = [raw]
    if limit is not None:
        full = raw * (limit // len(raw) + 1)
        pages = [full[:limit], data.draw(st.permutations(raw))]
    found = answered(venue, name, *pages)
    assert symbols_of(found) == sorted({f"S{number}USDT" for number in numbers})
    assert not found.unreadable


@pytest.mark.parametrize("name", [name for name, listed in LISTS.items() if listed.grows])
@pytest.mark.parametrize("newest_first", [True, False])
def test_the_latest_state_of_a_growing_row_wins(
    venue: tuple[Stub, BybitExchange], name: str, newest_first: bool
) -> None:
    listed = LISTS[name]
    assert listed.grows is not None
    changes, shown = listed.grows
    early = listed.row("AUSDT", 1)
    raw = [{**early, **changes}, early] if newest_first else [early, {**early, **changes}]
    [kept] = answered(venue, name, raw)
    assert getattr(kept, shown) == Decimal(next(iter(changes.values())))


def test_both_legs_of_a_contract_are_two_rows(venue: tuple[Stub, BybitExchange]) -> None:
    legs = [venue_rows.position(positionIdx=1), venue_rows.position(positionIdx=2, side="Sell")]
    found = answered(venue, "positions", legs)
    assert sorted(held.position_idx for held in found) == [1, 2]


NO_LISTS = [{}, {"list": None}, {"list": {}}, {"list": ""}, {"list": 0}, {"rows": []}]
LISTING = [name for name in READ if name not in ("order_book", "api_key")]


@pytest.mark.slow
@pytest.mark.parametrize("result", NO_LISTS, ids=str)
@pytest.mark.parametrize("name", LISTING)
def test_an_answer_without_a_list_is_never_an_empty_one(stub: Stub, connect: Connect, name: str, result: Json) -> None:
    stub.script = lambda _: envelope(result, time_ms=T0 + HOUR_MS)
    with pytest.raises(UnreadableAnswerError):
        READ[name](connect())


GOOD_REST = b', "retMsg": "OK", "retExtInfo": {}, "time": 1}'
BOMBS = {
    "brackets": b"[" * 200_000,
    "braces": b'{"a":' * 100_000,
    "nested result": b'{"retCode": 0, "result": ' + b"[" * 200_000 + b"]" * 200_000 + GOOD_REST,
    "retCode false": b'{"retCode": false, "result": {"list": []}' + GOOD_REST,
    "retCode NaN": b'{"retCode": NaN, "result": {"list": []}' + GOOD_REST,
    "retCode 0.0": b'{"retCode": 0.0, "result": {"list": []}' + GOOD_REST,
    "retCode text": b'{"retCode": "0", "result": {"list": []}' + GOOD_REST,
    "retCode huge": b'{"retCode": 1' + b"0" * 5_000 + b', "result": {"list": []}' + GOOD_REST,
    "retCode 1e400": b'{"retCode": 1e400, "result": {"list": []}' + GOOD_REST,
    "retCode list": b'{"retCode": [], "result": {"list": []}' + GOOD_REST,
    "result a list": b'{"retCode": 0, "result": [[]]' + GOOD_REST,
    "result NaN": b'{"retCode": 0, "result": NaN' + GOOD_REST,
    "refused, no text": b'{"retCode": 110007}',
    "refused, odd text": b'{"retCode": 10001, "retMsg": {"a": [1]}}',
    "half a character": b'{"retCode": 0, "retMsg": "\xff\xfe"',
    "byte order mark": b'\xef\xbb\xbf{"retCode": 0, "result": {}}',
    "lone surrogate": b'{"retCode": 7, "retMsg": "\\ud800"}',
}


@pytest.mark.slow
@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("name", ["wallet", "positions", "open_orders", "api_key", "place_order"])
def test_whatever_is_sent_is_an_error_of_the_project(stub: Stub, connect: Connect, name: str, body: bytes) -> None:
    stub.answer(Reply(body))
    with pytest.raises(TradingAssetsError) as raised:
        (READ | PLACE)[name](connect())
    assert len(str(raised.value)) < 2_000
    lists = len(SETTLE_COINS) if name in ("positions", "open_orders") else 1  # they are asked for side by side
    assert 1 <= len(stub.requests) <= (1 if name == "place_order" else READ_ATTEMPTS * lists)


_PART = json.dumps({"retCode": 0, "retMsg": "", "result": {"list": []}, "filler": ""}).encode()


@pytest.mark.parametrize("packed", [True, False])
def test_an_answer_of_any_size_is_not_read_to_its_end(
    stub: Stub, connect: Connect, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr("trading_assets.exchange.connection.LARGEST_BODY", LARGEST_BODY // 32)
    body = _PART[:-2] + b"x" * (LARGEST_BODY // 16) + b'"}'
    packing = {"Content-Encoding": "gzip"} if packed else {}
    stub.answer(Reply(gzip.compress(body) if packed else body, headers=packing))
    with pytest.raises(ExchangeUnavailableError):
        connect().open_orders("AUSDT")
    with pytest.raises(AmbiguousOutcomeError):
        PLACE["place_order"](connect())


def test_a_packed_answer_is_read_and_a_broken_one_is_an_error(stub: Stub, connect: Connect) -> None:
    body = json.dumps({"retCode": 0, "retMsg": "", "result": {"list": []}, "time": 1}).encode()
    packing = {"Content-Encoding": "gzip"}
    stub.answer(Reply(gzip.compress(body), headers=packing))
    assert len(connect().open_orders("AUSDT")) == 0
    stub.answer(Reply(b"no gzip", headers=packing))
    with pytest.raises(ExchangeUnavailableError):
        connect().open_orders("AUSDT")


@pytest.mark.parametrize(
    "headers",
    [{"X-Bapi-Limit": "²"}, {"X-Bapi-Limit": "9" * 5_000}, {"X-Bapi-Limit-Reset-Timestamp": "³" * 13}],
    ids=["a superscript", "huge", "superscripts"],
)
def test_odd_headers_are_no_headers(stub: Stub, connect: Connect, headers: dict[str, str]) -> None:
    stub.answer(
        envelope(code=10006, headers=headers),
        envelope({"list": []}, headers=headers),
    )
    assert len(connect().open_orders("AUSDT")) == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("name", ["wallet", "place_order", "tickers"])
def test_a_redirect_is_followed_by_nobody(stub: Stub, connect: Connect, status: int, name: str) -> None:
    with stubs.serving() as elsewhere:
        stub.answer(Reply(b"", status, headers={"Location": f"{elsewhere.url}/v5/order/create"}))
        with pytest.raises(TradingAssetsError):
            (READ | PLACE)[name](connect())
        assert elsewhere.requests == []


def a_wallet(connect: Connect, stub: Stub, **changes: object) -> Any:
    stub.answer(envelope({"list": [venue_rows.wallet(**changes)]}))
    return connect().wallet()


@pytest.mark.parametrize("key", ["totalEquity", "totalWalletBalance"])
@pytest.mark.parametrize("value", ["", None, "NaN", {}, "1e9999"])
def test_an_unreadable_balance_is_unknown_and_not_zero(stub: Stub, connect: Connect, key: str, value: object) -> None:
    with pytest.raises(UnreadableAnswerError, match=key):
        a_wallet(connect, stub, **{key: value})


ISOLATED = dict.fromkeys(
    ("totalMarginBalance", "totalAvailableBalance", "totalInitialMargin", "totalMaintenanceMargin"), ""
)
USDT = {
    **{"coin": "USDT", "walletBalance": "1000", "totalPositionIM": "100", "totalOrderIM": "50"},
    **{"locked": "20", "bonus": "5"},
}


def test_under_isolated_margin_what_is_free_is_that_of_the_coin(stub: Stub, connect: Connect) -> None:
    coins: list[Any] = [{"coin": "BTC", "walletBalance": "-"}, USDT]
    assert a_wallet(connect, stub, **ISOLATED, coin=coins).available == 825
    assert a_wallet(connect, stub, **ISOLATED, coin=[{**USDT, "totalPositionIM": "2000"}]).available == 0
    assert a_wallet(connect, stub, **ISOLATED, coin=[]).available == 0, "a coin of which there is nothing is left out"
    assert a_wallet(connect, stub, **ISOLATED, coin=[{**USDT, "totalPositionIM": ""}]).available is None
    assert a_wallet(connect, stub, totalAvailableBalance="", coin=[USDT]).available is None
    assert a_wallet(connect, stub, totalAvailableBalance="0").available == 0


@pytest.mark.parametrize(
    ("row", "flat"),
    [
        (venue_rows.flat_position(), True),
        (venue_rows.position(size="0", side="", avgPrice="0"), True),
        (venue_rows.position(size="", side="Buy"), None),
        (venue_rows.position(size="lots"), None),
        ({**venue_rows.position(), "size": None}, None),
        ({key: value for key, value in venue_rows.position().items() if key != "size"}, None),
        (venue_rows.position(), False),
    ],
)
def test_only_a_row_that_says_so_is_flat(stub: Stub, connect: Connect, row: Json, flat: bool | None) -> None:
    stub.script = lambda request: envelope({"list": [] if request.params.get("settleCoin") == "USDC" else [row]})
    exchange = connect()
    if flat is None:
        with pytest.raises(UnreadableAnswerError):
            exchange.position("BTCUSDT")
    else:
        assert (exchange.position("BTCUSDT") is None) is flat
    found = exchange.positions()
    assert (len(found), len(found.unreadable)) == ((0, 1) if flat is None else (0, 0) if flat else (1, 0))


@pytest.mark.parametrize("row", [None, "x", [], {"orderId": "o1"}, {"orderLinkId": None}, {"orderLinkId": 7}])
def test_a_row_that_may_be_the_order_is_not_no_such_order(stub: Stub, connect: Connect, row: Any) -> None:
    stub.answer(envelope({"list": [row]}))
    with pytest.raises(UnreadableAnswerError):
        connect().find_order("BTCUSDT", "link-1")


def test_an_order_in_an_unknown_state_is_not_final(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope({"list": [venue_rows.order(orderLinkId="link-1", orderStatus="Sleeping")]}))
    found = connect().find_order("BTCUSDT", "link-1")
    assert found is not None
    assert found.status is OrderStatus.OTHER
    assert not found.status.is_final


@pytest.mark.parametrize(
    ("info", "legs", "expected"),
    [
        ({}, [venue_rows.flat_position()], (True, MarginMode.CROSS, PositionMode.ONE_WAY)),
        ({"unifiedMarginStatus": 1}, [venue_rows.flat_position()], (False, MarginMode.CROSS, PositionMode.ONE_WAY)),
        (
            {"marginMode": "ISOLATED_MARGIN", "unifiedMarginStatus": "6"},
            [venue_rows.flat_position(positionIdx=1), venue_rows.flat_position(positionIdx=2)],
            (True, MarginMode.ISOLATED, PositionMode.HEDGE),
        ),
        (
            {"marginMode": "SOMETHING_NEW"},
            [venue_rows.flat_position(positionIdx="1")],
            (True, MarginMode.OTHER, PositionMode.HEDGE),
        ),
        ({}, [], (True, MarginMode.CROSS, PositionMode.UNKNOWN)),
        ({}, [{"symbol": "BTCUSDT"}], None),
        ({"unifiedMarginStatus": ""}, [venue_rows.flat_position()], None),
    ],
)
def test_the_shape_of_an_account_is_asked_and_never_guessed(
    stub: Stub,
    connect: Connect,
    info: Json,
    legs: list[Json],
    expected: tuple[bool, MarginMode, PositionMode] | None,
) -> None:
    account = {"marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 5, **info}
    answers = {
        "/v5/account/info": envelope(account),
        "/v5/position/list": envelope({"list": legs}),
        "/v5/user/query-api": envelope(code=10032, message="Demo trading are not supported."),
    }
    stub.script = lambda request: answers[request.path]
    if expected is None:
        with pytest.raises(ExchangeUnavailableError):
            connect().account_shape("BTCUSDT")
        return
    shape = connect().account_shape("BTCUSDT")
    assert (shape.unified, shape.margin_mode, shape.position_mode) == expected
    assert shape.user_id is None
    answers["/v5/user/query-api"] = envelope({"userID": 1448939})
    assert connect().account_shape("BTCUSDT").user_id == "1448939"


def test_what_a_hedged_contract_makes_of_a_switch_is_told(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope(code=110024, message="Existing position, so position mode cannot be switched"))
    with pytest.raises(AccountShapeError, match="accounts prepare"):
        connect().set_one_way()
