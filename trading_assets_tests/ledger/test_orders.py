"""Intents and signals in the ledger: one order for a signal and a symbol, statuses that only move forward."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_assets.core.errors import LeaseLostError
from trading_assets.core.models import Side, Wallet
from trading_assets.ledger import balance, leases, orders, risk_events, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.tables import entry_signals, order_events
from trading_assets.ledger.tables import risk_events as risk_event_rows
from trading_assets.trading.saga.transitions import advance
from trading_assets_tests.trading.fixtures import NOW_MS, add_signal

D = Decimal


def an_intent(identity: str, *, link: str = "", symbol: str = "BTCUSDT", account: str = "main") -> Intent:
    return Intent(
        order_link_id=link or f"l-{hash(identity) % 10**12}",
        signal_id=identity,
        account=account,
        symbol=symbol,
        side=Side.BUY,
        qty=D("0.10"),
        stop_loss=D("98.00"),
        take_profit=D(104),
        leverage=D(10),
        status="intent",
        order_id=None,
        created_ms=NOW_MS,
        touched_wall_ms=1000,
    )


def reserve(database: Database, identity: str, *, max_open: int = 10, lease: Lease | None = None, **more: str) -> bool:
    return orders.reserve(database, an_intent(identity, **more), max_open=max_open, wall_ms=1000, lease=lease)


def status_of(database: Database, identity: str) -> str:
    return str(signals.by_ids(database, [identity]).iloc[0]["status"])


def move(database: Database, link: str, status: str, **details: object) -> Intent | None:
    """Along the saga's table, from the state that the ledger has."""
    with database.read() as connection:
        intent = orders.by_links(connection, "main", [link])[link]
    return advance(database, intent, status, now_ms=NOW_MS + 1, wall_ms=2000, **details)


def test_a_reservation_takes_the_signal_and_the_symbol(database: Database) -> None:
    identity = add_signal(database)
    assert reserve(database, identity, link="l-1")
    assert status_of(database, identity) == "executing"
    (intent,) = orders.unresolved(database, "main")
    assert (intent.order_link_id, intent.signal_id, intent.status) == ("l-1", identity, "intent")
    assert (str(intent.qty), str(intent.stop_loss)) == ("0.10", "98.00"), "money is kept digit by digit"
    assert orders.occupying(database, "main") == [intent]
    assert orders.occupying(database, "other") == []


def test_a_signal_is_reserved_once(database: Database) -> None:
    identity = add_signal(database)
    assert [reserve(database, identity) for _ in range(3)] == [True, False, False]
    assert len(orders.unresolved(database, "main")) == 1


def test_signals_of_a_close_are_reserved_together_and_a_key_that_refuses_one_refuses_it_alone(
    database: Database,
) -> None:
    first, twin, other, last = (
        add_signal(database, symbol, timeframe=timeframe)
        for symbol, timeframe in (("AUSDT", "60m"), ("AUSDT", "5m"), ("BUSDT", "60m"), ("CUSDT", "60m"))
    )
    intents = [
        an_intent(identity, link=f"l-{number}", symbol=symbol)
        for number, (identity, symbol) in enumerate(
            ((first, "AUSDT"), (twin, "AUSDT"), (other, "BUSDT"), (last, "CUSDT"))
        )
    ]
    details = {"l-2": "half of it"}
    assert orders.reserve_all(database, intents, max_open=2, wall_ms=1000, details=details) == {"l-0", "l-2"}
    assert [status_of(database, one) for one in (first, twin, other, last)] == ["executing", "active"] * 2
    with database.read() as connection:
        told = connection.execute(sa.select(order_events.c.order_link_id, order_events.c.detail)).all()
    assert sorted(tuple(row) for row in told if row.detail) == [("l-2", "half of it")]
    assert orders.reserve_all(database, intents, max_open=9, wall_ms=1000) == {"l-3"}
    assert orders.reserve_all(database, [], max_open=9, wall_ms=1000) == set()


@pytest.mark.slow
@pytest.mark.parametrize("status", ["expired", "rejected", "failed", "executing", "executed"])
def test_a_signal_that_does_not_wait_is_not_reserved(database: Database, status: str) -> None:
    identity = add_signal(database, status=status)
    assert not reserve(database, identity)
    assert orders.unresolved(database, "main") == []


