"""The table that each asset writes, and the IO manager that stores an asset's frame there and loads it again."""

import dagster as dg
import pandas as pd

from trading_assets.core.errors import DataError
from trading_assets.core.schemas import (
    BACKTEST_RESULTS,
    CANDLE_COVERAGE,
    FUNDING_COVERAGE,
    GRID_RESULTS,
    GRID_SELECTIONS,
    LIVE_PARITY,
    MARKET_SCAN,
    STRATEGY_SELECTIONS,
    Table,
)
from trading_assets.core.timeframes import local_ms
from trading_assets.defs.partitions import hours_of
from trading_assets.defs.resources import DatabaseResource
from trading_assets.ledger.partitions import Write, read_partitions, replace_partitions

_TABLES: dict[str, Table] = {
    "market_scan": MARKET_SCAN,
    "candles": CANDLE_COVERAGE,
    "funding_rates": FUNDING_COVERAGE,
    "backtest_results": BACKTEST_RESULTS,
    "strategy_selections": STRATEGY_SELECTIONS,
    "grid_results": GRID_RESULTS,
    "grid_selections": GRID_SELECTIONS,
    "live_parity": LIVE_PARITY,
}


def has_table(key: dg.AssetKey) -> bool:
    """Whether the IO manager stores the asset in a table."""
    return key.path[0] in _TABLES


def table_of(key: dg.AssetKey) -> Table:
    """The table behind an asset.

    Raises:
        DataError: the asset has no table.
    """
    try:
        return _TABLES[key.path[0]]
    except KeyError:
        raise DataError(f"asset {key.to_user_string()} has no table; expected one of {sorted(_TABLES)}") from None


def rows_of(key: dg.AssetKey) -> dict[str, str]:
    """Fixed column values of an asset's rows: assets made per timeframe share one table."""
    return {"timeframe": key.path[1]} if len(key.path) > 1 else {}


def asset_name(key: dg.AssetKey) -> str:
    """The asset's name in the ledger: the parts of its key joined by `/`."""
    return key.to_user_string()


class HourlyTableIOManager(dg.ConfigurableIOManager):
    """Stores the rows of one hour or of a range of hours; the column `hour_ms` is the partition.

    Works as Dagster's database IO managers do: the partitions written are replaced in one transaction.
    """

    database: dg.ResourceDependency[DatabaseResource]

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        key = context.asset_key
        written = Write(asset_name(key), context.run_id, context.asset_spec.code_version or "", local_ms())
        replace_partitions(self.database.get(), table_of(key), obj, hours_of(context), rows_of(key), written)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        key = context.asset_key
        return read_partitions(self.database.get(), table_of(key), hours_of(context), rows_of(key))
