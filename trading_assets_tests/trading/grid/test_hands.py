"""A grid and the person beside it, who does what a grid does not expect: adds, closes, sets targets, fills the
contract's places, moves a paused grid; and lists that tell fills hours late.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange, change_state
from trading_assets.trading.execute.flatten import flatten
from trading_assets.trading.grid.books import Fill, Whole
from trading_assets.trading.grid.control import adjust, pause, propose, resume, start, stop
from trading_assets.trading.grid.levels import GridError, Kind
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.grid.status import status_of
from trading_assets.trading.risk import guard
from trading_assets_tests.trading.fixtures import backed_up, restore
from trading_assets_tests.trading.grid.stage import A_PLAN, SYMBOL, Stage, stage_on
from trading_assets_tests.trading.grid.test_wild_exchange import a_pass, hostile

D = Decimal

MOVED = replace(A_PLAN, low=D(93_500), high=D(103_500), stop_low=D(90_000))


def holding(stage: Stage) -> None:
    """A grid whose two levels below 98,500 are bought."""
    stage.start()
    stage.after(1.5, steps=3)
    assert stage.held() == D("0.004")


def by_hand(stage: Stage, side: Side, qty: str) -> None:
    stage.exchange.place_order(OrderRequest(SYMBOL, side, D(qty), f"by-hand-{side.value}"))


@pytest.mark.slow
def test_a_paused_grid_that_is_moved_stays_paused_until_it_is_resumed(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        holding(stage)
        pause(sqlite, "main", SYMBOL, "lunch", stage.running.now_ms())
        stage.maintain()
        adjust(stage.context, MOVED)
        stage.after(1, steps=3)
        grid = stage.grid()
        assert (grid.generation, grid.state, grid.reason) == (2, grids.PAUSED, "lunch")
        assert {side for _, side in stage.ladder()} == {"Sell"}, "what it holds is closed, nothing is opened"
        assert len(stage.ladder()) == 2
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.maintain()
        assert len(stage.ladder()) == 10
        stage.require_lawful()


@pytest.mark.slow
def test_while_it_moves_only_its_end_can_be_asked_for(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        holding(stage)
        adjust(stage.context, MOVED)
        now_ms = stage.running.now_ms()
        for ask in (
            lambda: pause(sqlite, "main", SYMBOL, "lunch", now_ms),
            lambda: resume(sqlite, "main", SYMBOL, now_ms),
            lambda: adjust(stage.context, A_PLAN),
        ):
            with pytest.raises(GridError, match="is moving; that is possible while it is"):
                ask()
        stop(sqlite, "main", SYMBOL, "enough", now_ms, closes=True)
        stage.after(2, steps=4)
        assert (stage.grid().state, stage.held(), stage.exchange.open_orders()) == (grids.ENDED, 0, ())


@pytest.mark.slow
def test_what_somebody_else_has_added_is_told_with_its_stop_when_the_grid_leaves(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        holding(stage)
        by_hand(stage, Side.BUY, "0.01")
        stage.after(2, steps=4)
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        stage.after(3, steps=6)
        assert (stage.grid().state, stage.held()) == (grids.ENDED, D("0.010"))
        title, body = stage.told[-1]
        assert "is ended" in title
        assert "Buy 0.01 of BTCUSDT are somebody else's, and the stop 93000" in body


@pytest.mark.slow
def test_what_somebody_else_has_closed_is_told_at_its_end(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        holding(stage)
        by_hand(stage, Side.SELL, "0.004")
        stage.after(2, steps=4)
        assert (stage.grid().state, stage.ladder()) == (grids.BLOCKED, [])
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        stage.after(3, steps=6)
        assert (stage.grid().state, stage.held(), stage.exchange.open_orders()) == (grids.ENDED, 0, ())
        assert "somebody else has closed it" in stage.told[-1][1]


@pytest.mark.slow
def test_a_target_that_a_person_has_set_ends_it_under_its_own_name(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 99_500) as stage:
        holding(stage)
        ManualTrader(stage.running.url).set_levels(SYMBOL, target="97800")
        stage.after(3, steps=6)
        assert stage.grid().state == grids.ENDED
        assert stage.grid().reason == "the position was closed by a target"
        stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize("lag_minutes", [20, 120])
def test_fills_that_a_list_tells_hours_late_are_booked_all_the_same(sqlite: Database, lag_minutes: int) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.arm("GET /v5/execution/list", lag_ms=lag_minutes * 60_000)
        stage.after(lag_minutes - 5, steps=8)
        assert (stage.held(), stage.accounts().inventory) == (D("0.004"), 0)
        stage.running.faults.remove()
        stage.after(1, steps=2)
        assert stage.accounts().inventory == D("0.004")
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.after(1, steps=2)
        assert stage.grid().state == grids.RUNNING
        assert [side for _, side in stage.ladder()].count("Sell") == 7
        stage.require_lawful()


@pytest.mark.slow
def test_a_stop_that_has_no_place_opens_nothing_and_is_told_once(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        start(stage.context, A_PLAN)
        for number in range(10):
            request = OrderRequest(SYMBOL, Side.SELL, D("0.001"), f"by-hand-{number}", trigger_price=D(90_000 + number))
            stage.exchange.place_order(request)
        for _ in range(10):
            maintain(stage.context)
            stage.advance(0.3)
        assert stage.ladder() == []
        assert [title for title, _ in stage.told if "has no stop on one side" in title] == [
            "grid BTCUSDT has no stop on one side"
        ]
        for number in range(10):
            stage.exchange.cancel_order(SYMBOL, f"by-hand-{number}")
        for _ in range(4):
            maintain(stage.context)
            stage.advance(0.3)
        assert len(stage.ladder()) == 10
        assert stage.grid().told is None
        stage.require_lawful()


@pytest.mark.slow
def test_limits_count_what_went_over_to_smaller_levels(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 95_500, 95_500) as stage:
        stage.start(capital=D(2000))
        stage.after(1.5, steps=3)
        held = stage.held() * 95_500
        adjust(stage.context, replace(A_PLAN, capital=D(250)))
        stage.after(0.5, steps=2)
        assert stage.grid().generation == 2
        begun = guard.AccountReads(stage.exchange)
        account = guard.account_snapshot(sqlite, begun, "main", stage.running.now_ms())
        assert account.owned[SYMBOL] >= held


@pytest.mark.slow
def test_orders_of_another_grid_are_not_taken_for_those_of_the_one_that_is_moved(sqlite: Database) -> None:
    other = replace(
        A_PLAN, symbol="ALTUSDT", low=D("0.045"), high=D("0.055"), stop_low=D("0.043"), stop_high=D("0.057")
    )
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        stage.start(other, levels=30)
        requests = [
            OrderRequest(SYMBOL, Side.BUY, D("0.001"), f"by-hand-{number}", price=D(60_000 + number))
            for number in range(90)
        ]
        for first in range(0, 90, 20):
            stage.exchange.place_orders(requests[first : first + 20])
        found = propose(stage.context, replace(A_PLAN, levels=400), of_grid=stage.grid())
        assert any("400 levels need as many orders, and 390 are free" in one for one in found.problems)


@pytest.mark.slow
def test_a_part_that_is_too_small_to_be_closed_waits_to_be_filled_up(sqlite: Database) -> None:
    """Else its level would hold what is too little to be closed, and too much to be filled up."""
    path = (100_000, 97_900, 99_500, 99_500, 97_500, 97_500, 97_500, 97_500)
    with stage_on(sqlite, *path, minute_value=400) as stage:
        exchange = hostile(stage)
        exchange.rules = {"min_notional": D(350)}
        start(stage.context, replace(A_PLAN, capital=D(1000)))
        parts = set()
        for _ in range(28):
            a_pass(stage)
            stage.advance(0.25)
            parts |= {cell.books.held for cell in stage.accounts().cells}
        assert parts & {D("0.001"), D("0.002"), D("0.003")}, "an order was filled in part"
        assert {cell.row.blocked for cell in stage.accounts().cells} == {None}
        assert D("0.004") in parts, "and filled up later"


@pytest.mark.slow
def test_a_vacant_level_that_is_too_small_by_new_rules_is_told_in_figures(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 103_000) as stage:
        exchange = hostile(stage)
        start(stage.context, A_PLAN)
        a_pass(stage)
        stage.advance(1)
        a_pass(stage)
        exchange.rules = {"min_notional": D(500)}
        for _ in range(8):
            a_pass(stage)
            stage.advance(0.25)
        assert any("0.002 at 98000 are less than the contract takes now" in body for _, body in stage.told)


@pytest.mark.slow
def test_what_a_long_grid_holds_may_be_closed_whatever_it_is_worth(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        exchange = hostile(stage)
        start(stage.context, replace(A_PLAN, kind=Kind.LONG, stop_high=None))
        a_pass(stage)
        stage.advance(1.5)
        exchange.rules = {"min_notional": D(500)}
        for _ in range(4):
            a_pass(stage)
            stage.advance(0.3)
        held = [cell for cell in stage.accounts().cells if cell.books.held]
        assert all(cell.order is not None for cell in held), "what is held may be closed, whatever it is worth"


@pytest.mark.slow
def test_a_contract_in_hedge_mode_has_no_grid(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        ManualTrader(stage.running.url).set_hedge_mode(SYMBOL, hedge=True)
        with pytest.raises(TradingAssetsError, match="hedge mode"):
            start(stage.context, A_PLAN)
        assert grids.living(sqlite, "main") == []


@pytest.mark.slow
def test_a_ledger_from_before_the_grid_moved_leaves_no_order_at_the_exchange_that_it_does_not_know(
    sqlite: Database, tmp_path: Path
) -> None:
    with stage_on(sqlite, 100_000, 97_500, 100_500, 97_500, 99_500, 99_500) as stage:
        stage.start()
        stage.after(0.6, steps=2)
        kept = backed_up(sqlite, tmp_path)
        stage.after(2.4, steps=8)
        adjust(stage.context, replace(A_PLAN, low=D(94_000), high=D(104_000)))
        stage.after(0.5, steps=2)
        assert len(stage.ladder()) == 10
        restore(sqlite, kept)
        stage.after(1, steps=6)
        assert stage.grid().generation == 1
        known = {order.order_link_id for order in stage.accounts().orders}
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if row.order_link_id]
        unknown = [row for row in waiting if row.order_link_id not in known]
        assert all(row.reduce_only and row.trigger_price for row in unknown), "stops stay while nothing else is one"
        assert stage.ladder() == []
        position = stage.position()
        assert position is not None
        guards = [row for row in waiting if row.side is position.side.opposite and row.reduce_only]
        assert position.stop_loss is not None or guards
        told = [body for _, body in stage.told if "the ledger does not know" in body]
        assert len(told) == 1


@pytest.mark.slow
def test_a_persons_orders_in_its_contract_are_never_taken_for_its_own(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        request = OrderRequest(SYMBOL, Side.BUY, D("0.001"), "ta-but-not-of-a-grid", price=D(60_000))
        stage.exchange.place_order(request)
        stage.after(1, steps=4)
        assert D(60_000) in [price for price, _ in stage.ladder()]


@pytest.mark.slow
@pytest.mark.parametrize("state", [RiskState.HALTED, RiskState.REDUCING])
def test_halted_while_its_orders_are_on_their_way_it_keeps_none_that_opens(sqlite: Database, state: RiskState) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        done = []

        def halt(point: str) -> None:
            if point == "before grid create" and len(stage.exchange.open_orders(SYMBOL)) == 2 and not done:
                change = StateChange(state, Cause.COMMAND, "storm", "a person", stage.running.now_ms())
                done.append(change_state(sqlite, "main", change, unless=lambda _state: False))

        stage.at = halt
        start(stage.context, A_PLAN)
        for _ in range(3):
            stage.maintain()
            stage.advance(0.2)
        assert done, "it was halted between its stops and its levels"
        assert stage.ladder() == []
        assert stage.grid().state == grids.RUNNING
        stage.require_lawful()


@pytest.mark.slow
def test_flattened_while_its_orders_are_on_their_way_it_ends_with_nothing(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        reports = []

        def away(point: str) -> None:
            if point == "before grid create" and len(stage.exchange.open_orders(SYMBOL)) == 2 and not reports:
                reports.append("began")
                reports.append(str(flatten(replace(stage.context, at=lambda _point: None), reason="storm", actor="he")))

        stage.at = away
        start(stage.context, A_PLAN)
        stage.maintain()
        stage.after(4, steps=8)
        assert len(reports) == 2
        assert (stage.grid().state, stage.held(), stage.exchange.open_orders()) == (grids.ENDED, 0, ())
        assert "its grid has not ended yet" in reports[1]


@pytest.mark.slow
def test_a_neutral_grid_that_grows_has_no_margin_for_free_that_it_does_not_hold(sqlite: Database) -> None:
    """Its orders hold margin for one side; with both counted it would grow, and levels be refused for margin."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(capital=D(5000))
        free = stage.exchange.wallet().available
        assert free is not None
        assert 7_000 < free < 8_000
        grown = propose(stage.context, replace(A_PLAN, capital=D(24_000)), of_grid=stage.grid())
        assert any("its margin may come to" in one for one in grown.problems)
        less = propose(stage.context, replace(A_PLAN, capital=D(18_000)), of_grid=stage.grid())
        assert not any("its margin may come to" in one for one in less.problems)


