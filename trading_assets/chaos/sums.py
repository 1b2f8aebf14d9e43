"""Sums of money since an account was opened: every fill, fee and closing, whose it was, and the wallet. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.chaos.findings import Findings
from trading_assets.chaos.truth import ZERO, Truth
from trading_assets.core.models import ClosedPnl, Execution
from trading_assets.core.ports import Exchange
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import account_transactions, closings, fills, order_intents

Rows = Sequence[sa.RowMapping]


def compare_sums(
    database: Database, exchange: Exchange, account: str, truth: Truth, since_ms: int, deposit: Decimal
) -> Findings:
    """Every fill and its fee, every closing with its PnL and whose it was, and the wallet by the transaction log.

    Args:
        truth: of all executions since then.
        since_ms: when the account was opened with `deposit`.
    """
    found = Findings()
    until_ms = exchange.now_ms() + 1
    executions, closed = exchange.executions(since_ms, until_ms), exchange.closed_pnl(since_ms, until_ms)
    log = exchange.transactions(since_ms, until_ms)
    with database.read() as connection:
        booked_fills = list(connection.execute(sa.select(fills).where(fills.c.account == account)).mappings())
        booked = list(connection.execute(sa.select(closings).where(closings.c.account == account)).mappings())
        moved = list(
            connection.execute(
                sa.select(account_transactions).where(account_transactions.c.account == account)
            ).mappings()
        )
        links = {
            str(signal): str(link)
            for signal, link in connection.execute(sa.select(order_intents.c.signal_id, order_intents.c.order_link_id))
        }
    _fills(found, executions, booked_fills)
    _closings(found, closed, booked)
    _shares(found, closed, booked, truth, links)
    theirs = {row.transaction_id: row.change for row in log}
    here = {row["transaction_id"]: row["change"] for row in moved}
    if theirs != here:
        found.sums.append(
            f"the transaction log moves {sum(theirs.values(), ZERO)} in {len(theirs)} rows, the ledger has "
            f"{sum(here.values(), ZERO)} in {len(here)}"
        )
    explained = deposit + sum(here.values(), ZERO)
    explained -= sum((row["change"] for row in moved if _is_deposit(row, deposit)), ZERO)
    balance = exchange.wallet().wallet_balance
    if balance != explained:
        found.sums.append(f"the balance is {balance}, deposit and transactions of the ledger give {explained}")
    return found


def _is_deposit(row: sa.RowMapping, deposit: Decimal) -> bool:
    return row["kind"] == "transfer" and row["change"] == deposit == row["balance"]


def _fills(found: Findings, executions: Sequence[Execution], booked: Rows) -> None:
    there = {one.exec_id: (one.qty, one.value, one.fee) for one in executions}
    here: dict[str, tuple[Decimal, ...]] = {}
    for row in booked:
        before = here.get(str(row["exec_id"]), (ZERO, ZERO, ZERO))
        here[str(row["exec_id"])] = tuple(
            one + row[name] for one, name in zip(before, ("qty", "value", "fee"), strict=True)
        )
    found.sums += [
        f"fill {exec_id} is {values}, at the exchange {there[exec_id]}"
        for exec_id, values in here.items()
        if exec_id in there and there[exec_id] != values
    ]


def _closings(found: Findings, closed: Sequence[ClosedPnl], booked: Rows) -> None:
    there = {one.order_id: (one.symbol, one.qty, one.pnl, one.open_fee + one.close_fee) for one in closed}
    here: dict[str, tuple[str, Decimal, Decimal, Decimal]] = {}
    for order_id, rows in _by_order(booked):
        qty, pnl, fees = (sum((Decimal(row[name]) for row in rows), ZERO) for name in ("qty", "pnl", "fees"))
        here[order_id] = (str(rows[0]["symbol"]), qty, pnl, fees)
    for order_id in sorted(there.keys() | here.keys()):
        if there.get(order_id) != here.get(order_id):
            found.sums.append(f"closing {order_id} is {here.get(order_id)}, at the exchange {there.get(order_id)}")


def _shares(found: Findings, closed: Sequence[ClosedPnl], booked: Rows, truth: Truth, links: Mapping[str, str]) -> None:
    there = {row.order_id for row in closed}
    unknown: Counter[str] = Counter()
    for order_id, rows in _by_order(booked):
        here: dict[str | None, Decimal] = defaultdict(Decimal)
        for row in rows:
            signal = row["signal_id"]
            here[None if signal is None else links.get(str(signal), str(signal))] += row["qty"]
        wanted = truth.shares.get(order_id, {})
        if order_id in there and {link: qty for link, qty in here.items() if qty} != dict(wanted):
            symbol = rows[0]["symbol"]
            found.misattributed.append(f"closing {order_id} of {symbol} is booked as {dict(here)}, it was {wanted}")
            if here[None] and None not in wanted:
                unknown[str(symbol)] += 1
    found.orphans += [f"{count} closings of {symbol} belong to no signal" for symbol, count in unknown.items()]


def _by_order(booked: Rows) -> Iterator[tuple[str, list[sa.RowMapping]]]:
    rows: dict[str, list[sa.RowMapping]] = defaultdict(list)
    for row in booked:
        rows[str(row["order_id"])].append(row)
    yield from rows.items()
