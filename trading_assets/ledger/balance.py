"""The account's money: snapshots of its equity, its transaction log, and what the log does not explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.models import (
    DOLLARS,
    Transaction,
    TransactionKind,
    Wallet,
)
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.queries import frame_of, recorded
from trading_assets.ledger.tables import (
    account_transactions,
    closings,
    equity,
    fills,
)

UNEXPLAINED_WAIT_MS = 2 * 60_000
"""So long a change of the balance that the transaction log does not explain is taken for money that was paid in or
out, and the log for late. After that it is a gain or a loss, and a difference."""

UNEXPLAINED_KEPT_MS = 24 * HOUR_MS
"""So long it is told."""


@dataclass(frozen=True)
class Unexplained:
    """What changed the balance of dollars beyond the transaction log.

    Attributes:
        amount: USD; above 0 where the balance has more than the log tells. It is no error for a moment: the exchange
            shows the balance and the log at different times.
        since_ms: since when there has been one, UTC ms; None where there is none.
    """

    amount: Decimal = Decimal(0)
    since_ms: int | None = None

    def then(self, amount: Decimal, now_ms: int) -> Unexplained:
        """The remainder at a later moment. One that was told for long is accepted."""
        if not amount:
            return Unexplained()
        since_ms = now_ms if self.since_ms is None else min(self.since_ms, now_ms)
        return Unexplained() if now_ms - since_ms >= UNEXPLAINED_KEPT_MS else Unexplained(amount, since_ms)

    def is_late(self, now_ms: int) -> bool:
        """Whether the log had its time to explain it."""
        return self.since_ms is not None and now_ms - self.since_ms >= UNEXPLAINED_WAIT_MS

    def taken_for_paid(self, now_ms: int) -> Decimal:
        """The part that is taken for money paid in or out."""
        return Decimal(0) if self.is_late(now_ms) else self.amount


def add_equity(
    connection: sa.Connection, account: str, wallet: Wallet, time_ms: int, *, logged: Sequence[Transaction] = ()
) -> Unexplained:
    """Add a snapshot of the account, unless it equals the newest one. Return what the log does not explain.

    Money that was neither earned nor lost moves the peak. Balance and log become visible at different times: a change
    of the balance that the log has not yet, or one of the log that the balance has not yet, is taken for money paid in
    or out for `UNEXPLAINED_WAIT_MS`.

    Args:
        logged: rows of the transaction log that are new to the ledger.
    """
    newest = _newest_equity(connection, account)
    # Free margin that the exchange does not tell now is the one it told last.
    available = wallet.available
    if available is None:
        available = newest.available if newest is not None else Decimal(0)
    before, after, paid = Unexplained(), Unexplained(), Decimal(0)
    dollars = wallet.dollars()
    if newest is not None:
        before = Unexplained(newest.unexplained, newest.unexplained_since_ms)
        first_ms = _first_ms(connection, account)
        new = [row for row in logged if row.coin in DOLLARS and row.time_ms >= first_ms]
        paid = sum((row.change for row in new if row.kind is TransactionKind.TRANSFER), Decimal(0))
        if newest.dollars is not None:
            # A balance that is not told now is the one told last; what the log has of it meanwhile is in the remainder.
            dollars = newest.dollars if dollars is None else dollars
            explained = sum((row.change for row in new), Decimal(0))
            after = before.then(before.amount + dollars - newest.dollars - explained, time_ms)
            paid += after.taken_for_paid(time_ms) - before.taken_for_paid(newest.time_ms)
    if (
        newest is not None
        and not paid
        and after == before
        and (newest.equity, newest.available, newest.dollars) == (wallet.equity, available, dollars)
    ):
        return after
    connection.execute(
        sa.insert(equity).values(
            account=account,
            equity=wallet.equity,
            wallet_balance=wallet.wallet_balance,
            available=available,
            unrealised_pnl=wallet.unrealised_pnl,
            peak=max(_peak(connection, account, newest) + paid, wallet.equity),
            transferred=paid,
            dollars=dollars,
            unexplained=after.amount,
            unexplained_since_ms=after.since_ms,
            time_ms=time_ms,
        )
    )
    return after


def _first_ms(connection: sa.Connection, account: str) -> int:
    """When the account was read first, with its balance of dollars if that was ever told: earlier rows are in it."""
    of_account = sa.select(sa.func.min(equity.c.time_ms)).where(equity.c.account == account)
    first = connection.execute(of_account.where(equity.c.dollars.is_not(None))).scalar()
    return int(first if first is not None else connection.execute(of_account).scalar() or 0)


def newest_equity(connection: sa.Connection, account: str) -> Decimal:
    """Return the equity of the newest snapshot, USD; 0 before the first."""
    newest = _newest_equity(connection, account)
    return Decimal(0) if newest is None else Decimal(newest.equity)


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


def newest_snapshot_ms(database: Database, account: str) -> int | None:
    """Return the venue's time of the newest snapshot, UTC ms; None before the first."""
    with database.read() as connection:
        newest = _newest_equity(connection, account)
    return None if newest is None else int(newest.time_ms)


