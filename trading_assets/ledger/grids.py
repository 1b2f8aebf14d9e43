"""Grids in the ledger: the rows of grids, of their levels, and of their orders. No decisions.

A grid owns its symbol, see `ledger.owners`: `open_slot` admits one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.models import FillKind, Side
from trading_assets.ledger.database import Database
from trading_assets.ledger.owners import slot
from trading_assets.ledger.queries import orders_as, recorded
from trading_assets.ledger.tables import fills, grid_levels, grid_orders, grids

RUNNING, PAUSED, BLOCKED, MOVING, STOPPING, ENDED = "running", "paused", "blocked", "moving", "stopping", "ended"
"""States of a grid. Blocked: a person is needed; nothing of it waits at the exchange but its stops. Moving: levels are
taken away to be laid anew."""

OPEN, CLOSE, GUARD, FLATTEN, EXIT = "open", "close", "guard", "flatten", "exit"
"""Purposes of orders. Guard: a conditional order at the stop. Exit: by the venue, with the position."""

_LINK = grid_orders.c.order_link_id

INTENT, UNKNOWN, RESTING, DONE = "intent", "unknown", "resting", "ended"
"""States of an order: reserved; sent, and not known whether it arrived; seen at the exchange; at its end."""


NOTHING_TO_CLOSE = "nothing to close: "
"""How the reason of an order begins that the venue did not take, as there is no position that it could reduce."""


@dataclass(frozen=True)
class Grid:
    """A row of `grids`."""

    grid_id: str
    account: str
    symbol: str
    kind: str
    spacing: str
    low: Decimal
    high: Decimal
    levels: int
    capital: Decimal
    leverage: Decimal
    stop_low: Decimal | None
    stop_high: Decimal | None
    out_of_range: str
    state: str
    reason: str | None
    closes: bool
    wanted: str | None
    generation: int
    worst_value: Decimal
    profit_before: Decimal
    differs_since_wall_ms: int | None
    told: str | None
    read_ms: int
    mark_price: Decimal | None
    created_ms: int
    updated_ms: int
    ended_ms: int | None = None
    evidence: str | None = None


@dataclass(frozen=True)
class LevelRow:
    """A row of `grid_levels`."""

    account: str
    symbol: str
    level_index: int
    grid_id: str
    generation: int
    low: Decimal
    high: Decimal
    side: Side
    qty: Decimal
    takes_first: bool
    carried_qty: Decimal = Decimal(0)
    carried_value: Decimal = Decimal(0)
    carried_fees: Decimal = Decimal(0)
    round: int = 0
    status: str = "vacant"
    held: Decimal = Decimal(0)
    profit: Decimal = Decimal(0)
    round_trips: int = 0
    order_link_id: str | None = None
    tries: int = 0
    retry_ms: int | None = None
    blocked: str | None = None


@dataclass(frozen=True)
class GridOrder:
    """A row of `grid_orders`."""

    order_link_id: str
    grid_id: str
    account: str
    symbol: str
    generation: int
    level_index: int | None
    purpose: str
    round: int
    side: Side
    qty: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    status: str
    order_id: str | None
    filled_qty: Decimal
    cancel: str | None
    reason: str | None
    created_ms: int
    updated_ms: int
    touched_wall_ms: int


@dataclass(frozen=True)
class FillRow:
    """An execution in a grid's symbol since its start; all its revisions together."""

    exec_id: str
    order_id: str
    order_link_id: str
    side: Side
    kind: FillKind
    price: Decimal
    qty: Decimal
    value: Decimal
    fee: Decimal
    time_ms: int


def living(database: Database | sa.Connection, account: str) -> list[Grid]:
    """Return the grids that have not ended, the oldest first."""
    where = (grids.c.account == account, grids.c.open_slot.is_not(None))
    return _grids(database, sa.select(grids).where(*where).order_by(grids.c.created_ms, grids.c.grid_id))


@dataclass(frozen=True)
class Need:
    """A grid, or some of its levels, that waits for a person: why, and what goes on after the person has looked."""

    symbol: str
    why: str
    since_ms: int
    command: str


def needing_a_person(database: Database, account: str) -> list[Need]:
    """Return which of the account's grids wait for a person: they are blocked, or levels of them are."""
    found = []
    for grid in living(database, account):
        command = f"trading-assets grid resume {grid.symbol}"
        if grid.state == BLOCKED:
            found.append(Need(grid.symbol, f"blocked: {grid.reason}", grid.updated_ms, f"{command}, or grid stop"))
            continue
        with database.read() as connection:
            levels = [row for row in levels_of(connection, grid) if row.blocked is not None]
        if levels:
            told = "; ".join(f"level {row.level_index}: {row.blocked}" for row in levels[:3])
            more = f"; and {len(levels) - 3} more" if len(levels) > 3 else ""
            found.append(Need(grid.symbol, told + more, grid.updated_ms, command))
    return found


