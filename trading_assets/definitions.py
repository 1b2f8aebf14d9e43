"""Wiring only: every asset, check, job, schedule, sensor and resource, put together. Nothing is read or written."""

from __future__ import annotations

import gc
from collections.abc import Mapping

import dagster as dg

from trading_assets.defs.assets import REPORTS, RESEARCH_ASSETS, entry_signals, live_parity
from trading_assets.defs.assets.common import TABLES
from trading_assets.defs.assets.dca import dca_state
from trading_assets.defs.assets.grid_research import grid_results, grid_selections
from trading_assets.defs.assets.grids import grid_state
from trading_assets.defs.blocked_hours import research_blocked_hours
from trading_assets.defs.checks.lookahead import BACKTEST_CHECKS
from trading_assets.defs.checks.parity import live_is_explained
from trading_assets.defs.checks.quality import candles_are_good
from trading_assets.defs.checks.schema import schema_check
from trading_assets.defs.jobs import (
    LIVE_JOBS,
    RISK_JOBS,
    STRATEGY_JOBS,
    maintain_dca,
    maintain_grids,
    parity,
    performance,
    reconcile,
    reports,
    research,
    retention,
    seal,
    select,
    trade,
)
from trading_assets.defs.resources import default_resources
from trading_assets.defs.schedules import (
    parity_daily,
    performance_daily,
    reports_daily,
    research_hourly,
    retention_daily,
    seal_hourly,
    selection_every_minute,
)
from trading_assets.defs.sensors import (
    deliver_messages,
    end_stuck_runs,
    notify_of_failed_runs,
    reconcile_books,
    research_catch_up,
    trade_when_candles_close,
)
from trading_assets.defs.table_io import HourlyTableIOManager


def build_definitions(*, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """The definitions, with some resources replaced (tests put fakes there)."""
    resources = {**default_resources(), **(resource_overrides or {})}
    resources.setdefault(TABLES, HourlyTableIOManager(database=resources["database"]))  # type: ignore[arg-type]
    return dg.Definitions(
        assets=[
            *RESEARCH_ASSETS,
            grid_results,
            grid_selections,
            entry_signals,
            dca_state,
            grid_state,
            live_parity,
            *REPORTS,
        ],
        asset_checks=[
            *(schema_check(asset.key) for asset in (*RESEARCH_ASSETS, live_parity)),
            candles_are_good,
            *BACKTEST_CHECKS,
            live_is_explained,
        ],
        jobs=[
            research,
            select,
            trade,
            reconcile,
            maintain_dca,
            maintain_grids,
            parity,
            reports,
            performance,
            retention,
            seal,
            *RISK_JOBS,
            *STRATEGY_JOBS,
            *LIVE_JOBS,
        ],
        schedules=[
            research_hourly,
            selection_every_minute,
            parity_daily,
            reports_daily,
            performance_daily,
            retention_daily,
            seal_hourly,
        ],
        sensors=[
            research_catch_up,
            research_blocked_hours,
            trade_when_candles_close,
            reconcile_books,
            end_stuck_runs,
            deliver_messages,
            notify_of_failed_runs,
        ],
        resources=resources,
        # Imports cost seconds in every process, the work less.
        executor=dg.in_process_executor,
    )


defs = build_definitions()


def research_job() -> dg.JobDefinition:
    """The job `research`, made anew: what a backfill runs, in each of its processes."""
    return build_definitions().resolve_job_def("research")


# An answer with a thousand candles is a thousand lists: each made a collection, which took a tenth of fetching.
gc.set_threshold(10_000)
gc.freeze()  # a full collection need not look at everything that was imported: a tenth of a second each, in every run
