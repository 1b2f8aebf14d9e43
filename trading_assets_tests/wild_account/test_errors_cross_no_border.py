"""Kind 11: what leaves the ledger, the connector or a command is an error of the project, and commands report what they
did whatever else breaks."""

from __future__ import annotations

from contextlib import ExitStack
from decimal import Decimal

import pytest

from trading_assets.ledger.database import Database
from trading_assets_tests.wild_account.proxy import (
    ACCOUNT,
    CLOSED,
    CREATE,
    EXECUTIONS,
    INSTRUMENTS,
    MONEY_LOG,
    OPEN_ORDERS,
    ORDER_HISTORY,
    POSITIONS,
    TICKERS,
    TIME,
    WALLET,
    Row,
)
from trading_assets_tests.wild_account.scene import Console, Scene, attempt, open_scene

READ = [POSITIONS, CLOSED, EXECUTIONS, OPEN_ORDERS, ORDER_HISTORY, WALLET, TICKERS, INSTRUMENTS, TIME]
MARKUP = "[/red] [bold] [/] [link=x"
DEEP = (
    b'{"retCode": 0, "retMsg": "OK", "time": 1, "retExtInfo": {}, "result": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
)

BODIES = {
    "nested": DEEP,
    "not json": b"<html>busy</html>",
    "a list": b"[]",
    "empty": b"",
    "not utf-8": b"\xff\xfe\x00",
    "result is text": b'{"retCode": 0, "retMsg": "OK", "result": "x", "time": 1, "retExtInfo": {}}',
    "list is null": b'{"retCode": 0, "retMsg": "OK", "result": {"list": null}, "time": 1, "retExtInfo": {}}',
    "list is text": b'{"retCode": 0, "retMsg": "OK", "result": {"list": "rows"}, "time": 1, "retExtInfo": {}}',
    "code is text": b'{"retCode": "0", "retMsg": "OK", "result": {"list": []}, "time": 1, "retExtInfo": {}}',
    "time is text": b'{"retCode": 0, "retMsg": "OK", "result": {"list": []}, "time": "now", "retExtInfo": {}}',
    "huge number": b'{"retCode": 0, "retMsg": "OK", "result": {"list": []}, "time": 1e999, "retExtInfo": {}}',
}


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES, ids=str)
def test_no_answer_makes_a_foreign_error(scene: Scene, body: str) -> None:
    (eth,) = scene.enter("ETHUSDT")
    sol = scene.signal("SOLUSDT")
    for path in READ:
        scene.proxy.instead(path, lambda _: BODIES[body])
        attempt(scene.reconcile)
        attempt(scene.submit)
        scene.proxy.clear()
    assert scene.intent(eth)["open_slot"] is not None
    scene.passes(1)
    attempt(scene.submit)
    assert scene.is_ours(eth) and scene.signal_status(sol) == "executed"


@pytest.mark.parametrize("body", ["nested", "not json", "a list", "result is text", "time is text", "huge number"])
def test_no_answer_to_an_order_makes_a_foreign_error(scene: Scene, body: str) -> None:
    """The order was placed: it is found."""
    scene.reconcile()
    identity = scene.signal("SOLUSDT")
    scene.proxy.rewrite(CREATE, lambda *_: BODIES[body], times=1)
    attempt(scene.submit)
    scene.passes(2)
    assert scene.is_ours(identity) and len(scene.orders_of_ours("SOLUSDT")) == 1


NUMBERS = ["1e400", "-99999999999999999999999", "NaN"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("path", "name"),
    [(CLOSED, "updatedTime"), (EXECUTIONS, "execTime"), (POSITIONS, "createdTime"), (WALLET, "totalEquity")],
)
def test_no_number_makes_a_foreign_error(scene: Scene, path: str, name: str, number: str) -> None:
    (eth,) = scene.enter("ETHUSDT")
    scene.order("ADAUSDT", "Buy", "200")
    scene.later(1)
    scene.order("ADAUSDT", "Sell", "100", reduceOnly=True)

    def odd(row: Row) -> None:
        if row.get("symbol", "ADAUSDT") == "ADAUSDT":
            row[name] = number

    scene.proxy.each_row(path, odd)
    scene.try_passes(1)
    sol = scene.signal("SOLUSDT")
    attempt(scene.submit)
    scene.proxy.clear()
    scene.passes(1)
    assert scene.is_ours(eth) and scene.states() == [] and scene.signal_status(sol) in ("active", "executed")


def test_rules_without_a_step_make_no_foreign_error(scene: Scene) -> None:
    scene.reconcile()
    scene.proxy.each_row(INSTRUMENTS, lambda row: row["lotSizeFilter"].update(qtyStep="0"))
    scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.size("SOLUSDT") == 0


