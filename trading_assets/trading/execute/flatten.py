"""Closes every position of ours by reduce-only market orders, by a person's command only. Opens nothing.

It halts trading first, so that nothing is opened meanwhile. The id of each closing order is made from the position's
signal. When it is killed and started again, it finds the orders that it has sent and closes only what is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading_assets.core.errors import ExchangeError, ExchangeFatalError, TradingAssetsError
from trading_assets.core.models import Order, OrderRequest, Position
from trading_assets.ledger import orders
from trading_assets.ledger.risk import RiskState
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.saga.recovery import recover

PASSES = 20
PAUSE_S = 0.2
"""After pass n it waits n times as long, 38 s in all. An order that is in flight when trading halts is settled by its
own process, or 30 s later by this one."""

WITHIN_S = 240.0
OUT_OF_TIME = "there was no time left for its closing order: start flatten again"

ORDERS_OF_A_POSITION = 20
"""Most closing orders of one position: one may fill in part, or meet an empty order book."""


@dataclass
class FlattenReport:
    """What was closed (quantity by symbol or leg), what is left and why, and what is not ours.

    Attributes:
        unread: why the account could not be read in the end, empty where it could: then more may be open.
        books: why the books could not be read after it, empty where they could.
    """

    closed: dict[str, Decimal] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    unread: str = ""
    books: str = ""

    def __str__(self) -> str:
        parts = [f"{len(self.closed)} closed" + (f" ({', '.join(self.closed)})" if self.closed else "")]
        parts += [f"{name} is still open: {why}" for name, why in self.left.items()]
        if self.foreign:
            parts.append(f"not opened by this system and left alone: {', '.join(self.foreign)}")
        if self.unread:
            parts.append(f"the positions cannot be read, look at the exchange: {self.unread}")
        if self.books:
            parts.append(f"the books could not be read afterwards: {self.books}")
        return "; ".join(parts)


@dataclass(frozen=True)
class _Target:
    """A position to close. The ids of its orders are made from `identity`; `qty` is the quantity to close."""

    identity: str
    position: Position
    qty: Decimal

    @property
    def name(self) -> str:
        """The symbol, and which of two legs."""
        legs = {1: " long leg", 2: " short leg"}
        return f"{self.position.symbol}{legs.get(self.position.position_idx, '')}"


def flatten(
    context: ExecutionContext, *, reason: str, actor: str, foreign: bool = False, within_s: float = WITHIN_S
) -> FlattenReport:
    """Halt trading and close every position of ours; with `foreign` also positions that others opened.

    It ends within `within_s` and the time of a request; what is still open then, it reports.

    What fails for one position is reported, and tried again with the next pass; the others are closed all the same.

    Raises:
        WrongBooksError: the key's account is not the ledger's. Nothing was closed; trading was not halted, unless the
            venue could not be asked at first.
        StorageError: the ledger cannot be written, so trading cannot be halted.
    """
    with suppress(ExchangeError):  # asked again before anything is closed: a venue that is down stops no halt
        context.require_bound()
    account = context.settings.account
    risk_guard.command(context.database, account, RiskState.HALTED, reason=reason, actor=actor, now_ms=_now_ms(context))
    report = FlattenReport()
    seen: dict[str, Decimal] = {}
    until = time.monotonic() + within_s
    for number in range(1, PASSES + 1):
        if time.monotonic() > until:
            report.unread = report.unread or ("" if number > 1 else "there was no time to read them")
            break
        try:
            context.require_bound()
            recover(context)
            targets, report.foreign = _targets(context, foreign=foreign)
        except ExchangeError as error:
            report.unread = str(error)
            if isinstance(error, ExchangeFatalError):
                account_refusals.tell(context, error)
                break
            context.sleep(PAUSE_S * number)
            continue
        report.unread = ""
        seen = {target.name: target.position.size for target in targets} | seen
        report.left = {
            target.name: _close(context, target) if time.monotonic() < until else OUT_OF_TIME for target in targets
        }
        in_flight = {intent.symbol for intent in orders.unresolved(context.database, account)}
        report.left |= dict.fromkeys(in_flight, "an order to open it is not settled yet")
        if not report.left:
            break
        context.sleep(PAUSE_S * number)
    if not report.unread:
        report.closed = {name: size for name, size in seen.items() if name not in report.left}
    try:
        reconcile(context)
    except TradingAssetsError as error:
        report.books = str(error)
    is_done = not report.left and not report.unread
    context.notify("positions closed by command" if is_done else "positions could not all be closed", str(report))
    return report


def _now_ms(context: ExecutionContext) -> int:
    """The venue's time; the local clock where it does not answer, for nothing may keep a person from halting."""
    try:
        return context.exchange.now_ms()
    except ExchangeError:
        return context.wall_ms()


def _targets(context: ExecutionContext, *, foreign: bool) -> tuple[list[_Target], list[str]]:
    """Return the positions to close, and the positions of others to leave alone."""
    ours = {intent.symbol: intent for intent in orders.occupying(context.database, context.settings.account)}
    targets, left_alone = [], []
    for position in context.exchange.positions():
        intent = ours.get(position.symbol) if position.position_idx == 0 else None  # we trade in one-way mode
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
                position_idx=target.position.position_idx,
            )
        )
    except ExchangeFatalError as error:
        account_refusals.tell(context, error, of_order=True)
        return str(error)
    except ExchangeError as error:  # the next pass looks for the order, and at what is left
        return str(error)
    return "its closing order did not fill"


def _links(context: ExecutionContext, target: _Target) -> Iterator[str]:
    encode = context.exchange.order_ids.encode
    return (encode(target.identity, f"f{number}") for number in range(1, ORDERS_OF_A_POSITION + 1))