def between(database: Database | sa.Connection, account: str, start_ms: int, end_ms: int) -> list[Grid]:
    """Return the grids that lived at some time of [start_ms, end_ms), the oldest first."""
    ended = grids.c.ended_ms
    where = (grids.c.account == account, grids.c.created_ms < end_ms, ended.is_(None) | (ended >= start_ms))
    return _grids(database, sa.select(grids).where(*where).order_by(grids.c.created_ms, grids.c.symbol))


def newest(database: Database | sa.Connection, account: str, symbol: str | None = None) -> list[Grid]:
    """Return the newest grid of each symbol, or of one, ended or not, ascending by symbol."""
    statement = sa.select(grids).where(grids.c.account == account).order_by(grids.c.symbol, grids.c.created_ms)
    found = {one.symbol: one for one in _grids(database, statement)}
    return [one for name, one in found.items() if symbol in (None, name)]


def by_id(connection: sa.Connection, grid_id: str) -> Grid:
    (found,) = _grids(connection, sa.select(grids).where(grids.c.grid_id == grid_id))
    return found


def next_id(connection: sa.Connection, account: str, symbol: str) -> str:
    """Return the id of the next grid of a symbol: no two have the same, so that their orders do not either."""
    where = (grids.c.account == account, grids.c.symbol == symbol)
    count = connection.execute(sa.select(sa.func.count()).select_from(grids).where(*where)).scalar_one()
    return f"{account}:{symbol}:{count + 1}"


def add(connection: sa.Connection, grid: Grid, rows: Sequence[LevelRow]) -> None:
    """Write a grid and its levels; those of an earlier grid of the symbol are replaced.

    Raises:
        ConflictError: a grid has the symbol already.
    """
    values = {field.name: getattr(grid, field.name) for field in fields(Grid)}
    connection.execute(sa.insert(grids).values(**values, open_slot=slot(grid.account, grid.symbol)))
    replace_levels(connection, grid, rows)


def replace_levels(connection: sa.Connection, grid: Grid, rows: Sequence[LevelRow]) -> None:
    of_symbol = (grid_levels.c.account == grid.account, grid_levels.c.symbol == grid.symbol)
    connection.execute(sa.delete(grid_levels).where(*of_symbol))
    connection.execute(sa.insert(grid_levels), [_values(row) for row in rows])


def change(connection: sa.Connection, grid_id: str, now_ms: int, *, was: str | None = None, **values: object) -> bool:
    """Change a grid. With `was`, only where it is in that state; return whether it was."""
    where = [grids.c.grid_id == grid_id]
    if was is not None:
        where.append(grids.c.state == was)
    statement = sa.update(grids).where(*where).values(updated_ms=now_ms, **values)
    return connection.execute(statement).rowcount == 1


def levels_of(connection: sa.Connection, grid: Grid) -> list[LevelRow]:
    """Return the levels of a grid, the lowest first; none where a later grid of the symbol has replaced them."""
    where = grid_levels.c.grid_id == grid.grid_id
    statement = sa.select(grid_levels).where(where).order_by(grid_levels.c.level_index)
    rows = connection.execute(statement).mappings()
    return [LevelRow(**{**row, "side": Side(row["side"])}) for row in rows]


def set_level(connection: sa.Connection, row: LevelRow, **values: object) -> None:
    key = (grid_levels.c.grid_id == row.grid_id, grid_levels.c.level_index == row.level_index)
    connection.execute(sa.update(grid_levels).where(*key).values(**values))


def unblock_levels(connection: sa.Connection, grid_id: str) -> None:
    """Let levels that a person was needed for be placed again."""
    freed = sa.update(grid_levels).where(grid_levels.c.grid_id == grid_id)
    connection.execute(freed.values(blocked=None, tries=0, retry_ms=None))


def add_orders(connection: sa.Connection, rows: Sequence[GridOrder]) -> None:
    """Write orders before they are sent.

    Raises:
        ConflictError: one of them was written before.
    """
    if rows:
        connection.execute(sa.insert(grid_orders), [_values(row) for row in rows])


def orders_of(
    connection: sa.Connection, grid_id: str, *, only_working: bool = False, besides: Iterable[str] = ()
) -> list[GridOrder]:
    """Return every order of a grid, or those that have not ended, in the order of their reservation.

    Args:
        besides: links of orders that are wanted whether or not they have ended.
    """
    where = [grid_orders.c.grid_id == grid_id]
    if only_working:
        where.append((grid_orders.c.status != DONE) | _LINK.in_(sorted(besides)))
    return _orders(connection, *where)


