"""Watches a running installation: whether a session lives, and whether positions have their stops. Changes nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.ports import Exchange
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.trading.session.lease import trader_of

PidOf = Callable[[str], int | None]


@dataclass
class Gaps:
    """Times without something, seconds of the wall; one that still lasts counts up to now."""

    total_s: float = 0.0
    longest_s: float = 0.0
    count: int = 0
    since: float | None = None

    def look(self, there: bool, now: float) -> None:
        if there:
            self.end(now)
        elif self.since is None:
            self.since = now
            self.count += 1

    def end(self, now: float) -> None:
        if self.since is not None:
            self.total_s += now - self.since
            self.longest_s = max(self.longest_s, now - self.since)
            self.since = None


@dataclass
class Watch:
    """What was seen so far.

    Attributes:
        sessions: runs that have traded.
        without_session: since the first one had its turn.
        unprotected_longest_s: longest time in which a position was seen without its stop.
    """

    database: Database
    exchange: Exchange
    account: str
    pid_of: PidOf
    sessions: set[str] = field(default_factory=set)
    without_session: Gaps = field(default_factory=Gaps)
    unprotected_longest_s: float = 0.0
    _bare: dict[str, float] = field(default_factory=dict)

    def session(self) -> int | None:
        """Process of the session that has its turn and lives."""
        try:
            trader = trader_of(self.database, self.account, wall_ms=local_ms())
        except TradingAssetsError:
            return None
        if trader is None or not trader.serves:
            return None
        pid = self.pid_of(trader.run)
        if pid is not None:
            self.sessions.add(trader.run)
        return pid

    def look_at_session(self) -> bool:
        live = self.session() is not None
        if self.sessions:
            self.without_session.look(live, time.monotonic())
        return live

    def look_at_stops(self) -> None:
        """Note positions of ours without a stop; a failed read says nothing."""
        with contextlib.suppress(TradingAssetsError):
            ours = {intent.symbol for intent in orders.occupying(self.database, self.account)}
            held = [each for each in self.exchange.positions() if each.symbol in ours and not each.position_idx]
            bare = {each.symbol for each in held if each.stop_loss is None}
            now = time.monotonic()
            for symbol in bare:
                self._bare.setdefault(symbol, now)
            for symbol, since in list(self._bare.items()):
                self.unprotected_longest_s = max(self.unprotected_longest_s, now - since)
                if symbol not in bare:
                    del self._bare[symbol]
