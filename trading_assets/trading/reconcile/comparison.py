"""Compares the account at the exchange with the ledger: what is to be recorded, which positions are gone, and what
differs. Pure.

Absence is no evidence. A position ends with closings that add up to it; one that is merely not seen stays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from trading_assets.core.models import (
    ClosedPnl,
    CloseReason,
    Execution,
    FillKind,
    Order,
    OrderPurpose,
    OrderStatus,
    Position,
    Rows,
    Side,
    Transaction,
    Wallet,
    close_reason,
)
from trading_assets.core.timeframes import iso
from trading_assets.ledger import orders
from trading_assets.ledger.account import Closing
from trading_assets.ledger.orders import Intent
from trading_assets.trading.reconcile.attribution import ZERO, Attribution, Closer, Entry, Trade, attribute

_MOVES = (FillKind.TRADE, FillKind.LIQUIDATION, FillKind.ADL, FillKind.SETTLEMENT)
"""Kinds of executions that change a position."""

_ENDS_POSITIONS = frozenset(
    {
        CloseReason.STOP.value,
        CloseReason.TARGET.value,
        CloseReason.LIQUIDATION.value,
        CloseReason.ADL.value,
        CloseReason.SETTLEMENT.value,
    }
)


@dataclass(frozen=True)
class ExchangeState:
    """The account at the exchange, read at one time.

    Attributes:
        wallet: None where the exchange leaves it empty: unknown, not zero.
        closing_orders: of closings that the ledger lacks or that have grown; None where the order cannot be looked up.
        transactions: None where the log cannot be read.
        is_entry, is_ours: whether an order id has the form of one of our entries, or of any order of ours.
    """

    wallet: Wallet | None
    positions: Rows[Position]
    executions: Rows[Execution]
    open_orders: Rows[Order]
    closed: Rows[ClosedPnl]
    closing_orders: Mapping[str, Order | None]
    transactions: Rows[Transaction] | None
    since_ms: int
    until_ms: int
    is_entry: Callable[[str], bool]
    is_ours: Callable[[str], bool]

    @property
    def own_fills(self) -> dict[str, str]:
        """Symbols of the fills that have the mark of our entries, by link."""
        return {row.order_link_id: row.symbol for row in self.executions if self.is_entry(row.order_link_id)}

    @property
    def waiting_orders(self) -> list[Order]:
        """Open orders that belong to no position."""
        return [order for order in self.open_orders if not order.purpose.is_protective]

    def purpose_of(self, order_id: str) -> OrderPurpose | None:
        """Why a closing order exists, by its look-up or by its executions; None where neither tells."""
        order = self.closing_orders.get(order_id)
        if order is not None:
            return order.purpose
        return next((row.purpose for row in self.executions if row.order_id == order_id), None)


@dataclass(frozen=True)
class LedgerState:
    """The account in the ledger, read in one transaction.

    Attributes:
        intents: by symbol, of those symbols in which something is, or was, ours, ascending in time.
        trades: what moved the positions of these symbols since the first of those intents, as far as it is recorded.
        recorded: rows of closing orders, by order id: of these symbols, and of what the exchange shows.
        known: links of the exchange's orders and fills that are those of intents.
        fill_ids: of the time that the exchange was read for.
    """

    confirmed: Sequence[Intent]
    occupying: Sequence[Intent]
    intents: Mapping[str, Sequence[Intent]]
    trades: Mapping[str, Sequence[Trade]]
    recorded: Mapping[str, Sequence[Closing]]
    known: frozenset[str]
    fill_ids: frozenset[str]


@dataclass(frozen=True)
class Comparison:
    """What a comparison comes to.

    Attributes:
        bookings: rows of closings to be added, so that those of an order add up to what the exchange tells of it.
        ended: confirmed intents whose whole quantity was closed.
        unseen: confirmed intents that have not ended and whose position the exchange does not show.
        seen: the others: their position is open and theirs.
        left: what is left of each confirmed intent, by link, in coins.
        foreign: what others hold on the side of ours, by symbol.
    """

    bookings: list[Closing] = field(default_factory=list)
    ended: list[Intent] = field(default_factory=list)
    unseen: list[Intent] = field(default_factory=list)
    seen: list[Intent] = field(default_factory=list)
    left: dict[str, Decimal] = field(default_factory=dict)
    foreign: dict[str, Decimal] = field(default_factory=dict)


def compare(exchange: ExchangeState, ledger: LedgerState) -> Comparison:
    """Tell what is ours in every closing, which intents have ended, and which are not seen."""
    found = Comparison()
    attributions = {symbol: _attribute(exchange, ledger, symbol) for symbol in ledger.intents}
    signals = {intent.order_link_id: intent.signal_id for held in ledger.intents.values() for intent in held}
    for row in exchange.closed:
        shares = attributions[row.symbol].share_of(row.order_id) if row.symbol in attributions else {}
        ours = {signals[link]: qty for link, qty in shares.items()}
        reason = close_reason(row.kind, exchange.purpose_of(row.order_id)).value
        found.bookings.extend(book(row, ledger.recorded.get(row.order_id, ()), ours, reason))
    for intent in ledger.confirmed:
        attribution = attributions[intent.symbol]
        holding = attribution.holdings[intent.order_link_id]
        closed = sum(holding.closed_by.values(), ZERO)
        filled = intent.filled_qty or intent.qty
        found.left[intent.order_link_id] = max(filled - closed, ZERO)
        if closed >= filled:
            found.ended.append(intent)
            continue
        found.foreign[intent.symbol] = attribution.foreign[intent.side]
        is_seen = _shows(exchange.positions, intent, attribution.foreign[intent.side])
        (found.seen if is_seen else found.unseen).append(intent)
    return found


def book(row: ClosedPnl, recorded: Sequence[Closing], ours: Mapping[str, Decimal], reason: str) -> list[Closing]:
    """Return the rows that are missing so that those of a closing order add up to the exchange's row, exactly.

    Args:
        recorded: the rows of the order in the ledger.
        ours: which part of the order is of which signal, in coins; the rest is foreign.
    """
    had: dict[str | None, Decimal] = defaultdict(lambda: ZERO)
    for one in recorded:
        had[one.signal_id] += one.qty
    wanted: dict[str | None, Decimal] = {signal: min(qty, row.qty) for signal, qty in ours.items()}
    wanted[None] = row.qty - sum(wanted.values(), ZERO)
    missing = {signal: wanted.get(signal, ZERO) - had.get(signal, ZERO) for signal in dict.fromkeys([*wanted, *had])}
    missing = {signal: qty for signal, qty in missing.items() if qty}
    pnl = row.pnl - sum((one.pnl for one in recorded), ZERO)
    fees = row.open_fee + row.close_fee - sum((one.fees for one in recorded), ZERO)
    if not missing and not pnl and not fees:
        return []
    if not missing:
        missing = {recorded[0].signal_id if recorded else None: ZERO}
    base = Closing(
        order_id=row.order_id,
        symbol=row.symbol,
        position_side="LONG" if row.side is Side.SELL else "SHORT",
        reason=reason,
        qty=ZERO,
        entry_price=row.entry_price,
        exit_price=_price_of_the_rest(row, recorded),
        pnl=ZERO,
        fees=ZERO,
        signal_id=None,
        closed_ms=row.updated_ms,
    )
    return _split(base, missing, pnl, fees)


def _split(base: Closing, missing: Mapping[str | None, Decimal], pnl: Decimal, fees: Decimal) -> list[Closing]:
    """Share PnL and fees by quantity; the last row takes what rounding leaves, so that the sums are exact."""
    total = sum(missing.values(), ZERO)
    rows, left_pnl, left_fees = [], pnl, fees
    for number, (signal, qty) in enumerate(missing.items(), start=1):
        if number == len(missing):
            part_pnl, part_fees = left_pnl, left_fees
        else:
            share = qty / total if total else ZERO
            part_pnl, part_fees = (round(value * share, 12) for value in (pnl, fees))
        left_pnl, left_fees = left_pnl - part_pnl, left_fees - part_fees
        rows.append(replace(base, qty=qty, pnl=part_pnl, fees=part_fees, signal_id=signal))
    return rows


def _price_of_the_rest(row: ClosedPnl, recorded: Sequence[Closing]) -> Decimal:
    """Average exit price of what was added since; the row's own where nothing was."""
    had = sum((one.qty for one in recorded), ZERO)
    value = sum((one.qty * one.exit_price for one in recorded), ZERO)
    added = row.qty - had
    return (row.qty * row.exit_price - value) / added if had and added > 0 else row.exit_price


