"""Messages to people: what they are about and how much they matter. How they are kept and sent is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a message is about."""

    SIGNAL = "signal"
    """A strategy has found an entry; nothing is ordered yet."""
    FILL = "fill"
    CLOSING = "closing"
    ORDER = "order"
    """An order that failed, waits or has no known outcome."""
    REFUSAL = "refusal"
    """A gate or a limit lets no entry through."""
    LIMIT = "limit"
    """A limit of loss is reached: trading halts."""
    RISK = "risk"
    """The state of the account has changed, or a position has no stop."""
    BOOKS = "books"
    """Ledger and exchange differ."""
    ACCOUNT = "account"
    """The exchange refuses the account, or changes it."""
    LINK = "link"
    DATA = "data"
    HOUR = "hour"
    """A check blocks an hour: nothing of it is traded."""
    RUN = "run"
    """A run failed or is stuck; a schedule or sensor does not go on."""
    RESTARTS = "restarts"
    """A run is not started again: somebody has to look."""
    ALARM = "alarm"
    """A condition that is watched has begun or has ended."""
    COMMAND = "command"
    """Somebody who may not has given a command by chat."""
    SUMMARY = "summary"
    """What a day brought, with a picture."""
    SYSTEM = "system"
    """The installation: its channels, machines and versions."""
    TEST = "test"


class Severity(StrEnum):
    """How much a message matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    """Money is unprotected, or nothing goes on until somebody acts."""


FACTS: Mapping[Kind, tuple[str, ...]] = {
    Kind.SIGNAL: ("symbol", "side", "timeframe", "strategy", "entry", "stop", "target", "confidence"),
    Kind.FILL: ("symbol", "side", "qty", "price", "stop", "target"),
    Kind.CLOSING: ("symbol", "side", "qty", "price", "pnl", "reason"),
    Kind.ORDER: ("symbol", "side", "qty", "failure", "detail"),
    Kind.LIMIT: ("limit", "found"),
    Kind.RISK: ("state", "reason", "actor"),
    Kind.ALARM: ("name", "state", "detail"),
    Kind.SUMMARY: ("day", "equity", "change", "trades", "wins", "win_rate", "pnl", "funding", "net"),
}
"""The facts of a message's kind. Some messages of a kind have none: they are told in their own words."""


@dataclass(frozen=True)
class Message:
    """A message to a person.

    Attributes:
        is_kept: whether the ledger has it already, written together with what it tells.
        facts: what it tells, value by name, for a template of the user: `FACTS` names those of each kind.
        picture: a PNG, for channels that take one.
        key: of an event that is told once, whoever tells it; empty: told whenever it is written.
    """

    title: str
    body: str
    kind: Kind
    severity: Severity = Severity.INFO
    is_kept: bool = False
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    picture: bytes | None = field(default=None, repr=False)
    key: str = ""


Notify = Callable[[Message], None]
"""Tells a person. It returns at once and raises nothing."""
