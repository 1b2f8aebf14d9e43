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
from trading_assets_tests.trading.fixtures import Bench, add_signal, bench_on

D = Decimal
REFUSED = OrderRejectedError("too many stop orders", code=110009)


def shared(database: Database, **changes: object) -> tuple[Bench, Decimal]:
    """A bench with a position of ours, to which a person has added three coins; our size. It has no stop."""
    bench = bench_on(database, **changes)
    add_signal(database)
    submit_orders(bench.context)
    size = bench.exchange.open["BTCUSDT"].size
    bench.later()
    reconcile(bench.context)
    bench.exchange.open_foreign("BTCUSDT", Side.BUY, 3)
    bench.exchange.lose_stops("BTCUSDT")
    bench.later()
    return bench, size


def waiting(bench: Bench) -> list[Decimal]:
    """Quantities of conditional orders."""
    return [order.qty for order in bench.exchange.book.values() if order.status is OrderStatus.UNTRIGGERED]


def test_an_exit_takes_our_quantity_alone(sqlite: Database) -> None:
    bench, size = shared(sqlite)
    bench.exchange.set_price("BTCUSDT", "97.5")
    reconcile(bench.context)
    assert bench.exchange.open["BTCUSDT"].size == 3
    assert [row.qty for row in bench.exchange.closings] == [size]


def test_an_exit_that_meets_an_empty_book_is_followed_by_another_one_of_our_quantity(sqlite: Database) -> None:
    bench, size = shared(sqlite)
    bench.exchange.thin_exits = 1
    bench.exchange.set_price("BTCUSDT", "97.5")
    reconcile(bench.context)
    assert bench.exchange.open["BTCUSDT"].size == 3
    assert [row.qty for row in bench.exchange.closings] == [size]


def test_an_exit_whose_end_is_not_known_is_not_followed_by_another_one_beside_a_persons_part(sqlite: Database) -> None:
    bench, size = shared(sqlite)
    bench.exchange.set_price("BTCUSDT", "97.5")
    bench.exchange.on_call = lambda name: setattr(bench.exchange, "hidden_looks", 2) if name == "place_order" else None
    reconcile(bench.context)
    for _ in range(2):
        bench.later()
        reconcile(bench.context)
    assert bench.exchange.open["BTCUSDT"].size == 3
    assert sum(row.qty for row in bench.exchange.closings) == size


def test_an_order_in_place_of_the_stop_takes_our_quantity_alone(sqlite: Database) -> None:
    bench, size = shared(sqlite)
    bench.exchange.fail("set_stops", REFUSED, times=99)
    reconcile(bench.context)
    assert waiting(bench) == [size]
    bench.exchange.set_price("BTCUSDT", "97.9")
    assert bench.exchange.open["BTCUSDT"].size == 3


def test_what_a_person_has_taken_of_ours_is_left_out(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite)
    submit_orders(bench.context)
    size = bench.exchange.open["BTCUSDT"].size
    bench.later()
    bench.exchange.close_position("BTCUSDT")
    bench.later()
    bench.exchange.open_foreign("BTCUSDT", Side.BUY, size)
    before = bench.exchange.open["BTCUSDT"]
    bench.later()
    reconcile(bench.context)
    assert bench.exchange.open["BTCUSDT"] == before, "it has another stop, none, and is a person's"


@pytest.mark.parametrize("ended", [False, True])
def test_unprotected_max_s_runs_only_while_no_order_stands_in(sqlite: Database, ended: bool) -> None:
    bench = bench_on(sqlite, unprotected_max_s=120)
    add_signal(sqlite)
    submit_orders(bench.context)
    bench.exchange.lose_stops("BTCUSDT")
    bench.exchange.fail("set_stops", REFUSED, times=999)
    for _ in range(10):
        bench.later(60)
        reconcile(bench.context)
    assert len(waiting(bench)) == 1 and "BTCUSDT" in bench.exchange.open
    if not ended:
        return
    for order in list(bench.exchange.book.values()):
        if order.status is OrderStatus.UNTRIGGERED:
            bench.exchange._cancel(order.order_link_id)
    bench.exchange.fail("place_order", REFUSED, times=4)
    bench.later(60)
    reconcile(bench.context)
    assert "BTCUSDT" in bench.exchange.open, "it had one a minute ago"
    bench.later(70)
    bench.exchange.heal()
    bench.exchange.fail("set_stops", REFUSED, times=999)
    bench.exchange.fail("place_order", REFUSED)
    reconcile(bench.context)
    assert "BTCUSDT" not in bench.exchange.open
    bench.later()
    reconcile(bench.context)
    assert orders.occupying(sqlite, "main") == []


@pytest.mark.parametrize(("setting", "target"), [("keep", D(110)), ("restore", D(104))])
def test_a_persons_target_stays_when_the_stop_is_set_again(sqlite: Database, setting: str, target: Decimal) -> None:
    bench = bench_on(sqlite, changed_stops=setting)
    add_signal(sqlite)
    submit_orders(bench.context)
    bench.later()
    bench.exchange.set_stops("BTCUSDT", None, D(110))
    reconcile(bench.context)
    position = bench.exchange.open["BTCUSDT"]
    assert (position.stop_loss, position.take_profit) == (D(98), target)


def test_a_target_that_a_person_took_off_does_not_come_back_with_the_stop(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite)
    submit_orders(bench.context)
    for stop in (D(98), None):
        bench.later()
        bench.exchange.set_stops("BTCUSDT", stop, None)
        reconcile(bench.context)
    position = bench.exchange.open["BTCUSDT"]
    assert (position.stop_loss, position.take_profit) == (D(98), None)


def test_what_stands_in_for_a_stop_stays_while_its_position_is_not_seen(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite)
    submit_orders(bench.context)
    bench.exchange.lose_stops("BTCUSDT")
    bench.exchange.fail("set_stops", REFUSED, times=999)
    bench.later()
    reconcile(bench.context)
    held = bench.exchange.open.pop("BTCUSDT")
    for _ in range(2):
        bench.later()
        reconcile(bench.context)
    assert len(waiting(bench)) == 1
    bench.exchange.open["BTCUSDT"] = held
    bench.exchange.heal()
    bench.later()
    reconcile(bench.context)
    assert bench.exchange.open["BTCUSDT"].stop_loss == D(98)
    bench.later()
    reconcile(bench.context)
    assert waiting(bench) == []
