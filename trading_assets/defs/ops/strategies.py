"""The ops of the jobs `start_strategy`, `stop_strategy` and `set_strategy`: a person's commands from the UI.

Starting and setting decide what is traded, so they need a one-time code where money is real; stopping never does.
"""

import dagster as dg
from pydantic import Field

from trading_assets.backtesting.run import production_engine
from trading_assets.core.foreign_text import plain
from trading_assets.defs.ops.live_settings import CONFIRMATION, actor_of
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.ledger import strategies as rows
from trading_assets.ledger.fees import with_own_fees
from trading_assets.reporting.strategy_check import before_start
from trading_assets.strategies.grids import grids_from

_DRY_RUN = "say what would change, and change nothing"
_NAME = "name in the registry of strategies"


class StartConfig(dg.Config):
    """Which strategy is started, and whether a look-ahead is overruled."""

    name: str = Field(description=_NAME)
    force: bool = Field(
        False,
        description="start it although it looks ahead or fails: it is backtested, selected and traded on results that "
        "nobody can earn, and the check of each hour finds it again",
    )
    dry_run: bool = Field(False, description=_DRY_RUN)
    confirmation: str = Field("", description=CONFIRMATION)


class StopConfig(dg.Config):
    """Which strategy is stopped."""

    name: str = Field(description=_NAME)
    dry_run: bool = Field(False, description=_DRY_RUN)


class SetConfig(dg.Config):
    """What a strategy is tried on and with. What is empty stays."""

    name: str = Field(description=_NAME)
    parameters: list[str] = Field(
        default_factory=list, description="each NAME=VALUE, which every set has; NAME= gives it up"
    )
    grid: list[str] = Field(
        default_factory=list,
        description="described, declared or setting; or NAME=VALUE,VALUE for some parameters; after search: to search",
    )
    pairs: list[str] = Field(default_factory=list, description="the only symbols that it may trade; [all]: every one")
    timeframes: list[str] = Field(default_factory=list, description="the only ones that it is tried on, or [all]")
    dry_run: bool = Field(False, description=_DRY_RUN)
    confirmation: str = Field("", description=CONFIRMATION)


@dg.op(description="Checks a strategy for look-ahead and warm-up, and starts it unless it looks ahead.")
def check_and_start(
    context: dg.OpExecutionContext, config: StartConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    if not config.dry_run:
        context.log.info(f"asked by {plain(actor_of(context, settings, '', config.confirmation))}")
    ledger = _seeded(database)
    row = rows.registry_row(ledger, config.name)
    strategy = row.usable(grids_from(settings.of_research().parameters))
    verdict = before_start(strategy, with_own_fees(settings.of_research(), ledger), ledger, production_engine())
    for note in verdict.notes:
        context.log.warning(note)
    context.add_output_metadata(
        {
            "looked_at": len(verdict.reports),
            "signals_decided_again": sum(report.look_ahead.signals for report in verdict.reports),
            "refusal": verdict.refusal or "none",
            "dry_run": config.dry_run,
        }
    )
    if verdict.refusal is not None and not config.force:
        raise dg.Failure(f"{config.name} was not started: {verdict.refusal}", allow_retries=False)
    if verdict.refusal is not None:
        context.log.warning(f"started by force: {verdict.refusal}")
    _store(context, ledger, row, row.switched(active=True), settings, dry_run=config.dry_run)


@dg.op(description="Stops a strategy: nothing more is opened with it; open positions keep their stops.")
def switch_off(
    context: dg.OpExecutionContext, config: StopConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    ledger = _seeded(database)
    row = rows.registry_row(ledger, config.name)
    _store(context, ledger, row, row.switched(active=False), settings, dry_run=config.dry_run)


@dg.op(description="Changes what a strategy is tried on and with, from the next hour on.")
def change_row(
    context: dg.OpExecutionContext, config: SetConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    if not config.dry_run:
        context.log.info(f"asked by {plain(actor_of(context, settings, '', config.confirmation))}")
    ledger = _seeded(database)
    row = rows.registry_row(ledger, config.name)
    wanted = row.asked(config.parameters, config.grid, config.pairs, config.timeframes)
    _store(context, ledger, row, wanted, settings, dry_run=config.dry_run)


def _seeded(database: DatabaseResource) -> rows.Database:
    ledger = database.get()
    rows.seed_registry(ledger)
    return ledger


def _store(
    context: dg.OpExecutionContext,
    ledger: rows.Database,
    before: rows.RegistryRow,
    after: rows.RegistryRow,
    settings: SettingsResource,
    *,
    dry_run: bool,
) -> None:
    """Store a row, and say what changes."""
    lines = rows.changes(before, after, grids_from(settings.of_research().parameters))
    if lines and not dry_run:
        rows.write_row(ledger, after)
    told = lines or [f"{before.name} is like that already"]
    if dry_run:
        told.append("dry run: nothing was changed")
    context.log.info("; ".join(told))
    context.add_output_metadata({"changes": dg.MetadataValue.md("\n".join(f"- {line}" for line in told))})