def _shows(positions: Sequence[Position], intent: Intent, foreign: Decimal) -> bool:
    """Whether an open position can only be the intent's, in part at least: it is more than what others hold there."""
    return any(
        position.symbol == intent.symbol
        and position.side is intent.side
        and position.position_idx == 0
        and position.size > foreign
        for position in positions
    )


def _attribute(exchange: ExchangeState, ledger: LedgerState, symbol: str) -> Attribution:
    intents = ledger.intents[symbol]
    since_ms = min(intent.created_ms for intent in intents)
    trades: dict[str, Trade] = {}
    for number, trade in enumerate(ledger.trades.get(symbol, ())):
        trades[f"recorded {number}"] = trade
    recorded_ids = ledger.fill_ids
    for row in exchange.executions:
        if row.symbol == symbol and row.kind in _MOVES and row.exec_id not in recorded_ids:
            trades[row.exec_id] = as_trade(row)
    listed = list(trades.values())
    filled: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for trade in listed:
        filled[trade.order_id] += trade.qty
    listed += _untold(exchange, ledger, symbol, filled, since_ms)
    entries = [
        Entry(
            intent.order_link_id,
            intent.signal_id,
            intent.side,
            intent.filled_qty if intent.status in (orders.CONFIRMED, orders.CLOSED) else None,
            intent.created_ms,
        )
        for intent in intents
    ]
    relevant = [trade for trade in listed if trade.time_ms >= since_ms]
    return attribute(entries, relevant, _closers(exchange, ledger, symbol, relevant))


