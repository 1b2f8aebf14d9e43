"""The settings that research is done with, in versions: those of now, or those that were used when an hour ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trading_assets.accounts import effective
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.setting_changes import Change, change_of
from trading_assets.core.settings import Settings
from trading_assets.ledger import research_settings, strategies
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import ActiveStrategies, RegistryRow
from trading_assets.strategies.grids import grids_from

NAMES = (
    *(name for name, field in Settings.model_fields.items() if change_of(field) is Change.RESEARCH),
    *("sizing", "position_size", "leverage", "maintenance_margin_pct"),
    *("entry_order", "entry_offset_pct", "entry_bars", "max_price_deviation_pct"),
)
"""Settings that results of research depend on. Those of a position give a backtest its notional and liquidation, those
of an entry where it waits."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class ResearchSettings:
    """What an hour is researched with.

    Attributes:
        is_earlier: the hour is older than the first version, so that its own settings are not known.
    """

    version: int
    settings: Settings
    rows: tuple[RegistryRow, ...]
    is_earlier: bool = False

    def strategies(self) -> ActiveStrategies:
        """The strategies that are tried."""
        return strategies.usable_of(self.rows, grids_from(self.settings.parameters))


def of_now(database: Database, base: Settings, now_ms: int) -> ResearchSettings:
    """Return what holds now, and record it as a version where it is other than the last.

    Args:
        now_ms: the exchange's time.
    """
    settings = effective.common_settings(database, base)
    rows = tuple(strategies.registry_rows(database))
    version = research_settings.record(database, _content(settings, rows), now_ms)
    return ResearchSettings(version.number, settings, rows)


def as_of(database: Database, base: Settings, end_ms: int) -> ResearchSettings:
    """Return what was used when an hour ended; what is no setting of research is that of now.

    Args:
        end_ms: end of the hour, UTC ms.

    Raises:
        ConfigurationError: no version was ever recorded.
    """
    found = research_settings.at(database, end_ms)
    if found is None:
        raise ConfigurationError(
            "no settings of research were recorded yet: research an hour with today's first, without --as-of-settings"
        )
    told: Mapping[str, Any] = json.loads(found.content)
    today = effective.common_settings(database, base)
    known = {name: value for name, value in told["settings"].items() if name in NAMES}
    settings = effective.with_values(today, known)
    if told["parameters_file"] != _digest_of_file(settings):
        _log.warning("the file of parameters %s is other than it was in version %d", settings.parameters, found.number)
    rows = tuple(RegistryRow(**row) for row in told["strategies"])
    return ResearchSettings(found.number, settings, rows, is_earlier=found.since_ms > end_ms)


def _content(settings: Settings, rows: tuple[RegistryRow, ...]) -> str:
    return json.dumps(
        {
            "settings": settings.model_dump(mode="json", include=set(NAMES)),
            "parameters_file": _digest_of_file(settings),
            "strategies": [vars(row) for row in rows],
        },
        sort_keys=True,
    )


def _digest_of_file(settings: Settings) -> str:
    """Of the file of parameters, where the setting names one."""
    if settings.parameters in ("described", "declared"):
        return ""
    try:
        return hashlib.sha256(Path(settings.parameters).expanduser().read_bytes()).hexdigest()[:16]
    except OSError:
        return "unreadable"
