"""A process that sleeps between its look at a position and its stop sets none on a person's own later position."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets.core.errors import TooLateError
from trading_assets.core.models import OrderStatus, SendBy, Side
from trading_assets.ledger.database import Database
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.fakes import FakeExchange
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on

D = Decimal
BTC = "BTCUSDT"
NIGHT_S = 35


def sleeps_at_the_stop(
    monkeypatch: pytest.MonkeyPatch, harness: Harness, meanwhile: Callable[[], None] = lambda: None, times: int = 1
) -> list[Decimal | None]:
    """So many times the process sleeps right before a stop is set. Return the stops that were asked for."""
    asked: list[Decimal | None] = []

    def set_stops(symbol: str, stop: Decimal | None, target: Decimal | None, send_by: SendBy | None = None) -> None:
        asked.append(stop)
        if len(asked) <= times:
            harness.later(NIGHT_S)
            meanwhile()
        FakeExchange.set_stops(harness.exchange, symbol, stop, target, send_by)

    monkeypatch.setattr(harness.exchange, "set_stops", set_stops)
    return asked


def changes_hands(harness: Harness, size: Decimal) -> None:
    """Ours is closed, and a person opens as much on the same side."""
    harness.exchange.close_position(BTC)
    harness.later(1)
    harness.exchange.open_foreign(BTC, Side.BUY, size)


def entered(database: Database) -> tuple[Harness, Decimal]:
    """A position of ours, which is in the books; its size."""
    harness = harness_on(database)
    add_signal(database)
    submit_orders(harness.context)
    harness.later()
    reconcile(harness.context)
    return harness, harness.exchange.open[BTC].size


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, D(95)], ids=["a stop that is gone", "a stop that was moved"])
def test_the_stop_of_ours_is_not_set_on_a_persons_later_position(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch, level: Decimal | None
) -> None:
    harness, size = entered(sqlite)
    harness.exchange.set_stops(BTC, level, D(104))
    harness.exchange.set_price(BTC, "100.5")  # the person's has another entry price
    asked = sleeps_at_the_stop(monkeypatch, harness, lambda: changes_hands(harness, size))
    reconcile(harness.context)
    assert asked == [D(98)], "the process had begun to set it"
    assert harness.exchange.open[BTC].stop_loss is None
    waiting = [one for one in harness.exchange.book.values() if one.status is OrderStatus.UNTRIGGERED]
    assert waiting == [], "nor does an order stand in for it"
    for _ in range(2):
        harness.later()
        reconcile(harness.context)
    assert harness.exchange.open[BTC].size == size and harness.exchange.open[BTC].stop_loss is None


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, D(95)], ids=["a stop that is gone", "a stop that was moved"])
def test_ours_has_its_stop_again_however_often_the_process_sleeps(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch, level: Decimal | None
) -> None:
    harness, _ = entered(sqlite)
    harness.exchange.set_stops(BTC, level, D(104))
    asked = sleeps_at_the_stop(monkeypatch, harness, times=2)
    for _ in range(3):
        reconcile(harness.context)
    assert harness.exchange.open[BTC].stop_loss == D(98)
    assert len(asked) == 3


def test_a_position_that_changed_hands_while_it_was_compared_is_looked_up_again(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the comparison knew of how much is ours is of another position by the time the stop is looked at."""
    harness, size = entered(sqlite)
    harness.exchange.lose_stops(BTC)
    harness.exchange.set_price(BTC, "100.5")
    seen, position = list[str](), harness.exchange.position

    def late(symbol: str) -> object:
        if not seen:
            changes_hands(harness, size)
        seen.append(symbol)
        return position(symbol)

    monkeypatch.setattr(harness.exchange, "position", late)
    reconcile(harness.context)
    assert seen and harness.exchange.open[BTC].stop_loss is None


def test_an_emergency_exit_that_comes_late_closes_no_later_position(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, size = entered(sqlite)
    harness.exchange.lose_stops(BTC)
    harness.exchange.set_price(BTC, "97.5")
    find, slept = harness.exchange.find_order, list[str]()

    def finds(symbol: str, link: str) -> object:
        if not slept and harness.exchange.calls["position"] and harness.told:
            slept.append(link)
            harness.later(NIGHT_S)
            changes_hands(harness, size)
        return find(symbol, link)

    monkeypatch.setattr(harness.exchange, "find_order", finds)
    harness.told.clear()
    reconcile(harness.context)
    assert slept, "the process slept after it had told that it closes the position"
    assert harness.exchange.open[BTC].size == size


def test_a_time_that_has_passed_is_said(sqlite: Database) -> None:
    harness, _ = entered(sqlite)
    send_by = harness.context.send_by()
    harness.later(NIGHT_S)
    with pytest.raises(TooLateError, match="25000 ms too long"):
        harness.exchange.set_stops(BTC, D(97), None, send_by)
