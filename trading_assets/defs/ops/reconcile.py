"""The `reconcile` job's op."""

import dagster as dg
from pydantic import Field

from trading_assets.core.foreign_text import plain
from trading_assets.defs import metadata as md
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG
from trading_assets.defs.ops.execution_context import follow_exits, make_execution_context
from trading_assets.defs.ops.signal_events import explanations
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
)
from trading_assets.ledger.process_reports import RECONCILE, reporting
from trading_assets.trading.portfolio import DIMENSIONS, Portfolio, portfolio
from trading_assets.trading.reconcile.reconciler import reconcile


class ReconcileConfig(dg.Config):
    """Whose books are read."""

    account: str = Field("", description="name of the account; needed where there are several")


@dg.op(description="Fills, positions, closings and balance of the exchange into the ledger; differences reported.")
def reconcile_account(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
    candle_store: CandleStoreResource,
    config: ReconcileConfig,
) -> None:
    account = settings.one_name(config.account or context.run.tags.get(ACCOUNT_TAG, ""), "reconcile")
    context.instance.add_run_tags(context.run_id, {ACCOUNT_TAG: account})
    execution = make_execution_context(settings, database, exchange, notifier, account)
    with reporting(database.get(), account, RECONCILE):
        follow_exits(context, execution, candle_store.local())
        report = reconcile(execution)
    context.log.info(
        f"equity {report.equity:.2f} USD, {report.open_positions} positions, {report.new_fills} new fills, "
        f"{len(report.new_closings)} closings, {report.recovered} orders recovered"
    )
    for closing in report.new_closings:
        context.log.info(
            plain(f"{closing.position_side} {closing.symbol} closed at its {closing.reason}: {closing.pnl:+.2f} USD")
        )
    for text in [*report.repaired, *(text for _, text in report.differences)]:
        context.log.warning(plain(text))
    context.add_output_metadata(
        {
            "equity_usd": float(report.equity),
            "open_positions": report.open_positions,
            "new_fills": report.new_fills,
            "closings": len(report.new_closings),
            "differences": len(report.differences),
            "closed": explanations(
                database.get(), [closing.signal_id for closing in report.new_closings if closing.signal_id is not None]
            ),
            **_portfolio(portfolio(database.get(), account)),
        }
    )


def _portfolio(found: Portfolio | None) -> dict[str, float | str | dg.MetadataValue]:
    """What a trader wants to see at a glance: risk, exposure, results."""
    if found is None:
        return {}
    columns = ["symbol", "side", "notional", "share_pct", "mark_price", "liquidation_price", "liquidation_pct"]
    results = {
        f"results_by_{dimension}": md.table(found.ever.by_one(dimension).sort_values("net", ascending=False))
        for dimension in DIMENSIONS
    }
    return {
        "risk_state": found.state.state.value,
        "drawdown_pct": found.drawdown_pct,
        "max_drawdown_pct": found.max_drawdown_pct,
        "exposure_usd": found.exposure,
        "exposure_pct": found.exposure_pct,
        "net_today_usd": found.today.net,
        "net_usd": found.ever.net,
        "exposure": md.table(found.positions.sort_values("notional", ascending=False), columns, limit=20),
        **results,
    }
