"""Compares the account at the exchange with the ledger: which positions are gone, and what differs. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.models import ClosedPnl, Execution, Order, Position, Wallet
from trading_assets.ledger import orders
from trading_assets.ledger.orders import Intent


@dataclass(frozen=True)
class ExchangeState:
    """The account at the exchange, read at one time.

    Attributes:
        closed: closings that the ledger lacks.
        is_entry: whether an order id has the form of one of our entries.
    """

    wallet: Wallet
    positions: Sequence[Position]
    executions: Sequence[Execution]
    open_orders: Sequence[Order]
    closed: Sequence[ClosedPnl]
    closing_orders: dict[str, Order | None]
    since_ms: int
    until_ms: int
    is_entry: Callable[[str], bool]

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
        closed: closed quantity by link of each confirmed or occupying intent, with closings that the ledger lacks yet.
        known: links of the exchange's orders and fills that are those of intents.
        fill_ids: of the time that the exchange was read for.
    """

    confirmed: Sequence[Intent]
    occupying: Sequence[Intent]
    closed: Mapping[str, Decimal]
    known: frozenset[str]
    fill_ids: frozenset[str]


def closed_quantities(
    intents: Iterable[Intent], recorded: Mapping[str, Decimal], new: Sequence[ClosedPnl]
) -> dict[str, Decimal]:
    """Return how much of each intent's position was closed, by link.

    Args:
        recorded: closed quantity in the ledger, by signal.
        new: closings that the ledger lacks.
    """
    return {
        intent.order_link_id: recorded.get(intent.signal_id, Decimal(0))
        + sum((row.qty for row in new if _closes(row, intent)), Decimal(0))
        for intent in intents
    }


def gone(exchange: ExchangeState, ledger: LedgerState) -> list[Intent]:
    """Return confirmed intents whose positions are gone.

    A position whose whole quantity was closed is gone: what is open in its symbol now belongs to somebody else.
    """
    sides = {position.symbol: position.side for position in exchange.positions}
    return [
        intent
        for intent in ledger.confirmed
        if sides.get(intent.symbol) is not intent.side
        or (intent.filled_qty is not None and ledger.closed[intent.order_link_id] >= intent.filled_qty)
    ]


def differences(exchange: ExchangeState, ledger: LedgerState, failed: Mapping[str, str]) -> dict[str | None, list[str]]:
    """Return what ledger and exchange do not agree on, by symbol; None stands for the account.

    Args:
        failed: repairs that failed, by symbol.
    """
    texts: dict[str | None, list[str]] = defaultdict(list)
    for symbol, text in failed.items():
        texts[symbol].append(text)
    ended = {intent.order_link_id for intent in gone(exchange, ledger)}
    occupying = {intent.symbol: intent for intent in ledger.occupying}
    for position in exchange.positions:
        intent = occupying.get(position.symbol)
        text = f"{position.symbol} {position.side.value} {position.size} is open at the exchange"
        if intent is None or intent.order_link_id in ended:
            texts[position.symbol].append(f"{text} but not by this system; it is left alone")
        elif intent.status in orders.UNRESOLVED:
            if position.side is not intent.side or position.size > intent.qty:
                texts[position.symbol].append(f"{text}; what became of order {intent.order_link_id} is not known")
        else:
            left = (intent.filled_qty or intent.qty) - ledger.closed[intent.order_link_id]
            if position.size != left:
                texts[position.symbol].append(
                    f"{position.symbol}: the exchange holds {position.side.value} {position.size}, the ledger expected "
                    f"{intent.side.value} {left}"
                )
    _foreign_orders(exchange, ledger, texts)
    missing = ledger.fill_ids - {execution.exec_id for execution in exchange.executions}
    if missing:
        texts[None].append(f"{len(missing)} fills are in the ledger that the exchange does not show")
    return texts


def _foreign_orders(exchange: ExchangeState, ledger: LedgerState, texts: dict[str | None, list[str]]) -> None:
    """Add open orders that belong to no position, and fills with our mark that this ledger does not know."""
    counts = Counter(order.symbol for order in exchange.waiting_orders if order.order_link_id not in ledger.known)
    for symbol, count in sorted(counts.items()):
        texts[symbol].append(f"{symbol}: {count} open orders are not of this system; they are left alone")
    for link, symbol in sorted(exchange.own_fills.items()):
        if link not in ledger.known:
            texts[symbol].append(
                f"{symbol}: order {link} has the mark of this program but is not in this ledger; is another one "
                "trading this account, or was the ledger replaced?"
            )


def _closes(row: ClosedPnl, intent: Intent) -> bool:
    return row.symbol == intent.symbol and row.side is not intent.side and row.updated_ms > intent.created_ms
