"""What a schedule or sensor finds wrong goes into the ledger, where `status` and `doctor` look. Decides nothing."""

from __future__ import annotations

from contextlib import suppress

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.timeframes import local_ms
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.ledger import troubles
from trading_assets.trading.automation import Skip


def note_trouble(
    database: DatabaseResource, settings: SettingsResource, source: str, text: str, account: str = ""
) -> None:
    """Keep what is wrong, empty where all is well; a ledger that cannot be written stops no sensor."""
    told = Message(f"{source} does not go on", plain(text), Kind.RUN, Severity.WARNING, is_kept=True)
    with suppress(TradingAssetsError):
        troubles.note(
            database.get(), account or settings.installed().account, source, plain(text), local_ms(), message=told
        )


def note_skip(
    database: DatabaseResource, settings: SettingsResource, source: str, skip: Skip, account: str = ""
) -> None:
    """Keep what a skip says of trouble; one that only waits for a run in progress says nothing of it."""
    if skip.is_trouble is not None:
        note_trouble(database, settings, source, skip.reason if skip.is_trouble else "", account)
