"""DCA plans on the real embedded exchange: scheduled times, safety orders, target, stop, ends, human hands."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.errors import TradingIsOffError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange, change_state
from trading_assets.trading.context import ContractCache
from trading_assets.trading.dca.control import adjust, current_plan, pause, resume, start, stop
from trading_assets.trading.dca.maintain import maintain
from trading_assets.trading.dca.plans import AfterTarget, Missed
from trading_assets.trading.dca.schedule import DcaError
from trading_assets_tests.simulator.fake_market import MINUTE, T0
from trading_assets_tests.trading.dca.stage import A_PLAN, SYMBOL, Stage, stage_on

D = Decimal


def test_each_scheduled_time_buys_once_and_the_position_has_its_stop(database: Database) -> None:
    with stage_on(database, 100_000, 100_000) as stage:
        stage.start()
        for minute in range(1, 4):
            stage.require_lawful()
            assert stage.held() == D("0.002") * minute
            assert not stage.maintain().acted
            stage.after(1)
        assert [buy.due_ms for buy in stage.accounts().buys] == [T0 + MINUTE * number for number in range(4)]
        assert stage.outcomes() == {dca.FILLED: 4}


@pytest.mark.slow
def test_a_fall_fills_safety_orders_and_the_target_of_the_average_begins_a_new_round(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 96_500, 96_500, 100_500, 100_500) as stage:
        stage.start(schedule="every 6m", safety_orders=3, safety_step_pct=D(1), safety_scale=D(1), target_pct=D(1))
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if not row.purpose.is_protective]
        assert [row.price for row in waiting] == sorted([row.price for row in waiting])
        assert len(waiting) == 3
        for _ in range(6):
            stage.after(0.25)
            stage.require_lawful()
        books = stage.accounts().books
        assert books.held == D("0.008")
        assert books.average is not None and books.average < 99_000
        stage.after(3, steps=6)
        stage.require_lawful()
        books = stage.accounts().books
        assert (books.held, books.rounds, stage.row().state) == (0, 1, dca.RUNNING)
        assert books.profit > 0
        stage.after(2, steps=4)
        assert stage.accounts().books.held > 0, "the next scheduled time begins anew"
        stage.require_lawful()


def test_a_target_may_end_the_plan(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 102_000, 102_000) as stage:
        stage.start(target_pct=D(1), after_target=AfterTarget.END, schedule="every 5m")
        stage.after(2, steps=4)
        row = stage.row()
        assert (row.state, row.reason, stage.held()) == (dca.ENDED, "its target was reached", 0)
        assert stage.exchange.open_orders() == ()


@pytest.mark.slow
@pytest.mark.parametrize("side", list(Side))
def test_the_hard_stop_ends_it_with_equal_books(sqlite: Database, side: Side) -> None:
    sign = 1 if side is Side.BUY else -1
    with stage_on(sqlite, 100_000, 100_000 - sign * 8_000, 100_000 - sign * 8_000) as stage:
        stage.start(side=side, stop_pct=D(5), safety_orders=2, safety_step_pct=D(1), schedule="every 10m")
        stage.after(3, steps=6)
        row = stage.row()
        assert (row.state, row.reason) == (dca.ENDED, "the position was closed by its stop")
        assert (stage.held(), stage.exchange.open_orders()) == (0, ())
        stage.require_lawful()
        assert stage.accounts().books.profit < 0


@pytest.mark.slow
def test_no_more_than_may_be_deployed_is_bought_and_what_is_skipped_is_told_once(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(max_deployed=D(450))
        stage.after(4, steps=4)
        assert stage.outcomes() == {dca.FILLED: 2, dca.SKIPPED: 3}
        told = [text for title, text in stage.told if "skipped" in title]
        assert len(told) >= 1
        stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize("missed", list(Missed))
def test_times_at_which_nobody_was_there_are_skipped_or_the_newest_is_made_up_for(
    sqlite: Database, missed: Missed
) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(missed=missed)
        stage.advance(10.75)
        stage.maintain()
        made_up = missed is Missed.LATEST
        assert stage.outcomes() == {dca.FILLED: 1 + made_up, dca.SKIPPED: 10 - made_up}
        assert [title for title, _ in stage.told if "skipped" in title]
        assert stage.accounts().buys[-1].outcome == (dca.FILLED if made_up else dca.SKIPPED)
        stage.require_lawful()


@pytest.mark.slow
def test_while_trading_is_halted_a_time_waits_for_its_grace_and_is_skipped_then(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=2, safety_step_pct=D(1))
        now = stage.running.now_ms()
        halted = StateChange(RiskState.HALTED, Cause.COMMAND, "enough", "somebody", now)
        change_state(sqlite, "main", halted, unless=lambda _state: False)
        stage.maintain()
        assert [row for row in stage.exchange.open_orders() if not row.purpose.is_protective] == []
        stage.advance(1)
        stage.maintain()
        assert stage.outcomes() == {dca.FILLED: 1}, "it waits"
        stage.after(0.6)
        assert stage.outcomes() == {dca.FILLED: 1, dca.SKIPPED: 1}
        assert "HALTED" in str(stage.accounts().buys[-1].reason).upper()
        stage.require_lawful()
        with pytest.raises(TradingIsOffError):
            start(stage.context, replace(A_PLAN, symbol="ALTUSDT"))


@pytest.mark.slow
def test_a_paused_plan_skips_its_times_and_goes_on_when_it_is_resumed(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        pause(sqlite, "main", SYMBOL, "lunch", stage.running.now_ms())
        stage.after(2, steps=2)
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.after(1)
        assert stage.outcomes() == {dca.FILLED: 2, dca.SKIPPED: 2}
        stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize("closes", [True, False])
def test_stop_cancels_what_waits_and_closes_or_leaves_the_position_with_its_stop(
    sqlite: Database, closes: bool
) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=2, safety_step_pct=D(1))
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=closes)
        stage.maintain()
        stage.maintain()
        assert stage.row().state == dca.ENDED
        position = stage.position()
        assert (position is None) == closes
        if position is not None:
            assert position.stop_loss is not None
        assert [row for row in stage.exchange.open_orders() if not row.purpose.is_protective] == []


@pytest.mark.slow
def test_adjusted_amounts_and_safety_orders_hold_from_the_next_pass_on(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=2, safety_step_pct=D(1))
        plan = current_plan(sqlite, "main", SYMBOL)
        adjust(stage.context, replace(plan, safety_step_pct=D(2), amount=D(550), stop_pct=D(20)))
        stage.maintain()
        stage.after(1)
        assert stage.accounts().buys[-1].qty == D("0.005")
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if not row.purpose.is_protective]
        base = stage.accounts().books.base
        assert base is not None
        assert [round(float(row.price / base), 2) for row in waiting if row.price] == [0.96, 0.98]
        stage.require_lawful()
        with pytest.raises(DcaError, match="stays as it is"):
            adjust(stage.context, replace(plan, side=Side.SELL))


@pytest.mark.slow
def test_its_end_ends_it_once_it_is_flat(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 100_000, 102_000, 102_000) as stage:
        stage.start(target_pct=D(1), end_ms=T0 + 2 * MINUTE)
        stage.after(2, steps=2)
        assert (stage.row().state, stage.held()) == (dca.RUNNING, D("0.004"))
        stage.after(3, steps=6)
        assert (stage.row().state, stage.row().reason, stage.held()) == (dca.ENDED, "its end has come", 0)
        assert stage.outcomes() == {dca.FILLED: 2}


def trade_by_hand(stage: Stage, side: Side, qty: str, *, reduce_only: bool = False) -> None:
    link = f"hand-{stage.running.now_ms()}-{side}"
    stage.exchange.place_order(OrderRequest(SYMBOL, side, D(qty), link, reduce_only=reduce_only))


@pytest.mark.slow
def test_a_position_closed_by_hand_pauses_the_plan_and_its_books_stay_equal(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        trade_by_hand(stage, Side.SELL, "0.002", reduce_only=True)
        stage.after(0.5)
        row = stage.row()
        assert (row.state, row.reason) == (dca.PAUSED, "somebody else has closed its position")
        assert len([one for one in stage.told if "is paused" in one[0]]) == 1
        assert not stage.maintain().acted
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.after(1)
        assert stage.row().state == dca.RUNNING
        assert stage.held() == D("0.002")
        stage.require_lawful()


def test_a_part_closed_by_hand_is_told_and_the_rest_goes_on(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(amount=D(500))
        trade_by_hand(stage, Side.SELL, "0.001", reduce_only=True)
        stage.after(0.5)
        assert (stage.row().state, stage.accounts().books.held) == (dca.RUNNING, stage.held())
        assert stage.accounts().books.hands == 1
        stage.require_lawful()
        assert not stage.maintain().acted


@pytest.mark.slow
def test_what_a_person_adds_blocks_the_plan_until_he_takes_it_back(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(schedule="every 5m")
        trade_by_hand(stage, Side.BUY, "0.01")
        stage.after(1, steps=2)
        row = stage.row()
        assert row.state == dca.BLOCKED
        assert [title for title, _ in stage.told if "needs a person" in title]
        assert stage.position().stop_loss is not None
        trade_by_hand(stage, Side.SELL, "0.01", reduce_only=True)
        stage.after(0.5)
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.after(4, steps=4)
        assert stage.row().state == dca.RUNNING
        assert stage.held() == D("0.004")
        stage.require_lawful()


@pytest.mark.slow
def test_what_somebody_else_has_added_keeps_the_stop_when_the_plan_leaves_and_is_told(sqlite: Database) -> None:
    """It closes its own part alone, and takes no stop away: which of both he wants is his to say."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(target_pct=D(5))
        own, before = stage.held(), stage.position()
        assert before is not None
        trade_by_hand(stage, Side.BUY, "0.01")
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        for _ in range(6):
            stage.advance(0.2)
            maintain(stage.context)
        assert stage.row().state == dca.ENDED
        position = stage.position()
        assert position is not None and position.size == D("0.01")
        assert own and (position.stop_loss, position.take_profit) == (before.stop_loss, before.take_profit)
        (text,) = [text for title, text in stage.told if title.endswith("is ended")]
        assert "Buy 0.01 of BTCUSDT are somebody else's" in text
        assert f"the stop {position.stop_loss} and the target {position.take_profit} that the plan has set stay" in text


