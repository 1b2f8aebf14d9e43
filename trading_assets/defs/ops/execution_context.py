"""The executor's context from Dagster's resources."""

from __future__ import annotations

from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
)
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext


def make_execution_context(
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> ExecutionContext:
    """What submit and reconcile work with. That the key may not trade, or is refused, is told."""
    context = ExecutionContext(
        database=database.get(),
        exchange=exchange.connector(),
        settings=settings.get(),
        send=notifier.get().notify,
    )
    with account_refusals.asking_for_the_key(context):
        exchange.account()
    return context
