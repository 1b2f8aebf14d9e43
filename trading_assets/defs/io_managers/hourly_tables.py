"""Stores an asset's frame in its SQL table, one hour or a whole range of hours, and loads it for the next asset.

Works in the manner of Dagster's database IO managers: the partitions written are replaced in one transaction.
"""

import dagster as dg
import pandas as pd

from trading_assets.core.timeframes import local_ms
from trading_assets.defs.partitions import hours_of
from trading_assets.defs.resources import DatabaseResource
from trading_assets.defs.table_io import asset_name, rows_of, table_of
from trading_assets.ledger.partitions import Write, read_partitions, replace_partitions


class HourlyTableIOManager(dg.ConfigurableIOManager):
    """Rows of an hourly table; `hour_ms` tells the partition."""

    database: dg.ResourceDependency[DatabaseResource]

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        key = context.asset_key
        written = Write(asset_name(key), context.run_id, context.asset_spec.code_version or "", local_ms())
        replace_partitions(self.database.get(), table_of(key), obj, hours_of(context), rows_of(key), written)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        key = context.asset_key
        return read_partitions(self.database.get(), table_of(key), hours_of(context), rows_of(key))
