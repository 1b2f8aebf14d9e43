"""Who trades: one session at a time, the next one after it, and none that does not know it is alone."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest

from trading_assets.core.errors import LeaseLostError
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.trading.context import trading_lease
from trading_assets.trading.session import lease as session_lease
from trading_assets.trading.session.lease import (
    STUCK_AFTER_S,
    STUCK_READING_AFTER_S,
    TTL_MS,
    AccountTakenError,
    LeaseHandover,
    LeaseKeeper,
    Trader,
    successor_of,
    trader_of,
)

OLD, NEW = "2026-03-02T01:00:00Z#aa", "2026-03-02T02:00:00Z#bb"


class Clock:
    """The local clock."""

    def __init__(self) -> None:
        self.ms = 1_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


def session(database: Database, run: str, serves: str, clock: Clock) -> LeaseHandover:
    return LeaseHandover(database, "main", Trader(run, serves), clock)


def test_the_first_session_has_its_turn_at_once_and_is_seen(database: Database, clock: Clock) -> None:
    kept = session(database, "run-a", OLD, clock).ask(ready=False)
    assert kept is not None
    kept.require()
    assert trader_of(database, "main", wall_ms=clock.ms) == Trader("run-a", OLD)
    assert trader_of(database, "other", wall_ms=clock.ms) is None
    kept.give_back()
    assert trader_of(database, "main", wall_ms=clock.ms) is None


def test_a_second_session_on_the_same_selection_is_told_who_trades(database: Database, clock: Clock) -> None:
    first = session(database, "run-a", OLD, clock).ask(ready=False)
    assert first is not None
    second = session(database, "run-b", OLD, clock)
    assert second.ask(ready=False) is None, "it may be a dead one's lease"
    leases.renew(database, first.lease, ttl_ms=TTL_MS, wall_ms=clock.ms + 1)
    with pytest.raises(AccountTakenError, match="run run-a trades account main on the same selection"):
        second.ask(ready=False)
    first.give_back()


def test_a_dead_holder_keeps_nobody_waiting_longer_than_its_lease(database: Database, clock: Clock) -> None:
    assert leases.acquire(database, trading_lease("main"), f"run-a@{OLD}", ttl_ms=TTL_MS, wall_ms=clock.ms)
    waiting = session(database, "run-b", OLD, clock)
    assert waiting.ask(ready=True) is None
    clock.ms += TTL_MS - 1
    assert waiting.ask(ready=True) is None
    clock.ms += 1
    kept = waiting.ask(ready=True)
    assert kept is not None
    kept.give_back()


def test_a_successor_asks_only_when_it_is_ready_and_takes_over_when_the_turn_is_given_back(
    database: Database, clock: Clock
) -> None:
    first = session(database, "run-a", OLD, clock).ask(ready=False)
    assert first is not None
    successor = session(database, "run-b", NEW, clock)
    assert successor.ask(ready=False) is None
    assert successor.predecessor == Trader("run-a", OLD)
    assert successor_of(database, "main", wall_ms=clock.ms) is None
    assert successor.ask(ready=True) is None
    assert successor_of(database, "main", wall_ms=clock.ms) == Trader("run-b", NEW)
    with pytest.raises(AccountTakenError, match="run run-b is taking over"):
        session(database, "run-c", NEW, clock).ask(ready=True)
    first.give_back()
    kept = successor.ask(ready=True)
    assert kept is not None and kept.lease.fence > first.lease.fence
    assert successor_of(database, "main", wall_ms=clock.ms) is None
    assert trader_of(database, "main", wall_ms=clock.ms) == Trader("run-b", NEW)
    kept.give_back()


def test_a_clock_that_is_put_forward_takes_no_lease_away(database: Database, clock: Clock) -> None:
    kept = session(database, "run-a", OLD, clock).ask(ready=False)
    assert kept is not None
    clock.ms += 3_600_000
    kept.require()
    assert trader_of(database, "main", wall_ms=clock.ms) == Trader("run-a", OLD)
    kept.give_back()


def test_a_clock_that_is_put_back_makes_nobody_wait_longer_than_a_lease(database: Database, clock: Clock) -> None:
    assert leases.acquire(database, trading_lease("main"), f"run-a@{OLD}", ttl_ms=TTL_MS, wall_ms=clock.ms)
    clock.ms -= 600_000
    waiting = session(database, "run-b", OLD, clock)
    assert waiting.ask(ready=True) is None
    clock.ms += TTL_MS
    kept = waiting.ask(ready=True)
    assert kept is not None
    kept.give_back()


def test_a_session_that_was_paused_beyond_its_lease_sends_nothing_more(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = session(database, "run-a", OLD, clock).ask(ready=False)
    assert paused is not None
    clock.ms += TTL_MS
    monkeypatch.setattr(paused, "_renewed", time.monotonic() - TTL_MS / 1000)
    with pytest.raises(LeaseLostError, match="ran out"):
        paused.require()
    other = session(database, "run-b", OLD, clock).ask(ready=False)
    assert other is not None
    paused.give_back()
    assert trader_of(database, "main", wall_ms=clock.ms) == Trader("run-b", OLD), "what it gave back was not its own"
    other.give_back()


def test_a_stuck_session_loses_its_turn(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_assets.trading.session.lease.RENEW_EVERY_S", 0.01)
    monkeypatch.setattr("trading_assets.trading.session.lease.STUCK_AFTER_S", 0.0)
    lease = leases.acquire(database, trading_lease("main"), f"run-a@{OLD}", ttl_ms=TTL_MS, wall_ms=clock.ms)
    assert lease is not None
    kept = LeaseKeeper(database, lease, clock)
    kept._thread.join(60)
    with pytest.raises(LeaseLostError, match="stuck"):
        kept.require()


def test_the_turn_is_renewed_while_it_is_held(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trading_assets.trading.session.lease.RENEW_EVERY_S", 0.01)
    kept = session(database, "run-a", OLD, clock).ask(ready=False)
    assert kept is not None
    before = kept.lease.expires_wall_ms
    clock.ms += 5_000
    for _ in range(6000):
        if kept.lease.expires_wall_ms > before:
            break
        kept._ended.wait(0.01)
    assert kept.lease.expires_wall_ms == before + 5_000
    kept.give_back()


@pytest.mark.parametrize(
    ("away_s", "is_reading", "keeps"),
    [
        (STUCK_AFTER_S - 10, False, True),
        (STUCK_AFTER_S + 10, False, False),
        (STUCK_AFTER_S + 10, True, True),
        (STUCK_READING_AFTER_S - 10, True, True),
        (STUCK_READING_AFTER_S + 10, True, False),
    ],
)
def test_a_loop_has_its_time_and_a_read_has_more(
    sqlite: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, away_s: float, is_reading: bool, keeps: bool
) -> None:
    """A loop that has not come round is given up; one that reads has the time that reads may take."""
    real, ahead = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])
    monkeypatch.setattr(session_lease, "RENEW_EVERY_S", 0.01)
    kept = session(sqlite, "run-a", OLD, clock).ask(ready=False)
    assert kept is not None
    with kept.reading() if is_reading else nullcontext():
        ahead[0] += away_s
        clock.ms += 1
        wanted, deadline = clock.ms + TTL_MS, real() + 10
        while kept.lease.expires_wall_ms != wanted and kept._thread.is_alive():
            assert real() < deadline
            time.sleep(0.005)
        if keeps:
            kept.require()
        else:
            kept._thread.join(10)
            with pytest.raises(LeaseLostError, match="was stuck for more than"):
                kept.require()
    kept.give_back()


def test_after_a_read_the_loop_has_its_time_again(
    sqlite: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ahead = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])
    kept = session(sqlite, "run-a", OLD, clock).ask(ready=False)
    assert kept is not None
    with kept.reading():
        ahead[0] += STUCK_READING_AFTER_S - 10
    assert time.monotonic() - kept._beat < STUCK_AFTER_S and kept._readings == 0
    kept.give_back()