@pytest.mark.slow
def test_what_an_order_that_a_person_has_enlarged_has_filled_is_guarded_and_counted_whole(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 97_500, 97_500) as stage:
        stage.start()
        order = next(row for row in stage.exchange.open_orders(SYMBOL) if row.price == D(98_000))
        ManualTrader(stage.running.url).amend(order, qty=D("0.05"))
        stage.advance(3.5)
        stage.after(1, steps=3)
        assert stage.held() == D("0.052")
        guards = [row for row in stage.exchange.open_orders(SYMBOL) if row.side is Side.SELL and row.order_link_id]
        assert [row.qty for row in guards if row.trigger_price] == [D("0.058")], "0.008 of the other levels are in it"
        begun = guard.AccountReads(stage.exchange)
        account = guard.account_snapshot(sqlite, begun, "main", stage.running.now_ms())
        assert account.owned[SYMBOL] >= stage.held() * 97_500
        stage.require_lawful()


@pytest.mark.slow
def test_of_what_a_target_closes_the_grid_books_what_it_held_and_ends(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 97_500, 99_500) as stage:
        holding(stage)
        by_hand(stage, Side.BUY, "0.01")
        stage.after(1, steps=4)
        assert stage.grid().state == grids.BLOCKED
        ManualTrader(stage.running.url).set_levels(SYMBOL, target="97800")
        stage.after(3, steps=6)
        exits_are_shared(stage, "0.004", "0.010")
        assert stage.grid().reason == "the position was closed by a target"


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [0, 1])
def test_of_what_its_stop_closes_the_grid_books_what_it_held_and_ends(sqlite: Database, minutes: float) -> None:
    """The guard of all levels closes of a person's quantity, too, and the position's stop what is left of it."""
    with stage_on(sqlite, 100_000, 97_500, 97_500, 97_500, 92_500, 92_500) as stage:
        holding(stage)
        by_hand(stage, Side.BUY, "0.02")
        if minutes:
            stage.after(minutes, steps=4)
        assert stage.grid().state == (grids.BLOCKED if minutes else grids.RUNNING)
        stage.advance(2.5 - minutes)
        stage.after(3, steps=6)
        exits_are_shared(stage, "0.010" if not minutes else "0.004", "0.020")
        assert "its stop" in (stage.grid().reason or "")