def as_trade(row: Execution) -> Trade:
    """An execution as a trade. A delivery has no order: its own id stands for it."""
    return Trade(row.order_id or row.exec_id, row.order_link_id, row.side, row.qty, row.time_ms)


def _untold(
    exchange: ExchangeState, ledger: LedgerState, symbol: str, filled: Mapping[str, Decimal], since_ms: int
) -> list[Trade]:
    """Closings whose executions are not shown, or not all: the part that is missing, as one trade each."""
    closed: dict[str, tuple[Side, Decimal, int]] = {}
    for order_id, rows in ledger.recorded.items():
        if rows[0].symbol == symbol:
            side = Side.SELL if rows[0].position_side == "LONG" else Side.BUY
            closed[order_id] = (side, sum((row.qty for row in rows), ZERO), max(row.closed_ms for row in rows))
    for row in exchange.closed:
        if row.symbol == symbol:
            closed[row.order_id] = (row.side, row.qty, row.updated_ms)
    return [
        Trade(order_id, "", side, qty - filled.get(order_id, ZERO), time_ms)
        for order_id, (side, qty, time_ms) in closed.items()
        if time_ms > since_ms and qty > filled.get(order_id, ZERO)
    ]


def _closers(exchange: ExchangeState, ledger: LedgerState, symbol: str, trades: Iterable[Trade]) -> dict[str, Closer]:
    closers: dict[str, Closer] = {}
    for trade in trades:
        if exchange.is_ours(trade.order_link_id):
            closers[trade.order_id] = Closer.OURS
    for order_id, rows in ledger.recorded.items():
        if any(row.reason in _ENDS_POSITIONS for row in rows):
            closers[order_id] = Closer.POSITION
    for row in exchange.executions:
        if row.symbol == symbol and (row.purpose.is_protective or row.kind is not FillKind.TRADE):
            closers[row.order_id or row.exec_id] = Closer.POSITION
    for closing in exchange.closed:
        purpose = exchange.purpose_of(closing.order_id)
        if closing.kind is not FillKind.TRADE or (purpose is not None and purpose.is_protective):
            closers[closing.order_id] = Closer.POSITION
    for order_id, order in exchange.closing_orders.items():
        if order is not None and exchange.is_ours(order.order_link_id):
            closers[order_id] = Closer.OURS
    return closers


