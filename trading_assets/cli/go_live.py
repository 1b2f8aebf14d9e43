"""`trading-assets doctor --go-live`: what permits the next stage, as points of the checklist."""

from __future__ import annotations

from contextlib import closing

from trading_assets.cli.doctor import Finding, Level
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger.database import Database, Timeouts
from trading_assets.reporting import go_live

GROUP = "Going live"


def examine_stage(settings: Settings) -> list[Finding]:
    """The figures of the stage of these settings."""
    try:
        database = Database(settings.resolved_database_url, timeouts=Timeouts.of(settings), upgrade=False)
        with closing(database):
            found = go_live.points(database, settings, local_ms())
    except TradingAssetsError as error:
        return [Finding(GROUP, "ledger", Level.FAULT, str(error))]
    return [Finding(GROUP, one.what, Level.OK if one.ok else Level.FAULT, one.found) for one in found]
