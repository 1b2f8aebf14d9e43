"""The account in the ledger: fills, positions, closings, equity, reconciliations, risk events. No decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.models import Execution, FillKind, Position, Wallet
from trading_assets.ledger import risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import closings, equity, fills, positions, reconciliations, risk_events


@dataclass(frozen=True)
class Closing:
    """A position, or a part of one, that was closed. `reason` is stop, target, liquidation or other."""

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
    """Add the executions that the ledger lacks. Return how many."""
    known = _known(connection, fills.c.exec_id, [execution.exec_id for execution in executions])
    new = [
        {
            "exec_id": execution.exec_id,
            "account": account,
            "symbol": execution.symbol,
            "order_id": execution.order_id,
            "order_link_id": execution.order_link_id,
            "side": execution.side.value,
            "exec_type": execution.exec_type,
            "kind": execution.kind.value,
            "price": execution.price,
            "qty": execution.qty,
            "value": execution.value,
            "fee": execution.fee,
            "time_ms": execution.time_ms,
        }
        for execution in executions
        if execution.exec_id not in known
    ]
    if new:
        connection.execute(sa.insert(fills), new)
    return len(new)


def unknown_closings(connection: sa.Connection, order_ids: Sequence[str]) -> set[str]:
    """Return those of the closing orders that the ledger lacks."""
    return set(order_ids) - _known(connection, closings.c.order_id, order_ids)


def add_closing(connection: sa.Connection, account: str, closing: Closing) -> None:
    """Add a closing that the ledger lacks."""
    connection.execute(
        sa.insert(closings).values(
            order_id=closing.order_id,
            account=account,
            symbol=closing.symbol,
            position_side=closing.position_side,
            reason=closing.reason,
            qty=closing.qty,
            entry_price=closing.entry_price,
            exit_price=closing.exit_price,
            pnl=closing.pnl,
            fees=closing.fees,
            signal_id=closing.signal_id,
            closed_ms=closing.closed_ms,
        )
    )


def closed_qty(connection: sa.Connection, account: str, signal_ids: Sequence[str]) -> dict[str, Decimal]:
    """Return the closed quantity of these signals' positions, by signal. Signals without a closing are absent."""
    found: dict[str, Decimal] = {}
    for start in range(0, len(signal_ids), 500):
        some = closings.c.signal_id.in_(signal_ids[start : start + 500])
        statement = sa.select(closings.c.signal_id, closings.c.qty).where(closings.c.account == account, some)
        for signal_id, qty in connection.execute(statement):
            found[signal_id] = found.get(signal_id, Decimal(0)) + qty
    return found


def fill_ids(connection: sa.Connection, account: str, start_ms: int, end_ms: int) -> set[str]:
    """Return the ids of the executions of [start_ms, end_ms) in the ledger."""
    span = fills.c.time_ms.between(start_ms, end_ms - 1)
    return set(connection.execute(sa.select(fills.c.exec_id).where(fills.c.account == account, span)).scalars())


