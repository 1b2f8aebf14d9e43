"""The `trade` job's ops: find signals, materialise `entry_signals`, submit orders."""

import dagster as dg
import pandas as pd

from trading_assets.defs import metadata as md
from trading_assets.defs.checks.schema import CHECK_NAME, validate
from trading_assets.defs.ops.desk import make_desk
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
)
from trading_assets.exchange.events import record_of
from trading_assets.ledger import signals as ledger
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions
from trading_assets.market.loading import load_live
from trading_assets.market.timeframes import Timeframe
from trading_assets.schemas.tables import ENTRY_SIGNALS, STRATEGY_SELECTIONS
from trading_assets.strategies.base import Strategy, StrategyData
from trading_assets.trading import executor, finder

ENTRY_SIGNALS_KEY = dg.AssetKey("entry_signals")


@dg.op(
    description="Decides on the newest closed candle of each selected coin; new signals become rows of entry_signals.",
    out=dg.Out(bool, description="whether the signals may be executed"),
)
def find_entry_signals(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
) -> bool:
    store, record, source = candle_store.get(), database.get(), exchange.market_data()
    hour = latest_hour_ms(record, STRATEGY_SELECTIONS)
    if hour is None:
        context.log.info("nothing is selected yet: materialise strategy_selections first")
        return True
    now_ms = source.now_ms()

    def load(symbol: str, timeframe: Timeframe, strategy: Strategy) -> StrategyData:
        return load_live(source, store, symbol, timeframe, strategy.needs(), now_ms)

    report = finder.find_entry_signals(
        database=record,
        selections=read_partitions(record, STRATEGY_SELECTIONS, [hour]),
        load=load,
        instruments={instrument.symbol: instrument for instrument in source.instruments()},
        settings=settings.get(),
        now_ms=now_ms,
    )
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(report.skipped.items()))
    context.log.info(f"{len(report.signals)} new signals; of the other selections: {skipped or 'none'}")
    for symbol, reason in report.failures.items():
        context.log.warning(f"{symbol} could not be decided: {reason}")
    if not report.signals:
        return True
    rows = ledger.by_ids(record, [str(row["signal_id"]) for row in report.signals])
    check = validate(ENTRY_SIGNALS, rows)
    _materialise(context, rows, hour, check, dict(report.skipped))
    return check.passed


def _materialise(
    context: dg.OpExecutionContext,
    rows: pd.DataFrame,
    hour_ms: int,
    check: dg.AssetCheckResult,
    skipped: dict[str, int],
) -> None:
    columns = ["symbol", "timeframe", "strategy", "position_type", "confidence", "entry_price", "stop_loss"]
    context.log_event(
        dg.AssetMaterialization(
            ENTRY_SIGNALS_KEY,
            partition=key_of(hour_ms),
            metadata={
                "dagster/row_count": len(rows),
                "signals": md.table(rows, [*columns, "take_profit"]),
                "skipped": md.counts(skipped, "reason"),
            },
        )
    )
    context.log_event(
        # `log_event` takes it, though its annotation does not say so.
        dg.AssetCheckEvaluation(  # type: ignore[arg-type]
            asset_key=ENTRY_SIGNALS_KEY,
            check_name=CHECK_NAME,
            passed=check.passed,
            metadata=check.metadata,
            severity=check.severity,
            description=check.description,
            blocking=True,
        )
    )


@dg.op(description="Executes waiting signals that every gate lets through: once each, with stops attached.")
def submit_orders(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
    may_execute: bool,
) -> None:
    if not may_execute:
        raise dg.Failure("entry_signals broke its schema: no order was sent; see the check of entry_signals")
    desk = make_desk(settings, database, exchange, notifier)
    report = executor.submit_orders(desk)
    context.log.info(
        f"{len(report.executed)} orders executed, {len(report.rejected)} rejected, {len(report.refused)} waiting, "
        f"{report.expired} expired, {len(report.unknown)} with unknown outcome, {report.recovered} recovered"
    )
    for title, reasons in (("rejected", report.rejected), ("waiting", report.refused)):
        for signal_id, reason in reasons.items():
            context.log.info(f"{title} {signal_id}: {reason}")
    context.add_output_metadata(
        {
            "executed": len(report.executed),
            "rejected": len(report.rejected),
            "waiting": len(report.refused),
            "expired": report.expired,
            "unknown": len(report.unknown),
            "events": md.table(pd.DataFrame([record_of(event) for event in desk.events])),
        }
    )