def exits_are_shared(stage: Stage, own: str, others: str) -> None:
    """The grid has ended, it has booked its own part of what has closed the position, and has told the rest once."""
    grid, accounts = stage.grid(), stage.accounts()
    assert (grid.state, stage.held(), stage.exchange.open_orders()) == (grids.ENDED, 0, ())
    assert (accounts.inventory, accounts.foreign) == (0, 0)
    rows = list(stage.exchange.executions(grid.created_ms, stage.running.now_ms() + 1))
    known = {order.order_link_id for order in accounts.orders if order.level_index is not None}
    exits = [row for row in rows if row.side is Side.SELL and row.order_link_id not in known]
    assert sum(row.qty for row in exits) == D(own) + D(others)
    left, cash = D(own), D(0)
    for row in [row for row in rows if row.order_link_id in known]:
        cash += (row.value if row.side is Side.SELL else -row.value) - row.fee
    for row in exits:
        part = min(left, row.qty)
        left -= part
        cash += (row.value - row.fee) * part / row.qty
    assert accounts.sums(D(1)).total == pytest.approx(cash, abs=D("1e-7")), "its own part, at the price of its moment"
    told = [body for _, body in stage.told if "were somebody else's" in body]
    assert len(told) == 1
    assert f"{D(others).normalize()} of what was closed with it were somebody else's" in told[0]