@pytest.mark.slow
def test_a_stop_moved_or_taken_away_by_hand_is_the_plans_again(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(target_pct=D(5))
        for stop_loss, take_profit in ((D(95_000), D(110_000)), (None, None)):
            stage.exchange.set_stops(SYMBOL, stop_loss, take_profit)
            assert stage.maintain().stops_set == 1
            stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize("safety", [0, 2])
def test_a_stop_that_is_refused_for_its_tick_is_set_on_the_tick_of_now(sqlite: Database, safety: int) -> None:
    """The rules that a process keeps are of before the change: a refusal has them read again, within the pass.

    Safety orders go over to the new tick, too.
    """
    with stage_on(sqlite, 100_030, 100_030) as stage:
        stage.start(target_pct=D("4.9"), schedule="every 9m", safety_orders=safety, safety_step_pct=D("0.77"))
        before, cached = stage.position(), ContractCache()
        assert before is not None and before.stop_loss is not None
        cached.get(stage.exchange, {SYMBOL}, stage.wall)
        venue = stage.running.venue
        venue.revise(replace(venue.market.contracts[SYMBOL], tick_size=D(7)))
        stage.exchange.set_stops(SYMBOL, None, None)
        for _ in range(5):
            stage.advance(0.1)
            maintain(replace(stage.context, contracts=cached))
        position = stage.position()
        assert position is not None and position.stop_loss is not None and position.take_profit is not None
        assert before.stop_loss % 7 and not position.stop_loss % 7 and not position.take_profit % 7
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if not row.purpose.is_protective]
        assert len(waiting) == safety and not any(row.price is None or row.price % 7 for row in waiting)
        assert not maintain(replace(stage.context, contracts=cached)).acted


