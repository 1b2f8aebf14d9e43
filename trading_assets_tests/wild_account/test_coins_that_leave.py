"""Kind 10: delisting, settlement, deleveraging and changed rules are each what they are."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets_tests.wild_account.proxy import (
    CLOSED,
    CREATE,
    EXECUTIONS,
    INSTRUMENTS,
    LEVERAGE,
    Answer,
    Request,
    Row,
)
from trading_assets_tests.wild_account.scene import Scene, attempt

HOUR_MS = 3_600_000
FIVE = ("ETHUSDT", "SOLUSDT", "XRPUSDT", "LTCUSDT", "DOGEUSDT")


def _listed_as(scene: Scene, symbol: str, **values: object) -> None:
    scene.proxy.each_row(INSTRUMENTS, lambda row: row.update(values) if row["symbol"] == symbol else None)


@pytest.mark.parametrize("hours", [1, 2, 23])
def test_a_coin_that_is_settled_soon_is_not_entered(scene: Scene, hours: int) -> None:
    scene.reconcile()
    _listed_as(scene, "SUIUSDT", deliveryTime=str(scene.now_ms() + hours * HOUR_MS))
    sui, sol = scene.signal("SUIUSDT"), scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.signal_status(sui) != "executed" and scene.size("SUIUSDT") == 0
    assert scene.signal_status(sol) == "executed"


@pytest.mark.slow
@pytest.mark.parametrize("none", ["0", ""])
def test_a_coin_without_a_delivery_is_entered(scene: Scene, none: str) -> None:
    scene.reconcile()
    _listed_as(scene, "SUIUSDT", deliveryTime=none)
    identity = scene.signal("SUIUSDT")
    assert identity in scene.submit().executed


@pytest.mark.parametrize("status", ["Delivering", "PreLaunch", "Closed", "SomethingNew"])
def test_a_coin_that_does_not_trade_is_not_entered(scene: Scene, status: str) -> None:
    scene.reconcile()
    _listed_as(scene, "SUIUSDT", status=status)
    sui, sol = scene.signal("SUIUSDT"), scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.signal_status(sui) != "executed" and scene.proxy.asked(CREATE, symbol="SUIUSDT") == 0
    assert scene.signal_status(sol) == "executed"


def test_a_coin_of_a_position_that_is_to_be_settled_is_told(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    _listed_as(scene, "ETHUSDT", deliveryTime=str(scene.now_ms() + 24 * HOUR_MS))
    scene.passes(3, seconds=600)
    assert len(scene.hears("ETHUSDT", "deliver")) + len(scene.hears("ETHUSDT", "delist")) >= 1


def test_a_coin_whose_listing_ends_while_its_rules_are_kept(scene: Scene) -> None:
    """The announcement comes within the ten minutes that rules are kept: the venue's refusal says it."""
    scene.enter("ETHUSDT")
    _listed_as(scene, "SUIUSDT", status="Delivering", deliveryTime=str(scene.now_ms() + HOUR_MS))
    scene.proxy.refuse(CREATE, 30228, "No new positions during delisting.", symbol="SUIUSDT")
    scene.signal("SUIUSDT")
    attempt(scene.submit)
    scene.later(240)
    again = scene.signal("SUIUSDT")
    attempt(scene.submit)
    assert scene.signal_status(again) != "executed" and scene.proxy.asked(CREATE, symbol="SUIUSDT") <= 1


ENDS = {
    ("AdlTrade", "CreateByAdl_PassThrough"): "adl",
    ("Settle", "CreateBySettle"): "settlement",
    ("Delivery", "CreateBySettle"): "settlement",
    ("BustTrade", "CreateByTakeOver_PassThrough"): "liquidation",
    ("MovePosition", "CreateByClosing"): "other",
    ("SomethingNew", "CreateBySomethingNew"): "other",
}


@pytest.mark.parametrize(("how", "reason"), list(ENDS.items()), ids=str)
def test_what_is_no_stop_is_booked_as_what_it_is(scene: Scene, how: tuple[str, str], reason: str) -> None:
    identities = scene.enter(*FIVE)

    def by_the_venue(row: Row) -> None:
        if row["side"] == "Sell":
            row |= {"execType": how[0], "createType": how[1]}

    for path in (CLOSED, EXECUTIONS):
        scene.proxy.each_row(path, by_the_venue)
    scene.later()
    for symbol in FIVE:
        scene.close_by_hand(symbol)
    scene.passes(1)
    assert [scene.reasons(identity) for identity in identities] == [{reason}] * len(FIVE)
    again, other = scene.signal("ETHUSDT"), scene.signal("ADAUSDT")
    assert {again, other} <= set(scene.submit().executed), "only stops count as stops"


