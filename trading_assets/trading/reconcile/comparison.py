"""Compares the account at the exchange with the ledger: what is to be recorded, which positions are gone, and what
differs. Pure.

Absence is no evidence. A position ends with closings that add up to it; one that is merely not seen stays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from trading_assets.core.models import (
    ClosedPnl,
    Execution,
    FillKind,
    Order,
    OrderStatus,
    Position,
    Rows,
    Side,
    Transaction,
    Wallet,
    close_reason,
)
from trading_assets.core.timeframes import DAY_MS, iso
from trading_assets.ledger import orders
from trading_assets.ledger.executions import Closing
from trading_assets.ledger.orders import Intent
from trading_assets.trading.ownership.attribution import ZERO, Attribution, Trade
from trading_assets.trading.ownership.records import Records, attribution_of, link_of, purpose_of

SAME_PRICE = Decimal("0.00001")
"""Entry prices that differ by no more than this part of them are one price, rounded in two ways."""

UNSEEN_LOOKBACK_MS = 7 * DAY_MS
"""How long before a position was first not seen its closing may lie."""

GROWING_LOOKBACK_MS = 30 * DAY_MS
"""How old an order may be that still fills, for its row to be read again."""


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


@dataclass(frozen=True)
class LedgerState:
    """The account in the ledger, read in one transaction.

    Attributes:
        intents: by symbol, of those symbols in which something is, or was, ours, ascending in time.
        trades: what moved the positions of these symbols since the first of those intents, as far as it is recorded.
        recorded: rows of closing orders, by order id: of these symbols, and of what the exchange shows.
        known: links of the exchange's orders and fills that are those of intents.
        fill_ids: of the time that the exchange was read for.
        words: why orders of ours close a position, by link, where an exit plan has sent them.
    """

    confirmed: Sequence[Intent]
    occupying: Sequence[Intent]
    intents: Mapping[str, Sequence[Intent]]
    trades: Mapping[str, Sequence[Trade]]
    recorded: Mapping[str, Sequence[Closing]]
    known: frozenset[str]
    fill_ids: frozenset[str]
    of_plans: frozenset[str] = frozenset()
    """symbols of grids and DCA plans: their positions are ours, and compared where those are kept"""
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What a comparison comes to.

    Attributes:
        bookings: rows of closings to be added, so that those of an order add up to what the exchange tells of it.
        ended: confirmed intents whose whole quantity was closed.
        unseen: confirmed intents that have not ended and whose position the exchange does not show.
        seen: the others: their position is open and theirs.
        grown: confirmed intents whose entry has filled more than the ledger knows, or at a price that it lacks.
        unexplained: intents among `seen` whose position has another size than all that is known comes to.
        left: what is left of each confirmed intent, by link, in coins.
    """

    bookings: list[Closing] = field(default_factory=list)
    ended: list[Intent] = field(default_factory=list)
    unseen: list[Intent] = field(default_factory=list)
    seen: list[Intent] = field(default_factory=list)
    grown: list[Intent] = field(default_factory=list)
    unexplained: list[Intent] = field(default_factory=list)
    left: dict[str, Decimal] = field(default_factory=dict)


def compare(exchange: ExchangeState, ledger: LedgerState) -> Comparison:
    """Tell what is ours in every closing, which intents have ended, and which are not seen."""
    found = Comparison()
    attributions = {symbol: attribution_of(_records(exchange, ledger, symbol)) for symbol in ledger.intents}
    signals = {intent.order_link_id: intent.signal_id for held in ledger.intents.values() for intent in held}
    for row in exchange.closed:
        shares = attributions[row.symbol].share_of(row.order_id) if row.symbol in attributions else {}
        ours = {signals[link]: qty for link, qty in shares.items()}
        purpose = purpose_of(row.order_id, exchange.closing_orders, exchange.executions)
        word = ledger.words.get(link_of(row.order_id, exchange.closing_orders, exchange.executions))
        reason = word if word is not None and shares else close_reason(row.kind, purpose).value
        found.bookings.extend(book(row, ledger.recorded.get(row.order_id, ()), ours, reason))
    for intent in ledger.confirmed:
        attribution = attributions[intent.symbol]
        holding = attribution.holdings[intent.order_link_id]
        closed = sum(holding.closed_by.values(), ZERO)
        filled = intent.filled_qty or intent.qty
        has_grown = intent.filled_qty is not None and holding.filled_qty > filled
        if has_grown or (intent.average_price is None and holding.filled_qty >= filled):
            found.grown.append(intent)
            filled = holding.filled_qty
        left = found.left[intent.order_link_id] = max(filled - closed, ZERO)
        if closed >= filled:
            found.ended.append(intent)
            continue
        position = _position_of(exchange.positions, intent)
        is_seen = position is not None and _shows(position, intent, left, attribution)
        (found.seen if is_seen else found.unseen).append(intent)
        if position is not None and is_seen and position.size != left + attribution.foreign[intent.side]:
            found.unexplained.append(intent)
    return found


