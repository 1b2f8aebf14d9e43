"""Messages to people: what they are about and how much they matter. How they are kept and sent is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a message is about."""

    FILL = "fill"
    CLOSING = "closing"
    ORDER = "order"
    """An order that failed, waits or has no known outcome."""
    REFUSAL = "refusal"
    """A gate or a limit lets no entry through."""
    RISK = "risk"
    """The state of the account has changed, or a position has no stop."""
    BOOKS = "books"
    """Ledger and exchange differ."""
    ACCOUNT = "account"
    """The exchange refuses the account, or changes it."""
    LINK = "link"
    DATA = "data"
    RUN = "run"
    """A run failed, is stuck or is not tried again; an hour is blocked."""
    SYSTEM = "system"
    """The installation: its channels, machines and versions."""
    TEST = "test"


class Severity(StrEnum):
    """How much a message matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    """Money is unprotected, or nothing goes on until somebody acts."""


@dataclass(frozen=True)
class Message:
    """A message to a person.

    Attributes:
        is_kept: whether the ledger has it already, written together with what it tells.
    """

    title: str
    body: str
    kind: Kind
    severity: Severity = Severity.INFO
    is_kept: bool = False


Notify = Callable[[Message], None]
"""Tells a person. It returns at once and raises nothing."""