def test_a_symbol_is_reserved_once_and_the_other_signal_goes_on_waiting(database: Database) -> None:
    first, second = add_signal(database), add_signal(database, timeframe="5m")
    assert reserve(database, first)
    assert not reserve(database, second)
    assert status_of(database, second) == "active"
    other = add_signal(database, account="other")
    assert reserve(database, other, account="other"), "another account has slots of its own"


@pytest.mark.slow
@pytest.mark.parametrize("status", ["executing", "executed", "rejected", "expired", "failed"])
def test_only_a_waiting_signal_is_reserved(database: Database, status: str) -> None:
    assert not reserve(database, add_signal(database, status=status))
    assert not reserve(database, "no such signal")
    assert not orders.unresolved(database, "main")


def test_threads_that_reserve_at_once_let_one_through(database: Database) -> None:
    identities = [add_signal(database), add_signal(database, timeframe="5m")]
    barrier, won = threading.Barrier(6), []

    def run(number: int) -> None:
        barrier.wait(60)
        if reserve(database, identities[number % 2], link=f"l-{number % 2}"):
            won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert len(orders.unresolved(database, "main")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "signal", "occupies"),
    [
        ("submitted", "executing", True),
        ("unknown", "executing", True),
        ("confirmed", "executed", True),
        ("rejected", "rejected", False),
        ("abandoned", "failed", False),
    ],
)
def test_an_intent_moves_together_with_its_signal(database: Database, status: str, signal: str, occupies: bool) -> None:
    identity = add_signal(database)
    reserve(database, identity, link="l-1")
    move(database, "l-1", status, reason="because", order_id="o-1", filled_qty=D("0.1"), average_price=D("100.5"))
    row = signals.by_ids(database, [identity]).iloc[0]
    assert (row["status"], row["reason"], row["order_id"]) == (signal, "because", "o-1")
    assert bool(orders.occupying(database, "main")) is occupies
    assert len(orders.unresolved(database, "main")) == (status in orders.UNRESOLVED)
    if status == "confirmed":
        assert (row["executed_at_ms"], row["executed_price"]) == (NOW_MS + 1, 100.5)
    with database.read() as connection:
        assert list(connection.execute(sa.select(order_events.c.status)).scalars()) == ["intent", status]