@pytest.mark.slow
def test_where_a_person_has_closed_a_part_the_stop_closes_less_than_the_grid_held(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 97_500, 99_500) as stage:
        holding(stage)
        by_hand(stage, Side.SELL, "0.003")
        stage.after(1, steps=4)
        ManualTrader(stage.running.url).set_levels(SYMBOL, target="97800")
        stage.after(4, steps=8)
        grid, accounts = stage.grid(), stage.accounts()
        assert (grid.state, stage.held(), stage.exchange.open_orders()) == (grids.ENDED, 0, ())
        assert (accounts.inventory, accounts.foreign) == (D("0.003"), D("-0.003"))
        assert "somebody else has closed it" in stage.told[-1][1]
        is_the_change_of_money(stage)


@pytest.mark.slow
def test_what_closes_a_persons_opposite_position_is_none_of_the_grids(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 97_500, 99_500) as stage:
        holding(stage)
        by_hand(stage, Side.SELL, "0.01")
        stage.after(1, steps=4)
        assert stage.held() == D("-0.006")
        ManualTrader(stage.running.url).set_levels(SYMBOL, stop="97800")
        stage.after(3, steps=6)
        accounts = stage.accounts()
        assert (stage.grid().state, stage.held()) == (grids.BLOCKED, 0)
        assert (accounts.inventory, accounts.foreign, accounts.exited) == (D("0.004"), D("-0.004"), "")


