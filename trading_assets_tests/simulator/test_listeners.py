"""What a listener of the venue is told: every change, in order, only after it is stored."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import Order, OrderCommand, StopCommand
from trading_assets.simulator.account.state import Batch
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.codec import Refusal
from trading_assets.simulator.venue import ServeConfig, Venue
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket, rising_then_falling

D = Decimal


@pytest.fixture
def venue() -> Venue:
    market = FakeMarket(rising_then_falling("BTCUSDT", T0, [100_000, 100_100, 98_000, 98_500]))
    return Venue(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), market, "fake")


def buy(link: str) -> OrderCommand:
    return OrderCommand("BTCUSDT", Side.BUY, D("0.01"), order_link_id=link, stop_loss=D(99000))


def statuses(batches: list[Batch]) -> list[list[tuple[str, OrderStatus]]]:
    return [
        [(record.stop_order_type, record.status) for record in batch.records if isinstance(record, Order)]
        for batch in batches
    ]


def test_changes_come_in_the_order_they_happened_and_as_they_were_then(venue: Venue) -> None:
    heard: list[Batch] = []
    venue.listen(heard.append)
    venue.transact(lambda now: venue.engine.place_order(buy("a"), now))
    venue.advance(lambda now: now + 10 * HOUR)
    assert statuses(heard[:2]) == [
        [("", OrderStatus.FILLED), ("StopLoss", OrderStatus.UNTRIGGERED)],
        [("StopLoss", OrderStatus.FILLED)],
    ]
    assert heard[0].time_ms == T0 < heard[1].time_ms < T0 + 10 * MINUTE
    assert [batch.time_ms for batch in heard] == sorted(batch.time_ms for batch in heard)


def test_a_refused_command_and_a_listener_that_left_are_told_nothing(venue: Venue) -> None:
    heard: list[Batch] = []
    stop = venue.listen(heard.append)
    with pytest.raises(Refusal):
        venue.transact(
            lambda now: venue.engine.change_stops(StopCommand("BTCUSDT", stop_loss=D(1), take_profit=None), now)
        )
    stop()
    venue.transact(lambda now: venue.engine.place_order(buy("a"), now))
    assert heard == []