def differences(
    exchange: ExchangeState,
    ledger: LedgerState,
    compared: Comparison,
    failed: Mapping[str, str],
    *,
    tell_unseen_after_ms: int,
) -> dict[str | None, list[str]]:
    """Return what ledger and exchange do not agree on, by symbol; None stands for the account.

    Args:
        failed: repairs that failed, by symbol.
        tell_unseen_after_ms: a position that is not seen for so long is told.
    """
    texts: dict[str | None, list[str]] = defaultdict(list)
    for symbol, text in failed.items():
        texts[symbol].append(text)
    for unread, why in [*unreadable(exchange), *unknown_words(exchange)]:
        texts[unread].append(why)
    if exchange.wallet is None:
        texts[None].append("the exchange does not tell the account's equity: the last known stays, nothing is opened")
    ended = {intent.order_link_id for intent in compared.ended}
    occupying = {intent.symbol: intent for intent in ledger.occupying}
    for position in exchange.positions:
        intent = occupying.get(position.symbol)
        leg = f" (leg {position.position_idx})" if position.position_idx else ""
        text = f"{position.symbol}{leg} {position.side.value} {position.size} is open at the exchange"
        if intent is None or intent.order_link_id in ended or position.position_idx:
            texts[position.symbol].append(f"{text} but not by this system; it is left alone")
        elif intent.status in orders.UNRESOLVED:
            if position.side is not intent.side or position.size > intent.qty:
                texts[position.symbol].append(f"{text}; what became of order {intent.order_link_id} is not known")
        else:
            left = compared.left[intent.order_link_id]
            if position.size != left or position.side is not intent.side:
                texts[position.symbol].append(
                    f"{position.symbol}: the exchange holds {position.side.value} {position.size}, the ledger expected "
                    f"{intent.side.value} {left}" + _whose(position, intent, left)
                )
    for intent in compared.unseen:
        since_ms = intent.unseen_since_ms
        if since_ms is not None and exchange.until_ms - since_ms >= tell_unseen_after_ms:
            texts[intent.symbol].append(
                f"{intent.symbol} {intent.side.value} {compared.left[intent.order_link_id]} is not seen at the exchange"
                f" since {iso(since_ms)}, and no closing tells its end: look, then trading-assets intents resolve "
                f"{intent.order_link_id}"
            )
    _foreign_orders(exchange, ledger, texts)
    missing = ledger.fill_ids - {execution.exec_id for execution in exchange.executions}
    if missing and not exchange.executions.unreadable:
        texts[None].append(f"{len(missing)} fills are in the ledger that the exchange does not show")
    return texts


def _whose(position: Position, intent: Intent, left: Decimal) -> str:
    if position.side is intent.side and position.size > left:
        return (
            f": {position.size - left} more is foreign; ours stays protected, and closings of others take theirs first"
        )
    return ""


def unreadable(exchange: ExchangeState) -> list[tuple[str | None, str]]:
    """Return the rows that cannot be read, one text for each symbol and list."""
    lists: Mapping[str, Rows[Any]] = {
        "position": exchange.positions,
        "execution": exchange.executions,
        "open order": exchange.open_orders,
        "closing": exchange.closed,
    }
    found: dict[tuple[str | None, str], str] = {}
    for name, rows in lists.items():
        for row in rows.unreadable:
            found.setdefault((row.symbol, name), row.why)
    return [
        (symbol, f"{symbol or 'a contract'}: a row of the list of {name}s cannot be read and is left out: {why}")
        for (symbol, name), why in found.items()
    ]


def unknown_words(exchange: ExchangeState) -> list[tuple[str, str]]:
    """Return what the exchange says in words that this program does not know, one text for each symbol and word."""
    texts = {
        (order.symbol, f"{order.symbol}: the status of an open order cannot be read: {order.venue_status!r}")
        for order in exchange.open_orders
        if order.status is OrderStatus.OTHER
    } | {
        (row.symbol, f"{row.symbol}: the kind of an execution cannot be read: {row.exec_type!r}; it is kept as it is")
        for row in exchange.executions
        if row.kind is FillKind.OTHER
    }
    return sorted(texts)


def changed_levels(exchange: ExchangeState, compared: Comparison) -> list[tuple[Intent, Position]]:
    """Return our positions whose stop or target is not the signal's, and which have a stop: somebody has moved it."""
    held = {position.symbol: position for position in exchange.positions if position.position_idx == 0}
    found = []
    for intent in compared.seen:
        position = held[intent.symbol]
        if position.stop_loss is None:
            continue
        if (position.stop_loss, position.take_profit) != (intent.stop_loss, intent.take_profit):
            found.append((intent, position))
    return found


def is_looser(intent: Intent, stop: Decimal) -> bool:
    """Whether a stop is farther from the market than the signal's: it risks more than was meant."""
    return stop < intent.stop_loss if intent.side is Side.BUY else stop > intent.stop_loss


def _foreign_orders(exchange: ExchangeState, ledger: LedgerState, texts: dict[str | None, list[str]]) -> None:
    """Add open orders that belong to no position, and fills with our mark that this ledger does not know."""
    counts = Counter(
        order.symbol
        for order in exchange.waiting_orders
        if order.order_link_id not in ledger.known and not exchange.is_ours(order.order_link_id)
    )
    for symbol, count in sorted(counts.items()):
        texts[symbol].append(f"{symbol}: {count} open orders are not of this system; they are left alone")
    for link, symbol in sorted(exchange.own_fills.items()):
        if link not in ledger.known:
            texts[symbol].append(
                f"{symbol}: order {link} has the mark of this program but is not in this ledger; is another one "
                "trading this account, or was the ledger replaced?"
            )
