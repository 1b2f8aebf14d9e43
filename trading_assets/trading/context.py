"""What orders are executed with: ledger, exchange, settings, clocks, and the way events are published. No decisions."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trading_assets.core.events import TradeEvent, TradeExecuted, record_of
from trading_assets.core.foreign_text import get_logger, plain, plain_lines
from trading_assets.core.models import Instrument, Rows, UnreadableRow
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import messages, switches
from trading_assets.ledger.books import Owner
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.trading.binding import BooksGuard

CONTRACTS_AGE_MS = 10 * 60_000
"""The list of contracts is read again after this time: an exchange changes its rules a few times a month."""

EVENTS_KEPT = 200

_log = get_logger(__name__)

Notify = Callable[[str, str], None]


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
                found = exchange.instruments()
                self._listed = {instrument.symbol: instrument for instrument in found}
                self._unreadable = Rows((), found.unreadable)
                self._read_wall_ms = wall_ms
            return self._listed

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
        wall_ms: the local clock, UTC ms. It tells whether another process still lives.
        lease: the caller's right to open positions for the account. Without it `submit_orders` acquires one for its own
            duration.
        at: called before and after every step of the saga, with "before create", "after create" and so on.
        ends: whether the caller wants to end: what is being sent is finished, nothing more is begun.
        workers: number of symbols whose orders are sent in parallel.
        contracts: the venue's contracts, shared by all calls with this context.
        books: compares the ledger's account with the key's, for all calls with this context.
        events: what became of orders, the newest last.
        telling: held while kept messages are sent: two threads do not send the same ones.
    """

    database: Database
    exchange: Exchange
    settings: Settings
    notify: Notify = lambda _title, _body: None
    sleep: Callable[[float], None] = time.sleep
    wall_ms: Callable[[], int] = local_ms
    lease: Lease | None = None
    at: Callable[[str], None] = lambda _point: None
    ends: Callable[[], bool] = lambda: False
    workers: int = 4
    contracts: ContractCache = field(default_factory=ContractCache)
    books: BooksGuard = field(default_factory=BooksGuard)
    events: deque[TradeEvent] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    telling: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "notify", _Messenger(self.notify))

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

    def publish(self, event: TradeEvent) -> None:
        """Log an event as one JSON object, and keep it for the page of the run."""
        _log.info("%s", json.dumps(record_of(event)))
        self.events.append(event)

    def tell(self) -> None:
        """Send the messages that the ledger keeps for it: those of this process, and those that a dead one has left.

        A death after a message was sent has it sent again: at least once.
        """
        with self.telling:
            waiting = messages.untold(self.database, self.settings.account)
            for message in waiting:
                self.notify(message.title, message.body)
            if waiting:
                messages.forget(self.database, [message.message_id for message in waiting])


class _Messenger:
    """A messenger whose errors stop no order and no pass: they are logged."""

    def __init__(self, notify: Notify) -> None:
        self._notify: Notify = notify._notify if isinstance(notify, _Messenger) else notify

    def __call__(self, title: str, body: str) -> None:
        try:
            self._notify(plain(title), plain_lines(body))
        except Exception:  # noqa: BLE001 (a messenger may raise anything)
            _log.exception("nobody was told: %s: %s", title, body)


def message_of(event: TradeEvent) -> tuple[str, str]:
    """Title and body of what is told of an event."""
    if isinstance(event, TradeExecuted):
        return (
            f"{event.side.value} {event.symbol}",
            f"{event.qty} at {event.price}, stop {event.stop_loss}, target {event.take_profit}",
        )
    return f"order failed: {event.failure}", f"{event.symbol} {event.order_link_id}: {event.detail}"


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
