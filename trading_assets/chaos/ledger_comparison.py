"""A whole account at the end of a trial: ledger and exchange, row by row and to the cent. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.chaos.invariants import Findings, Foreign, compare
from trading_assets.core.models import ClosedPnl, Execution, FillKind
from trading_assets.core.ports import Exchange
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import closings, fills

CENT = Decimal("0.01")
NO_FOREIGN = Foreign({}, {})


def compare_all(database: Database, exchange: Exchange, account: str, since_ms: int, deposit: Decimal) -> Findings:
    """The laws of `chaos.invariants`, and besides: every closing and its PnL, every funding payment, and the balance.

    Args:
        since_ms: when the account was opened with `deposit`.
    """
    found = compare(database, exchange, account, NO_FOREIGN, since_ms)
    until_ms = exchange.now_ms() + 1
    executions, closed = exchange.executions(since_ms, until_ms), exchange.closed_pnl(since_ms, until_ms)
    with database.read() as connection:
        booked_fills = list(connection.execute(sa.select(fills).where(fills.c.account == account)).mappings())
        booked = list(connection.execute(sa.select(closings).where(closings.c.account == account)).mappings())
        held = {intent.order_link_id for intent in orders.confirmed(connection, account)}
    _fills(found, executions, booked_fills)
    _closings(found, closed, booked)
    explained = deposit + sum((row["pnl"] for row in booked), Decimal(0))
    for row in booked_fills:
        if row["kind"] == FillKind.FUNDING or (row["order_link_id"] in held and row["kind"] == FillKind.TRADE):
            explained -= row["fee"]
    balance = exchange.wallet().wallet_balance
    if abs(balance - explained) > CENT:
        found.mismatches.append(f"the balance is {balance}, deposit, closings and funding give {explained}")
    return found


def _fills(found: Findings, executions: Sequence[Execution], booked: list[sa.RowMapping]) -> None:
    there = {one.exec_id: (one.symbol, one.price, one.qty, one.fee) for one in executions}
    for row in booked:
        values = (row["symbol"], row["price"], row["qty"], row["fee"])
        if row["exec_id"] in there and there[row["exec_id"]] != values:
            found.mismatches.append(f"fill {row['exec_id']} is {values}, at the exchange {there[row['exec_id']]}")


def _closings(found: Findings, closed: Sequence[ClosedPnl], booked: list[sa.RowMapping]) -> None:
    there = {one.order_id: (one.symbol, one.qty, one.exit_price, one.pnl) for one in closed}
    here = {row["order_id"]: (row["symbol"], row["qty"], row["exit_price"], row["pnl"]) for row in booked}
    for order_id in sorted(there.keys() | here.keys()):
        if there.get(order_id) != here.get(order_id):
            found.mismatches.append(
                f"closing {order_id} is {here.get(order_id)}, at the exchange {there.get(order_id)}"
            )
    unknown = Counter(row["symbol"] for row in booked if row["signal_id"] is None)
    found.orphans += [f"{count} closings of {symbol} belong to no signal" for symbol, count in unknown.items()]
