"""What the account holds, and up to when it was compared with the exchange: positions, reconciliations."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.models import (
    Position,
    Rows,
)
from trading_assets.ledger.database import Database
from trading_assets.ledger.queries import frame_of
from trading_assets.ledger.tables import (
    positions,
    reconciliations,
)


def replace_positions(connection: sa.Connection, account: str, held: Rows[Position]) -> None:
    """Replace the account's positions. Of a symbol whose row cannot be read, the last known one stays."""
    of_account = positions.c.account == account
    known = connection.execute(sa.select(positions.c.symbol).where(of_account)).scalars().unique().all()
    listed = {position.symbol for position in held}
    gone = [symbol for symbol in known if symbol in listed or not held.may_hide(symbol)]
    connection.execute(sa.delete(positions).where(of_account, positions.c.symbol.in_(gone)))
    rows = [
        {
            "account": account,
            "symbol": position.symbol,
            "position_idx": position.position_idx,
            "side": position.side.value,
            "size": position.size,
            "entry_price": position.entry_price,
            "mark_price": position.mark_price,
            "leverage": position.leverage,
            "unrealised_pnl": position.unrealised_pnl,
            "liquidation_price": position.liquidation_price,
            "stop_loss": position.stop_loss,
            "take_profit": position.take_profit,
            "opened_ms": position.opened_ms,
            "updated_ms": position.updated_ms,
        }
        for position in held
    ]
    if rows:
        connection.execute(sa.insert(positions), rows)


def levels(database: Database, account: str, symbol: str) -> tuple[Decimal | None, Decimal | None] | None:
    """Return stop and target of a one-way position as the books were read last; None where it was not open then."""
    statement = sa.select(positions.c.stop_loss, positions.c.take_profit).where(
        positions.c.account == account, positions.c.symbol == symbol, positions.c.position_idx == 0
    )
    with database.read() as connection:
        row = connection.execute(statement).first()
    return None if row is None else (row.stop_loss, row.take_profit)


def hidden_exposure(database: Database, account: str, shown: Rows[Position]) -> dict[str, Decimal]:
    """Return the last known value of positions whose rows cannot be read now, USD by symbol."""
    if not shown.unreadable:
        return {}
    listed = {position.symbol for position in shown}
    hidden: dict[str, Decimal] = {}
    with database.read() as connection:
        for row in connection.execute(sa.select(positions).where(positions.c.account == account)):
            if row.symbol not in listed and shown.may_hide(row.symbol):
                hidden[row.symbol] = hidden.get(row.symbol, Decimal(0)) + row.size * row.mark_price
    return hidden


def position_rows(database: Database, account: str) -> pd.DataFrame:
    """Return the open positions of the last reconciliation, money as floats."""
    columns = ["symbol", "side", "size", "entry_price", "mark_price", "leverage", "unrealised_pnl"]
    columns += ["liquidation_price", "stop_loss", "take_profit", "opened_ms"]
    return frame_of(database, positions, columns, positions.c.account == account, positions.c.symbol)


def add_reconciliation(
    connection: sa.Connection,
    account: str,
    *,
    new_fills: int,
    new_closings: int,
    open_positions: int,
    differences: int,
    until_ms: int,
    growing_since_ms: int | None = None,
) -> None:
    """Record a reconciliation with the exchange's rows up to `until_ms`; since when rows may still grow, if any."""
    connection.execute(
        sa.insert(reconciliations).values(
            account=account,
            new_fills=new_fills,
            new_closings=new_closings,
            open_positions=open_positions,
            differences=differences,
            until_ms=until_ms,
            growing_since_ms=growing_since_ms,
        )
    )


def growing_since_ms(database: Database, account: str) -> int | None:
    """Return since when rows may have grown after the last reconciliation, UTC ms; None where no such are known."""
    table = reconciliations.c
    statement = (
        sa.select(table.growing_since_ms)
        .where(table.account == account)
        .order_by(table.reconciliation_id.desc())
        .limit(1)
    )
    with database.read() as connection:
        return connection.execute(statement).scalar_one_or_none()


def reconciled_until_ms(database: Database, account: str) -> int | None:
    """Return the time up to which the last reconciliation read, UTC ms; None before the first."""
    statement = sa.select(sa.func.max(reconciliations.c.until_ms)).where(reconciliations.c.account == account)
    with database.read() as connection:
        return connection.execute(statement).scalar_one_or_none()
