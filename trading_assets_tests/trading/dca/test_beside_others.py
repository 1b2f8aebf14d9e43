"""DCA plans beside strategies, grids, limits, money that comes and goes, and commands that end all trading."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange, change_state
from trading_assets.trading.dca.control import propose, start
from trading_assets.trading.dca.schedule import DcaError
from trading_assets.trading.execute.flatten import close_symbol, flatten
from trading_assets.trading.execute.withdraw import withdraw
from trading_assets.trading.grid.control import start as start_grid
from trading_assets.trading.grid.levels import GridError
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk.guard import AccountReads, account_snapshot
from trading_assets_tests.simulator.clients import answer, signed
from trading_assets_tests.trading.dca.stage import A_PLAN, SYMBOL, stage_on
from trading_assets_tests.trading.grid.stage import A_PLAN as A_GRID

D = Decimal


def test_a_grid_and_a_plan_never_have_the_same_coin(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        start(stage.context, A_PLAN)
        with pytest.raises(GridError, match="a DCA plan already"):
            start_grid(stage.context, A_GRID)
        with pytest.raises(DcaError, match="a DCA plan already"):
            start(stage.context, A_PLAN)


def test_a_plan_does_not_start_where_a_grid_is(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        start_grid(stage.context, A_GRID)
        with pytest.raises(DcaError, match="a grid already"):
            start(stage.context, A_PLAN)


def test_limits_count_a_plan_with_all_that_it_may_deploy(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        account = account_snapshot(sqlite, AccountReads(stage.exchange), "main", stage.running.now_ms())
        assert account.owned == {SYMBOL: D(5000)}
        stage.changes = {"max_total_exposure_pct": 60}
        with pytest.raises(DcaError, match="MAX_TOTAL_EXPOSURE_PCT"):
            start(stage.context, replace(A_PLAN, symbol="ALTUSDT", max_deployed=D(4000)))


def test_halting_cancels_safety_orders_at_once_and_says_so(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=3, safety_step_pct=D(1))
        halted = StateChange(RiskState.HALTED, Cause.COMMAND, "storm", "a person", stage.running.now_ms())
        change_state(sqlite, "main", halted, unless=lambda _state: False)
        text = str(withdraw(stage.context))
        assert f"orders of DCA plans that would open were cancelled: {SYMBOL} (3)" in text
        position = stage.position()
        assert position is not None
        assert position.stop_loss is not None


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_flatten_and_close_end_the_plan_and_leave_nothing(sqlite: Database, whole: bool) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=3, safety_step_pct=D(1))
        report = (
            flatten(stage.context, reason="storm", actor="a person") if whole else close_symbol(stage.context, SYMBOL)
        )
        assert report.dca == [SYMBOL], report
        assert (stage.row().state, stage.held(), stage.exchange.open_orders()) == (dca.ENDED, 0, ())


def test_the_books_of_the_account_do_not_take_its_position_for_somebody_elses(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=1, safety_step_pct=D(1))
        reconcile(stage.context)
        assert [text for _, text in stage.told if "not by this system" in text] == []


@pytest.mark.slow
def test_money_that_is_paid_in_and_out_is_no_profit_of_a_plan(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(target_pct=D(3))
        before = stage.accounts().total(D(100_000))
        for number, amount in enumerate(("7000", "3000")):
            body = {"adjustType": number, "utaDemoApplyMoney": [{"coin": "USDT", "amountStr": amount}]}
            got = answer(signed(stage.running.url, "POST", "/v5/account/demo-apply-money", json.dumps(body)))
            assert got["retCode"] == 0, got
        assert not stage.maintain().acted
        assert stage.accounts().total(D(100_000)) == before
        stage.after(1)
        stage.require_lawful()


@pytest.mark.slow
def test_margin_that_another_plan_has_not_used_yet_is_not_free(sqlite: Database) -> None:
    """The exchange holds no margin for what is not ordered yet: two plans could be refused what both were promised."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(max_deployed=D(40_000), schedule="every 1h")
        free = stage.exchange.wallet().available
        assert free is not None
        assert free > 9_000, "8,000 of it are kept for the plan"
        other = replace(A_PLAN, symbol="ALTUSDT", max_deployed=D(12_000), schedule="every 1h")
        assert any("are free" in one for one in propose(stage.context, other).problems)
        assert not any(
            "are free" in one for one in propose(stage.context, replace(other, max_deployed=D(8_000))).problems
        )