def replace_positions(connection: sa.Connection, account: str, held: Sequence[Position]) -> None:
    """Replace the account's positions."""
    connection.execute(sa.delete(positions).where(positions.c.account == account))
    rows = [
        {
            "account": account,
            "symbol": position.symbol,
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


def add_equity(connection: sa.Connection, account: str, wallet: Wallet, time_ms: int) -> None:
    """Add a snapshot of the account, unless it equals the newest one."""
    newest = _newest_equity(connection, account)
    if newest is not None and (newest.equity, newest.available) == (wallet.equity, wallet.available):
        return
    connection.execute(
        sa.insert(equity).values(
            account=account,
            equity=wallet.equity,
            wallet_balance=wallet.wallet_balance,
            available=wallet.available if wallet.available is not None else Decimal(0),
            unrealised_pnl=wallet.unrealised_pnl,
            peak=max(_peak(connection, account, newest), wallet.equity),
            time_ms=time_ms,
        )
    )


def peak_equity(database: Database, account: str) -> Decimal:
    """Return the highest equity, USD, recorded since a person last accepted a drawdown; 0 where none is recorded."""
    with database.read() as connection:
        return _peak(connection, account, _newest_equity(connection, account))


def _peak(connection: sa.Connection, account: str, newest: sa.Row[Any] | None) -> Decimal:
    if newest is None:
        return Decimal(0)
    accepted = risk.accepted_ms(risk.history(connection, account), risk.Cause.DRAWDOWN)
    return newest.peak if newest.time_ms >= accepted else newest.equity


def _newest_equity(connection: sa.Connection, account: str) -> sa.Row[Any] | None:
    return connection.execute(
        sa.select(equity).where(equity.c.account == account).order_by(equity.c.equity_id.desc()).limit(1)
    ).first()


def add_risk_event(
    connection: sa.Connection, account: str, kind: str, symbol: str | None, detail: str, time_ms: int
) -> bool:
    """Add an event, unless the newest of its kind and symbol has the same detail. Return whether it was added."""
    newest = connection.execute(
        sa.select(risk_events.c.detail)
        .where(
            risk_events.c.account == account,
            risk_events.c.kind == kind,
            risk_events.c.symbol == symbol,
        )
        .order_by(risk_events.c.event_id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if newest == detail:
        return False
    connection.execute(
        sa.insert(risk_events).values(account=account, kind=kind, symbol=symbol, detail=detail, time_ms=time_ms)
    )
    return True


def add_reconciliation(
    connection: sa.Connection,
    account: str,
    *,
    new_fills: int,
    new_closings: int,
    open_positions: int,
    differences: int,
    until_ms: int,
) -> None:
    """Record a reconciliation with the exchange's rows up to `until_ms`."""
    connection.execute(
        sa.insert(reconciliations).values(
            account=account,
            new_fills=new_fills,
            new_closings=new_closings,
            open_positions=open_positions,
            differences=differences,
            until_ms=until_ms,
        )
    )


def reconciled_until_ms(database: Database, account: str) -> int | None:
    """Return the time up to which the last reconciliation read, UTC ms; None before the first."""
    statement = sa.select(sa.func.max(reconciliations.c.until_ms)).where(reconciliations.c.account == account)
    with database.read() as connection:
        return connection.execute(statement).scalar_one_or_none()


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


def own_closings(database: Database, account: str, since_ms: int) -> list[Closing]:
    """Return the closings of positions that this system opened, at or after a time, ascending."""
    statement = (
        sa.select(*(closings.c[field.name] for field in fields(Closing)))
        .where(closings.c.account == account, closings.c.closed_ms >= since_ms, closings.c.signal_id.is_not(None))
        .order_by(closings.c.closed_ms, closings.c.order_id)
    )
    with database.read() as connection:
        return [Closing(**row) for row in connection.execute(statement).mappings()]


def equity_rows(database: Database, account: str) -> pd.DataFrame:
    """Return the snapshots, ascending: time_ms, equity, wallet_balance, available, unrealised_pnl (floats)."""
    columns = ["time_ms", "equity", "wallet_balance", "available", "unrealised_pnl"]
    return _frame(database, equity, columns, equity.c.account == account, equity.c.equity_id)


def closing_rows(database: Database, account: str, since_ms: int = 0) -> pd.DataFrame:
    """Return the closings at or after a time, ascending, money as floats."""
    columns = ["symbol", "position_side", "reason", "qty", "entry_price", "exit_price", "pnl", "fees"]
    where = sa.and_(closings.c.account == account, closings.c.closed_ms >= since_ms)
    return _frame(database, closings, [*columns, "signal_id", "closed_ms"], where, closings.c.closed_ms)


def position_rows(database: Database, account: str) -> pd.DataFrame:
    """Return the open positions of the last reconciliation, money as floats."""
    columns = ["symbol", "side", "size", "entry_price", "mark_price", "leverage", "unrealised_pnl"]
    columns += ["liquidation_price", "stop_loss", "take_profit", "opened_ms"]
    return _frame(database, positions, columns, positions.c.account == account, positions.c.symbol)


def fill_rows(database: Database, account: str, since_ms: int = 0, kind: FillKind | None = None) -> pd.DataFrame:
    """Return the executions at or after a time, of one kind or of every kind, ascending, money as floats."""
    columns = ["exec_id", "symbol", "order_link_id", "side", "exec_type", "kind", "price", "qty", "fee", "time_ms"]
    where = sa.and_(fills.c.account == account, fills.c.time_ms >= since_ms)
    if kind is not None:
        where = sa.and_(where, fills.c.kind == kind.value)
    return _frame(database, fills, columns, where, fills.c.time_ms)


def _frame(
    database: Database,
    table: sa.Table,
    columns: Sequence[str],
    where: sa.ColumnElement[bool],
    order: sa.Column[object],
) -> pd.DataFrame:
    with database.read() as connection:
        rows = connection.execute(sa.select(*(table.c[name] for name in columns)).where(where).order_by(order)).all()
    values = [[float(v) if isinstance(v, Decimal) else v for v in row] for row in rows]
    return pd.DataFrame(values, columns=list(columns))


def _known(connection: sa.Connection, column: sa.Column[str], values: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(values), 500):
        part = values[start : start + 500]
        found.update(connection.execute(sa.select(column).where(column.in_(part))).scalars())
    return found
