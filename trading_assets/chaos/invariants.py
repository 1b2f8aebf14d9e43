"""What must hold between ledger and exchange after every recovery, counted. Reads only.

The exchange is asked while it is truthful. What is whose is known from `chaos.truth`, not from the ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.chaos.truth import ZERO, Truth
from trading_assets.core.models import ClosedPnl, Execution, OrderPurpose, Position, Side
from trading_assets.core.ports import Exchange
from trading_assets.ledger import orders, signals
from trading_assets.ledger.account import GONE
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import (
    account_transactions,
    closings,
    entry_signals,
    fills,
    order_intents,
    positions,
    risk_events,
)
from trading_assets.trading.saga.transitions import STATES

Rows = Sequence[sa.RowMapping]


@dataclass
class Findings:
    """Broken laws, each as a sentence; empty lists are what is wanted."""

    duplicates: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unprotected: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    wrong_levels: list[str] = field(default_factory=list)
    """intents, orders and positions that are not what their signal says: side, quantity, stop, target, leverage"""
    misattributed: list[str] = field(default_factory=list)
    """closings of which another part is booked as ours than was"""
    silent: list[str] = field(default_factory=list)
    """what differs and is not told, or is told and no longer differs"""
    sums: list[str] = field(default_factory=list)
    """money of which ledger and exchange have different sums"""
    entries: set[str] = field(default_factory=set)
    """exchange ids of all entry orders that were filled"""

    @property
    def broken(self) -> list[str]:
        return [text for name in LAWS for text in getattr(self, name)]


LAWS = (
    "duplicates",
    "orphans",
    "unprotected",
    "mismatches",
    "foreign",
    "wrong_levels",
    "misattributed",
    "silent",
    "sums",
)


@dataclass(frozen=True)
class Foreign:
    """What is not this system's and must stay as it is: position sizes and open orders by symbol."""

    sizes: Mapping[str, Decimal]
    orders: Mapping[str, str]


Levels = Mapping[str, tuple[Decimal | None, Decimal | None]]
"""Stop and target that a person has set on a position of ours, by symbol."""


def compare(
    database: Database,
    exchange: Exchange,
    account: str,
    truth: Truth,
    foreign: Foreign,
    since_ms: int,
    moved: Levels | None = None,
) -> Findings:
    """Hold the ledger against the exchange; executions from `since_ms` on.

    Args:
        truth: of all executions of the account; those since `since_ms` are fed into it.
        moved: stops and targets of ours that a person has moved and that may stay so.
    """
    found, moved = Findings(), moved or {}
    executions = exchange.executions(since_ms, exchange.now_ms() + 1)
    truth.feed(executions)
    held = list(exchange.positions())
    waiting = _foreign(found, exchange, held, foreign, truth)
    with database.read() as connection:
        intents = {row["order_link_id"]: dict(row) for row in connection.execute(_all_intents(account)).mappings()}
        booked = list(connection.execute(sa.select(positions).where(positions.c.account == account)).mappings())
        known = set(connection.execute(sa.select(fills.c.exec_id).where(fills.c.time_ms >= since_ms)).scalars())
        told = _told(connection, account)
    _entries(found, [row for row in executions if exchange.order_ids.is_entry(row.order_link_id)], intents)
    for link, intent in intents.items():
        _as_signalled(found, link, intent)
    ours = {each.symbol: each for each in held if not each.position_idx and truth.left(each.symbol)}
    _positions(found, ours, intents, truth, moved)
    for each in held:
        explained = each.symbol in ours or each.symbol in foreign.sizes or each.symbol in truth.hedged
        if not explained and not truth.foreign.get(each.symbol):
            found.orphans.append(f"{each.symbol} {each.size} is open, no intent of ours is")
    found.mismatches += [
        f"{link} is still {intent['status']}"
        for link, intent in intents.items()
        if intent["status"] in orders.UNRESOLVED
    ]
    found.mismatches += [
        f"signal of {link} is {intent['signal_status']}, its order {intent['status']}"
        for link, intent in intents.items()
        if intent["signal_status"] not in _signal_states(intent["status"])
    ]
    in_ledger = {(row["symbol"], row["position_idx"]): (row["side"], row["size"], row["stop_loss"]) for row in booked}
    at_exchange = {(each.symbol, each.position_idx): (each.side.value, each.size, each.stop_loss) for each in held}
    if in_ledger != at_exchange:
        found.mismatches.append(f"the ledger holds {in_ledger}, the exchange {at_exchange}")
    executed = {execution.exec_id for execution in executions}
    if executed != known:
        found.mismatches.append(f"fills of one side only: {sorted(executed ^ known)}")
    _silence(found, told, held, ours, intents, truth, waiting)
    return found


