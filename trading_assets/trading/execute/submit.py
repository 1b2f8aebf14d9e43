"""From waiting signals to positions with their stops: once each, or not at all. The only place that opens positions.

Signals are gated and reserved one after the other, the most confident first, so that limits hold exactly; what was
reserved is sent at once, several symbols side by side, and followed to its end after all have been sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.core.events import Failure
from trading_assets.core.models import Instrument, Side, Ticker
from trading_assets.ledger import account as books
from trading_assets.ledger import checks, leases, orders
from trading_assets.ledger import signals as ledger
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext, trading_lease
from trading_assets.trading.decide.sizing import Size, Unsizable, size_position
from trading_assets.trading.execute import steps
from trading_assets.trading.execute.recovery import recover
from trading_assets.trading.execute.saga import Step
from trading_assets.trading.portfolio import account_snapshot
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk.guard import admit
from trading_assets.trading.risk.pre_trade import Account, Candidate

LEASE_MS = 30_000
"""A submitter that died keeps others waiting for so long."""

TIME_LASTS_MS = 200
"""The venue's time is asked again after so long by the local clock."""

ALL_TICKERS_FROM = 4
"""From so many symbols on, all tickers in one answer cost less than one each."""

Row = dict[str, Any]
"""A waiting signal: a row of `entry_signals`."""

_Result = TypeVar("_Result")


@dataclass
class SubmitReport:
    """What became of the waiting signals: executed and rejected ids, refusals by id, outcomes still open.

    `refused` tells with the same words for all signals when this process may not, or cannot, open anything now.
    """

    expired: int = 0
    executed: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    recovered: int = 0


def submit_orders(context: ExecutionContext) -> SubmitReport:
    """Settle what an earlier process left open, expire old signals, and execute those that every gate lets through.

    A signal for which the account cannot be read waits; nothing is opened blindly, or while another process trades.

    Raises:
        ExchangeError: the exchange's time cannot be read; nothing was opened.
        LeaseLostError: the caller's lease is another's now; nothing more was opened.
    """
    report = SubmitReport()
    report.recovered = recover(context)
    clock = _VenueClock(context)
    report.expired = ledger.expire(context.database, context.settings.account, clock.now_ms())
    rows = ledger.active(context.database, context.settings.account)
    if not rows:
        return report
    with _lease(context) as lease:
        if lease is None:
            reason = f"another process trades this account: {_holder(context)}"
            report.refused = {str(row["signal_id"]): reason for row in rows}
            return report
        try:
            _agree(context, clock.now_ms())
            market = _read(context, rows, clock.now_ms())
        except ExchangeError as error:
            for row in rows:
                _refuse(context, str(row["signal_id"]), f"the account cannot be read: {error}", report, final=False)
            return report
        _execute(context, lease, rows, market, clock, report)
    return report


class _VenueClock:
    """The venue's time, asked at most every `TIME_LASTS_MS`: asking is a call, where the clock is virtual."""

    def __init__(self, context: ExecutionContext) -> None:
        self._desk = context
        self._asked_wall_ms: int | None = None
        self._now_ms = 0

    def now_ms(self) -> int:
        wall_ms = self._desk.wall_ms()
        if self._asked_wall_ms is None or not 0 <= wall_ms - self._asked_wall_ms < TIME_LASTS_MS:
            self._now_ms = self._desk.exchange.now_ms()
            self._asked_wall_ms = wall_ms
        return self._now_ms


@dataclass(frozen=True)
class _Market:
    """What the gates need, read once for all waiting signals."""

    instruments: Mapping[str, Instrument]
    tickers: Mapping[str, Ticker]
    account: Account
    foreign: int
    """symbols with a position that is not ours: each takes one of the account's places"""
    barred: Mapping[str, str]
    """what checks have against a signal, by id"""


