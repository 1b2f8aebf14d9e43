"""The executor's context from Dagster's resources."""

from __future__ import annotations

import dagster as dg

from trading_assets.core.foreign_text import plain
from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
)
from trading_assets.market.store import CandleStore
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.exit_plans import follow_exit_plans


def make_execution_context(
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
    account: str = "",
) -> ExecutionContext:
    """What submit and reconcile work with. That the key may not trade, or is refused, is told."""
    context = ExecutionContext(
        database=database.get(),
        exchange=exchange.connector(account),
        settings=settings.get(account),
        send=notifier.get(account).notify,
    )
    with account_refusals.asking_for_the_key(context):
        exchange.account(account)
    return context


def follow_exits(context: dg.OpExecutionContext, execution: ExecutionContext, store: CandleStore) -> None:
    """Ask the exit plans of open positions, carry out what they say, and log it."""
    report = follow_exit_plans(execution, store)
    for symbol, what in report.decided.items():
        context.log.info(plain(f"exit of {symbol}: {what}"))
    for symbol, why in report.failed.items():
        context.log.warning(plain(f"exit of {symbol} could not be followed: {why}"))
    for symbol in report.late:
        context.log.warning(plain(f"exit of {symbol}: its newest candle is not there yet"))
