"""Blocking checks leave their verdicts in the ledger, by hour: selections and orders ask for those of their own hour.

Dagster stops the run of a blocking check that failed, but the rows are written, and a later run would read them.
"""

from collections.abc import Iterable, Iterator

import dagster as dg

from trading_assets.defs.checks.hours import hours_to_check
from trading_assets.defs.table_io import asset_name, table_of
from trading_assets.ledger import checks
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database


def remembered(
    context: dg.AssetCheckExecutionContext, database: Database, results: Iterable[dg.AssetCheckResult]
) -> Iterator[dg.AssetCheckResult]:
    """The results, written to the ledger as the verdicts on the hours of the run; each has its asset key and name."""
    found = list(results)
    verdicts: dict[tuple[int, ...], list[Verdict]] = {}
    for result in found:
        if result.asset_key is None or result.check_name is None:
            raise TypeError(f"expected a result with its asset key and check name, found {result!r}")
        table = table_of(result.asset_key)
        if table.partition != "hour_ms":
            continue  # trading follows hours
        verdict = Verdict(asset_name(result.asset_key), result.check_name, result.passed, result.description)
        verdicts.setdefault(tuple(hours_to_check(context, database, table)), []).append(verdict)
    for hours, of_hours in verdicts.items():
        checks.record(database, of_hours, hours, context.op_execution_context.run.run_id)
    yield from found
