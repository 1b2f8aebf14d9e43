"""The `retention` job's op: runs, rows and candles that are old by the settings. What is old, the settings say."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from trading_assets.core.private_files import used_bytes
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, TRADED_TIMEFRAMES, Timeframe
from trading_assets.defs import instance_queries
from trading_assets.defs import metadata as md
from trading_assets.defs.resources import CandleStoreResource, DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.ledger import chat, outbox, retention, sealing
from trading_assets.ledger.database import Database
from trading_assets.ledger.retention import Ages
from trading_assets.ledger.strategies import active_strategies
from trading_assets.market import lookback as depth
from trading_assets.strategies.grids import grids_from
from trading_assets.strategies.registry import known_strategies

DAY_S = 86_400
RUNS_AT_A_TIME = 200

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


MESSAGES_KEPT_S = 30 * DAY_S
"""Messages to people, and what became of them, are kept for so long."""


class RetentionConfig(dg.Config):
    """What a run started by hand may say."""

    dry_run: bool = Field(False, description="only count what would be deleted")


@dataclass
class Deleted:
    """Runs deleted by job, and those that were kept although they are old, by reason."""

    runs: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)


@dg.op(description="Deletes runs, rows and candles that are older than the settings say; orders and fills stay.")
def delete_what_is_old(
    context: dg.OpExecutionContext,
    config: RetentionConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
) -> None:
    wanted, ledger = settings.get(), database.get()
    wall_s, now_ms = time.time(), exchange.market_data().now_ms()
    rows = retention.delete_old(ledger, ages(wanted, now_ms, wall_s), btc=wanted.symbols.btc, dry_run=config.dry_run)
    if not config.dry_run:
        rows["files of results"] = sealing.tidy(ledger, int(wall_s * 1000))
    kept_from_ms = int((wall_s - MESSAGES_KEPT_S) * 1000)
    rows["chat_commands"] = chat.delete_before(ledger, kept_from_ms, dry_run=config.dry_run)
    rows["outbox_messages"] = outbox.delete_before(ledger, kept_from_ms, dry_run=config.dry_run)
    runs = delete_runs(
        context.instance,
        wanted,
        wall_s,
        protected={context.run_id, *retention.runs_of_open_orders(ledger)},
        dry_run=config.dry_run,
    )
    files, size, why = 0, 0, "kept for good"
    if wanted.keep_candles_days is not None:
        if instance_queries.research_in_progress(context.instance, excluding=context.run_id):
            why = "left alone: a run that reads them is in progress"
        else:
            why = "deleted"
            keep_from = candles_kept_from_ms(ledger, wanted, now_ms - int(wanted.keep_candles_days * DAY_MS))
            for store in dict.fromkeys((candle_store.get(), candle_store.local())):
                found = store.prune(keep_from, unchanged_since_s=wall_s - DAY_S, dry_run=config.dry_run)
                files, size = files + found[0], size + found[1]
    verb = "would be deleted" if config.dry_run else "deleted"
    context.log.info(
        f"{sum(runs.runs.values())} runs, {sum(rows.values())} rows and {files} files of candles {verb}; "
        f"{used_bytes(wanted.home) / 1e6:.0f} MB are in use below {wanted.home}"
    )
    context.add_output_metadata(
        {
            "dry_run": config.dry_run,
            "runs": md.counts(runs.runs, "job"),
            "old_runs_kept": md.counts(runs.kept, "because"),
            "rows": md.counts(rows, "table"),
            "candles": why,
            "candle_files": files,
            "candle_mb": round(size / 1e6, 1),
            "home_mb": round(used_bytes(wanted.home) / 1e6, 1),
            "disk_free_mb": round(shutil.disk_usage(wanted.home).free / 1e6),
        }
    )


def ages(settings: Settings, now_ms: int, wall_s: float) -> Ages:
    """What is old in the ledger at the exchange's time `now_ms` and the local one."""

    def before(days: float | None) -> int | None:
        return None if days is None else int(now_ms - days * DAY_MS)

    return Ages(
        rows=before(settings.keep_rows_days),
        backtests=before(settings.keep_rows_days) if settings.seal_results_after_days is None else None,
        written_wall=int((wall_s - (settings.keep_rows_days or 0) * DAY_S) * 1000),
        sealed=before(settings.keep_results_days),
        sealed_wall=int((wall_s - (settings.keep_results_days or 0) * DAY_S) * 1000),
        selections=before(settings.keep_selections_days),
        evaluations=before(settings.keep_evaluations_days),
    )


def delete_runs(
    instance: dg.DagsterInstance, settings: Settings, wall_s: float, *, protected: set[str], dry_run: bool = False
) -> Deleted:
    """Delete ended runs that are older than the settings say, with their events and logs.

    The newest run of each job stays, and so do those in `protected`.
    """
    deleted, newest = Deleted(), set[str]()
    for run in _old_runs(instance, settings, wall_s):
        job = run.job_name
        if job not in newest and _newest_of(instance, job) == run.run_id:
            newest.add(job)
            deleted.kept["newest of its job"] = deleted.kept.get("newest of its job", 0) + 1
        elif run.run_id in protected:
            deleted.kept["found an open order"] = deleted.kept.get("found an open order", 0) + 1
        else:
            deleted.runs[job] = deleted.runs.get(job, 0) + 1
            if not dry_run:
                instance.compute_log_manager.delete_logs(prefix=[run.run_id])
                instance.delete_run(run.run_id)
    return deleted


def _old_runs(instance: dg.DagsterInstance, settings: Settings, wall_s: float) -> Iterator[dg.DagsterRun]:
    """Ended runs past their time, oldest first."""
    days = [one for one in (settings.keep_trading_runs_days, settings.keep_research_runs_days) if one is not None]
    if not days:
        return
    before = {
        True: _moment(wall_s, settings.keep_trading_runs_days),
        False: _moment(wall_s, settings.keep_research_runs_days),
    }
    filters = dg.RunsFilter(statuses=_ENDED, created_before=_moment(wall_s, min(days)))
    # Ids first: what is deleted on the way must not shift the pages.
    found, cursor = [], None
    while True:
        page = instance.get_run_records(filters, limit=RUNS_AT_A_TIME, cursor=cursor)
        for record in page:
            limit = before[record.dagster_run.job_name in instance_queries.TRADING_JOBS]
            if limit is not None and record.create_timestamp.replace(tzinfo=UTC) < limit:
                found.append(record.dagster_run)
        if len(page) < RUNS_AT_A_TIME:
            break
        cursor = page[-1].dagster_run.run_id
    yield from reversed(found)


def _moment(wall_s: float, days: float | None) -> datetime | None:
    return None if days is None else datetime.fromtimestamp(wall_s - days * DAY_S, tz=UTC)


def _newest_of(instance: dg.DagsterInstance, job: str) -> str | None:
    records = instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
    return records[0].dagster_run.run_id if records else None


def candles_kept_from_ms(ledger: Database, wanted: Settings, oldest_ms: int) -> dict[Timeframe, int]:
    """Start of the oldest candle that the hour which ends at `oldest_ms` reads, by timeframe.

    Parameters of an active row may reach farther back than the defaults of its strategy.
    """
    active = active_strategies(ledger, grids_from(wanted.parameters)).usable
    readers: list[depth.HasNeeds] = [*known_strategies(), *active]
    return {timeframe: oldest_ms - depth.reach_ms(timeframe, readers) for timeframe in TRADED_TIMEFRAMES}
