"""What is open at the exchange and what the ledger gave up: ours is taken back, a person's is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trading_assets.core.errors import ExchangeUnavailableError, OrderRejectedError
from trading_assets.core.models import Side
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on


def closed_unseen(database: Database) -> tuple[Harness, str]:
    """A position of ours that a person has closed; neither the execution nor the closing is listed yet."""
    harness = harness_on(database)
    identity = add_signal(database)
    assert submit_orders(harness.context).executed == [identity]
    reconcile(harness.context)
    harness.later()
    harness.exchange.close_position("BTCUSDT")
    harness.exchange.trades.pop()
    harness.exchange.closings.pop()
    harness.later()
    return harness, identity


def test_an_order_that_was_given_up_and_filled_all_the_same_is_ours_again(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("place_order", OrderRejectedError("by a proxy"), processed=True)
    harness.exchange.fail("find_order", ExchangeUnavailableError("502"), times=99)
    submit_orders(harness.context)
    assert orders.occupying(sqlite, "main") == [], "the ledger has given it up"
    harness.exchange.heal()
    harness.later()
    report = reconcile(harness.context)
    assert ["it is in the ledger now" in text for text in report.repaired] == [True]
    assert [intent.status for intent in orders.occupying(sqlite, "main")] == ["confirmed"]
    harness.require_consistent(identity)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "qty", "leg"),
    [
        pytest.param(Side.BUY, 3, 0, id="three times as much on our side"),
        pytest.param(Side.SELL, 1, 0, id="on the other side"),
        pytest.param(Side.BUY, 1, 1, id="a leg in hedge mode"),
    ],
)
def test_a_position_that_a_person_opened_after_ours_gets_no_stop_and_is_not_taken_for_ours(
    sqlite: Database, side: Side, qty: int, leg: int
) -> None:
    harness, identity = closed_unseen(sqlite)
    harness.exchange.open_foreign("BTCUSDT", side, qty)
    if side is Side.SELL:
        harness.exchange.trades.pop()  # not listed either: shown, it would be a closing of ours
    harness.exchange.open["BTCUSDT"] = replace(harness.exchange.open["BTCUSDT"], position_idx=leg)
    before = harness.exchange.calls["set_stops"]
    reconcile(harness.context)
    assert harness.exchange.calls["set_stops"] == before
    assert harness.exchange.open["BTCUSDT"].stop_loss is None
    (intent,) = orders.occupying(sqlite, "main")
    assert (intent.signal_id, intent.status) == (identity, "confirmed")
    assert intent.unseen_since_ms is not None, "ours is not what is open"
