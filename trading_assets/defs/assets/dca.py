"""`dca_state`: the DCA plans of an account with a picture of each."""

import base64

import dagster as dg
import pandas as pd
from pydantic import Field

from trading_assets.defs import metadata as md
from trading_assets.defs.assets.common import OWNERS
from trading_assets.defs.assets.grids import price_since
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.reporting.dca_picture import draw_status
from trading_assets.trading.dca.status import status_of

MOST_PICTURES = 6

COLUMNS = ["symbol", "side", "schedule", "state", "deployed", "average_entry", "filled", "skipped", "total"]


class DcaStateConfig(dg.Config):
    """Whose DCA plans are shown."""

    account: str = Field("", description="name of the account; empty: that of the settings")


@dg.asset(group_name="trading", kinds={"sql"}, owners=OWNERS, code_version="1")
def dca_state(
    config: DcaStateConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> dg.MaterializeResult[None]:
    """The newest DCA plan of each symbol: scheduled times, average entry, stop, target and figures, as of now."""
    account = settings.get(config.account, with_keys=False).account
    found = status_of(database.get(), account)
    metadata: dict[str, int | dg.MetadataValue] = {"plans": len(found)}
    if found:
        metadata["state"] = md.table(pd.DataFrame([one.as_row() for one in found]), COLUMNS, limit=20)
    living = sorted(found, key=lambda one: (one.row.ended_ms is not None, -one.row.created_ms))
    for one in living[:MOST_PICTURES]:
        row = one.row
        candles = price_since(exchange, row.symbol, row.created_ms, (row.ended_ms or row.read_ms) + 1)
        encoded = base64.b64encode(draw_status(one, candles)).decode()
        metadata[f"picture_{row.symbol}"] = dg.MetadataValue.md(f"![DCA plan](data:image/png;base64,{encoded})")
    return dg.MaterializeResult(metadata=metadata)