def equity_rows(database: Database, account: str) -> pd.DataFrame:
    """Return the snapshots, ascending: time_ms, equity, wallet_balance, available, unrealised_pnl (floats)."""
    columns = ["time_ms", "equity", "wallet_balance", "available", "unrealised_pnl"]
    return frame_of(database, equity, columns, equity.c.account == account, equity.c.equity_id)


def equity_since(database: Database, account: str, after_id: int) -> list[tuple[int, int, float, float]]:
    """Snapshots after one, ascending: id, UTC ms, equity, and what was paid in or out since the one before, USD."""
    columns = (equity.c.equity_id, equity.c.time_ms, equity.c.equity, equity.c.transferred)
    statement = sa.select(*columns).where(equity.c.account == account, equity.c.equity_id > after_id)
    with database.read() as connection:
        rows = connection.execute(statement.order_by(equity.c.equity_id))
        return [(row[0], row[1], float(row[2]), float(row[3])) for row in rows]


def add_transactions(connection: sa.Connection, account: str, rows: Sequence[Transaction]) -> list[Transaction]:
    """Add the rows of the transaction log that the ledger lacks. Return them."""
    held = recorded(connection, account, account_transactions.c.transaction_id, [row.transaction_id for row in rows])
    new = list({row.transaction_id: row for row in rows if row.transaction_id not in held}.values())
    values = [
        {
            "account": account,
            "transaction_id": row.transaction_id,
            "kind": row.kind.value,
            "word": row.word[:64],
            "coin": row.coin,
            "symbol": row.symbol,
            "change": row.change,
            "balance": row.balance,
            "fee": row.fee,
            "funding": row.funding,
            "order_id": row.order_id,
            "time_ms": row.time_ms,
        }
        for row in new
    ]
    if values:
        connection.execute(sa.insert(account_transactions), values)
    return new


def untold_trades(connection: sa.Connection, account: str, since_ms: int, until_ms: int) -> dict[str, list[str]]:
    """Return orders that the transaction log has traded and another list has not, by symbol: what lacks of each.

    An order of which a trade has paid out a profit or a loss has closed something, so it has a closing.
    """
    log = account_transactions
    traded = sa.select(log.c.symbol, log.c.order_id, log.c.change, log.c.fee, log.c.funding).where(
        log.c.account == account,
        log.c.kind.in_(
            [kind.value for kind in (TransactionKind.TRADE, TransactionKind.LIQUIDATION, TransactionKind.ADL)]
        ),
        log.c.order_id != "",
        log.c.time_ms.between(since_ms, until_ms),
    )
    orders_of: dict[tuple[str, str], bool] = {}
    for row in connection.execute(traded):
        closes = row.change + row.fee - row.funding != 0
        orders_of[row.symbol, row.order_id] = orders_of.get((row.symbol, row.order_id), False) or closes
    ids = [order_id for _, order_id in orders_of]
    columns = (fills.c.order_id, closings.c.order_id)
    filled, closed = (recorded(connection, account, column, ids) for column in columns)
    lacking: dict[str, list[str]] = {}
    for (symbol, order_id), closes in orders_of.items():
        if order_id not in filled:
            lacking.setdefault(symbol, []).append(f"the executions of order {order_id}")
        if closes and order_id not in closed:
            lacking.setdefault(symbol, []).append(f"the closing by order {order_id}")
    return lacking
