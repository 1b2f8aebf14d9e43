"""The executor's desk from Dagster's resources."""

from __future__ import annotations

from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
)
from trading_assets.trading.context import Desk


def make_desk(
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> Desk:
    """What submit and reconcile work with."""
    return Desk(
        database=database.get(),
        exchange=exchange.account(),
        settings=settings.get(),
        notify=notifier.get().notify,
    )
