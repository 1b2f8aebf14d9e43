"""Tells our part of every closing from that of a person on the same account. Pure.

The trades of a contract are followed in the order of time. What our entries have filled is ours, what others add is
foreign. A closing by an order of ours takes ours first, a closing by a person's order takes the foreign quantity first,
and what ends the whole position (a stop or target attached to it, a liquidation, a settlement) takes both. So of every
closing at most our quantity, on our side, is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum

from trading_assets.core.models import Side

ZERO = Decimal(0)


class Closer(IntEnum):
    """Whose order closes a position."""

    OURS = 1
    OTHERS = 2
    """a person's"""
    POSITION = 3
    """the position's own: its stop or target, a liquidation, auto-deleveraging or a settlement"""


@dataclass(frozen=True)
class Entry:
    """An order of ours that opens a position.

    Attributes:
        filled_qty: as far as the ledger knows; None while its outcome is open.
        time_ms: of its fill, or of its reservation where the fill is not known, UTC ms.
    """

    order_link_id: str
    signal_id: str
    side: Side
    filled_qty: Decimal | None
    time_ms: int


@dataclass(frozen=True)
class Trade:
    """A part of an order that was filled, of one contract and position (one-way mode)."""

    order_id: str
    order_link_id: str
    side: Side
    qty: Decimal
    time_ms: int


@dataclass
class Holding:
    """What is left of one of our entries, and what each closing order has taken of it."""

    entry: Entry
    open_qty: Decimal = ZERO
    filled_qty: Decimal = ZERO
    closed_by: dict[str, Decimal] = field(default_factory=dict)

    @property
    def closed_qty(self) -> Decimal:
        """How much of it was closed."""
        return self.filled_qty - self.open_qty


@dataclass(frozen=True)
class Attribution:
    """What the trades of a contract come to.

    Attributes:
        holdings: of our entries, by their link.
        closed: closed quantity of each closing order, ours and foreign together.
        foreign: what others hold now, by side.
        added: sides on which others have opened something since the first of our entries.
    """

    holdings: Mapping[str, Holding]
    closed: Mapping[str, Decimal]
    foreign: Mapping[Side, Decimal]
    added: frozenset[Side] = frozenset()

    def share_of(self, order_id: str) -> dict[str, Decimal]:
        """Which part of a closing order each of our entries has, by link, in coins."""
        return {
            link: holding.closed_by[order_id]
            for link, holding in self.holdings.items()
            if holding.closed_by.get(order_id, ZERO) > 0
        }


def attribute(entries: Iterable[Entry], trades: Sequence[Trade], closers: Mapping[str, Closer]) -> Attribution:
    """Follow the trades of one contract since the first of our entries.

    Args:
        entries: of ours in this contract. One whose trades are not among `trades` counts as filled at its time.
        trades: of everybody, each once, in any order.
        closers: whose order a closing order is, by order id; an order that is not in it is a person's.
    """
    holdings = {entry.order_link_id: Holding(entry) for entry in entries}
    sides = {holding.entry.side for holding in holdings.values()}

    def moment(trade: Trade) -> tuple[int, bool, bool, str]:
        """In one millisecond a position is opened before it is closed, ours first."""
        return trade.time_ms, trade.order_link_id not in holdings, trade.side not in sides, trade.order_id

    ordered = sorted(trades, key=moment)
    seen = {trade.order_link_id for trade in ordered}
    unseen = sorted(
        (one for one in holdings.values() if one.entry.order_link_id not in seen and one.entry.filled_qty),
        key=lambda one: one.entry.time_ms,
    )
    foreign = {Side.BUY: ZERO, Side.SELL: ZERO}
    closed: dict[str, Decimal] = {}
    added: set[Side] = set()
    for trade in ordered:
        while unseen and unseen[0].entry.time_ms <= trade.time_ms:
            _fill(unseen.pop(0), None)
        own = holdings.get(trade.order_link_id)
        if own is not None and trade.side is own.entry.side:
            if own.entry.filled_qty is None:
                _fill(own, trade.qty)
            elif not own.filled_qty:
                _fill(own, None)
            continue
        left = _close(trade, closers.get(trade.order_id, Closer.OTHERS), holdings.values(), foreign)
        if left < trade.qty:
            closed[trade.order_id] = closed.get(trade.order_id, ZERO) + trade.qty - left
        foreign[trade.side] += left
        if left > 0:
            added.add(trade.side)
    for holding in unseen:
        _fill(holding, None)
    return Attribution(holdings, closed, foreign, frozenset(added))


def _fill(holding: Holding, qty: Decimal | None) -> None:
    """Add what an entry has filled; None stands for all that the ledger knows of."""
    added = qty if qty is not None else (holding.entry.filled_qty or ZERO)
    holding.open_qty += added
    holding.filled_qty += added


def _close(trade: Trade, closer: Closer, holdings: Iterable[Holding], foreign: dict[Side, Decimal]) -> Decimal:
    """Take a trade from what is open on the other side; how much of it is left and opens a position."""
    side, left = trade.side.opposite, trade.qty

    def take_foreign(left: Decimal) -> Decimal:
        taken = min(left, foreign[side])
        foreign[side] -= taken
        return left - taken

    if closer is Closer.OTHERS:
        left = take_foreign(left)
    for holding in holdings:
        if holding.entry.side is side and left > 0:
            taken = min(left, holding.open_qty)
            if taken > 0:
                holding.open_qty -= taken
                holding.closed_by[trade.order_id] = holding.closed_by.get(trade.order_id, ZERO) + taken
                left -= taken
    return left if closer is Closer.OTHERS else take_foreign(left)
