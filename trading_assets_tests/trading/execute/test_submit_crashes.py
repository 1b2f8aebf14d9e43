"""From a waiting signal to a position with its stop, while processes die and race: nothing lost, nothing doubled."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    PriceRefusedError,
)
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import risk_events
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.saga.recovery import recover
from trading_assets_tests.fakes import FakeExchange
from trading_assets_tests.trading.fixtures import NOW_MS, add_signal, harness_on, settings, settle_all

# Crashes: at every call of the exchange, and at every write of the ledger


BEGUN_EARLY = frozenset({"positions", "wallet", "instruments", "ticker"})
"""Read side by side before the first order; where the books have to be read first, the answers are not used."""


def _exchange_calls_of_a_run(database: Database, *, unprotected: bool) -> list[str]:
    """The methods that an undisturbed run calls, in their order."""
    harness = harness_on(database, account="rehearsal")
    harness.exchange.attaches_stops = not unprotected
    made: list[str] = []
    harness.exchange.on_call = made.append
    add_signal(database, account="rehearsal")
    submit_orders(harness.context)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("unprotected", [False, True], ids=["stops attached", "stops lost"])
@pytest.mark.parametrize(
    ("processed", "error"),
    [(False, KeyboardInterrupt()), (True, RuntimeError("killed"))],
    ids=["before it is processed", "after it was processed"],
)
def test_a_crash_at_any_call_of_the_exchange_loses_and_doubles_nothing(
    sqlite: Database, processed: bool, error: BaseException, unprotected: bool
) -> None:
    calls = _exchange_calls_of_a_run(sqlite, unprotected=unprotected)
    assert {"place_order", "find_order", "position", "set_leverage"} <= set(calls)
    for number, name in enumerate(calls):
        harness = harness_on(sqlite, account=f"crash-{number}")
        harness.exchange.attaches_stops = not unprotected
        identity = add_signal(sqlite, account=harness.settings.account)
        harness.exchange.fail(name, error, processed=processed, skip=calls[:number].count(name))
        try:
            submit_orders(harness.context)
        except type(error):
            pass
        else:
            assert name in BEGUN_EARLY, f"call {number}, {name}, did not end the run"
        harness.later()
        settle_all(harness.context, harness.exchange, harness.later)
        harness.require_consistent(identity)


def _crash_at_write(database: Database, at: int, *, committed: bool, patch: pytest.MonkeyPatch) -> None:
    """Let the write transaction of that number fail, before or after its commit."""
    real, numbers = database.write, itertools.count()

    @contextlib.contextmanager
    def write(one_at_a_time: str | None = None) -> Iterator[sa.Connection]:
        mine = next(numbers)
        with real(one_at_a_time) as connection:
            yield connection
            if mine == at and not committed:
                raise RuntimeError("killed before the commit")
        if mine == at:
            raise RuntimeError("killed after the commit")

    patch.setattr(database, "write", write)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["plain", "unprotected", "closed", "unknown"])
@pytest.mark.parametrize("committed", [False, True], ids=["before commit", "after commit"])
def test_a_crash_at_any_write_of_the_ledger_loses_and_doubles_nothing(
    sqlite: Database, committed: bool, scenario: str
) -> None:
    crashes, crashed = 0, True
    while crashed:
        harness = harness_on(sqlite, account=f"crash-{crashes}")
        exchange, identity = harness.exchange, add_signal(sqlite, account=harness.settings.account)
        exchange.attaches_stops = scenario not in ("unprotected", "closed")
        if scenario == "closed":
            exchange.fail("set_stops", PriceRefusedError("beyond the stop"), times=99)
        if scenario == "unknown":
            exchange.fail("place_order", AmbiguousOutcomeError("timeout"), processed=True)
        with pytest.MonkeyPatch.context() as patch:
            _crash_at_write(sqlite, crashes, committed=committed, patch=patch)
            try:
                submit_orders(harness.context)
                crashed = False
            except RuntimeError:
                crashes += 1
        harness.later()
        settle_all(harness.context, exchange, harness.later)
        harness.require_consistent(identity)
    assert crashes >= 4, "expiry, reservation, submitted and confirmed at least"


# Races


def _race(contexts: list[ExecutionContext]) -> list[BaseException]:
    """Submit with all contexts at once; what they raised."""
    barrier, raised = threading.Barrier(len(contexts)), []

    def run(context: ExecutionContext) -> None:
        barrier.wait(60)
        try:
            submit_orders(context)
        except BaseException as error:  # noqa: BLE001 (told to the test)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


@pytest.mark.parametrize("signals", [1, 3])
def test_processes_that_race_for_signals_place_one_order_each(database: Database, signals: int) -> None:
    """Four connections of their own on one real file, or on one PostgreSQL."""
    symbols = [f"S{number}USDT" for number in range(signals)]
    exchange = FakeExchange(*symbols)
    exchange.time_ms = NOW_MS
    identities = [add_signal(database, symbol) for symbol in symbols]
    url = database.url.render_as_string(hide_password=False)
    own = [Database(url, busy_timeout_s=60) for _ in range(4)]
    contexts = [
        ExecutionContext(each, exchange, settings(), sleep=lambda _s: None, wall_ms=lambda: 1_000_000_000)
        for each in own
    ]
    assert _race(contexts) == []
    for each in own:
        each.close()
    assert len(exchange.accepted) == signals
    harness = harness_on(database, *symbols)
    harness.exchange = exchange
    harness.require_consistent(*identities)


def test_processes_that_race_with_two_signals_of_one_symbol_open_one_position(database: Database) -> None:
    exchange = FakeExchange("BTCUSDT")
    exchange.time_ms = NOW_MS
    for timeframe in ("5m", "15m", "30m", "60m"):
        add_signal(database, timeframe=timeframe)
    url = database.url.render_as_string(hide_password=False)
    own = [Database(url, busy_timeout_s=60) for _ in range(4)]
    contexts = [
        ExecutionContext(each, exchange, settings(), sleep=lambda _s: None, wall_ms=lambda: 1_000_000_000)
        for each in own
    ]
    assert _race(contexts) == []
    for each in own:
        each.close()
    assert len(exchange.accepted) == 1
    assert exchange.open["BTCUSDT"].size == 1


def test_an_unresolved_intent_of_a_living_process_is_left_to_it(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("set_leverage", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        submit_orders(harness.context)
    harness.later(20)
    assert recover(harness.context) == 0
    assert harness.signal(identity)["status"] == "executing"
    harness.later(20)
    assert recover(harness.context) == 1
    assert harness.signal(identity)["status"] == "failed"


def test_what_was_closed_for_want_of_a_stop_is_recorded_as_a_risk(database: Database) -> None:
    harness = harness_on(database)
    harness.exchange.attaches_stops = False
    harness.exchange.fail("set_stops", PriceRefusedError("beyond the stop"))
    add_signal(database)
    submit_orders(harness.context)
    with database.read() as connection:
        assert [row.kind for row in connection.execute(risk_events.select())] == ["unprotected"]
    assert account_ledger.position_rows(database, "main").empty
