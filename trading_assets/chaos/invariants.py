"""What must hold between ledger and exchange after every recovery, counted. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.models import ClosedPnl, Execution, FillKind, OrderPurpose, Position
from trading_assets.core.ports import Exchange
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import closings, entry_signals, fills, order_intents, positions
from trading_assets.trading.saga.transitions import STATES


@dataclass
class Findings:
    """Broken laws, each as a sentence; empty lists are what is wanted."""

    duplicates: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unprotected: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    entries: set[str] = field(default_factory=set)
    """exchange ids of all entry orders that were filled"""

    @property
    def broken(self) -> list[str]:
        return [*self.duplicates, *self.orphans, *self.unprotected, *self.mismatches, *self.foreign]


@dataclass(frozen=True)
class Foreign:
    """What is not this system's and must stay as it is: position sizes and open orders by symbol."""

    sizes: Mapping[str, Decimal]
    orders: Mapping[str, str]


def compare(database: Database, exchange: Exchange, account: str, foreign: Foreign, since_ms: int) -> Findings:
    """Hold the ledger against the exchange; executions from `since_ms` on."""
    found = Findings()
    held = {position.symbol: position for position in exchange.positions()}
    executions = exchange.executions(since_ms, exchange.now_ms() + 1)
    _foreign(found, exchange, held, foreign)
    ours = {symbol: position for symbol, position in held.items() if symbol not in foreign.sizes}
    with database.read() as connection:
        intents = {row["order_link_id"]: dict(row) for row in connection.execute(_all_intents(account)).mappings()}
        booked = list(connection.execute(sa.select(positions).where(positions.c.account == account)).mappings())
        known = set(connection.execute(sa.select(fills.c.exec_id).where(fills.c.time_ms >= since_ms)).scalars())
    _entries(found, [row for row in executions if exchange.order_ids.is_entry(row.order_link_id)], intents)
    _positions(found, ours, intents)
    found.mismatches += [
        f"{link} is still {intent['status']}"
        for link, intent in intents.items()
        if intent["status"] in orders.UNRESOLVED
    ]
    found.mismatches += [
        f"signal of {link} is {intent['signal_status']}, its order {intent['status']}"
        for link, intent in intents.items()
        if intent["signal_status"] != STATES[intent["status"]].signal
    ]
    in_ledger = {row["symbol"]: (row["side"], row["size"], row["stop_loss"]) for row in booked}
    at_exchange = {name: (each.side.value, each.size, each.stop_loss) for name, each in held.items()}
    if in_ledger != at_exchange:
        found.mismatches.append(f"the ledger holds {in_ledger}, the exchange {at_exchange}")
    executed = {execution.exec_id for execution in executions}
    if executed != known:
        found.mismatches.append(f"fills of one side only: {sorted(executed ^ known)}")
    return found


def _all_intents(account: str) -> sa.Select[tuple[object, ...]]:
    return (
        sa.select(order_intents, entry_signals.c.status.label("signal_status"))
        .join(entry_signals, entry_signals.c.signal_id == order_intents.c.signal_id)
        .where(order_intents.c.account == account)
    )


def _foreign(found: Findings, exchange: Exchange, held: Mapping[str, Position], foreign: Foreign) -> None:
    for symbol, size in foreign.sizes.items():
        position = held.get(symbol)
        if position is None or position.size != size or position.stop_loss is not None:
            found.foreign.append(f"the foreign position of {symbol} was touched: {position}, it was {size}")
    open_orders = exchange.open_orders()
    waiting = {order.order_id: order.symbol for order in open_orders if order.purpose is OrderPurpose.ORDINARY}
    if waiting != dict(foreign.orders):
        found.foreign.append(f"foreign orders were {foreign.orders}, now {waiting} are open")


def _entries(found: Findings, executions: Sequence[Execution], intents: Mapping[str, dict[str, object]]) -> None:
    by_link: dict[str, list[Execution]] = defaultdict(list)
    for execution in executions:
        by_link[execution.order_link_id].append(execution)
    for link, rows in by_link.items():
        placed = {row.order_id for row in rows}
        found.entries |= placed
        intent = intents.get(link)
        if intent is None or intent["status"] not in (orders.CONFIRMED, orders.CLOSED):
            found.orphans.append(f"order {link} was filled, its intent is {intent and intent['status']}")
            continue
        qty = sum((row.qty for row in rows), Decimal(0))
        if len(placed) > 1 or qty > intent["qty"]:  # type: ignore[operator]
            found.duplicates.append(f"{link} has {len(placed)} orders of {qty} in all, wanted {intent['qty']}")
        if qty != intent["filled_qty"]:
            found.mismatches.append(f"{link} filled {qty}, the ledger says {intent['filled_qty']}")


def _positions(found: Findings, ours: Mapping[str, Position], intents: Mapping[str, dict[str, object]]) -> None:
    open_intents = {str(row["symbol"]): row for row in intents.values() if row["status"] == orders.CONFIRMED}
    for symbol, position in ours.items():
        intent = open_intents.get(symbol)
        if position.stop_loss is None:
            found.unprotected.append(f"{symbol} {position.side.value} {position.size} has no stop")
        if intent is None:
            found.orphans.append(f"{symbol} {position.size} is open, no intent of ours is")
        elif position.size > intent["filled_qty"]:  # type: ignore[operator]
            found.duplicates.append(f"{symbol} holds {position.size}, its order filled {intent['filled_qty']}")
    found.mismatches += [
        f"{symbol} is open in the ledger, not at the exchange" for symbol in open_intents if symbol not in ours
    ]


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
