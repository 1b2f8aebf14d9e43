"""What orders are executed with: ledger, exchange, settings, clocks, and the way events are published. No decisions."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from trading_assets.core import logs
from trading_assets.core.events import TradeEvent, TradeExecuted, TradeFailed, record_of
from trading_assets.core.foreign_text import get_logger, plain, plain_lines
from trading_assets.core.messages import Kind, Message, Notify, Severity
from trading_assets.core.models import Instrument, Rows, SendBy, UnreadableRow
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import outbox, switches
from trading_assets.ledger.books import Owner
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.trading import halt_file
from trading_assets.trading.binding import BooksGuard
from trading_assets.trading.keeper import Keeper

CONTRACTS_AGE_MS = 10 * 60_000
"""The list of contracts is read again after this time: an exchange changes its rules a few times a month."""

SEND_WITHIN_MS = 10_000
"""An order is sent within this time of its reservation, or of the reading that it follows from, or not at all."""

EVENTS_KEPT = 200

_log = get_logger(__name__)


class ContractCache:
    """The venue's contracts by symbol. Reads them again when they are old or lack a symbol. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listed: dict[str, Instrument] = {}
        self._unreadable: Rows[Instrument] = Rows()
        self._read_wall_ms: int | None = None

    def get(self, exchange: Exchange, symbols: set[str], wall_ms: int) -> Mapping[str, Instrument]:
        """Return the contracts. A symbol that is not listed is not among them.

        Raises:
            ExchangeError: they cannot be read.
        """
        with self._lock:
            fresh = self._read_wall_ms is not None and 0 <= wall_ms - self._read_wall_ms < CONTRACTS_AGE_MS
            if not fresh or not symbols <= self._listed.keys():
                self._read(exchange, wall_ms)
            return self._listed

    def refresh(self, exchange: Exchange, wall_ms: int) -> None:
        """Read them again where they will soon be old, so that no order waits for it.

        Raises:
            ExchangeError: they cannot be read.
        """
        with self._lock:
            if self._read_wall_ms is None or not 0 <= wall_ms - self._read_wall_ms < CONTRACTS_AGE_MS // 2:
                self._read(exchange, wall_ms)

    def _read(self, exchange: Exchange, wall_ms: int) -> None:
        found = exchange.instruments()
        if found or found.unreadable or not self._listed:  # an empty list does not tell that all are gone
            self._listed = {instrument.symbol: instrument for instrument in found}
            self._unreadable = Rows((), found.unreadable)
            self._read_wall_ms = wall_ms

    @property
    def unreadable(self) -> tuple[UnreadableRow, ...]:
        """The rows of the newest list that could not be read."""
        return self._unreadable.unreadable

    def may_hide(self, symbol: str) -> bool:
        """Whether a contract may be among the rows that could not be read."""
        return self._unreadable.may_hide(symbol)

    def forget(self) -> None:
        """Read the contracts again next time: a refusal says that they have changed."""
        with self._lock:
            self._read_wall_ms = None


