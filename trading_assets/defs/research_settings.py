"""Which settings each hour of a run is researched with. What they are, `accounts.research` knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
import pandas as pd

from trading_assets.accounts import research
from trading_assets.accounts.research import ResearchSettings
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.timeframes import as_of_ms, local_ms
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, SettingsResource

AS_OF_TAG = "trading_assets/as_of_settings"
"""Tag of a run that researches each hour with the settings that were used when it ended."""


@dataclass(frozen=True)
class HoursAlike:
    """Hours of a run that are researched with the same settings."""

    used: ResearchSettings
    hours: tuple[int, ...]

    def marked(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with the version that they were made with."""
        return rows.assign(settings_version=float(self.used.version))


def hours_alike(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    hours: Sequence[int],
) -> list[HoursAlike]:
    """Divide the hours by their settings, and say which they are: today's in one part unless the run asks otherwise."""
    ledger, base = database.get(), settings.installed()
    if context.run.tags.get(AS_OF_TAG) != "true":
        try:
            now_ms = exchange.market_data().now_ms()
        except TradingAssetsError:
            now_ms = local_ms()
        used = research.of_now(ledger, base, now_ms)
        context.log.info(f"researched with today's settings, version {used.version}")
        return [HoursAlike(used, tuple(hours))]
    of: dict[int, tuple[ResearchSettings, list[int]]] = {}
    earlier = 0
    for hour in hours:
        used = research.as_of(ledger, base, as_of_ms(hour))
        earlier += used.is_earlier
        of.setdefault(used.version, (used, []))[1].append(hour)
    told = ", ".join(f"version {version} in {len(some)} hours" for version, (_, some) in sorted(of.items()))
    context.log.info(f"researched with the settings of each hour: {told}")
    if earlier:
        context.log.warning(f"{earlier} hours are older than the first version that was recorded: they have that one")
    return [HoursAlike(used, tuple(some)) for used, some in of.values()]
