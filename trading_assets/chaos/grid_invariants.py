"""What must hold between the books of a grid and the exchange whenever nothing moves (R1 to R18 of docs/grid.md), found
apart from the grid's own code: from executions, open orders and the position. Reads only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from trading_assets.chaos.findings import Findings
from trading_assets.core.models import Execution, FillKind, Instrument, Order, Position, Side
from trading_assets.core.ports import Exchange
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.ledger.grids import Grid, GridOrder, LevelRow
from trading_assets.trading.grid.accounting import accounts_of

ZERO = Decimal(0)
CENT_8 = Decimal("1e-8")


def compare_grid(found: Findings, database: Database, exchange: Exchange, grid: Grid, *, rests: bool = True) -> None:
    """Hold one grid against the exchange.

    Args:
        rests: passes have come to an end: it is not on its way, and nobody else trades its contract.
    """
    name = f"grid {grid.grid_id}"
    open_orders = exchange.open_orders(grid.symbol)
    rows = exchange.executions(grid.created_ms, (grid.ended_ms or exchange.now_ms()) + 1)
    executions = [row for row in rows if row.symbol == grid.symbol]
    position = exchange.position(grid.symbol)
    with database.read() as connection:
        orders = grids.orders_of(connection, grid.grid_id)
        levels = grids.levels_of(connection, grid)
        accounts = accounts_of(connection, grid)
    by_link = {order.order_link_id: order for order in orders}
    mine = [row for row in open_orders if row.order_link_id in by_link]
    _one_order(found, name, grid, mine, by_link, executions)
    _known(found, name, exchange, open_orders, by_link, orders, rests=rests)
    _inside(found, name, grid, mine, by_link)
    _never_meet(found, name, mine)
    own = [row for row in executions if row.order_link_id in by_link]
    profit = grid.profit_before
    for level in levels:
        followed = follow_level(level, orders, own)
        profit += followed.profit
        if followed.most > max(level.qty, level.carried_qty):
            found.grid_duplicates.append(f"{name}: level {level.level_index} held {followed.most}, wished {level.qty}")
    sums = accounts.sums(grid.mark_price or ZERO)
    if abs(profit - sums.grid_profit) > CENT_8 * max(len(own), 1):
        found.grid_profit.append(f"{name}: its matched pairs earned {profit}, the books say {sums.grid_profit}")
    if rests and not accounts.foreign and not accounts.shared:
        _in_step(found, name, grid, executions, position, accounts.inventory, accounts.fills)
        cash = sum((_cash(row) for row in executions), ZERO) - sum((row.fee for row in executions), ZERO)
        held = sum((_signed(row) for row in executions if row.kind.moves_position), ZERO)
        if cash + held * (grid.mark_price or ZERO) != sums.total:
            found.grid_profit.append(f"{name}: money changed by {cash} and {held} coins, the books say {sums.total}")
        if accounts.loose and not accounts.exited and grid.state not in (grids.ENDED, grids.STOPPING):
            found.grid_inventory.append(f"{name}: {accounts.loose} belong to no level")
        _protected(found, name, grid, position, mine, by_link)


def _one_order(
    found: Findings,
    name: str,
    grid: Grid,
    mine: Sequence[Order],
    by_link: Mapping[str, GridOrder],
    executions: Sequence[Execution],
) -> None:
    """R1, R2, R13: one order a level, of this generation, filled no further than it was wished."""
    levels = Counter(by_link[row.order_link_id].level_index for row in mine if row.trigger_price is None)
    found.grid_duplicates += [
        f"{name}: level {level} has {count} orders at the exchange"
        for level, count in levels.items()
        if level is not None and count > 1
    ]
    of_round = Counter(
        (one.generation, one.level_index, one.round) for one in by_link.values() if one.level_index is not None
    )
    found.grid_duplicates += [f"{name}: {key} has {count} orders" for key, count in of_round.items() if count > 1]
    found.grid_duplicates += [
        f"{name}: {row.order_link_id} of generation {by_link[row.order_link_id].generation} waits still"
        for row in mine
        if by_link[row.order_link_id].level_index is not None
        and by_link[row.order_link_id].generation != grid.generation
    ]
    filled: dict[str, Decimal] = defaultdict(Decimal)
    ids: dict[str, set[str]] = defaultdict(set)
    for row in executions:
        if row.order_link_id in by_link:
            filled[row.order_link_id] += row.qty
            ids[row.order_link_id].add(row.order_id)
    for link, qty in filled.items():
        if qty > by_link[link].qty or len(ids[link]) > 1:
            found.grid_duplicates.append(
                f"{name}: {link} filled {qty} in {len(ids[link])} orders, wished {by_link[link].qty}"
            )


def _known(
    found: Findings,
    name: str,
    exchange: Exchange,
    open_orders: Sequence[Order],
    by_link: Mapping[str, GridOrder],
    orders: Sequence[GridOrder],
    *,
    rests: bool,
) -> None:
    """R5: what waits with our mark is in the ledger as not ended, and the reverse."""
    for row in open_orders:
        if exchange.order_ids.is_ours(row.order_link_id):
            known = by_link.get(row.order_link_id)
            if known is None or (rests and known.status == grids.DONE):
                found.orphans.append(
                    f"{name}: order {row.order_link_id} waits, the ledger has {known and known.status}"
                )
    waiting = {row.order_link_id for row in open_orders}
    found.mismatches += [
        f"{name}: order {one.order_link_id} is {one.status} in the ledger, and does not wait at the exchange"
        for one in orders
        if rests and one.status != grids.DONE and one.purpose != grids.EXIT and one.order_link_id not in waiting
    ]


def _inside(found: Findings, name: str, grid: Grid, mine: Sequence[Order], by_link: Mapping[str, GridOrder]) -> None:
    """No opening order beyond the bounds. A closing one that would take waits a tick beyond the market instead."""
    found.beyond_bounds += [
        f"{name}: {row.order_link_id} waits at {row.price}, beyond {grid.low} and {grid.high}"
        for row in mine
        if row.price is not None
        and by_link[row.order_link_id].purpose == grids.OPEN
        and by_link[row.order_link_id].generation == grid.generation
        and by_link[row.order_link_id].cancel is None
        and not grid.low * Decimal("0.999") <= row.price <= grid.high * Decimal("1.001")
    ]


def _never_meet(found: Findings, name: str, mine: Sequence[Order]) -> None:
    """R10."""
    buys = [row.price for row in mine if row.side is Side.BUY and row.price and row.trigger_price is None]
    sells = [row.price for row in mine if row.side is Side.SELL and row.price and row.trigger_price is None]
    if buys and sells and max(buys) >= min(sells):
        found.self_trades.append(f"{name}: it buys at {max(buys)} and sells at {min(sells)}")


def traded_with_itself(executions: Sequence[Execution]) -> list[str]:
    """R10 among what was filled: two sides of one contract by orders of ours at one moment, price and quantity, one of
    them as maker.
    """
    seen: dict[tuple[str, int, Decimal, Decimal], list[Execution]] = defaultdict(list)
    for row in executions:
        if row.kind is FillKind.TRADE and row.order_link_id:
            seen[row.symbol, row.time_ms, row.price, row.qty].append(row)
    return [
        f"{symbol}: {[row.order_link_id for row in rows]} traded with each other at {price}"
        for (symbol, _, price, _), rows in seen.items()
        if len({row.side for row in rows}) > 1 and any(row.is_maker for row in rows)
    ]


def _in_step(
    found: Findings,
    name: str,
    grid: Grid,
    executions: Sequence[Execution],
    position: Position | None,
    inventory: Decimal,
    fills: Sequence[object],
) -> None:
    """R3, R4: inventory, executions and position are one number."""
    held = ZERO if position is None else position.size if position.side is Side.BUY else -position.size
    by_executions = sum((_signed(row) for row in executions if row.kind.moves_position), ZERO)
    count = sum(row.kind.moves_position for row in executions)
    if grid.state == grids.ENDED:
        held = by_executions  # what is in the contract now is not this grid's
    if not held == by_executions == inventory or count != len(fills):
        found.grid_inventory.append(
            f"{name}: the position is {held}, {count} executions come to {by_executions}, the books have {inventory} "
            f"of {len(fills)}"
        )


def _protected(
    found: Findings,
    name: str,
    grid: Grid,
    position: Position | None,
    mine: Sequence[Order],
    by_link: Mapping[str, GridOrder],
) -> None:
    """R11: what is held has its stop, and each side that may open has its conditional order in front."""
    if grid.state == grids.ENDED:
        return
    if position is not None:
        stop = grid.stop_low if position.side is Side.BUY else grid.stop_high
        if position.stop_loss != stop:
            found.unprotected.append(f"{name}: {position.size} has the stop {position.stop_loss}, expected {stop}")
    guards = {row.side.opposite for row in mine if by_link[row.order_link_id].purpose == grids.GUARD}
    opening = {row.side for row in mine if by_link[row.order_link_id].purpose == grids.OPEN}
    if opening - guards:
        found.unprotected.append(f"{name}: it opens {sorted(opening)} with guards of {sorted(guards)} alone")


class Followed(NamedTuple):
    """A level by its executions: profit of its matched pairs, less the fees of both sides, and the most it held."""

    profit: Decimal
    most: Decimal


def follow_level(level: LevelRow, orders: Sequence[GridOrder], executions: Sequence[Execution]) -> Followed:
    """Follow a level at the average, in full precision."""
    links = {
        order.order_link_id
        for order in orders
        if (order.level_index, order.generation) == (level.level_index, level.generation)
    }
    held, value, fees = level.carried_qty, level.carried_value, level.carried_fees
    profit, most = ZERO, held
    sign = 1 if level.side is Side.BUY else -1
    rows = [row for row in executions if row.order_link_id in links]
    for row in sorted(rows, key=lambda one: (one.time_ms, one.side is not level.side)):
        if row.side is level.side:
            held, value, fees = held + row.qty, value + row.value, fees + row.fee
            most = max(most, held)
        else:
            part = row.qty / held
            profit += sign * (row.value - value * part) - fees * part - row.fee
            held, value, fees = held - row.qty, value - value * part, fees - fees * part
    return Followed(profit, most)


def left_of_ended(connection: sa.Connection, exchange: Exchange, grid: Grid) -> list[str]:
    """R12: orders that are open of a grid that has ended."""
    mine = {order.order_link_id for order in grids.orders_of(connection, grid.grid_id)}
    return [
        f"grid {grid.grid_id} has ended, and {row.order_link_id} waits"
        for row in exchange.open_orders(grid.symbol)
        if row.order_link_id in mine
    ]


def tradable(instruments: Sequence[Instrument], last: Mapping[str, Decimal]) -> list[Instrument]:
    """Contracts whose tick is fine enough for a narrow grid."""
    return [row for row in instruments if row.tick_size / last[row.symbol] < Decimal("0.0002")]


def _signed(row: Execution) -> Decimal:
    return row.qty if row.side is Side.BUY else -row.qty


def _cash(row: Execution) -> Decimal:
    if not row.kind.moves_position:
        return ZERO
    return row.value if row.side is Side.SELL else -row.value
