"""Turns waiting signals into positions with their stops, each once or not at all. Only this module opens positions.

What becomes of a signal, `plan` decides; the steps of an order are in `saga.steps`. Signals are planned one after the
other, the most confident first, and as many as lanes are free to send them are reserved in one transaction: so limits
hold exactly, and what cannot be sent yet keeps its place and its own life. What comes meanwhile is among them when the
account is read again. Orders are looked up after all have been sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeFatalError,
    RulesChangedError,
    TooLateError,
    TradingAssetsError,
)
from trading_assets.core.events import Failure, failure_of
from trading_assets.core.messages import Kind
from trading_assets.core.models import Instrument, Side, Ticker, Tickers
from trading_assets.core.ports import Exchange
from trading_assets.core.side_by_side import begin
from trading_assets.core.timeframes import iso
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import checks, leases, orders, signals
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.orders import Intent
from trading_assets.trading import account_refusals, unreadable_rows
from trading_assets.trading.context import SEND_WITHIN_MS, ExecutionContext, trading_lease
from trading_assets.trading.execute.plan import Entry, Market, Refused, Row, account_after, plan_entry
from trading_assets.trading.execute.workers import Run, worker_pool
from trading_assets.trading.keeper import Reading
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.risk.pre_trade import Account
from trading_assets.trading.saga import protection, steps
from trading_assets.trading.saga.recovery import recover
from trading_assets.trading.saga.steps import Sent

LEASE_MS = 30_000
"""Others wait this long for a process that died while it submitted."""

TIME_AGE_MS = 200
"""The venue's time is asked again after this time by the local clock, or after as long as its answer took."""

AHEAD_MS = 10_000
"""A clock farther ahead of a time that the venue tells right after is in doubt."""

MOST_BOOKS_ASKED = 3
"""Order books of as many late signals are asked for that time, then that of BTC."""

READ_AGE_MS = 10_000
"""Prices and the account are read again for a signal whose turn comes later than this."""

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
    resting: list[str] = field(default_factory=list)
    """ids of signals whose order waits at its price"""
    recovered: int = 0
    stopped: str = ""
    """why not all could be sent that may be: the exchange does not answer, or takes no more now"""


@account_refusals.told
def submit_orders(context: ExecutionContext) -> SubmitReport:
    """Settle what an earlier process left open, expire old signals, and execute those that every gate lets through.

    When the account cannot be read, signals wait. Nothing is opened while another process trades the account, or while
    the account's switch is off.

    Raises:
        WrongBooksError: the ledger is not that of the key's account; nothing was done.
        ExchangeError: the exchange's time cannot be read; nothing was opened.
        LeaseLostError: another process has the caller's lease now; nothing more was opened.
    """
    context.require_bound()
    risk_guard.heed_file(context)
    report = SubmitReport()
    report.recovered = recover(context)
    protection.watch_bare(context)
    rows = signals.active(context.database, context.settings.account)
    if not rows:
        return report
    clock, off = _VenueClock(context), context.why_off()
    begun = _Reads(context, rows) if not off else None
    report.stopped, report.expired = clock.expire_signals()
    rows = signals.active(context.database, context.settings.account)
    if not rows:
        return report
    stopped = off or report.stopped or account_refusals.why_out_of_shape(context)
    if stopped:
        for row in rows:
            _refuse(context, row, Refused(stopped, final=False), report)
        return report
    with _lease(context) as lease:
        if lease is None:
            reason = f"another process trades this account: {_holder(context)}"
            report.refused = {str(row["signal_id"]): reason for row in rows}
            return report
        try:
            if _reconcile_if_old(context, clock.now_ms()) or begun is None:
                begun = _Reads(context, rows, ahead=False)
            market, account = _read(context, rows, clock.now_ms(), begun)
        except ExchangeError as error:
            if isinstance(error, ExchangeFatalError):
                account_refusals.tell(context, error)
            report.stopped = f"the account cannot be read: {error}"
            for row in rows:
                _refuse(context, row, Refused(report.stopped, final=False), report)
            return report
        _Round(context, lease, clock, report).run(rows, market, account, begun.ahead)
    return report


