"""A grid beside everything else that trades: signals, limits, reconciliation, halts, flatten."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import grids, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange, change_state
from trading_assets.trading.execute.flatten import flatten
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.execute.withdraw import withdraw
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.trading.fixtures import add_signal_at_100_000
from trading_assets_tests.trading.grid.stage import SYMBOL, Stage, stage_on

D = Decimal


def a_signal(stage: Stage) -> str:
    now_ms = stage.running.now_ms()
    with stage.database.write() as connection:
        account_ledger.add_reconciliation(
            connection, "main", new_fills=0, new_closings=0, open_positions=0, differences=0, until_ms=now_ms
        )
    return add_signal_at_100_000(stage.database, SYMBOL, now_ms)


@pytest.mark.slow
def test_a_signal_in_its_symbol_is_refused_with_the_reason(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        identity = a_signal(stage)
        submit_orders(stage.context)
        (row,) = signals.by_ids(sqlite, [identity]).to_dict("records")
        assert row["status"] == "rejected"
        assert "belongs to a grid" in row["reason"]
        stage.require_lawful()


@pytest.mark.slow
def test_its_position_is_no_difference_and_its_stops_are_no_foreign_orders(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        assert stage.held() > 0
        report = reconcile(stage.context)
        assert (report.differences, report.repaired, report.open_positions) == ([], [], 1)
        assert not stage.maintain().acted
        stage.require_lawful()


def test_halting_cancels_what_would_open_and_says_so(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        halted = StateChange(RiskState.HALTED, Cause.COMMAND, "storm", "a person", stage.running.now_ms())
        change_state(sqlite, "main", halted, unless=lambda _state: False)
        text = str(withdraw(stage.context))
        assert f"orders of grids that would open were cancelled: {SYMBOL} (8)" in text
        assert {side for _, side in stage.ladder()} == {"Sell"}
        assert str(withdraw(stage.context)) == ""


def test_flatten_stops_grids_first_and_closes_what_they_hold(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        report = flatten(stage.context, reason="storm", actor="a person")
        assert (report.grids, report.left, stage.held()) == ([SYMBOL], {}, 0)
        assert stage.exchange.open_orders() == ()
        assert stage.grid().state == grids.ENDED
        assert "1 grids stopped" in str(report)
