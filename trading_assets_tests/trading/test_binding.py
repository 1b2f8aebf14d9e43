"""Whose the ledger is: a key of another account, venue or market is refused before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_assets.core.errors import WrongBooksError
from trading_assets.core.models import Side
from trading_assets.ledger import books, migrations, switches
from trading_assets.ledger.books import Owner
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import read_history
from trading_assets.ledger.tables import fills, order_intents
from trading_assets.trading import binding
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.flatten import flatten
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.conftest import revision_before
from trading_assets_tests.fakes import FakeExchange
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on, settings


class Market(FakeExchange):
    """An account with another market than Bybit's."""

    name = "seeded market, seed 7"

    def market(self) -> str:
        return self.name


def on_mainnet(harness: Harness) -> tuple[ExecutionContext, FakeExchange]:
    """The same ledger, with settings and a key of mainnet."""
    person = FakeExchange("BTCUSDT", "ADAUSDT")
    person.shape = replace(person.shape, user_id="1448939")
    person.time_ms = harness.exchange.time_ms
    context = replace(
        harness.context,
        exchange=person,
        settings=settings(venue="mainnet", allow_mainnet=True),
        books=binding.BooksGuard(),
    )
    return context, person


def act(name: str) -> Callable[[ExecutionContext], object]:
    return {
        "submit": submit_orders,
        "reconcile": reconcile,
        "flatten": lambda context: flatten(context, reason="r", actor="a"),
        "flatten foreign": lambda context: flatten(context, reason="r", actor="a", foreign=True),
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["submit", "reconcile", "flatten", "flatten foreign"])
def test_books_of_the_simulator_are_not_traded_with_a_key_of_mainnet(database: Database, name: str) -> None:
    harness = harness_on(database)
    harness.exchange.market = lambda: "seeded market, seed 7"  # type: ignore[method-assign]
    add_signal(database)
    submit_orders(harness.context)
    reconcile(harness.context)
    harness.later(3600)
    waiting = add_signal(
        database, signal_timestamp_ms=harness.exchange.time_ms - 5_000, ttl_ms=harness.exchange.time_ms + 295_000
    )
    context, person = on_mainnet(harness)
    switches.set_switch(database, "main", on=True, actor="a person", reason="", wall_ms=0)
    with pytest.raises(WrongBooksError, match=r"number 7 at simulator.*number 1448939 at mainnet"):
        act(name)(context)
    assert not person.creates and not person.accepted
    assert harness.signal(waiting)["status"] == "active"
    assert read_history(database, "main") == []
    with database.read() as connection:
        assert connection.execute(sa.select(order_intents.c.status)).scalars().all() == ["confirmed"]
    submit_orders(harness.context)  # the right key goes on


@pytest.mark.parametrize(
    ("venue", "number", "market"),
    [("simulator", "8", "Bybit"), ("demo", "7", "Bybit"), ("simulator", "7", "Bybit testnet")],
    ids=["another account", "another venue", "another market"],
)
def test_each_difference_is_refused(sqlite: Database, venue: str, number: str, market: str) -> None:
    harness = harness_on(sqlite)
    reconcile(harness.context)
    other = harness_on(sqlite, venue=venue)
    other.exchange.shape = replace(other.exchange.shape, user_id=number)
    other.exchange.market = lambda: market  # type: ignore[method-assign]
    with pytest.raises(WrongBooksError, match="Nothing was done"):
        reconcile(other.context)
    assert books.read(sqlite, "main").owner == Owner("simulator", "7", "Bybit")


def test_another_account_of_the_same_market_has_books_beside(sqlite: Database) -> None:
    reconcile(harness_on(sqlite, venue="demo").context)
    other = harness_on(sqlite, venue="mainnet", allow_mainnet=True, account="real")
    other.exchange.shape = replace(other.exchange.shape, user_id="8")
    reconcile(other.context)
    assert {name: owner.venue for name, owner in books.accounts_of(sqlite).items()} == {
        "main": "demo",
        "real": "mainnet",
    }


