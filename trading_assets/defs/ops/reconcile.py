"""The `reconcile` job's op."""

import dagster as dg

from trading_assets.defs.ops.desk import make_desk
from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
)
from trading_assets.trading.reconcile import reconcile


@dg.op(description="Fills, positions, closings and balance of the exchange into the ledger; differences reported.")
def reconcile_account(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> None:
    report = reconcile(make_desk(settings, database, exchange, notifier))
    context.log.info(
        f"equity {report.equity:.2f} USD, {report.open_positions} positions, {report.new_fills} new fills, "
        f"{len(report.new_closings)} closings, {report.recovered} orders recovered"
    )
    for closing in report.new_closings:
        context.log.info(
            f"{closing.position_side} {closing.symbol} closed at its {closing.reason}: {closing.pnl:+.2f} USD"
        )
    for text in [*report.repaired, *(text for _, text in report.differences)]:
        context.log.warning(text)
    context.add_output_metadata(
        {
            "equity_usd": float(report.equity),
            "open_positions": report.open_positions,
            "new_fills": report.new_fills,
            "closings": len(report.new_closings),
            "differences": len(report.differences),
        }
    )
