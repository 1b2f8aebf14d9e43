"""Random order flow for the invariants of the account: drawn by hypothesis, played on an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import strategies as st

from trading_assets.core.models import Side
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.booking import transfer
from trading_assets.simulator.account.models import (
    INDEX_PRICE,
    ISOLATED,
    LAST_PRICE,
    MARK_PRICE,
    Amendment,
    OrderCommand,
    StopCommand,
)
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.clock import ClockMode, ClockPosition
from trading_assets.simulator.codec import Refusal
from trading_assets.simulator.persistence import AccountStore, MarketIdentity
from trading_assets_tests.simulator.fake_market import MINUTE, T0, FakeMarket

D = Decimal
STEPS = {"BTCUSDT": (D("0.001"), D("0.1")), "ALTUSDT": (D(1000), D("0.00001"))}
AFTER_MS = 200 * MINUTE
KINDS = (
    "market",
    "market",
    "limit",
    "limit",
    "conditional",
    "conditional",
    "stops",
    "trailing",
    "amend",
    "cancel",
    "leverage",
)
IDENTITY = MarketIdentity("fake", 0, 0)


@dataclass(frozen=True)
class Step:
    """One thing that a client does after `wait_ms`; what does not belong to its `kind` is ignored.

    Attributes:
        away: signed distance of a limit or trigger price from the last price.
        stop, target: distances of stop and target, 0 for none.
        pick: which of the open orders is amended or cancelled, counted round.
    """

    wait_ms: int
    kind: str
    symbol: str
    side: Side
    steps: int
    away: float
    stop: float
    target: float
    reduce_only: bool
    at_market: bool
    partial: bool
    exit_at_limit: bool
    time_in_force: str
    trigger_by: str
    pick: int
    leverage: int


distances = st.sampled_from([0.0, 0.0, 0.002, 0.01, 0.03])
steps = st.builds(
    Step,
    wait_ms=st.one_of(st.integers(0, 3 * MINUTE), st.integers(0, 100 * MINUTE), st.just(0)),
    kind=st.sampled_from([*KINDS, "mode", "deposit"]),
    symbol=st.sampled_from(sorted(STEPS)),
    side=st.sampled_from(list(Side)),
    steps=st.sampled_from([1, 2, 5, 10, 20, 40, 60]),
    away=st.sampled_from([-0.05, -0.01, -0.004, -0.001, 0.0, 0.001, 0.004, 0.01, 0.05]),
    stop=distances,
    target=distances,
    reduce_only=st.sampled_from([False, False, False, True]),
    at_market=st.booleans(),
    partial=st.booleans(),
    exit_at_limit=st.booleans(),
    time_in_force=st.sampled_from(["GTC", "GTC", "IOC", "FOK", "PostOnly"]),
    trigger_by=st.sampled_from([LAST_PRICE, LAST_PRICE, MARK_PRICE, INDEX_PRICE]),
    pick=st.integers(0, 9),
    leverage=st.sampled_from([1, 5, 10, 25, 50, 100]),
)
histories = st.lists(steps, min_size=1, max_size=14)


class Player:
    """Plays a history on a new account; `bold` begins with the highest leverage. `watch` runs every step itself."""

    def __init__(
        self,
        market: FakeMarket,
        *,
        money: int = 5000,
        hedged: bool = False,
        bold: bool = False,
        isolated: bool = False,
        restarts: bool = False,
        watch: Callable[[AccountEngine, int, Callable[[], None]], None] | None = None,
    ) -> None:
        self.market = market
        self.engine = AccountEngine(market, AccountState.opened("random", T0, {"USDT": D(money)}))
        self.store = AccountStore(None) if restarts else None
        self.watch = watch
        if isolated:
            self.engine.set_margin_mode(ISOLATED, T0)
        if hedged:
            self.engine.switch_mode("", "USDT", hedge=True)
        if bold:
            for symbol in STEPS:
                self.engine.set_leverage(symbol, market.contracts[symbol].max_leverage, T0)

    def play(self, history: Sequence[Step], pauses: Sequence[int] = ()) -> AccountEngine:
        """Live through `history`, looking at the account `pauses` after each of its steps too."""
        now = T0
        for step in history:
            self._live(now, step.wait_ms, pauses)
            now += step.wait_ms
            self.engine.settle(now)
            action = self._action(step, now)
            try:
                if self.watch is not None:
                    self.watch(self.engine, now, action)
                else:
                    action()
            except Refusal:
                continue
        self._live(now, AFTER_MS, pauses)
        self.engine.settle(now + AFTER_MS)
        return self.engine

    def _live(self, now: int, span: int, pauses: Sequence[int]) -> None:
        for pause in sorted(pauses):
            if pause < span:
                self.engine.settle(now + pause)
                if self.store is not None:
                    self._restart(self.store)

    def _restart(self, store: AccountStore) -> None:
        store.save(self.engine.state, ClockPosition(ClockMode.MANUAL, T0, T0, 1.0), IDENTITY)
        loaded = store.load(IDENTITY)
        assert loaded is not None
        self.engine = AccountEngine(self.market, loaded[0])

    def _action(self, step: Step, now: int) -> Callable[[], None]:
        engine = self.engine
        if step.kind in ("amend", "cancel"):
            waiting = engine.open_orders()
            if not waiting:
                return lambda: None
            order = waiting[step.pick % len(waiting)]
            if step.kind == "cancel":
                return lambda: _nothing(engine.cancel(order.symbol, order.order_id, "", now))
            priced = order.price and order.order_type == "Limit"
            change = Amendment(
                qty=step.steps * STEPS[order.symbol][0] if step.at_market or not priced else None,
                price=self._price(order.symbol, step.away, now) if priced else None,
                trigger_price=self._price(order.symbol, step.away, now)
                if step.partial and order.trigger_price
                else None,
            )
            return lambda: _nothing(engine.amend(order.symbol, order.order_id, "", change, now))
        if step.kind == "leverage":
            return lambda: engine.set_leverage(step.symbol, D(step.leverage), now)
        if step.kind == "mode":
            hedged = engine.state.is_hedged(step.symbol, "USDT")
            return lambda: engine.switch_mode(step.symbol, "", hedge=not hedged)
        if step.kind == "deposit":
            return lambda: transfer(engine.state, "USDT", D(step.steps), engine.state.header.settled_ms)
        if step.kind == "trailing":
            return lambda: engine.change_stops(self._trailing(step, now), now)
        if step.kind == "stops":
            return lambda: engine.change_stops(self._stops(step, now), now)
        return lambda: _nothing(engine.place_order(self._command(step, now), now))

    def _price(self, symbol: str, away: float, now: int) -> Decimal:
        tick = STEPS[symbol][1]
        last = D(repr(self.market.last_price(symbol, now)))
        return (last * (1 + D(repr(away))) / tick).to_integral_value() * tick

    def _index(self, step: Step) -> int:
        """The leg that a step is about; a reduce-only order closes the other side's."""
        if not self.engine.state.is_hedged(step.symbol, "USDT"):
            return 0
        return 1 if (step.side is Side.BUY) is not step.reduce_only else 2

    def _stops(self, step: Step, now: int) -> StopCommand:
        position = self.engine.state.look_up(step.symbol, self._index(step))
        sign = 1 if position.size > 0 else -1
        limits = step.partial and step.exit_at_limit
        target = self._price(step.symbol, sign * step.target, now) if step.target else None
        return StopCommand(
            step.symbol,
            position.position_idx,
            take_profit=target,
            stop_loss=self._price(step.symbol, -sign * step.stop, now) if step.stop else None,
            tpsl_mode="Partial" if step.partial else "Full",
            tp_trigger_by=step.trigger_by,
            size=step.steps * STEPS[step.symbol][0] if step.partial else None,
            tp_limit_price=target if limits else None,
        )

    def _trailing(self, step: Step, now: int) -> StopCommand:
        position = self.engine.state.look_up(step.symbol, self._index(step))
        sign = 1 if position.size > 0 else -1
        return StopCommand(
            step.symbol,
            position.position_idx,
            trailing_stop=abs(self._price(step.symbol, step.away, now) - self._price(step.symbol, 0.0, now)),
            active_price=self._price(step.symbol, sign * step.target, now) if step.target else None,
        )

    def _command(self, step: Step, now: int) -> OrderCommand:
        conditional = step.kind == "conditional"
        at_market = step.kind == "market" or (conditional and step.at_market)
        sign = 1 if step.side is Side.BUY else -1
        base = step.away if step.kind != "market" else 0.0
        carries = not step.reduce_only
        target = self._price(step.symbol, base + sign * step.target, now) if carries and step.target else None
        partial = step.partial and carries
        return OrderCommand(
            step.symbol,
            step.side,
            step.steps * STEPS[step.symbol][0],
            order_type="Market" if at_market else "Limit",
            price=None if at_market else self._price(step.symbol, base, now),
            time_in_force="GTC" if at_market else step.time_in_force,
            reduce_only=step.reduce_only,
            position_idx=self._index(step),
            trigger_price=self._price(step.symbol, step.away, now) if conditional else None,
            trigger_direction=(1 if step.away > 0 else 2) if conditional else 0,
            trigger_by=step.trigger_by if conditional else LAST_PRICE,
            stop_loss=self._price(step.symbol, base - sign * step.stop, now) if carries and step.stop else None,
            take_profit=target,
            tpsl_mode="Partial" if partial else "",
            tp_limit_price=target if partial and step.exit_at_limit else None,
        )


def _nothing(_: object) -> None:
    """A command's answer is not looked at here."""
