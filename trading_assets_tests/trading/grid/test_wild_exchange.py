"""A grid on an exchange that misbehaves: rules that change, a contract that goes, orders that a venue does not take,
gaps, and a stop that is refused; and how far a stop and every answer to an unknown still protect it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.errors import ExchangeError, NothingToCloseError
from trading_assets.core.models import ContractStatus, Instrument, OrderAck, OrderChange, OrderRequest, Rows, Side
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.transport import Connection, Transport
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.trading.context import ContractCache, ExecutionContext
from trading_assets.trading.grid.control import start
from trading_assets.trading.grid.levels import Kind
from trading_assets.trading.grid.maintain import MaintainReport, maintain
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.trading.grid.stage import A_PLAN, SYMBOL, Stage, stage_on

D = Decimal


class Hostile(BybitExchange):
    """The embedded exchange, and what it says or refuses besides.

    Attributes:
        rules: changes to the grid's contract; None: it is not listed.
        refuses_flat: it takes no conditional reduce-only order while there is no position of the other side.
    """

    rules: Mapping[str, Any] | None = {}
    refuses_flat = False

    def instruments(self) -> Rows[Instrument]:
        found = super().instruments()
        if self.rules is None:
            return Rows(row for row in found if row.symbol != SYMBOL)
        return Rows(replace(row, **self.rules) if row.symbol == SYMBOL else row for row in found)

    def place_orders(self, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
        outcomes: list[OrderAck | ExchangeError] = []
        for request in requests:
            position = self.position(request.symbol)
            is_flat = position is None or position.side is request.side
            is_guard = request.reduce_only and request.trigger_price is not None
            if is_guard and is_flat and self.refuses_flat:
                outcomes.append(NothingToCloseError("current position is zero", code=110017))
                continue
            outcomes += super().place_orders([request])
            tick = (self.rules or {}).get("tick_size")
            if tick is not None and request.price is not None and request.price % tick:
                raise AssertionError(f"{request.price} is not on the tick {tick}")
        return outcomes


def hostile(stage: Stage) -> Hostile:
    """Put a hostile exchange in the place of the stage's."""
    running = stage.running
    connection = Connection(running.url, keys=keys_of(running.key, running.secret), recv_window_ms=60_000)
    found = Hostile(Transport(connection, limited=False), virtual_clock=True)
    stage.exchange = found
    return found


def a_pass(stage: Stage, contracts: ContractCache | None = None) -> MaintainReport:
    """A pass that reads the contract's rules anew, and may fail."""
    return maintain(fresh(stage, contracts))


def fresh(stage: Stage, contracts: ContractCache | None = None) -> ExecutionContext:
    return replace(stage.context, contracts=contracts or ContractCache())


def protected(stage: Stage) -> bool:
    position = stage.position()
    return position is None or position.stop_loss == (D(93_000) if position.side is Side.BUY else D(107_000))


@pytest.mark.slow
def test_where_a_flat_side_takes_no_conditional_order_the_opening_orders_carry_the_stop(sqlite: Database) -> None:
    """Bybit's answer to a conditional reduce-only order while flat is not known: both are safe."""
    with stage_on(sqlite, 100_000, 97_500, 102_500, 99_500) as stage:
        hostile(stage).refuses_flat = True
        start(stage.context, A_PLAN)
        maintain(stage.context)
        a_pass(stage)
        waiting = [row for row in stage.exchange.open_orders(SYMBOL) if row.trigger_price is None]
        assert {row.side for row in waiting} == {Side.BUY, Side.SELL}
        assert all(row.stop_loss == (D(93_000) if row.side is Side.BUY else D(107_000)) for row in waiting)
        sides = set()
        for _ in range(28):
            stage.advance(0.25)
            held_before = stage.held()
            assert held_before == 0 or stage.position().stop_loss is not None  # type: ignore[union-attr]
            a_pass(stage)
            a_pass(stage)
            assert protected(stage)
            held = stage.held()
            sides.add(held.compare(D(0)))
            if held:
                guards = [row for row in stage.exchange.open_orders(SYMBOL) if row.trigger_price and row.reduce_only]
                assert any((row.side is Side.SELL) == (held > 0) for row in guards), "what is held has its guard"
        assert {D(1), D(-1)} <= sides


