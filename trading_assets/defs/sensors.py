"""The sensors. Each reads the state, lets `trading.automation` decide, and returns the decision as Dagster's."""

from contextlib import suppress
from dataclasses import replace

import dagster as dg

from trading_assets.core.code_version import code_version
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, floor_ms, local_ms
from trading_assets.defs import instance_queries
from trading_assets.defs.automation_troubles import note_skip, note_trouble
from trading_assets.defs.jobs import reconcile, research, trade
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
    require_known_names,
)
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import checks, installation, leases, orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.notifications.channels import channels_of
from trading_assets.notifications.delivery import deliver
from trading_assets.trading.automation import (
    TRIES,
    Skip,
    decide_reconcile,
    decide_research,
    decide_session,
    decide_trade,
    failure_text,
)
from trading_assets.trading.context import trading_lease, why_off
from trading_assets.trading.session.lease import Trader, trader_of
from trading_assets.trading.session.watchlist import Selected, newest_selection


def default_status() -> dg.DefaultSensorStatus:
    on = load_settings(lenient=True).automation_on
    return dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED


@dg.sensor(
    job=research,
    minimum_interval_seconds=20,
    default_status=default_status(),
    description="Researches the newest hour when it was never selected: at the first start, after a pause, and up to "
    "three times after failures. Skips when the newest hour is selected, while research runs, and in an hour's "
    "first minutes, which belong to the hourly schedule.",
)
def research_catch_up(
    context: dg.SensorEvaluationContext,
    settings: SettingsResource,
    exchange: ExchangeResource,
    database: DatabaseResource,
) -> dg.RunRequest | dg.SkipReason:
    try:
        now_ms = exchange.market_data().now_ms()
        blocked = checks.blocked_hours(database.get(), floor_ms(now_ms, HOUR_MS) - HOUR_MS)
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")
    newest = floor_ms(now_ms, HOUR_MS) - HOUR_MS
    hours = [newest - back * HOUR_MS for back in range(instance_queries.RECENT_HOURS)]
    instance_queries.fail_runs_without_process(context.instance)
    tried = instance_queries.attempts(context.instance, research.name, newest)
    decision = decide_research(
        now_ms=now_ms,
        selected_hours=instance_queries.latest_materializations(
            context.instance, [instance_queries.SELECTION_KEY], hours
        ),
        tried_hours=[newest] * tried,  # the hourly schedule's own try counts, too
        run_in_progress=instance_queries.in_progress(context.instance, research.name),
        blocked=blocked.get(newest),
    )
    if isinstance(decision, Skip):
        return _skipped(database, settings, "research_catch_up", decision)
    note_trouble(database, settings, "research_catch_up", "")
    partition = key_of(decision.hour_ms)
    number = instance_queries.runs_of(context.instance, research.name, newest) + 1
    return dg.RunRequest(run_key=f"catch-up-{partition}-{number}", partition_key=partition)


def _skipped(database: DatabaseResource, settings: SettingsResource, source: str, skip: Skip) -> dg.SkipReason:
    note_skip(database, settings, source, skip)
    return dg.SkipReason(skip.reason)


def _trade_interval_s() -> int:
    """The daemon evaluates sensors every five seconds: each time for a candle, every second time for a session."""
    return 2 if load_settings(lenient=True).trade_mode == "once" else 9


