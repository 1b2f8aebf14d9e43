"""Which run wrote each partition, under which version of the code, in the ledger. No Dagster, no decisions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trading_assets.ledger.tables import partition_writes as table


@dataclass(frozen=True)
class Write:
    """A write of partitions of an asset. `asset` is its key, the parts joined by `/`."""

    asset: str
    run_id: str
    code_version: str
    wall_ms: int


def record(connection: sa.Connection, write: Write, hours_ms: Sequence[int]) -> None:
    """This write made what the partitions hold now; inside the caller's transaction."""
    if not hours_ms:
        return
    bounds = table.c.hour_ms.between(min(hours_ms), max(hours_ms))
    held = sa.select(table.c.hour_ms).where(table.c.asset == write.asset, bounds)
    replaced = set(connection.execute(held).scalars()) & set(hours_ms)
    if replaced:
        one = (table.c.asset == write.asset, table.c.hour_ms == sa.bindparam("hour"))
        connection.execute(sa.delete(table).where(*one), [{"hour": hour} for hour in sorted(replaced)])
    common = {"asset": write.asset, "run_id": write.run_id, "code_version": write.code_version}
    connection.execute(
        sa.insert(table), [{**common, "hour_ms": hour, "written_wall_ms": write.wall_ms} for hour in hours_ms]
    )


def of_hour(connection: sa.Connection, hour_ms: int, assets: Collection[str]) -> dict[str, dict[str, Any]]:
    """Rows of `partition_writes` of these assets in an hour, by asset."""
    statement = sa.select(table).where(table.c.hour_ms == hour_ms, table.c.asset.in_(sorted(assets)))
    return {str(row["asset"]): dict(row) for row in connection.execute(statement).mappings()}
