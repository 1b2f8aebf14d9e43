"""What a grid does next: from its levels, their books, the orders that work, and the market. Pure.

Each level has one wish: what it holds is to be closed at its other price, and nothing held means that it is to be
opened. A level with an order at work has no second wish. So a grid whose orders are as they are wished for decides
nothing, and a pass over it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_assets.core.models import Position, Side
from trading_assets.ledger import grids
from trading_assets.ledger.grids import Grid, GridOrder, LevelRow
from trading_assets.trading.grid.books import LevelBooks
from trading_assets.trading.grid.levels import ZERO, Kind, OutOfRange, on_step
from trading_assets.trading.kept import UNKNOWN

TAKES_WITHIN = Decimal("0.001")
"""So far from the best price the first orders of a long or short grid may take, as a fraction of it."""


@dataclass(frozen=True)
class Market:
    """Prices and rules of the contract now."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    tick: Decimal
    min_qty: Decimal
    min_notional: Decimal
    qty_step: Decimal = ZERO


@dataclass(frozen=True)
class Wish:
    """An order that is to be placed. Without a price it is at the market, or waits for its trigger."""

    level_index: int | None
    purpose: str
    side: Side
    qty: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    post_only: bool = False
    reduce_only: bool = False
    stop_loss: Decimal | None = None


@dataclass(frozen=True)
class Cell:
    """A level with its books, and the order of it that works."""

    row: LevelRow
    books: LevelBooks
    order: GridOrder | None = None

    @property
    def open_price(self) -> Decimal:
        return self.row.low if self.row.side is Side.BUY else self.row.high

    @property
    def close_price(self) -> Decimal:
        return self.row.high if self.row.side is Side.BUY else self.row.low

    @property
    def status(self) -> str:
        """In one word, for a reader."""
        if self.row.blocked is not None:
            return "blocked"
        if self.order is not None:
            if self.order.purpose == grids.CLOSE:
                return "closing"
            return "part" if self.order.filled_qty > 0 else "opening"
        return "held" if self.books.held > 0 else "vacant"


@dataclass(frozen=True)
class View:
    """All that is decided on.

    Attributes:
        cells: the levels, ascending.
        others: orders at work that belong to no level: guards and closings of the whole.
        inventory: what the grid holds by its fills, in coins, below 0 where it is short.
        position: as the exchange shows it.
        is_settled: the position is what the fills come to.
        exited: why the venue has closed of the position what no level has closed; empty where it has not.
        stopped: why nothing may be opened now; empty where it may.
        is_gone: nothing of what the fills come to is at the exchange, and has not been for a while.
        room: how many more active orders the contract takes.
        is_listed: the contract is still there.
        unguarded: sides whose conditional order the venue does not take while nothing of the side is held: their
            opening orders carry the stop themselves.
        unknown: orders at work with the mark of grids that no ledger's row tells of.
    """

    grid: Grid
    cells: Sequence[Cell]
    others: Sequence[GridOrder]
    market: Market
    inventory: Decimal
    position: Position | None
    is_settled: bool
    now_ms: int
    exited: str = ""
    stopped: str = ""
    is_gone: bool = False
    room: int = 480
    is_listed: bool = True
    unguarded: frozenset[Side] = frozenset()
    unknown: Sequence[str] = ()


@dataclass
class Decision:
    """What is to be done, in this order: state, cancels, stop, places.

    Attributes:
        state: the state that the grid goes into, and why.
        stop: the position's stop at the exchange is to be set to this.
        blocked: levels at which a person is needed, and why.
        lays_anew: nothing of the old levels works any more: the levels of the plan that is wanted are laid now.
    """

    state: tuple[str, str] | None = None
    closes: bool | None = None
    cancels: dict[str, str] = field(default_factory=dict)
    stop: Decimal | None = None
    places: list[Wish] = field(default_factory=list)
    blocked: dict[int, str] = field(default_factory=dict)
    lays_anew: bool = False

    @property
    def is_nothing(self) -> bool:
        return self == Decision()


