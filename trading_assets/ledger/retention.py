"""Deletes old rows of the ledger, a few hours at a time, so that others do not wait long for its lock. No Dagster.

The rows that an order came from are kept, whatever their age, and backtests that were selected. So are orders, fills,
closings and all other history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.core.schemas import (
    BACKTEST_RESULTS,
    CANDLE_COVERAGE,
    FUNDING_COVERAGE,
    GRID_RESULTS,
    GRID_SELECTIONS,
    MARKET_SCAN,
    STRATEGY_SELECTIONS,
)
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import sealing
from trading_assets.ledger.database import Database
from trading_assets.ledger.kept_rows import backtest_may_go, hours_ordered, without_order
from trading_assets.ledger.partitions import is_sealed
from trading_assets.ledger.tables import (
    check_results,
    entry_signals,
    excluded_strategies,
    order_intents,
    partition_writes,
    sealed_partitions,
    signal_evaluations,
    sql_table,
)

_HOURS_AT_A_TIME = 12


@dataclass(frozen=True)
class Ages:
    """What is old, UTC ms. None keeps rows for good.

    Attributes:
        rows: scans, coverage and verdicts of hours that ended before this, ...
        backtests: likewise for backtests that are in SQL alone; None where they are sealed instead.
        written_wall: ... unless a run wrote the hour later than this by the local clock: a backfill is kept as long as
            a live hour.
        sealed: sealed backtests of days that ended before this, ...
        sealed_wall: ... unless they were sealed later than this by the local clock.
        selections: likewise for selections.
        evaluations: signal evaluations before this.
    """

    rows: int | None
    backtests: int | None
    written_wall: int
    sealed: int | None
    sealed_wall: int
    selections: int | None
    evaluations: int | None


def delete_old(database: Database, ages: Ages, *, btc: str, dry_run: bool = False) -> dict[str, int]:
    """Delete what is old. Return how many rows of each table were deleted, or would be in a dry run.

    Args:
        btc: the venue's symbol of the BTC perpetual: strategies of every coin read its candles.
    """
    scans, coverage, funding, backtests, selections = map(
        sql_table, (MARKET_SCAN, CANDLE_COVERAGE, FUNDING_COVERAGE, BACKTEST_RESULTS, STRATEGY_SELECTIONS)
    )
    tried_grids, selected_grids = sql_table(GRID_RESULTS), sql_table(GRID_SELECTIONS)
    kept: Mapping[sa.Table, sa.ColumnElement[bool]] = {
        backtests: backtest_may_go(),
        scans: without_order(scans),
        coverage: without_order(coverage) & ((coverage.c.symbol != btc) | coverage.c.hour_ms.not_in(hours_ordered())),
        funding: without_order(funding),
        # A grid that was started from a selection keeps a copy of it.
        tried_grids: sa.true(),
        selected_grids: sa.true(),
        check_results: check_results.c.hour_ms.not_in(hours_ordered()),
        excluded_strategies: excluded_strategies.c.hour_ms.not_in(hours_ordered()),
        partition_writes: partition_writes.c.hour_ms.not_in(hours_ordered()),
    }
    counts: dict[str, int] = {}
    recent = sa.select(partition_writes.c.hour_ms).where(partition_writes.c.written_wall_ms >= ages.written_wall)
    # Who wrote an hour is asked by the other deletions, so it goes last.
    for table, may_go in kept.items():
        age = ages.backtests if table is backtests else ages.rows
        if age is not None:
            where = sa.and_(table.c.hour_ms + HOUR_MS <= age, may_go, table.c.hour_ms.not_in(recent))
            counts[table.name] = _delete(database, table, table.c.hour_ms, where, dry_run=dry_run)
    if ages.sealed is not None:
        counts["sealed backtests"] = sealing.delete_old(database, ages.sealed, ages.sealed_wall, dry_run=dry_run)
    if ages.selections is not None:
        old = sa.and_(selections.c.hour_ms + HOUR_MS <= ages.selections, without_order(selections))
        counts[selections.name] = _delete(database, selections, selections.c.hour_ms, old, dry_run=dry_run)
    if ages.evaluations is not None:
        before = signal_evaluations.c.time_ms < ages.evaluations
        counts[signal_evaluations.name] = _delete(
            database, signal_evaluations, signal_evaluations.c.time_ms, before, dry_run=dry_run
        )
    return counts


def runs_of_open_orders(database: Database) -> set[str]:
    """Return the Dagster runs that found the signals of orders that are not closed."""
    slots = sa.select(order_intents.c.signal_id).where(order_intents.c.open_slot.is_not(None))
    statement = sa.select(entry_signals.c.run_id).where(
        entry_signals.c.run_id.is_not(None), entry_signals.c.signal_id.in_(slots)
    )
    with database.read() as connection:
        return set(connection.execute(statement).scalars())


def _delete(
    database: Database, table: sa.Table, time: sa.Column[int], where: sa.ColumnElement[bool], *, dry_run: bool
) -> int:
    if dry_run:
        with database.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table).where(where)).scalar_one()
    with database.read() as connection:
        first, last = connection.execute(sa.select(sa.func.min(time), sa.func.max(time)).where(where)).one()
    if first is None:
        return 0
    deleted = 0
    for low, high in _spans(first, last):
        with database.write(one_at_a_time=table.name) as connection:
            these = sa.and_(where, time >= low, time < high)
            if table is sql_table(BACKTEST_RESULTS):
                _note_deleted(connection, table, these)
            deleted += connection.execute(sa.delete(table).where(these)).rowcount
    return deleted


def _note_deleted(connection: sa.Connection, table: sa.Table, these: sa.ColumnElement[bool]) -> None:
    """What is left of an hour are its winners: whoever reads an hour must not take them for all that was tried."""
    places = [table.c.hour_ms, table.c.timeframe]
    gone = sa.select(*places).distinct().where(these, ~is_sealed(table))
    connection.execute(sa.insert(sealed_partitions).from_select(["hour_ms", "timeframe"], gone))


def _spans(first_ms: int, last_ms: int) -> Iterator[tuple[int, int]]:
    step = _HOURS_AT_A_TIME * HOUR_MS
    for low in range(first_ms, last_ms + 1, step):
        yield low, low + step
