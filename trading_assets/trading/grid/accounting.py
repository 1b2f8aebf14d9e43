"""A grid as the ledger has it at one moment: levels with their books, orders at work, inventory, what is foreign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.models import FillKind, OrderPurpose, Side
from trading_assets.ledger import grids
from trading_assets.ledger.grids import FillRow, Grid, GridOrder
from trading_assets.trading.grid.books import Carried, Fill, Sums, Whole, level_books, sums
from trading_assets.trading.grid.levels import ZERO
from trading_assets.trading.grid.planning import Cell


@dataclass(frozen=True)
class Accounts:
    """What the fills of a grid come to.

    Attributes:
        cells: the levels of its generation, ascending; none where a later grid has replaced them.
        others: orders at work that belong to no level of this generation.
        orders: all of its orders.
        fills: its own executions, and its part of those that have closed the position as a whole; `rows` the same.
        inventory: what they come to, in coins, below 0 where it is short.
        foreign: what others have traded in the symbol meanwhile, in coins.
        hands: what others have closed of its inventory, and have not given back.
        shared: what was closed of others by what has closed the position as a whole, in coins.
        exited: why the venue has closed the position; empty where it has not.
    """

    grid: Grid
    cells: list[Cell]
    others: list[GridOrder]
    orders: list[GridOrder]
    fills: list[Fill]
    rows: list[FillRow]
    inventory: Decimal
    foreign: Decimal
    hands: list[Fill]
    shared: Decimal
    funding: Decimal
    exited: str

    @property
    def loose(self) -> Decimal:
        """What it holds that no level has: an order that was given up was filled after all."""
        return self.inventory - sum((signed(cell.row.side, cell.books.held) for cell in self.cells), ZERO)

    def sums(self, mark: Decimal) -> Sums:
        """The figures of the grid at a price; what others have closed of it is not held any more, at their price."""
        books = [cell.books for cell in self.cells]
        fills = [*self.fills, *self.hands]
        return sums(fills, books, mark, profit_before=self.grid.profit_before, funding=self.funding)


def accounts_of(connection: sa.Connection, grid: Grid) -> Accounts:
    """Read a grid, and follow its fills.

    Raises:
        GridError: a level has closed more than it held.
    """
    orders = grids.orders_of(connection, grid.grid_id)
    by_link = {order.order_link_id: order for order in orders}
    by_id = {order.order_id: order for order in orders if order.purpose == grids.EXIT}
    of_level: dict[int, list[Fill]] = {}
    own, rows, whole, shared, funding, exits = list[Fill](), list[FillRow](), Whole(), ZERO, ZERO, set[str]()
    moves = list[tuple[FillRow, GridOrder | None]]()
    for row in grids.fills_of(connection, grid):
        if row.kind is FillKind.FUNDING:
            funding += row.fee
        elif row.kind.moves_position:
            moves.append((row, by_link.get(row.order_link_id) or by_id.get(row.order_id or row.exec_id)))
    # Of one moment what the levels have filled comes first: it is there to be closed.
    moves.sort(key=lambda one: (one[0].time_ms, one[1] is None or one[1].level_index is None))
    for row, order in moves:
        fill = Fill(row.side, row.qty, row.value, row.fee, row.time_ms)
        if order is None:
            whole.other(fill)
            continue
        if order.level_index is not None:
            whole.own(fill)
        else:
            fill = whole.exit(fill)
            shared += row.qty - fill.qty if fill.qty or exits else ZERO
            if not fill.qty:
                continue
        own.append(fill)
        rows.append(replace(row, qty=fill.qty, value=fill.value, fee=fill.fee))
        if order.level_index is not None and order.generation == grid.generation:
            of_level.setdefault(order.level_index, []).append(fill)
        elif order.purpose == grids.GUARD:
            exits.add("its stop")
        elif order.purpose == grids.EXIT:
            exits.add("a target" if order.reason == OrderPurpose.TARGET else _venues_own(row.kind))
    working = [order for order in orders if order.status != grids.DONE]
    at_level = {
        order.level_index: order
        for order in working
        if order.level_index is not None and order.generation == grid.generation
    }
    cells = []
    for level in grids.levels_of(connection, grid):
        carried = Carried(level.carried_qty, level.carried_value, level.carried_fees)
        books = level_books(level.side, of_level.get(level.level_index, []), carried)
        cells.append(Cell(level, books, at_level.get(level.level_index)))
    of_cells = {cell.order.order_link_id for cell in cells if cell.order is not None}
    return Accounts(
        grid=grid,
        cells=cells,
        others=[order for order in working if order.order_link_id not in of_cells],
        orders=orders,
        fills=own,
        rows=rows,
        inventory=whole.inventory,
        foreign=whole.foreign,
        hands=whole.hands,
        shared=shared,
        funding=funding,
        exited=f"the position was closed by {' and '.join(sorted(exits))}" if exits else "",
    )


def _venues_own(kind: FillKind) -> str:
    return "its stop" if kind is FillKind.TRADE else f"a {kind.value}"


def signed(side: Side, qty: Decimal) -> Decimal:
    """A quantity, below 0 where it is sold."""
    return qty if side is Side.BUY else -qty
