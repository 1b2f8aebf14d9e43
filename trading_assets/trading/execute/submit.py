"""Turns waiting signals into positions with their stops, each once or not at all. Only this module opens positions.

What becomes of a signal, `plan` decides; the steps of an order are in `saga.steps`. Signals are planned and reserved
one after the other, the most confident first, so that limits hold exactly. Then all reserved orders are sent in
parallel, and looked up after all have been sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.core.events import Failure
from trading_assets.core.models import Side
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import checks, leases, orders, signals
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext, trading_lease
from trading_assets.trading.decide.sizing import Size
from trading_assets.trading.execute.plan import Market, Refused, Row, account_after, plan_entry
from trading_assets.trading.execute.workers import worker_pool
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.risk.pre_trade import Account
from trading_assets.trading.saga import steps
from trading_assets.trading.saga.recovery import recover

LEASE_MS = 30_000
"""Others wait this long for a process that died while it submitted."""

TIME_AGE_MS = 200
"""The venue's time is asked again after this time by the local clock."""

ALL_TICKERS_FROM = 4
"""From this number of symbols on, one request for all tickers costs less than one each."""


@dataclass
class SubmitReport:
    """What became of the waiting signals: executed and rejected ids, refusals by id, orders with unknown outcome.

    `refused` has the same reason for every signal when this process may not, or cannot, open anything now.
    """

    expired: int = 0
    executed: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    recovered: int = 0


def submit_orders(context: ExecutionContext) -> SubmitReport:
    """Settle what an earlier process left open, expire old signals, and execute those that every gate lets through.

    When the account cannot be read, signals wait. Nothing is opened while another process trades the account.

    Raises:
        ExchangeError: the exchange's time cannot be read; nothing was opened.
        LeaseLostError: another process has the caller's lease now; nothing more was opened.
    """
    report = SubmitReport()
    report.recovered = recover(context)
    clock = _VenueClock(context)
    report.expired = signals.expire(context.database, context.settings.account, clock.now_ms())
    rows = signals.active(context.database, context.settings.account)
    if not rows:
        return report
    with _lease(context) as lease:
        if lease is None:
            reason = f"another process trades this account: {_holder(context)}"
            report.refused = {str(row["signal_id"]): reason for row in rows}
            return report
        try:
            _reconcile_if_old(context, clock.now_ms())
            market, account = _read(context, rows, clock.now_ms())
        except ExchangeError as error:
            refused = Refused(f"the account cannot be read: {error}", final=False)
            for row in rows:
                _refuse(context, str(row["signal_id"]), refused, report)
            return report
        _execute(context, lease, rows, market, account, clock, report)
    return report


class _VenueClock:
    """The venue's time, asked at most every `TIME_AGE_MS`: where the clock is virtual, each question is a request."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context
        self._asked_wall_ms: int | None = None
        self._now_ms = 0

    def now_ms(self) -> int:
        wall_ms = self._context.wall_ms()
        if self._asked_wall_ms is None or not 0 <= wall_ms - self._asked_wall_ms < TIME_AGE_MS:
            self._now_ms = self._context.exchange.now_ms()
            self._asked_wall_ms = wall_ms
        return self._now_ms


@contextmanager
def _lease(context: ExecutionContext) -> Iterator[Lease | None]:
    """Give the caller's lease, or one for the block; None while another process has it."""
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


def _reconcile_if_old(context: ExecutionContext, now_ms: int) -> None:
    """Reconcile first where that was never done, or long ago.

    Raises:
        ExchangeError: the account cannot be read.
    """
    until_ms = account_ledger.reconciled_until_ms(context.database, context.settings.account)
    if until_ms is None or now_ms - until_ms > context.settings.max_reconciliation_age_s * 1000:
        reconcile(context)


def _read(context: ExecutionContext, rows: list[Row], now_ms: int) -> tuple[Market, Account]:
    exchange, symbols = context.exchange, {str(row["symbol"]) for row in rows}
    instruments = context.contracts.get(exchange, symbols, context.wall_ms())
    listed = sorted(symbols & instruments.keys())
    if len(listed) < ALL_TICKERS_FROM:
        tickers = {symbol: exchange.ticker(symbol) for symbol in listed}
    else:
        tickers = exchange.tickers()
    account = risk_guard.account_snapshot(context.database, exchange, context.settings.account, now_ms)
    foreign = {position.symbol for position in account.positions} - account.occupied
    return Market(instruments, tickers, len(foreign), checks.blocked(context.database, rows)), account


def _execute(
    context: ExecutionContext,
    lease: Lease,
    rows: list[Row],
    market: Market,
    account: Account,
    clock: _VenueClock,
    report: SubmitReport,
) -> None:
    """Plan and reserve in turn, send in parallel, then look up what was sent. Errors are raised when all is done."""
    sent = list[tuple[Intent, Future[Intent | None]]]()
    broken: list[Exception] = []
    places = context.settings.max_positions - market.foreign
    with worker_pool(len(rows), context.workers) as run:
        try:
            for row in rows:
                now_ms = clock.now_ms()
                plan = plan_entry(row, market, account, context.settings, now_ms)
                if plan.refusals is not None:
                    alerted = isinstance(row["reason"], str)
                    risk_guard.enforce(context, str(row["symbol"]), account, plan.refusals, now_ms, alerted=alerted)
                if isinstance(plan.outcome, Refused):
                    _refuse(context, str(row["signal_id"]), plan.outcome, report)
                    continue
                intent = _reserve(context, lease, row, plan.outcome.size, places, clock.now_ms(), report)
                if intent is None:
                    continue
                account = account_after(account, intent, plan.outcome.price)
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
            _add_outcome(context, intent, ending, report, broken)
    if broken:
        raise broken[0]


def _reserve(
    context: ExecutionContext, lease: Lease, row: Row, size: Size, places: int, now_ms: int, report: SubmitReport
) -> Intent | None:
    """Reserve an order in the ledger; None where another process or a limit prevents it."""
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
    if steps.reserve(context, intent, lease, max_open=places):
        return intent
    report.refused[signal_id] = f"another process works on it, {symbol} has an open order, or all are taken"
    return None


def _refuse(context: ExecutionContext, signal_id: str, refused: Refused, report: SubmitReport) -> None:
    """Record why a signal gets no order now, or none at all."""
    status = signals.REJECTED if refused.final else None
    signals.note(context.database, signal_id, refused.reason, status=status)
    (report.rejected if refused.final else report.refused)[signal_id] = refused.reason


def _add_outcome(
    context: ExecutionContext,
    intent: Intent,
    ending: Future[Intent | None],
    report: SubmitReport,
    broken: list[Exception],
) -> None:
    """Add the outcome of one order to the report."""
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
            steps.publish_failure(context, intent, Failure.UNKNOWN, f"{why}; it is looked up again")
