"""The `trade` job's ops apart from the session: choose the mode, find entry signals once, submit orders."""

from collections.abc import Iterator
from typing import Literal

import dagster as dg
import pandas as pd
from pydantic import Field

from trading_assets.core.events import record_of
from trading_assets.core.foreign_text import plain
from trading_assets.core.schemas import ENTRY_SIGNALS
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.defs import metadata as md
from trading_assets.defs.checks.schema import validate
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG
from trading_assets.defs.ops.execution_context import follow_exits, make_execution_context
from trading_assets.defs.ops.signal_events import explanations, log_signals
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
    require_known_names,
    require_market,
)
from trading_assets.ledger import signals
from trading_assets.ledger.process_reports import SUBMIT, reporting
from trading_assets.ledger.selections import chose_no_coin
from trading_assets.market.loading import load_live
from trading_assets.strategies.base import Strategy
from trading_assets.trading import account_refusals
from trading_assets.trading.context import why_off
from trading_assets.trading.decide import finder
from trading_assets.trading.execute import submit as executor
from trading_assets.trading.session.registry import registered
from trading_assets.trading.session.watchlist import newest_selection


class TradeConfig(dg.Config):
    """What a run started by hand may say."""

    mode: Literal["setting", "session", "once"] = Field(
        "setting",
        description="session lives with the selection, once decides once; setting is TRADING_ASSETS_TRADE_MODE",
    )
    account: str = Field("", description="name of the account; needed where there are several")


@dg.op(
    out={
        "session": dg.Out(str, is_required=False, description="the account that lives with the selection"),
        "once": dg.Out(str, is_required=False, description="the account that decides once"),
    },
    description="Session or once, as the setting says, or the run's config.",
)
def choose_mode(
    context: dg.OpExecutionContext, settings: SettingsResource, database: DatabaseResource, config: TradeConfig
) -> Iterator[dg.Output[str]]:
    require_known_names()
    account = settings.one_name(config.account or context.run.tags.get(ACCOUNT_TAG, ""), "trade")
    configured = settings.get(account)
    off = why_off(database.get(), configured)
    if off:
        raise dg.Failure(off, allow_retries=False)
    context.instance.add_run_tags(context.run_id, {ACCOUNT_TAG: account})
    mode = configured.trade_mode if config.mode == "setting" else config.mode
    yield dg.Output(account, mode)


@dg.op(
    ins={"account": dg.In(str, description="name of the account")},
    description="Decides on the newest closed candle of each selected coin; new signals become rows of entry_signals.",
    out=dg.Out(bool, description="whether the signals may be executed"),
)
def find_entry_signals(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
    notifier: NotifierResource,
    account: str,
) -> bool:
    store, ledger, source = candle_store.local(), database.get(), exchange.market_data()
    execution = make_execution_context(settings, database, exchange, notifier, account)
    follow_exits(context, execution, store)
    selected = newest_selection(ledger)
    if selected is None:
        context.log.info("nothing is selected yet: materialise strategy_selections first")
        return True
    if selected.is_empty:
        context.log.info(f"{chose_no_coin(selected.hour_ms)}: no new signal before the next selection")
    require_market(source, trades=True)
    account_refusals.require_bound(execution)
    now_ms = source.now_ms()

    def load(symbol: str, timeframe: Timeframe, strategy: Strategy) -> StrategyData:
        return load_live(source, store, symbol, timeframe, strategy.needs(), now_ms)

    report = finder.find_entry_signals(
        database=ledger,
        selections=selected.rows.to_dict("records"),
        load=load,
        instruments={instrument.symbol: instrument for instrument in source.instruments()},
        settings=settings.get(account),
        now_ms=now_ms,
        run_id=context.run_id,
    )
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(report.skipped.items()))
    context.log.info(f"{len(report.signals)} new signals; of the other selections: {skipped or 'none'}")
    for symbol, reason in report.failures.items():
        context.log.warning(plain(f"{symbol} could not be decided: {reason}"))
    if not report.signals:
        return True
    for row in report.signals:
        notifier.get().notify(finder.signal_message(row))
    signal_ids = [str(row["signal_id"]) for row in report.signals]
    rows = signals.by_ids(ledger, signal_ids)
    check = validate(ENTRY_SIGNALS, rows)
    log_signals(context, rows, selected.hour_ms, check, dict(report.skipped))
    if not check.passed:
        signals.reject(ledger, signal_ids, signals.BROKEN)  # the ledger has done it already
    return check.passed


@dg.op(description="Executes waiting signals that every gate lets through: once each, with stops attached.")
def submit_orders(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
    may_execute: bool,
    account: str,
) -> None:
    if not may_execute:
        raise dg.Failure("entry_signals broke its schema: no order was sent; see the check of entry_signals")
    execution = make_execution_context(settings, database, exchange, notifier, account)
    account_refusals.require_tradable(execution)
    with (
        registered(execution.settings, execution.database, context.run_id),
        reporting(execution.database, account, SUBMIT),
    ):
        report = executor.submit_orders(execution)
    context.log.info(
        f"{len(report.executed)} orders executed, {len(report.rejected)} rejected, {len(report.refused)} waiting, "
        f"{report.expired} expired, {len(report.resting)} wait at their price, {len(report.unknown)} with unknown "
        f"outcome, {report.recovered} recovered"
    )
    for title, reasons in (("rejected", report.rejected), ("waiting", report.refused)):
        for signal_id, reason in reasons.items():
            context.log.info(plain(f"{title} {signal_id}: {reason}"))
    context.add_output_metadata(
        {
            "executed": len(report.executed),
            "rejected": len(report.rejected),
            "waiting": len(report.refused),
            "expired": report.expired,
            "waiting at their price": len(report.resting),
            "unknown": len(report.unknown),
            "orders": explanations(execution.database, report.executed),
            "events": md.table(pd.DataFrame([record_of(event) for event in execution.events])),
        }
    )
