"""Backtests that this process has just written, kept for the next steps of its run: to read a row from SQL takes ten
times as long as from here.

Rows are kept for whoever asked for it (`keeping`), by day, compressed, up to a limit; what does not fit is read from
SQL. Whether SQL still holds what was written, its reader asks in the transaction in which it reads (`states`): a
partition that anybody has written, sealed or deleted since is not taken from here.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.timeframes import DAY_MS
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import partition_writes, sealed_partitions, sql_table

TABLE = BACKTEST_RESULTS
"""The one table whose rows are kept: a run has a hundred thousand of them, and three steps read them all."""

MOST_BYTES = 32_000_000
"""Compressed: some ten days of 30 coins."""

Partition = tuple[int, str]
"""Hour, UTC ms, and timeframe."""

PartitionState = tuple[int, str | None, int | None, int | None]
"""Of a partition: rows in SQL, the run that wrote it and when, and the file it is in."""

ASSET = f"{TABLE.name}/"
"""What the names of the assets begin with that write the table; then comes the timeframe."""

_ROWS = sql_table(TABLE)


def states(
    connection: sa.Connection, hours: Sequence[int], timeframe: str | None = None
) -> dict[Partition, PartitionState]:
    """Return how each partition of some hours stands that is there; others may be among them.

    Args:
        timeframe: of this one; None: of all.
    """
    first, last = min(hours), max(hours)

    def of(table: sa.Table) -> list[sa.ColumnElement[bool]]:
        if timeframe is None:
            return [table.c.hour_ms.between(first, last)]
        # The index has the timeframes of an hour together: whoever wants one looks up each hour.
        return [table.c.hour_ms.in_(sorted(set(hours))), table.c.timeframe == timeframe]

    counts = sa.select(_ROWS.c.hour_ms, _ROWS.c.timeframe, sa.func.count()).where(*of(_ROWS))
    rows = {
        (hour, of_timeframe): count
        for hour, of_timeframe, count in connection.execute(counts.group_by(*counts.selected_columns[:2]))
    }
    asset = partition_writes.c.asset
    theirs = asset.startswith(ASSET, autoescape=True) if timeframe is None else asset == ASSET + timeframe
    writes = sa.select(partition_writes).where(partition_writes.c.hour_ms.between(first, last), theirs)
    written = {
        (row.hour_ms, row.asset.removeprefix(ASSET)): (row.run_id, row.written_wall_ms)
        for row in connection.execute(writes)
    }
    files = sa.select(sealed_partitions).where(*of(sealed_partitions))
    held = {(row.hour_ms, row.timeframe): row.file_id for row in connection.execute(files)}
    return {
        key: (rows.get(key, 0), *written.get(key, (None, None)), held.get(key)) for key in rows.keys() | held.keys()
    }


@dataclass(frozen=True)
class _Day:
    """Rows of a day in one timeframe, and how their partitions stood when they had been written."""

    timeframe: str
    states: Mapping[int, PartitionState]
    content: pa.Buffer


class RowsInHand:
    """Rows of `TABLE`, by timeframe and day. Threads may share it.

    Args:
        most_bytes: that they may take.
        signed_zeros: whether their database knows a zero's sign. SQLite stores -0.0 as 0.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, *, signed_zeros: bool = False) -> None:
        self._most, self._signed_zeros, self._lock = most_bytes, signed_zeros, threading.Lock()
        self._days: dict[tuple[str, int], _Day] = {}

    @property
    def size(self) -> int:
        """Bytes that they take."""
        return sum(day.content.size for day in self._days.values())

    def keep(self, rows: pd.DataFrame, timeframe: str, run_id: str, wall_ms: int) -> None:
        """Keep rows, of the table's form, that were written a moment ago; those of their days that were kept go."""
        if not self._signed_zeros:
            rows = rows.assign(**{str(name): rows[name] + 0.0 for name in rows.select_dtypes("float64")})
        day_of = rows["hour_ms"].to_numpy() // DAY_MS
        for day in sorted(set(day_of.tolist())):
            some = rows[day_of == day]
            counts = some["hour_ms"].value_counts(sort=False)
            found = {int(str(hour)): (int(count), run_id, wall_ms, None) for hour, count in counts.items()}
            content = _packed(some)
            with self._lock:
                self._days.pop((timeframe, day), None)
                if self.size + content.size <= self._most:
                    self._days[timeframe, day] = _Day(timeframe, found, content)

    def known(self, hours: Collection[int], timeframe: str | None) -> dict[Partition, PartitionState]:
        """Return how those of some hours stood that are kept."""
        wanted, found = set(hours), dict[Partition, PartitionState]()
        for day in self._of(timeframe):
            found |= {(hour, day.timeframe): state for hour, state in day.states.items() if hour in wanted}
        return found

    def rows(self, partitions: Collection[Partition], columns: Sequence[str]) -> list[pd.DataFrame]:
        """Return the rows of partitions that are `known`, in any order."""
        by_timeframe: dict[str, set[int]] = {}
        for hour, timeframe in partitions:
            by_timeframe.setdefault(timeframe, set()).add(hour)
        parts = []
        for timeframe, hours in by_timeframe.items():
            for day in self._of(timeframe):
                if (some := hours & day.states.keys()) and len(some) == len(day.states):
                    parts.append(_unpacked(day.content, columns))
                elif some:
                    held = _unpacked(day.content, columns)
                    parts.append(held[held["hour_ms"].isin(some)])
        return parts

    def _of(self, timeframe: str | None) -> list[_Day]:
        with self._lock:
            return [day for day in self._days.values() if timeframe in (None, day.timeframe)]


@contextmanager
def keeping(database: Database, most_bytes: int = MOST_BYTES) -> Iterator[None]:
    """Keep what this process writes to a ledger from here on, until the block ends."""
    database.rows_in_hand = RowsInHand(most_bytes, signed_zeros=database.dialect != "sqlite")
    try:
        yield
    finally:
        database.rows_in_hand = None


def _packed(rows: pd.DataFrame) -> pa.Buffer:
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _unpacked(content: pa.Buffer, columns: Sequence[str]) -> pd.DataFrame:
    options = pa.ipc.IpcReadOptions(use_threads=False)
    table: pa.Table = pa.ipc.open_stream(content, options=options).read_all()
    return table.select(list(columns)).to_pandas(use_threads=False)