class _VenueClock:
    """The venue's time, not asked for all the time: where the clock is virtual, each question is a request."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context
        self._told_wall_ms: int | None = None
        self._now_ms = self._took_ms = 0

    def now_ms(self) -> int:
        told = self._context.keeper.now_ms() if self._context.keeper is not None else None
        if told is not None:
            return told
        wall_ms = self._context.wall_ms()
        may_age_ms = max(TIME_AGE_MS, self._took_ms)
        if self._told_wall_ms is None or not 0 <= wall_ms - self._told_wall_ms < may_age_ms:
            self._now_ms = self._context.exchange.now_ms()
            self._told_wall_ms = self._context.wall_ms()
            self._took_ms = self._told_wall_ms - wall_ms
        return self._now_ms

    def expire_signals(self) -> tuple[str, int]:
        """Expire the signals whose life is over, where a second source of the venue's time agrees that it is.

        Returns:
            Why the time is in doubt, empty where it is not; then nothing has expired. How many have expired.
        """
        context, now_ms = self._context, self.now_ms()
        account = context.settings.account
        late = [row for row in signals.active(context.database, account) if int(row["ttl_ms"]) <= now_ms]
        doubt = self._doubt([str(row["symbol"]) for row in late], now_ms) if late else ""
        if doubt:
            self._told_wall_ms = None  # ask again next time
            return doubt, 0
        return "", signals.expire(context.database, account, now_ms)

    def _doubt(self, symbols: Sequence[str], now_ms: int) -> str:
        """Compare a time with that of an order book: a clock that was wrong for a moment ends no signal's life."""
        why = ""
        for symbol in (*symbols[:MOST_BOOKS_ASKED], self._context.settings.symbols.btc):
            try:
                told_ms = self._context.exchange.order_book(symbol).time_ms
            except ExchangeError as error:
                why = f"the exchange's time cannot be checked: {error}"
                continue
            if now_ms - told_ms <= AHEAD_MS:
                return ""
            return (
                f"two times were told, {iso(now_ms)} by the clock and {iso(told_ms)} with an order book: signals wait "
                "until they agree"
            )
        return why


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


def _reconcile_if_old(context: ExecutionContext, now_ms: int) -> bool:
    """Reconcile first where that was never done, or long ago. Return whether it was done.

    Raises:
        ExchangeError: the account cannot be read.
    """
    until_ms = account_ledger.reconciled_until_ms(context.database, context.settings.account)
    if until_ms is not None and 0 <= now_ms - until_ms <= context.settings.max_reconciliation_age_s * 1000:
        return False
    reconcile(context)
    return True


class _Reads:
    """What is read of the exchange for the signals that wait, all of it asked for side by side from here on.

    Attributes:
        ahead: what it is taken from where it was read ahead, and may be used.
    """

    def __init__(self, context: ExecutionContext, rows: Sequence[Row], *, ahead: bool = True) -> None:
        symbols = {str(row["symbol"]) for row in rows}
        self.ahead = context.keeper.take() if ahead and context.keeper is not None else None
        self.account = risk_guard.AccountReads(context.exchange, self.ahead)
        prices = self.ahead.tickers if self.ahead is not None else None
        self.quotes = begin(lambda: _quotes(context, symbols, prices))


def _quotes(
    context: ExecutionContext, symbols: set[str], ahead: Tickers | None
) -> tuple[Mapping[str, Instrument], Mapping[str, Ticker], dict[str, str]]:
    """The contracts, the tickers of these coins, and why some cannot be had."""
    instruments = context.contracts.get(context.exchange, symbols, context.wall_ms())
    if ahead is not None:
        return instruments, ahead, {}
    return instruments, *_tickers(context.exchange, sorted(symbols & instruments.keys()))


