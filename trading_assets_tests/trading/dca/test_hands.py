"""A DCA plan and what it does not expect: a stop that is tightened beyond the price, contracts that go, clocks that are
set back, lists that tell fills hours late, a week without anybody.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.core.models import ContractStatus, OrderRequest, Side
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.trading.context import ContractCache
from trading_assets.trading.dca.control import adjust, current_plan, resume, start, stop
from trading_assets.trading.dca.maintain import maintain
from trading_assets.trading.dca.plans import Missed
from trading_assets.trading.dca.report import DcaReport
from trading_assets.trading.dca.schedule import DcaError
from trading_assets_tests.simulator.fake_market import DAY, T0
from trading_assets_tests.trading.dca.stage import A_PLAN, SYMBOL, Stage, stage_on
from trading_assets_tests.trading.fixtures import backed_up, restore
from trading_assets_tests.trading.grid.test_wild_exchange import hostile

D = Decimal

LADDER: dict[str, Any] = {
    "safety_orders": 3,
    "safety_step_pct": D(1),
    "safety_scale": D(1),
    "target_pct": D(2),
    "schedule": "every 10m",
}


def a_pass(stage: Stage) -> DcaReport:
    """A pass that reads the contract's rules anew."""
    return maintain(replace(stage.context, contracts=ContractCache()))


def orders_of(stage: Stage, purpose: str) -> list[dca.PlanOrder]:
    return [one for one in stage.accounts().orders if one.purpose == purpose]


@pytest.mark.slow
def test_a_stop_that_the_price_has_passed_is_refused_and_nothing_is_closed(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 96_000, 96_000) as stage:
        stage.start(schedule="every 10m")
        stage.after(2, steps=2)
        tighter = replace(current_plan(sqlite, "main", SYMBOL), stop_pct=D(3))
        with pytest.raises(DcaError, match=r"has passed the stop 97000.* it would be closed at once"):
            adjust(stage.context, tighter)
        stage.after(1, steps=2)
        assert stage.held() == D("0.002")
        adjust(stage.context, replace(tighter, stop_pct=D(5)))
        stage.after(1, steps=2)
        stage.require_lawful()
        position = stage.position()
        assert position is not None
        assert position.stop_loss == pytest.approx(D(95_000), abs=D(1))


