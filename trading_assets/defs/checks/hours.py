"""Which hours a check looks at: those of its run."""

import dagster as dg

from trading_assets.core.schemas import Table
from trading_assets.defs.partitions import hour_of
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms

NOTHING_YET = "Nothing is materialised yet: materialise an hour first."


def hours_to_check(context: dg.AssetCheckExecutionContext, database: Database, table: Table) -> list[int]:
    """The hours that the run wrote; the newest hour of the table when the check is executed alone; [] without rows."""
    run = context.op_execution_context
    if run.has_partition_key or run.has_partition_key_range:
        return [hour_of(partition) for partition in run.partition_keys]
    newest = latest_hour_ms(database, table)
    return [] if newest is None else [newest]
