"""The schedules: research after each hour, the every-minute look at its selection, and the looks back on each day."""

import dagster as dg

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, floor_ms, iso, to_ms
from trading_assets.defs import instance_queries
from trading_assets.defs.automation_troubles import note_skip
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG
from trading_assets.defs.jobs import parity, performance, reports, research, retention, seal, select
from trading_assets.defs.partitions import day_key_of, key_of
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.ledger import sealing, signals
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.trading.automation import Skip, decide_selection


def _status() -> dg.DefaultScheduleStatus:
    on = load_settings(lenient=True).automation_on
    return dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED


@dg.schedule(
    job=research,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=_status(),
    description="At each full hour: scan, candles, backtests and selection of the hour that has just ended. The first "
    "step waits until the hour's last candles are final, a few seconds. Skips while the exchange's clock has not "
    "reached the hour's end.",
)
def research_hourly(context: dg.ScheduleEvaluationContext, exchange: ExchangeResource) -> dg.RunRequest | dg.SkipReason:
    ended = floor_ms(to_ms(context.scheduled_execution_time), HOUR_MS) - HOUR_MS
    too_early = _is_ahead_of(exchange, ended + HOUR_MS)
    if too_early is not None:
        return too_early
    return dg.RunRequest(run_key=key_of(ended), partition_key=key_of(ended))


BACKTESTS_TAG = "trading_assets/backtests"
"""On a run of `select`: the write of backtests that it selects from."""


