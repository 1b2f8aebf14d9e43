"""A position without its stop: our quantity alone is closed, a person's target stays, what stands in is enough."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.errors import OrderRejectedError
from trading_assets.core.models import OrderStatus, Side
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on

D = Decimal
REFUSED = OrderRejectedError("too many stop orders", code=110009)


def shared(database: Database, **changes: object) -> tuple[Harness, Decimal]:
    """A harness with a position of ours, to which a person has added three coins; our size. It has no stop."""
    harness = harness_on(database, **changes)
    add_signal(database)
    submit_orders(harness.context)
    size = harness.exchange.open["BTCUSDT"].size
    harness.later()
    reconcile(harness.context)
    harness.exchange.open_foreign("BTCUSDT", Side.BUY, 3)
    harness.exchange.lose_stops("BTCUSDT")
    harness.later()
    return harness, size


def waiting(harness: Harness) -> list[Decimal]:
    """Quantities of conditional orders."""
    return [order.qty for order in harness.exchange.book.values() if order.status is OrderStatus.UNTRIGGERED]


@pytest.mark.slow
def test_an_exit_takes_our_quantity_alone(sqlite: Database) -> None:
    harness, size = shared(sqlite)
    harness.exchange.set_price("BTCUSDT", "97.5")
    reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"].size == 3
    assert [row.qty for row in harness.exchange.closings] == [size]


@pytest.mark.slow
def test_an_exit_that_meets_an_empty_book_is_followed_by_another_one_of_our_quantity(sqlite: Database) -> None:
    harness, size = shared(sqlite)
    harness.exchange.thin_exits = 1
    harness.exchange.set_price("BTCUSDT", "97.5")
    reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"].size == 3
    assert [row.qty for row in harness.exchange.closings] == [size]


@pytest.mark.slow
def test_an_exit_whose_end_is_not_known_is_not_followed_by_another_one_beside_a_persons_part(sqlite: Database) -> None:
    harness, size = shared(sqlite)
    harness.exchange.set_price("BTCUSDT", "97.5")
    harness.exchange.on_call = lambda name: (
        setattr(harness.exchange, "hidden_looks", 2) if name == "place_order" else None
    )
    reconcile(harness.context)
    for _ in range(2):
        harness.later()
        reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"].size == 3
    assert sum(row.qty for row in harness.exchange.closings) == size


@pytest.mark.slow
def test_an_order_in_place_of_the_stop_takes_our_quantity_alone(sqlite: Database) -> None:
    harness, size = shared(sqlite)
    harness.exchange.fail("set_stops", REFUSED, times=99)
    reconcile(harness.context)
    assert waiting(harness) == [size]
    harness.exchange.set_price("BTCUSDT", "97.9")
    assert harness.exchange.open["BTCUSDT"].size == 3


def test_what_a_person_has_taken_of_ours_is_left_out(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    submit_orders(harness.context)
    size = harness.exchange.open["BTCUSDT"].size
    harness.later()
    harness.exchange.close_position("BTCUSDT")
    harness.later()
    harness.exchange.open_foreign("BTCUSDT", Side.BUY, size)
    before = harness.exchange.open["BTCUSDT"]
    harness.later()
    reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"] == before, "it has another stop, none, and is a person's"


@pytest.mark.slow
@pytest.mark.parametrize("ended", [False, True])
def test_unprotected_max_s_runs_only_while_no_order_stands_in(sqlite: Database, ended: bool) -> None:
    harness = harness_on(sqlite, unprotected_max_s=120)
    add_signal(sqlite)
    submit_orders(harness.context)
    harness.exchange.lose_stops("BTCUSDT")
    harness.exchange.fail("set_stops", REFUSED, times=999)
    for _ in range(10):
        harness.later(60)
        reconcile(harness.context)
    assert len(waiting(harness)) == 1 and "BTCUSDT" in harness.exchange.open
    if not ended:
        return
    for order in list(harness.exchange.book.values()):
        if order.status is OrderStatus.UNTRIGGERED:
            harness.exchange._cancel(order.order_link_id)
    harness.exchange.fail("place_order", REFUSED, times=4)
    harness.later(60)
    reconcile(harness.context)
    assert "BTCUSDT" in harness.exchange.open, "it had one a minute ago"
    harness.later(70)
    harness.exchange.heal()
    harness.exchange.fail("set_stops", REFUSED, times=999)
    harness.exchange.fail("place_order", REFUSED)
    reconcile(harness.context)
    assert "BTCUSDT" not in harness.exchange.open
    harness.later()
    reconcile(harness.context)
    assert orders.occupying(sqlite, "main") == []


@pytest.mark.parametrize(("setting", "target"), [("keep", D(110)), ("restore", D(104))])
def test_a_persons_target_stays_when_the_stop_is_set_again(sqlite: Database, setting: str, target: Decimal) -> None:
    harness = harness_on(sqlite, changed_stops=setting)
    add_signal(sqlite)
    submit_orders(harness.context)
    harness.later()
    harness.exchange.set_stops("BTCUSDT", None, D(110))
    reconcile(harness.context)
    position = harness.exchange.open["BTCUSDT"]
    assert (position.stop_loss, position.take_profit) == (D(98), target)


@pytest.mark.slow
def test_a_target_that_a_person_took_off_does_not_come_back_with_the_stop(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    submit_orders(harness.context)
    for stop in (D(98), None):
        harness.later()
        harness.exchange.set_stops("BTCUSDT", stop, None)
        reconcile(harness.context)
    position = harness.exchange.open["BTCUSDT"]
    assert (position.stop_loss, position.take_profit) == (D(98), None)


@pytest.mark.slow
def test_what_stands_in_for_a_stop_stays_while_its_position_is_not_seen(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    submit_orders(harness.context)
    harness.exchange.lose_stops("BTCUSDT")
    harness.exchange.fail("set_stops", REFUSED, times=999)
    harness.later()
    reconcile(harness.context)
    held = harness.exchange.open.pop("BTCUSDT")
    for _ in range(2):
        harness.later()
        reconcile(harness.context)
    assert len(waiting(harness)) == 1
    harness.exchange.open["BTCUSDT"] = held
    harness.exchange.heal()
    harness.later()
    reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"].stop_loss == D(98)
    harness.later()
    reconcile(harness.context)
    assert waiting(harness) == []
