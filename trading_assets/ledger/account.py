"""The account in the ledger: fills, positions, closings, equity, reconciliations, risk events. No decisions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.models import (
    DOLLARS,
    Execution,
    FillKind,
    Position,
    Rows,
    Side,
    Transaction,
    TransactionKind,
    Wallet,
)
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import (
    account_transactions,
    closings,
    equity,
    fills,
    positions,
    reconciliations,
    risk_events,
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
    for part in _parts(exec_ids):
        for exec_id, revision, qty, value, fee in connection.execute(
            sa.select(*columns).where(fills.c.exec_id.in_(part))
        ):
            newest, *sums = found.get(exec_id, (-1, Decimal(0), Decimal(0), Decimal(0)))
            found[exec_id] = (max(newest, revision), sums[0] + qty, sums[1] + value, sums[2] + fee)
    return found


def recorded_closings(connection: sa.Connection, order_ids: Sequence[str]) -> dict[str, list[Closing]]:
    """Return the rows of these closing orders, in the order of writing, by order id."""
    columns = [closings.c[field.name] for field in fields(Closing)]
    found: dict[str, list[Closing]] = {}
    for part in _parts(order_ids):
        statement = sa.select(*columns).where(closings.c.order_id.in_(part)).order_by(closings.c.closing_id)
        for row in connection.execute(statement).mappings():
            found.setdefault(row["order_id"], []).append(Closing(**row))
    return found


def closings_of(
    connection: sa.Connection, account: str, symbols: Collection[str], since_ms: int
) -> dict[str, list[Closing]]:
    """Return the rows of the closings of these symbols at or after a time, by order id."""
    ids: list[str] = []
    for part in _parts(sorted(symbols)):
        statement = sa.select(closings.c.order_id).where(
            closings.c.account == account, closings.c.symbol.in_(part), closings.c.closed_ms >= since_ms
        )
        ids += connection.execute(statement.distinct()).scalars().all()
    return recorded_closings(connection, ids)


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


def add_closing(connection: sa.Connection, account: str, closing: Closing) -> None:
    """Add a row of a closing order: all of it, or what has been added to it since."""
    values = {field.name: getattr(closing, field.name) for field in fields(Closing)}
    connection.execute(sa.insert(closings).values(account=account, **values))


def trades(
    connection: sa.Connection, account: str, symbols: Collection[str], since_ms: int
) -> dict[str, list[sa.RowMapping]]:
    """Return what moved the positions of these symbols at or after a time: rows of `fills`, by symbol."""
    moved = [kind.value for kind in FillKind if kind.moves_position]
    found: dict[str, list[sa.RowMapping]] = {}
    for part in _parts(sorted(symbols)):
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


def fill_ids(connection: sa.Connection, account: str, start_ms: int, end_ms: int) -> set[str]:
    """Return the ids of the executions of [start_ms, end_ms) in the ledger."""
    span = fills.c.time_ms.between(start_ms, end_ms - 1)
    return set(connection.execute(sa.select(fills.c.exec_id).where(fills.c.account == account, span)).scalars())


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


def add_transactions(connection: sa.Connection, account: str, rows: Sequence[Transaction]) -> list[Transaction]:
    """Add the rows of the transaction log that the ledger lacks. Return them."""
    held = _known(connection, account_transactions.c.transaction_id, [row.transaction_id for row in rows])
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
    filled, closed = (_known(connection, column, ids) for column in (fills.c.order_id, closings.c.order_id))
    lacking: dict[str, list[str]] = {}
    for (symbol, order_id), closes in orders_of.items():
        if order_id not in filled:
            lacking.setdefault(symbol, []).append(f"the executions of order {order_id}")
        if closes and order_id not in closed:
            lacking.setdefault(symbol, []).append(f"the closing by order {order_id}")
    return lacking


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


def record_episodes(
    connection: sa.Connection, account: str, kind: str, texts: Mapping[str | None, str], time_ms: int
) -> list[str]:
    """Keep what holds now of a kind, by symbol, and end what holds no more. Return the texts that are new."""
    fresh = [text for symbol, text in texts.items() if add_risk_event(connection, account, kind, symbol, text, time_ms)]
    end_risk_events(connection, account, kind, set(texts), time_ms)
    return fresh


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


GONE = "gone"
"""Detail of the event that ends an episode: the same text after it is told again."""


def end_risk_events(
    connection: sa.Connection, account: str, kind: str, still: Collection[str | None], time_ms: int
) -> None:
    """End the episodes of a kind whose symbols are not among `still`: what comes back after this is told again."""
    for symbol in open_risk_events(connection, account, kind):
        if symbol not in still:
            add_risk_event(connection, account, kind, symbol, GONE, time_ms)


def open_risk_events(connection: sa.Connection, account: str, kind: str) -> dict[str | None, str]:
    """Return the details of the episodes of a kind that have not ended, by symbol."""
    newest = (
        sa.select(sa.func.max(risk_events.c.event_id))
        .where(risk_events.c.account == account, risk_events.c.kind == kind)
        .group_by(risk_events.c.symbol)
    )
    statement = sa.select(risk_events.c.symbol, risk_events.c.detail).where(
        risk_events.c.event_id.in_(newest), risk_events.c.detail != GONE
    )
    return {row.symbol: row.detail for row in connection.execute(statement)}


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


def equity_rows(database: Database, account: str) -> pd.DataFrame:
    """Return the snapshots, ascending: time_ms, equity, wallet_balance, available, unrealised_pnl (floats)."""
    columns = ["time_ms", "equity", "wallet_balance", "available", "unrealised_pnl"]
    return _frame(database, equity, columns, equity.c.account == account, equity.c.equity_id)


def closing_rows(database: Database, account: str, since_ms: int = 0) -> pd.DataFrame:
    """Return the closings at or after a time, ascending, money as floats; one row for each order and signal."""
    columns = ["symbol", "position_side", "reason", "qty", "entry_price", "exit_price", "pnl", "fees"]
    columns += ["signal_id", "closed_ms"]
    found = [closing for closing in _all_closings(database, account) if closing.closed_ms >= since_ms]
    values = [[_plain(getattr(closing, name)) for name in columns] for closing in found]
    return pd.DataFrame(values, columns=columns)


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value


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
    values = [[_plain(value) for value in row] for row in rows]
    return pd.DataFrame(values, columns=list(columns))


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many values at a time as a statement takes variables."""
    for start in range(0, len(values), 500):
        yield values[start : start + 500]


def _known(connection: sa.Connection, column: sa.Column[str], values: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for part in _parts(values):
        found.update(connection.execute(sa.select(column).where(column.in_(part))).scalars())
    return found