def _read(context: ExecutionContext, rows: Sequence[Row], now_ms: int, begun: _Reads) -> tuple[Market, Account]:
    symbols = {str(row["symbol"]) for row in rows}
    instruments, tickers, unknown = begun.quotes.result()
    unreadable_rows.tell(context, "instrument", context.contracts.unreadable, now_ms)
    if isinstance(tickers, Tickers):
        unreadable_rows.tell(context, "ticker", tickers.unreadable, now_ms)
    hidden = {symbol: "its contract cannot be read" for symbol in symbols if context.contracts.may_hide(symbol)}
    account = risk_guard.account_snapshot(context.database, begun.account, context.settings.account, now_ms)
    account_refusals.end(context)
    foreign = {position.symbol for position in account.positions} - account.occupied | account.owned.keys()
    blocked = checks.blocked(context.database, list(rows), context.settings.symbols.btc)
    return Market(instruments, tickers, len(foreign), blocked, hidden | unknown), account


def _tickers(exchange: Exchange, symbols: Sequence[str]) -> tuple[Mapping[str, Ticker], dict[str, str]]:
    """Return the tickers, and why some cannot be had: of one coin the refusal stops nobody else."""
    if len(symbols) >= ALL_TICKERS_FROM:
        return exchange.tickers(), {}
    tickers, unknown = dict[str, Ticker](), dict[str, str]()
    for symbol in symbols:
        try:
            tickers[symbol] = exchange.ticker(symbol)
        except ExchangeFatalError:
            raise
        except ExchangeError as error:
            unknown[symbol] = f"the exchange has no ticker of {symbol}: {error}"
    return tickers, unknown


@dataclass
class _Sending:
    """An order on its way, with the signal and the price it was planned at."""

    row: Row
    intent: Intent
    entry: Entry

    @property
    def send_by_wall_ms(self) -> int:
        """Until when it is signed, or not sent."""
        left_ms = int(self.row["ttl_ms"]) - self.intent.created_ms
        return self.intent.touched_wall_ms + min(SEND_WITHIN_MS, left_ms)