def stop_of(grid: Grid, market: Market, side: Side) -> Decimal | None:
    """The stop of what is long, or short, on the tick of now, away from the bounds."""
    stop = grid.stop_low if side is Side.BUY else grid.stop_high
    return None if stop is None else on_step(stop, market.tick, ROUND_FLOOR if side is Side.BUY else ROUND_CEILING)


def decide(view: View) -> Decision:
    """What a grid does next; nothing where all is as it is wished for."""
    found = Decision()
    grid = view.grid
    for order in [*(cell.order for cell in view.cells), *view.others]:
        if order is not None and order.cancel is not None:
            found.cancels[order.order_link_id] = order.cancel
    found.cancels |= dict.fromkeys(view.unknown, UNKNOWN)
    is_over = grid.state == grids.BLOCKED and (not view.inventory or view.is_gone)
    if view.exited and (is_over or grid.state in (grids.RUNNING, grids.PAUSED, grids.MOVING)):
        found.state, found.closes = (grids.STOPPING, view.exited), True
        return found
    if not view.is_listed and grid.state != grids.STOPPING:
        found.state, found.closes = (grids.STOPPING, f"{grid.symbol} is not listed any more"), True
        return found
    _protect(view, found)
    if grid.state in (grids.RUNNING, grids.PAUSED):
        _leave_range(view, found)
        if found.state is None:
            _fill_levels(view, found)
        return found
    for cell in view.cells:
        if cell.order is not None:
            found.cancels.setdefault(cell.order.order_link_id, f"the grid is {grid.state}: {grid.reason or ''}")
    if grid.state == grids.STOPPING:
        _wind_up(view, found)
    elif grid.state == grids.MOVING and not found.cancels and not found.places and view.is_settled:
        found.lays_anew = not any(cell.order for cell in view.cells)
    return found


def _protect(view: View, found: Decision) -> None:
    """The stop of what is held, at the exchange, and one conditional order in front of what may be held.

    A position's own stop ends with it, each time that a neutral grid crosses zero; the conditional one stays.
    """
    grid = view.grid
    held = view.inventory
    if view.position is not None and held and (view.position.side is Side.BUY) == (held > 0):
        wanted = stop_of(grid, view.market, view.position.side)
        if wanted is not None and view.position.stop_loss != wanted:
            found.stop = wanted
    is_over = grid.state == grids.STOPPING and not any(cell.order for cell in view.cells) and _may_end(view)
    for side in Side:
        stop = stop_of(grid, view.market, side)
        qty = _most(view.cells, side)
        mine = [one for one in view.others if one.purpose == grids.GUARD and one.side is side.opposite]
        if is_over or stop is None or not qty:
            for order in mine:
                found.cancels.setdefault(order.order_link_id, "there is nothing left to protect")
            continue
        right = [one for one in mine if (one.trigger_price, one.qty) == (stop, qty)]
        is_ahead = view.market.last > stop if side is Side.BUY else view.market.last < stop
        may_wait = view.is_listed and side not in view.unguarded
        if not right and len(mine) < 2 and is_ahead and may_wait:
            found.places.append(_guard(side, stop, qty))
        for order in mine:  # the old one goes when the new one is seen
            if order not in right and any(one.status == grids.RESTING for one in right):
                found.cancels.setdefault(order.order_link_id, "another one stands in its place")


def _guard(side: Side, stop: Decimal, qty: Decimal) -> Wish:
    return Wish(None, grids.GUARD, side.opposite, qty, trigger_price=stop, reduce_only=True)


def _most(cells: Sequence[Cell], side: Side) -> Decimal:
    """The most that the levels of a side may hold together; an order that a person has enlarged has filled more."""
    of_side = [cell for cell in cells if cell.row.side is side]
    return sum((max(one.row.qty, one.row.carried_qty, one.books.held) for one in of_side), ZERO)


def _may_end(view: View) -> bool:
    """Whether a stopping grid holds nothing, or leaves what it holds with its stop."""
    if view.inventory == 0 or view.is_gone:
        return True
    is_stopped = view.position is not None and view.position.stop_loss is not None
    return not view.grid.closes and is_stopped and view.is_settled