def test_flatten_reports_what_it_did_although_the_books_cannot_be_read(scene: Scene) -> None:
    scene.enter("ETHUSDT", "SOLUSDT")
    scene.proxy.refuse(WALLET, 10003, "API key is invalid.")
    scene.proxy.refuse(CLOSED, 10003, "API key is invalid.")
    report = scene.flatten()
    assert set(report.closed) == {"ETHUSDT", "SOLUSDT"} and scene.legs() == []


def test_flatten_halts_and_closes_although_the_venue_does_not_tell_the_time(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.proxy.instead(TIME, lambda _: b"busy")
    attempt(scene.flatten)
    assert scene.states()[-1:] == ["HALTED"] and scene.legs() == []


def test_flatten_halts_although_positions_cannot_be_read(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.proxy.instead(POSITIONS, lambda _: b"busy")
    attempt(scene.flatten)
    assert scene.states()[-1:] == ["HALTED"]


@pytest.mark.parametrize("error", [RuntimeError("the messenger is down"), RecursionError()])
def test_what_a_messenger_raises_stops_no_order_and_no_pass(scene: Scene, error: Exception) -> None:
    (eth,) = scene.enter("ETHUSDT")
    told = scene.told

    class Deaf(list[tuple[str, str]]):
        def append(self, _: tuple[str, str]) -> None:
            raise error

    scene.told = Deaf()
    sol = scene.signal("SOLUSDT")
    attempt(scene.submit)
    scene.order("ADAUSDT", "Buy", "200")
    scene.passes(1)
    scene.flatten()
    scene.told = told
    assert scene.size("ETHUSDT") == scene.size("SOLUSDT") == 0 and scene.size("ADAUSDT") == 200
    scene.passes(1)
    assert {scene.intent(one)["status"] for one in (eth, sol)} == {"closed"}


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("portfolio",),
        ("doctor",),
        ("halt", MARKUP),
        ("reduce", MARKUP),
        ("flatten", "--yes", MARKUP),
        ("explain", "ta-e-nothing[/red]"),
        ("intents", "list"),
    ],
    ids=lambda command: command[0],
)
def test_no_text_of_the_venue_or_of_a_person_breaks_a_command(
    scene: Scene, console: Console, command: tuple[str, ...]
) -> None:
    """Square brackets in reasons, in refusals and in the names of symbols."""
    scene.enter("ETHUSDT")
    attempt(lambda: console.run("halt", MARKUP))
    scene.execute("UPDATE positions SET symbol = :m", m=f"ODD{MARKUP}")
    scene.execute("UPDATE entry_signals SET reason = :m", m=MARKUP)
    scene.execute("UPDATE order_intents SET reason = :m", m=MARKUP)
    scene.proxy.refuse(WALLET, 10001, MARKUP)
    scene.proxy.refuse(KEY_AND_ACCOUNT[0], 10005, MARKUP)
    scene.proxy.refuse(KEY_AND_ACCOUNT[1], 10005, MARKUP)
    result = console.run(*command)
    assert "No such command" not in result.output
    assert command[0] not in ("status", "portfolio") or "[/red]" in result.output


KEY_AND_ACCOUNT = ("/v5/user/query-api", ACCOUNT)


def test_a_portfolio_as_json_shows_texts_as_they_are(scene: Scene, console: Console) -> None:
    scene.enter("ETHUSDT")
    console.run("halt", MARKUP)
    assert "[/red]" in console.run("portfolio", "--json").output


@pytest.mark.slow
@pytest.mark.parametrize("written", ["\x00", "x" * 300, "\ud800", ""], ids=["nul", "long", "surrogate", "empty"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        (EXECUTIONS, "execId"),
        (EXECUTIONS, "orderLinkId"),
        (CLOSED, "orderId"),
        (OPEN_ORDERS, "orderLinkId"),
        (POSITIONS, "symbol"),
        (MONEY_LOG, "id"),
    ],
)
def test_no_name_that_postgresql_refuses_stops_a_pass(
    postgres_database: Database, path: str, name: str, written: str
) -> None:
    """Of a person's rows in another coin: our lost stop is set again in the same pass."""
    with ExitStack() as stack:
        scene = open_scene(stack, postgres_database)
        scene.enter("ETHUSDT")
        scene.order("SOLUSDT", "Buy", "5")
        scene.order("SOLUSDT", "Buy", "5", orderType="Limit", price="10")
        scene.later(60)
        scene.close_by_hand("SOLUSDT", Decimal(2))
        scene.proxy.each_row(path, lambda row: row.update({name: written}) if row["symbol"] == "SOLUSDT" else None)
        scene.stops_by_hand("ETHUSDT", stop=0)
        scene.passes(1)
        assert scene.stop("ETHUSDT") is not None
