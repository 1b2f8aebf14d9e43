"""What a check of the doctor returns, and how it opens the ledger. No check is here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trading_assets.core.settings import Settings
from trading_assets.ledger.database import Database, Timeouts


class Advice(str):
    """What a check returns of something that works and should be made better, with what to do."""


class Level(StrEnum):
    """How it stands with what was looked at."""

    OK = "ok"
    ADVICE = "see"
    """It works; before real money it should be made better."""
    FAULT = "no"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it stands, what was found, and what to do."""

    group: str
    what: str
    level: Level
    found: str

    @property
    def ok(self) -> bool:
        """Whether what needs it works."""
        return self.level is not Level.FAULT


def opened(settings: Settings) -> Database:
    return Database.of(settings, timeouts=Timeouts.of(settings).at_most(5.0))


def unless_simulated(settings: Settings, text: str) -> str:
    return text if settings.venue.adapter.is_simulated else Advice(text)
