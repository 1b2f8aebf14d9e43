"""The file that halts: every gate looks at it, and what only it knows comes into the ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trading_assets.core.errors import HaltedByHandError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.ledger import leases, risk, switches
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.trading import halt_file
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.halt_file import FileHalt
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard
from trading_assets.trading.saga import steps
from trading_assets_tests.trading.fixtures import add_signal, harness_on


def halt(settings: Settings) -> None:
    halt_file.write(settings, reason="storm", actor="me", wall_ms=5)


def state(database: Database, now_ms: int) -> RiskState:
    return risk.in_force(risk.read_history(database, "main"), now_ms).state


def test_nothing_is_opened_and_waiting_signals_are_rejected(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    halt(harness.settings)
    submit_orders(harness.context)
    assert harness.exchange.accepted == [] and harness.signal(identity)["status"] == "rejected"
    assert state(sqlite, harness.exchange.time_ms) is RiskState.HALTED, "other machines read it in the ledger"
    assert harness.told[0] == ("account main is HALTED", "storm (by the file HALTED) (me)")


def test_a_file_that_comes_between_the_gates_and_the_reservation_still_stops_it(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    reserve = steps.reserve

    def late(context: ExecutionContext, *given: object, **more: object) -> bool:
        halt(context.settings)
        return reserve(context, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "reserve", late)
    submit_orders(harness.context)
    assert harness.exchange.accepted == [] and harness.intent(identity) is None


def test_a_switch_that_is_set_between_the_gates_and_the_reservation_still_stops_it(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    reserve = steps.reserve

    def late(context: ExecutionContext, *given: object, **more: object) -> bool:
        switches.set_switch(sqlite, "main", on=False, actor="me", reason="storm", wall_ms=5)
        return reserve(context, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "reserve", late)
    submit_orders(harness.context)
    assert harness.exchange.accepted == [] and harness.intent(identity) is None


def test_a_reconciliation_brings_it_into_the_ledger_once(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    halt(harness.settings)
    for _ in range(3):
        reconcile(harness.context)
    assert [one.state for one in risk.read_history(sqlite, "main")] == [RiskState.HALTED]


def test_the_file_is_gone_after_the_last_account_and_says_nothing_of_others() -> None:
    ours = load_settings()
    theirs = load_settings(account="other")
    assert halt_file.found(ours) is None
    halt(ours)
    assert halt_file.found(ours) == FileHalt("storm", "me", 5) and halt_file.found(theirs) is None
    halt_file.write(theirs, reason="rain", actor="you", wall_ms=6)
    assert halt_file.take_away(ours) == FileHalt("storm", "me", 5)
    assert halt_file.found(ours) is None and halt_file.found(theirs) == FileHalt("rain", "you", 6)
    assert halt_file.path_of(ours).stat().st_mode & 0o777 == 0o600
    halt_file.take_away(theirs)
    assert not halt_file.path_of(ours).exists()


_NO_NUMBER = '{"a": {"reason": "b", "actor": "c", "wall_ms": 1e999}}'


@pytest.mark.parametrize(
    "text", ["", "stop, the exchange is mad", "{}", "[1]", '{"main": 3}', "\x00\xff", "[" * 9999, _NO_NUMBER]
)
def test_a_file_made_by_hand_halts_every_account(text: str) -> None:
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    halt_file.path_of(settings).write_text(text)
    for account in ("main", "other"):
        assert halt_file.found(load_settings(account=account)) is not None
    assert halt_file.take_away(settings) is None, "it concerns other accounts, too"
    assert halt_file.by_hand(settings) == halt_file.found(settings) is not None
    assert halt_file.take_away(settings, every=True) is not None
    assert halt_file.found(settings) is None and not halt_file.path_of(settings).exists()


def test_a_file_made_by_hand_is_lifted_only_by_a_resume_that_says_so(sqlite: Database) -> None:
    ours, theirs = load_settings(), load_settings(account="other")
    ours.home.mkdir(parents=True, exist_ok=True)
    halt_file.path_of(ours).write_text("the exchange is mad")
    halt(ours)
    with pytest.raises(HaltedByHandError, match=r"the exchange is mad.*--all-accounts"):
        guard.resume(sqlite, ours, reason="over", actor="me", now_ms=10)
    assert halt_file.found(ours) == FileHalt("storm", "me", 5), "nothing was done"
    assert halt_file.found(theirs) == FileHalt("the exchange is mad", "by hand", 0)
    halt_file.write(theirs, reason="rain", actor="you", wall_ms=6)
    before, said = guard.resume(sqlite, ours, reason="over", actor="me", now_ms=11, all_accounts=True)
    assert before is not None and said == FileHalt("storm", "me", 5)
    assert state(sqlite, 11) is RiskState.ACTIVE and halt_file.found(ours) is None
    assert halt_file.found(theirs) == FileHalt("rain", "you", 6), "an account's own halt is its own"


def test_a_resume_of_all_that_fails_puts_back_what_was_made_by_hand() -> None:
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    halt_file.path_of(settings).write_text("by me")
    halt(settings)
    with pytest.raises(RuntimeError), halt_file.taken_away(settings, every=True):
        assert not halt_file.path_of(settings).exists()
        halt_file.write(load_settings(account="third"), reason="meanwhile", actor="me", wall_ms=7)
        raise RuntimeError("the ledger is gone")
    assert halt_file.found(settings) == FileHalt("storm", "me", 5)
    assert halt_file.found(load_settings(account="other")) == FileHalt("by me", "by hand", 0)
    assert halt_file.found(load_settings(account="third")) == FileHalt("meanwhile", "me", 7)


def test_a_file_that_cannot_be_read_halts() -> None:
    settings = load_settings()
    halt_file.path_of(settings).mkdir(parents=True)
    held = halt_file.found(settings)
    assert held is not None and "cannot be read" in held.reason and halt_file.by_hand(settings) == held


def test_a_resume_that_fails_leaves_the_halt() -> None:
    settings = load_settings()
    halt(settings)
    with pytest.raises(RuntimeError), halt_file.taken_away(settings) as held:
        assert held is not None and halt_file.found(settings) is None
        raise RuntimeError("the ledger is gone")
    assert halt_file.found(settings) == FileHalt("storm", "me", 5)


def test_a_resume_is_not_undone_by_who_had_read_the_file_before(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = harness_on(sqlite)
    halt(harness.settings)
    change = risk.change_state

    def resumed_meanwhile(*given: object, **more: object) -> object:
        halt_file.take_away(harness.settings)
        return change(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(risk, "change_state", resumed_meanwhile)
    reconcile(harness.context)
    assert state(sqlite, harness.exchange.time_ms) is RiskState.ACTIVE


def test_a_resume_that_dies_in_the_middle_leaves_the_halt(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    halt(settings)

    def dies(*_given: object, **_more: object) -> None:
        assert halt_file.found(settings) is None
        monkeypatch.setattr(halt_file, "write", lambda *_given, **_more: None)  # a kill puts nothing back
        raise KeyboardInterrupt

    monkeypatch.setattr(guard, "command", dies)
    with pytest.raises(KeyboardInterrupt):
        guard.resume(sqlite, settings, reason="over", actor="me", now_ms=10)
    assert state(sqlite, 10) is RiskState.HALTED
    monkeypatch.undo()
    before, _ = guard.resume(sqlite, settings, reason="over", actor="me", now_ms=11)
    assert before is not None and state(sqlite, 11) is RiskState.ACTIVE


def test_another_account_of_the_home_trades_on(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    halt_file.write(load_settings(account="other"), reason="storm", actor="me", wall_ms=5)
    submit_orders(replace(harness.context, wall_ms=lambda: harness.wall))
    assert len(harness.exchange.accepted) == 1
    assert leases.holder_of(sqlite, "trade:main", wall_ms=harness.wall) is None