def _leave_range(view: View, found: Decision) -> None:
    grid, last = view.grid, view.market.last
    for stop, has_passed in ((grid.stop_low, Decimal.__le__), (grid.stop_high, Decimal.__ge__)):
        if stop is not None and has_passed(last, stop):
            found.state, found.closes = (grids.STOPPING, f"the price {last} has passed the stop {stop}"), True
            return
    if grid.low <= last <= grid.high or grid.state != grids.RUNNING or not view.is_settled:
        return
    text = f"the price {last} has left the bounds {grid.low} and {grid.high}"
    if grid.out_of_range == OutOfRange.STOP:
        found.state, found.closes = (grids.STOPPING, text), True
    elif grid.out_of_range == OutOfRange.RECENTRE and not view.stopped:
        half = (grid.high - grid.low) / 2
        is_inside = (grid.stop_low is None or last - half > grid.stop_low) and (
            grid.stop_high is None or last + half < grid.stop_high
        )
        if is_inside and last - half > 0:  # the stops stay where they are: they are what the grid may lose
            found.state = (grids.MOVING, text)


def _fill_levels(view: View, found: Decision) -> None:
    grid, market = view.grid, view.market
    why = view.stopped or ("the grid is paused" if grid.state == grids.PAUSED else "")
    wishes: list[Wish] = []
    for cell in view.cells:
        order = cell.order
        if order is not None:
            if order.purpose == grids.OPEN and why:
                found.cancels.setdefault(order.order_link_id, why)
            elif order.purpose == grids.OPEN and _may_close(grid, cell, market) and _is_at_other_side(cell, market):
                found.cancels.setdefault(order.order_link_id, "a part is filled, and the price is where it is closed")
            continue
        if cell.row.blocked is not None or not view.is_settled or (cell.row.retry_ms or 0) > view.now_ms:
            continue
        wish = wish_of(grid, cell, market, found, view.unguarded)
        if wish is not None and (wish.purpose == grids.CLOSE or not why):
            wishes.append(wish)
    guards = [one for one in view.others if one.purpose == grids.GUARD and one.status == grids.RESTING]
    guarded = {one.side.opposite for one in guards} | view.unguarded
    # Closers first, then what is nearest to the market.
    wishes.sort(key=lambda one: (one.purpose != grids.CLOSE, abs((one.price or market.last) - market.last)))
    working = [cell.order for cell in view.cells if cell.order is not None]
    buys = [one.price for one in working if one.side is Side.BUY and one.price is not None]
    sells = [one.price for one in working if one.side is Side.SELL and one.price is not None]
    room, left = view.room, _left_to_open(view.cells)
    for wish in wishes:
        if room <= 0 or wish.price is None or (wish.purpose == grids.OPEN and wish.side not in guarded):
            continue
        meets = sells and wish.price >= min(sells) if wish.side is Side.BUY else buys and wish.price <= max(buys)
        if meets:
            continue  # own orders never meet: it waits
        if wish.purpose == grids.OPEN:
            if wish.qty > left[wish.side]:
                continue  # what went over from earlier levels is more than these were to hold: first it is closed
            left[wish.side] -= wish.qty
        (buys if wish.side is Side.BUY else sells).append(wish.price)
        found.places.append(wish)
        room -= 1


def _left_to_open(cells: Sequence[Cell]) -> dict[Side, Decimal]:
    """How much each side may still open, so that it never holds more than its levels are for."""
    left = dict.fromkeys(Side, ZERO)
    for cell in cells:
        left[cell.row.side] += cell.row.qty - cell.books.held
        if cell.order is not None and cell.order.purpose == grids.OPEN:
            left[cell.row.side] -= cell.order.qty - cell.order.filled_qty
    return left


