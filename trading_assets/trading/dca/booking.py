"""What the exchange shows of a plan, and how its orders are brought up to it: in one transaction, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.models import (
    CancelledBy,
    Execution,
    FillKind,
    Instrument,
    Order,
    OrderPurpose,
    OrderStatus,
    Position,
    SendBy,
    Side,
)
from trading_assets.core.timeframes import iso
from trading_assets.ledger import dca
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.dca import PlanOrder, PlanRow
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.accounting import Accounts
from trading_assets.trading.dca.planning import MOST_TRIES
from trading_assets.trading.dca.plans import Missed
from trading_assets.trading.dca.schedule import DcaError
from trading_assets.trading.grid.levels import ZERO
from trading_assets.trading.grid.planning import Market
from trading_assets.trading.kept import (
    BY_THE_VENUE,
    FINEST_TICK,
    FORGOTTEN_AFTER_MS,
    LOST_AFTER_MS,
    ending,
    read_executions,
)


@dataclass(frozen=True)
class Seen:
    """What the exchange shows of a plan's symbol, the orders read before what they have filled.

    Attributes:
        instrument: None where the contract is not listed any more.
        send_by: until when stop and target may be set on the position.
    """

    market: Market
    instrument: Instrument | None
    orders: Mapping[str, Order]
    executions: Sequence[Execution]
    position: Position | None
    send_by: SendBy
    now_ms: int


def read(context: ExecutionContext, row: PlanRow, orders: Sequence[PlanOrder]) -> Seen:
    """Read the orders, then the executions, then the position.

    Raises:
        DcaError: something of the symbol cannot be read.
        ExchangeError: the exchange does not answer.
    """
    exchange, symbol = context.exchange, row.symbol
    now_ms = exchange.now_ms()
    rules = context.contracts.get(exchange, {symbol}, context.wall_ms()).get(symbol)
    if rules is None:
        return _read_unlisted(context, row, now_ms)
    open_now = exchange.open_orders(symbol)
    if open_now.may_hide(symbol):
        raise DcaError(f"an open order of {symbol} cannot be read: nothing is done")
    found = {order.order_link_id: order for order in open_now if order.order_link_id}
    for order in orders:
        if order.status != dca.DONE and order.order_link_id not in found:
            looked_up = exchange.find_order(symbol, order.order_link_id)
            if looked_up is not None:
                found[order.order_link_id] = looked_up
    sent_ms = {order.order_link_id: order.created_ms for order in orders if order.status != dca.DONE}
    executions = read_executions(context, row.created_ms, row.read_ms, found, sent_ms)
    if executions.may_hide(symbol):
        raise DcaError(f"an execution of {symbol} cannot be read: nothing is done")
    send_by = context.send_by()
    position = exchange.position(symbol)
    ticker = exchange.ticker(symbol)
    market = Market(ticker.bid, ticker.ask, ticker.last, rules.tick_size, rules.min_qty, rules.min_notional)
    mine = [one for one in executions if one.symbol == symbol]
    return Seen(market, rules, found, mine, position, send_by, now_ms)


def _read_unlisted(context: ExecutionContext, row: PlanRow, now_ms: int) -> Seen:
    """What is left of a contract that is gone: lists of the whole account still show it. A list of it alone, or its
    price, would be refused.
    """
    exchange, symbol = context.exchange, row.symbol
    open_now, send_by, held = exchange.open_orders(), context.send_by(), exchange.positions()
    executions = read_executions(context, row.created_ms, row.read_ms, {}, {})
    if open_now.may_hide(symbol) or held.may_hide(symbol) or executions.may_hide(symbol):
        raise DcaError(f"{symbol} is not listed any more, and rows of it cannot be read: nothing is done")
    last = row.mark_price or ZERO
    return Seen(
        market=Market(last, last, last, tick=FINEST_TICK, min_qty=ZERO, min_notional=ZERO),
        instrument=None,
        orders={one.order_link_id: one for one in open_now if one.symbol == symbol and one.order_link_id},
        executions=[one for one in executions if one.symbol == symbol],
        position=next((one for one in held if one.symbol == symbol and not one.position_idx), None),
        send_by=send_by,
        now_ms=now_ms,
    )


def note_exits(connection: sa.Connection, row: PlanRow, seen: Seen, wall_ms: int) -> None:
    """Keep which orders of the venue have closed the position: its stop, its target, a liquidation, a settlement."""
    rows = {}
    for one in seen.executions:
        is_its_own = one.purpose.is_protective or one.kind not in (FillKind.TRADE, FillKind.OTHER)
        if not one.kind.moves_position or not is_its_own or one.order_link_id:
            continue
        name = (one.order_id or one.exec_id)[:36]
        reason = one.purpose.value if one.purpose in (OrderPurpose.STOP, OrderPurpose.TARGET) else one.kind.value
        new = plan_order_row(row, name, dca.EXIT, one.side, one.qty, seen.now_ms, wall_ms)
        rows[name] = replace(new, status=dca.DONE, order_id=one.order_id or one.exec_id, reason=reason)
    known = dca.known_links(connection, row.account, rows)
    dca.add_orders(connection, [order for name, order in rows.items() if name not in known])


@dataclass(frozen=True)
class Following:
    """Brings the orders of a plan up to what is seen.

    Attributes:
        tell: passes on what a person is to know.
        block: halts the plan until a person has looked at it.
    """

    connection: sa.Connection
    row: PlanRow
    seen: Seen
    wall_ms: int
    tell: Callable[[str], None]
    block: Callable[[str], None]

    def follow(self, order: PlanOrder, before: Sequence[PlanOrder]) -> None:
        """Bring one order up to what is seen of it.

        Args:
            before: the plan's orders, this one among them.
        """
        shown = self.seen.orders.get(order.order_link_id)
        if order.status == dca.DONE:
            if shown is not None and not shown.status.is_final:
                text = "it had been given up, and came after all"
                self._note(order, status=dca.RESTING, order_id=shown.order_id, cancel=text)
            return
        if shown is None:
            self._missed(order)
        elif shown.status.is_final:
            booked, _ = execution_ledger.filled_by(self.connection, self.row.account, order.order_link_id)
            if booked >= shown.filled_qty:  # else its executions are not all shown yet
                self._note(order, status=dca.DONE, order_id=shown.order_id, filled_qty=booked, reason=ending(shown))
                self._after_end(order, shown, booked, before)
        elif shown.filled_qty >= order.filled_qty:  # else a list that lags
            if order.status != dca.RESTING or shown.filled_qty != order.filled_qty:
                self._note(order, status=dca.RESTING, order_id=shown.order_id, filled_qty=shown.filled_qty)
            is_changed = shown.price != order.price or shown.qty != order.qty
            if is_changed and order.purpose == dca.SAFETY and order.cancel is None:
                text = f"somebody else, or the exchange, has changed it from {order.qty} at {order.price}"
                self._note(order, cancel=f"{text} to {shown.qty} at {shown.price}")

    def _missed(self, order: PlanOrder) -> None:
        """Nobody shows an order: it is on its way, never arrived, or has ended long ago."""
        waited = self.wall_ms - order.touched_wall_ms
        if self.seen.instrument is None:
            self._end(order, "its contract is not listed any more")
            return
        if waited < 0 and order.status != dca.UNSENT:
            self._note(order)  # the clock was set back: it is waited for from now on
            return
        if order.status == dca.RESTING:
            if waited >= FORGOTTEN_AFTER_MS:
                self._end(order, "it is not shown any more, and nothing of it was filled")
            return
        if order.status != dca.UNSENT and waited < LOST_AFTER_MS:
            return
        if order.purpose == dca.BUY and order.cancel is None and self._is_in_time(order):
            if order.status != dca.UNSENT:  # the exchange takes an id once, so that it is sent again under its own
                self._note(order, status=dca.UNSENT)
            return
        self._end(order, "it did not reach the exchange in time" if order.purpose == dca.BUY else "it never arrived")

    def _is_in_time(self, order: PlanOrder) -> bool:
        if order.due_ms is None or self.row.state != dca.RUNNING:
            return False
        first = order.created_ms if self.row.missed == Missed.LATEST else order.due_ms
        return self.seen.now_ms - first <= self.row.grace_s * 1000

    def _after_end(self, order: PlanOrder, shown: Order, booked: Decimal, before: Sequence[PlanOrder]) -> None:
        by = shown.cancelled_by
        if shown.status is not OrderStatus.FILLED and by in BY_THE_VENUE and self.row.state != dca.STOPPING:
            self.block(f"the exchange has cancelled its orders {by.value if by else ''}: nothing more is placed")
        if order.purpose != dca.SAFETY or booked or order.cancel is not None:
            return
        failed = 1 + sum(
            (one.round, one.step, one.status, one.cancel, one.filled_qty)
            == (order.round, order.step, dca.DONE, None, ZERO)
            and one.created_ms >= self.row.resumed_ms
            for one in before
            if one.purpose == dca.SAFETY
        )
        if by is CancelledBy.REQUEST:
            self.tell(f"safety order {order.step}: somebody else has cancelled it; it is not placed again")
        elif failed == MOST_TRIES:
            self.tell(f"safety order {order.step} is not placed any more after {failed} tries: {ending(shown)}")

    def _end(self, order: PlanOrder, reason: str) -> None:
        self._note(order, status=dca.DONE, reason=reason)

    def _note(self, order: PlanOrder, **values: object) -> None:
        dca.set_order(self.connection, order.order_link_id, self.seen.now_ms, self.wall_ms, **values)


def settle_buys(connection: sa.Connection, accounts: Accounts) -> list[str]:
    """Give scheduled times whose order has ended their outcome. What was filled after all counts, however late.

    Returns:
        What is to be told of those that were refused.
    """
    told = []
    by_due = {order.due_ms: order for order in accounts.orders if order.purpose == dca.BUY}
    for buy in accounts.buys:
        order = by_due.get(buy.due_ms)
        if order is None or (order.status != dca.DONE and buy.outcome == dca.ORDERED):
            continue
        qty, value = accounts.filled_by(order)
        if qty:
            if (buy.outcome, buy.qty, buy.value) != (dca.FILLED, qty, value):
                dca.set_buy(connection, order, outcome=dca.FILLED, reason=None, qty=qty, value=value)
        elif buy.outcome == dca.ORDERED:
            why = order.cancel or order.reason
            dca.set_buy(connection, order, outcome=dca.REFUSED, reason=why)
            told.append(f"the order of {iso(buy.due_ms)} was not filled: {why}")
    return told


def plan_order_row(
    row: PlanRow, link: str, purpose: str, side: Side, qty: Decimal, now_ms: int, wall_ms: int
) -> PlanOrder:
    """An order as it is reserved."""
    return PlanOrder(
        order_link_id=link,
        plan_id=row.plan_id,
        account=row.account,
        symbol=row.symbol,
        purpose=purpose,
        due_ms=None,
        round=0,
        step=None,
        attempt=0,
        side=side,
        qty=qty,
        price=None,
        worth=ZERO,
        stop_loss=None,
        take_profit=None,
        status=dca.INTENT,
        order_id=None,
        filled_qty=ZERO,
        cancel=None,
        reason=None,
        created_ms=now_ms,
        updated_ms=now_ms,
        touched_wall_ms=wall_ms,
    )
