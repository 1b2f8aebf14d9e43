"""The op of the job `maintain_grids`."""

import dagster as dg
import pandas as pd
from pydantic import Field

from trading_assets.core.foreign_text import plain
from trading_assets.defs import metadata as md
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG
from trading_assets.defs.ops.execution_context import make_execution_context
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, NotifierResource, SettingsResource
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.grid.status import status_of


class GridsConfig(dg.Config):
    """Whose grids are looked after."""

    account: str = Field("", description="name of the account; needed where there are several")


@dg.op(description="Books what grids have filled, and does what is left to be done, unless another process does.")
def keep_grids(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
    config: GridsConfig,
) -> None:
    account = settings.one_name(config.account or context.run.tags.get(ACCOUNT_TAG, ""), "maintain_grids")
    context.instance.add_run_tags(context.run_id, {ACCOUNT_TAG: account})
    report = maintain(make_execution_context(settings, database, exchange, notifier, account))
    context.log.info(plain(str(report)))
    rows = pd.DataFrame([one.as_row() for one in status_of(database.get(), account)])
    columns = ["symbol", "kind", "state", "inventory", "round_trips", "grid_profit", "inventory_pnl", "total"]
    context.add_output_metadata(
        {
            "grids": report.grids,
            "fills": report.fills,
            "placed": report.placed,
            "cancelled": report.cancelled,
            "state": md.table(rows, columns) if len(rows) else dg.MetadataValue.text("no grid"),
        }
    )
    if report.failed:
        raise dg.Failure(plain(str(report)), allow_retries=False)
