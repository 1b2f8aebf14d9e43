"""How many requests may go out now: rolling windows, the margin below each limit, and a ban. Pure; no clock, no file.

A request counts from its turn until a window after its answer. The venue saw it somewhere in between, so no window of
the venue's can hold more than ours, however slow the network or the machine was. A request whose process died counts
until its lease ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trading_assets.exchange.rate_limits import Limit

MARGIN = 0.8
"""Share of a limit that is used."""

LOWEST = 0.2
AFTER_REFUSAL = 0.7
"""A refusal means that somebody else shares the limit: the share shrinks by this factor, once a window ..."""

RECOVERY_PER_MS = 0.01 / 1000
"""... and comes back by a hundredth of the limit a second."""

POLL_MS = 10
LONGEST_LEASE_MS = 120_000
LONGEST_SHUT_MS = 10_000
LONGEST_BAN_MS = 600_000


@dataclass
class Count:
    """Requests under one limit; times in ms of a clock that all processes share.

    Attributes:
        requests: the venue's limit.
        share: of it that may be used, as of `refused_ms`.
        shut_until_ms: the venue asked for silence until then.
        answered: when each answered request stops counting, ascending.
        flying: the same of requests without an answer yet, by number, at the latest.
    """

    requests: int
    window_ms: int
    share: float = MARGIN
    refused_ms: int = 0
    shut_until_ms: int = 0
    answered: list[int] = field(default_factory=list)
    flying: dict[str, int] = field(default_factory=dict)

    def forget_past(self, now_ms: int) -> None:
        """Drop what counts no more, and what a clock that began anew (a restarted machine) left behind."""
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

    def earliest_ms(self, now_ms: int) -> int | None:
        """When one more may go out; None where that depends on answers still to come."""
        over = len(self.answered) + len(self.flying) - self.usable(now_ms)
        if over < 0:
            return max(now_ms, self.shut_until_ms)
        return max(self.answered[over], self.shut_until_ms) if over < len(self.answered) else None

    def refuse(self, now_ms: int, wait_ms: int) -> None:
        """The venue said: too many."""
        if now_ms - self.refused_ms > self.window_ms:
            self.share, self.refused_ms = max(self.share_at(now_ms) * AFTER_REFUSAL, LOWEST), now_ms
        self.shut_until_ms = max(self.shut_until_ms, now_ms + min(wait_ms, LONGEST_SHUT_MS))


@dataclass(frozen=True)
class Turn:
    """A request may go out after `wait_ms`. Its number gives the turn back."""

    number: str
    wait_ms: int


@dataclass(frozen=True)
class Later:
    """None can be promised yet: ask again after `wait_ms`."""

    wait_ms: int


@dataclass
class Allowance:
    """All counts that share a file; `silent_until_ms` is the end of a ban."""

    silent_until_ms: int = 0
    given: int = 0
    counts: dict[str, Count] = field(default_factory=dict)

    def ban_left_ms(self, now_ms: int) -> int:
        """How long nothing may be sent; 0 without a ban."""
        left = self.silent_until_ms - now_ms
        return left if 0 < left <= LONGEST_BAN_MS else 0

    def take(self, limits: Sequence[Limit], now_ms: int, lease_ms: int, patience_ms: int) -> Turn | Later:
        """A turn under all of the limits together, or the wait before asking again; nothing is taken then.

        Args:
            lease_ms: a request that got its turn has ended after so long, answered or not.
            patience_ms: a turn later than this is not wanted.
        """
        counts = [self._count(limit) for limit in limits]
        for count in counts:
            count.forget_past(now_ms)
        found = [count.earliest_ms(now_ms) for count in counts]
        known = [time_ms for time_ms in found if time_ms is not None]
        if len(known) < len(found):
            return Later(max(POLL_MS, *(time_ms - now_ms for time_ms in known), 0))
        wait_ms = max(known) - now_ms
        if wait_ms > patience_ms:
            return Later(wait_ms)
        self.given += 1
        number = str(self.given)
        for count in counts:
            count.flying[number] = now_ms + wait_ms + min(lease_ms, LONGEST_LEASE_MS) + count.window_ms
        return Turn(number, wait_ms)

    def answered(self, number: str, limits: Sequence[Limit], now_ms: int) -> None:
        """The request of a turn has an answer, or will have none."""
        for limit in limits:
            count = self._count(limit)
            if count.flying.pop(number, None) is not None:
                count.answered.append(now_ms + count.window_ms)

    def _count(self, limit: Limit) -> Count:
        return self.counts.setdefault(limit.name, Count(limit.requests, limit.window_ms))
