"""An order that the exchange takes although its answer is 110007, no margin: what this pass and the next make of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from trading_assets.ledger import dca, grids, orders
from trading_assets.ledger.database import Database
from trading_assets.trading.dca.control import start as start_plan
from trading_assets.trading.dca.maintain import maintain as keep_plans
from trading_assets.trading.grid.control import start as start_grid
from trading_assets.trading.grid.maintain import maintain as keep_grids
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.dca import stage as of_plans
from trading_assets_tests.trading.grid import stage as of_grids
from trading_assets_tests.trading.saga.test_resting_on_embedded import SYMBOL, Stage, stage_on

D = Decimal
TAKEN: dict[str, Any] = {"times": 1, "ret_code": 110007, "processed": True}
LAG_MS = 30_000
LAGS = pytest.mark.parametrize(
    "lags",
    [pytest.param(False, id="seen at once"), pytest.param(True, id="seen late", marks=pytest.mark.slow)],
)


def arm(stage: Stage | of_grids.Stage | of_plans.Stage, call: str, *, lags: bool) -> None:
    """The next such call is refused and done; lists show it at once, or `LAG_MS` later."""
    stage.arm(f"POST /v5/order/{call}", **TAKEN)
    for where in ("order/realtime", "order/history", "position/list", "execution/list") if lags else ():
        stage.arm(f"GET /v5/{where}", lag_ms=LAG_MS)


def links_of_fills(stage: Stage) -> set[str]:
    return {row.order_link_id for row in stage.exchange.executions(T0, stage.running.now_ms() + 1)}


@LAGS
def test_an_entry_that_waits_is_followed_or_cancelled_by_the_next_pass(sqlite: Database, lags: bool) -> None:
    with stage_on(sqlite, 100_000, 100_000, 100_000, 99_000) as stage:
        arm(stage, "create", lags=lags)
        stage.signal("limit", "99900")
        assert stage.intent().status == (orders.REJECTED if lags else orders.RESTING)
        stage.after(0.8, passes=2)
        assert len(stage.exchange.open_orders(SYMBOL)) == (not lags), "what was given up is cancelled once it is seen"
        stage.running.faults.remove()
        intent = stage.after(2)
        assert intent.status == (orders.REJECTED if lags else orders.CONFIRMED)
        assert links_of_fills(stage) == (set() if lags else {intent.order_link_id})


@LAGS
def test_an_entry_that_fills_at_once_is_a_position_of_ours_with_its_stop(sqlite: Database, lags: bool) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        arm(stage, "create", lags=lags)
        stage.signal("limit", "100100")
        assert stage.intent().status == (orders.REJECTED if lags else orders.CONFIRMED)
        intent = stage.after(0.8, passes=2)
        assert intent.status == orders.CONFIRMED
        assert links_of_fills(stage) == {intent.order_link_id}
        held = stage.exchange.position(SYMBOL)
        assert held is not None
        assert (held.size, held.stop_loss) == (intent.filled_qty, D(98_000))


@pytest.mark.slow
@LAGS
def test_levels_of_a_grid_have_one_order_each_and_fills_of_refused_ones_count(sqlite: Database, lags: bool) -> None:
    with of_grids.stage_on(sqlite, 100_000, 100_000, 98_500, 101_000, 101_000, 101_000) as stage:
        arm(stage, "create-batch", lags=lags)
        start_grid(stage.context, of_grids.A_PLAN)
        assert keep_grids(stage.context).failed
        refused = [one for one in stage.accounts().orders if one.status == grids.DONE and "110007" in str(one.reason)]
        assert bool(refused) == lags
        for _ in range(12):
            stage.advance(0.4)
            keep_grids(stage.context)
        stage.running.faults.remove()
        stage.after(1, steps=3)
        stage.require_lawful()
        assert stage.grid().state == grids.RUNNING
        assert len(stage.ladder()) == 10


@pytest.mark.slow
@LAGS
def test_a_scheduled_time_is_bought_once_and_has_its_outcome(sqlite: Database, lags: bool) -> None:
    with of_plans.stage_on(sqlite, 100_000, 100_000, 98_500, 101_000, 101_000) as stage:
        arm(stage, "create-batch", lags=lags)
        start_plan(stage.context, of_plans.A_PLAN)
        assert keep_plans(stage.context).failed
        assert stage.outcomes() == {dca.REFUSED if lags else dca.FILLED: 1}
        for _ in range(10):
            stage.advance(0.4)
            keep_plans(stage.context)
        stage.running.faults.remove()
        stage.after(1, steps=3)
        stage.require_lawful()
        assert set(stage.outcomes()) == {dca.FILLED}