@dataclass(frozen=True)
class ExecutionContext:
    """What order execution and reconciliation work with.

    Attributes:
        send: passes messages on to people; it returns at once.
        wall_ms: the local clock, UTC ms. It tells whether another process still lives.
        lease: the caller's right to open positions for the account. Without it `submit_orders` acquires one for its own
            duration.
        at: called before and after every step of the saga, with "before create", "after create" and so on.
        ends: whether the caller wants to end: what is being sent is finished, nothing more is begun.
        workers: number of symbols whose orders are sent in parallel.
        contracts: the venue's contracts, shared by all calls with this context.
        books: compares the ledger's account with the key's, for all calls with this context.
        events: what became of orders, the newest last.
        keeper: what was read ahead of a candle's close; without one everything is read when a signal waits.
    """

    database: Database
    exchange: Exchange
    settings: Settings
    send: Notify = lambda _message: None
    sleep: Callable[[float], None] = time.sleep
    wall_ms: Callable[[], int] = local_ms
    lease: Lease | None = None
    at: Callable[[str], None] = lambda _point: None
    ends: Callable[[], bool] = lambda: False
    workers: int = 4
    contracts: ContractCache = field(default_factory=ContractCache)
    books: BooksGuard = field(default_factory=BooksGuard)
    events: deque[TradeEvent] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    keeper: Keeper | None = None

    def send_by(self, within_ms: int = SEND_WITHIN_MS) -> SendBy:
        """Until when an order may be sent that follows from what is read from now on."""
        now_ms = self.wall_ms()
        return SendBy(now_ms + within_ms, self.wall_ms, now_ms)

    def require_bound(self) -> Owner:
        """Check that the ledger's account is the key's. Everything that acts on or reads money begins with it.

        Raises:
            WrongBooksError: it is another one's, or nobody has said yet whose.
            ExchangeError: the venue cannot be asked.
        """
        return self.books.require(self.database, self.exchange, self.settings, self.wall_ms)

    def why_off(self) -> str:
        """Why the account is not to be traded; empty where its switch is on."""
        return why_off(self.database, self.settings)

    @property
    def is_halted_by_file(self) -> bool:
        """Whether the file in the home forbids to open anything, whatever the ledger says."""
        return halt_file.found(self.settings) is not None

    def notify(self, title: str, body: str, kind: Kind, severity: Severity = Severity.INFO) -> None:
        """Tell a person. Nothing waits for it, and its errors stop nothing."""
        self._send(Message(title, body, kind, severity))

    def keep(
        self,
        connection: sa.Connection,
        title: str,
        body: str,
        kind: Kind,
        severity: Severity = Severity.INFO,
        *,
        time_ms: int,
        facts: Mapping[str, str] | None = None,
    ) -> Message:
        """Keep a message in the transaction of what it tells. `tell` it afterwards."""
        told = {name: plain(value) for name, value in (facts or {}).items()}
        message = Message(plain(title), plain_lines(body), kind, severity, is_kept=True, facts=told)
        outbox.add(connection, self.settings.account, message, time_ms=time_ms, wall_ms=self.wall_ms())
        return message

    def tell(self, *messages: Message) -> None:
        """Tell messages that were kept. After a death before this, whoever delivers next sends them all the same."""
        for message in messages:
            self._send(message)

    def keep_event(self, connection: sa.Connection, event: TradeEvent) -> None:
        """Keep the message of an event in the transaction of what became of the order. `publish` it afterwards."""
        told = _told_of(event)
        self.keep(connection, told.title, told.body, told.kind, told.severity, time_ms=event.time_ms, facts=told.facts)

    def publish(self, event: TradeEvent, *, is_kept: bool = False) -> None:
        """Log an event as one JSON object, keep it for the page of the run, and tell of it.

        Args:
            is_kept: the ledger has the message of it already.
        """
        fields = {name: value for name, value in vars(event).items() if name in (*logs.IDENTITIES, *logs.FIGURES)}
        reason = event.detail if isinstance(event, TradeFailed) else None
        _log.info("%s", json.dumps(record_of(event)), extra={**fields, "event": event.name, "reason": reason})
        self.events.append(event)
        self._send(replace(_told_of(event), is_kept=is_kept))

    def _send(self, message: Message) -> None:
        try:
            self.send(replace(message, title=plain(message.title), body=plain_lines(message.body)))
        except Exception:  # noqa: BLE001 (a messenger may raise anything)
            _log.exception("nobody was told: %s: %s", message.title, message.body)


def _told_of(event: TradeEvent) -> Message:
    """The message of an event."""
    facts = {"symbol": event.symbol, "side": event.side.value, "qty": str(event.qty)}
    if isinstance(event, TradeExecuted):
        text = f"{event.qty} at {event.price}, stop {event.stop_loss}, target {event.take_profit}"
        levels = {"price": str(event.price), "stop": str(event.stop_loss), "target": str(event.take_profit)}
        return Message(f"{event.side.value} {event.symbol}", text, Kind.FILL, facts=facts | levels)
    text = f"{event.symbol} {event.order_link_id}: {event.detail}"
    facts |= {"failure": event.failure.value, "detail": event.detail}
    return Message(f"order failed: {event.failure}", text, Kind.ORDER, Severity.WARNING, facts=facts)


def why_off(database: Database, settings: Settings) -> str:
    """Return why the account's switch forbids to trade it; empty where it is on. Nobody has set it: simulated is on."""
    found = switches.switch_of(database, settings.account, default=settings.venue.adapter.is_simulated)
    if found.is_on:
        return ""
    who = (
        f" by {found.actor}: {found.reason}" if found.actor else ", as it is at first on every venue but the simulator"
    )
    return f"trading of account {settings.account!r} is off{who}; switch it on with: trading-assets trading on"


def trading_lease(account: str) -> str:
    """Return the name of the lease on opening positions for an account."""
    return f"trade:{account}"
