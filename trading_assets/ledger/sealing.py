"""Backtests that are old enough go from SQL into a Parquet file a day; those selected or traded stay in SQL, too.

A sealer notes the file in SQL, writes it, reads it again, and then gives it some hours at a time, in a transaction that
deletes their rows: the ledger alone says where a partition is. Whoever is killed anywhere leaves each row in one place.
Partitions that somebody else has written or sealed meanwhile stay as they are. A file in which no partition is any more
is deleted an hour later, as somebody may just be reading it. How files are read is in `sealed`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.errors import DamagedFileError, StorageError, TradingAssetsError
from trading_assets.core.objects import Objects
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, floor_ms, iso
from trading_assets.ledger.database import Database
from trading_assets.ledger.kept_rows import backtest_may_go
from trading_assets.ledger.partitions import is_sealed, latest_hour_ms, read_partitions
from trading_assets.ledger.rows_in_hand import PartitionState, states
from trading_assets.ledger.sealed import TABLE, Partition, digest_of, parquet_of, rows_in
from trading_assets.ledger.tables import sealed_files, sealed_partitions, sql_table

GRACE_MS = HOUR_MS
"""A file that no partition is in stays so long: it is being written, or read by somebody who looked before."""

_HOURS_AT_A_TIME = 6
"""Others wait for the ledger while so many hours change their place: some 50 ms."""

_BACKTESTS = sql_table(TABLE)


@dataclass
class Outcome:
    """What one sealing did.

    Attributes:
        days: UTC days of which something was sealed.
        rows: rows in their files.
        bytes: of these files.
        left: partitions that somebody else changed meanwhile: the next sealing takes them.
        failed: why a day could not be sealed, by day; its rows are where they were.
        deleted: files in which nothing was any more.
    """

    days: list[int] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    left: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    deleted: int = 0


@dataclass(frozen=True)
class State:
    """How much is sealed. Days and hours are UTC.

    Attributes:
        files, rows, bytes: in use.
        first_day_ms, last_day_ms: of them; None where there is none.
        due_days: complete days before the limit asked for, of which something is not sealed.
        oldest_due_ms: the first of them.
    """

    files: int
    rows: int
    bytes: int
    first_day_ms: int | None
    last_day_ms: int | None
    due_days: int
    oldest_due_ms: int | None


def before_ms(database: Database, after_days: float | None, newest_ms: int = 0) -> int | None:
    """Return which days are old enough, by the newest hour that was researched: those that end at this time or before.

    None: no day is, or none ever.

    Args:
        newest_ms: an hour that is about to be researched: it counts as if it were.
    """
    newest = latest_hour_ms(database, TABLE)
    if after_days is None or newest is None:
        return None
    return floor_ms(int(max(newest, newest_ms) + HOUR_MS - after_days * DAY_MS), DAY_MS)


def due_days(database: Database, before: int) -> list[int]:
    """Return the days that end at a time or before and of which a partition is in SQL alone, ascending."""
    hour = _BACKTESTS.c.hour_ms
    statement = sa.select(hour).distinct().where(hour < before, ~is_sealed(_BACKTESTS))
    with database.read() as connection:
        return sorted({floor_ms(found, DAY_MS) for found in connection.execute(statement).scalars()})


def state(database: Database, before: int | None) -> State:
    """Return how much is sealed.

    Args:
        before: days that end before this are due; None: none is.
    """
    in_use = sealed_files.c.file_id.in_(sa.select(sealed_partitions.c.file_id))
    figures = (
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(sealed_files.c.rows), 0),
        sa.func.coalesce(sa.func.sum(sealed_files.c.bytes), 0),
        sa.func.min(sealed_files.c.day_ms),
        sa.func.max(sealed_files.c.day_ms),
    )
    with database.read() as connection:
        files, rows, size, first, last = connection.execute(sa.select(*figures).where(in_use)).one()
    due = [] if before is None else due_days(database, before)
    return State(files, int(rows), int(size), first, last, len(due), due[0] if due else None)


def seal(
    database: Database,
    before: int,
    clock: Callable[[], int],
    tell: Callable[[int, int], None] = lambda *_: None,
    *,
    since: int = 0,
) -> Outcome:
    """Seal what is in SQL of every day that ends at `before` or earlier, and delete files that nothing is in.

    Safe at any time, beside anything, as often as one likes.

    Args:
        clock: local time, UTC ms.
        tell: called with how many days of how many are done.
        since: no day that began earlier.

    Raises:
        StorageError: the ledger was opened without its files, or cannot be used. What fails of one day is told instead.
    """
    results, outcome = _results(database), Outcome()
    days = [day for day in due_days(database, before) if day >= since]
    for done, day in enumerate(days, 1):
        try:
            _seal_day(database, results, day, clock, outcome)
        except TradingAssetsError as error:
            outcome.failed[day] = str(error)
        tell(done, len(days))
    outcome.deleted = tidy(database, clock())
    return outcome


def tidy(database: Database, wall_ms: int) -> int:
    """Delete files in which no partition has been for an hour. Return how many."""
    results = _results(database)
    unused = sealed_files.c.unused_wall_ms
    nothing_in_it = ~sa.exists().where(sealed_partitions.c.file_id == sealed_files.c.file_id)
    old_enough = sealed_files.c.written_wall_ms <= wall_ms - GRACE_MS  # a younger one may be given its hours yet
    with database.write(one_at_a_time=TABLE.name) as connection:
        mark = sa.update(sealed_files).where(unused.is_(None), old_enough, nothing_in_it)
        connection.execute(mark.values(unused_wall_ms=wall_ms))
        gone = sa.select(sealed_files.c.file_id, sealed_files.c.name).where(unused <= wall_ms - GRACE_MS)
        names = {row.file_id: row.name for row in connection.execute(gone)}
    for file_id, name in names.items():
        for stored in results.listed(name):
            results.delete(stored)
        with database.write() as connection:
            connection.execute(sa.delete(sealed_files).where(sealed_files.c.file_id == file_id))
    return len(names)


def delete_old(database: Database, before: int, written_before_wall_ms: int, *, dry_run: bool = False) -> int:
    """Forget the sealed results of days that end at `before` or earlier. Return how many rows were in their files.

    Rows that are in SQL, too, stay there. `tidy` deletes the files.

    Args:
        written_before_wall_ms: files written later stay: a backfill is kept as long as a live hour.
    """
    old = (
        sealed_files.c.day_ms + DAY_MS <= before,
        sealed_files.c.written_wall_ms < written_before_wall_ms,
        sealed_files.c.file_id.in_(sa.select(sealed_partitions.c.file_id)),
    )
    files = sa.select(sealed_files.c.file_id, sealed_files.c.rows).where(*old)
    if dry_run:
        with database.read() as connection:
            return sum(row.rows for row in connection.execute(files))
    with database.write(one_at_a_time=TABLE.name) as connection:
        found = {row.file_id: row.rows for row in connection.execute(files)}
        forget = sa.update(sealed_partitions).where(sealed_partitions.c.file_id == sa.bindparam("one"))
        if found:
            connection.execute(forget.values(file_id=None), [{"one": file_id} for file_id in found])
    return sum(found.values())


def files_in_use(database: Database) -> list[tuple[int, str]]:
    """Return day and name of each file that has a partition, by day: what other programs may read."""
    statement = sa.select(sealed_files.c.day_ms, sealed_files.c.name).where(
        sealed_files.c.file_id.in_(sa.select(sealed_partitions.c.file_id))
    )
    with database.read() as connection:
        return sorted((row.day_ms, row.name) for row in connection.execute(statement))


def told(outcome: Outcome) -> str:
    """Return what one sealing did, for people."""
    if not (outcome.days or outcome.left or outcome.failed or outcome.deleted):
        return "nothing to seal"
    parts = [f"{outcome.rows:,} backtests of {len(outcome.days)} days sealed in {outcome.bytes / 1e6:,.1f} MB"]
    if outcome.left:
        parts.append(f"{outcome.left} partitions left for the next time, as they were written or sealed meanwhile")
    if outcome.failed:
        parts.append(f"{len(outcome.failed)} days failed")
    if outcome.deleted:
        parts.append(f"{outcome.deleted} replaced files deleted")
    return "; ".join(parts)


def state_told(found: State) -> str:
    """Return how much is sealed, for people."""
    if found.first_day_ms is None or found.last_day_ms is None:
        sealed = "no backtests are sealed"
    else:
        span = f"{iso(found.first_day_ms)[:10]} to {iso(found.last_day_ms)[:10]}"
        sealed = f"{found.rows:,} backtests sealed, {span}, {found.files} files of {found.bytes / 1e6:,.1f} MB"
    if found.oldest_due_ms is None:
        return sealed
    return f"{sealed}; {found.due_days} days wait to be sealed, the first {iso(found.oldest_due_ms)[:10]}"


def _seal_day(database: Database, results: Objects, day_ms: int, clock: Callable[[], int], outcome: Outcome) -> None:
    hours = range(day_ms, day_ms + DAY_MS, HOUR_MS)
    with database.read() as connection:
        seen = states(connection, hours)  # before the rows: what changes from here on is found out
    rows = read_partitions(database, TABLE, hours)
    if rows.empty:
        return
    content = parquet_of(rows)
    name, file_id = _note(database, day_ms, content, len(rows), clock())
    results.put(name, content)
    _require_same(results, name, content, rows)
    in_file = set(rows[["hour_ms", "timeframe"]].drop_duplicates().itertuples(index=False, name=None))
    given = 0
    for some in _in_parts(hours):
        wanted = {key: seen.get(key) for key in in_file if key[0] in some}
        given += _give(database, name, file_id, some, wanted)
    outcome.left += len(in_file) - given
    if given:
        outcome.days.append(day_ms)
        outcome.rows += len(rows)
        outcome.bytes += len(content)


def _note(database: Database, day_ms: int, content: bytes, rows: int, wall_ms: int) -> tuple[str, int]:
    """Note a file that is about to be written: then it is found and deleted, whatever becomes of the writer."""
    name = f"{TABLE.name}/{iso(day_ms)[:10]}-{uuid.uuid4().hex[:12]}.parquet"
    values = {
        "name": name,
        "digest": digest_of(content),
        "day_ms": day_ms,
        "rows": rows,
        "bytes": len(content),
        "written_wall_ms": wall_ms,
    }
    with database.write() as connection:
        made = connection.execute(sa.insert(sealed_files).values(**values)).inserted_primary_key
    assert made is not None
    return name, int(made[0])


def _require_same(results: Objects, name: str, content: bytes, rows: pd.DataFrame) -> None:
    """Read what was written: it has every row, bit for bit."""
    found = results.read(name)
    if found is None:
        raise StorageError(f"{results.url(name)} was written and is not there; nothing was taken from the ledger")
    everything = rows[["hour_ms", "timeframe"]].drop_duplicates().itertuples(index=False, name=None)
    if found[0] != content or not TABLE.conform(rows_in(found[0], list(everything))).equals(rows):
        raise DamagedFileError(
            f"{results.url(name)} does not hold what was written into it; nothing was taken from the ledger"
        )


def _give(
    database: Database,
    name: str,
    file_id: int,
    hours: Sequence[int],
    wanted: Mapping[Partition, PartitionState | None],
) -> int:
    """Say that the file has partitions, and delete their rows from SQL, in one transaction; those that have changed
    since they were seen stay as they are. Return how many it has now."""
    if not wanted:
        return 0
    with database.write(one_at_a_time=TABLE.name) as connection:
        usable = sa.select(sealed_files.c.file_id).where(
            sealed_files.c.file_id == file_id, sealed_files.c.name == name, sealed_files.c.unused_wall_ms.is_(None)
        )
        if connection.execute(usable).first() is None:
            return 0  # it took more than an hour: somebody has tidied up
        now = states(connection, hours)
        given = sorted(key for key, before in wanted.items() if before is not None and now.get(key) == before)
        for at in range(0, len(given), _PARTITIONS_AT_A_TIME):
            some = given[at : at + _PARTITIONS_AT_A_TIME]
            for table in (sealed_partitions, _BACKTESTS):
                theirs = sa.and_(
                    table.c.hour_ms.between(some[0][0], some[-1][0]),
                    sa.tuple_(table.c.hour_ms, table.c.timeframe).in_(some),
                )
                may_go = backtest_may_go() if table is _BACKTESTS else sa.true()
                connection.execute(sa.delete(table).where(theirs, may_go))
            news = [{"hour_ms": hour, "timeframe": timeframe, "file_id": file_id} for hour, timeframe in some]
            connection.execute(sa.insert(sealed_partitions), news)
    return len(given)


_PARTITIONS_AT_A_TIME = 200
"""In one statement."""


def _in_parts(hours: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(hours), _HOURS_AT_A_TIME):
        yield hours[at : at + _HOURS_AT_A_TIME]


def _results(database: Database) -> Objects:
    if database.results is None:
        raise StorageError("the ledger was opened without the files of its results: open it with Database.of(settings)")
    return database.results
