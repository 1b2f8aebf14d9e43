"""What trading works with: the context, and how it tells what happened. No decisions."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from trading_assets.core.events import TradeEvent, TradeExecuted, record_of
from trading_assets.core.models import Instrument
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.trading.execute.saga import Step

RULES_LAST_MS = 10 * 60_000
"""Bybit changes its contracts' rules a few times a month."""

EVENTS_KEPT = 200

_log = logging.getLogger(__name__)

Notify = Callable[[str, str], None]


class ContractRules:
    """The venue's contracts by symbol, read anew when they are old or a symbol is not among them; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listed: dict[str, Instrument] = {}
        self._read_wall_ms: int | None = None

    def of(self, exchange: Exchange, symbols: set[str], wall_ms: int) -> Mapping[str, Instrument]:
        """The contracts; a symbol that is not listed is not among them.

        Raises:
            ExchangeError: they cannot be read.
        """
        with self._lock:
            fresh = self._read_wall_ms is not None and 0 <= wall_ms - self._read_wall_ms < RULES_LAST_MS
            if not fresh or not symbols <= self._listed.keys():
                self._listed = {instrument.symbol: instrument for instrument in exchange.instruments()}
                self._read_wall_ms = wall_ms
            return self._listed


@dataclass(frozen=True)
class ExecutionContext:
    """What the executor and the reconciler work with.

    Attributes:
        wall_ms: the local clock, UTC ms: it tells whether another process still lives.
        lease: the right to open positions for the account, where the caller holds it; without it `submit_orders`
            takes it for its own duration.
        at: called at the edges of every step of the saga, with "before create", "after create" and so on.
        lanes: so many symbols are worked on at once.
        events: what became of orders, the newest last.
    """

    database: Database
    exchange: Exchange
    settings: Settings
    notify: Notify = lambda _title, _body: None
    sleep: Callable[[float], None] = time.sleep
    wall_ms: Callable[[], int] = local_ms
    lease: Lease | None = None
    at: Callable[[str], None] = lambda _point: None
    lanes: int = 4
    rules: ContractRules = field(default_factory=ContractRules)
    events: deque[TradeEvent] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))

    def publish(self, event: TradeEvent) -> None:
        """Log an event as one JSON object, keep it for whoever shows the run, and notify of it."""
        _log.info("%s", json.dumps(record_of(event)))
        self.events.append(event)
        self.notify(*_told(event))

    @contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """The block is a step of the saga."""
        self.at(f"before {step}")
        yield
        self.at(f"after {step}")


def _told(event: TradeEvent) -> tuple[str, str]:
    """Title and body for a human."""
    if isinstance(event, TradeExecuted):
        return (
            f"{event.side.value} {event.symbol}",
            f"{event.qty} at {event.price}, stop {event.stop_loss}, target {event.take_profit}",
        )
    return f"order failed: {event.failure}", f"{event.symbol} {event.order_link_id}: {event.detail}"


def trading_lease(account: str) -> str:
    """Name of the lease on opening positions for an account."""
    return f"trade:{account}"
