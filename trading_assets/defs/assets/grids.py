"""`grid_state`: the grids of an account with a picture of each."""

import base64

import dagster as dg
import pandas as pd
from pydantic import Field

from trading_assets.core.candles import Candles
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.timeframes import Timeframe
from trading_assets.defs import metadata as md
from trading_assets.defs.assets.common import OWNERS
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.reporting.grid_picture import draw
from trading_assets.trading.grid.status import GridStatus, status_of

MOST_PICTURES = 6
_CANDLES = 1000

COLUMNS = ["symbol", "kind", "state", "inventory", "round_trips", "grid_profit", "inventory_pnl", "total"]


class GridStateConfig(dg.Config):
    """Whose grids are shown."""

    account: str = Field("", description="name of the account; empty: that of the settings")


@dg.asset(group_name="trading", kinds={"sql"}, owners=OWNERS, code_version="1")
def grid_state(
    config: GridStateConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> dg.MaterializeResult[None]:
    """The newest grid of each symbol: levels, orders that wait, fills and figures, as the ledger has them now."""
    account = settings.get(config.account, with_keys=False).account
    found = status_of(database.get(), account)
    metadata: dict[str, int | dg.MetadataValue] = {"grids": len(found)}
    if found:
        metadata["state"] = md.table(pd.DataFrame([one.as_row() for one in found]), COLUMNS, limit=20)
    living = sorted(found, key=lambda one: (one.grid.ended_ms is not None, -one.grid.created_ms))
    for one in living[:MOST_PICTURES]:
        encoded = base64.b64encode(_picture(one, exchange)).decode()
        metadata[f"picture_{one.grid.symbol}"] = dg.MetadataValue.md(f"![grid](data:image/png;base64,{encoded})")
    return dg.MaterializeResult(metadata=metadata)


def _picture(status: GridStatus, exchange: ExchangeResource) -> bytes:
    grid = status.grid
    return draw(status, price_since(exchange, grid.symbol, grid.created_ms, (grid.ended_ms or grid.read_ms) + 1))


def price_since(exchange: ExchangeResource, symbol: str, start_ms: int, end_ms: int) -> Candles | None:
    """The price's way in [start_ms, end_ms) in candles that fit a picture; None where the venue does not tell it."""
    step = next((one for one in Timeframe if (end_ms - start_ms) / one.ms <= _CANDLES), list(Timeframe)[-1])
    try:
        return exchange.market_data().candles(symbol, step, start_ms - start_ms % step.ms, end_ms)
    except TradingAssetsError:
        return None
