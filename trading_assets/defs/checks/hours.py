"""What all checks share: the hours that a check looks at, and the ledger of verdicts by hour."""

from collections.abc import Iterable, Iterator

import dagster as dg

from trading_assets.core.schemas import Table
from trading_assets.defs.partitions import hour_of
from trading_assets.defs.table_io import asset_name, table_of
from trading_assets.ledger import checks
from trading_assets.ledger.checks import Verdict
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


def record_verdicts(
    context: dg.AssetCheckExecutionContext, database: Database, results: Iterable[dg.AssetCheckResult]
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results, after their verdicts on the hours of the run were written to the ledger.

    Selections and orders ask there for the verdicts on their own hour: Dagster stops the run of a blocking check that
    failed, but the rows are written, and a later run would read them.

    Raises:
        TypeError: a result has no asset key or no check name.
    """
    found = list(results)
    verdicts: dict[tuple[int, ...], list[Verdict]] = {}
    for result in found:
        if result.asset_key is None or result.check_name is None:
            raise TypeError(f"expected a result with its asset key and check name, found {result!r}")
        table = table_of(result.asset_key)
        if table.partition != "hour_ms":
            continue  # of a day: nothing trades by it
        # A warning blocks nothing, in Dagster as in the ledger.
        passed = result.passed or result.severity is dg.AssetCheckSeverity.WARN
        verdict = Verdict(asset_name(result.asset_key), result.check_name, passed, result.description)
        verdicts.setdefault(tuple(hours_to_check(context, database, table)), []).append(verdict)
    for hours, of_hours in verdicts.items():
        checks.record(database, of_hours, hours, context.op_execution_context.run.run_id)
    yield from found