def wish_of(
    grid: Grid, cell: Cell, market: Market, found: Decision, unguarded: frozenset[Side] = frozenset()
) -> Wish | None:
    """The order that a level without one wants, on tick and step of now; None where it has to wait."""
    row, held = cell.row, cell.books.held
    reduces = grid.kind != Kind.NEUTRAL
    is_buyer = row.side is Side.BUY
    farther, nearer = (ROUND_FLOOR, ROUND_CEILING) if is_buyer else (ROUND_CEILING, ROUND_FLOOR)
    close_price = on_step(cell.close_price, market.tick, nearer)
    closing = max(close_price, market.bid + market.tick) if is_buyer else min(close_price, market.ask - market.tick)
    held = on_step(held, market.qty_step) if market.qty_step else held
    if held >= market.min_qty and (reduces or held * closing >= market.min_notional):
        if closing <= 0:
            return None
        side = row.side.opposite
        return Wish(row.level_index, grids.CLOSE, side, held, closing, post_only=True, reduce_only=reduces)
    qty, price = row.qty - held, on_step(cell.open_price, market.tick, farther)
    qty = on_step(qty, market.qty_step) if market.qty_step else qty
    if qty < market.min_qty or qty * price < market.min_notional:
        text = f"{qty} at {price} are less than the contract takes now"
        if held:
            text = f"it holds {held}, too little to be closed, and too much to be filled up"
        found.blocked[row.level_index] = text
        return None
    stop = stop_of(grid, market, row.side) if reduces or row.side in unguarded else None
    takes = price >= market.ask if is_buyer else price <= market.bid
    if not takes:
        return Wish(row.level_index, grids.OPEN, row.side, qty, price, post_only=True, stop_loss=stop)
    if not row.takes_first or cell.books.round_trips:
        return None  # the market is beyond the level: it waits, and does not run after it
    away = market.ask * (1 + TAKES_WITHIN) if is_buyer else market.bid * (1 - TAKES_WITHIN)
    at = on_step(away, market.tick, ROUND_CEILING if is_buyer else ROUND_FLOOR)
    return Wish(
        row.level_index, grids.OPEN, row.side, qty, min(at, price) if is_buyer else max(at, price), stop_loss=stop
    )


def _may_close(grid: Grid, cell: Cell, market: Market) -> bool:
    """Whether what a level holds is enough for an order that closes it: a smaller part waits to be filled up."""
    held = on_step(cell.books.held, market.qty_step) if market.qty_step else cell.books.held
    is_worth = grid.kind != Kind.NEUTRAL or held * cell.close_price >= market.min_notional
    return held > 0 and held >= market.min_qty and is_worth


def _is_at_other_side(cell: Cell, market: Market) -> bool:
    return market.bid >= cell.close_price if cell.row.side is Side.BUY else market.ask <= cell.close_price


def _wind_up(view: View, found: Decision) -> None:
    """Stopping: what waits is cancelled first, then the inventory is closed, then the stops go, then it has ended."""
    if any(cell.order for cell in view.cells):
        return
    closing = [one for one in view.others if one.purpose == grids.FLATTEN]
    if not _may_end(view):
        held = view.inventory
        position = view.position
        if closing or not view.grid.closes or position is None or (position.side is Side.BUY) != (held > 0):
            return
        side = Side.SELL if held > 0 else Side.BUY
        qty = min(abs(held), position.size)
        found.places.append(Wish(None, grids.FLATTEN, side, qty, reduce_only=True))
    elif not view.others and not found.places:
        found.state = (grids.ENDED, view.grid.reason or "stopped")


def rounds_of(orders: Sequence[GridOrder], generation: int) -> Mapping[tuple[int | None, str], int]:
    """How many orders each level, and each purpose besides levels, has had in a generation."""
    counts: dict[tuple[int | None, str], int] = {}
    for order in orders:
        if order.generation == generation:
            key = key_of(order.level_index, order.purpose)
            counts[key] = max(counts.get(key, 0), order.round)
    return counts


def key_of(level_index: int | None, purpose: str) -> tuple[int | None, str]:
    """What rounds are counted by: a level, or a purpose of the whole grid."""
    return level_index, "" if level_index is not None else purpose