def _as_delivery(row: Row) -> None:
    if row["side"] == "Sell":
        row |= {"execType": "Delivery", "orderId": "", "orderLinkId": "", "orderType": "UNKNOWN", "orderQty": "0"}


def _delivered(scene: Scene) -> tuple[str, Decimal]:
    """A position of ours that was delivered: an execution without an order, and no closed PnL. Its signal and size."""
    (identity,) = scene.enter("ETHUSDT")
    size = scene.size("ETHUSDT")
    scene.later()
    scene.close_by_hand("ETHUSDT")
    scene.proxy.each_row(EXECUTIONS, _as_delivery)
    scene.proxy.empty(CLOSED)
    scene.passes(2)
    return identity, size


def test_a_delivery_without_any_order_ends_the_intent(scene: Scene) -> None:
    """Bybit books it as an execution alone: no order, no row of closed PnL."""
    identity, size = _delivered(scene)
    assert scene.intent(identity)["status"] == "closed"
    assert scene.reasons(identity) == {"settlement"} and scene.closed_qty(identity) == size


@pytest.mark.parametrize("order_id", ["", "settled-by-the-venue"])
def test_a_delivery_that_is_told_twice_is_booked_once(scene: Scene, order_id: str) -> None:
    """First as an execution alone, later as a row of closed PnL too: what that says is what counts."""
    identity, size = _delivered(scene)
    assert scene.closed_qty(identity) == size and scene.intent(identity)["status"] == "closed"
    scene.proxy.clear()
    scene.proxy.each_row(EXECUTIONS, _as_delivery)
    scene.proxy.each_row(CLOSED, lambda row: row.update(execType="Delivery", orderId=order_id))
    scene.passes(2)
    assert scene.closed_qty(identity) == size and scene.reasons(identity) == {"settlement"}
    pnl = sum((Decimal(row["pnl"]) for row in scene.closings()), Decimal(0))
    assert pnl == sum((Decimal(row["closedPnl"]) for row in scene.closed_at_exchange()), Decimal(0))


def test_an_open_position_is_told_once_with_the_date_of_its_delivery(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    _listed_as(scene, "ETHUSDT", deliveryTime=str(scene.now_ms() + 24 * HOUR_MS))
    scene.passes(4, seconds=700)
    assert len(scene.hears("ETHUSDT", "2026-03-03", "delivered")) == 1


def test_liquidation_of_a_part_leaves_the_rest_ours(scene: Scene) -> None:
    (identity,) = scene.enter("ETHUSDT")

    def bust(row: Row) -> None:
        if row["side"] == "Sell":
            row |= {"execType": "BustTrade", "createType": "CreateByTakeOver_PassThrough"}

    for path in (CLOSED, EXECUTIONS):
        scene.proxy.each_row(path, bust)
    scene.later()
    scene.close_by_hand("ETHUSDT", Decimal("0.01"))
    scene.passes(1)
    assert scene.is_ours(identity) and scene.reasons(identity) == {"liquidation"}
    assert scene.closed_qty(identity) == Decimal("0.01")


def _stale(scene: Scene, symbol: str, part: str, name: str, value: str) -> None:
    """Rules read now, to be kept for a while, are those of yesterday."""

    def old(row: Row) -> None:
        if row["symbol"] == symbol:
            row[part][name] = value

    scene.proxy.each_row(INSTRUMENTS, old)
    scene.enter("ETHUSDT")
    scene.proxy.clear()


def test_a_changed_quantity_step_is_read_again(scene: Scene) -> None:
    _stale(scene, "SOLUSDT", "lotSizeFilter", "qtyStep", "0.01")
    first = scene.signal("SOLUSDT")
    scene.submit()
    scene.later(240)
    second = scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert "executed" in (scene.signal_status(first), scene.signal_status(second))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (CREATE, 10001, "Qty invalid"),
        (CREATE, 10001, "params error: stopLoss invalid tick"),
        (LEVERAGE, 110013, "Cannot set leverage due to risk limit level."),
        (LEVERAGE, 10001, "buyLeverage invalid"),
        (CREATE, 110090, "Order quantity exceeds the upper limit of the current risk limit level"),
    ],
)
def test_rules_are_read_again_when_a_refusal_names_them(scene: Scene, path: str, code: int, message: str) -> None:
    scene.enter("ETHUSDT")
    before = scene.proxy.asked(INSTRUMENTS)

    def until_read_again(_: Request) -> Answer | None:
        if scene.proxy.asked(INSTRUMENTS) > before:
            return None
        return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": scene.now_ms()}

    scene.proxy.instead(path, until_read_again, symbol="SOLUSDT")
    first = scene.signal("SOLUSDT")
    attempt(scene.submit)
    scene.later(60)
    second = scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert "executed" in (scene.signal_status(first), scene.signal_status(second))
