"""Bybit's limits of requests and connections, per account, endpoint and address. Counted in wall time."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

ACCOUNT_WINDOW_S = 1.0
ACCOUNT_LIMITS = {
    "/v5/order/create": 10,
    "/v5/order/amend": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/order/create-batch": 10,
    "/v5/order/amend-batch": 10,
    "/v5/order/cancel-batch": 10,
    "/v5/order/pre-check": 10,
    "/v5/order/realtime": 50,
    "/v5/order/history": 50,
    "/v5/execution/list": 50,
    "/v5/position/list": 50,
    "/v5/position/closed-pnl": 50,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-isolated": 10,
    "/v5/position/switch-mode": 10,
    "/v5/position/trading-stop": 10,
    "/v5/position/add-margin": 10,
    "/v5/position/set-auto-add-margin": 10,
    "/v5/order/disconnected-cancel-all": 5,
    "/v5/account/collateral-info": 50,
    "/v5/account/borrow-history": 50,
    "/v5/account/query-dcp-info": 5,
    "/v5/asset/coin-greeks": 5,
    "/v5/asset/deposit/query-record": 5,
    "/v5/asset/withdraw/query-record": 5,
    "/v5/asset/transfer/query-inter-transfer-list": 5,
    "/v5/asset/delivery-record": 50,
    "/v5/asset/settlement-record": 50,
    "/v5/account/wallet-balance": 50,
    "/v5/account/info": 50,
    "/v5/account/fee-rate": 5,
    "/v5/account/set-margin-mode": 5,
    "/v5/account/set-limit-px-action": 5,
    "/v5/account/transaction-log": 25,
    "/v5/account/instruments-info": 5,
    "/v5/account/demo-apply-money": 5,
    "/v5/user/query-api": 10,
    "/v5/asset/coin/query-info": 5,
}
"""Requests in a second, rolling, of one account at one endpoint (Bybit's documentation, page rate-limit)."""

BATCHES = ("/v5/order/create-batch", "/v5/order/amend-batch", "/v5/order/cancel-batch")
"""Where each order of a request counts."""

ADDRESS_WINDOW_S = 5.0
ADDRESS_LIMIT = 600
BAN_S = 600.0
BAN_TEXT = "access too frequent"

CONNECTIONS_OPENED_MAX = 500
CONNECTIONS_WINDOW_S = 300.0
CONNECTIONS_KEPT_MAX = 1000
"""For each address and market type."""

Seconds = Callable[[], float]


@dataclass(frozen=True)
class Quota:
    """What a limit says to one request.

    Attributes:
        left: requests that remain in the window.
        taken: how many of what the request counts for are let through.
        wait_s: until one is possible again; 0 when this one was let through.
    """

    limit: int
    left: int
    wait_s: float
    taken: int = 1

    @property
    def is_exceeded(self) -> bool:
        return self.wait_s > 0


class RollingWindow:
    """At most `limit` in any `window_s` seconds. What is refused does not count."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit, self._window_s = limit, window_s
        self._taken: deque[float] = deque()

    def take(self, now_s: float, cost: int = 1) -> Quota:
        """Count what counts for `cost` requests: of a batch that is too large its first orders are let through."""
        taken = self._taken
        while taken and taken[0] <= now_s - self._window_s:
            taken.popleft()
        if len(taken) >= self._limit:
            return Quota(self._limit, 0, taken[0] + self._window_s - now_s, 0)
        let_through = min(cost, self._limit - len(taken))
        taken.extend([now_s] * let_through)
        return Quota(self._limit, self._limit - len(taken), 0.0, let_through)


class Limits:
    """The limits of one exchange. Bans are kept in any case, because a fault rule can ask for one.

    Used by the server's own thread only.
    """

    def __init__(self, enabled: bool, seconds: Seconds = time.monotonic) -> None:
        self.enabled = enabled
        self._seconds = seconds
        self._endpoints = {path: RollingWindow(limit, ACCOUNT_WINDOW_S) for path, limit in ACCOUNT_LIMITS.items()}
        self._addresses: dict[str, RollingWindow] = {}
        self._banned: dict[str, float] = {}

    def admits(self, address: str) -> bool:
        """Whether this address may ask now; counts the request, and bans who asks too often."""
        if self._banned:
            if self._seconds() < self._banned.get(address, 0.0):
                return False
            self._banned.pop(address, None)
        if not self.enabled:
            return True
        window = self._addresses.setdefault(address, RollingWindow(ADDRESS_LIMIT, ADDRESS_WINDOW_S))
        if window.take(self._seconds()).is_exceeded:
            self.ban(address, BAN_S)
            return False
        return True

    def ban(self, address: str, seconds: float) -> None:
        """Refuse everything from this address for so long."""
        self._banned[address] = self._seconds() + seconds

    def take(self, path: str, cost: int = 1) -> Quota | None:
        """Count one signed request, each order of a batch; None where the endpoint has no limit of its own."""
        window = self._endpoints.get(path) if self.enabled else None
        return window.take(self._seconds(), cost) if window is not None else None


class ConnectionLimits:
    """Counts connections; `seconds` is the clock they are counted by."""

    def __init__(self, seconds: Seconds = time.monotonic) -> None:
        self._seconds = seconds
        self._opened: defaultdict[str, deque[float]] = defaultdict(deque)
        self._kept: Counter[tuple[str, str]] = Counter()

    def enter(self, address: str, market: str) -> str:
        """Count a new connection; why it must be refused, or an empty string."""
        now, opened = self._seconds(), self._opened[address]
        while opened and opened[0] <= now - CONNECTIONS_WINDOW_S:
            opened.popleft()
        if len(opened) >= CONNECTIONS_OPENED_MAX:
            return f"more than {CONNECTIONS_OPENED_MAX} connections in {CONNECTIONS_WINDOW_S:.0f} s from one address"
        if self._kept[address, market] >= CONNECTIONS_KEPT_MAX:
            return f"more than {CONNECTIONS_KEPT_MAX} connections to one market type from one address"
        opened.append(now)
        self._kept[address, market] += 1
        return ""

    def leave(self, address: str, market: str) -> None:
        self._kept[address, market] -= 1