class _Round:
    """One round of sending: the most confident signals that may go are reserved when lanes are free for them.

    It ends early (`stopped` says why) when the exchange cannot take orders now: nothing more is reserved then, and what
    waits keeps its place. Errors that end it are raised when all that was sent is followed.
    """

    def __init__(self, context: ExecutionContext, lease: Lease, clock: _VenueClock, report: SubmitReport) -> None:
        self._context, self._lease, self._clock, self._report = context, lease, clock, report
        self._is_own_lease = context.lease is None
        self._sending: dict[Future[list[Sent]], list[_Sending]] = {}
        self._refused_by_rules: dict[str, Entry] = {}
        self._late: set[str] = set()
        self._waiting: deque[Row] = deque()
        self._known: set[str] = set()
        self._sent: list[tuple[Intent, Sent | BaseException]] = []
        self._broken: list[Exception] = []

    def run(self, rows: Sequence[Row], market: Market, account: Account, ahead: Reading | None) -> None:
        """Send what may be sent, then look up what was sent.

        Args:
            ahead: market and account are of this reading; before the first order they are read again where it is void.
        """
        context = self._context
        self._waiting, self._known = deque(rows), {str(row["signal_id"]) for row in rows}
        self._plan_with(market, account)
        self._ahead, self._lanes = ahead, 1 if len(rows) == 1 else context.workers
        with worker_pool(len(rows), context.workers) as run:
            try:
                while self._next_turn():
                    self._take_turn(run)
            except TradingAssetsError as error:
                self._broken.append(error)  # what was reserved is still followed
            while self._sending:
                try:
                    self._collect(self._sending)
                except TradingAssetsError as error:
                    self._broken.append(error)
            followed = list[tuple[Intent, Future[Intent | None] | Sent | BaseException]]()
            for intent, sent in self._sent:
                open_still = isinstance(sent, Intent) and sent.status in orders.UNRESOLVED
                followed.append((intent, run(steps.confirm, context, sent) if open_still else sent))
            for intent, ending in followed:
                _add_outcome(context, intent, ending, self._report, self._broken)
        for row in self._waiting:
            _refuse(context, row, Refused(f"it waits: {self._report.stopped}", final=False), self._report)
        if self._broken:
            raise self._broken[0]

    def _plan_with(self, market: Market, account: Account) -> None:
        """Plan with this from now on. What the gates of the account said of another one is to be told anew."""
        self._market, self._account, self._read_wall_ms = market, account, self._context.wall_ms()
        self._gates_are_open, self._sizes_told = False, risk_guard.sizes_told(self._context)

    def _next_turn(self) -> bool:
        """Wait for a free lane. Return whether a signal is to be sent."""
        self._collect([future for future in self._sending if future.done()])
        while self._sending and (self._free_lanes <= 0 or not self._waiting):
            self._collect(wait(self._sending, return_when=FIRST_COMPLETED).done)
        if self._waiting and self._context.ends():
            self._report.stopped = self._report.stopped or "this process ends"
        return bool(self._waiting) and not self._report.stopped

    @property
    def _free_lanes(self) -> int:
        return self._lanes - len(self._sending)

    def _take_turn(self, run: Run) -> None:
        """Plan the next signals, reserve them in one transaction, and hand them to lanes.

        Those whose leverage is known to be set go by one request, as many as the exchange's limits let out at once.
        Where they let out no more by one request, as many go as lanes are free, each by a request of its own: the two
        ways have limits of their own. Others of a turn queue for a lane. Each is planned with the account as it is
        once those before it are positions.
        """
        context, now_ms = self._context, self._clock.now_ms()
        if not self._refresh(now_ms):
            return
        before, planned, together = self._account, list[_Sending](), self._orders_together()
        most = together or self._free_lanes
        while self._waiting and len(planned) < most and not self._report.stopped:
            if planned and str(self._waiting[0]["signal_id"]) in self._refused_by_rules:
                break  # the market is read again for it first
            entry = self._plan_next(self._clock.now_ms())
            if entry is not None:
                planned.append(entry)
        if not planned:
            return
        places = context.settings.max_positions - self._market.foreign
        details = {
            one.intent.order_link_id: f"{orders.SIZE}{one.entry.why_size}"
            for one in planned
            if one.entry.why_size is not None
        }
        reserved = steps.reserve(context, [one.intent for one in planned], self._lease, places, details)
        self._account, one_request, alone = before, list[_Sending](), list[_Sending]()
        for one in planned:
            signal_id, symbol = one.intent.signal_id, one.intent.symbol
            if one.intent.order_link_id not in reserved:
                why = f"another process works on it, {symbol} has an open order, or all are taken"
                self._report.refused[signal_id] = why
                continue
            self._report.refused.pop(signal_id, None)
            self._account = account_after(self._account, one.intent, one.entry.price)
            (one_request if together and self._has_leverage(one.intent) else alone).append(one)
        for some in filter(None, (one_request, *([one] for one in alone))):
            self._sending[run(steps.send, context, [(one.intent, one.send_by_wall_ms) for one in some])] = some

    def _orders_together(self) -> int:
        """How many orders go by one request now; 0 where each goes by its own."""
        if self._context.keeper is None or len(self._waiting) == 1:
            return 0
        room = self._context.exchange.orders_at_once()
        return room if room > 1 else 0

    def _has_leverage(self, intent: Intent) -> bool:
        keeper = self._context.keeper
        return keeper is not None and keeper.has_leverage(intent.symbol, intent.leverage)

    def _plan_next(self, now_ms: int) -> _Sending | None:
        """Ask every gate about the next signal; None where it gets no order now."""
        context, row = self._context, self._waiting.popleft()
        signal_id = str(row["signal_id"])
        if now_ms >= int(row["ttl_ms"]):  # its life ended while others were sent
            self._report.stopped, expired = self._clock.expire_signals()
            self._report.expired += expired
            if self._report.stopped:
                self._waiting.appendleft(row)
            return None
        plan = plan_entry(row, self._market, self._account, context.settings, now_ms)
        if plan.refusals is not None and not (self._gates_are_open and plan.refusals == ()):
            alerted = isinstance(row["reason"], str)
            risk_guard.enforce(context, str(row["symbol"]), self._account, plan.refusals, now_ms, alerted=alerted)
            self._gates_are_open = plan.refusals == ()
        if plan.refusals == ():  # every gate is open: what is refused now has no size
            unsized = plan.outcome.reason if isinstance(plan.outcome, Refused) else None
            risk_guard.alert_of_size(context, str(row["symbol"]), unsized, now_ms, self._sizes_told)
        if isinstance(plan.outcome, Refused):
            if plan.refusals is None and row["reason"] != plan.outcome.reason:
                context.notify(f"entry in {row['symbol']} waits", plan.outcome.reason, Kind.REFUSAL)
            _refuse(context, row, plan.outcome, self._report)
            return None
        refused = self._refused_by_rules.get(signal_id)
        if refused is not None and plan.outcome.is_as(refused):
            _refuse(context, row, Refused(self._report.refused[signal_id], final=True), self._report)
            return None
        intent = _intent(context, row, plan.outcome, now_ms)
        self._account = account_after(self._account, intent, plan.outcome.price)
        return _Sending(row, intent, plan.outcome)

    def _refresh(self, now_ms: int) -> bool:
        """Read market and account again where they are old, or rules have changed. Return whether that succeeded.

        What has come since the last time takes its place among what waits.
        """
        context, wall_ms = self._context, self._context.wall_ms()
        is_again = str(self._waiting[0]["signal_id"]) in self._refused_by_rules
        if not is_again and not self._is_void() and 0 <= wall_ms - self._read_wall_ms < READ_AGE_MS:
            return True
        try:
            if self._is_own_lease:
                self._lease = leases.renew(context.database, self._lease, ttl_ms=LEASE_MS, wall_ms=wall_ms)
            rows = self._ordered(signals.active(context.database, context.settings.account))
            self._plan_with(*_read(context, rows, now_ms, _Reads(context, rows, ahead=False)))
            self._waiting, self._ahead = deque(rows), None
        except ExchangeError as error:
            if isinstance(error, ExchangeFatalError):
                account_refusals.tell(context, error)
            self._report.stopped = f"the account cannot be read: {error}"
            return False
        return True

    def _is_void(self) -> bool:
        """Whether what was read ahead may not be used any more. Our own orders change the account, as they may."""
        if self._ahead is None or self._sending or self._sent or self._context.keeper is None:
            return False
        return not self._context.keeper.holds(self._ahead)

    def _ordered(self, active: Sequence[Row]) -> list[Row]:
        """What waits and what has come, the most confident first; those that are tried again go last."""
        came = [row for row in active if str(row["signal_id"]) not in self._known]
        self._known |= {str(row["signal_id"]) for row in came}
        return sorted(
            [*self._waiting, *came],
            key=lambda row: (str(row["signal_id"]) in self._refused_by_rules, -float(row["confidence"])),
        )

    def _collect(self, finished: Iterable[Future[list[Sent]]]) -> None:
        """Note what became of orders that were sent, or not."""
        for future in list(finished):
            some, error = self._sending.pop(future), future.exception()
            outcomes = future.result() if error is None else [error] * len(some)
            for one, sent in zip(some, outcomes, strict=True):
                if isinstance(sent, steps.PostponedError):
                    self._put_back(one, sent)
                    continue
                self._report.refused.pop(one.intent.signal_id, None)
                self._sent.append((one.intent, sent))
                if isinstance(sent, Intent) and sent.status == orders.UNKNOWN:
                    self._report.stopped = self._report.stopped or str(sent.reason)
            if any(isinstance(sent, Intent) and sent.status == orders.SUBMITTED for sent in outcomes):
                account_refusals.end(self._context, of_orders=True)

    def _put_back(self, one: _Sending, error: steps.PostponedError) -> None:
        """The signal waits again: for the exchange; or, once, for its turn in this round, where the time to send its
        order has passed, or its order is to be sized by the rules as they are now."""
        signal_id, is_by_rules = one.intent.signal_id, isinstance(error.cause, RulesChangedError)
        is_late = isinstance(error.cause, TooLateError)
        occupied = self._account.occupied - {one.intent.symbol}
        self._account = replace(self._account, occupied=occupied)
        if not is_by_rules and not is_late:
            self._report.stopped = self._report.stopped or str(error)
        again = (is_by_rules and signal_id not in self._refused_by_rules) or (is_late and signal_id not in self._late)
        final = is_by_rules and not again
        if final:
            steps.publish_failure(self._context, one.intent, failure_of(error.cause), str(error))
        _refuse(self._context, one.row, Refused(str(error), final), self._report)
        if not again:
            return
        if is_late:
            self._late.add(signal_id)
        else:
            self._refused_by_rules[signal_id] = one.entry
        self._waiting.append(one.row)
        self._waiting = deque(self._ordered([]))


