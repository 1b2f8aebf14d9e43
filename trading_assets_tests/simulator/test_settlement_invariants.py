"""Invariants of the account, over random histories: time may be cut anywhere, and the books always agree."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import OrderCommand
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.codec import Refusal
from trading_assets_tests.simulator.fake_market import MINUTE, T0, FakeMarket

D = Decimal
STEPS = {"BTCUSDT": (D("0.001"), D("0.1")), "ALTUSDT": (D(100), D("0.00001"))}

Action = tuple[int, str, Side, int, float, float, bool]
"""Wait, symbol, side, quantity steps, distances of stop and target (0: none), reduce only."""

actions = st.lists(
    st.tuples(
        st.integers(0, 300 * MINUTE),
        st.sampled_from(sorted(STEPS)),
        st.sampled_from(list(Side)),
        st.integers(1, 40),
        st.sampled_from([0.0, 0.002, 0.005, 0.02]),
        st.sampled_from([0.0, 0.002, 0.005, 0.02]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


def play(history: list[Action], pauses: list[int], market: FakeMarket) -> AccountEngine:
    """Live through a history, looking at the account `pauses` after each action too."""
    engine = AccountEngine(market, AccountState.opened("random", T0, {"USDT": D(5000)}))
    now = T0
    for wait, symbol, side, steps, stop, target, reduce_only in history:
        for pause in sorted(pauses):
            if pause < wait:
                engine.settle(now + pause)
        now += wait
        engine.settle(now)
        step, tick = STEPS[symbol]
        last = D(repr(market.last_price(symbol, now)))
        sign = 1 if side is Side.BUY else -1

        def level(distance: float, direction: int, last: Decimal = last, tick: Decimal = tick) -> Decimal | None:
            price = last * (1 + direction * D(repr(distance)))
            return (price / tick).to_integral_value() * tick if distance else None

        command = OrderCommand(
            symbol,
            side,
            steps * step,
            reduce_only=reduce_only,
            stop_loss=None if reduce_only else level(stop, -sign),
            take_profit=None if reduce_only else level(target, sign),
        )
        try:
            engine.place_order(command, now)
        except Refusal:
            continue
    for pause in sorted(pauses):
        engine.settle(now + pause)
    engine.settle(now + 600 * MINUTE)
    return engine


def picture(engine: AccountEngine) -> list[object]:
    state = engine.state
    return [
        [asdict(row) for row in state.executions],
        [asdict(row) for row in state.closed],
        [asdict(order) for order in state.orders.values()],
        {symbol: asdict(position) for symbol, position in state.positions.items()},
        {coin: asdict(balance) for coin, balance in state.balances.items()},
    ]


@pytest.mark.slow
@settings(max_examples=30)
@given(actions, st.lists(st.integers(0, 600 * MINUTE), max_size=12))
def test_one_jump_and_many_steps_give_the_same_fills(history: list[Action], pauses: list[int]) -> None:
    market = FakeMarket(level_qty=1000.0)
    assert picture(play(history, pauses, market)) == picture(play(history, [], market))


@pytest.mark.slow
@settings(max_examples=30)
@given(actions, st.sampled_from([1000.0, 200.0, 0.004]))
def test_the_books_agree(history: list[Action], level_qty: float) -> None:
    engine = play(history, [], FakeMarket(level_qty=level_qty))
    state = engine.state
    fees = sum((row.fee for row in state.executions if row.exec_type == "Trade"), D(0))
    funding = sum((row.fee for row in state.executions if row.exec_type == "Funding"), D(0))
    gross = sum((row.pnl + row.open_fee + row.close_fee for row in state.closed), D(0))
    assert state.balances["USDT"].wallet == 5000 + gross - fees - funding
    still_open = sum((position.open_fee for position in state.positions.values()), D(0))
    net = sum((row.pnl for row in state.closed), D(0))
    assert state.balances["USDT"].wallet == 5000 + net - still_open - funding
    realised = sum((position.total_realised for position in state.positions.values()), D(0))
    assert state.balances["USDT"].wallet == 5000 + realised
    for symbol, position in state.positions.items():
        fills = [row for row in state.executions if row.symbol == symbol and row.exec_type == "Trade"]
        assert position.size == sum(row.qty if row.side is Side.BUY else -row.qty for row in fills)
        assert position.entry_value >= 0 and (position.size != 0 or position.entry_value == position.open_fee == 0)
        waiting = [order for order in engine.open_orders() if order.symbol == symbol]
        assert all(order.qty == abs(position.size) and position.size for order in waiting)
    for order in state.orders.values():
        fills = [row for row in state.executions if row.order_id == order.order_id]
        assert order.filled_qty == sum(row.qty for row in fills) <= order.qty
        assert order.filled_value == sum(row.value for row in fills)
    for row in state.closed:
        sign = 1 if row.side is Side.SELL else -1
        assert row.pnl == sign * (row.exit_value - row.entry_value) - row.open_fee - row.close_fee
    assert [row.sequence for row in state.executions] == sorted(row.sequence for row in state.executions)
    assert [row.time_ms for row in state.executions] == sorted(row.time_ms for row in state.executions)


def test_a_seeded_history_touches_stops_and_targets() -> None:
    """The invariants above would hold of an account in which nothing happens: here things do."""
    history: list[Action] = [
        (MINUTE * index, "ALTUSDT", side, 20, 0.005, 0.005, False)
        for index, side in enumerate([Side.BUY, Side.SELL, Side.SELL, Side.BUY])
    ]
    engine = play(history, [], FakeMarket())
    kinds = {order.stop_order_type for order in engine.state.orders.values() if order.filled_qty}
    assert {"StopLoss", "TakeProfit"} & kinds
    assert engine.state.closed
