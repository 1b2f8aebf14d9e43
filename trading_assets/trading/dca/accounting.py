"""A plan as the ledger has it at one moment: its orders, its scheduled times, and what its fills come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.models import FillKind, OrderPurpose
from trading_assets.ledger import dca
from trading_assets.ledger.dca import BuyRow, PlanOrder, PlanRow
from trading_assets.ledger.grids import FillRow
from trading_assets.trading.dca.books import Books, Whose, plan_books
from trading_assets.trading.dca.plans import plan_of
from trading_assets.trading.grid.books import Fill
from trading_assets.trading.grid.levels import ZERO


@dataclass(frozen=True)
class Accounts:
    """What the fills of a plan come to.

    Attributes:
        fills: what was executed in its symbol, ascending, with whose it is; of somebody else is also what the venue has
            closed of him alone.
        funding: above 0 was paid.
        exited: why the venue has closed the position, its target aside; empty where it has not.
        shared: what was closed of others by what has closed its position, in coins.
        by_link: quantity and value of what each order has filled, by its link.
    """

    row: PlanRow
    orders: list[PlanOrder]
    buys: list[BuyRow]
    books: Books
    fills: list[tuple[Whose, FillRow]]
    funding: Decimal
    exited: str
    shared: Decimal = ZERO
    by_link: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    @property
    def expected(self) -> Decimal:
        """The position that the exchange must show, in coins, below 0 where it is short."""
        return plan_of(self.row).sign * self.books.held + self.books.foreign

    def total(self, mark: Decimal) -> Decimal:
        """What the plan has come to at a price: closed and open, less fees and funding, USD."""
        return self.books.profit + self.books.unrealised(self.row.side, mark) - self.funding

    def filled_by(self, order: PlanOrder) -> tuple[Decimal, Decimal]:
        """Quantity, in coins, and value, USDT, of what an order has filled."""
        return self.by_link.get(order.order_link_id, (ZERO, ZERO))


def accounts_of(connection: sa.Connection, row: PlanRow) -> Accounts:
    """Read a plan, and follow its fills."""
    orders = dca.orders_of(connection, row.plan_id)
    by_link = {order.order_link_id: order for order in orders}
    by_id = {order.order_id: order for order in orders if order.purpose == dca.EXIT}
    found, funding, reasons = list[tuple[Whose, FillRow]](), ZERO, list[str]()
    filled: dict[str, tuple[Decimal, Decimal]] = {}
    for fill in dca.fills_of(connection, row):
        if fill.kind is FillKind.FUNDING:
            funding += fill.fee
            continue
        if not fill.kind.moves_position:
            continue
        order = by_link.get(fill.order_link_id) or by_id.get(fill.order_id or fill.exec_id)
        found.append((_whose(order), fill))
        reason = order.reason if order is not None else None
        reasons.append(f"its {reason}" if reason == OrderPurpose.STOP.value else f"a {reason}")
        qty, value = filled.get(fill.order_link_id, (ZERO, ZERO))
        filled[fill.order_link_id] = qty + fill.qty, value + fill.value
    books = plan_books(
        row.side, [(whose, Fill(one.side, one.qty, one.value, one.fee, one.time_ms)) for whose, one in found]
    )
    exits, shared, has_closed = set[str](), ZERO, False
    for place, (whose, fill) in enumerate(found):
        if whose not in (Whose.VENUE, Whose.TARGET):
            continue
        part = books.closed.get(place, ZERO)
        has_closed = has_closed or part > 0
        shared += fill.qty - part if has_closed else ZERO
        if not part:
            found[place] = Whose.OTHER, fill
        elif whose is Whose.VENUE:
            exits.add(reasons[place])
    return Accounts(
        row=row,
        orders=orders,
        buys=dca.buys_of(connection, row.plan_id),
        books=books,
        fills=found,
        funding=funding,
        exited=f"the position was closed by {' and '.join(sorted(exits))}" if exits else "",
        shared=shared,
        by_link=filled,
    )


def _whose(order: PlanOrder | None) -> Whose:
    if order is None:
        return Whose.OTHER
    if order.purpose == dca.TARGET:
        return Whose.TARGET
    if order.purpose != dca.EXIT:
        return Whose.OWN
    return Whose.TARGET if order.reason == OrderPurpose.TARGET.value else Whose.VENUE
