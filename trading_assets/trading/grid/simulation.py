"""A grid over candles: `planning.decide` says what it does next, as live; here is how a bar fills orders. Pure.

One bar does not tell the way of the price, and what it does not prove is not counted in the grid's favour:

1. An order that waits since before the bar is filled at its own price when the bar goes beyond it; a touch is no fill.
2. What a level wants next, after such a fill, is filled on the same bar only where the bar's *close* lies beyond its
   price: the price must have come past it. Whatever else may have happened within the bar is not counted.
3. A bar that reaches a stop fills every level that opens on the way to it, those that close only where the bar opened
   beyond their price, and then closes all that is held at the stop, or at the open beyond it, as taker. Of two stops in
   one bar that counts which leaves less.
4. At the close `decide` is asked: it places, cancels, re-centres or ends. What it does at the market costs slippage.

A grid that answers each fill at once earns at least that much on any way of the price through the bars: but for the
maker's fee of what is still held, for closes on the very price of a level, and until a stop or a bound comes into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Self

import numpy as np

from trading_assets.core.candles import FloatArray, Funding
from trading_assets.core.models import Instrument, Position, Side
from trading_assets.ledger import grids
from trading_assets.ledger.grids import Grid, GridOrder, LevelRow
from trading_assets.trading.grid.bars import Bars
from trading_assets.trading.grid.books import Carried, Fill, LevelBooks, Sums, level_books, sums
from trading_assets.trading.grid.laying import columns_of, moved, next_generation, plan_of, rows_of
from trading_assets.trading.grid.levels import ZERO, Level, Plan, build, on_step, stop_prices, worst_value
from trading_assets.trading.grid.one_pass import grid_order_row
from trading_assets.trading.grid.planning import Cell, Decision, Market, View, Wish, decide, wish_of

_ROUNDS = 12
"""More often than a grid can decide anything new at one price."""

_LOOK_AHEAD = 4096


@dataclass(frozen=True)
class GridCosts:
    """Fractions of the value of a fill; funding comes from its payments."""

    maker: Decimal
    taker: Decimal
    slippage: Decimal


@dataclass(frozen=True)
class GridFill:
    """An order that was filled.

    Attributes:
        time_ms: end of the bar that shows it, UTC ms.
        level_index: None where it was of the whole grid.
        purpose: one of those of `ledger.grids`.
        fee: paid, USD.
        is_maker: it had waited for the price.
    """

    time_ms: int
    level_index: int | None
    purpose: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    is_maker: bool


@dataclass(frozen=True)
class GridResult:
    """What a grid has come to.

    Attributes:
        levels: those that it started with.
        state, reason: at the end of the bars, or at its own.
        bounds: each generation's first moment, lowest and highest price.
        equity: of the grid after each bar, USD: what it has earned or lost, its inventory at the close.
        inventory: after each bar, in coins, below 0 where it is short.
    """

    plan: Plan
    levels: list[Level]
    state: str
    reason: str | None
    fills: list[GridFill]
    figures: Sums
    bounds: list[tuple[int, Decimal, Decimal]]
    equity: FloatArray
    inventory: FloatArray
    bars: Bars

    @property
    def max_drawdown(self) -> float:
        """The deepest fall of the equity from its peak, start included, USD, <= 0."""
        if not len(self.equity):
            return 0.0
        return float(np.min(self.equity - np.maximum.accumulate(np.maximum(self.equity, 0.0))))

    @property
    def worst_inventory(self) -> float:
        """The largest value of what it held at a close, USD."""
        return float(np.max(np.abs(self.inventory) * self.bars.close, initial=0.0))


def simulate(
    plan: Plan, bars: Bars, instrument: Instrument, costs: GridCosts, funding: Funding, *, qty: Decimal | None = None
) -> GridResult:
    """Run a grid from the close of the first bar to that of the last, or to its own end.

    Args:
        qty: of each level, coins; by default what capital and leverage come to.

    Raises:
        GridError: bounds or number of levels make no grid.
    """
    return _Run(plan, bars, instrument, costs, funding, qty).result()


@dataclass
class _Level:
    """A level, its books so far, and its order."""

    row: LevelRow
    books: LevelBooks = field(default_factory=LevelBooks)
    order: GridOrder | None = None
    rounds: int = 0

    def cell(self) -> Cell:
        return Cell(self.row, self.books, self.order)

    def book(self, fill: Fill) -> None:
        """Add a fill to the books, by the rule that live reads its executions by."""
        was = self.books
        now = level_books(self.row.side, [fill], Carried(was.held, was.value, was.fees))
        self.books = replace(
            now,
            profit=was.profit + now.profit,
            fees_paid=was.fees_paid + now.fees_paid,
            round_trips=was.round_trips + now.round_trips,
        )


@dataclass
class _State:
    """All that changes from bar to bar."""

    grid: Grid
    levels: list[_Level]
    others: list[GridOrder] = field(default_factory=list)
    fills: list[GridFill] = field(default_factory=list)
    money: list[Fill] = field(default_factory=list)
    inventory: Decimal = ZERO
    cash: Decimal = ZERO
    funding: Decimal = ZERO
    exited: str = ""

    def copy(self) -> Self:
        return replace(
            self,
            levels=[replace(one) for one in self.levels],
            others=list(self.others),
            fills=list(self.fills),
            money=list(self.money),
        )


class _Run:
    def __init__(
        self,
        plan: Plan,
        bars: Bars,
        instrument: Instrument,
        costs: GridCosts,
        funding: Funding,
        qty: Decimal | None,
    ) -> None:
        low, high = stop_prices(plan, instrument.tick_size)
        self._plan = plan = replace(plan, stop_low=low, stop_high=high)
        self._bars, self._rules, self._costs = bars, instrument, costs
        start_ms, price = int(bars.end_ms[0]), _exact(bars.close[0])
        self._first = build(plan, price, instrument, qty)
        grid = Grid(
            grid_id=f"backtest:{plan.symbol}",
            account="backtest",
            symbol=plan.symbol,
            **columns_of(plan),
            state=grids.RUNNING,
            reason=None,
            closes=True,
            wanted=None,
            generation=1,
            worst_value=worst_value(self._first),
            profit_before=ZERO,
            differs_since_wall_ms=None,
            told=None,
            read_ms=start_ms,
            mark_price=price,
            created_ms=start_ms,
            updated_ms=start_ms,
        )
        self._state = _State(grid, [_Level(row) for row in rows_of(grid, self._first)])
        self._bounds = [(start_ms, plan.low, plan.high)]
        self._equity, self._inventory = np.zeros(len(bars)), np.zeros(len(bars))
        paid = funding.time_ms > start_ms
        # A payment counts at the last close before it, for what is held at the beginning of its bar.
        self._payments = (bars.end_ms.searchsorted(funding.time_ms[paid], "right") - 1, funding.rate[paid])

    def result(self) -> GridResult:
        bars = self._bars
        self._settle(0)
        self._mark(0, 1)
        at = 1
        while at < len(bars) and self._state.grid.state != grids.ENDED:
            event = self._next_event(at)
            self._mark(at, event)
            if event == len(bars):
                break
            self._bar(event)
            self._settle(event)
            self._mark(event, event + 1)
            at = event + 1
        if self._state.grid.state == grids.ENDED:
            self._mark(at, len(bars))
        state = self._state
        return GridResult(
            plan=self._plan,
            levels=self._first,
            state=state.grid.state,
            reason=state.grid.reason,
            fills=state.fills,
            figures=sums(
                state.money,
                [one.books for one in state.levels],
                _exact(bars.close[-1]),
                profit_before=state.grid.profit_before,
                funding=state.funding,
            ),
            bounds=self._bounds,
            equity=self._equity,
            inventory=self._inventory,
            bars=bars,
        )

    def _mark(self, begin: int, end: int) -> None:
        """Equity and inventory of bars on which nothing more happens; what is paid for funding meanwhile."""
        if begin >= end:
            return
        state, close = self._state, self._bars.close
        held, places, rates = float(state.inventory), *self._payments
        paid = np.zeros(end - begin)
        for place in range(int(places.searchsorted(begin)), int(places.searchsorted(end))) if held else ():
            at = int(places[place])
            amount = state.inventory * _exact(close[at]) * _exact(rates[place])
            state.funding += amount
            paid[at - begin :] += float(amount)
        before = float(state.funding) - (paid[-1] if len(paid) else 0.0)
        self._equity[begin:end] = float(state.cash) + held * close[begin:end] - before - paid
        self._inventory[begin:end] = held

    def _next_event(self, begin: int) -> int:
        """The first bar that may change anything; the number of bars where none does.

        Every level has its order and every guard waits: such a grid decides nothing until an order, a stop or a bound
        is reached.
        """
        state, bars = self._state, self._bars
        if state.grid.state != grids.RUNNING or any(one.order is None and not one.row.blocked for one in state.levels):
            return begin
        waiting = [one.order for one in state.levels if one.order is not None and one.order.price is not None]
        buys = max((float(one.price) for one in waiting if one.side is Side.BUY and one.price), default=-np.inf)
        sells = min((float(one.price) for one in waiting if one.side is Side.SELL and one.price), default=np.inf)
        grid = state.grid
        stop_low = float(grid.stop_low) if grid.stop_low is not None else -np.inf
        stop_high = float(grid.stop_high) if grid.stop_high is not None else np.inf
        low, high = float(grid.low), float(grid.high)
        for at in range(begin, len(bars), _LOOK_AHEAD):
            some = slice(at, at + _LOOK_AHEAD)
            found = (bars.low[some] < buys) | (bars.high[some] > sells)
            found |= (bars.low[some] <= stop_low) | (bars.high[some] >= stop_high)
            if grid.out_of_range != "wait":
                found |= (bars.close[some] < low) | (bars.close[some] > high)
            if found.any():
                return at + int(found.argmax())
        return len(bars)

    # A bar

    def _bar(self, at: int) -> None:
        bars, grid = self._bars, self._state.grid
        low, high = _exact(bars.low[at]), _exact(bars.high[at])
        reached = []
        if grid.stop_low is not None and low <= grid.stop_low:
            reached.append((Side.BUY, grid.stop_low))
        if grid.stop_high is not None and high >= grid.stop_high:
            reached.append((Side.SELL, grid.stop_high))
        if not reached:
            self._fill(at, low, high)
            return
        outcomes = []
        for side, stop in reached:
            state = self._state.copy()
            self._stop(state, at, side, stop)
            outcomes.append(state)
        close = _exact(bars.close[at])
        self._state = min(outcomes, key=lambda one: one.cash + one.inventory * close)

    def _fill(self, at: int, low: Decimal, high: Decimal) -> None:
        """Rules 1 and 2."""
        state, close = self._state, _exact(self._bars.close[at])
        for one in state.levels:
            order = one.order
            if order is None or order.price is None or not _is_beyond(order.side, order.price, low, high):
                continue
            self._take(state, at, one, order.side, order.qty, order.price, order.purpose, is_maker=True)
            wish = wish_of(state.grid, one.cell(), self._market(order.price), Decision())
            if wish is None or wish.price is None or not _is_beyond(wish.side, wish.price, close, close):
                continue
            self._take(state, at, one, wish.side, wish.qty, wish.price, wish.purpose, is_maker=True)

    def _stop(self, state: _State, at: int, side: Side, stop: Decimal) -> None:
        """Rule 3. The price goes to the stop of what is held on `side`, and passes all that waits on the way."""
        opened = _exact(self._bars.open[at])
        for one in state.levels:
            order = one.order
            if order is None or order.price is None or order.side is side:
                continue
            if _is_beyond(order.side, order.price, opened, opened):
                self._take(state, at, one, order.side, order.qty, order.price, order.purpose, is_maker=True)
        for one in state.levels:
            order = one.order
            wish = None
            if order is not None and order.price is not None and order.side is side:
                self._take(state, at, one, side, order.qty, order.price, order.purpose, is_maker=True)
            elif order is None and not one.row.blocked:
                wish = wish_of(state.grid, one.cell(), self._market(opened), Decision())
            if wish is not None and wish.side is side and wish.price is not None and wish.post_only:
                self._take(state, at, one, side, wish.qty, wish.price, wish.purpose, is_maker=True)
        sign = 1 if side is Side.BUY else -1
        if state.inventory * sign > 0:
            price = min(stop, opened) if side is Side.BUY else max(stop, opened)
            qty = abs(state.inventory)
            price = self._slipped(side.opposite, price)
            self._take(state, at, None, side.opposite, qty, price, grids.GUARD)
        state.exited = "its stop"

    def _take(
        self,
        state: _State,
        at: int,
        level: _Level | None,
        side: Side,
        qty: Decimal,
        price: Decimal,
        purpose: str,
        *,
        is_maker: bool = False,
    ) -> None:
        """An order is filled, all of it."""
        rate = self._costs.maker if is_maker else self._costs.taker
        value, time_ms = qty * price, int(self._bars.end_ms[at])
        fill = Fill(side, qty, value, value * rate, time_ms)
        if level is not None:
            level.book(fill)
            level.order = None
        state.money.append(fill)
        state.cash += fill.cash
        state.inventory += fill.signed_qty
        index = None if level is None else level.row.level_index
        state.fills.append(GridFill(time_ms, index, purpose, side, qty, price, fill.fee, is_maker))

    # The close of a bar

    def _settle(self, at: int) -> None:
        """Rule 4: do what `decide` says until it says nothing."""
        price, time_ms = _exact(self._bars.close[at]), int(self._bars.end_ms[at])
        market = self._market(price)
        for _ in range(_ROUNDS):
            state = self._state
            view = View(
                grid=state.grid,
                cells=[one.cell() for one in state.levels],
                others=state.others,
                market=market,
                inventory=state.inventory,
                position=self._position(market),
                is_settled=True,
                now_ms=time_ms,
                exited=state.exited,
            )
            decision = decide(view)
            if decision.is_nothing:
                return
            self._do(decision, view, at)

    def _do(self, decision: Decision, view: View, at: int) -> None:
        state, price = self._state, view.market.last
        for one in state.levels:
            if one.row.level_index in decision.blocked:
                one.row = replace(one.row, blocked=decision.blocked[one.row.level_index])
            if one.order is not None and one.order.order_link_id in decision.cancels:
                one.order = None
        state.others = [one for one in state.others if one.order_link_id not in decision.cancels]
        if decision.lays_anew:
            plan = moved(plan_of(state.grid), price, self._rules.tick_size)
            state.grid, rows = next_generation(state.grid, plan, view.cells, state.inventory, price, self._rules)
            state.levels = [_carrying(row) for row in rows]
            self._bounds.append((view.now_ms, plan.low, plan.high))
            return
        if decision.state is not None:
            name, reason = decision.state
            closes = state.grid.closes if decision.closes is None else decision.closes
            state.grid = replace(state.grid, state=name, reason=reason, closes=closes)
            return
        for wish in decision.places:
            self._place(wish, at)

    def _place(self, wish: Wish, at: int) -> None:
        state, time_ms = self._state, int(self._bars.end_ms[at])
        level = next((one for one in state.levels if one.row.level_index == wish.level_index), None)
        if wish.purpose != grids.GUARD and not wish.post_only:  # it takes what it needs at the close
            price = self._slipped(wish.side, _exact(self._bars.close[at]))
            if wish.price is not None:
                price = min(price, wish.price) if wish.side is Side.BUY else max(price, wish.price)
            self._take(state, at, level, wish.side, wish.qty, price, wish.purpose)
            return
        number = len(state.others) if level is None else level.rounds
        link = f"{state.grid.generation}:{wish.level_index}:{wish.purpose}:{wish.side}:{number}:{time_ms}"
        order = replace(
            grid_order_row(state.grid, link, wish.purpose, wish.side, wish.qty, time_ms, time_ms),
            level_index=wish.level_index,
            price=wish.price,
            trigger_price=wish.trigger_price,
            status=grids.RESTING,
        )
        if level is None:
            state.others.append(order)
        else:
            level.order, level.rounds = order, level.rounds + 1

    def _market(self, price: Decimal) -> Market:
        """Best prices one tick beside the last: an order at the last price itself waits."""
        rules = self._rules
        tick = rules.tick_size
        return Market(price - tick, price + tick, price, tick, rules.min_qty, rules.min_notional)

    def _position(self, market: Market) -> Position | None:
        """What the exchange would show, with the stop that it is to have."""
        held, grid = self._state.inventory, self._state.grid
        if not held:
            return None
        side = Side.BUY if held > 0 else Side.SELL
        return Position(
            symbol=grid.symbol,
            side=side,
            size=abs(held),
            entry_price=market.last,
            mark_price=market.last,
            leverage=grid.leverage,
            unrealised_pnl=ZERO,
            realised_pnl=ZERO,
            liquidation_price=None,
            stop_loss=grid.stop_low if held > 0 else grid.stop_high,
            take_profit=None,
            position_idx=0,
            opened_ms=grid.created_ms,
            updated_ms=grid.created_ms,
        )

    def _slipped(self, side: Side, price: Decimal) -> Decimal:
        """A price at the market, on the tick, to the disadvantage of who takes it."""
        tick, slippage = self._rules.tick_size, self._costs.slippage
        if side is Side.BUY:
            return on_step(price * (1 + slippage), tick, ROUND_CEILING)
        return on_step(price * (1 - slippage), tick, ROUND_FLOOR)


def _is_beyond(side: Side, price: Decimal, low: Decimal, high: Decimal) -> bool:
    """Whether a price went beyond that of an order."""
    return low < price if side is Side.BUY else high > price


def _carrying(row: LevelRow) -> _Level:
    return _Level(row, LevelBooks(held=row.carried_qty, value=row.carried_value, fees=row.carried_fees))


def _exact(value: float) -> Decimal:
    """A number of an array as it was written before it became one."""
    return Decimal(repr(float(value)))