def test_an_account_whose_venue_tells_no_number_is_known_by_its_venue(sqlite: Database) -> None:
    silent = harness_on(sqlite, venue="demo")
    silent.exchange.shape = replace(silent.exchange.shape, user_id=None)
    reconcile(silent.context)
    reconcile(harness_on(sqlite, venue="demo").context)
    with pytest.raises(WrongBooksError):
        reconcile(harness_on(sqlite, venue="simulator").context)


def test_selections_of_one_market_are_not_traded_on_another(sqlite: Database) -> None:
    seeded = Market()
    assert binding.require_market(sqlite, seeded) == Market.name
    with pytest.raises(WrongBooksError, match=r"research .* is of the market 'seeded market, seed 7'.*see 'Bybit'"):
        submit_orders(harness_on(sqlite, venue="demo").context)
    with pytest.raises(WrongBooksError, match="selections of one are never traded on the other"):
        binding.require_market(sqlite, FakeExchange())


def test_candles_on_disk_belong_to_a_market(sqlite: Database, tmp_path: Path, postgres_database: Database) -> None:
    (tmp_path / "mainnet" / "BTCUSDT").mkdir(parents=True)
    folder = tmp_path / "bybit"
    binding.require_market(sqlite, FakeExchange(), folder, former="mainnet")
    assert (folder / "BTCUSDT").is_dir() and not (tmp_path / "mainnet").exists()
    binding.require_market(sqlite, FakeExchange(), folder, former="demo")
    with pytest.raises(WrongBooksError, match="candles in"):
        binding.require_market(postgres_database, Market(), folder)


@pytest.mark.slow
def test_rows_of_an_older_version_wait_for_a_person(database: Database) -> None:
    with database.write() as connection:
        migrations.downgrade(connection, revision_before("whose_books"))
    row = dict.fromkeys(
        ("account", "symbol", "order_id", "order_link_id", "side", "exec_type", "kind", "exec_id"), "main"
    ) | {"price": Decimal(1), "qty": Decimal(1), "value": Decimal(1), "fee": Decimal(0), "time_ms": 1}
    with database.write() as connection:
        connection.execute(sa.insert(fills).values(**row | {"side": "Buy"}))
    with database.write() as connection:
        migrations.upgrade(connection)
    harness = harness_on(database)
    waiting = add_signal(database)
    for name in ("submit", "reconcile", "flatten"):
        with pytest.raises(WrongBooksError, match="trading-assets ledger bind --venue simulator"):
            act(name)(harness.context)
    with pytest.raises(WrongBooksError, match="ledger bind"):
        binding.require_market(database, harness.exchange)
    assert harness.signal(waiting)["status"] == "active"
    owner = binding.bind_by_hand(database, harness.exchange, harness.settings, by="a person")
    assert owner == books.read(database, "main").owner
    submit_orders(harness.context)
    assert harness.exchange.open["BTCUSDT"].side is Side.BUY
    context, _ = on_mainnet(harness)
    with pytest.raises(WrongBooksError):
        binding.bind_by_hand(database, context.exchange, context.settings, by="somebody else")
    assert books.read(database, "main").owner == owner


def test_an_account_is_off_until_it_is_switched_on_where_it_is_not_simulated(database: Database) -> None:
    harness = harness_on(database, venue="mainnet", allow_mainnet=True)
    waiting = add_signal(database)
    assert "trading-assets trading on" in submit_orders(harness.context).refused[waiting]
    assert not harness.exchange.creates
    switches.set_switch(database, "main", on=True, actor="a person", reason="", wall_ms=0)
    assert submit_orders(harness.context).executed == [waiting]


def test_a_simulated_account_is_on_until_it_is_switched_off(database: Database) -> None:
    harness = harness_on(database)
    switches.set_switch(database, "main", on=False, actor="kim", reason="holiday", wall_ms=0)
    waiting = add_signal(database)
    assert "off by kim: holiday" in submit_orders(harness.context).refused[waiting]
    assert not harness.exchange.creates
