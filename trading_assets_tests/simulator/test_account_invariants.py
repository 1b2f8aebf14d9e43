"""Invariants of the account under random order flow: margins hold, books agree, exits fit, time may be cut anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.models import CONDITIONAL, EXITS
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.codec import Refusal
from trading_assets_tests.simulator.fake_market import MINUTE, FakeMarket
from trading_assets_tests.simulator.order_flow import AFTER_MS, KINDS, Player, Step, histories

D = Decimal
ROUNDING = D("1e-6")
EXAMPLES = 100


class ThreePrices(FakeMarket):
    """Mark and index price go their own ways, up to 0.5 % from the last price."""

    def mark_price(self, symbol: str, time_ms: int) -> float:
        return self._beside(symbol, time_ms, "mark")

    def index_price(self, symbol: str, time_ms: int) -> float:
        return self._beside(symbol, time_ms, "index")

    def _beside(self, symbol: str, time_ms: int, name: str) -> float:
        away = 0.005 * self._hash(symbol, time_ms - time_ms % MINUTE, name)
        return self._tick(symbol, self.last_price(symbol, time_ms) * (1 + away))


def wild(level_qty: float = 1000.0) -> FakeMarket:
    """Enough movement and funding for liquidations among the invariants."""
    return ThreePrices(level_qty=level_qty, funding=0.002, swing=0.08, minute_value=8000.0)


def picture(state: AccountState) -> dict[str, object]:
    return {
        "executions": [asdict(row) for row in state.executions],
        "closed": [asdict(row) for row in state.closed],
        "orders": [asdict(order) for order in state.orders.values()],
        "open": list(state.open_orders),
        "positions": {key: asdict(position) for key, position in state.positions.items()},
        "balances": {coin: asdict(balance) for coin, balance in state.balances.items()},
        "header": asdict(state.header),
    }


Setup = dict[str, Any]
setups = st.fixed_dictionaries(
    {"hedged": st.booleans(), "bold": st.booleans(), "isolated": st.booleans(), "money": st.sampled_from([100, 5000])}
)
pauses = st.lists(st.integers(0, AFTER_MS), max_size=8)


@pytest.mark.slow
@settings(max_examples=EXAMPLES)
@given(histories, pauses, setups)
def test_one_jump_and_many_steps_give_the_same_fills(history: list[Step], pauses: list[int], setup: Setup) -> None:
    jump = Player(wild(), **setup).play(history)
    steps = Player(wild(), **setup).play(history, pauses)
    assert picture(steps.state) == picture(jump.state)


@pytest.mark.slow
@settings(max_examples=EXAMPLES)
@given(histories, pauses, setups)
def test_restarts_in_between_change_nothing(history: list[Step], pauses: list[int], setup: Setup) -> None:
    jump = Player(wild(), **setup).play(history)
    restarted = Player(wild(), **setup, restarts=True).play(history, pauses)
    assert picture(restarted.state) == picture(jump.state)


@pytest.mark.slow
@settings(max_examples=EXAMPLES)
@given(histories, setups, st.sampled_from([1000.0, 2.0]))
def test_every_step_keeps_margins_and_exits_in_order(history: list[Step], setup: Setup, level_qty: float) -> None:
    def watch(engine: AccountEngine, now: int, action: Callable[[], None]) -> None:
        exits_fit(engine)
        before, known = engine.figures(now), len(engine.state.executions)
        lost = before.margin_balance
        refusal: Refusal | None = None
        kept = picture(engine.state)
        try:
            action()
        except Refusal as error:
            refusal = error
        if refusal is not None:
            assert picture(engine.state) == kept, "a refused command changes nothing"
            raise refusal
        after = engine.figures(now)
        exits_fit(engine)
        slipped = sum(
            (abs(row.price - row.mark_price) * row.qty + row.fee for row in engine.state.executions[known:]), D(0)
        )
        excess = max(D(0), before.initial_margin - before.backing)
        assert after.initial_margin <= max(after.backing, D(0)) + excess + 3 * slipped + ROUNDING
        assert after.margin_balance >= lost - slipped - ROUNDING

    Player(wild(level_qty), **setup, watch=watch).play(history)


def exits_fit(engine: AccountEngine) -> None:
    """What only closes is on the other side of its position and no larger; the index of open orders is true."""
    state = engine.state
    assert list(state.open_orders) == [order.order_id for order in state.orders.values() if order.is_open]
    for order in state.open_orders.values():
        position = state.look_up(order.symbol, order.position_idx)
        if order.is_exit or (order.reduce_only and order.is_active):
            assert position.side is order.side.opposite and 0 < order.left_qty <= abs(position.size)
        if order.is_exit and order.tpsl_mode == "Full":
            assert order.qty == abs(position.size)
            assert order.order_id in (position.stop_loss_id, position.take_profit_id, position.trailing_stop_id)


@pytest.mark.slow
@settings(max_examples=EXAMPLES)
@given(histories, setups, st.sampled_from([1000.0, 2.0]))
def test_the_books_agree(history: list[Step], setup: Setup, level_qty: float) -> None:
    engine = Player(wild(level_qty), **setup).play(history)
    exits_fit(engine)
    books_agree(engine)


def books_agree(engine: AccountEngine) -> None:
    state = engine.state
    deposited, wallet = state.header.deposited, state.balances["USDT"].wallet
    trades = [row for row in state.executions if row.exec_type != "Funding"]
    fees = sum((row.fee for row in trades), D(0))
    funding = sum((row.fee for row in state.executions if row.exec_type == "Funding"), D(0))
    gross = sum((row.pnl + row.open_fee + row.close_fee for row in state.closed), D(0))
    assert wallet == deposited + gross - fees - funding
    assert gross == sum((row.pnl for row in state.executions), D(0))
    assert wallet == deposited + sum((position.total_realised for position in state.positions.values()), D(0))
    for key, position in state.positions.items():
        legs = [row for row in trades if (row.symbol, row.position_idx) == (position.symbol, position.position_idx)]
        assert position.size == sum(row.qty if row.side is Side.BUY else -row.qty for row in legs), key
        assert position.entry_value >= 0 and (position.size or position.entry_value == position.open_fee == 0)
    figures = engine.figures(state.header.settled_ms)
    unrealised = sum((item.mark * item.position.size for item in figures.positions), D(0)) - sum(
        (item.position.entry_value * (1 if item.position.size > 0 else -1) for item in figures.positions), D(0)
    )
    assert figures.margin_balance == wallet + unrealised
    for order in state.orders.values():
        fills = [row for row in state.executions if row.order_id == order.order_id]
        assert order.filled_qty == sum(row.qty for row in fills) <= order.qty
        assert order.filled_value == sum(row.value for row in fills)
        assert order.fee == sum(row.fee for row in fills)
        assert (order.status is OrderStatus.FILLED) is (order.filled_qty == order.qty)
    for row in state.closed:
        sign = 1 if row.side is Side.SELL else -1
        assert row.pnl == sign * (row.exit_value - row.entry_value) - row.open_fee - row.close_fee
        assert row.pnl == round(row.pnl, 8)
        closing = [fill for fill in state.executions if fill.order_id == row.order_id and fill.closed_size]
        assert row.closed_size == sum(fill.closed_size for fill in closing) and row.fill_count == len(closing)
    for one, other in zip(state.executions, state.executions[1:], strict=False):
        assert (one.time_ms, one.sequence) < (other.time_ms, other.sequence) or one.sequence < other.sequence
        assert one.time_ms <= other.time_ms


def drawn(dice: random.Random, kind: str) -> Step:
    return Step(
        wait_ms=dice.randrange(10 * MINUTE),
        kind=kind,
        symbol=dice.choice(["BTCUSDT", "ALTUSDT"]),
        side=dice.choice(list(Side)),
        steps=dice.choice([5, 20, 60]),
        away=dice.choice([-0.01, -0.004, 0.004, 0.01]),
        stop=dice.choice([0.0, 0.01, 0.03]),
        target=dice.choice([0.0, 0.01, 0.03]),
        reduce_only=dice.random() < 0.2,
        at_market=dice.random() < 0.5,
        partial=dice.random() < 0.5,
        exit_at_limit=dice.random() < 0.5,
        time_in_force="GTC",
        trigger_by=dice.choice(["LastPrice", "MarkPrice"]),
        pick=dice.randrange(10),
        leverage=25,
    )


@pytest.mark.slow
def test_random_histories_reach_every_kind_of_event() -> None:
    """They would hold of an account in which nothing happens: in flow of this kind everything does."""
    seen: set[object] = set()
    for seed in range(40):
        dice = random.Random(seed)
        history = [drawn(dice, dice.choice([kind for kind in KINDS if kind != "leverage"])) for _ in range(14)]
        isolated = seed % 4 > 1
        player = Player(wild(), money=100 + 900 * (seed % 2), hedged=seed % 3 == 0, bold=True, isolated=isolated)
        state = player.play(history).state
        seen |= {(isolated, row.exec_type) for row in state.executions}
        seen |= {(row.exec_type, row.stop_order_type, row.is_maker) for row in state.executions}
        seen |= {order.cancel_type for order in state.orders.values()}
    stops = {("Trade", kind, False) for kind in (*EXITS, CONDITIONAL, "")}
    assert seen >= stops | {
        ("Funding", "", False),
        ("BustTrade", "", False),
        (False, "BustTrade"),
        (True, "BustTrade"),
        ("Trade", "", True),
        ("Trade", CONDITIONAL, True),
        ("Trade", "PartialTakeProfit", True),
        "CancelByUser",
        "CancelByReduceOnly",
        "CancelByTpSlTsClear",
        "CancelAllBeforeLiq",
        "CancelByCannotAffordOrderCost",
        "CancelByOCOSlCanceledByTpTriggered",
        "CancelByOCOTpCanceledBySlTriggered",
    }
