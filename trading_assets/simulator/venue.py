"""One embedded exchange: market, clock, account and store, and the transaction around a request. No HTTP."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from threading import RLock
from typing import TypeVar

from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.simulator import files
from trading_assets.simulator.account.account import AccountEngine
from trading_assets.simulator.account.state import AccountState, Batch
from trading_assets.simulator.auth import Credentials
from trading_assets.simulator.clock import (
    AcceleratedClock,
    Clock,
    ClockSpec,
    ManualClock,
    WallClock,
    open_clock,
    wall_ms,
)
from trading_assets.simulator.codec import Refusal
from trading_assets.simulator.market.base import Contract, Market
from trading_assets.simulator.persistence import LIVE, AccountStore, MarketIdentity

_Answer = TypeVar("_Answer")

Listener = Callable[[Batch], None]
"""Called with what has changed, after it is stored, in the order it happened; must return quickly."""


@dataclass(frozen=True)
class Behaviour:
    """What an exchange in the role of another venue does not do.

    Attributes:
        absent: paths of signed endpoints, which answer 10032, and of streams, which answer 404.
        cross_only: the account cannot be set to isolated margin (110073).
        orders_kept_ms: orders that ended longer ago are told no more; None: all are.
    """

    absent: frozenset[str] = frozenset()
    cross_only: bool = False
    orders_kept_ms: int | None = None


@dataclass(frozen=True)
class ServeConfig:
    """How an embedded exchange is run.

    Attributes:
        home: directory of the account and of `server.json`.
        account: file of the account, where it is not in a home. Without both it is in memory only.
        port: 0 takes a free one.
        clock: None resumes the stored clock, or takes the real one for a new account.
        deposit: opening balance of a new account, USDT.
        idle_stop_s: stop after so many seconds without a request; None never.
        replay: files of recorded candles to play instead of the seeded market.
        limits: refuse clients that ask more often than Bybit allows.
        faults: file of the fault rules that are in force from the start.
        behaviour: what it leaves out, in the role of another venue.
        names: by which clients call this machine, besides its addresses, its own name and `localhost`.
    """

    home: Path | None = None
    account: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 7
    symbols: int = 80
    clock: ClockSpec | None = None
    deposit: Decimal = Decimal(10_000)
    idle_stop_s: float | None = None
    credentials: Credentials = field(default_factory=Credentials)
    replay: tuple[Path, ...] = ()
    limits: bool = False
    faults: Path | None = None
    names: tuple[str, ...] = ()
    behaviour: Behaviour = Behaviour()

    def __post_init__(self) -> None:
        if self.home is not None and self.account is not None:
            raise ConfigurationError(
                f"the account is either in a home or in a file of its own, found {self.home} and {self.account}: "
                "give one of them"
            )
        if self.deposit <= 0:
            raise ConfigurationError(f"the deposit must be above 0 USDT, found {self.deposit}")
        if self.symbols < 1:
            raise ConfigurationError(f"the market needs at least 1 symbol, found {self.symbols}")
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"the port must be in 0..65535, found {self.port}")

    @property
    def account_file(self) -> Path | None:
        """Where the account is stored; None: nowhere."""
        return self.home / files.ACCOUNT if self.home is not None else self.account


class Venue:
    """An exchange ready to answer. Requests go through `transact` or `advance`, one at a time."""

    def __init__(
        self,
        config: ServeConfig,
        market: Market,
        market_kind: str,
        wall: WallClock = wall_ms,
        *,
        content: str = "",
        first_clock: ClockSpec | None = None,
    ) -> None:
        """`content` names what a replay plays, or the market that a live one is told.

        `first_clock` is a new account's, the configuration's when None."""
        self.config = config
        self.market = market
        self.wall = wall
        self._lock = RLock()
        self._listeners: list[Listener] = []
        self._identity = MarketIdentity(market_kind, config.seed, config.symbols, content)
        self._first_clock = first_clock or config.clock
        self._store = AccountStore(config.account_file)
        try:
            self.clock, self.engine = self._open()
        except (ConfigurationError, StorageError):
            self._store.close()
            raise

    @property
    def market_name(self) -> str:
        """What is played: two exchanges with the same name have the same prices."""
        identity = self._identity
        if identity.kind == LIVE:
            return identity.content
        played = f"replay {identity.content[:16]}" if identity.content else f"{identity.kind} market"
        return f"{played}, seed {identity.seed}"

    @property
    def goes_by_another_clock(self) -> bool:
        """Whether its time is that of another exchange, so that a client's machine may show a different one."""
        return self._identity.kind == LIVE

    @property
    def user_id(self) -> int:
        """Bybit's number of the account, made from the account's random name: another account has another one."""
        return 1 + int(hashlib.sha256(self.engine.state.header.account_id.encode()).hexdigest()[:7], 16)

    def _open(self) -> tuple[Clock, AccountEngine]:
        loaded = self._store.load(self._identity)
        if loaded is not None:
            state, stored = loaded
            try:
                clock = open_clock(self.config.clock, stored, self.wall)
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"{error}: ask for that clock, or move {self._store.path} away to begin a new account"
                ) from None
            self._check_contracts(state)
            self._store.save(state, clock.position())
            return clock, AccountEngine(self.market, state)
        clock = open_clock(self._first_clock, None, self.wall)
        state = AccountState.opened(secrets.token_hex(8), clock.now_ms(), {"USDT": self.config.deposit})
        self._store.save(state, clock.position(), self._identity)
        return clock, AccountEngine(self.market, state)

    def _check_contracts(self, state: AccountState) -> None:
        unknown = sorted({order.symbol for order in state.orders.values()} - set(self.market.contracts))
        if unknown:
            raise ConfigurationError(
                f"the account in {self._store.path} has orders in {', '.join(unknown[:5])}, which this "
                f"version's market does not list: move {self._store.path} away to begin a new account"
            )

    def transact(self, action: Callable[[int], _Answer]) -> _Answer:
        """Settle the account to now, run `action(now_ms)`, store what changed, then return.

        Raises:
            Refusal: from the action; what was settled before it is stored.
            StorageError: nothing was stored and the account is as it was.
        """
        with self._lock:
            now = max(self.clock.now_ms(), self.engine.state.header.settled_ms)
            consistent = False
            try:
                self.engine.settle(self.market.begin(self.engine.state.header.settled_ms, now, self.followed))
                try:
                    answer = action(now)
                    self.engine.state.close_batch(now)
                except Refusal:
                    consistent = True  # commands check before they change
                    self._commit()
                    raise
                consistent = True
                self._commit()
                return answer
            finally:
                if not consistent:
                    self._reload()

    def advance(self, to_ms: Callable[[int], int]) -> int:
        """Set a manual clock to `to_ms(now)`, let the account live through the span, and return the new time.

        Raises:
            ValueError: the clock is not manual, or that time has passed.
        """
        with self._lock:
            clock = self.clock
            if not isinstance(clock, ManualClock):
                raise ValueError(
                    f"the exchange runs on a {clock.mode.value} clock; only a manual one can be set "
                    "(start the exchange with a manual clock)"
                )
            before = clock.now_ms()
            clock.set_ms(to_ms(before))
            self.engine.settle(clock.now_ms())
            try:
                self._store.save(self.engine.state, clock.position())
            except StorageError:
                self._reload()
                raise
            self._publish()
            return clock.now_ms()

    def set_speed(self, speed: float) -> int:
        """Let an accelerated clock go on at another speed, and return the time.

        Raises:
            ValueError: the clock is not accelerated, or cannot have that speed.
        """
        with self._lock:
            if not isinstance(self.clock, AcceleratedClock):
                raise ValueError(
                    f"the exchange runs on a {self.clock.mode.value} clock; only an accelerated one has a speed"
                )
            try:
                self.clock.set_speed(speed)
            except ConfigurationError as error:
                raise ValueError(str(error)) from error
            self._store.save(self.engine.state, self.clock.position())
            return self.clock.now_ms()

    def followed(self) -> set[str]:
        """Contracts in which the account has a position or an order."""
        state = self.engine.state
        held = {position.symbol for position in state.open_positions()}
        return held | {order.symbol for order in state.open_orders.values()}

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every change from now on, until the returned function is called."""
        with self._lock:
            self._listeners.append(listener)
            if self.engine.state.journal is None:
                self.engine.state.journal = []

        def stop() -> None:
            with self._lock:
                self._listeners.remove(listener)
                if not self._listeners:
                    self.engine.state.journal = None

        return stop

    def follow(self, listener: Listener) -> tuple[AccountState, Callable[[], None]]:
        """A copy of the account as it is, with `listener` told of every change after it; and how to stop that."""
        with self._lock:
            return self.engine.state.copied(), self.listen(listener)

    def note(self, name: str, text: str) -> None:
        """Keep a text beside the account; see `AccountStore.note`."""
        with self._lock:
            self._store.note(name, text)

    def revise(self, contract: Contract) -> None:
        """Put new rules of a listed contract in force: its status, delivery, quantity step or leverage."""
        with self._lock:
            self.market.contracts = {**self.market.contracts, contract.symbol: contract}

    def close(self) -> None:
        """Store the clock's last position and release the file."""
        with self._lock:
            self._store.save(self.engine.state, self.clock.position())
            self._store.close()

    def _commit(self) -> None:
        if not self.engine.state.changed:
            return
        try:
            self._store.save(self.engine.state, self.clock.position())
        except StorageError:
            self._reload()
            raise
        self._publish()

    def _publish(self) -> None:
        journal = self.engine.state.journal
        if not journal:
            return
        batches, journal[:] = list(journal), []
        for batch in batches:
            for listener in self._listeners:
                listener(batch)

    def _reload(self) -> None:
        """Memory must not know what the disk does not."""
        loaded = self._store.load(self._identity)
        if loaded is not None:
            state, stored = loaded
            state.journal = [] if self._listeners else None
            self.engine = AccountEngine(self.market, state)
            if isinstance(self.clock, ManualClock):
                self.clock = open_clock(None, stored, self.wall)