@pytest.mark.slow
def test_a_refused_guard_is_not_asked_for_again_and_again(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        hostile(stage).refuses_flat = True
        start(stage.context, A_PLAN)
        for _ in range(30):
            maintain(stage.context)
            stage.advance(0.25)
        with sqlite.read() as connection:
            rows = grids.orders_of(connection, stage.grid().grid_id)
        assert len([row for row in rows if row.purpose == grids.GUARD]) == 2
        assert len(stage.ladder()) == 10


@pytest.mark.slow
@pytest.mark.parametrize("tick", ["7", "0.05", "250"])
def test_a_tick_that_changes_moves_new_orders_onto_it_and_books_stay_equal(sqlite: Database, tick: str) -> None:
    with stage_on(sqlite, 100_000, 97_500, 102_500, 99_500, 98_000) as stage:
        venue = hostile(stage)
        stage.start()
        stage.after(1, steps=2)
        venue.rules = {"tick_size": D(tick)}
        for _ in range(20):
            stage.advance(0.25)
            report = a_pass(stage)
            assert not report.failed
        for _ in range(4):
            a_pass(stage)
        accounts = stage.accounts()
        assert accounts.inventory == stage.held()
        assert accounts.loose == 0
        blocked = [cell.row.blocked for cell in accounts.cells if cell.row.blocked]
        assert blocked == []
        for price, _ in stage.ladder():
            assert any(price == cell.open_price or price % D(tick) == 0 for cell in accounts.cells)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rules", [{"delivery_ms": 1_800_000_000_000}, {"status": ContractStatus.SETTLING}], ids=["announced", "closing"]
)
def test_a_contract_that_is_to_go_is_not_entered_any_more(sqlite: Database, rules: Mapping[str, Any]) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        venue = hostile(stage)
        stage.start()
        stage.after(1.5, steps=3)
        assert stage.held() > 0
        venue.rules = rules
        for _ in range(3):
            a_pass(stage)
        assert {side for _, side in stage.ladder()} == {"Sell"}
        assert protected(stage)
        venue.rules = {}
        for _ in range(3):
            a_pass(stage)
        assert len(stage.ladder()) >= 9


@pytest.mark.slow
def test_a_contract_that_is_not_listed_any_more_ends_its_grid(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        venue = hostile(stage)
        stage.start()
        stage.after(1.5, steps=3)
        venue.rules = None
        for _ in range(6):
            stage.advance(0.5)
            a_pass(stage)
        grid = stage.grid()
        assert grid.state == grids.ENDED
        assert "not listed" in str(grid.reason)
        assert (stage.held(), stage.ladder()) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(Kind))
def test_a_gap_over_many_levels_and_back_leaves_one_order_a_level(sqlite: Database, kind: Kind) -> None:
    stops = {"stop_high": None} if kind is Kind.LONG else {"stop_low": None} if kind is Kind.SHORT else {}
    with stage_on(sqlite, 100_000, 95_100, 104_900, 95_100, 100_000, 100_000) as stage:
        stage.start(kind=kind, **stops)
        for _ in range(7):
            stage.advance(1)  # a minute each way, all levels at once
            a_pass(stage)
        for _ in range(4):
            stage.after(0.5)
        stage.require_lawful()
        assert not stage.maintain().acted


@pytest.mark.slow
def test_a_stop_that_is_refused_is_asked_for_again_while_the_guard_stands(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.arm("POST /v5/position/trading-stop", ret_code=10001, ret_msg="an odd refusal")
        stage.advance(1.5)
        reports = [maintain(stage.context) for _ in range(3)]
        assert stage.held() > 0
        assert any("could not be set" in report.failed.get(SYMBOL, "") for report in reports)
        guards = [row for row in stage.exchange.open_orders(SYMBOL) if row.trigger_price and row.reduce_only]
        assert {row.side for row in guards} == {Side.BUY, Side.SELL}
        stage.running.faults.remove()
        stage.after(0.5)
        assert protected(stage)


@pytest.mark.slow
def test_a_part_that_fills_while_a_person_amends_the_order_is_booked_once(sqlite: Database) -> None:
    """R2, R3: the order's size is changed while it fills; what is closed is what the fills come to."""
    with stage_on(sqlite, 100_000, 98_500, 98_500, 101_000, 101_000) as stage:
        stage.start()
        order = next(row for row in stage.exchange.open_orders(SYMBOL) if row.price == D(99_000))
        stage.arm("POST /v5/order/amend", act_after_ms=30_000, times=1)
        stage.exchange.amend_order(OrderChange(SYMBOL, order.order_link_id, qty=D("0.001")))
        stage.after(5, steps=20)
        stage.require_lawful()
        assert stage.grid().state == grids.RUNNING


@pytest.mark.slow
def test_margin_that_is_gone_blocks_levels_and_is_told_once(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        first = next(row for row in stage.exchange.open_orders(SYMBOL) if row.price == D(97_000))
        engine = stage.running.venue.engine
        some = [one for one in engine.open_orders() if one.order_link_id == first.order_link_id]
        stage.running.venue.transact(lambda now: engine.cancel_by_venue(some, "CancelByDCP", now))
        stage.arm("POST /v5/order/create-batch", ret_code=110007)
        for _ in range(30):
            stage.advance(0.5)
            maintain(stage.context)
        with sqlite.read() as connection:
            rows = grids.orders_of(connection, stage.grid().grid_id)
        assert 3 <= len([row for row in rows if row.price == D(97_000)]) <= 8
        stage.running.faults.remove()
        assert protected(stage)
