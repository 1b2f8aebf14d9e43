"""The risk guard at work: refusals on the signals' rows, one alert each, and trading that halts by itself."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.timeframes import DAY_MS, floor_ms
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders, risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState
from trading_assets.ledger.strategies import set_active
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets_tests.trading.fixtures import NOW_MS, STRATEGY, Bench, add_signal, bench_on

D = Decimal
ACTIVE, REDUCING, HALTED = RiskState.ACTIVE, RiskState.REDUCING, RiskState.HALTED


def command(bench: Bench, state: RiskState) -> bool:
    now_ms = bench.exchange.time_ms
    changed = risk_guard.command(bench.database, "main", state, reason="storm", actor="ann", now_ms=now_ms)
    return changed is not None


def state(bench: Bench) -> RiskState:
    return risk.in_force(risk.read_history(bench.database, "main"), bench.exchange.time_ms).state


def titles(bench: Bench) -> list[str]:
    found = [title for title, _ in bench.told]
    bench.told.clear()
    return found


def lose(bench: Bench, usd: int) -> None:
    """The account falls without a closing of ours."""
    bench.exchange.balance -= usd


@pytest.mark.parametrize(("name", "status"), [(REDUCING, "active"), (HALTED, "rejected")])
def test_a_person_stops_entries_and_the_reason_is_on_the_signal(
    database: Database, name: RiskState, status: str
) -> None:
    bench = bench_on(database)
    identity = add_signal(database)
    assert command(bench, name)
    submit_orders(bench.context)
    signal = bench.signal(identity)
    assert signal["status"] == status
    assert signal["reason"] == f"state: {name.value} by ann: storm"
    assert not bench.exchange.accepted


def test_after_a_resume_a_signal_that_waited_is_executed(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    identity = add_signal(sqlite)
    command(bench, REDUCING)
    assert not submit_orders(bench.context).executed
    assert command(bench, ACTIVE)
    assert submit_orders(bench.context).executed == [identity]


def test_a_halt_keeps_the_stops_and_closes_a_position_that_lost_its_own(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite)
    submit_orders(bench.context)
    command(bench, HALTED)
    assert bench.exchange.open["BTCUSDT"].stop_loss == D(98)
    bench.exchange.lose_stops("BTCUSDT")
    reconcile(bench.context)
    assert bench.exchange.open["BTCUSDT"].stop_loss == D(98)


def test_a_state_that_says_it_already_is_not_set_again(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    asked = [ACTIVE, REDUCING, REDUCING, HALTED, HALTED, REDUCING, ACTIVE, ACTIVE]
    assert [command(bench, name) for name in asked] == [False, True, False, True, False, False, True, False]
    assert [change.state for change in risk.read_history(sqlite, "main")] == [REDUCING, HALTED, ACTIVE]


def test_a_reservation_that_passed_the_gates_before_a_halt_is_refused(database: Database) -> None:
    bench = bench_on(database)
    identity = add_signal(database)
    bench.exchange.on_call = lambda name: command(bench, HALTED) if name == "ticker" else None
    report = submit_orders(bench.context)
    assert not report.executed and not bench.exchange.accepted
    assert orders.occupying(database, "main") == []
    bench.exchange.on_call = lambda _name: None
    submit_orders(bench.context)
    assert bench.signal(identity)["status"] == "rejected"


def test_a_stopped_strategy_opens_nothing_from_that_moment(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    identity = add_signal(sqlite)
    set_active(sqlite, STRATEGY, False)
    assert submit_orders(bench.context).rejected == {identity: f"strategy: {STRATEGY} is stopped"}


def test_a_drawdown_halts_trading_until_a_person_resumes_and_then_counts_anew(database: Database) -> None:
    bench = bench_on(database, "AUSDT", "BUSDT")
    reconcile(bench.context)
    lose(bench, 2000)
    reconcile(bench.context)
    assert state(bench) is HALTED
    assert titles(bench) == ["trading halted"]
    identity = add_signal(database, "AUSDT")
    for _ in range(3):
        bench.later(30)
        submit_orders(bench.context)
        reconcile(bench.context)
    assert titles(bench) == [], "told once, not once a minute"
    assert "drawdown: 20.0 % below the peak" in str(bench.signal(identity)["reason"])
    bench.later(3 * 86400)
    assert state(bench) is HALTED
    assert command(bench, ACTIVE)
    reconcile(bench.context)
    second = add_signal(
        database, "BUSDT", ttl_ms=bench.exchange.time_ms + 1, hour_ms=bench.exchange.time_ms - 4_000_000
    )
    assert submit_orders(bench.context).executed == [second]
    assert account_ledger.peak_equity(database, "main") == D(8000)
    lose(bench, 1600)
    reconcile(bench.context)
    assert state(bench) is HALTED, "20 % below the new peak"


def test_a_daily_loss_halts_trading_until_midnight(sqlite: Database) -> None:
    bench = bench_on(sqlite, "AUSDT", "BUSDT", position_size=D(1500), max_daily_loss_pct=0.3)
    add_signal(sqlite, "AUSDT")
    submit_orders(bench.context)
    bench.exchange.close_position("AUSDT", "stop")
    titles(bench)
    reconcile(bench.context)
    halts = risk.read_history(sqlite, "main")
    midnight = floor_ms(NOW_MS, DAY_MS) + DAY_MS
    assert [(halt.cause, halt.actor, halt.until_ms) for halt in halts] == [(Cause.DAILY_LOSS, "risk guard", midnight)]
    assert titles(bench).count("trading halted") == 1
    bench.exchange.time_ms = midnight - 1
    assert state(bench) is HALTED
    bench.exchange.time_ms = midnight
    assert state(bench) is ACTIVE
    reconcile(bench.context)
    assert state(bench) is ACTIVE, "yesterday's loss is not today's"


def test_a_person_may_accept_todays_loss(sqlite: Database) -> None:
    bench = bench_on(sqlite, "AUSDT", position_size=D(1500), max_daily_loss_pct=0.3)
    add_signal(sqlite, "AUSDT")
    submit_orders(bench.context)
    bench.later(1)
    bench.exchange.close_position("AUSDT", "stop")
    reconcile(bench.context)
    bench.later(1)
    assert command(bench, ACTIVE)
    reconcile(bench.context)
    assert state(bench) is ACTIVE


def test_funding_counts_as_a_loss_of_the_day(sqlite: Database) -> None:
    bench = bench_on(sqlite, max_daily_loss_pct=1)
    bench.exchange.pay_funding("BTCUSDT", D(101))
    reconcile(bench.context)
    assert state(bench) is HALTED


def test_a_gate_of_the_account_is_told_once_until_it_was_open_again(database: Database) -> None:
    bench = bench_on(database, "AUSDT", "BUSDT", min_available_margin=D(9_000))
    for symbol in ("AUSDT", "BUSDT"):
        add_signal(database, symbol)
    lose(bench, 1500)

    def run() -> list[str]:
        submit_orders(bench.context)
        return titles(bench)

    assert [run() for _ in range(3)] == [["entries refused"], [], []]
    lose(bench, -1500)
    bench.exchange.set_price("AUSDT", 101)
    bench.exchange.set_price("BUSDT", 101)
    run()
    lose(bench, 1500)
    assert [run() for _ in range(2)] == [["entries refused"], []]


def test_a_refusal_of_one_signal_is_told_once(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite)
    bench.exchange.set_price("BTCUSDT", 101)
    for _ in range(3):
        submit_orders(bench.context)
    assert titles(bench) == ["entry in BTCUSDT refused"]


def test_books_that_were_not_read_for_long_stop_entries(sqlite: Database) -> None:
    bench = bench_on(sqlite, max_reconciliation_age_s=60)
    reconcile(bench.context)
    bench.later(200)
    bench.exchange.fail("executions", ExchangeUnavailableError("down"), times=99)
    identity = add_signal(sqlite)
    submit_orders(bench.context)
    assert not bench.exchange.accepted
    assert "cannot be read" in str(bench.signal(identity)["reason"])
    bench.exchange.heal()
    assert submit_orders(bench.context).executed == [identity], "they are read again first"


def test_a_loss_at_the_stop_cools_the_symbol_down(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    add_signal(sqlite)
    submit_orders(bench.context)
    bench.later(10)
    bench.exchange.close_position("BTCUSDT", "stop")
    reconcile(bench.context)
    bench.later(10)
    second = add_signal(sqlite, timeframe="15m")
    assert "cooldown" in submit_orders(bench.context).refused[second]


def test_an_account_that_cannot_be_read_opens_nothing(sqlite: Database) -> None:
    bench = bench_on(sqlite)
    identity = add_signal(sqlite)
    bench.exchange.fail("wallet", ExchangeUnavailableError("down"), times=9)
    assert "cannot be read" in submit_orders(bench.context).refused[identity]
    assert not bench.exchange.accepted
