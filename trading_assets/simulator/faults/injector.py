"""Which fault meets which request or message: counting, chance and time. Nothing is sent or changed here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from trading_assets.core.foreign_text import get_logger
from trading_assets.core.timeframes import iso
from trading_assets.simulator.account.models import NO_ORDER_FAULT, OrderFault
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.faults.visibility import LaggingAccount

_log = get_logger(__name__)


@dataclass(frozen=True)
class RowChange:
    """A rule that changes rows. `pages` are the last rows of the pages it has seen, by the mark of their cursor."""

    rule: FaultRule
    pages: dict[str, list[Any]]


@dataclass(frozen=True)
class RequestFault:
    """What happens to one request.

    Attributes:
        outcome: the rule that decides what the client gets; None: the true answer.
        before_ms, after_ms: waiting before the request takes effect, and after.
        stale_candles: klines end so many candles early.
        still_ms: public data is that of this time.
        rows: changes of the answer's rows, in the order of their rules.
        lagging: the account to answer from, and how far it is behind, ms.
        order: what becomes of an order after it was acknowledged.
    """

    outcome: FaultRule | None = None
    before_ms: int = 0
    after_ms: int = 0
    skew_ms: int = 0
    stale_candles: int = 0
    still_ms: int | None = None
    missing: frozenset[int] = frozenset()
    rows: tuple[RowChange, ...] = ()
    lagging: tuple[LaggingAccount, int] | None = None
    order: OrderFault = NO_ORDER_FAULT


@dataclass(frozen=True)
class MessageFault:
    """What happens to one WebSocket message; `delay_ms` counts for each copy."""

    silence: bool = False
    drop: bool = False
    duplicate: bool = False
    delay_ms: int = 0
    reorder: bool = False
    rows: tuple[RowChange, ...] = ()


NO_FAULT = RequestFault()
NO_MESSAGE_FAULT = MessageFault()


@dataclass
class _Armed:
    """A rule in force, and what it has done."""

    identifier: str
    rule: FaultRule
    added_ms: int
    lagging: LaggingAccount | None = None
    pages: dict[str, list[Any]] = field(default_factory=dict)
    chance: random.Random = field(init=False)
    calls: int = 0
    hits: int = 0
    first_ms: int | None = None
    last: dict[str, object] | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.rule.seed)

    def fires(self, now_ms: int) -> bool:
        """Count one matching call and decide. Chance is drawn only where everything else fits."""
        rule = self.rule
        self.calls += 1
        if rule.times is not None and self.hits >= rule.times:
            return False
        elapsed = now_ms - self.added_ms
        if elapsed < rule.after_ms or (rule.until_ms is not None and elapsed >= rule.until_ms):
            return False
        return rule.means_call(self.calls) and (rule.probability >= 1 or self.chance.random() < rule.probability)

    def note(self, subject: str, now_ms: int) -> None:
        self.hits += 1
        self.first_ms = now_ms if self.first_ms is None else self.first_ms
        self.last = {"time_ms": now_ms, "time": iso(now_ms), "subject": subject, "call": self.calls}
        _log.warning("%s fault %s on %s: %s", iso(now_ms), self.identifier, subject, self.rule.summary())

    def row(self) -> dict[str, object]:
        return {
            "id": self.identifier,
            "rule": self.rule.summary(),
            "calls": self.calls,
            "hits": self.hits,
            "last_fired": self.last,
        }


class Faults:
    """The rules in force, in their order; safe for threads.

    Waiting, clock skew and changed data add up; of the rules that decide a request's outcome the first that fires
    wins, and later ones do not fire.
    """

    def __init__(self, follow_account: Callable[[], LaggingAccount] | None = None) -> None:
        """`follow_account` begins to note what happens to the account; without it no list can lag."""
        self._lock = Lock()
        self._follow_account = follow_account
        self._armed: list[_Armed] = []
        self._number = 0

    def add(self, rules: Iterable[FaultRule], now_ms: int) -> list[str]:
        """Put rules in force behind those there are; their identifiers."""
        with self._lock:
            added = []
            for rule in rules:
                self._number += 1
                lagging = self._follow_account() if rule.lag_ms and self._follow_account is not None else None
                added.append(_Armed(f"f{self._number}", rule, now_ms, lagging))
            self._armed = [*self._armed, *added]
            return [armed.identifier for armed in added]

    def remove(self, identifier: str | None = None) -> int:
        """Lift one rule, or all of them; how many there were."""
        with self._lock:
            kept = [armed for armed in self._armed if identifier is not None and armed.identifier != identifier]
            removed = len(self._armed) - len(kept)
            for armed in self._armed:
                if armed.lagging is not None and armed not in kept:
                    armed.lagging.stop()
            self._armed = kept
            return removed

    def rows(self) -> list[dict[str, object]]:
        """Every rule with its matching calls, its hits and the last one."""
        with self._lock:
            return [armed.row() for armed in self._armed]

    def for_request(self, method: str, path: str, values: Callable[[], Mapping[str, Any]], now_ms: int) -> RequestFault:
        """The fault of one request; `values` gives its parameters, and is called only when a rule asks for them."""
        if not self._armed:
            return NO_FAULT
        with self._lock:
            fired: list[_Armed] = []
            decided: FaultRule | None = None
            for armed in self._armed:
                rule = armed.rule
                if not rule.covers(method, path) or (rule.match and not rule.fits(values())):
                    continue
                if armed.fires(now_ms) and not (rule.outcome and decided):
                    decided = rule if rule.outcome else decided
                    armed.note(f"{method} {path}", now_ms)
                    fired.append(armed)
            return _combined(fired, decided) if fired else NO_FAULT

    def for_message(self, topic: str, now_ms: int) -> MessageFault:
        """The fault of one outgoing WebSocket message of `topic`."""
        if not self._armed:
            return NO_MESSAGE_FAULT
        with self._lock:
            fired: list[FaultRule] = []
            for armed in self._armed:
                if armed.rule.covers_topic(topic) and armed.fires(now_ms):
                    armed.note(f"ws:{topic}", now_ms)
                    fired.append(armed.rule)
            if not fired:
                return NO_MESSAGE_FAULT
            return MessageFault(
                silence=any(rule.silence for rule in fired),
                drop=any(rule.drop for rule in fired),
                duplicate=any(rule.duplicate for rule in fired),
                delay_ms=sum(rule.delay_ms for rule in fired),
                reorder=any(rule.reorder for rule in fired),
                rows=tuple(RowChange(rule, {}) for rule in fired if rule.changes_rows),
            )


def _combined(fired: list[_Armed], decided: FaultRule | None) -> RequestFault:
    rules = [armed.rule for armed in fired]
    still = [armed.first_ms for armed in fired if armed.rule.stand_still and armed.first_ms is not None]
    lagging = [(armed.lagging, armed.rule.lag_ms) for armed in fired if armed.lagging is not None]
    return RequestFault(
        outcome=decided,
        before_ms=sum(rule.latency_ms for rule in rules if not rule.processed),
        after_ms=sum(rule.latency_ms for rule in rules if rule.processed),
        skew_ms=sum(rule.clock_skew_ms for rule in rules),
        stale_candles=max(rule.stale_candle for rule in rules),
        still_ms=min(still) if still else None,
        missing=frozenset(start for rule in rules for start in rule.missing_candle),
        rows=tuple(
            RowChange(armed.rule, armed.pages) for armed in fired if armed.rule.changes_rows or armed.rule.overlap_rows
        ),
        lagging=max(lagging, key=lambda one: one[1], default=None),
        order=OrderFault(
            reject_reason=next((rule.reject_reason for rule in rules if rule.reject_reason), ""),
            fill_parts=max(rule.fill_parts for rule in rules),
            act_after_ms=max(rule.act_after_ms for rule in rules),
        ),
    )