@pytest.mark.slow
def test_a_stop_is_not_set_on_what_was_seen_long_ago(sqlite: Database) -> None:
    """A process that sleeps before it sets the stop looks again: by then it may be a person's position."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(target_pct=D(5))
        stage.exchange.set_stops(SYMBOL, None, None)
        seen: list[Decimal | None] = []

        def sleeps(point: str) -> None:
            if point == "before dca stop":
                held = stage.position()
                assert held is not None
                seen.append(held.stop_loss)
                stage.wall += 35_000 if len(seen) == 1 else 0

        stage.at = sleeps
        report = maintain(stage.context)
        assert "too long" in report.failed[SYMBOL]
        assert seen == [None, None], "the late one set nothing, the next look did"
        stage.require_lawful()


@pytest.mark.slow
def test_a_cancelled_safety_order_is_not_placed_again_until_it_is_resumed(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=2, safety_step_pct=D(1), schedule="every 9m")
        first = next(one for one in stage.accounts().orders if one.step == 1)
        stage.exchange.cancel_order(SYMBOL, first.order_link_id)
        stage.after(2, steps=2)
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if not row.purpose.is_protective]
        assert len(waiting) == 1
        assert len([text for _, text in stage.told if "somebody else has cancelled" in text]) == 1
        stage.advance(0.1)
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.maintain()
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if not row.purpose.is_protective]
        assert len(waiting) == 2
