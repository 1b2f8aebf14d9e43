"""Bybit's request limits, and how many requests may go out under them now. Pure: no clock, no file.

Bybit counts in rolling windows: all requests of an address, and those of an account at an endpoint. The endpoint's
limit comes back with each answer (`X-Bapi-Limit`); the table here serves until then.

A request counts from its permit until a window after its answer. The venue saw it somewhere in between, so no window of
the venue's holds more requests than ours, however slow the network or the machine was. A request whose process died
counts until its lease ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

ADDRESS = "address"
MARKET_DATA = "market data"
HISTORY = "history"

_ADDRESS_LIMIT, _ADDRESS_WINDOW_MS = 600, 5000
_MARKET_DATA_LIMIT = 540
"""Part of the address's limit. However much market data is fetched, a tenth is left to the account."""
_HISTORY_LIMIT = 480
"""Part of that. However long a backfill, another tenth is left to prices and books, which an order waits for."""

_ACCOUNT_WINDOW_MS = 1000
_SLOWEST = 5
_ACCOUNT_LIMITS = {
    **dict.fromkeys(("place_order", "amend_order", "cancel_order", "cancel_all_orders"), 10),
    **dict.fromkeys(("place_batch_order", "amend_batch_order", "cancel_batch_order"), 10),
    **dict.fromkeys(("set_leverage", "set_trading_stop", "switch_position_mode", "get_api_key_information"), 10),
    **dict.fromkeys(("get_open_orders", "get_order_history", "get_executions"), 50),
    **dict.fromkeys(("get_positions", "get_closed_pnl", "get_wallet_balance", "get_account_info"), 50),
    "get_transaction_log": 25,
}
"""Requests of an account in a second, by pybit's method (Bybit's documentation, page rate-limit). In a batch each order
counts."""

BATCH = 8
"""Most orders of one batch: what may be used of the limit, so that a whole batch passes at once."""

_PUBLIC = frozenset(
    {
        *("get_server_time", "get_kline", "get_instruments_info", "get_tickers", "get_orderbook"),
        *("get_funding_rate_history", "get_public_trade_history", "get_risk_limit"),
    }
)

_HISTORICAL = frozenset({"get_kline", "get_funding_rate_history", "get_public_trade_history"})


@dataclass(frozen=True)
class Limit:
    """At most `requests` in any `window_ms`, counted under `name`."""

    name: str
    requests: int
    window_ms: int


_PER_ADDRESS = Limit(ADDRESS, _ADDRESS_LIMIT, _ADDRESS_WINDOW_MS)
_PER_MARKET_DATA = Limit(MARKET_DATA, _MARKET_DATA_LIMIT, _ADDRESS_WINDOW_MS)
_PER_HISTORY = Limit(HISTORY, _HISTORY_LIMIT, _ADDRESS_WINDOW_MS)


def limits_for(method: str, account: str) -> tuple[Limit, ...]:
    """The limits under which a call of pybit's `method` counts; the narrowest last.

    Args:
        account: tells accounts apart, never the key itself.
    """
    if method in _HISTORICAL:
        return _PER_ADDRESS, _PER_MARKET_DATA, _PER_HISTORY
    if method in _PUBLIC:
        return _PER_ADDRESS, _PER_MARKET_DATA
    return _PER_ADDRESS, Limit(f"{account} {method}", _ACCOUNT_LIMITS.get(method, _SLOWEST), _ACCOUNT_WINDOW_MS)


MARGIN = 0.8
"""Share of a limit that is used."""

LOWEST = 0.2
AFTER_REFUSAL = 0.7
"""A refusal means that somebody else shares the limit. The share then shrinks by this factor, once in a window ..."""

RECOVERY_PER_MS = 0.01 / 1000
"""... and comes back by a hundredth of the limit a second."""

POLL_MS = 10
LONGEST_LEASE_MS = 120_000
LONGEST_SHUT_MS = 10_000
LONGEST_BAN_MS = 600_000


