"""Order intents in the ledger: the durable record before every order, and its history. No exchange here.

`reserve` is the one gate to an order: its unique constraints let one process through for a signal and one order in a
symbol, on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.exchange.models import Side
from trading_assets.ledger import risk, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import closings, entry_signals, order_events, order_intents

INTENT, SUBMITTED, CONFIRMED = "intent", "submitted", "confirmed"
REJECTED, ABANDONED, UNKNOWN = "rejected", "abandoned", "unknown"
UNRESOLVED = (INTENT, SUBMITTED, UNKNOWN)

_SIGNAL_STATUS = {
    CONFIRMED: signals.EXECUTED,
    REJECTED: signals.REJECTED,
    ABANDONED: signals.FAILED,
}


@dataclass(frozen=True)
class Intent:
    """An order that is to be, or was, placed."""

    order_link_id: str
    signal_id: str
    account: str
    symbol: str
    side: Side
    qty: Decimal
    stop_loss: Decimal
    take_profit: Decimal
    leverage: Decimal
    status: str
    order_id: str | None
    created_ms: int
    touched_wall_ms: int


def reserve(
    database: Database,
    *,
    order_link_id: str,
    signal_id: str,
    account: str,
    symbol: str,
    side: Side,
    qty: Decimal,
    stop_loss: Decimal,
    take_profit: Decimal,
    leverage: Decimal,
    max_open: int,
    now_ms: int,
    wall_ms: int,
) -> bool:
    """Signal active -> executing and the intent, in one transaction.

    False where another was first, `max_open` symbols are occupied already, or the risk guard's state is not ACTIVE.
    """
    claim = (
        sa.update(entry_signals)
        .where(entry_signals.c.signal_id == signal_id, entry_signals.c.status == signals.ACTIVE)
        .values(status=signals.EXECUTING, order_link_id=order_link_id, reason=None)
    )
    intent = sa.insert(order_intents).values(
        order_link_id=order_link_id,
        signal_id=signal_id,
        account=account,
        symbol=symbol,
        side=side.value,
        qty=qty,
        stop_loss=stop_loss,
        take_profit=take_profit,
        leverage=leverage,
        status=INTENT,
        open_slot=f"{account}:{symbol}",
        created_ms=now_ms,
        updated_ms=now_ms,
        touched_wall_ms=wall_ms,
    )
    try:
        with database.write(one_at_a_time=f"orders of {account}") as connection:
            if _occupied(connection, account) >= max_open or not risk.entries_allowed(connection, account, now_ms):
                return False
            if connection.execute(claim).rowcount != 1:
                return False
            connection.execute(intent)
            _record(connection, order_link_id, INTENT, None, now_ms)
    except sa.exc.IntegrityError:
        return False
    return True


def move(
    database: Database,
    order_link_id: str,
    status: str,
    *,
    now_ms: int,
    wall_ms: int,
    reason: str | None = None,
    order_id: str | None = None,
    filled_qty: Decimal | None = None,
    average_price: Decimal | None = None,
) -> None:
    """Change an unresolved intent's status, and its signal's with it; a resolved one stays as it is.

    A rejected or abandoned intent frees its symbol; a confirmed one keeps it until its position is closed.
    """
    values: dict[str, object] = {"status": status, "updated_ms": now_ms, "touched_wall_ms": wall_ms}
    if reason is not None:
        values["reason"] = reason
    if order_id:
        values["order_id"] = order_id
    if status == CONFIRMED:
        values |= {"filled_qty": filled_qty, "average_price": average_price}
    if status in (REJECTED, ABANDONED):
        values["open_slot"] = None
    where = (order_intents.c.order_link_id == order_link_id, order_intents.c.status.in_(UNRESOLVED))
    with database.write() as connection:
        if connection.execute(sa.update(order_intents).where(*where).values(**values)).rowcount != 1:
            return
        _record(connection, order_link_id, status, reason, now_ms)
        signal: dict[str, object] = {}
        if status in _SIGNAL_STATUS:
            signal["status"] = _SIGNAL_STATUS[status]
        if reason is not None:
            signal["reason"] = reason
        if order_id:
            signal["order_id"] = order_id
        if status == CONFIRMED:
            signal |= {
                "executed_at_ms": now_ms,
                "executed_price": float(average_price) if average_price is not None else None,
            }
        if signal:
            connection.execute(
                sa.update(entry_signals).where(entry_signals.c.order_link_id == order_link_id).values(**signal)
            )


def free_slots(connection: sa.Connection, account: str, held: set[str], before_wall_ms: int) -> int:
    """Free the symbols of confirmed intents that hold no position any more; how many.

    Only intents settled before `before_wall_ms`: a position that opened after the books were read is not closed.
    """
    rows = connection.execute(
        sa.select(order_intents.c.order_link_id, order_intents.c.symbol).where(
            order_intents.c.account == account,
            order_intents.c.status == CONFIRMED,
            order_intents.c.open_slot.is_not(None),
            order_intents.c.touched_wall_ms < before_wall_ms,
        )
    ).all()
    closed = [link for link, symbol in rows if symbol not in held]
    if closed:
        connection.execute(
            sa.update(order_intents).where(order_intents.c.order_link_id.in_(closed)).values(open_slot=None)
        )
    return len(closed)


def unresolved(database: Database, account: str) -> list[Intent]:
    """Intents whose outcome is not settled, the oldest first."""
    return _intents(
        database,
        sa.select(order_intents)
        .where(order_intents.c.account == account, order_intents.c.status.in_(UNRESOLVED))
        .order_by(order_intents.c.created_ms, order_intents.c.order_link_id),
    )


def occupying(database: Database, account: str) -> list[Intent]:
    """Intents that keep a symbol occupied: unresolved, or with an open position."""
    return _intents(
        database,
        sa.select(order_intents)
        .where(order_intents.c.account == account, order_intents.c.open_slot.is_not(None))
        .order_by(order_intents.c.symbol),
    )


def opened_by(connection: sa.Connection, account: str, symbol: str, until_ms: int) -> str | None:
    """Signal of the position of ours that a closing at `until_ms` ends; None where we had none open.

    That is the newest confirmed intent of the symbol, unless its position was closed and booked before.
    """
    booked = sa.select(closings.c.order_id).where(closings.c.signal_id == order_intents.c.signal_id).exists()
    return connection.execute(
        sa.select(order_intents.c.signal_id)
        .where(
            order_intents.c.account == account,
            order_intents.c.symbol == symbol,
            order_intents.c.status == CONFIRMED,
            order_intents.c.created_ms <= until_ms,
            order_intents.c.open_slot.is_not(None) | ~booked,
        )
        .order_by(order_intents.c.created_ms.desc())
        .limit(1)
    ).scalar_one_or_none()


def _occupied(connection: sa.Connection, account: str) -> int:
    return connection.execute(
        sa.select(sa.func.count()).where(order_intents.c.account == account, order_intents.c.open_slot.is_not(None))
    ).scalar_one()


def _record(connection: sa.Connection, link: str, status: str, detail: str | None, now_ms: int) -> None:
    connection.execute(sa.insert(order_events).values(order_link_id=link, status=status, detail=detail, time_ms=now_ms))


def _intents(database: Database, statement: sa.Select[tuple[object, ...]]) -> list[Intent]:
    with database.read() as connection:
        rows = connection.execute(statement).mappings().all()
    return [
        Intent(
            order_link_id=row["order_link_id"],
            signal_id=row["signal_id"],
            account=row["account"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            qty=row["qty"],
            stop_loss=row["stop_loss"],
            take_profit=row["take_profit"],
            leverage=row["leverage"],
            status=row["status"],
            order_id=row["order_id"],
            created_ms=row["created_ms"],
            touched_wall_ms=row["touched_wall_ms"],
        )
        for row in rows
    ]