def _intent(context: ExecutionContext, row: Row, entry: Entry, now_ms: int) -> Intent:
    """The order that is to be reserved for a signal."""
    size, limit = entry.size, entry.limit
    signal_id = str(row["signal_id"])
    return Intent(
        order_link_id=context.exchange.order_ids.encode(signal_id),
        signal_id=signal_id,
        account=context.settings.account,
        symbol=str(row["symbol"]),
        side=Side.BUY if row["position_type"] == "LONG" else Side.SELL,
        qty=size.qty,
        stop_loss=entry.stop_loss,
        take_profit=entry.take_profit,
        leverage=size.leverage,
        status=orders.INTENT,
        order_id=None,
        created_ms=now_ms,
        touched_wall_ms=context.wall_ms(),
        price=limit.price if limit is not None else None,
        post_only=limit is not None and limit.post_only,
        until_ms=limit.until_ms if limit is not None else None,
        chase_price=limit.chase_price if limit is not None else None,
    )


def _refuse(context: ExecutionContext, row: Row, refused: Refused, report: SubmitReport) -> None:
    """Record why a signal gets no order now, or none at all."""
    signal_id = str(row["signal_id"])
    report.refused.pop(signal_id, None)
    status = signals.REJECTED if refused.final else None
    signals.note(context.database, signal_id, refused.reason, status=status)
    (report.rejected if refused.final else report.refused)[signal_id] = refused.reason