def growing_since(exchange: ExchangeState, compared: Comparison) -> int | None:
    """Return from when on the histories are to be read again, as rows of that time may grow or are missing; UTC ms.

    None where nothing tells of such rows. An order that has filled in part has a row of the time of its first fill,
    and it grows until the order ends. A position that is not as the known closings leave it has one that is not known.
    """
    times = [
        max(order.created_ms, exchange.until_ms - GROWING_LOOKBACK_MS)
        for order in exchange.open_orders
        if order.filled_qty > 0
    ]
    for intent in (*compared.unseen, *compared.unexplained):
        since_ms = intent.unseen_since_ms if intent.unseen_since_ms is not None else exchange.until_ms
        times.append(max(intent.created_ms, since_ms - UNSEEN_LOOKBACK_MS))
    return min(times, default=None)


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


def _position_of(positions: Sequence[Position], intent: Intent) -> Position | None:
    """The open position on the side of an intent, in one-way mode."""
    return next(
        (
            position
            for position in positions
            if position.symbol == intent.symbol and position.side is intent.side and position.position_idx == 0
        ),
        None,
    )


def _shows(position: Position, intent: Intent, left: Decimal, attribution: Attribution) -> bool:
    """Whether a position can only be the intent's, in part at least: it is more than what others hold there.

    One that was not seen for a while may have ended meanwhile, and be followed by a person's: it is the intent's where
    its size is what all known trades come to, and its entry price too, where nobody else has added to it.
    """
    foreign = attribution.foreign[intent.side]
    if intent.unseen_since_ms is None:
        return position.size > foreign
    if position.size != left + foreign:
        return False
    price = intent.average_price
    if price is None or intent.side in attribution.added:
        return True
    return abs(position.entry_price - price) <= price * SAME_PRICE


def _records(exchange: ExchangeState, ledger: LedgerState, symbol: str) -> Records:
    return Records(
        symbol=symbol,
        intents=ledger.intents[symbol],
        executions=exchange.executions,
        closed=exchange.closed,
        looked_up=exchange.closing_orders,
        trades=ledger.trades.get(symbol, ()),
        recorded=ledger.recorded,
        fill_ids=ledger.fill_ids,
        is_ours=exchange.is_ours,
    )


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
        if position.symbol in ledger.of_plans and not position.position_idx:
            continue
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
                    f"{intent.side.value} {left}" + _whose(position, intent, left, compared)
                )
    for intent in compared.unseen:
        since_ms = intent.unseen_since_ms
        if since_ms is not None and exchange.until_ms - since_ms >= tell_unseen_after_ms:
            texts[intent.symbol].append(
                f"{intent.symbol} {intent.side.value} {compared.left[intent.order_link_id]} is not seen at the exchange"
                f" since {iso(since_ms)}, and no closing tells its end: look, then: trading-assets intents resolve "
                f"{intent.order_link_id} closed (or confirmed, where it is open and ours)"
            )
    _foreign_orders(exchange, ledger, texts)
    missing = ledger.fill_ids - {execution.exec_id for execution in exchange.executions}
    if missing and not exchange.executions.unreadable:
        texts[None].append(f"{len(missing)} fills are in the ledger that the exchange does not show")
    return texts


def _whose(position: Position, intent: Intent, left: Decimal, compared: Comparison) -> str:
    if intent in compared.unseen and position.side is intent.side:
        return ": it was not seen for a while, and may be a person's by now; its stop is left as it is"
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


def trailing_stops(exchange: ExchangeState, compared: Comparison) -> list[Position]:
    """Return our positions with a stop that follows the price: somebody else has set it."""
    ours = {intent.symbol for intent in compared.seen}
    return [one for one in exchange.positions if one.symbol in ours and one.position_idx == 0 and one.trailing]


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
    waiting = {
        order.order_link_id: order.symbol for order in exchange.waiting_orders if exchange.is_entry(order.order_link_id)
    }
    for link, symbol in sorted((waiting | exchange.own_fills).items()):
        if link not in ledger.known:
            texts[symbol].append(
                f"{symbol}: order {link} has the mark of this program but is not in this ledger; is another one "
                "trading this account, or was the ledger replaced?"
            )
