"""Many signals at once, and several processes: limits stay exact, nobody waits for another's look-up, one trades."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.errors import ExchangeUnavailableError, LeaseLostError, StorageError
from trading_assets.ledger import leases, orders
from trading_assets.ledger.database import Database
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext, trading_lease
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.trading.fixtures import NO_SHARES, add_signal, harness_on

THIRTY = [f"S{number:02}USDT" for number in range(30)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_thirty_signals_at_once_take_four_requests_each_and_eight_together(database: Database, workers: int) -> None:
    harness = harness_on(database, *THIRTY, max_positions=30)
    reconcile(harness.context)
    identities = [add_signal(database, symbol) for symbol in THIRTY]
    harness.exchange.calls.clear()
    report = submit_orders(replace(harness.context, workers=workers))
    assert sorted(report.executed) == identities
    calls = harness.exchange.calls
    each = {name: calls[name] for name in ("set_leverage", "place_order", "find_order", "position")}
    assert each == dict.fromkeys(each, 30)
    assert {name: calls[name] for name in ("instruments", "tickers", "wallet", "positions")} == dict.fromkeys(
        ("instruments", "tickers", "wallet", "positions"), 1
    )
    assert calls["ticker"] == 0
    harness.require_consistent(*identities)


def test_contract_rules_are_read_once_in_a_while(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT", "CUSDT")
    context = harness.context
    for number, symbol in enumerate(("AUSDT", "BUSDT", "CUSDT")):
        add_signal(sqlite, symbol, ttl_ms=harness.exchange.time_ms + 10**7)
        submit_orders(context)
        assert harness.exchange.calls["instruments"] == 1 + (number == 2)
        harness.later(60 if number == 0 else 600)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_all_are_sent_before_any_is_looked_up(sqlite: Database, workers: int) -> None:
    harness = harness_on(sqlite, *THIRTY[:8])
    made: list[str] = []
    harness.exchange.on_call = made.append
    harness.exchange.hidden_looks = 10**6
    identities = [add_signal(sqlite, symbol) for symbol in THIRTY[:8]]
    report = submit_orders(replace(harness.context, workers=workers))
    assert sorted(report.unknown) == identities
    last_send = len(made) - 1 - made[::-1].index("place_order")
    looks_before = made[:last_send].count("find_order")
    assert looks_before < workers, "a lane that has nothing left to send may begin to look"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_positions_is_exact_however_many_wait(database: Database, workers: int) -> None:
    harness = harness_on(database, *THIRTY, max_positions=7)
    harness.exchange.open_foreign("S29USDT")
    for symbol in THIRTY:
        add_signal(database, symbol, confidence=90.0 - int(symbol[1:3]))
    report = submit_orders(replace(harness.context, workers=workers))
    assert len(report.executed) == 6, "a foreign position takes a place too"
    assert sorted(harness.exchange.open) == [*THIRTY[:6], "S29USDT"], "the most confident ones"
    assert len(report.refused) + len(report.rejected) == 24


def test_margin_is_counted_from_signal_to_signal(sqlite: Database) -> None:
    harness = harness_on(sqlite, *THIRTY[:5], position_size=Decimal(100), min_available_margin=Decimal(25), **NO_SHARES)
    harness.exchange.balance = Decimal(50)
    for symbol in THIRTY[:5]:
        add_signal(sqlite, symbol)
    report = submit_orders(harness.context)
    assert len(report.executed) == 3, "50, 40 and 30 are enough for another, 20 is not"
    assert all("margin" in reason for reason in report.refused.values())


def test_while_another_process_trades_nothing_is_opened_and_it_is_named(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    name = trading_lease("main")
    other = leases.acquire(database, name, "host:1:other", ttl_ms=30_000, wall_ms=harness.wall)
    assert other is not None
    report = submit_orders(harness.context)
    assert report.refused == {identity: "another process trades this account: host:1:other"}
    assert harness.exchange.calls["place_order"] == 0
    assert harness.signal(identity)["status"] == "active"
    leases.release(database, other)
    assert submit_orders(harness.context).executed == [identity]
    assert leases.holder_of(database, name, wall_ms=harness.wall) is None, "it is given back"


def test_a_process_that_lost_its_lease_opens_nothing_more(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    mine = leases.acquire(database, trading_lease("main"), "me", ttl_ms=1000, wall_ms=harness.wall)
    harness.wall += 2000
    assert leases.acquire(database, trading_lease("main"), "other", ttl_ms=10_000, wall_ms=harness.wall) is not None
    with pytest.raises(LeaseLostError):
        submit_orders(replace(harness.context, lease=mine))
    assert harness.exchange.calls["place_order"] == 0
    assert harness.signal(identity)["status"] == "active"


def test_nothing_is_opened_before_the_books_were_compared(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("executions", ExchangeUnavailableError("502"), times=1)
    assert "cannot be read" in submit_orders(harness.context).refused[identity]
    assert not orders.occupying(sqlite, "main")
    assert submit_orders(harness.context).executed == [identity]
    assert harness.exchange.calls["executions"] == 2
    harness.later(16 * 60)
    add_signal(sqlite, timeframe="5m", ttl_ms=harness.exchange.time_ms + 1000)
    submit_orders(harness.context)
    assert harness.exchange.calls["executions"] == 3, "the books were old"


def test_an_order_is_not_sent_after_its_signals_end(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite, ttl_ms=harness.exchange.time_ms + 3_000)
    harness.exchange.on_call = lambda name: harness.later(4) if name == "set_leverage" else None
    assert "too long" in submit_orders(harness.context).refused[identity]
    assert harness.exchange.calls["place_order"] == 0
    submit_orders(harness.context)
    assert harness.signal(identity)["status"] == "expired"


@pytest.mark.parametrize(("closed", "status"), [(False, "confirmed"), (True, "closed")])
def test_an_order_that_a_pass_over_the_books_settles_first_is_no_failed_order(
    sqlite: Database, closed: bool, status: str
) -> None:
    """A session reads the books beside its orders: the private stream tells of an order before it is looked up."""
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    looked = False

    def settle_first(name: str) -> None:
        nonlocal looked
        if name == "find_order" and not looked:
            looked = True
            if closed:
                harness.exchange.close_position("BTCUSDT", "stop")
            reconcile(harness.context)

    harness.exchange.on_call = settle_first
    report = submit_orders(replace(harness.context, workers=1))
    intent = harness.intent(identity)
    assert intent is not None and intent["status"] == status
    assert (report.executed, report.unknown) == ([identity], [])
    assert [title for title, _ in harness.told if "failed" in title] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_order_is_followed_although_the_ledger_fails_when_it_was_taken(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    harness = harness_on(sqlite, *THIRTY[:2])
    identities = [add_signal(sqlite, symbol) for symbol in THIRTY[:2]]

    def fails(_context: ExecutionContext, **of: bool) -> None:
        if of:
            raise StorageError("the disk is full")

    monkeypatch.setattr(account_refusals, "end", fails)
    with pytest.raises(StorageError):
        submit_orders(replace(harness.context, workers=workers))
    found = [intent["status"] for intent in map(harness.intent, identities) if intent is not None]
    assert len(harness.exchange.accepted) == len(found) > 0
    assert set(found) == {orders.CONFIRMED}
