"""Closes every position of ours by reduce-only market orders, by a person's command only. Opens nothing.

It halts trading first, so that nothing is opened meanwhile. The id of each closing order is made from the position's
signal. When it is killed and started again, it finds the orders that it has sent and closes only what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading_assets.core.errors import ExchangeError
from trading_assets.core.models import Order, OrderRequest, Position
from trading_assets.ledger import orders
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.saga.recovery import recover

PASSES = 20
PAUSE_S = 0.2
"""After pass n it waits n times as long, 38 s in all. An order that is in flight when trading halts is settled by its
own process, or 30 s later by this one."""

ORDERS_OF_A_POSITION = 20
"""Most closing orders of one position: one may fill in part, or meet an empty order book."""


@dataclass
class FlattenReport:
    """What was closed (quantity by symbol), what is left and why, and what is not ours."""

    closed: dict[str, Decimal] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.closed)} closed" + (f" ({', '.join(self.closed)})" if self.closed else "")]
        parts += [f"{symbol} is still open: {why}" for symbol, why in self.left.items()]
        if self.foreign:
            parts.append(f"not opened by this system and left alone: {', '.join(self.foreign)}")
        return "; ".join(parts)


@dataclass(frozen=True)
class _Target:
    """A position to close. The ids of its orders are made from `identity`; `qty` is the quantity to close."""

    identity: str
    position: Position
    qty: Decimal


def flatten(context: ExecutionContext, *, reason: str, actor: str, foreign: bool = False) -> FlattenReport:
    """Halt trading and close every position of ours; with `foreign` also positions that others opened.

    Raises:
        ExchangeError: the positions cannot be read; trading is halted, what was closed before stays closed.
    """
    account, now_ms = context.settings.account, context.exchange.now_ms()
    risk_guard.command(context.database, account, RiskState.HALTED, reason=reason, actor=actor, now_ms=now_ms)
    report = FlattenReport()
    seen: dict[str, Decimal] = {}
    for number in range(1, PASSES + 1):
        recover(context)
        targets, report.foreign = _targets(context, foreign=foreign)
        seen = {target.position.symbol: target.position.size for target in targets} | seen
        report.left = {target.position.symbol: _close(context, target) for target in targets}
        in_flight = {intent.symbol for intent in orders.unresolved(context.database, account)}
        report.left |= dict.fromkeys(in_flight, "an order to open it is not settled yet")
        if not report.left:
            break
        context.sleep(PAUSE_S * number)
    report.closed = {symbol: size for symbol, size in seen.items() if symbol not in report.left}
    reconcile(context)
    context.notify("positions could not all be closed" if report.left else "positions closed by command", str(report))
    return report


def _targets(context: ExecutionContext, *, foreign: bool) -> tuple[list[_Target], list[str]]:
    """Return the positions to close, and the positions of others to leave alone."""
    ours = {intent.symbol: intent for intent in orders.occupying(context.database, context.settings.account)}
    targets, left_alone = [], []
    for position in context.exchange.positions():
        intent = ours.get(position.symbol)
        if intent is not None and intent.status in orders.UNRESOLVED:
            continue  # its own process, or the next pass, settles it first
        if foreign or intent is None or intent.side is not position.side:
            if foreign:
                identity = f"{context.settings.account}:{position.symbol}:{position.side.value}:{position.opened_ms}"
                targets.append(_Target(identity, position, position.size))
            else:
                left_alone.append(position.symbol)
            continue
        opened = intent.filled_qty or intent.qty
        target = _Target(intent.signal_id, position, opened)
        ours_left = opened - sum((order.filled_qty for order in _sent(context, target)), Decimal(0))
        if ours_left > 0:
            targets.append(replace(target, qty=min(ours_left, position.size)))
        if ours_left < position.size:
            left_alone.append(f"{position.size - max(ours_left, Decimal(0))} {position.symbol}")
    return targets, left_alone


def _sent(context: ExecutionContext, target: _Target) -> list[Order]:
    """Return the closing orders that this run and earlier ones have sent."""
    symbol = target.position.symbol
    sent = []
    for link in _links(context, target):
        order = context.exchange.find_order(symbol, link)
        if order is None:
            break
        sent.append(order)
    return sent


def _close(context: ExecutionContext, target: _Target) -> str:
    """Send an order for what is left of a position, unless one is open. Return what to report until it is closed."""
    symbol = target.position.symbol
    try:
        sent = _sent(context, target)
        if sent and not sent[-1].status.is_final:
            return "its closing order is under way"
        if len(sent) == ORDERS_OF_A_POSITION:
            return f"{len(sent)} orders did not close it: close it at the exchange"
        context.exchange.place_order(
            OrderRequest(
                symbol=symbol,
                side=target.position.side.opposite,
                qty=target.qty,
                order_link_id=list(_links(context, target))[len(sent)],
                reduce_only=True,
            )
        )
    except ExchangeError as error:  # the next pass looks for the order, and at what is left
        return str(error)
    return "its closing order did not fill"


def _links(context: ExecutionContext, target: _Target) -> Iterator[str]:
    encode = context.exchange.order_ids.encode
    return (encode(target.identity, f"f{number}") for number in range(1, ORDERS_OF_A_POSITION + 1))