def test_an_intent_that_another_process_moved_is_left_as_it_is(database: Database) -> None:
    identity = add_signal(database)
    reserve(database, identity, link="l-1")
    (stale,) = orders.unresolved(database, "main")
    move(database, "l-1", "confirmed", average_price=D(100))
    for status in ("submitted", "unknown", "confirmed", "rejected", "abandoned"):
        assert advance(database, stale, status, now_ms=NOW_MS + 1, wall_ms=3000, reason="late") is None
    assert status_of(database, identity) == "executed"
    with database.read() as connection:
        assert len(connection.execute(order_events.select()).all()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("status", ["rejected", "abandoned"])
@pytest.mark.parametrize("taken", [False, True], ids=["its symbol is free", "its symbol is taken"])
def test_an_intent_that_comes_back_gets_its_symbol_only_where_it_is_free(
    database: Database, status: str, taken: bool
) -> None:
    first = add_signal(database)
    reserve(database, first, link="l-1")
    move(database, "l-1", status, reason="no")
    if taken:
        assert reserve(database, add_signal(database, timeframe="5m"), link="l-2")
    assert move(database, "l-1", "confirmed", filled_qty=D(1), average_price=D(100)) is not None
    assert [intent.order_link_id for intent in orders.occupying(database, "main")] == (["l-2"] if taken else ["l-1"])
    assert status_of(database, first) == "executed"


def test_a_reservation_under_a_lost_lease_writes_nothing(database: Database) -> None:
    identity = add_signal(database)
    lease = leases.acquire(database, "trade:main", "a", ttl_ms=1000, wall_ms=0)
    assert lease is not None
    with pytest.raises(LeaseLostError):
        reserve(database, identity, lease=lease)
    assert status_of(database, identity) == "active"
    assert not orders.unresolved(database, "main")
    assert reserve(database, identity, lease=leases.renew(database, lease, ttl_ms=1000, wall_ms=500))


def test_intents_of_a_symbol_are_those_that_may_have_a_position(database: Database) -> None:
    identity = add_signal(database)
    reserve(database, identity, link="l-1")
    move(database, "l-1", "confirmed", average_price=D(100))
    with database.read() as connection:
        found = orders.of_symbols(connection, "main", ["BTCUSDT", "ETHUSDT"], NOW_MS + 1)
        assert [intent.order_link_id for intent in found["BTCUSDT"]] == ["l-1"]
        assert "ETHUSDT" not in found


def test_waiting_signals_come_by_confidence(database: Database) -> None:
    for symbol, confidence in (("AUSDT", 70.0), ("BUSDT", 90.0), ("CUSDT", 70.0)):
        add_signal(database, symbol, confidence=confidence)
    add_signal(database, "DUSDT", status="expired")
    assert [row["symbol"] for row in signals.active(database, "main")] == ["BUSDT", "AUSDT", "CUSDT"]


def test_a_note_touches_waiting_signals_only(database: Database) -> None:
    waiting, done = add_signal(database, "AUSDT"), add_signal(database, "BUSDT", status="executed")
    for identity in (waiting, done):
        signals.note(database, identity, "too late", status="rejected")
    assert (status_of(database, waiting), status_of(database, done)) == ("rejected", "executed")


def test_equity_is_added_when_it_changed(database: Database) -> None:
    def add(equity: str, time_ms: int) -> None:
        wallet = Wallet(D(equity), D(equity), D(equity), D(0), D(0), D(0))
        with database.write() as connection:
            balance.add_equity(connection, "main", wallet, time_ms)

    for time_ms, equity in enumerate(["1000", "1000.00", "1001", "1000", "1000"]):
        add(equity, time_ms)
    assert balance.equity_rows(database, "main")["equity"].tolist() == [1000.0, 1001.0, 1000.0]


def test_an_episode_that_is_over_is_told_again_when_it_comes_back(database: Database) -> None:
    def tell(*symbols: str) -> list[bool]:
        with database.write() as connection:
            told = [risk_events.add_risk_event(connection, "main", "difference", name, "x", 0) for name in symbols]
            risk_events.end_risk_events(connection, "main", "difference", set(symbols), 0)
        return told

    assert [tell("A"), tell("A", "B"), tell("B"), tell("A", "B"), tell()] == [
        [True],
        [False, True],
        [False],
        [True, False],
        [],
    ]


def test_a_risk_event_is_added_when_it_is_new(database: Database) -> None:
    def add(symbol: str | None, detail: str) -> bool:
        with database.write() as connection:
            return risk_events.add_risk_event(connection, "main", "difference", symbol, detail, 0)

    assert [add("A", "x"), add("A", "x"), add("A", "y"), add("B", "y"), add(None, "y")] == [
        True,
        False,
        True,
        True,
        True,
    ]
    with database.read() as connection:
        assert len(connection.execute(risk_event_rows.select()).all()) == 4


def test_no_more_symbols_are_reserved_than_allowed(database: Database) -> None:
    first, second = add_signal(database), add_signal(database, "ETHUSDT")
    assert reserve(database, first, max_open=1)
    assert not reserve(database, second, symbol="ETHUSDT", max_open=1)
    assert status_of(database, second) == "active"
    assert reserve(database, second, symbol="ETHUSDT", max_open=2)


def test_a_signal_that_another_transaction_is_rejecting_is_not_reserved(database: Database) -> None:
    taken, free = add_signal(database), add_signal(database, "ETHUSDT")
    intents = [an_intent(taken, link="l-0"), an_intent(free, link="l-1", symbol="ETHUSDT")]
    reserved = list[set[str]]()

    def run() -> None:
        reserved.append(orders.reserve_all(database, intents, max_open=9, wall_ms=1000))

    with database.write() as connection:
        rejects = sa.update(entry_signals).where(entry_signals.c.signal_id == taken)
        connection.execute(rejects.values(status=signals.REJECTED))
        reserving = threading.Thread(target=run)
        reserving.start()
        reserving.join(0.3)  # it waits, or has not begun: what follows holds in both
    reserving.join(60)
    assert reserved == [{"l-1"}]
    assert [status_of(database, one) for one in (taken, free)] == ["rejected", "executing"]