@dataclass
class RollingWindow:
    """Requests under one limit; times in ms of a clock that all processes share.

    The attributes' names are stored in the shared file, so they do not change.

    Attributes:
        requests: the venue's limit.
        share: of it that may be used, as of `refused_ms`.
        shut_until_ms: the venue asked for silence until then.
        answered: when each answered request stops counting, ascending.
        flying: requests in flight: by number, when each stops counting at the latest.
    """

    requests: int
    window_ms: int
    share: float = MARGIN
    refused_ms: int = 0
    shut_until_ms: int = 0
    answered: list[int] = field(default_factory=list)
    flying: dict[str, int] = field(default_factory=dict)

    def forget_past(self, now_ms: int) -> None:
        """Drop what no longer counts, and what is left from before the machine's clock began anew (a restart)."""
        soon = now_ms + self.window_ms
        self.answered = [end for end in self.answered if now_ms < end <= soon]
        last = soon + LONGEST_SHUT_MS + LONGEST_LEASE_MS
        self.flying = {number: end for number, end in self.flying.items() if now_ms < end <= last}
        if self.shut_until_ms > now_ms + LONGEST_SHUT_MS or self.refused_ms > now_ms:
            self.shut_until_ms, self.refused_ms, self.share = 0, 0, MARGIN

    def usable(self, now_ms: int) -> int:
        """Requests that may count at once; at least one."""
        return max(int(self.requests * self.share_at(now_ms) + 1e-9), 1)

    def share_at(self, now_ms: int) -> float:
        return min(self.share + (now_ms - self.refused_ms) * RECOVERY_PER_MS, MARGIN)

    def earliest_ms(self, now_ms: int, cost: int = 1) -> int | None:
        """When so many more may go out; None where that depends on answers still to come."""
        usable = self.usable(now_ms)
        over = len(self.answered) + len(self.flying) + min(cost, usable) - 1 - usable
        if over < 0:
            return max(now_ms, self.shut_until_ms)
        return max(self.answered[over], self.shut_until_ms) if over < len(self.answered) else None

    def room(self, now_ms: int) -> int:
        """How many may go out now."""
        if now_ms < self.shut_until_ms:
            return 0
        return max(self.usable(now_ms) - len(self.answered) - len(self.flying), 0)

    def refuse(self, now_ms: int, wait_ms: int) -> None:
        """The venue said: too many."""
        if now_ms - self.refused_ms > self.window_ms:
            self.share, self.refused_ms = max(self.share_at(now_ms) * AFTER_REFUSAL, LOWEST), now_ms
        self.shut_until_ms = max(self.shut_until_ms, now_ms + min(wait_ms, LONGEST_SHUT_MS))


@dataclass(frozen=True)
class Permit:
    """A request may go out after `wait_ms`. `number` releases the permit."""

    number: str
    wait_ms: int


@dataclass(frozen=True)
class RetryAfter:
    """No permit yet: ask again after `wait_ms`."""

    wait_ms: int


_PART = "/"


def _numbers(number: str, cost: int) -> list[str]:
    """Names of a request's parts in a window."""
    return [number, *(f"{number}{_PART}{part}" for part in range(1, cost))]


@dataclass
class RequestBudget:
    """All windows that share a file; `silent_until_ms` is the end of a ban. The names are those in the file."""

    silent_until_ms: int = 0
    given: int = 0
    counts: dict[str, RollingWindow] = field(default_factory=dict)

    def ban_left_ms(self, now_ms: int) -> int:
        """How long nothing may be sent; 0 without a ban."""
        left = self.silent_until_ms - now_ms
        return left if 0 < left <= LONGEST_BAN_MS else 0

    def acquire(
        self, limits: Sequence[Limit], now_ms: int, lease_ms: int, patience_ms: int, cost: int = 1
    ) -> Permit | RetryAfter:
        """A permit under all of the limits together, or the wait before asking again.

        Args:
            cost: how much the request counts under the last of the limits.
            lease_ms: a request has ended so long after its permit, answered or not.
            patience_ms: a permit later than this is not wanted.
        """
        counts = [self._window(limit) for limit in limits]
        for count in counts:
            count.forget_past(now_ms)
        costs = [1] * (len(counts) - 1) + [cost]
        found = [count.earliest_ms(now_ms, each) for count, each in zip(counts, costs, strict=True)]
        known = [time_ms for time_ms in found if time_ms is not None]
        if len(known) < len(found):
            return RetryAfter(max(POLL_MS, *(time_ms - now_ms for time_ms in known), 0))
        wait_ms = max(known) - now_ms
        if wait_ms > patience_ms:
            return RetryAfter(wait_ms)
        self.given += 1
        number = str(self.given)
        for count, each in zip(counts, costs, strict=True):
            until_ms = now_ms + wait_ms + min(lease_ms, LONGEST_LEASE_MS) + count.window_ms
            count.flying |= dict.fromkeys(_numbers(number, each), until_ms)
        return Permit(number, wait_ms)

    def room(self, limits: Sequence[Limit], now_ms: int) -> int:
        """How much a request may cost under the last of the limits and go out now; 0 where none may."""
        if self.ban_left_ms(now_ms):
            return 0
        counts = [self._window(limit) for limit in limits]
        for count in counts:
            count.forget_past(now_ms)
        return counts[-1].room(now_ms) if all(count.room(now_ms) for count in counts) else 0

    def release(self, number: str, limits: Sequence[Limit], now_ms: int) -> None:
        """The request of a permit has an answer, or will have none."""
        for limit in limits:
            count = self._window(limit)
            ended = [one for one in count.flying if one.partition(_PART)[0] == number]
            for one in ended:
                del count.flying[one]
            count.answered += [now_ms + count.window_ms] * len(ended)

    def _window(self, limit: Limit) -> RollingWindow:
        return self.counts.setdefault(limit.name, RollingWindow(limit.requests, limit.window_ms))
