"""What an earlier process left open is settled by what the exchange shows: its order, else the position."""

from __future__ import annotations

import pytest

from trading_assets.core.errors import AmbiguousOutcomeError
from trading_assets.ledger.database import Database
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.saga.recovery import recover
from trading_assets_tests.trading.fixtures import add_signal, harness_on


@pytest.mark.parametrize(
    ("filled", "has_stop", "status"),
    [
        pytest.param(True, True, "confirmed", id="a position with the stop of the order"),
        pytest.param(True, False, "unknown", id="a position that may be somebody else's"),
        pytest.param(False, False, "abandoned", id="no position"),
    ],
)
def test_an_order_that_no_list_shows_is_not_given_up_while_its_position_is_open(
    sqlite: Database, filled: bool, has_stop: bool, status: str
) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.attaches_stops = has_stop
    harness.exchange.fail("place_order", AmbiguousOutcomeError("read timed out"), processed=filled)
    harness.exchange.hidden_looks = 99
    submit_orders(harness.context)
    harness.later()
    recover(harness.context)
    intent = harness.intent(identity)
    assert intent is not None and intent["status"] == status
