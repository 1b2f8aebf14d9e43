"""Signal evaluations in the ledger: when the finder evaluated which coins, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import signal_evaluations as table


@dataclass(frozen=True)
class Evaluation:
    """One evaluation at `time_ms` of the selection of `hour_ms` (UTC ms).

    `outcomes` has each coin whose candle was due: why it was not decided or its signal dropped, or "" where it was
    decided.
    """

    time_ms: int
    hour_ms: int
    outcomes: Mapping[str, str]


def add(database: Database, account: str, evaluation: Evaluation) -> None:
    """Record an evaluation."""
    with database.write() as connection:
        connection.execute(
            sa.insert(table).values(
                account=account,
                hour_ms=evaluation.hour_ms,
                outcomes=json.dumps(evaluation.outcomes, sort_keys=True, separators=(",", ":")),
                time_ms=evaluation.time_ms,
            )
        )


def between(database: Database, account: str, start_ms: int, end_ms: int) -> list[Evaluation]:
    """Return the evaluations in [start_ms, end_ms), ascending."""
    statement = (
        sa.select(table.c.time_ms, table.c.hour_ms, table.c.outcomes)
        .where(table.c.account == account, table.c.time_ms >= start_ms, table.c.time_ms < end_ms)
        .order_by(table.c.time_ms, table.c.evaluation_id)
    )
    with database.read() as connection:
        return [
            Evaluation(time_ms, hour_ms, json.loads(outcomes))
            for time_ms, hour_ms, outcomes in connection.execute(statement)
        ]
