"""The risk guard at work: refusals on the signals' rows, one alert each, and trading that halts by itself."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.timeframes import DAY_MS, floor_ms
from trading_assets.ledger import balance, orders, risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState
from trading_assets.ledger.strategies import set_active
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets_tests.trading.fixtures import NOW_MS, STRATEGY, Harness, add_signal, harness_on

D = Decimal
ACTIVE, REDUCING, HALTED = RiskState.ACTIVE, RiskState.REDUCING, RiskState.HALTED


def command(harness: Harness, state: RiskState) -> bool:
    now_ms = harness.exchange.time_ms
    changed = risk_guard.command(harness.database, "main", state, reason="storm", actor="ann", now_ms=now_ms)
    return changed is not None


def state(harness: Harness) -> RiskState:
    return risk.in_force(risk.read_history(harness.database, "main"), harness.exchange.time_ms).state


def titles(harness: Harness) -> list[str]:
    found = [title for title, _ in harness.told]
    harness.told.clear()
    return found


def lose(harness: Harness, usd: int) -> None:
    """The account falls without a closing of ours."""
    harness.exchange.balance -= usd


@pytest.mark.parametrize(("name", "status"), [(REDUCING, "active"), (HALTED, "rejected")])
def test_a_person_stops_entries_and_the_reason_is_on_the_signal(
    database: Database, name: RiskState, status: str
) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    assert command(harness, name)
    submit_orders(harness.context)
    signal = harness.signal(identity)
    assert signal["status"] == status
    assert signal["reason"] == f"state: {name.value} by ann: storm"
    assert not harness.exchange.accepted


def test_after_a_resume_a_signal_that_waited_is_executed(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    command(harness, REDUCING)
    assert not submit_orders(harness.context).executed
    assert command(harness, ACTIVE)
    assert submit_orders(harness.context).executed == [identity]


def test_a_halt_keeps_the_stops_and_closes_a_position_that_lost_its_own(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    submit_orders(harness.context)
    command(harness, HALTED)
    assert harness.exchange.open["BTCUSDT"].stop_loss == D(98)
    harness.exchange.lose_stops("BTCUSDT")
    reconcile(harness.context)
    assert harness.exchange.open["BTCUSDT"].stop_loss == D(98)


def test_a_state_that_says_it_already_is_not_set_again(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    asked = [ACTIVE, REDUCING, REDUCING, HALTED, HALTED, REDUCING, ACTIVE, ACTIVE]
    assert [command(harness, name) for name in asked] == [False, True, False, True, False, False, True, False]
    assert [change.state for change in risk.read_history(sqlite, "main")] == [REDUCING, HALTED, ACTIVE]


def test_a_reservation_that_passed_the_gates_before_a_halt_is_refused(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    harness.exchange.on_call = lambda name: command(harness, HALTED) if name == "ticker" else None
    report = submit_orders(harness.context)
    assert not report.executed and not harness.exchange.accepted
    assert orders.occupying(database, "main") == []
    harness.exchange.on_call = lambda _name: None
    submit_orders(harness.context)
    assert harness.signal(identity)["status"] == "rejected"


def test_a_stopped_strategy_opens_nothing_from_that_moment(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    set_active(sqlite, STRATEGY, False)
    assert submit_orders(harness.context).rejected == {identity: f"strategy: {STRATEGY} is stopped"}


@pytest.mark.slow
def test_a_drawdown_halts_trading_until_a_person_resumes_and_then_counts_anew(database: Database) -> None:
    harness = harness_on(database, "AUSDT", "BUSDT")
    reconcile(harness.context)
    lose(harness, 2000)
    reconcile(harness.context)
    assert state(harness) is HALTED
    assert titles(harness) == ["trading halted"]
    identity = add_signal(database, "AUSDT")
    for _ in range(3):
        harness.later(30)
        submit_orders(harness.context)
        reconcile(harness.context)
    assert titles(harness) == [], "told once, not once a minute"
    assert "drawdown: 20.0 % below the peak" in str(harness.signal(identity)["reason"])
    harness.later(3 * 86400)
    assert state(harness) is HALTED
    assert command(harness, ACTIVE)
    reconcile(harness.context)
    second = add_signal(
        database, "BUSDT", ttl_ms=harness.exchange.time_ms + 1, hour_ms=harness.exchange.time_ms - 4_000_000
    )
    assert submit_orders(harness.context).executed == [second]
    assert balance.peak_equity(database, "main") == D(8000)
    lose(harness, 1600)
    reconcile(harness.context)
    assert state(harness) is HALTED, "20 % below the new peak"


def test_a_daily_loss_halts_trading_until_midnight(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT", position_size=D(1500), max_daily_loss_pct=0.3)
    add_signal(sqlite, "AUSDT")
    submit_orders(harness.context)
    harness.exchange.close_position("AUSDT", "stop")
    titles(harness)
    reconcile(harness.context)
    halts = risk.read_history(sqlite, "main")
    midnight = floor_ms(NOW_MS, DAY_MS) + DAY_MS
    assert [(halt.cause, halt.actor, halt.until_ms) for halt in halts] == [(Cause.DAILY_LOSS, "risk guard", midnight)]
    assert titles(harness).count("trading halted") == 1
    harness.exchange.time_ms = midnight - 1
    assert state(harness) is HALTED
    harness.exchange.time_ms = midnight
    assert state(harness) is ACTIVE
    reconcile(harness.context)
    assert state(harness) is ACTIVE, "yesterday's loss is not today's"


def test_a_person_may_accept_todays_loss(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", position_size=D(1500), max_daily_loss_pct=0.3)
    add_signal(sqlite, "AUSDT")
    submit_orders(harness.context)
    harness.later(1)
    harness.exchange.close_position("AUSDT", "stop")
    reconcile(harness.context)
    harness.later(1)
    assert command(harness, ACTIVE)
    reconcile(harness.context)
    assert state(harness) is ACTIVE


def test_funding_counts_as_a_loss_of_the_day(sqlite: Database) -> None:
    harness = harness_on(sqlite, max_daily_loss_pct=1)
    harness.exchange.pay_funding("BTCUSDT", D(101))
    reconcile(harness.context)
    assert state(harness) is HALTED


def test_a_gate_of_the_account_is_told_once_until_it_was_open_again(database: Database) -> None:
    harness = harness_on(database, "AUSDT", "BUSDT", min_available_margin=D(9_000))
    for symbol in ("AUSDT", "BUSDT"):
        add_signal(database, symbol)
    lose(harness, 1500)

    def run() -> list[str]:
        submit_orders(harness.context)
        return titles(harness)

    assert [run() for _ in range(3)] == [["entries refused"], [], []]
    lose(harness, -1500)
    harness.exchange.set_price("AUSDT", 101)
    harness.exchange.set_price("BUSDT", 101)
    run()
    lose(harness, 1500)
    assert [run() for _ in range(2)] == [["entries refused"], []]


def test_a_refusal_of_one_signal_is_told_once(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    harness.exchange.set_price("BTCUSDT", 101)
    for _ in range(3):
        submit_orders(harness.context)
    assert titles(harness) == ["entry in BTCUSDT refused"]


def test_books_that_were_not_read_for_long_stop_entries(sqlite: Database) -> None:
    harness = harness_on(sqlite, max_reconciliation_age_s=60)
    reconcile(harness.context)
    harness.later(200)
    harness.exchange.fail("executions", ExchangeUnavailableError("down"), times=99)
    identity = add_signal(sqlite)
    submit_orders(harness.context)
    assert not harness.exchange.accepted
    assert "cannot be read" in str(harness.signal(identity)["reason"])
    harness.exchange.heal()
    assert submit_orders(harness.context).executed == [identity], "they are read again first"


def test_a_loss_at_the_stop_cools_the_symbol_down(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    submit_orders(harness.context)
    harness.later(10)
    harness.exchange.close_position("BTCUSDT", "stop")
    reconcile(harness.context)
    harness.later(10)
    second = add_signal(sqlite, timeframe="15m")
    assert "cooldown" in submit_orders(harness.context).refused[second]


def test_an_account_that_cannot_be_read_opens_nothing(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("wallet", ExchangeUnavailableError("down"), times=9)
    assert "cannot be read" in submit_orders(harness.context).refused[identity]
    assert not harness.exchange.accepted
