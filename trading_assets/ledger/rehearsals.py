"""What rehearsals of venues have found. Rows are only added. No decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import rehearsals as table

_WELL, _NOT_WELL = "well", "not well"


@dataclass(frozen=True)
class Rehearsal:
    """One that came to its end. `failed`: the steps that were not as expected. `time_wall_ms`: local clock, UTC ms."""

    symbol: str
    is_well: bool
    failed: tuple[str, ...]
    time_wall_ms: int


def add(
    database: Database, account: str, venue: str, report: Mapping[str, Any], *, is_well: bool, wall_ms: int
) -> None:
    """Keep a report: its `symbol`, its `rows` with `step` and `ok`, and whatever else it tells."""
    with database.write() as connection:
        connection.execute(
            sa.insert(table).values(
                account=account,
                venue=venue,
                symbol=str(report["symbol"]),
                outcome=_WELL if is_well else _NOT_WELL,
                report=json.dumps(dict(report)),
                time_wall_ms=wall_ms,
            )
        )


def newest(database: Database, account: str, venue: str) -> Rehearsal | None:
    """Return the account's newest rehearsal at a venue; None where there is none."""
    of_this = (table.c.account == account) & (table.c.venue == venue)
    statement = sa.select(table).where(of_this).order_by(table.c.rehearsal_id.desc()).limit(1)
    with database.read() as connection:
        row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    failed = tuple(str(one["step"]) for one in json.loads(row["report"])["rows"] if not one["ok"])
    return Rehearsal(row["symbol"], row["outcome"] == _WELL, failed, row["time_wall_ms"])