def _all_intents(account: str) -> sa.Select[tuple[object, ...]]:
    wanted = ("status", "position_type", "stop_loss", "take_profit", "position_size", "leverage")
    return (
        sa.select(order_intents, *(entry_signals.c[name].label(f"signal_{name}") for name in wanted))
        .join(entry_signals, entry_signals.c.signal_id == order_intents.c.signal_id)
        .where(order_intents.c.account == account)
    )


def _signal_states(status: object) -> set[str]:
    """What the signal of an intent may be; that of an abandoned one was put back, and may have ended since."""
    usual = STATES[str(status)].signal
    put_back = {signals.ACTIVE, signals.EXPIRED, signals.REJECTED} if status == orders.ABANDONED else set[str]()
    return {usual, *put_back}


def _told(connection: sa.Connection, account: str) -> dict[str | None, str]:
    """Differences whose episode lasts, by symbol."""
    rows = connection.execute(
        sa.select(risk_events.c.symbol, risk_events.c.detail)
        .where(risk_events.c.account == account, risk_events.c.kind == "difference")
        .order_by(risk_events.c.event_id)
    )
    return {symbol: detail for symbol, detail in {row.symbol: row.detail for row in rows}.items() if detail != GONE}


def _foreign(found: Findings, exchange: Exchange, held: Sequence[Position], foreign: Foreign, truth: Truth) -> set[str]:
    """Symbols in which orders of others wait."""
    by_symbol = {each.symbol: each for each in held}
    for symbol, size in foreign.sizes.items():
        position = by_symbol.get(symbol)
        if position is None or position.size != size or position.stop_loss is not None:
            found.foreign.append(f"the foreign position of {symbol} was touched: {position}, it was {size}")
    for each in held:
        if each.symbol not in foreign.sizes and not truth.left(each.symbol) and each.stop_loss is not None:
            found.foreign.append(f"{each.symbol} {each.side.value} {each.size} is a person's, and has a stop now")
    open_orders = [order for order in exchange.open_orders() if order.purpose is OrderPurpose.ORDINARY]
    waiting = {order.order_id: order.symbol for order in open_orders}
    # What a person closes fills in parts, and its order is open until then.
    if not set(foreign.orders.items()) <= set(waiting.items()):
        found.foreign.append(f"foreign orders were {foreign.orders}, now {waiting} are open")
    found.foreign += truth.taken
    truth.taken.clear()
    return {order.symbol for order in open_orders if not exchange.order_ids.is_ours(order.order_link_id)}


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
        qty = sum((row.qty for row in rows), ZERO)
        if len(placed) > 1 or qty > intent["qty"]:  # type: ignore[operator]
            found.duplicates.append(f"{link} has {len(placed)} orders of {qty} in all, wanted {intent['qty']}")
        if qty != intent["filled_qty"]:
            found.mismatches.append(f"{link} filled {qty}, the ledger says {intent['filled_qty']}")
        _worth(found, link, intent, rows, qty)


SIZE_TOLERANCE = Decimal("0.2")
"""A quantity is rounded to its step and filled at another price than its signal had."""


def _as_signalled(found: Findings, link: str, intent: Mapping[str, object]) -> None:
    """Whether an intent, sent or not, is that of its signal."""
    wanted = Side.BUY if intent["signal_position_type"] == "LONG" else Side.SELL
    if intent["side"] != wanted.value:
        found.wrong_levels.append(f"{link} is {intent['side']}, its signal {intent['signal_position_type']}")
    for name in ("stop_loss", "take_profit", "leverage"):
        signalled = Decimal(str(intent[f"signal_{name}"]))
        if intent[name] != signalled:
            found.wrong_levels.append(f"{link} has {name} {intent[name]}, its signal {signalled}")


def _worth(found: Findings, link: str, intent: Mapping[str, object], rows: Sequence[Execution], qty: Decimal) -> None:
    if any(row.side.value != intent["side"] for row in rows):
        found.wrong_levels.append(f"{link} was filled on another side than {intent['side']}")
    value = sum((row.value for row in rows), ZERO)
    meant = Decimal(str(intent["signal_position_size"]))
    one = value / qty if qty else ZERO
    if not meant * (1 - SIZE_TOLERANCE) - 2 * one <= value <= meant * (1 + SIZE_TOLERANCE):
        found.wrong_levels.append(f"{link} is worth {value:.2f} USD, its signal {meant} USD")


