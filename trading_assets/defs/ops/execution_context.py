"""The executor's context from Dagster's resources."""

from __future__ import annotations

from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
)
from trading_assets.trading.context import ExecutionContext


def make_execution_context(
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> ExecutionContext:
    """What submit and reconcile work with."""
    return ExecutionContext(
        database=database.get(),
        exchange=exchange.account(),
        settings=settings.get(),
        send=notifier.get().notify,
    )
