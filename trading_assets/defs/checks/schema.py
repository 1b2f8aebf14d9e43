"""The one factory that turns a table's pandera model into a blocking check. Other kinds of check live beside it."""

from functools import lru_cache

import dagster as dg
import pandas as pd
import pandera.errors

from trading_assets.core.schemas import Table
from trading_assets.defs.checks.hours import NOTHING_YET, hours_to_check, record_verdicts
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import DatabaseResource
from trading_assets.defs.table_io import rows_of, table_of
from trading_assets.ledger.partitions import read_partitions

CHECK_NAME = "SCHEMA"
SAMPLE_ROWS = 10


@lru_cache
def column_schema(table: Table) -> dg.TableSchema:
    """The model's columns with types, descriptions and constraints, as Dagster shows them."""
    dtypes = table.empty().dtypes
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=str(dtypes[name]),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=bool(column.nullable),
                    other=[str(check.error or check) for check in column.checks],
                ),
            )
            for name, column in table.model.to_schema().columns.items()
        ]
    )


def validate(table: Table, rows: pd.DataFrame) -> dg.AssetCheckResult:
    """Hold rows against the model: number of failures and at most `SAMPLE_ROWS` of them in the metadata."""
    try:
        table.model.validate(rows, lazy=True)
    except pandera.errors.SchemaErrors as error:
        failures = error.failure_cases
        sample = failures.head(SAMPLE_ROWS)
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(failures)} values of {table.name} break its schema",
            metadata={
                "rows": len(rows),
                "failures": len(failures),
                "sample": dg.MetadataValue.table(
                    [
                        dg.TableRecord(
                            {
                                "column": str(row["column"]),
                                "check": str(row["check"]),
                                "found": str(row["failure_case"]),
                                "row": str(row["index"]),
                            }
                        )
                        for row in sample.to_dict("records")
                    ]
                )
                if len(sample)
                else "no sample",
                "dagster/column_schema": column_schema(table),
            },
        )
    return dg.AssetCheckResult(
        passed=True,
        metadata={"rows": len(rows), "failures": 0, "dagster/column_schema": column_schema(table)},
    )


def schema_check(key: dg.AssetKey) -> dg.AssetChecksDefinition:
    """A blocking check of the hours that the run wrote (of the newest hour when executed alone)."""
    table = table_of(key)

    @dg.asset_check(
        asset=key,
        name=CHECK_NAME,
        blocking=True,
        description=f"Every value of {table.name} obeys its schema; later assets of the run wait for it.",
    )
    def check(context: dg.AssetCheckExecutionContext, database: DatabaseResource) -> dg.AssetCheckResult:
        store = database.get()
        hours = hours_to_check(context, store, table)
        if not hours:
            return dg.AssetCheckResult(passed=True, description=NOTHING_YET)
        found = validate(table, read_partitions(store, table, hours, rows_of(key)))
        result = dg.AssetCheckResult(
            asset_key=key,
            check_name=CHECK_NAME,
            passed=found.passed,
            severity=found.severity,
            description=found.description,
            metadata={"hours": f"{key_of(hours[0])} .. {key_of(hours[-1])}", **found.metadata},
        )
        return next(record_verdicts(context, store, [result]))

    return check