@dg.schedule(
    job=select,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=_status(),
    description="Every minute: selects again for a recent hour whose backtests are newer than its selection, up to "
    "three times. Skips when there is none, while research runs, and after three failures.",
)
def selection_every_minute(
    context: dg.ScheduleEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    instance = context.instance
    newest = floor_ms(to_ms(context.scheduled_execution_time), HOUR_MS) - HOUR_MS
    hours = [newest - back * HOUR_MS for back in range(instance_queries.RECENT_HOURS)]
    written = instance_queries.latest_materializations(instance, instance_queries.BACKTEST_KEYS, hours)
    decision = decide_selection(
        backtest_writes=written,
        selection_writes=instance_queries.latest_materializations(instance, [instance_queries.SELECTION_KEY], hours),
        run_in_progress=instance_queries.in_progress(instance, research.name, select.name),
        tries={
            hour: instance_queries.attempts(instance, select.name, hour, {BACKTESTS_TAG: str(write)})
            for hour, write in written.items()
        },
    )
    if isinstance(decision, Skip):
        note_skip(database, settings, "selection_every_minute", decision)
        return dg.SkipReason(decision.reason)
    return [
        dg.RunRequest(run_key=f"{key_of(hour)}@{write}", partition_key=key_of(hour), tags={BACKTESTS_TAG: str(write)})
        for hour, write in decision.hours.items()
    ]


@dg.schedule(
    job=parity,
    cron_schedule="20 0 * * *",
    execution_timezone="UTC",
    default_status=_status(),
    description="Twenty minutes after each day: replays the day that has ended and compares it with what live did. "
    "Skips while the exchange's clock has not reached the day's end.",
)
def parity_daily(context: dg.ScheduleEvaluationContext, exchange: ExchangeResource) -> dg.RunRequest | dg.SkipReason:
    ended = floor_ms(to_ms(context.scheduled_execution_time), DAY_MS) - DAY_MS
    too_early = _is_ahead_of(exchange, ended + DAY_MS)
    if too_early is not None:
        return too_early
    return dg.RunRequest(run_key=day_key_of(ended), partition_key=day_key_of(ended))


REPORT_DAYS = 30


@dg.schedule(
    job=reports,
    cron_schedule="40 0 * * *",
    execution_timezone="UTC",
    default_status=_status(),
    description=f"Forty minutes after each day: the walk-forward report of the last {REPORT_DAYS} days. Skips while no "
    "hour has been selected yet.",
)
def reports_daily(context: dg.ScheduleEvaluationContext, database: DatabaseResource) -> dg.RunRequest | dg.SkipReason:
    newest = latest_hour_ms(database.get(), STRATEGY_SELECTIONS)
    if newest is None:
        return dg.SkipReason("no hour has a selection yet, so there is nothing to follow")
    since = floor_ms(to_ms(context.scheduled_execution_time), DAY_MS) - REPORT_DAYS * DAY_MS
    if newest < since:
        return dg.SkipReason(f"no hour since {iso(since)} has a selection, so there is nothing to follow")
    config = {"ops": {"walk_forward_report": {"config": {"last_days": REPORT_DAYS}}}}
    return dg.RunRequest(
        run_key=day_key_of(floor_ms(to_ms(context.scheduled_execution_time), DAY_MS)), run_config=config
    )


@dg.schedule(
    job=performance,
    cron_schedule="50 0 * * *",
    execution_timezone="UTC",
    default_status=_status(),
    description=f"Fifty minutes after each day: the performance report of the last {REPORT_DAYS} days, or since the "
    "first executed signal, of each account that has one. Skips while there is none.",
)
def performance_daily(
    context: dg.ScheduleEvaluationContext, database: DatabaseResource, settings: SettingsResource
) -> list[dg.RunRequest] | dg.SkipReason:
    midnight, main = floor_ms(to_ms(context.scheduled_execution_time), DAY_MS), settings.installed().account
    requests, reasons = list[dg.RunRequest](), list[str]()
    for account in settings.names():
        first = signals.first_executed_ms(database.get(), account)
        if first is None:
            reasons.append(f"account {account} has executed no signal yet, so there is nothing to show")
            continue
        since = max(floor_ms(first, HOUR_MS), midnight - REPORT_DAYS * DAY_MS)
        if signals.first_executed_ms(database.get(), account, since) is None:
            reasons.append(f"account {account} has executed no signal since {iso(since)}")
            continue
        given = {"first_hour": key_of(since), **({} if account == main else {"account": account})}
        requests.append(
            dg.RunRequest(
                run_key=day_key_of(midnight) if account == main else f"{day_key_of(midnight)}-{account}",
                run_config={"ops": {"performance_report": {"config": given}}},
                tags={ACCOUNT_TAG: account},
            )
        )
    return requests or dg.SkipReason("; ".join(reasons))


@dg.schedule(
    job=seal,
    cron_schedule="50 * * * *",
    execution_timezone="UTC",
    default_status=_status(),
    description="Ten minutes before each hour: seals backtests of days that ended long enough ago. Skips while no day "
    "is due, and while research runs.",
)
def seal_hourly(
    context: dg.ScheduleEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> dg.RunRequest | dg.SkipReason:
    before = sealing.before_ms(database.get(), settings.of_research().seal_results_after_days)
    if before is None:
        return dg.SkipReason("TRADING_ASSETS_SEAL_RESULTS_AFTER_DAYS is empty, or nothing was researched yet")
    due = sealing.due_days(database.get(), before)
    if not due:
        return dg.SkipReason(f"no day before {iso(before)} has backtests that are not sealed")
    if instance_queries.research_in_progress(context.instance, excluding=""):
        return dg.SkipReason("research runs, and may write what is due")
    return dg.RunRequest(run_key=f"seal-{context.scheduled_execution_time:%Y-%m-%dT%H}")


@dg.schedule(
    job=retention,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    # It deletes: switched on by the same settings as what it cleans up after.
    default_status=_status(),
    description="Every day at 03:40: deletes runs, rows and candles that are older than the settings say. Never "
    "skips: a run that finds nothing old says so.",
)
def retention_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"retention-{context.scheduled_execution_time:%Y-%m-%d}")


def _is_ahead_of(exchange: ExchangeResource, end_ms: int) -> dg.SkipReason | None:
    """Schedules follow the machine's clock, an embedded exchange may have another one; a few seconds are waited for."""
    try:
        now_ms = exchange.market_data().now_ms()
    except TradingAssetsError:
        return None  # it may be back when the run has started
    if now_ms >= end_ms - MINUTE_MS:
        return None
    return dg.SkipReason(f"the exchange's clock shows {iso(now_ms)}, before {iso(end_ms)}")
