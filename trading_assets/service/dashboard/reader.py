"""The one reader of a server: it looks at the ledger once a second for all browsers, and only while one is there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from trading_assets.accounts import effective
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.foreign_text import get_logger, plain
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger.database import Database, Timeouts
from trading_assets.notifications.channels import channels_of
from trading_assets.observability import readings
from trading_assets.service.dashboard import views

LOOK_EVERY_S = 1.0
ANEW_EVERY_S = 5.0
"""Heartbeats and alarms are read so often, also where nothing else has changed."""

FRESH_S = 30.0
"""What was read longer ago, before everybody had left, is sent to nobody: a new look comes first."""

MARKET_EVERY_S = 15.0
PATIENCE_S = 2.0

ACCOUNT, RESULTS, CURVE, MARKET, STATE = "account", "results", "curve", "market", "state"

_log = get_logger(__name__)


@dataclass(frozen=True)
class Part:
    """A part of the page as it was read last: its name (of the kind, and of the account), number and JSON."""

    kind: str
    version: int
    content: bytes


@dataclass
class _Seen:
    """What is known of an account between two looks."""

    stamp: views.Stamp | None = None
    reading: readings.AccountReading | None = None
    view: dict[str, Any] = field(default_factory=dict)
    anew_at: float = 0.0
    curve: views.Curve = field(default_factory=views.Curve)


class Watcher:
    """A browser that looks: which parts it has, and what wakes it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self.has: dict[str, int] = {}

    def wake(self) -> None:
        """From any thread."""
        try:
            self.loop.call_soon_threadsafe(self.changed.set)
        except RuntimeError:  # the server has ended meanwhile
            _log.debug("a browser's loop has ended")


def own_ledger(settings: Settings) -> Callable[[], Database]:
    """What opens the reader's own connection to the ledger: a page that waits for a lock says so soon."""
    held: list[Database] = []

    def found() -> Database:
        if not held:
            timeouts = Timeouts.of(settings).at_most(PATIENCE_S)
            held.append(Database.of(settings, timeouts=timeouts, upgrade=False))
        return held[0]

    return found


class Reader(threading.Thread):
    """Reads, and keeps the newest of each part."""

    def __init__(self, settings: Settings, open_ledger: Callable[[], Database]) -> None:
        super().__init__(name="dashboard-reader", daemon=True)
        self._settings, self._open_ledger = settings, open_ledger
        self._lock = threading.Lock()
        self._watchers: set[Watcher] = set()
        self._parts: dict[str, Part] = {}
        self._seen: dict[str, _Seen] = {}
        self._market_at = 0.0
        self._error: tuple[str, int] | None = None
        self._ends, self._wanted = threading.Event(), threading.Event()
        self._version = 0
        self.began_wall_ms = local_ms()
        self._looked_at = -FRESH_S

    def run(self) -> None:
        """See threading's."""
        while not self._ends.is_set():
            self._wanted.wait()
            if self._ends.is_set():
                return
            began = time.monotonic()
            self._look()
            self._ends.wait(max(0.1, LOOK_EVERY_S - (time.monotonic() - began)))

    def stop(self) -> None:
        """End it, and wake everybody who waits for it."""
        self._ends.set()
        self._wanted.set()
        for watcher in self._copy():
            watcher.wake()

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._ends.is_set()

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """A browser's look, as long as it lasts. Called in its event loop."""
        watcher = Watcher()
        with self._lock:
            self._watchers.add(watcher)
            self._wanted.set()
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers.discard(watcher)
                if not self._watchers and not self._ends.is_set():
                    self._wanted.clear()

    def news(self, watcher: Watcher) -> list[tuple[str, bytes]]:
        """The parts that a browser does not have yet, by kind; none before the first look after a rest."""
        with self._lock:
            parts = dict(self._parts) if time.monotonic() - self._looked_at < FRESH_S else {}
        found = [(part.kind, part.content) for name, part in parts.items() if watcher.has.get(name) != part.version]
        watcher.has = {name: part.version for name, part in parts.items()}
        return found

    def position(self, account: str, symbol: str) -> tuple[readings.AccountReading, dict[str, Any]] | None:
        """An open position as it was read last, with its account's reading; None where there is none."""
        seen = self._seen.get(account)
        if seen is None or seen.reading is None:
            return None
        position = next((one for one in seen.view["positions"] if one["symbol"] == symbol), None)
        return None if position is None else (seen.reading, position)

    def _copy(self) -> list[Watcher]:
        with self._lock:
            return list(self._watchers)

    def _look(self) -> None:
        wall_ms = local_ms()
        try:
            database = self._open_ledger()
            names = effective.names(database, self._settings)
            for name in names:
                self._look_at(database, name, wall_ms)
            self._forget(names)
            if time.monotonic() - self._market_at >= MARKET_EVERY_S or not self._market_at:
                self._keep(MARKET, MARKET, views.market_view(database, self._settings))
                self._market_at = time.monotonic()
            self._error = None
        except TradingAssetsError as error:
            self._failed(str(error), wall_ms)
        except Exception:  # noqa: BLE001 (a page that stands still must say so, and go on)
            _log.exception("the live page could not be read")
            self._failed("an error that is in the log of trading-assets serve", wall_ms)
        self._keep(STATE, STATE, self._state(wall_ms))
        self._looked_at = time.monotonic()
        for watcher in self._copy():
            watcher.wake()

    def _failed(self, text: str, wall_ms: int) -> None:
        self._error = (plain(text), self._error[1] if self._error else wall_ms)
        for seen in self._seen.values():  # what is read next is read in full
            seen.stamp = None

    def _state(self, wall_ms: int) -> dict[str, Any]:
        return {
            "wall_ms": wall_ms,
            "accounts": sorted(self._seen),
            "began_wall_ms": self.began_wall_ms,
            "error": None if self._error is None else self._error[0],
            "error_since_wall_ms": None if self._error is None else self._error[1],
        }

    def _look_at(self, database: Database, name: str, wall_ms: int) -> None:
        seen = self._seen.setdefault(name, _Seen())
        before, stamp, now = seen.stamp, views.stamp(database, name), time.monotonic()
        if before is None or stamp != before or now - seen.anew_at >= ANEW_EVERY_S:
            settings = effective.settings_of(database, self._settings, name, with_keys=False)
            reading = readings.read_account(database, settings, channels_of(self._settings), wall_ms)
            seen.reading, seen.view = reading, views.account_view(database, reading)
            self._keep(f"{ACCOUNT}:{name}", ACCOUNT, seen.view)
            seen.anew_at = now
        if before is None or stamp.results != before.results:
            self._keep(f"{RESULTS}:{name}", RESULTS, views.results_view(database, name))
        if before is None or stamp.equity != before.equity:
            self._keep(f"{CURVE}:{name}", CURVE, views.curve_view(database, name, seen.curve))
        seen.stamp = stamp

    def _forget(self, names: list[str]) -> None:
        """Accounts that were removed."""
        for gone in self._seen.keys() - set(names):
            del self._seen[gone]
            with self._lock:
                for kind in (ACCOUNT, RESULTS, CURVE):
                    self._parts.pop(f"{kind}:{gone}", None)

    def _keep(self, name: str, kind: str, content: dict[str, Any]) -> None:
        written = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        with self._lock:
            before = self._parts.get(name)
            if before is not None and before.content == written:
                return
            self._version += 1
            self._parts[name] = Part(kind, self._version, written)
