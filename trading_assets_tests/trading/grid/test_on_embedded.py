"""Grids on the real embedded exchange: price paths, stops, ends, kills, lags."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.errors import TradingIsOffError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange, change_state
from trading_assets.trading.grid.control import adjust, pause, resume, start, stop
from trading_assets.trading.grid.levels import Kind, OutOfRange
from trading_assets_tests.trading.grid.stage import A_PLAN, SYMBOL, stage_on

D = Decimal


@pytest.mark.slow
def test_a_neutral_grid_starts_flat_with_buys_below_and_sells_above_and_stops_on_both_sides(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        prices = stage.ladder()
        assert [price for price, side in prices if side == "Buy"] == [D(p) for p in range(95_000, 100_000, 1_000)]
        assert [price for price, side in prices if side == "Sell"] == [D(p) for p in range(101_000, 106_000, 1_000)]
        guards = [row for row in stage.exchange.open_orders() if row.trigger_price is not None]
        assert sorted((row.trigger_price, row.qty, row.reduce_only) for row in guards) == [
            (D(93_000), D("0.01"), True),
            (D(107_000), D("0.01"), True),
        ]
        assert not stage.maintain().acted
        stage.require_lawful()


@pytest.mark.slow
def test_filled_levels_are_closed_one_level_on_and_their_pairs_are_the_grid_profit(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 100_500, 100_500) as stage:
        stage.start()
        stage.after(1.5, steps=6)
        assert stage.held() == D("0.006") or stage.held() == D("0.004")
        stage.require_lawful()
        stage.after(3, steps=12)
        assert stage.held() == 0
        sums = stage.accounts().sums(D(100_000))
        pairs = [(D(98_000), D(99_000)), (D(99_000), D(100_000))]
        expected = sum(D("0.002") * ((sell - buy) - (sell + buy) * D("0.0002")) for buy, sell in pairs)
        assert (sums.round_trips, sums.grid_profit) == (2, expected)
        assert sums.inventory_pnl == 0
        assert not stage.maintain().acted
        stage.require_lawful()


@pytest.mark.slow
def test_a_neutral_grid_that_crosses_zero_has_the_stop_of_each_side(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 102_500, 102_500, 99_500, 99_500) as stage:
        stage.start()
        sides = set()
        for _ in range(24):
            stage.after(0.25)
            stage.require_lawful()
            sides.add(stage.held().compare(D(0)))
        assert sides == {D(-1), D(0), D(1)}
        assert stage.accounts().sums(D(100_000)).round_trips >= 4


@pytest.mark.slow
def test_a_crash_through_the_stop_closes_everything_and_leaves_nothing_waiting(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 90_000, 90_000, 99_000, 99_000) as stage:
        stage.start()
        stage.advance(1.5)  # nobody looks while it falls: buys and stop are at the exchange
        assert stage.held() == 0
        stage.after(3, steps=6)
        grid, accounts = stage.grid(), stage.accounts()
        assert grid.state == "ended"
        assert grid.reason is not None
        assert "stop" in grid.reason
        assert (stage.held(), accounts.inventory, stage.exchange.open_orders()) == (0, 0, ())
        sums = accounts.sums(D(1))
        assert D(-60) < sums.total < D(-35), "5 levels of 0.002, closed about 4000 below their average"
        stage.require_lawful()


@pytest.mark.slow
def test_a_long_grid_buys_what_the_levels_above_the_price_close(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 102_500, 102_500, 97_500, 97_500) as stage:
        stage.start(kind=Kind.LONG, stop_high=None)
        assert stage.held() == D("0.01") or stage.held() == D("0.008")
        for row in stage.exchange.open_orders():
            assert row.reduce_only or row.side is Side.BUY
        for _ in range(20):
            stage.after(0.25)
            stage.require_lawful()
        assert stage.accounts().sums(D(97_500)).round_trips >= 1


@pytest.mark.slow
def test_a_short_grid_is_the_mirror_of_a_long_one(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 97_500, 97_500, 102_500, 102_500) as stage:
        stage.start(kind=Kind.SHORT, stop_low=None)
        assert stage.held() < 0
        for _ in range(20):
            stage.after(0.25)
            stage.require_lawful()
        assert stage.accounts().sums(D(102_500)).round_trips >= 1


@pytest.mark.slow
def test_stop_with_closing_ends_flat_and_frees_the_symbol(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        assert stage.held() > 0
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        stage.maintain()
        stage.after(1, steps=2)
        assert (stage.grid().state, stage.held(), stage.exchange.open_orders()) == ("ended", 0, ())
        stage.require_lawful()
        stage.start(low=D(94_000), high=D(102_000), levels=8)
        assert stage.grid().grid_id.endswith(":2")
        stage.require_lawful()


@pytest.mark.slow
def test_stop_without_closing_leaves_the_position_with_its_stop(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        held = stage.held()
        stop(sqlite, "main", SYMBOL, "mine now", stage.running.now_ms(), closes=False)
        stage.after(1, steps=3)
        position = stage.position()
        assert position is not None
        assert (stage.grid().state, stage.held(), position.stop_loss) == ("ended", held, D(93_000))
        assert all(row.purpose.is_protective for row in stage.exchange.open_orders())


@pytest.mark.slow
def test_paused_it_opens_nothing_and_closes_what_it_holds(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 100_500, 100_500) as stage:
        stage.start()
        stage.after(1.5, steps=6)
        pause(sqlite, "main", SYMBOL, "lunch", stage.running.now_ms())
        stage.maintain()
        assert {side for _, side in stage.ladder()} == {"Sell"}
        assert len(stage.ladder()) == 2
        stage.after(2.5, steps=6)
        assert (stage.held(), stage.ladder()) == (0, [])
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.maintain()
        assert len(stage.ladder()) >= 9
        stage.require_lawful()


@pytest.mark.slow
def test_what_is_held_goes_over_to_the_levels_of_another_plan(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500, 97_500, 101_000) as stage:
        stage.start()
        stage.after(1.5, steps=6)
        held = stage.held()
        adjust(stage.context, replace(A_PLAN, low=D(94_500), high=D(100_500), levels=12, capital=D(600)))
        stage.maintain()
        stage.require_lawful()
        grid, accounts = stage.grid(), stage.accounts()
        assert (grid.state, grid.generation, grid.levels) == ("running", 2, 12)
        assert sum(cell.books.held for cell in accounts.cells) == held == stage.held()
        assert not stage.maintain().acted
        stage.after(3, steps=12)
        assert stage.accounts().sums(D(1)).inventory <= 0
        stage.require_lawful()


@pytest.mark.slow
def test_it_follows_the_price_where_it_is_to_and_its_stop_stays(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 105_500, 106_500, 106_500) as stage:
        stage.start(out_of_range=OutOfRange.RECENTRE, stop_high=D(120_000))
        stage.after(3, steps=12)
        grid = stage.grid()
        assert grid.generation >= 2
        assert grid.low < D(106_500) < grid.high
        assert (grid.stop_low, grid.stop_high) == (D(93_000), D(120_000))
        stage.require_lawful()


@pytest.mark.slow
def test_it_stops_out_of_its_range_where_it_is_to(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 94_000, 94_000) as stage:
        stage.start(out_of_range=OutOfRange.STOP)
        stage.after(3, steps=12)
        assert (stage.grid().state, stage.held(), stage.exchange.open_orders()) == ("ended", 0, ())


@pytest.mark.slow
def test_a_person_who_cancels_a_level_blocks_it_and_is_told_once(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        first = next(row for row in stage.exchange.open_orders() if row.price == D(97_000))
        stage.exchange.cancel_order(SYMBOL, first.order_link_id)
        stage.after(2, steps=4)
        assert D(97_000) not in [price for price, _ in stage.ladder()]
        assert len([title for title, body in stage.told if "somebody else has cancelled" in body]) == 1
        resume(sqlite, "main", SYMBOL, stage.running.now_ms())
        stage.maintain()
        assert D(97_000) in [price for price, _ in stage.ladder()]
        stage.require_lawful()


@pytest.mark.slow
def test_a_person_who_trades_in_its_symbol_blocks_it_and_its_stops_stay(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        stage.exchange.place_order(OrderRequest(SYMBOL, Side.SELL, D("0.001"), "by-hand"))
        stage.after(2, steps=4)
        assert stage.grid().state == "blocked"
        assert stage.ladder() == []
        assert len([row for row in stage.exchange.open_orders() if row.reduce_only and row.trigger_price]) >= 2
        position = stage.position()
        assert position is not None
        assert position.stop_loss == D(93_000)
        stop(sqlite, "main", SYMBOL, "by hand", stage.running.now_ms(), closes=True)
        stage.after(4, steps=6)
        assert (stage.grid().state, stage.held()) == ("ended", 0)


@pytest.mark.slow
def test_trading_that_is_reduced_takes_away_what_opens(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        change = StateChange(RiskState.REDUCING, Cause.COMMAND, "storm", "a person", stage.running.now_ms())
        change_state(sqlite, "main", change, unless=lambda _state: False)
        stage.maintain()
        assert {side for _, side in stage.ladder()} == {"Sell"}
        assert stage.grid().state == "running"
        plan = replace(A_PLAN, symbol="ALTUSDT", low=D("0.049"), high=D("0.051"), capital=D(50))
        with pytest.raises(TradingIsOffError, match="halted or reduced"):
            start(stage.context, replace(plan, stop_low=D("0.047"), stop_high=D("0.053")))


@pytest.mark.slow
def test_an_order_that_the_venue_cancels_before_a_liquidation_ends_all_placing(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        engine = stage.running.venue.engine
        some = [order for order in engine.open_orders() if order.price == D(97_000)]
        stage.running.venue.transact(lambda now: engine.cancel_by_venue(some, "CancelByPrepareLiq", now))
        stage.maintain()
        assert stage.grid().state == "blocked"
        assert stage.ladder() == []


@pytest.mark.slow
def test_orders_cancelled_as_a_connection_was_lost_are_placed_anew(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        before = stage.ladder()
        engine = stage.running.venue.engine
        stage.running.venue.transact(lambda now: engine.cancel_by_venue(engine.open_orders(), "CancelByDCP", now))
        stage.maintain()
        assert stage.ladder() == before
        stage.require_lawful()
