"""The sensors. Each reads the state, lets `trading.automation` decide, and returns the decision as Dagster's."""

import json
from collections.abc import Callable, Sequence
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
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG
from trading_assets.defs.instance_queries import Whose
from trading_assets.defs.jobs import maintain_dca, maintain_grids, reconcile, research, trade
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
    require_known_names,
)
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import books, checks, dca, grids, installation, leases, orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.notifications.channels import channels_of, with_rules_of_now
from trading_assets.notifications.delivery import deliver
from trading_assets.service.occasions import keep_due
from trading_assets.trading.automation import (
    RESTART_LIMIT,
    TRIES,
    Launch,
    Skip,
    decide_dca,
    decide_grids,
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


def _skipped(
    database: DatabaseResource, settings: SettingsResource, source: str, skip: Skip, account: str = ""
) -> dg.SkipReason:
    note_skip(database, settings, source, skip, account)
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
    "seconds while a signal waits. Skips while the newest selection is traded on, and while no hour is selected. "
    "Switch it off and no run is started; to end a live session, cancel its run.",
)
def trade_when_candles_close(
    context: dg.SensorEvaluationContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> list[dg.RunRequest] | dg.SkipReason:
    ledger = database.get()
    instance_queries.fail_runs_without_process(context.instance, trade.name)
    try:
        require_known_names()
        names = settings.names()
        selected = newest_selection(ledger)
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")

    def of_account(whose: Whose) -> dg.RunRequest | dg.SkipReason:
        configured = settings.get(whose.account, with_keys=False)
        off = why_off(ledger, configured)
        if off:
            return dg.SkipReason(off)
        if configured.trade_mode == "session":
            return _session(context, database, settings, whose, selected)
        return _once(context, ledger, exchange, whose, selected)

    return _each(names, of_account)


def _once(
    context: dg.SensorEvaluationContext,
    ledger: Database,
    exchange: ExchangeResource,
    whose: Whose,
    selected: Selected | None,
) -> dg.RunRequest | dg.SkipReason:
    handled = _handled(context.cursor, whose)
    decision = decide_trade(
        now_ms=exchange.market_data().now_ms(),
        selected_ms=selected.hour_ms if selected is not None else None,
        timeframes=selected.rows["timeframe"] if selected is not None else (),
        handled_ms=handled.get(whose.account, 0),
        waiting_signals=len(signals.active(ledger, whose.account)),
        run_in_progress=instance_queries.unfinished_of(context.instance, trade.name, whose),
    )
    if isinstance(decision, Skip):
        return dg.SkipReason(_with_blocked(decision.reason, ledger) if selected is None else decision.reason)
    context.update_cursor(json.dumps(handled | {whose.account: decision.close_ms}))
    return _request(whose, decision.reason)


def _handled(cursor: str | None, whose: Whose) -> dict[str, int]:
    """The newest candle close that was handled, by account. An older version kept one number."""
    found = json.loads(cursor or "{}")
    return found if isinstance(found, dict) else {whose.account: int(found)} if whose.is_default else {}


def _each(
    names: Sequence[str], decide: Callable[[Whose], dg.RunRequest | dg.SkipReason]
) -> list[dg.RunRequest] | dg.SkipReason:
    """Decide for every account; what goes wrong with one keeps no other."""
    requests, skipped = list[dg.RunRequest](), dict[str, str]()
    for number, name in enumerate(names):
        try:
            found = decide(Whose(name, is_default=number == 0))
        except TradingAssetsError as error:
            found = dg.SkipReason(f"cannot look: {error}")
        if isinstance(found, dg.RunRequest):
            requests.append(found)
        else:
            skipped[name] = found.skip_message or ""
    if requests:
        return requests
    if len(names) == 1:
        return dg.SkipReason(skipped[names[0]])
    return dg.SkipReason("; ".join(f"{name}: {text}" for name, text in skipped.items()))


def _request(whose: Whose, reason: str, job: str | None = None) -> dg.RunRequest:
    """Of an account's run; the job is named where a sensor has several."""
    return dg.RunRequest(job_name=job, tags={"trading_assets/reason": reason, ACCOUNT_TAG: whose.account})


def _with_blocked(reason: str, ledger: Database) -> str:
    """The reason, and what blocks the newest hour where a check does."""
    newest = latest_hour_ms(ledger, MARKET_SCAN)
    why = checks.blocked_hours(ledger, newest) if newest is not None else {}
    return "; ".join([reason, *(f"hour {key_of(hour)} is blocked: {text}" for hour, text in why.items())])


def _session(
    context: dg.SensorEvaluationContext,
    database: DatabaseResource,
    settings: SettingsResource,
    whose: Whose,
    selected: Selected | None,
) -> dg.RunRequest | dg.SkipReason:
    ledger, account = database.get(), whose.account
    trader = trader_of(ledger, account, wall_ms=local_ms())
    if trader is not None and instance_queries.has_ended(context.instance, trader.run):
        trader = None  # killed: its successor gets ready while the lease runs out
    failed_ago_s = instance_queries.seconds_since_failures(context.instance, trade.name, whose)
    holder = leases.lost_by(ledger, trading_lease(account), wall_ms=local_ms())
    lost = Trader.from_holder(holder).run if holder is not None else None
    decision = decide_session(
        selected=selected.key if selected is not None else None,
        trader=trader,
        runs=[
            replace(run, has_lost=run.run == lost)
            for run in instance_queries.sessions(context.instance, trade.name, whose)
        ],
        failed_ago_s=failed_ago_s,
        empty_ms=selected.hour_ms if selected is not None and selected.is_empty else None,
    )
    if isinstance(decision, Skip):
        reason = _with_blocked(decision.reason, ledger) if selected is None else decision.reason
        return _skipped(database, settings, "trade_when_candles_close", replace(decision, reason=reason), account)
    if len(failed_ago_s) < TRIES:
        note_trouble(database, settings, "trade_when_candles_close", "", account)
    for run_id in decision.dead:
        instance_queries.fail_run_without_lease(context.instance, run_id)
    return _request(whose, decision.reason)


@dg.sensor(
    jobs=[reconcile, maintain_grids, maintain_dca],
    minimum_interval_seconds=10,
    default_status=default_status(),
    description="Reads the exchange's books every minute while positions or unresolved orders are open, else every "
    "ten minutes, and looks after grids and DCA plans that no session has looked after for 30 s. Skips in between and "
    "tells what is open, while a run is in progress, and for a while after failures.",
)
def reconcile_books(
    context: dg.SensorEvaluationContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> list[dg.RunRequest] | dg.SkipReason:
    ledger = database.get()
    jobs = (reconcile.name, maintain_grids.name, maintain_dca.name)
    instance_queries.fail_runs_without_process(context.instance, *jobs)
    try:
        names, now_ms = settings.names(), exchange.market_data().now_ms()
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")

    def decided(job: str, source: str, decide: Callable[[str, bool, Sequence[float]], Launch | Skip]) -> _Decided:
        def of_account(whose: Whose) -> dg.RunRequest | dg.SkipReason:
            account = whose.account
            failed_ago_s = instance_queries.seconds_since_failures(context.instance, job, whose)
            in_progress = instance_queries.unfinished_of(context.instance, job, whose)
            decision = decide(account, in_progress, failed_ago_s)
            if isinstance(decision, Skip):
                return _skipped(database, settings, source, decision, account)
            if len(failed_ago_s) < TRIES:
                note_trouble(database, settings, source, "", account)
            return _request(whose, decision.reason, job)

        return _each(names, of_account)

    def of_books(account: str, run_in_progress: bool, failed_ago_s: Sequence[float]) -> Launch | Skip:
        off = why_off(ledger, settings.get(account, with_keys=False))
        if off and len(names) > 1 and books.read(ledger, account).owner is None:
            return Skip(f"it was never traded, and {off}", is_trouble=None)
        occupied = orders.occupying(ledger, account)
        unresolved = [intent for intent in occupied if intent.status in orders.UNRESOLVED]
        return decide_reconcile(
            now_ms=now_ms,
            reconciled_ms=account_ledger.reconciled_until_ms(ledger, account),
            open_positions=len(occupied) - len(unresolved),
            unresolved=len(unresolved),
            run_in_progress=run_in_progress,
            failed_ago_s=failed_ago_s,
        )

    def of_grids(account: str, run_in_progress: bool, failed_ago_s: Sequence[float]) -> Launch | Skip:
        read_ms = [grid.read_ms for grid in grids.living(ledger, account)]
        return decide_grids(now_ms=now_ms, read_ms=read_ms, run_in_progress=run_in_progress, failed_ago_s=failed_ago_s)

    def of_plans(account: str, run_in_progress: bool, failed_ago_s: Sequence[float]) -> Launch | Skip:
        read_ms = [plan.read_ms for plan in dca.living(ledger, account)]
        return decide_dca(now_ms=now_ms, read_ms=read_ms, run_in_progress=run_in_progress, failed_ago_s=failed_ago_s)

    # A look is one evaluation for all three: it costs more than what it asks.
    return _together(
        decided(reconcile.name, "reconcile_books", of_books),
        decided(maintain_grids.name, "keep_grids_when_due", of_grids),
        decided(maintain_dca.name, "keep_dca_when_due", of_plans),
    )


_Decided = list[dg.RunRequest] | dg.SkipReason


def _together(*found: _Decided) -> _Decided:
    """All runs that are asked for; where there is none, every reason."""
    requests = [request for one in found if not isinstance(one, dg.SkipReason) for request in one]
    return requests or dg.SkipReason(
        "; ".join(one.skip_message or "" for one in found if isinstance(one, dg.SkipReason))
    )


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process was killed, as for want of memory, and runs of backfills and of what was "
    "materialised by hand that have told nothing for two hours: they free their places. Other runs have a longest "
    "time; a session is judged by its lease. Always skips: it starts no run.",
)
def end_stuck_runs(
    context: dg.SensorEvaluationContext, settings: SettingsResource, database: DatabaseResource
) -> dg.SkipReason:
    instance_queries.fail_runs_without_process(context.instance)
    instance_queries.fail_runs_without_process(context.instance, trade.name, reconcile.name)
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
    configured = settings.installed()
    channels = channels_of(configured)
    with suppress(TradingAssetsError):
        for name in settings.names():
            keep_due(database.get(), name, local_ms())
    if not channels:
        return dg.SkipReason("no channel is set: messages stay in the log and the ledger")
    delivered = failed = given_up = 0
    try:
        names = settings.names()
        for name in names:
            now, max_age_s = with_rules_of_now(channels, database.get(), configured, name)
            found = deliver(database.get(), name, now, max_age_s=max_age_s, within_s=DELIVER_WITHIN_S / len(names))
            delivered, failed = delivered + found.delivered, failed + found.failed
            given_up += found.given_up
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")
    return dg.SkipReason(f"{delivered} delivered, {failed} tries failed, {given_up} given up")


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
        kind = Kind.RESTARTS if title.endswith(RESTART_LIMIT) else Kind.RUN
        messenger.notify(Message(title, body, kind, Severity.WARNING))
        messenger.flush()