@contextmanager
def _lease(context: ExecutionContext) -> Iterator[Lease | None]:
    """The caller's lease, or one for the block; None while another process has it."""
    if context.lease is not None:
        yield context.lease
        return
    name = trading_lease(context.settings.account)
    lease = leases.acquire(context.database, name, leases.this_holder(), ttl_ms=LEASE_MS, wall_ms=context.wall_ms())
    try:
        yield lease
    finally:
        if lease is not None:
            leases.release(context.database, lease)


def _holder(context: ExecutionContext) -> str:
    name = trading_lease(context.settings.account)
    lease = leases.holder_of(context.database, name, wall_ms=context.wall_ms())
    return lease.holder if lease is not None else "it has just ended"


def _agree(context: ExecutionContext, now_ms: int) -> None:
    """Compare the books first where that was never done, or long ago.

    Raises:
        ExchangeError: they cannot be read.
    """
    until_ms = books.reconciled_until_ms(context.database, context.settings.account)
    if until_ms is None or now_ms - until_ms > context.settings.max_reconciliation_age_s * 1000:
        reconcile(context)


def _read(context: ExecutionContext, rows: list[Row], now_ms: int) -> _Market:
    exchange, symbols = context.exchange, {str(row["symbol"]) for row in rows}
    instruments = context.rules.of(exchange, symbols, context.wall_ms())
    listed = sorted(symbols & instruments.keys())
    if len(listed) < ALL_TICKERS_FROM:
        tickers = {symbol: exchange.ticker(symbol) for symbol in listed}
    else:
        tickers = exchange.tickers()
    account = account_snapshot(context.database, exchange, context.settings.account, now_ms)
    foreign = {position.symbol for position in account.positions} - account.occupied
    return _Market(instruments, tickers, account, len(foreign), checks.barred(context.database, rows))


def _execute(
    context: ExecutionContext, lease: Lease, rows: list[Row], market: _Market, clock: _VenueClock, report: SubmitReport
) -> None:
    """Gate and reserve in turn, send side by side, then follow what was sent; what broke is raised when all is done."""
    account, sent = market.account, list[tuple[Intent, Future[Intent | None]]]()
    broken: list[Exception] = []
    with _lanes(context, len(rows)) as run:
        try:
            for row in rows:
                ready = _gate(context, row, market, account, clock.now_ms(), report)
                if ready is None:
                    continue
                size, price = ready
                intent = _reserve(context, lease, row, size, market.foreign, clock.now_ms(), report)
                if intent is None:
                    continue
                account = _after(account, intent, price)
                left_ms = int(row["ttl_ms"]) - intent.created_ms
                send_by = intent.touched_wall_ms + min(steps.SEND_WITHIN_MS, left_ms)
                sent.append((intent, run(steps.send, context, intent, send_by)))
        except TradingAssetsError as error:
            broken.append(error)  # what was reserved is still followed
        followed = []
        for intent, sending in sent:
            after = sending.result() if sending.exception() is None else None
            open_still = after is not None and after.status in orders.UNRESOLVED
            followed.append((intent, run(steps.confirm, context, after) if open_still else sending))
        for intent, ending in followed:
            _tell(context, intent, ending, report, broken)
    if broken:
        raise broken[0]


def _tell(
    context: ExecutionContext,
    intent: Intent,
    ending: Future[Intent | None],
    report: SubmitReport,
    broken: list[Exception],
) -> None:
    """Put one order's end into the report."""
    why = "the exchange does not show its end yet"
    after: Intent | None = None
    try:
        after = ending.result()
    except ExchangeError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 (raised by the caller, after the other orders)
        broken.append(error)
        why = str(error)
    match after.status if after is not None else None:
        case orders.CONFIRMED:
            report.executed.append(intent.signal_id)
        case orders.REJECTED | orders.ABANDONED:
            report.rejected[intent.signal_id] = after.reason if after is not None and after.reason else ""
        case _:
            report.unknown.append(intent.signal_id)
            steps.tell_failure(context, intent, Failure.UNKNOWN, f"{why}; it is looked up again")


