"""Puts together what ledger and exchange know of one contract, each part of it once, and attributes it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.models import ClosedPnl, CloseReason, Execution, FillKind, Order, OrderPurpose, Side
from trading_assets.ledger import orders
from trading_assets.ledger.executions import Closing
from trading_assets.ledger.orders import Intent
from trading_assets.trading.ownership.attribution import ZERO, Attribution, Closer, Entry, Trade, attribute

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
class Records:
    """What is known of one contract since the first of our entries.

    Attributes:
        intents: of ours, ascending in time.
        executions, closed: as the exchange shows them; rows of other contracts are passed over.
        looked_up: closing orders that were looked up, by order id; None where the exchange does not tell them.
        trades: what moved the position, as far as the ledger has it.
        recorded: rows of closings in the ledger, by order id.
        fill_ids: executions that are among `trades`.
        is_ours: whether an order id has the form of ours.
    """

    symbol: str
    intents: Sequence[Intent]
    executions: Iterable[Execution]
    closed: Iterable[ClosedPnl]
    looked_up: Mapping[str, Order | None]
    trades: Sequence[Trade]
    recorded: Mapping[str, Sequence[Closing]]
    fill_ids: frozenset[str]
    is_ours: Callable[[str], bool]

    @property
    def since_ms(self) -> int:
        """The first of our entries, UTC ms."""
        return min(intent.created_ms for intent in self.intents)


def attribution_of(records: Records) -> Attribution:
    """Tell whose the trades of the contract are."""
    listed = _listed(records)
    filled: dict[str, Decimal] = defaultdict(lambda: ZERO)
    entered: dict[str, Decimal] = defaultdict(lambda: ZERO)
    sides = {intent.order_link_id: intent.side for intent in records.intents}
    for trade in listed:
        filled[trade.order_id] += trade.qty
        if sides.get(trade.order_link_id) is trade.side:
            entered[trade.order_link_id] += trade.qty
    listed += _untold(records, filled)
    entries = [
        Entry(
            intent.order_link_id,
            intent.signal_id,
            intent.side,
            _filled_qty(intent, entered[intent.order_link_id]),
            intent.created_ms,
        )
        for intent in records.intents
    ]
    relevant = [trade for trade in listed if trade.time_ms >= records.since_ms]
    return attribute(entries, relevant, _closers(records, relevant))


def purpose_of(
    order_id: str, looked_up: Mapping[str, Order | None], executions: Iterable[Execution]
) -> OrderPurpose | None:
    """Why a closing order exists, by its look-up or by its executions; None where neither tells."""
    order = looked_up.get(order_id)
    if order is not None:
        return order.purpose
    return next((row.purpose for row in executions if row.order_id == order_id), None)


def link_of(order_id: str, looked_up: Mapping[str, Order | None], executions: Iterable[Execution]) -> str:
    """Our id of a closing order, by its look-up or by its executions; empty where it has none."""
    order = looked_up.get(order_id)
    if order is not None:
        return order.order_link_id
    return next((row.order_link_id for row in executions if row.order_id == order_id), "")


def as_trade(row: Execution) -> Trade:
    """An execution as a trade. A delivery has no order: its own id stands for it."""
    return Trade(row.order_id or row.exec_id, row.order_link_id, row.side, row.qty, row.time_ms)


def _filled_qty(intent: Intent, entered: Decimal) -> Decimal | None:
    """What an entry has filled: what the ledger knows, or more where its trades say so; None: only they can tell."""
    if intent.status not in (orders.CONFIRMED, orders.CLOSED) or intent.filled_qty is None:
        return None
    return max(intent.filled_qty, entered)


def _listed(records: Records) -> list[Trade]:
    """Each trade once: those of the ledger, and what the exchange shows besides."""
    shown = {
        row.exec_id: as_trade(row)
        for row in records.executions
        if row.symbol == records.symbol and row.kind.moves_position and row.exec_id not in records.fill_ids
    }
    return [*records.trades, *shown.values()]


def _untold(records: Records, filled: Mapping[str, Decimal]) -> list[Trade]:
    """Closings whose executions are not shown, or not all: the part that is missing, as one trade each."""
    closed: dict[str, Trade] = {}
    certain: set[str] = set()
    for order_id, rows in records.recorded.items():
        if rows[0].symbol == records.symbol:
            side = Side.SELL if rows[0].position_side == "LONG" else Side.BUY
            qty = sum((row.qty for row in rows), ZERO)
            closed[order_id] = Trade(order_id, "", side, qty, max(row.closed_ms for row in rows))
    for row in records.closed:
        if row.symbol == records.symbol:
            closed[row.order_id] = Trade(row.order_id, "", row.side, row.qty, row.updated_ms)
    for order in records.looked_up.values():
        if order is not None and order.symbol == records.symbol:
            if records.is_ours(order.order_link_id):
                certain.add(order.order_id)
            before = closed.get(order.order_id)
            if before is None or order.filled_qty > before.qty:
                told = Trade(order.order_id, order.order_link_id, order.side, order.filled_qty, order.updated_ms)
                closed[order.order_id] = told
    return [
        Trade(trade.order_id, "", trade.side, trade.qty - filled.get(order_id, ZERO), trade.time_ms)
        for order_id, trade in closed.items()
        if (trade.time_ms > records.since_ms or order_id in certain) and trade.qty > filled.get(order_id, ZERO)
    ]


def _closers(records: Records, trades: Iterable[Trade]) -> dict[str, Closer]:
    closers: dict[str, Closer] = {}
    for trade in trades:
        if records.is_ours(trade.order_link_id):
            closers[trade.order_id] = Closer.OURS
    for order_id, rows in records.recorded.items():
        if any(row.reason in _ENDS_POSITIONS for row in rows):
            closers[order_id] = Closer.POSITION
    executions = [row for row in records.executions if row.symbol == records.symbol]
    for row in executions:
        if row.kind.moves_position and (row.purpose.is_protective or row.kind is not FillKind.TRADE):
            closers[row.order_id or row.exec_id] = Closer.POSITION
    for closing in records.closed:
        if closing.symbol == records.symbol:
            purpose = purpose_of(closing.order_id, records.looked_up, executions)
            if closing.kind is not FillKind.TRADE or (purpose is not None and purpose.is_protective):
                closers[closing.order_id] = Closer.POSITION
    for order_id, order in records.looked_up.items():
        if order is not None and records.is_ours(order.order_link_id):
            closers[order_id] = Closer.OURS
    return closers
