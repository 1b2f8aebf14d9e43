"""What strategies raised in backtests: of each strategy and timeframe the newest failure, as long as it lasts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict

import sqlalchemy as sa

from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import strategy_failures as table
from trading_assets.strategies.failures import StrategyFailure


def record(
    database: Database,
    timeframe: Timeframe,
    hour_ms: int,
    tested: Collection[str],
    failures: Mapping[str, tuple[int, StrategyFailure]],
) -> None:
    """Keep what failed, and forget what was mended.

    Args:
        hour_ms: the newest hour that was backtested, UTC ms.
        tested: names of the strategies that were backtested then; those that did not fail are forgotten.
        failures: by name of the strategy its hour and failure.
    """
    known = by_strategy(database)
    held = {name: hour for name, some in known.items() for hour, one in some if one.timeframe == timeframe.value}
    newer = {name: one for name, one in failures.items() if one[0] >= held.get(name, 0)}
    mended = {name for name in tested if name not in failures and held.get(name, hour_ms + 1) <= hour_ms}
    if not newer and not mended:
        return
    with database.write(one_at_a_time=table.name) as connection:
        gone = sorted(mended | newer.keys())
        connection.execute(sa.delete(table).where(table.c.timeframe == timeframe.value, table.c.strategy.in_(gone)))
        rows = [{"hour_ms": hour, **asdict(one)} for hour, one in newer.values()]
        if rows:
            connection.execute(sa.insert(table), rows)


def by_strategy(database: Database) -> dict[str, list[tuple[int, StrategyFailure]]]:
    """Hours (UTC ms) and failures of each strategy that has any, in the order of timeframes."""
    with database.read() as connection:
        rows = connection.execute(sa.select(table)).mappings().all()
    found: dict[str, list[tuple[int, StrategyFailure]]] = {}
    for row in sorted(rows, key=lambda row: (row["strategy"], Timeframe(row["timeframe"]).ms)):
        fields = dict(row)
        hour = fields.pop("hour_ms")
        found.setdefault(row["strategy"], []).append((hour, StrategyFailure(**fields)))
    return found
