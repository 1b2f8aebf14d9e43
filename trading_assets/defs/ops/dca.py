"""The op of the job `maintain_dca`."""

import dagster as dg
import pandas as pd
from pydantic import Field

from trading_assets.core.foreign_text import plain
from trading_assets.defs import metadata as md
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG
from trading_assets.defs.ops.execution_context import make_execution_context
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, NotifierResource, SettingsResource
from trading_assets.trading.dca.maintain import maintain
from trading_assets.trading.dca.status import status_of


class DcaConfig(dg.Config):
    """Whose DCA plans are looked after."""

    account: str = Field("", description="name of the account; needed where there are several")


@dg.op(description="Buys what is due, books what was filled, sets stops and targets, unless another process does.")
def keep_dca(
    context: dg.OpExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
    config: DcaConfig,
) -> None:
    account = settings.one_name(config.account or context.run.tags.get(ACCOUNT_TAG, ""), "maintain_dca")
    context.instance.add_run_tags(context.run_id, {ACCOUNT_TAG: account})
    report = maintain(make_execution_context(settings, database, exchange, notifier, account))
    context.log.info(plain(str(report)))
    rows = pd.DataFrame([one.as_row() for one in status_of(database.get(), account)])
    columns = ["symbol", "side", "state", "deployed", "average_entry", "filled", "skipped", "closed_pnl", "total"]
    context.add_output_metadata(
        {
            "plans": report.plans,
            "fills": report.fills,
            "placed": report.placed,
            "cancelled": report.cancelled,
            "skipped": report.skipped,
            "state": md.table(rows, columns) if len(rows) else dg.MetadataValue.text("no DCA plan"),
        }
    )
    if report.failed:
        raise dg.Failure(plain(str(report)), allow_retries=False)
