"""Kind 10: delisting, settlement, deleveraging and changed rules are each what they are."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets.ledger import orders, signals
from trading_assets.ledger.exit_decisions import LEVELS, OPEN, ExitDecision
from trading_assets.trading.saga import exits
from trading_assets_tests.wild_account.proxy import (
    CLOSED,
    CREATE,
    EXECUTIONS,
    INSTRUMENTS,
    LEVERAGE,
    STOPS,
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


def test_a_session_that_is_settled_ends_nothing(scene: Scene) -> None:
    """Its profit is booked; the position is open, and ours. It is told in both lists, with the size of the position."""
    (identity,) = scene.enter("ETHUSDT")
    scene.later()
    ours = scene.size("ETHUSDT")
    scene.order("ETHUSDT", "Buy", str(ours))
    scene.order("ETHUSDT", "Sell", str(ours), reduceOnly=True)

    def session(row: Row) -> None:
        if row["side"] == "Sell":
            row |= {"execType": "SessionSettlePnL", "createType": "CreateBySettle", "orderId": "of-the-venue"}
        elif not row["orderLinkId"]:
            row["execQty"] = "0"  # what a person added was taken away again: only the settlement is seen of it

    for path in (EXECUTIONS, CLOSED):
        scene.proxy.each_row(path, session)
    scene.passes(2)
    assert scene.is_ours(identity) and scene.closed_qty(identity) == 0
    assert [(row["reason"], Decimal(row["qty"])) for row in scene.closings()] == [("session", 0)]


@pytest.mark.parametrize("how", ["MovePosition", "BlockTrade", "FutureSpread"])
def test_a_position_that_a_person_moves_away_ends_the_intent(scene: Scene, how: str) -> None:
    """To another account, or by a block: it is gone as after any other trade, though no closed PnL tells it."""
    (identity,) = scene.enter("ETHUSDT")
    scene.later()
    scene.close_by_hand("ETHUSDT")
    scene.proxy.each_row(EXECUTIONS, lambda row: row.update(execType=how) if row["side"] == "Sell" else None)
    scene.proxy.empty(CLOSED)
    scene.passes(2)
    assert scene.intent(identity)["status"] == "closed"


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


def test_a_lost_stop_of_a_coin_that_is_listed_no_more_is_set_again(scene: Scene) -> None:
    (identity,) = scene.enter("ETHUSDT")
    before = scene.stop("ETHUSDT")
    scene.proxy.each_row(INSTRUMENTS, lambda row: row["symbol"] != "ETHUSDT")
    scene.later(1200)
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.passes(1)
    assert scene.stop("ETHUSDT") == before and scene.is_ours(identity)


def _coarser(scene: Scene, symbol: str, tick: Decimal) -> None:
    """The contract has another tick from now on: it is listed so, and what is not on it is refused."""

    def refuse(request: Request) -> Answer | None:
        names = ("stopLoss", "takeProfit", "triggerPrice", "price")
        values = [Decimal(str(request.params.get(name) or 0)) for name in names]
        if request.params.get("symbol") != symbol or not any(value % tick for value in values):
            return None
        message = "params error: a price is not a multiple of the tick"
        return {"retCode": 10001, "retMsg": message, "result": {}, "retExtInfo": {}, "time": scene.now_ms()}

    def listed(row: Row) -> None:
        if row["symbol"] == symbol:
            row["priceFilter"]["tickSize"] = str(tick)

    scene.proxy.each_row(INSTRUMENTS, listed)
    for path in (CREATE, STOPS):
        scene.proxy.instead(path, refuse)


@pytest.mark.slow
@pytest.mark.parametrize("long", [True, False], ids=["long", "short"])
def test_a_signal_of_another_tick_is_sent_with_levels_on_the_tick_of_now(scene: Scene, long: bool) -> None:
    """Refused once by the new rules, which are then read; the stop is nearer to the price, by less than a tick."""
    scene.enter("SOLUSDT")  # the contracts are known from now on
    identity, tick = scene.signal("ETHUSDT", long=long), Decimal(7)
    _coarser(scene, "ETHUSDT", tick)
    assert identity in scene.submit().executed
    meant = Decimal(str(signals.by_ids(scene.database, [identity])["stop_loss"].iloc[0]))
    stop = scene.stop("ETHUSDT")
    assert stop is not None and stop % tick == 0
    assert 0 < (stop - meant if long else meant - stop) < tick
    assert scene.proxy.asked(CREATE, symbol="ETHUSDT") == 2
    scene.drain()
    (report,) = scene.passes(1)
    assert report.differences == []


@pytest.mark.slow
def test_what_stands_in_for_a_stop_is_on_the_tick_of_now(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    before, tick = scene.stop("ETHUSDT"), Decimal(7)
    assert before is not None and before % tick
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    _coarser(scene, "ETHUSDT", tick)
    scene.proxy.refuse(STOPS, 110061, "The number of stop orders exceeds the maximum allowable limit")
    scene.try_passes(2, seconds=10)
    waiting = [row for row in scene.open_orders("ETHUSDT") if row["orderStatus"] == "Untriggered"]
    assert len(waiting) == 1
    assert 0 < Decimal(waiting[0]["triggerPrice"]) - before < tick


@pytest.mark.slow
@pytest.mark.parametrize("long", [True, False], ids=["long", "short"])
def test_a_stop_that_an_exit_plan_moves_is_on_the_tick_of_now(scene: Scene, long: bool) -> None:
    (identity,) = scene.enter("ETHUSDT", long=long)
    before, tick, sign = scene.stop("ETHUSDT"), Decimal(7), 1 if long else -1
    assert before is not None
    [intent] = orders.occupying(scene.database, "main")
    target = intent.take_profit
    nearer = next(level for level in (before + sign * n * scene.tick("ETHUSDT") for n in range(1, 99)) if level % tick)
    _coarser(scene, "ETHUSDT", tick)
    said = ExitDecision(
        *(intent.order_link_id, scene.now_ms(), LEVELS, float(nearer), nearer, target),
        *("trailing", OPEN, scene.now_ms()),
    )
    assert exits.decide(scene.context, intent, said)
    assert exits.go_on(scene.context) == {}
    stop = scene.stop("ETHUSDT")
    assert stop is not None and stop % tick == 0 and 0 < sign * (stop - nearer) < tick
    (report,) = scene.passes(1)
    assert report.differences == [] and scene.is_ours(identity)


@pytest.mark.parametrize("setting", ["keep", "restore"])
@pytest.mark.parametrize("long", [True, False], ids=["long", "short"])
def test_a_lost_stop_is_set_again_on_the_tick_of_now(
    make_scene: Callable[..., Scene], setting: str, long: bool
) -> None:
    """The tick has become 7 since the entry, so the exchange refuses the signal's own stop. What is set in its place is
    nearer to the price, by less than a tick, and nobody is told that a person has moved it.
    """
    scene = make_scene(changed_stops=setting)
    (identity,) = scene.enter("ETHUSDT", long=long)
    before, tick = scene.stop("ETHUSDT"), Decimal(7)
    assert before is not None and before % tick

    _coarser(scene, "ETHUSDT", tick)
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.passes(1)
    stop = scene.stop("ETHUSDT")
    assert stop is not None and stop % tick == 0
    assert 0 < (stop - before if long else before - stop) < tick
    asked = scene.proxy.asked(STOPS)
    scene.drain()
    (report,) = scene.passes(1)
    assert report.differences == [] and scene.proxy.asked(STOPS) == asked
    assert scene.is_ours(identity) and "ACTIVE" in (scene.states() or ["ACTIVE"])[-1]