@dg.sensor(
    job=trade,
    minimum_interval_seconds=_trade_interval_s(),
    default_status=default_status(),
    description="Keeps a session of the trade job alive: starts one when none trades, and its successor when a newer "
    "selection is there. In once mode it starts a run when a candle of a selected timeframe has closed, and every few "
    "seconds while a signal waits. Skips while the newest selection is traded on, and while no coin is selected. "
    "Switch it off and no run is started; to end a live session, cancel its run.",
)
def trade_when_candles_close(
    context: dg.SensorEvaluationContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> dg.RunRequest | dg.SkipReason:
    ledger, configured = database.get(), settings.get()
    instance_queries.fail_runs_without_process(context.instance, trade.name)
    try:
        require_known_names()
        off = why_off(ledger, configured)
        if off:
            return dg.SkipReason(off)
        selected = newest_selection(ledger)
        if configured.trade_mode == "session":
            return _session(context, database, settings, selected)
        now_ms = exchange.market_data().now_ms()
        waiting = len(signals.active(ledger, configured.account))
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")
    decision = decide_trade(
        now_ms=now_ms,
        timeframes=selected.rows["timeframe"] if selected is not None else (),
        handled_ms=int(context.cursor or 0),
        waiting_signals=waiting,
        run_in_progress=instance_queries.in_progress(context.instance, trade.name),
    )
    if isinstance(decision, Skip):
        return dg.SkipReason(_with_blocked(decision.reason, ledger) if selected is None else decision.reason)
    context.update_cursor(str(decision.close_ms))
    return dg.RunRequest(tags={"trading_assets/reason": decision.reason})


def _with_blocked(reason: str, ledger: Database) -> str:
    """The reason, and what blocks the newest hour where a check does."""
    newest = latest_hour_ms(ledger, MARKET_SCAN)
    why = checks.blocked_hours(ledger, newest) if newest is not None else {}
    return "; ".join([reason, *(f"hour {key_of(hour)} is blocked: {text}" for hour, text in why.items())])


def _session(
    context: dg.SensorEvaluationContext,
    database: DatabaseResource,
    settings: SettingsResource,
    selected: Selected | None,
) -> dg.RunRequest | dg.SkipReason:
    ledger, account = database.get(), settings.get().account
    trader = trader_of(ledger, account, wall_ms=local_ms())
    if trader is not None and instance_queries.has_ended(context.instance, trader.run):
        trader = None  # killed: its successor gets ready while the lease runs out
    failed_ago_s = instance_queries.seconds_since_failures(context.instance, trade.name)
    holder = leases.lost_by(ledger, trading_lease(account), wall_ms=local_ms())
    lost = Trader.from_holder(holder).run if holder is not None else None
    decision = decide_session(
        selected=selected.key if selected is not None else None,
        trader=trader,
        runs=[
            replace(run, has_lost=run.run == lost) for run in instance_queries.sessions(context.instance, trade.name)
        ],
        failed_ago_s=failed_ago_s,
    )
    if isinstance(decision, Skip):
        reason = _with_blocked(decision.reason, ledger) if selected is None else decision.reason
        return _skipped(database, settings, "trade_when_candles_close", replace(decision, reason=reason))
    if len(failed_ago_s) < TRIES:
        note_trouble(database, settings, "trade_when_candles_close", "")
    for run_id in decision.dead:
        instance_queries.fail_run_without_lease(context.instance, run_id)
    return dg.RunRequest(tags={"trading_assets/reason": decision.reason})


@dg.sensor(
    job=reconcile,
    minimum_interval_seconds=10,
    default_status=default_status(),
    description="Reads the exchange's books every minute while positions or unresolved orders are open, else every "
    "ten minutes. Skips in between and tells what is open, while a run is in progress, and for a while after failures.",
)
def reconcile_books(
    context: dg.SensorEvaluationContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> dg.RunRequest | dg.SkipReason:
    ledger, account = database.get(), settings.get().account
    instance_queries.fail_runs_without_process(context.instance, reconcile.name)
    failed_ago_s = instance_queries.seconds_since_failures(context.instance, reconcile.name)
    try:
        occupied = orders.occupying(ledger, account)
        unresolved = [intent for intent in occupied if intent.status in orders.UNRESOLVED]
        decision = decide_reconcile(
            now_ms=exchange.market_data().now_ms(),
            reconciled_ms=account_ledger.reconciled_until_ms(ledger, account),
            open_positions=len(occupied) - len(unresolved),
            unresolved=len(unresolved),
            run_in_progress=instance_queries.in_progress(context.instance, reconcile.name),
            failed_ago_s=failed_ago_s,
        )
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")
    if isinstance(decision, Skip):
        return _skipped(database, settings, "reconcile_books", decision)
    if len(failed_ago_s) < TRIES:
        note_trouble(database, settings, "reconcile_books", "")
    return dg.RunRequest(tags={"trading_assets/reason": decision.reason})


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs of backfills, and of what was materialised by hand, that have told nothing for two hours: "
    "they free their places. Other runs have a longest time; a session is judged by its lease. "
    "Always skips: it starts no run.",
)
def end_stuck_runs(
    context: dg.SensorEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> dg.SkipReason:
    ended = instance_queries.end_runs_without_progress(context.instance)
    late = instance_queries.overdue_runs(context.instance)
    note_trouble(database, settings, "end_stuck_runs", "; ".join(late))
    with suppress(TradingAssetsError):
        installation.say_code(database.get(), code_version())
    if late:
        return dg.SkipReason("; ".join(late))
    return dg.SkipReason(f"ended for want of progress: {', '.join(ended)}" if ended else "no run is stuck")


DELIVER_WITHIN_S = 20.0
"""A tick of the sensor ends within a minute, and others wait for it."""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Delivers messages that wait: those that a channel has not taken yet, and those of processes that "
    "died. Always skips: it starts no run.",
)
def deliver_messages(settings: SettingsResource, database: DatabaseResource) -> dg.SkipReason:
    configured = settings.get()
    channels = channels_of(configured)
    if not channels:
        return dg.SkipReason("no channel is set: messages stay in the log and the ledger")
    try:
        found = deliver(
            database.get(),
            configured.account,
            channels,
            max_age_s=configured.notify_max_age_s,
            within_s=DELIVER_WITHIN_S,
        )
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")
    return dg.SkipReason(f"{found.delivered} delivered, {found.failed} tries failed, {found.given_up} given up")


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notifies of failed runs, with job and error: of each of three tries, and that no further one follows. "
    "Further failures in a row are notified of after a run has succeeded in between. A planned stop is none.",
)
def notify_of_failed_runs(context: dg.RunFailureSensorContext, notifier: NotifierResource) -> None:
    run, messenger = context.dagster_run, notifier.get()
    if instance_queries.was_stopped(instance_queries.newest_of(context.instance, run)):
        return
    text = failure_text(
        run.job_name,
        context.failure_event.message or "no message",
        tries=instance_queries.consecutive_failures(context.instance, run),
    )
    if text is not None:
        title, body = text
        messenger.notify(Message(title, body, Kind.RUN, Severity.WARNING))
        messenger.flush()
