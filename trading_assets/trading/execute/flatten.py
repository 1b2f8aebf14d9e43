"""Closes every position of ours by reduce-only market orders, by a person's command only. Opens nothing.

It halts trading first, so that nothing is opened meanwhile. The id of each closing order is made from the position's
signal. When it is killed and started again, it finds the orders that it has sent and closes only what is left. A list
without a position does not tell that it is closed: its symbol is asked for, and in the end its closing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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
from trading_assets.core.models import Order, OrderRequest, Position, SendBy
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import dca, grids, orders
from trading_assets.ledger.dca import PlanRow
from trading_assets.ledger.grids import Grid
from trading_assets.ledger.risk import RiskState
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca import control as dca_control
from trading_assets.trading.dca.maintain import maintain as maintain_plans
from trading_assets.trading.grid import control
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.ownership.reading import left_of
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.saga import closers
from trading_assets.trading.saga.recovery import recover

_log = get_logger(__name__)

PASSES = 20
PAUSE_S = 0.2
"""After pass n it waits n times as long, 38 s in all. An order that is in flight when trading halts is settled by its
own process, or 30 s later by this one."""

WITHIN_S = 240.0
SEND_WITHIN_MS = 30_000
"""A closing order is sent within this time of the look that it follows from."""

OUT_OF_TIME = "there was no time left for its closing order: start flatten again"

ORDERS_OF_A_POSITION = 20
"""Most closing orders of one position: one may fill in part, or meet an empty order book."""


@dataclass
class FlattenReport:
    """What was closed (quantity by symbol or leg), what is left and why, and what is not ours.

    Attributes:
        unread: why the account could not be read in the end, empty where it could: then more may be open.
        books: why the books could not be read after it, empty where they could.
        cancelled: symbols of entries that waited and were cancelled first.
        grids: symbols of grids that were stopped, and closed what they held.
        dca: the same of DCA plans.
    """

    closed: dict[str, Decimal] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    unread: str = ""
    books: str = ""
    cancelled: list[str] = field(default_factory=list)
    grids: list[str] = field(default_factory=list)
    dca: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.closed)} closed" + (f" ({', '.join(self.closed)})" if self.closed else "")]
        if self.cancelled:
            parts.insert(0, f"{len(self.cancelled)} waiting entries cancelled ({', '.join(self.cancelled)})")
        if self.grids:
            parts.insert(0, f"{len(self.grids)} grids stopped, their inventory closed ({', '.join(self.grids)})")
        if self.dca:
            parts.insert(0, f"{len(self.dca)} DCA plans stopped, their positions closed ({', '.join(self.dca)})")
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
    """A position to close. The ids of its orders are made from `identity`; `qty` is the quantity to close.

    What is not sent by `send_by` is not sent: by then the position may be another one. The next pass looks again.
    """

    identity: str
    position: Position
    qty: Decimal
    send_by: SendBy

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
    risk_guard.command(
        context.database,
        context.settings.account,
        RiskState.HALTED,
        reason=reason,
        actor=actor,
        now_ms=_now_ms(context),
        tell=context.tell,
    )
    return _close_all(context, foreign=foreign, within_s=within_s)


def close_symbol(context: ExecutionContext, symbol: str, *, within_s: float = WITHIN_S) -> FlattenReport:
    """Cancel the entry that waits in one symbol, and close the position of ours in it; trading goes on.

    It may be started again at any time, as `flatten`.

    Raises:
        WrongBooksError: the key's account is not the ledger's. Nothing was closed.
    """
    return _close_all(context, foreign=False, within_s=within_s, symbol=symbol)


def _close_all(
    context: ExecutionContext, *, foreign: bool, within_s: float, symbol: str | None = None
) -> FlattenReport:
    """Close positions until none is left, those of one symbol or all, and report."""
    account = context.settings.account
    report = FlattenReport()
    waited = [one for one in orders.resting(context.database, account) if symbol in (None, one.symbol)]
    stopped, planned = (
        _symbols(grids.living(context.database, account), symbol),
        _symbols(dca.living(context.database, account), symbol),
    )
    seen: dict[str, Decimal] = {}
    until = time.monotonic() + within_s
    for number in range(1, PASSES + 1):
        if time.monotonic() > until:
            report.unread = report.unread or ("" if number > 1 else "there was no time to read them")
            break
        try:
            context.require_bound()
            _settle_first(context, symbol)
            found = _look(context, foreign=foreign, only=symbol)
            report.unread, report.foreign = "", found.left_alone
            seen = {target.name: target.qty for target in found.targets} | seen
            report.left = found.unknown | {
                target.name: _close(context, target) if time.monotonic() < until else OUT_OF_TIME
                for target in found.targets
            }
            in_flight = {
                intent.symbol
                for intent in orders.unresolved(context.database, account)
                if symbol in (None, intent.symbol)
            }
            report.left |= dict.fromkeys(in_flight, "an order to open it is not settled yet")
            still, left = (
                _symbols(grids.living(context.database, account), symbol),
                _symbols(dca.living(context.database, account), symbol),
            )
            report.left |= dict.fromkeys(still, "its grid has not ended yet")
            report.left |= dict.fromkeys(left, "its DCA plan has not ended yet")
            report.grids = [name for name in stopped if name not in still]
            report.dca = [name for name in planned if name not in left]
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
    rests = {intent.order_link_id for intent in orders.resting(context.database, account)}
    report.cancelled = [intent.symbol for intent in waited if intent.order_link_id not in rests]
    if not report.unread:
        report.closed = {name: size for name, size in seen.items() if name not in report.left}
    try:
        reconcile(context)
    except Exception as error:  # noqa: BLE001 (the report is due whatever breaks)
        report.books = _words(error)
    try:
        _require_evidence(context, report, symbol)
    except Exception as error:  # noqa: BLE001 (likewise)
        report.books = report.books or _words(error)
    is_done = not report.left and not report.unread
    title = "positions closed by command" if is_done else "positions could not all be closed"
    context.notify(title, str(report), Kind.RISK, Severity.WARNING if is_done else Severity.CRITICAL)
    return report


def _require_evidence(context: ExecutionContext, report: FlattenReport, only: str | None) -> None:
    """A position of ours that no order of this run has closed is closed only where the books tell its closing."""
    for intent in orders.occupying(context.database, context.settings.account):
        if only in (None, intent.symbol) and intent.symbol not in report.closed and intent.symbol not in report.left:
            report.left[intent.symbol] = "it is not seen, and no closing tells its end: look at the exchange"


def _settle_first(context: ExecutionContext, symbol: str | None) -> None:
    """Settle what is in flight; where that fails, positions are closed all the same.

    Where all trading is halted, every entry that waits is cancelled with it; the one of a symbol alone, by its request.
    """
    try:
        if symbol is not None:
            _withdraw(context, symbol)
        _stop_grids(context, symbol)
        _stop_plans(context, symbol)
        recover(context)
    except ExchangeFatalError:
        raise
    except Exception:  # noqa: BLE001 (it is tried again in the next pass)
        _log.exception("orders in flight could not be settled")


def _stop_grids(context: ExecutionContext, only: str | None) -> None:
    """Have grids cancel what waits, close what they hold, and end."""
    account, now_ms = context.settings.account, _now_ms(context)
    held = [one for one in grids.living(context.database, account) if only in (None, one.symbol)]
    for grid in held:
        if grid.state != grids.STOPPING or not grid.closes:
            control.stop(context.database, account, grid.symbol, "flatten", now_ms, closes=True)
    if held:
        maintain(context)


def _stop_plans(context: ExecutionContext, only: str | None) -> None:
    """Have DCA plans cancel what waits, close what they hold, and end."""
    account, now_ms = context.settings.account, _now_ms(context)
    held = [one for one in dca.living(context.database, account) if only in (None, one.symbol)]
    for plan in held:
        if plan.state != dca.STOPPING or not plan.closes:
            dca_control.stop(context.database, account, plan.symbol, "flatten", now_ms, closes=True)
    if held:
        maintain_plans(context)


def _symbols(rows: Sequence[Grid] | Sequence[PlanRow], only: str | None) -> list[str]:
    return [one.symbol for one in rows if only in (None, one.symbol)]


def _withdraw(context: ExecutionContext, symbol: str) -> None:
    """Record that what waits in a symbol is to be cancelled: whoever follows it next sends the request."""
    now_ms, account = _now_ms(context), context.settings.account
    with context.database.write() as connection:
        for intent in orders.resting(connection, account):
            if intent.symbol == symbol and intent.request != orders.CANCEL:
                orders.ask(connection, intent, orders.CANCEL, "its symbol was closed by command", now_ms)


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


def _look(context: ExecutionContext, *, foreign: bool, only: str | None) -> _Found:
    """Read the positions, and tell ours from those of others. One that the list lacks is asked for by its symbol.

    Args:
        only: look at this symbol alone.
    """
    account = context.settings.account
    ours = {intent.symbol: intent for intent in orders.occupying(context.database, account)}
    planned = {
        *_symbols(grids.living(context.database, account), None),
        *_symbols(dca.living(context.database, account), None),
    }
    found, send_by = _Found([], [], {}), context.send_by(SEND_WITHIN_MS)
    positions = list(context.exchange.positions())
    expected = {symbol for symbol, intent in ours.items() if intent.status not in orders.UNRESOLVED}
    if foreign:
        expected |= set(account_ledger.position_rows(context.database, account)["symbol"])
    for symbol in sorted(expected - {position.symbol for position in positions}):
        if only not in (None, symbol):
            continue
        try:
            position = context.exchange.position(symbol)
        except ExchangeError as error:
            found.unknown[symbol] = f"it is not known whether it is open: {error}"
            continue
        if position is not None:
            positions.append(position)
    for position in positions:
        if only not in (None, position.symbol) or position.symbol in planned:
            continue  # a grid or a DCA plan closes what it holds
        intent = ours.get(position.symbol) if position.position_idx == 0 else None  # we trade in one-way mode
        if intent is not None and intent.status in orders.UNRESOLVED:
            continue  # its own process, or the next pass, settles it first
        if foreign:
            identity = f"{account}:{position.symbol}:{position.side.value}:{position.opened_ms}"
            found.targets.append(_Target(identity, position, position.size, send_by))
        elif intent is None or intent.side is not position.side:
            found.left_alone.append(position.symbol)
        else:
            target = _Target(intent.signal_id, position, intent.filled_qty or intent.qty, send_by)
            sent = [*_sent(context, target), *closers.of_plan(context, intent)]
            left = left_of(context, intent, target.qty, sent)
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
                send_by=target.send_by,
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
