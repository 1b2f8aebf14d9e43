"""States of the risk guard in the ledger: which is in force, what a resume accepts, and who is first."""

from __future__ import annotations

import threading

import pytest

from trading_assets.ledger import risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange, accepted_ms, in_force

ACTIVE, REDUCING, HALTED = RiskState.ACTIVE, RiskState.REDUCING, RiskState.HALTED
COMMAND, DRAWDOWN, DAILY_LOSS = Cause.COMMAND, Cause.DRAWDOWN, Cause.DAILY_LOSS


def change(state: RiskState, time_ms: int, cause: Cause = COMMAND, until_ms: int | None = None) -> StateChange:
    return StateChange(state, cause, "because", "me", time_ms, until_ms)


@pytest.mark.parametrize(
    ("history", "now_ms", "expected"),
    [
        ([], 5, (ACTIVE, 0)),
        ([change(HALTED, 1)], 5, (HALTED, 1)),
        ([change(HALTED, 1), change(ACTIVE, 2)], 5, (ACTIVE, 2)),
        ([change(HALTED, 1, DAILY_LOSS, until_ms=5)], 4, (HALTED, 1)),
        ([change(HALTED, 1, DAILY_LOSS, until_ms=5)], 5, (ACTIVE, 0)),
        ([change(REDUCING, 1), change(HALTED, 2, DAILY_LOSS, until_ms=5)], 5, (REDUCING, 1)),
        ([change(HALTED, 1, DAILY_LOSS, until_ms=5), change(HALTED, 2)], 5, (HALTED, 2)),
        ([change(HALTED, 1, DRAWDOWN), change(HALTED, 2, DAILY_LOSS, until_ms=5)], 9, (HALTED, 1)),
    ],
)
def test_the_newest_change_that_has_not_ended_is_in_force(
    history: list[StateChange], now_ms: int, expected: tuple[RiskState, int]
) -> None:
    found = in_force(history, now_ms)
    assert (found.state, found.time_ms) == expected


@pytest.mark.parametrize(
    ("history", "drawdown", "daily_loss"),
    [
        ([], 0, 0),
        ([change(HALTED, 1), change(ACTIVE, 2)], 0, 0),
        ([change(HALTED, 1, DRAWDOWN)], 0, 0),
        ([change(HALTED, 1, DRAWDOWN), change(ACTIVE, 2)], 2, 0),
        ([change(HALTED, 1, DRAWDOWN), change(HALTED, 2), change(ACTIVE, 3)], 3, 0),
        ([change(HALTED, 1, DRAWDOWN), change(ACTIVE, 2), change(HALTED, 3), change(ACTIVE, 4)], 2, 0),
        ([change(HALTED, 1, DAILY_LOSS, 9), change(ACTIVE, 8)], 0, 8),
        ([change(HALTED, 1, DAILY_LOSS, 9), change(HALTED, 8), change(ACTIVE, 9)], 0, 0),
        ([change(HALTED, 1, DAILY_LOSS, 9), change(HALTED, 2, DRAWDOWN), change(ACTIVE, 3)], 3, 3),
    ],
)
def test_a_resume_accepts_the_losses_that_halted_trading_until_then(
    history: list[StateChange], drawdown: int, daily_loss: int
) -> None:
    assert (accepted_ms(history, DRAWDOWN), accepted_ms(history, DAILY_LOSS)) == (drawdown, daily_loss)


def test_every_change_is_kept_with_who_why_and_when(database: Database) -> None:
    first = StateChange(HALTED, DAILY_LOSS, "5 % lost", "risk guard", 10, 99)
    second = StateChange(ACTIVE, COMMAND, "all well", "ann", 20)
    assert risk.change_state(database, "main", first, unless=lambda _held: False) == risk.NEVER_SET
    assert risk.change_state(database, "main", second, unless=lambda _held: False) == first
    assert risk.read_history(database, "main") == [first, second]
    assert risk.read_history(database, "other") == []


def test_of_many_that_halt_at_once_one_does(database: Database) -> None:
    barrier, before = threading.Barrier(6), []

    def run(number: int) -> None:
        barrier.wait(60)
        found = risk.change_state(database, "main", change(HALTED, number), unless=lambda held: held.state is HALTED)
        before.append(found)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found is None for found in before) == [False] + [True] * 5
    assert len(risk.read_history(database, "main")) == 1


def test_gates_are_shut_until_they_are_told_to_be_open(database: Database) -> None:
    with database.write() as connection:
        for gate, found in (("margin", "none"), ("stops in a row", "5"), ("margin", None), ("positions", "10")):
            risk.add_gate_event(connection, "main", gate, found, 1)
        assert risk.failed_gates(connection, "main") == {"stops in a row", "positions"}
        assert risk.failed_gates(connection, "other") == set()