@pytest.mark.slow
def test_a_contract_that_is_not_listed_any_more_ends_its_plan_and_frees_its_coin(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        exchange = hostile(stage)
        stage.start(**LADDER)
        stage.after(1, steps=2)
        exchange.rules = None
        for _ in range(6):
            a_pass(stage)
            stage.advance(0.5)
        assert stage.row().state == dca.ENDED
        assert stage.row().reason == f"{SYMBOL} is not listed any more"
        exchange.rules = {}
        stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize("rules", [{"delivery_ms": T0 + DAY}, {"status": ContractStatus.SETTLING}])
def test_a_contract_that_is_to_go_is_not_entered_any_more(sqlite: Database, rules: dict[str, Any]) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        exchange = hostile(stage)
        stage.start(**LADDER)
        stage.after(1, steps=2)
        exchange.rules = rules
        for _ in range(24):
            a_pass(stage)
            stage.advance(0.5)
        assert [one for one in stage.exchange.open_orders(SYMBOL) if one.price is not None] == []
        assert stage.outcomes() == {dca.FILLED: 1, dca.SKIPPED: 1}
        assert "is to be delivered" in stage.told[-1][1] or "is settling" in stage.told[-1][1]
        stage.require_lawful()


@pytest.mark.slow
def test_a_clock_that_is_set_back_makes_no_second_safety_order(sqlite: Database) -> None:
    """An order that is on its way is waited for anew: taken for lost, its step would get another one beside it."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.wall, created = 10**9, 0

        def lag(point: str) -> None:
            nonlocal created
            created += point == "before dca create"
            if point == "before dca create" and created == 2:
                stage.arm("GET /v5/order/realtime", lag_ms=60_000)
                stage.arm("GET /v5/order/history", lag_ms=60_000)

        stage.at = lag
        start(stage.context, replace(A_PLAN, **LADDER))
        stage.maintain()
        for _ in range(4):
            stage.running.advance(3_000)
            stage.wall -= 20_000
            stage.maintain()
        stage.running.faults.remove()
        waiting = [one for one in stage.exchange.open_orders(SYMBOL) if one.price is not None]
        assert len(waiting) == 3
        for _ in range(3):
            stage.maintain()
        assert [one for one in orders_of(stage, dca.SAFETY) if one.status != dca.DONE and one.cancel] == []
        stage.require_lawful()


@pytest.mark.slow
def test_a_clock_that_is_set_back_blocks_no_plan_whose_lists_lag(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 98_500, 98_500) as stage:
        stage.wall = 10**9
        stage.start(**LADDER)
        stage.arm("GET /v5/execution/list", lag_ms=120_000)
        stage.advance(1.5)
        stage.maintain()
        assert stage.row().differs_since_wall_ms is not None
        stage.wall -= 3_600_000
        stage.maintain()
        assert stage.row().state == dca.RUNNING
        stage.running.faults.remove()
        stage.after(0.5, steps=2)
        assert stage.row().state == dca.RUNNING
        stage.require_lawful()


@pytest.mark.slow
def test_a_clock_that_is_set_back_closes_nothing_that_has_no_stop_for_a_moment(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.wall = 10**9
        stage.start(schedule="every 10m")
        stage.exchange.set_stops(SYMBOL, None, None)
        stage.arm("POST /v5/position/trading-stop", ret_code=10016)
        maintain(stage.context)
        assert stage.row().bare_since_wall_ms is not None
        stage.wall -= 3_600_000
        maintain(stage.context)
        assert (stage.row().state, stage.held()) == (dca.RUNNING, D("0.002"))
        stage.running.faults.remove()
        stage.maintain()
        stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize("lag_minutes", [20, 120])
def test_fills_that_a_list_tells_hours_late_are_booked_all_the_same(sqlite: Database, lag_minutes: int) -> None:
    with stage_on(sqlite, 100_000, 98_500, 98_500) as stage:
        stage.start(**LADDER | {"schedule": "every 1d"})
        stage.arm("GET /v5/execution/list", lag_ms=lag_minutes * 60_000)
        stage.after(lag_minutes - 5, steps=8)
        assert (stage.held(), stage.accounts().books.held) == (D("0.004"), D("0.002"))
        stage.running.faults.remove()
        stage.after(1, steps=2)
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.after(1, steps=2)
        assert (stage.accounts().books.held, stage.row().state) == (D("0.004"), dca.RUNNING)
        stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize(("missed", "filled"), [(Missed.SKIP, 3), (Missed.LATEST, 4)])
def test_after_a_week_without_anybody_each_time_has_its_outcome_and_few_messages(
    sqlite: Database, missed: Missed, filled: int
) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(missed=missed, grace_s=10)
        stage.after(2, steps=2)
        stage.advance(8 * 24 * 60 + 0.5)
        for _ in range(3):
            stage.maintain()
        assert stage.outcomes() == {dca.FILLED: filled, dca.SKIPPED: 8 * 1440 - (filled - 3)}
        assert len([title for title, _ in stage.told if "skipped" in title]) <= 3
        stage.require_lawful()


@pytest.mark.slow
def test_a_position_that_a_person_has_turned_round_is_not_touched(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(**LADDER)
        stage.exchange.place_order(OrderRequest(SYMBOL, Side.SELL, D("0.005"), "by-hand"))
        stage.after(2, steps=4)
        assert stage.row().state == dca.BLOCKED
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        stage.after(2, steps=4)
        assert (stage.row().state, stage.held()) == (dca.ENDED, D("-0.003"))
        assert stage.exchange.open_orders(SYMBOL) == ()
        assert "Sell 0.003 of BTCUSDT are somebody else's" in stage.told[-1][1]


@pytest.mark.slow
def test_a_ledger_from_before_the_plan_changed_leaves_no_safety_order_that_it_does_not_know(
    sqlite: Database, tmp_path: Path
) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(**LADDER)
        stage.after(0.5)
        kept = backed_up(sqlite, tmp_path)
        adjust(stage.context, replace(current_plan(sqlite, "main", SYMBOL), safety_scale=D("1.5")))
        stage.after(0.5, steps=2)
        restore(sqlite, kept)
        stage.after(0.5, steps=4)
        known = {order.order_link_id for order in stage.accounts().orders}
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if row.order_link_id]
        assert {row.order_link_id for row in waiting} <= known
        assert len([body for _, body in stage.told if "the ledger does not know" in body]) == 1
        stage.require_lawful()


def by_hand(stage: Stage, side: Side, qty: str) -> None:
    stage.exchange.place_order(OrderRequest(SYMBOL, side, D(qty), f"by-hand-{side.value}"))


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [0, 1])
def test_of_what_its_stop_closes_the_plan_books_what_it_held_and_ends(sqlite: Database, minutes: int) -> None:
    with stage_on(sqlite, 100_000, 100_000, 88_000, 88_000) as stage:
        stage.start(schedule="every 1d")
        by_hand(stage, Side.BUY, "0.01")
        if minutes:
            stage.after(minutes, steps=4)
        assert stage.row().state == (dca.BLOCKED if minutes else dca.RUNNING)
        stage.advance(2.5 - minutes)
        stage.after(2, steps=4)
        books, row = stage.accounts().books, stage.row()
        assert (row.state, row.reason, stage.held()) == (dca.ENDED, "the position was closed by its stop", 0)
        assert (books.held, books.foreign) == (0, 0)
        rows = list(stage.exchange.executions(row.created_ms, stage.running.now_ms() + 1))
        (bought,) = [one for one in rows if stage.exchange.order_ids.is_ours(one.order_link_id)]
        left, cash = bought.qty, -bought.value - bought.fee
        for one in [one for one in rows if one.side is Side.SELL]:
            part = min(left, one.qty)
            left, cash = left - part, cash + (one.value - one.fee) * part / one.qty
        assert stage.accounts().total(D(1)) == pytest.approx(cash, abs=D("1e-7")), "its own part"
        told = [body for _, body in stage.told if "0.01 of what was closed with it were somebody else's" in body]
        assert len(told) == 1


@pytest.mark.slow
def test_where_a_person_has_closed_a_part_the_stop_closes_less_than_the_plan_held(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 88_000, 88_000) as stage:
        stage.start(schedule="every 1d")
        by_hand(stage, Side.SELL, "0.001")
        stage.after(1, steps=4)
        stage.after(3, steps=6)
        accounts, row = stage.accounts(), stage.row()
        assert (row.state, stage.held(), accounts.books.held, accounts.books.foreign) == (dca.ENDED, 0, 0, 0)
        rows = stage.exchange.executions(row.created_ms, stage.running.now_ms() + 1)
        cash = sum(((one.value if one.side is Side.SELL else -one.value) - one.fee for one in rows), D(0))
        assert accounts.total(D(1)) == pytest.approx(cash, abs=D("1e-7"))
        assert not [body for _, body in stage.told if "of what was closed with it" in body]


@pytest.mark.slow
def test_what_closes_a_persons_opposite_position_is_none_of_the_plans(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 100_000, 103_000, 103_000) as stage:
        stage.start(schedule="every 1d")
        by_hand(stage, Side.SELL, "0.01")
        stage.after(1, steps=4)
        assert stage.held() == D("-0.008")
        ManualTrader(stage.running.url).set_levels(SYMBOL, stop="101000")
        stage.after(3, steps=6)
        accounts = stage.accounts()
        assert (stage.held(), accounts.books.held, accounts.books.foreign) == (0, 0, 0)
        assert (stage.row().state, accounts.exited) == (dca.BLOCKED, "")