def _positions(
    found: Findings,
    ours: Mapping[str, Position],
    intents: Mapping[str, dict[str, object]],
    truth: Truth,
    moved: Levels,
) -> None:
    open_intents = {str(row["symbol"]): row for row in intents.values() if row["status"] == orders.CONFIRMED}
    for symbol, position in ours.items():
        intent = open_intents.get(symbol)
        if position.stop_loss is None:
            found.unprotected.append(f"{symbol} {position.side.value} {position.size} has no stop")
        if intent is None:
            found.orphans.append(f"{symbol} {truth.left(symbol)} is open, no intent of ours is")
            continue
        allowed = intent["filled_qty"] + abs(truth.foreign.get(symbol, ZERO))  # type: ignore[operator]
        if position.size > allowed:
            found.duplicates.append(f"{symbol} holds {position.size}, its order filled {intent['filled_qty']}")
        levels = (position.stop_loss, position.take_profit)
        signalled = (intent["stop_loss"], intent["take_profit"])
        by_person = moved.get(symbol, signalled)
        if position.stop_loss is not None and any(
            level not in (one, other) for level, one, other in zip(levels, signalled, by_person, strict=True)
        ):
            found.wrong_levels.append(f"{symbol} has stop and target {levels}, its signal {signalled}")
        elif position.stop_loss is not None and _risks_more(position, intent["stop_loss"]):
            found.wrong_levels.append(f"{symbol} has the stop {levels[0]}, looser than its signal's {signalled[0]}")
        if position.leverage != intent["leverage"]:
            found.wrong_levels.append(f"{symbol} has leverage {position.leverage}, its signal {intent['leverage']}")
        if position.side.value != intent["side"]:
            found.wrong_levels.append(f"{symbol} is {position.side.value}, its order {intent['side']}")
    found.mismatches += [
        f"{symbol} is open in the ledger, not at the exchange" for symbol in open_intents if symbol not in ours
    ]


def _risks_more(position: Position, signalled: object) -> bool:
    stop = position.stop_loss
    return stop is not None and (stop < signalled if position.side is Side.BUY else stop > signalled)  # type: ignore[operator]


def _silence(
    found: Findings,
    told: Mapping[str | None, str],
    held: Sequence[Position],
    ours: Mapping[str, Position],
    intents: Mapping[str, dict[str, object]],
    truth: Truth,
    waiting: Collection[str],
) -> None:
    """What is foreign, or was changed by a person, is told as long as it is so, and not longer."""
    causes: dict[str, str] = dict.fromkeys(waiting, "a foreign order")
    for each in held:
        if each.symbol not in ours or truth.foreign.get(each.symbol):
            causes[each.symbol] = f"foreign quantity in {each.symbol} {each.side.value} {each.size}"
    for intent in intents.values():
        position = ours.get(str(intent["symbol"]))
        if intent["status"] != orders.CONFIRMED or position is None:
            continue
        if (position.stop_loss, position.take_profit) != (intent["stop_loss"], intent["take_profit"]):
            causes.setdefault(position.symbol, f"a stop or target of {position.symbol} that was changed")
    found.silent += [f"{cause} is not told" for symbol, cause in causes.items() if symbol not in told]
    found.silent += [f"told without a cause: {text}" for symbol, text in told.items() if symbol not in causes]


NO_FOREIGN = Foreign({}, {})


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


def compare_all(
    database: Database,
    exchange: Exchange,
    account: str,
    since_ms: int,
    deposit: Decimal,
    *,
    hedged: Collection[str] = (),
    moved: Levels | None = None,
) -> Findings:
    """All laws, from the account's first moment on.

    Args:
        since_ms: when the account was opened with `deposit`.
        hedged: contracts whose legs are a person's.
        moved: stops and targets of ours that a person has moved and that may stay so.
    """
    truth = Truth(exchange.order_ids, set(hedged))
    found = compare(database, exchange, account, truth, NO_FOREIGN, since_ms, moved)
    sums = compare_sums(database, exchange, account, truth, since_ms, deposit)
    for name in LAWS:
        getattr(found, name).extend(getattr(sums, name))
    return found


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
