"""What was executed: fills, and the closings of positions. No decisions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.models import (
    Execution,
    FillKind,
    Side,
)
from trading_assets.ledger.database import Database
from trading_assets.ledger.queries import frame_of, in_parts, plain
from trading_assets.ledger.tables import (
    closings,
    fills,
)


@dataclass(frozen=True)
class Closing:
    """A position, or a part of one, that was closed.

    Attributes:
        reason: stop, target, liquidation, adl, settlement, session (nothing was closed: quantity 0) or other.
        signal_id: whose position it was; None where it was not ours.
    """

    order_id: str
    symbol: str
    position_side: str
    reason: str
    qty: Decimal
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    fees: Decimal
    signal_id: str | None
    closed_ms: int


def add_fills(connection: sa.Connection, account: str, executions: Sequence[Execution]) -> int:
    """Add the executions that the ledger lacks, and what the exchange has changed since. Return how many rows.

    A row that is known by its id is compared in full: the difference is added as its next revision.
    """
    held = _fill_totals(connection, [execution.exec_id for execution in executions])
    new = []
    for execution in executions:
        revision, qty, value, fee = held.get(execution.exec_id, (-1, Decimal(0), Decimal(0), Decimal(0)))
        if revision >= 0 and (qty, value, fee) == (execution.qty, execution.value, execution.fee):
            continue
        new.append(
            {
                "exec_id": execution.exec_id,
                "revision": revision + 1,
                "account": account,
                "symbol": execution.symbol,
                "order_id": execution.order_id,
                "order_link_id": execution.order_link_id,
                "side": execution.side.value,
                "exec_type": execution.exec_type[:24],
                "kind": execution.kind.value,
                "price": execution.price,
                "qty": execution.qty - qty,
                "value": execution.value - value,
                "fee": execution.fee - fee,
                "time_ms": execution.time_ms,
            }
        )
    if new:
        connection.execute(sa.insert(fills), new)
    return len(new)


def _fill_totals(
    connection: sa.Connection, exec_ids: Sequence[str]
) -> dict[str, tuple[int, Decimal, Decimal, Decimal]]:
    """Newest revision, quantity, value and fee of executions in the ledger, all revisions together, by id."""
    columns = (fills.c.exec_id, fills.c.revision, fills.c.qty, fills.c.value, fills.c.fee)
    found: dict[str, tuple[int, Decimal, Decimal, Decimal]] = {}
    for part in in_parts(exec_ids):
        for exec_id, revision, qty, value, fee in connection.execute(
            sa.select(*columns).where(fills.c.exec_id.in_(part))
        ):
            newest, *sums = found.get(exec_id, (-1, Decimal(0), Decimal(0), Decimal(0)))
            found[exec_id] = (max(newest, revision), sums[0] + qty, sums[1] + value, sums[2] + fee)
    return found


def fill_ids(connection: sa.Connection, account: str, start_ms: int, end_ms: int) -> set[str]:
    """Return the ids of the executions of [start_ms, end_ms) in the ledger."""
    span = fills.c.time_ms.between(start_ms, end_ms - 1)
    return set(connection.execute(sa.select(fills.c.exec_id).where(fills.c.account == account, span)).scalars())


def filled_by(connection: sa.Connection, account: str, order_link_id: str) -> tuple[Decimal, Decimal]:
    """Return quantity, in coins, and value, USDT, of what an order has filled, as far as the ledger has it."""
    statement = sa.select(fills.c.qty, fills.c.value).where(
        fills.c.account == account,
        fills.c.order_link_id == order_link_id,
        fills.c.kind == FillKind.TRADE.value,
    )
    rows = connection.execute(statement).all()
    return sum((row.qty for row in rows), Decimal(0)), sum((row.value for row in rows), Decimal(0))


def fees_of(connection: sa.Connection, exec_ids: Sequence[str]) -> Decimal:
    """Return the sum of the fees of these executions in the ledger, funding included, USD."""
    return sum((fee for *_, fee in _fill_totals(connection, exec_ids).values()), Decimal(0))


def trades(
    connection: sa.Connection, account: str, symbols: Collection[str], since_ms: int
) -> dict[str, list[sa.RowMapping]]:
    """Return what moved the positions of these symbols at or after a time: rows of `fills`, by symbol."""
    moved = [kind.value for kind in FillKind if kind.moves_position]
    found: dict[str, list[sa.RowMapping]] = {}
    for part in in_parts(sorted(symbols)):
        statement = sa.select(fills).where(
            fills.c.account == account,
            fills.c.symbol.in_(part),
            fills.c.time_ms >= since_ms,
            fills.c.kind.in_(moved),
        )
        for row in connection.execute(statement).mappings():
            found.setdefault(row["symbol"], []).append(row)
    return found


def opened_at(
    connection: sa.Connection, account: str, symbol: str, side: Side, qty: Decimal
) -> tuple[Decimal, Decimal] | None:
    """Return the average price and the fees of the newest fills of a side that come to a quantity.

    None where the ledger has fewer.
    """
    statement = (
        sa.select(fills.c.qty, fills.c.price, fills.c.fee)
        .where(
            fills.c.account == account,
            fills.c.symbol == symbol,
            fills.c.side == side.value,
            fills.c.kind == FillKind.TRADE.value,
        )
        .order_by(fills.c.time_ms.desc(), fills.c.exec_id, fills.c.revision.desc())
    )
    left, value, fees = qty, Decimal(0), Decimal(0)
    for filled, price, fee in connection.execute(statement):
        if filled > 0 and left > 0:
            part = min(filled, left)
            left, value, fees = left - part, value + part * price, fees + fee * part / filled
    return (value / qty, fees) if qty > 0 and left <= 0 else None


def fill_rows(database: Database, account: str, since_ms: int = 0, kind: FillKind | None = None) -> pd.DataFrame:
    """Return the executions at or after a time, of one kind or of every kind, ascending, money as floats."""
    columns = ["exec_id", "symbol", "order_link_id", "side", "exec_type", "kind", "price", "qty", "fee", "time_ms"]
    where = sa.and_(fills.c.account == account, fills.c.time_ms >= since_ms)
    if kind is not None:
        where = sa.and_(where, fills.c.kind == kind.value)
    return frame_of(database, fills, columns, where, fills.c.time_ms)


def add_closing(connection: sa.Connection, account: str, closing: Closing) -> None:
    """Add a row of a closing order: all of it, or what has been added to it since."""
    values = {field.name: getattr(closing, field.name) for field in fields(Closing)}
    connection.execute(sa.insert(closings).values(account=account, **values))


def recorded_closings(connection: sa.Connection, order_ids: Sequence[str]) -> dict[str, list[Closing]]:
    """Return the rows of these closing orders, in the order of writing, by order id."""
    columns = [closings.c[field.name] for field in fields(Closing)]
    found: dict[str, list[Closing]] = {}
    for part in in_parts(order_ids):
        statement = sa.select(*columns).where(closings.c.order_id.in_(part)).order_by(closings.c.closing_id)
        for row in connection.execute(statement).mappings():
            found.setdefault(row["order_id"], []).append(Closing(**row))
    return found


def closings_of(
    connection: sa.Connection, account: str, symbols: Collection[str], since_ms: int
) -> dict[str, list[Closing]]:
    """Return the rows of the closings of these symbols at or after a time, by order id."""
    ids: list[str] = []
    for part in in_parts(sorted(symbols)):
        statement = sa.select(closings.c.order_id).where(
            closings.c.account == account, closings.c.symbol.in_(part), closings.c.closed_ms >= since_ms
        )
        ids += connection.execute(statement.distinct()).scalars().all()
    return recorded_closings(connection, ids)


def own_closings(database: Database, account: str, since_ms: int) -> list[Closing]:
    """Return the closings of positions that this system opened, at or after a time, ascending; one for each order."""
    return [
        closing
        for closing in _all_closings(database, account, closings.c.signal_id.is_not(None))
        if closing.closed_ms >= since_ms
    ]


def _all_closings(database: Database, account: str, *where: sa.ColumnElement[bool]) -> list[Closing]:
    """The account's closings, ascending; what was added to an order's row later is added up."""
    columns = [closings.c[field.name] for field in fields(Closing)]
    statement = sa.select(*columns).where(closings.c.account == account, *where).order_by(closings.c.closing_id)
    with database.read() as connection:
        rows = [Closing(**row) for row in connection.execute(statement).mappings()]
    found: dict[tuple[str, str | None], Closing] = {}
    for row in rows:
        key = (row.order_id, row.signal_id)
        found[key] = added(found[key], row) if key in found else row
    return sorted(found.values(), key=lambda closing: (closing.closed_ms, closing.order_id))


def added(first: Closing, later: Closing) -> Closing:
    """Return two rows of an order as one: quantities and money added, prices averaged by quantity."""
    qty = first.qty + later.qty

    def averaged(name: str) -> Decimal:
        one, other = getattr(first, name), getattr(later, name)
        return (one * first.qty + other * later.qty) / qty if qty else Decimal(other)

    return replace(
        later,
        qty=qty,
        entry_price=averaged("entry_price"),
        exit_price=averaged("exit_price"),
        pnl=first.pnl + later.pnl,
        fees=first.fees + later.fees,
        closed_ms=max(first.closed_ms, later.closed_ms),
    )


def closing_rows(database: Database, account: str, since_ms: int = 0) -> pd.DataFrame:
    """Return the closings at or after a time, ascending, money as floats; one row for each order and signal."""
    columns = ["symbol", "position_side", "reason", "qty", "entry_price", "exit_price", "pnl", "fees"]
    columns += ["signal_id", "closed_ms"]
    found = [closing for closing in _all_closings(database, account) if closing.closed_ms >= since_ms]
    values = [[plain(getattr(closing, name)) for name in columns] for closing in found]
    return pd.DataFrame(values, columns=columns)


def exits_since(connection: sa.Connection, account: str, since_ms: int) -> Sequence[Any]:
    """Return `symbol`, `signal_id`, `reason` and `closed_ms` of the rows of closings at or after a time; several of an
    order that was filled in parts. No data frame: orders wait for it."""
    columns = (closings.c.symbol, closings.c.signal_id, closings.c.reason, closings.c.closed_ms)
    statement = sa.select(*columns).where(closings.c.account == account, closings.c.closed_ms >= since_ms)
    return connection.execute(statement).all()


def realised(database: Database, account: str, since_ms: int) -> Decimal:
    """Return the PnL of closings at or after a time, less the funding paid since then, USD."""
    closed = sa.select(closings.c.pnl).where(closings.c.account == account, closings.c.closed_ms >= since_ms)
    paid = sa.select(fills.c.fee).where(
        fills.c.account == account, fills.c.time_ms >= since_ms, fills.c.kind == FillKind.FUNDING.value
    )
    with database.read() as connection:
        return sum(connection.execute(closed).scalars(), Decimal(0)) - sum(
            connection.execute(paid).scalars(), Decimal(0)
        )