@pytest.mark.slow
def test_what_a_person_has_closed_of_it_is_valued_at_his_price_and_not_at_that_of_now(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 97_500, 99_500) as stage:
        holding(stage)
        by_hand(stage, Side.SELL, "0.004")
        stage.after(2, steps=4)
        (status,) = status_of(sqlite, "main", SYMBOL)
        assert (status.figures.inventory, status.grid.state) == (0, grids.BLOCKED)
        is_the_change_of_money(stage)
        by_hand(stage, Side.BUY, "0.004")
        stage.after(0.5, steps=2)
        (status,) = status_of(sqlite, "main", SYMBOL)
        assert status.figures.inventory == D("0.004"), "what he has given back is its own again"


def is_the_change_of_money(stage: Stage) -> None:
    """Whatever the price of now, as nothing is held."""
    rows = stage.exchange.executions(stage.grid().created_ms, stage.running.now_ms() + 1)
    cash = sum(((row.value if row.side is Side.SELL else -row.value) - row.fee for row in rows), D(0))
    assert {stage.accounts().sums(mark).total for mark in (D(1), D(100_000))} == {cash}


@given(
    st.lists(
        st.tuples(st.sampled_from(["own", "exit", "other"]), st.sampled_from(list(Side)), st.integers(1, 9)),
        max_size=12,
    )
)
def test_whatever_is_traded_beside_it_nothing_is_lost_or_counted_twice(trades: list[tuple[str, Side, int]]) -> None:
    whole, moved, own = Whole(), D(0), list[Fill]()
    for number, (what, side, qty) in enumerate(trades):
        fill = Fill(side, D(qty), D(qty * (100 + number)), D(qty) / 100, number)
        holds = whole.inventory + sum((one.signed_qty for one in whole.hands), D(0))
        moved += fill.signed_qty
        if what == "own":
            whole.own(fill)
            own.append(fill)
        elif what == "other":
            whole.other(fill)
        else:
            part = whole.exit(fill)
            own.append(part)
            assert 0 <= part.qty <= abs(holds), "no more than it holds at that moment"
            assert part.qty == 0 or (part.side is Side.SELL) == (holds > 0)
            assert part.qty == min(fill.qty, abs(holds)) or (fill.side is Side.BUY) == (holds >= 0)
        assert whole.inventory + whole.foreign == moved, "every coin is somebody's"
        assert whole.inventory == sum((one.signed_qty for one in own), D(0))
        assert whole.closed <= abs(whole.inventory)
        assert all((one.side is Side.SELL) == (whole.inventory > 0) for one in whole.hands)
        assert whole.inventory + sum((one.signed_qty for one in whole.hands), D(0)) + whole.beside == moved
        assert not whole.hands or whole.beside * whole.inventory <= 0, "what he had added goes first"
