"""Writes down what is seen of a grid: fills, ends of orders, what its venue has closed, whether the position agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from trading_assets.core.messages import Severity
from trading_assets.core.models import CancelledBy, FillKind, Order, OrderStatus, Side
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger import grids
from trading_assets.ledger.grids import Grid, GridOrder
from trading_assets.trading.grid.accounting import Accounts, accounts_of
from trading_assets.trading.grid.levels import ZERO
from trading_assets.trading.grid.one_pass import LETTERS, Pass, grid_order_row
from trading_assets.trading.grid.planning import View
from trading_assets.trading.grid.reading import Seen
from trading_assets.trading.kept import (
    BY_THE_VENUE,
    DIFFERS_MS,
    FORGOTTEN_AFTER_MS,
    LOST_AFTER_MS,
    UNKNOWN,
    ending,
    unknown_orders,
    why_stopped,
)


class Booking:
    """The books of a pass."""

    def __init__(self, one: Pass) -> None:
        self._pass, self._context = one, one.context

    def observe(self, grid: Grid, seen: Seen) -> tuple[View, Accounts, list[GridOrder]]:
        """Write down what is seen, in one transaction. Return what is decided on."""
        context = self._context
        with context.database.write(one_at_a_time=f"books of {grid.account}") as connection:
            self._pass.guard(connection)
            grid = grids.by_id(connection, grid.grid_id)
            self._pass.report.fills += execution_ledger.add_fills(connection, grid.account, seen.executions)
            self._note_exits(connection, grid, seen)
            for order in grids.orders_of(connection, grid.grid_id, only_working=True, besides=seen.orders):
                self._follow(connection, grid, order, seen)
            accounts = accounts_of(connection, grid)
            differs = self._compare(connection, grid, accounts, seen)
            grid = grids.by_id(connection, grid.grid_id)
            self._note_levels(connection, accounts)
            unknown = self._unknown(connection, grid, seen)
            grids.change(connection, grid.grid_id, seen.now_ms, read_ms=seen.now_ms, mark_price=seen.market.last)
        now_wall = context.wall_ms()
        since = grid.differs_since_wall_ms
        view = View(
            grid=grid,
            cells=accounts.cells,
            others=accounts.others,
            market=seen.market,
            inventory=accounts.inventory,
            position=seen.position,
            is_settled=not differs,
            now_ms=seen.now_ms,
            exited=accounts.exited,
            stopped=why_stopped(context, seen.instrument, seen.now_ms),
            is_gone=since is not None
            and now_wall - since >= 2 * DIFFERS_MS
            and (seen.position is None or (seen.position.side is Side.BUY) != (accounts.inventory > 0)),
            room=480 - seen.waiting,
            is_listed=seen.instrument is not None,
            unguarded=_unguarded(accounts.orders, seen),
            unknown=unknown,
        )
        return view, accounts, accounts.orders

    def _unknown(self, connection: sa.Connection, grid: Grid, seen: Seen) -> list[str]:
        """Orders of grids in its symbol of which the ledger has no row: told once, until there is none."""
        found = unknown_orders(self._context.exchange.order_ids, seen.orders, seen.position, LETTERS.values())
        known = grids.known_links(connection, grid.account, found) if found else set[str]()
        unknown = [link for link in found if link not in known]
        if unknown and grid.told != UNKNOWN:
            grids.change(connection, grid.grid_id, seen.now_ms, told=UNKNOWN)
            text = f"{UNKNOWN}: {len(unknown)} in {grid.symbol}, cancelled now. Was the ledger restored from a backup?"
            self._pass.tell(connection, f"grid {grid.symbol}", text, seen.now_ms, Severity.CRITICAL)
        elif not unknown and grid.told == UNKNOWN:
            grids.change(connection, grid.grid_id, seen.now_ms, told=None)
        return unknown

    def _note_exits(self, connection: sa.Connection, grid: Grid, seen: Seen) -> None:
        """Keep which orders of the venue have closed the position: its stop, a liquidation, a settlement."""
        rows = {}
        for row in seen.executions:
            is_its_own = row.purpose.is_protective or row.kind not in (FillKind.TRADE, FillKind.OTHER)
            if not row.kind.moves_position or not is_its_own or row.order_link_id:
                continue
            name = (row.order_id or row.exec_id)[:36]
            rows[name] = grid_order_row(grid, name, grids.EXIT, row.side, row.qty, seen.now_ms, self._context.wall_ms())
            reason = row.purpose.value if row.purpose.is_protective else row.kind.value
            rows[name] = replace(rows[name], status=grids.DONE, order_id=row.order_id or row.exec_id, reason=reason)
        known = grids.known_links(connection, grid.account, rows)
        grids.add_orders(connection, [row for name, row in rows.items() if name not in known])

    def _follow(self, connection: sa.Connection, grid: Grid, order: GridOrder, seen: Seen) -> None:
        """Bring one order up to what is seen of it."""
        shown = seen.orders.get(order.order_link_id)
        wall_ms = self._context.wall_ms()

        def note(**values: object) -> None:
            grids.set_order(connection, order.order_link_id, seen.now_ms, wall_ms, **values)

        if order.status == grids.DONE:
            if shown is not None and not shown.status.is_final and order.purpose != grids.EXIT:
                note(status=grids.RESTING, order_id=shown.order_id, cancel="it had been given up, and came after all")
            return
        if shown is None:
            waited = wall_ms - order.touched_wall_ms
            is_new = order.status in (grids.INTENT, grids.UNKNOWN)
            if seen.instrument is None:
                note(status=grids.DONE, reason="its contract is not listed any more")
            elif waited < 0:
                note()  # the clock was set back: it is waited for from now on
            elif is_new and waited >= LOST_AFTER_MS:
                note(status=grids.DONE, reason="it never reached the exchange")
            elif not is_new and waited >= FORGOTTEN_AFTER_MS:
                note(status=grids.DONE, reason="it is not shown any more, and nothing of it was filled")
            return
        if not shown.status.is_final:
            if shown.filled_qty < order.filled_qty:
                return  # a list that lags
            if order.status != grids.RESTING or shown.filled_qty != order.filled_qty:
                note(status=grids.RESTING, order_id=shown.order_id, filled_qty=shown.filled_qty)
                if order.purpose == grid.told == grids.GUARD:
                    grids.change(connection, grid.grid_id, seen.now_ms, told=None)
            is_changed = shown.price != order.price or (shown.qty != order.qty and order.purpose == grids.OPEN)
            if is_changed and order.cancel is None and order.price is not None:
                text = f"somebody else, or the exchange, has changed it from {order.qty} at {order.price}"
                note(cancel=f"{text} to {shown.qty} at {shown.price}")
            return
        booked, _ = execution_ledger.filled_by(connection, grid.account, order.order_link_id)
        if booked < shown.filled_qty:
            return  # its executions are not all shown yet
        note(status=grids.DONE, order_id=shown.order_id, filled_qty=booked, reason=ending(shown))
        self._after_end(connection, grid, order, shown, seen.now_ms)

    def _after_end(self, connection: sa.Connection, grid: Grid, order: GridOrder, shown: Order, now_ms: int) -> None:
        """What the end of an order means to its level, or to the grid."""
        by = shown.cancelled_by
        if shown.status is not OrderStatus.FILLED and by in BY_THE_VENUE and grid.state != grids.STOPPING:
            text = f"the exchange has cancelled its orders {by.value if by else ''}: nothing more is placed"
            self._pass.block(connection, grid, text, now_ms)
        if order.level_index is None:
            return
        row = next((one for one in grids.levels_of(connection, grid) if one.level_index == order.level_index), None)
        if row is None or row.generation != order.generation:
            return
        if shown.status is OrderStatus.FILLED or order.cancel is not None:
            grids.set_level(connection, row, tries=0, retry_ms=None)
        elif by is CancelledBy.REQUEST:
            text = f"level {row.level_index}: somebody else has cancelled its order; it is not placed again"
            grids.set_level(connection, row, blocked="its order was cancelled by somebody else")
            self._pass.tell(
                connection, f"grid {grid.symbol}", f"{text}: trading-assets grid resume {grid.symbol}", now_ms
            )
        elif by is None or not by.may_be_placed_anew:
            reason = shown.reject_reason.value if shown.reject_reason is not None else shown.venue_reason
            self._pass.count_try(connection, grid, row, reason or "it ended at once", now_ms)

    def _compare(self, connection: sa.Connection, grid: Grid, accounts: Accounts, seen: Seen) -> bool:
        """Whether the position is not what the fills of the grid come to; told when it lasts."""
        held = ZERO
        if seen.position is not None:
            held = seen.position.size if seen.position.side is Side.BUY else -seen.position.size
        is_loose = bool(accounts.loose) and not accounts.exited and grid.state != grids.STOPPING
        if held == accounts.inventory and not accounts.foreign and not is_loose:
            if grid.differs_since_wall_ms is not None:
                grids.change(connection, grid.grid_id, seen.now_ms, differs_since_wall_ms=None)
            return False
        wall_ms = self._context.wall_ms()
        since = grid.differs_since_wall_ms
        if since is None or since > wall_ms:  # a clock that was set back begins anew
            grids.change(connection, grid.grid_id, seen.now_ms, differs_since_wall_ms=wall_ms)
        elif wall_ms - since >= DIFFERS_MS and grid.state in (grids.RUNNING, grids.PAUSED, grids.MOVING):
            text = f"the exchange holds {held}, the fills of the grid come to {accounts.inventory}"
            if accounts.foreign:
                text += f", and somebody else has traded {accounts.foreign} in {grid.symbol}"
            if is_loose:
                text += f", and {accounts.loose} of it belongs to no level"
            self._pass.block(connection, grid, f"{text}: nothing of it waits any more but its stops", seen.now_ms)
        return True

    def _note_levels(self, connection: sa.Connection, accounts: Accounts) -> None:
        """Keep what a reader of the table wants to see, where it has changed."""
        for cell in accounts.cells:
            row, books = cell.row, cell.books
            link = cell.order.order_link_id if cell.order is not None else None
            now = (cell.status, books.held, books.profit, books.round_trips, link)
            if now != (row.status, row.held, row.profit, row.round_trips, row.order_link_id):
                names = ("status", "held", "profit", "round_trips", "order_link_id")
                grids.set_level(connection, row, **dict(zip(names, now, strict=True)))


def _unguarded(orders: Sequence[GridOrder], seen: Seen) -> frozenset[Side]:
    """Sides of which nothing is held, and whose newest conditional reduce-only order the venue did not take, or did not
    keep, for that.
    """
    found = set()
    for side in Side:
        is_held = seen.position is not None and seen.position.side is side
        guards = [one for one in orders if one.purpose == grids.GUARD and one.side is side.opposite]
        if guards and not is_held and guards[-1].status == grids.DONE:
            why = guards[-1].reason or ""
            if why.startswith(grids.NOTHING_TO_CLOSE) or CancelledBy.REDUCE_ONLY.value in why:
                found.add(side)
    return frozenset(found)