def _given(sent: Sent | BaseException) -> Intent | None:
    if isinstance(sent, BaseException):
        raise sent
    return sent


def _add_outcome(
    context: ExecutionContext,
    intent: Intent,
    ending: Future[Intent | None] | Sent | BaseException,
    report: SubmitReport,
    broken: list[Exception],
) -> None:
    """Add the outcome of one order to the report."""
    why = "the exchange does not show its end yet"
    after: Intent | None = None
    try:
        after = ending.result() if isinstance(ending, Future) else _given(ending)
    except ExchangeError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 (raised by the caller, after the other orders)
        broken.append(error)
        why = str(error)
    if after is None:
        # Who reads the books beside this round may have settled the order first.
        with context.database.read() as connection:
            after = orders.by_links(connection, intent.account, [intent.order_link_id]).get(intent.order_link_id)
    match after.status if after is not None else None:
        case orders.CONFIRMED | orders.CLOSED:
            report.executed.append(intent.signal_id)
        case orders.REJECTED | orders.ENDED | orders.ABANDONED:
            report.rejected[intent.signal_id] = after.reason if after is not None and after.reason else ""
        case orders.RESTING:
            report.resting.append(intent.signal_id)
        case _:
            report.unknown.append(intent.signal_id)
            steps.publish_failure(context, intent, Failure.UNKNOWN, f"{why}; it is looked up again")
