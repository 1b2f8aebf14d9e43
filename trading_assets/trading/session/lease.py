"""Who trades an account: one run at a time, which hands over to the session of the next selection.

The ledger has two leases: `trade:ACCOUNT` is held by the run that trades, `trade-next:ACCOUNT` by a session that is
ready to take over. The one that trades looks for the second lease and gives the first one back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trading_assets.core.errors import LeaseLostError, TradingAssetsError
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.trading.context import trading_lease

TTL_MS = 12_000
RENEW_EVERY_S = 3.0
HAND_OVER_WITHIN_S = 90.0
STUCK_AFTER_S = 120.0
"""The lease is not renewed when the session's loop has not come round for this time ..."""
STUCK_READING_AFTER_S = 900.0
"""... or this, where it waits for the exchange: a read has deadlines of its own, and is repeated under a ban."""


class AccountTakenError(TradingAssetsError):
    """Another run trades the account; this one has done nothing."""


@dataclass(frozen=True)
class Trader:
    """A run, and the selection that it trades on. A run that only sends what waits serves none."""

    run: str
    serves: str

    @property
    def holder(self) -> str:
        return f"{self.run}@{self.serves}"

    @classmethod
    def from_lease(cls, lease: Lease) -> Trader:
        return cls.from_holder(lease.holder)

    @classmethod
    def from_holder(cls, holder: str) -> Trader:
        """The trader that a lease names as its holder."""
        run, _, serves = holder.partition("@")
        return cls(run, serves)

    def __str__(self) -> str:
        return f"run {self.run[:8]}"


def trader_of(database: Database, account: str, *, wall_ms: int) -> Trader | None:
    """Return who trades the account now."""
    lease = leases.holder_of(database, trading_lease(account), wall_ms=wall_ms)
    return Trader.from_lease(lease) if lease is not None else None


class LeaseKeeper:
    """A lease that a thread renews until it is given back. `lease` is the newest state: the fence of every write."""

    def __init__(self, database: Database, lease: Lease, wall_ms: Callable[[], int] = local_ms) -> None:
        self._database, self._wall_ms = database, wall_ms
        self.lease = lease
        self._ended = threading.Event()
        self._lost = ""
        self._beat = self._renewed = time.monotonic()
        self._readings = 0
        self._thread = threading.Thread(target=self._keep, name=f"lease-{lease.name}", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Tell that the holder is still at work."""
        self._beat = time.monotonic()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell that the holder waits for the exchange in the block: it is not stuck for that."""
        self._readings += 1
        self.beat()
        try:
            yield
        finally:
            self.beat()
            self._readings -= 1

    def require(self) -> None:
        """Check that the lease is still held.

        Raises:
            LeaseLostError: it was lost, or ran out while the ledger could not be written.
        """
        if self._lost:
            raise LeaseLostError(self._lost)
        if self._wall_ms() < self.lease.expires_wall_ms:
            return
        if time.monotonic() - self._renewed < TTL_MS / 1000:
            self._renew()  # the clock was put forward: only who was away for so long has lost it
            return
        raise LeaseLostError(f"{self.lease.name!r} ran out before it could be renewed; nothing more is sent")

    def give_back(self) -> None:
        """Stop renewing the lease, and release it."""
        self._ended.set()
        self._thread.join(5)
        leases.release(self._database, self.lease)

    def _renew(self) -> None:
        self.lease = leases.renew(self._database, self.lease, ttl_ms=TTL_MS, wall_ms=self._wall_ms())
        self._renewed = time.monotonic()

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            limit_s = STUCK_READING_AFTER_S if self._readings else STUCK_AFTER_S
            if time.monotonic() - self._beat > limit_s:
                self._lost = f"the session was stuck for more than {limit_s:.0f} s, its lease was not renewed"
                return
            try:
                self._renew()
            except LeaseLostError as error:
                self._lost = str(error)
                return
            except TradingAssetsError:
                continue  # the ledger cannot be written now; `require` tells when that has lasted too long


class LeaseHandover:
    """A session's way to the lease on trading, from its predecessor.

    Attributes:
        predecessor: who has to hand over first.
    """

    def __init__(self, database: Database, account: str, trader: Trader, wall_ms: Callable[[], int] = local_ms) -> None:
        self._database, self._account, self._trader, self._wall_ms = database, account, trader, wall_ms
        self._first_seen: Lease | None = None
        self._next: LeaseKeeper | None = None
        self._ready_at = 0.0
        self.predecessor: Trader | None = None

    def ask(self, *, ready: bool) -> LeaseKeeper | None:
        """Return the lease, if it is free. If `ready`, ask a predecessor with another selection to hand over.

        Raises:
            AccountTakenError: another run trades on the same selection, or does not hand over.
        """
        now = self._wall_ms()
        name = trading_lease(self._account)
        lease = leases.acquire(self._database, name, self._trader.holder, ttl_ms=TTL_MS, wall_ms=now)
        if lease is not None:
            self.leave()
            return LeaseKeeper(self._database, lease, self._wall_ms)
        held = leases.holder_of(self._database, name, wall_ms=now)
        if held is None:
            return None
        other = Trader.from_lease(held)
        if other.serves != self._trader.serves:
            self.predecessor = other
            if ready:
                self._announce(other)
            return None
        seen = self._first_seen
        if seen is None or seen.fence != held.fence:
            self._first_seen = held
        elif held.expires_wall_ms != seen.expires_wall_ms:
            raise AccountTakenError(
                f"{other} trades account {self._account} on the same selection ({other.serves}) and has just renewed "
                "its lease; this run has done nothing. Cancel that one first if this one is to trade"
            )
        return None  # it may have died: its lease runs out within seconds

    def leave(self) -> None:
        """Stop asking a predecessor to hand over."""
        if self._next is not None:
            self._next.give_back()
            self._next = None

    def _announce(self, other: Trader) -> None:
        if self._next is None:
            lease = leases.acquire(
                self._database, _next(self._account), self._trader.holder, ttl_ms=TTL_MS, wall_ms=self._wall_ms()
            )
            if lease is not None:
                self._next, self._ready_at = LeaseKeeper(self._database, lease, self._wall_ms), time.monotonic()
            else:
                waiting = leases.holder_of(self._database, _next(self._account), wall_ms=self._wall_ms())
                if waiting is not None and Trader.from_lease(waiting).serves == self._trader.serves:
                    raise AccountTakenError(
                        f"{Trader.from_lease(waiting)} is taking over account {self._account} from {other} already; "
                        "this run has done nothing"
                    )
            return
        self._next.beat()
        if time.monotonic() - self._ready_at > HAND_OVER_WITHIN_S:
            raise AccountTakenError(
                f"{other} did not hand account {self._account} over within {HAND_OVER_WITHIN_S:.0f} s; this run has "
                "done nothing. Cancel that one if it hangs"
            )


def successor_of(database: Database, account: str, *, wall_ms: int) -> Trader | None:
    """Return who is ready to take over, if anybody is."""
    lease = leases.holder_of(database, _next(account), wall_ms=wall_ms)
    return Trader.from_lease(lease) if lease is not None else None


def _next(account: str) -> str:
    return f"trade-next:{account}"