def _gate(
    context: ExecutionContext, row: Row, market: _Market, account: Account, now_ms: int, report: SubmitReport
) -> tuple[Size, Decimal] | None:
    signal_id, symbol = str(row["signal_id"]), str(row["symbol"])
    instrument, ticker = market.instruments.get(symbol), market.tickers.get(symbol)
    if instrument is None:
        _refuse(context, signal_id, f"{symbol} is not listed", report, final=True)
        return None
    if ticker is None:
        _refuse(context, signal_id, f"the exchange has no ticker of {symbol}", report, final=False)
        return None
    candidate = Candidate(
        symbol=symbol,
        strategy=str(row["strategy"]),
        confidence=float(row["confidence"]),
        entry_price=Decimal(str(row["entry_price"])),
        hour_ms=int(row["hour_ms"]),
        ttl_ms=int(row["ttl_ms"]),
        barred=market.barred.get(signal_id),
    )
    shut = admit(
        context.database,
        context.settings,
        context.notify,
        candidate=candidate,
        ticker=ticker,
        account=account,
        now_ms=now_ms,
        told=isinstance(row["reason"], str),
    )
    if shut:
        reason = "; ".join(map(str, shut))
        _refuse(context, signal_id, reason, report, final=any(refusal.final for refusal in shut))
        return None
    size = size_position(instrument, ticker.last, context.settings)
    if isinstance(size, Unsizable):
        _refuse(context, signal_id, size.reason, report, final=True)
        return None
    return size, ticker.last


def _reserve(
    context: ExecutionContext, lease: Lease, row: Row, size: Size, foreign: int, now_ms: int, report: SubmitReport
) -> Intent | None:
    signal_id, symbol = str(row["signal_id"]), str(row["symbol"])
    intent = Intent(
        order_link_id=context.exchange.order_ids.encode(signal_id),
        signal_id=signal_id,
        account=context.settings.account,
        symbol=symbol,
        side=Side.BUY if row["position_type"] == "LONG" else Side.SELL,
        qty=size.qty,
        stop_loss=Decimal(str(row["stop_loss"])),
        take_profit=Decimal(str(row["take_profit"])),
        leverage=size.leverage,
        status=orders.INTENT,
        order_id=None,
        created_ms=now_ms,
        touched_wall_ms=context.wall_ms(),
    )
    places = context.settings.max_positions - foreign
    with context.step(Step.RESERVE):
        if orders.reserve(context.database, intent, max_open=places, wall_ms=intent.touched_wall_ms, lease=lease):
            return intent
    report.refused[signal_id] = f"another process works on it, {symbol} has an open order, or all are taken"
    return None


def _refuse(context: ExecutionContext, signal_id: str, reason: str, report: SubmitReport, *, final: bool) -> None:
    ledger.note(context.database, signal_id, reason, status=ledger.REJECTED if final else None)
    (report.rejected if final else report.refused)[signal_id] = reason


def _after(account: Account, intent: Intent, price: Decimal) -> Account:
    """The account once the intent is a position: the next signal is gated on it."""
    margin = intent.qty * price / intent.leverage
    wallet = replace(account.wallet, available=account.wallet.available - margin)
    return replace(account, wallet=wallet, occupied=account.occupied | {intent.symbol})


Run = Callable[..., "Future[Any]"]


@contextmanager
def _lanes(context: ExecutionContext, count: int) -> Iterator[Run]:
    """Runs calls side by side, each symbol's in its order; a single one, and one lane, at once and in this thread."""
    if count == 1 or context.lanes == 1:
        yield _at_once
        return
    with ThreadPoolExecutor(min(count, context.lanes), thread_name_prefix="orders") as pool:
        yield pool.submit


def _at_once(call: Callable[..., _Result], *args: object) -> Future[_Result]:
    future: Future[_Result] = Future()
    try:
        future.set_result(call(*args))
    except Exception as error:  # noqa: BLE001 (raised again by whoever asks for the result)
        future.set_exception(error)
    return future