def beginning_with(database: Database, text: str) -> list[GridOrder]:
    """Return the orders of grids whose link id or exchange's id begins so, at most two: two are no answer."""
    begins = sa.or_(*(column.startswith(text, autoescape=True) for column in (_LINK, grid_orders.c.order_id)))
    with database.read() as connection:
        return _orders(connection, begins, most=2)


def set_order(connection: sa.Connection, link: str, now_ms: int, wall_ms: int, **values: object) -> None:
    statement = sa.update(grid_orders).where(grid_orders.c.order_link_id == link)
    connection.execute(statement.values(updated_ms=now_ms, touched_wall_ms=wall_ms, **values))


def answer_order(connection: sa.Connection, link: str, now_ms: int, wall_ms: int, **values: object) -> bool:
    """Note what the answer to an order's request says. Return False where more is known of it already: an answer that
    comes late brings no order back.
    """
    statement = sa.update(grid_orders).where(grid_orders.c.order_link_id == link, grid_orders.c.status == INTENT)
    values |= {"updated_ms": now_ms, "touched_wall_ms": wall_ms}
    return connection.execute(statement.values(**values)).rowcount == 1


def ask_to_cancel(connection: sa.Connection, link: str, why: str) -> None:
    """Note that an order is to be cancelled. The time of its last change stays: it tells whether it arrived."""
    statement = sa.update(grid_orders).where(grid_orders.c.order_link_id == link, grid_orders.c.cancel.is_(None))
    connection.execute(statement.values(cancel=why[:500]))


def working_orders(database: Database, account: str) -> list[GridOrder]:
    """Return the orders of the account's grids that have not ended."""
    where = (grid_orders.c.account == account, grid_orders.c.status != DONE)
    with database.read() as connection:
        return _orders(connection, *where)


def count_orders(connection: sa.Connection, account: str) -> int:
    """Return how many orders the account's grids have ever written."""
    count = sa.select(sa.func.count()).select_from(grid_orders).where(grid_orders.c.account == account)
    return int(connection.execute(count).scalar_one())


def links_of(connection: sa.Connection, account: str, purpose: str) -> set[str]:
    """Return the links of all orders of the account's grids with a purpose."""
    where = (grid_orders.c.account == account, grid_orders.c.purpose == purpose)
    return set(connection.execute(sa.select(grid_orders.c.order_link_id).where(*where)).scalars())


def known_links(connection: sa.Connection, account: str, links: Iterable[str]) -> set[str]:
    """Return which of these order link ids are those of grids."""
    return recorded(connection, account, grid_orders.c.order_link_id, sorted(set(links)))


def fills_of(connection: sa.Connection, grid: Grid) -> list[FillRow]:
    """Return what was executed in the grid's symbol from its start to its end, by anybody, ascending."""
    return fills_between(connection, grid.account, grid.symbol, grid.created_ms, grid.ended_ms)


def fills_between(
    connection: sa.Connection, account: str, symbol: str, start_ms: int, end_ms: int | None
) -> list[FillRow]:
    """Return what was executed in a symbol in [start_ms, end_ms], or until now, by anybody, ascending."""
    where = [fills.c.account == account, fills.c.symbol == symbol, fills.c.time_ms >= start_ms]
    if end_ms is not None:
        where.append(fills.c.time_ms <= end_ms)
    statement = sa.select(fills).where(*where).order_by(fills.c.time_ms, fills.c.exec_id, fills.c.revision)
    found: dict[str, FillRow] = {}
    for row in connection.execute(statement).mappings():
        before = found.get(row["exec_id"])
        qty, value, fee = row["qty"], row["value"], row["fee"]
        if before is not None:
            qty, value, fee = qty + before.qty, value + before.value, fee + before.fee
        found[row["exec_id"]] = FillRow(
            exec_id=row["exec_id"],
            order_id=row["order_id"],
            order_link_id=row["order_link_id"],
            side=Side(row["side"]),
            kind=FillKind(row["kind"]),
            price=row["price"],
            qty=qty,
            value=value,
            fee=fee,
            time_ms=row["time_ms"],
        )
    return list(found.values())


def _orders(connection: sa.Connection, *where: sa.ColumnElement[bool], most: int | None = None) -> list[GridOrder]:
    return orders_as(GridOrder, connection, grid_orders, *where, most=most)


def _values(row: LevelRow | GridOrder) -> Mapping[str, object]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _grids(database: Database | sa.Connection, statement: sa.Select[tuple[object, ...]]) -> list[Grid]:
    if isinstance(database, Database):
        with database.read() as connection:
            return _grids(connection, statement)
    names = [field.name for field in fields(Grid)]
    return [Grid(**{name: row[name] for name in names}) for row in database.execute(statement).mappings()]
