"""The account on disk: restarts, mismatches, and failing writes."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.models import Side
from trading_assets.simulator.account.models import OrderCommand
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.codec import Refusal
from trading_assets.simulator.files import ACCOUNT
from trading_assets.simulator.persistence import AccountStore
from trading_assets.simulator.venue import ServeConfig, Venue
from trading_assets_tests.simulator.fake_market import DAY, HOUR, MINUTE, T0, FakeMarket, rising_then_falling

D = Decimal


class Wall:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def manual(home: Path | None) -> ServeConfig:
    return ServeConfig(home=home, clock=ClockSpec(ClockMode.MANUAL, T0))


def buy(link: str = "", stop: str | None = "99000") -> OrderCommand:
    return OrderCommand("BTCUSDT", Side.BUY, D("0.01"), order_link_id=link, stop_loss=D(stop) if stop else None)


def picture(venue: Venue) -> list[object]:
    state = venue.engine.state
    return [
        asdict(state.header),
        {key: asdict(order) for key, order in state.orders.items()},
        {key: asdict(position) for key, position in state.positions.items()},
        {key: asdict(balance) for key, balance in state.balances.items()},
        [asdict(row) for row in state.executions],
        [asdict(row) for row in state.closed],
        dict(state.links),
    ]


def market() -> FakeMarket:
    return FakeMarket(rising_then_falling("BTCUSDT", T0, [100_000, 100_100, 98_000, 98_500]))


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    venue = Venue(manual(tmp_path), market(), "fake")
    venue.transact(lambda now: venue.engine.place_order(buy("a"), now))
    venue.advance(lambda now: now + 10 * HOUR)
    venue.transact(lambda now: venue.engine.place_order(buy("b", "90000"), now))
    venue.transact(lambda now: venue.engine.set_leverage("ALTUSDT", D(3), now))
    before = picture(venue)
    venue.close()
    again = Venue(ServeConfig(home=tmp_path), market(), "fake")
    assert picture(again) == before
    assert again.clock.mode is ClockMode.MANUAL and again.clock.now_ms() == T0 + 10 * HOUR
    with pytest.raises(Refusal) as caught:
        again.transact(lambda now: again.engine.place_order(buy("a"), now))
    assert caught.value.code == 110072
    again.close()


def test_what_was_answered_is_stored_although_the_process_never_closed_the_file(tmp_path: Path) -> None:
    venue = Venue(manual(tmp_path), market(), "fake")
    order = venue.transact(lambda now: venue.engine.place_order(buy("a"), now))
    again = Venue(manual(tmp_path), market(), "fake")
    assert again.engine.state.orders[order.order_id].filled_qty == D("0.01")
    assert len(again.engine.open_orders()) == 1


def test_the_time_away_is_lived_through_after_a_restart_on_a_real_clock(tmp_path: Path) -> None:
    wall = Wall(T0)
    venue = Venue(ServeConfig(home=tmp_path), market(), "fake", wall)
    venue.transact(lambda now: venue.engine.place_order(buy(), now))
    venue.close()
    wall.now += 2 * DAY
    again = Venue(ServeConfig(home=tmp_path), market(), "fake", wall)
    (row,) = again.transact(lambda now: again.engine.state.closed)
    assert T0 + MINUTE < row.created_ms < T0 + 2 * MINUTE
    assert again.engine.state.header.settled_ms == wall.now
    again.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 8}, "seed 7"),
        ({"symbols": 81}, "80 symbols"),
        ({"clock": ClockSpec(ClockMode.REAL)}, "manual clock"),
        ({"clock": ClockSpec(ClockMode.ACCELERATED, T0, 2.0)}, "manual clock"),
    ],
)
def test_an_account_of_another_market_or_clock_is_refused_with_the_way_out(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    Venue(manual(tmp_path), market(), "fake").close()
    with pytest.raises(ConfigurationError) as caught:
        Venue(replace(manual(tmp_path), **changes), market(), "fake")
    assert words in str(caught.value)
    assert "move" in str(caught.value) and str(tmp_path / ACCOUNT) in str(caught.value)


def test_an_account_with_orders_in_unlisted_contracts_is_refused(tmp_path: Path) -> None:
    venue = Venue(manual(tmp_path), market(), "fake")
    venue.transact(lambda now: venue.engine.place_order(buy(), now))
    venue.close()
    smaller = market()
    smaller.contracts = {"ALTUSDT": smaller.contracts["ALTUSDT"]}
    with pytest.raises(ConfigurationError, match="BTCUSDT"):
        Venue(manual(tmp_path), smaller, "fake")


def test_a_damaged_file_is_a_storage_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / ACCOUNT).write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match=ACCOUNT):
        AccountStore(tmp_path / ACCOUNT)


def test_a_damaged_record_is_a_storage_error(tmp_path: Path) -> None:
    venue = Venue(manual(tmp_path), market(), "fake")
    venue.transact(lambda now: venue.engine.place_order(buy(), now))
    venue.close()
    with sqlite3.connect(tmp_path / ACCOUNT) as database:
        database.execute("UPDATE orders SET value = '{}'")
    with pytest.raises(StorageError, match="cannot be read"):
        Venue(manual(tmp_path), market(), "fake")


def test_an_order_that_could_not_be_stored_never_happened(tmp_path: Path) -> None:
    venue = Venue(manual(tmp_path), market(), "fake")
    venue.transact(lambda now: venue.engine.place_order(buy("kept"), now))
    before = picture(venue)
    # Another writer holds the file; the busy timeout is shortened so that the test need not wait it out.
    venue._store._db.execute("PRAGMA busy_timeout = 50")
    blocker = sqlite3.connect(tmp_path / ACCOUNT, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="cannot be written"):
        venue.transact(lambda now: venue.engine.place_order(buy("lost"), now))
    assert picture(venue) == before
    with pytest.raises(StorageError):
        venue.advance(lambda now: now + HOUR)
    assert venue.clock.now_ms() == T0
    blocker.execute("ROLLBACK")
    assert venue.transact(lambda now: venue.engine.place_order(buy("lost"), now)).order_link_id == "lost"
    venue.close()


def test_a_failure_inside_a_request_leaves_the_account_as_it_was(tmp_path: Path) -> None:
    venue = Venue(manual(tmp_path), market(), "fake")

    def fail(now: int) -> None:
        venue.engine.place_order(buy(), now)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        venue.transact(fail)
    assert not venue.engine.state.orders and venue.engine.state.balances["USDT"].wallet == 10_000
    venue.close()


def test_an_account_in_memory_leaves_no_file(tmp_path: Path) -> None:
    venue = Venue(manual(None), market(), "fake")
    venue.transact(lambda now: venue.engine.place_order(buy(), now))
    venue.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changes", [{"deposit": D(0)}, {"symbols": 0}, {"port": 70_000}])
def test_an_impossible_configuration_is_told(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ServeConfig(**changes)
