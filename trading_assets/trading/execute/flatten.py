"""Closes every position of ours by reduce-only market orders, by a person's command only. Opens nothing.

It halts trading first, so that nothing is opened meanwhile. The id of each closing order is made from the position's
signal. When it is killed and started again, it finds the orders that it has sent and closes only what is left. A list
without a position does not tell that it is closed: its symbol is asked for, and in the end its closing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeFatalError,
    StorageError,
    TradingAssetsError,
    WrongBooksError,
)
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.messages import Kind, Severity
from trading_assets.core.models import Order, OrderRequest, Position
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.risk import RiskState
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.ownership.reading import left_of
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.saga.recovery import recover

_log = get_logger(__name__)

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
    Once trading is halted, nothing but the end of the process keeps the report from the caller.

    Raises:
        WrongBooksError: the key's account is not the ledger's. Nothing was closed; trading was not halted, unless the
            venue could not be asked at first.
        StorageError: the ledger cannot be written, so trading cannot be halted.
    """
    with suppress(ExchangeError):  # asked again before anything is closed: a venue that is down stops no halt
        context.require_bound()
    account = context.settings.account
    risk_guard.command(
        context.database,
        account,
        RiskState.HALTED,
        reason=reason,
        actor=actor,
        now_ms=_now_ms(context),
        tell=context.tell,
    )
    report = FlattenReport()
    seen: dict[str, Decimal] = {}
    until = time.monotonic() + within_s
    for number in range(1, PASSES + 1):
        if time.monotonic() > until:
            report.unread = report.unread or ("" if number > 1 else "there was no time to read them")
            break
        try:
            context.require_bound()
            _settle_first(context)
            found = _look(context, foreign=foreign)
            report.unread, report.foreign = "", found.left_alone
            seen = {target.name: target.qty for target in found.targets} | seen
            report.left = found.unknown | {
                target.name: _close(context, target) if time.monotonic() < until else OUT_OF_TIME
                for target in found.targets
            }
            in_flight = {intent.symbol for intent in orders.unresolved(context.database, account)}
            report.left |= dict.fromkeys(in_flight, "an order to open it is not settled yet")
            if not report.left:
                break
        except WrongBooksError:
            raise
        except ExchangeFatalError as error:
            report.unread = str(error)
            _tell(context, error)
            break
        except Exception as error:  # noqa: BLE001 (whatever breaks, what was done is reported and the rest is tried)
            report.unread = _words(error)
        context.sleep(PAUSE_S * number)
    if not report.unread:
        report.closed = {name: size for name, size in seen.items() if name not in report.left}
    try:
        reconcile(context)
    except Exception as error:  # noqa: BLE001 (the report is due whatever breaks)
        report.books = _words(error)
    try:
        _require_evidence(context, report)
    except Exception as error:  # noqa: BLE001 (likewise)
        report.books = report.books or _words(error)
    is_done = not report.left and not report.unread
    title = "positions closed by command" if is_done else "positions could not all be closed"
    context.notify(title, str(report), Kind.RISK, Severity.WARNING if is_done else Severity.CRITICAL)
    return report


def _require_evidence(context: ExecutionContext, report: FlattenReport) -> None:
    """A position of ours that no order of this run has closed is closed only where the books tell its closing."""
    for intent in orders.occupying(context.database, context.settings.account):
        if intent.symbol not in report.closed and intent.symbol not in report.left:
            report.left[intent.symbol] = "it is not seen, and no closing tells its end: look at the exchange"


def _settle_first(context: ExecutionContext) -> None:
    """Settle what is in flight; where that fails, positions are closed all the same."""
    try:
        recover(context)
    except ExchangeFatalError:
        raise
    except Exception:  # noqa: BLE001 (it is tried again in the next pass)
        _log.exception("orders in flight could not be settled")


def _tell(context: ExecutionContext, error: ExchangeFatalError, *, of_order: bool = False) -> None:
    """Tell a refusal of the whole account; a ledger that cannot be written keeps nothing from being closed."""
    with suppress(StorageError):
        account_refusals.tell(context, error, of_order=of_order)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, TradingAssetsError) else f"{type(error).__name__}: {error}"


def _now_ms(context: ExecutionContext) -> int:
    """The venue's time; the local clock where it does not answer, for nothing may keep a person from halting."""
    try:
        return context.exchange.now_ms()
    except ExchangeError:
        return context.wall_ms()


@dataclass(frozen=True)
class _Found:
    """What is to be closed, what others hold, and of which symbols it is not known, with the reason."""

    targets: list[_Target]
    left_alone: list[str]
    unknown: dict[str, str]


def _look(context: ExecutionContext, *, foreign: bool) -> _Found:
    """Read the positions, and tell ours from those of others. One that the list lacks is asked for by its symbol."""
    account = context.settings.account
    ours = {intent.symbol: intent for intent in orders.occupying(context.database, account)}
    found = _Found([], [], {})
    positions = list(context.exchange.positions())
    expected = {symbol for symbol, intent in ours.items() if intent.status not in orders.UNRESOLVED}
    if foreign:
        expected |= set(account_ledger.position_rows(context.database, account)["symbol"])
    for symbol in sorted(expected - {position.symbol for position in positions}):
        try:
            position = context.exchange.position(symbol)
        except ExchangeError as error:
            found.unknown[symbol] = f"it is not known whether it is open: {error}"
            continue
        if position is not None:
            positions.append(position)
    for position in positions:
        intent = ours.get(position.symbol) if position.position_idx == 0 else None  # we trade in one-way mode
        if intent is not None and intent.status in orders.UNRESOLVED:
            continue  # its own process, or the next pass, settles it first
        if foreign:
            identity = f"{account}:{position.symbol}:{position.side.value}:{position.opened_ms}"
            found.targets.append(_Target(identity, position, position.size))
        elif intent is None or intent.side is not position.side:
            found.left_alone.append(position.symbol)
        else:
            target = _Target(intent.signal_id, position, intent.filled_qty or intent.qty)
            left = left_of(context, intent, target.qty, _sent(context, target))
            if left > 0:
                found.targets.append(replace(target, qty=min(left, position.size)))
            if left < position.size:
                found.left_alone.append(f"{position.size - left} {position.symbol}")
    return found


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
        _tell(context, error, of_order=True)
        return str(error)
    except Exception as error:  # noqa: BLE001 (the next pass looks for the order, and at what is left)
        return _words(error)
    return "its closing order did not fill"


def _links(context: ExecutionContext, target: _Target) -> Iterator[str]:
    encode = context.exchange.order_ids.encode
    return (encode(target.identity, f"f{number}") for number in range(1, ORDERS_OF_A_POSITION + 1))
