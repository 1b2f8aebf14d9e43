"""Partitioned tables of the pipeline. A write replaces whole partitions in SQL, in one transaction.

It is recorded which run wrote each partition, under which version of the code. The columns are defined in
`core.schemas`; this module only stores and loads. It is the one reader of backtests in SQL and of those in files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from trading_assets.core.errors import DataError
from trading_assets.core.schemas import STRATEGY_SELECTIONS, Table
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import rows_in_hand, sealed
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import partition_writes, sealed_partitions, sql_table

_ROWS_AT_A_TIME = 20_000
"""Rows that are Python values at one time: a range may have a million, at a kilobyte each."""

_HOURS_ONE_BY_ONE = 500
"""So many hours are looked up apart, where a few of the rows of each are wanted."""

_READS = 3
"""So often is looked where rows are: a file is gone when its rows were sealed into another one."""

_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


@dataclass(frozen=True)
class Write:
    """A write of partitions of an asset. `asset` is its key, the parts joined by `/`."""

    asset: str
    run_id: str
    code_version: str
    wall_ms: int


def replace_partitions(
    database: Database,
    table: Table,
    rows: pd.DataFrame,
    hours_ms: Sequence[int],
    where: Mapping[str, str] | None = None,
    written: Write | None = None,
) -> None:
    """Replace the rows of `hours_ms` (and of the fixed column values in `where`) by `rows`, all or nothing.

    `written` is recorded with the rows.

    Raises:
        DataError: a row lies outside the hours or the fixed values; nothing was written.
    """
    rows = table.conform(rows)
    stray = set(rows[table.partition]) - set(hours_ms)
    if stray:
        raise DataError(f"table {table.name}: rows of hours {sorted(stray)[:3]} are outside the partitions written")
    for column, value in (where or {}).items():
        if not (rows[column] == value).all():
            raise DataError(f"table {table.name}: expected {column} = {value!r} in every row written")
    sql = sql_table(table)
    with database.write(one_at_a_time=table.name) as connection:
        connection.execute(sa.delete(sql).where(_matches(table, hours_ms, where)))
        if table is sealed.TABLE:
            _unseal(connection, hours_ms, where)
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            _insert(connection, sql, rows.iloc[start : start + _ROWS_AT_A_TIME])
        if table is STRATEGY_SELECTIONS:
            _bring_back_selected(connection, database, hours_ms)
        if written is not None:
            _record_write(connection, written, hours_ms)
        elif table is rows_in_hand.TABLE:
            _forget_writes(connection, hours_ms, where)
    timeframe = (where or {}).get("timeframe")
    if written is not None and table is rows_in_hand.TABLE and database.rows_in_hand is not None and timeframe:
        database.rows_in_hand.keep(rows, timeframe, written.run_id, written.wall_ms)


def read_partitions(
    database: Database,
    table: Table,
    hours_ms: Sequence[int],
    where: Mapping[str, str] | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the rows of the hours, sorted by key, with the model's column types. The frame may be empty.

    They come from SQL, or from the files in which they were sealed: whoever reads need not know.

    Args:
        columns: only these, in this order.

    Raises:
        StorageError: a file that has some of the rows is not there.
        DamagedFileError: it is damaged.
    """
    wanted = None if columns is None else list(dict.fromkeys([*table.key, *columns]))
    for left in reversed(range(_READS)):
        parts, files = _read_sql(database, table, hours_ms, where, wanted)
        for file, held in files.items():
            rows = sealed.read_file(database.results, file, held, wanted)
            if rows is None:  # sealed again since, into another file
                if not left:
                    raise sealed.absent(database.results, file)
                break
            parts.append(rows)
        else:
            found = table.conform(pd.concat(parts, ignore_index=True) if parts else table.empty(), wanted)
            return found if columns is None else found[list(columns)]
    raise AssertionError("the last look returns or raises")


def _read_sql(
    database: Database,
    table: Table,
    hours_ms: Sequence[int],
    where: Mapping[str, str] | None,
    wanted: Sequence[str] | None,
) -> tuple[list[pd.DataFrame], Mapping[sealed.SealedFile, frozenset[sealed.Partition]]]:
    """Return the rows that SQL has of the hours, and which files have the others: of one moment."""
    sql, dtypes = sql_table(table), table.dtypes
    names = list(dtypes) if wanted is None else list(wanted)
    statement = sa.select(*(sql.c[name] for name in names)).where(_matches(table, hours_ms, where))
    parts: list[pd.DataFrame] = []
    with database.read() as connection:
        files: Mapping[sealed.SealedFile, frozenset[sealed.Partition]] = {}
        if table is sealed.TABLE and hours_ms:
            if database.dialect == "postgresql":  # two statements, one snapshot
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found = sealed.sealed_of(connection, _are_in(sealed_partitions.c.hour_ms, hours_ms), _timeframe(where))
            files = found.files
            if found.partitions:
                statement = statement.where(~is_sealed(sql))
            if database.rows_in_hand is not None:
                in_hand = _in_hand(connection, database.rows_in_hand, hours_ms, _timeframe(where))
                parts += database.rows_in_hand.rows(in_hand, names)
                statement = statement.where(~_is_one_of(sql, in_hand))
        for rows in connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(statement).partitions():
            values = zip(names, zip(*rows, strict=True), strict=True)
            parts.append(pd.DataFrame({name: _typed(column, dtypes[name]) for name, column in values}))
    return parts, files


def _bring_back_selected(connection: sa.Connection, database: Database, hours_ms: Sequence[int]) -> None:
    """Copy backtests that are selected now, of hours that were sealed before, from their files into SQL: there they
    stay for good. They are read from the file as before."""
    chosen, sql, key = sql_table(STRATEGY_SELECTIONS), sql_table(sealed.TABLE), sealed.TABLE.key
    of_partition = sealed_partitions.c.hour_ms == chosen.c.hour_ms, sealed_partitions.c.timeframe == chosen.c.timeframe
    statement = sa.select(*(chosen.c[name] for name in key)).where(
        _are_in(chosen.c.hour_ms, hours_ms),
        sa.exists().where(*of_partition, sealed_partitions.c.file_id.is_not(None)),
        ~sa.exists().where(*(sql.c[name] == chosen.c[name] for name in key)),
    )
    absent = {tuple(row) for row in connection.execute(statement)}
    if not absent:
        return
    partitions = {(hour, timeframe) for hour, timeframe, *_ in absent}
    within = _are_in(sealed_partitions.c.hour_ms, [hour for hour, _ in partitions])
    for file, held in sealed.sealed_of(connection, within, None).files.items():
        rows = sealed.read_file(database.results, file, held & partitions)
        if rows is None:
            raise sealed.absent(database.results, file)
        wanted = pd.MultiIndex.from_frame(rows[list(key)]).isin(list(absent))
        if wanted.any():
            _insert(connection, sql, sealed.TABLE.conform(rows[wanted]))


def _in_hand(
    connection: sa.Connection, rows: rows_in_hand.RowsInHand, hours_ms: Sequence[int], timeframe: str | None
) -> set[sealed.Partition]:
    """Which partitions are in hand and are in SQL now as they were when they were written."""
    known = rows.known(hours_ms, timeframe)
    now = rows_in_hand.states(connection, hours_ms, timeframe) if known else {}
    return {key for key, state in known.items() if now.get(key) == state}


def _is_one_of(sql: sa.Table, partitions: set[sealed.Partition]) -> sa.ColumnElement[bool]:
    hours: dict[str, list[int]] = {}
    for hour, timeframe in partitions:
        hours.setdefault(timeframe, []).append(hour)
    return sa.or_(
        sa.false(),
        *(sa.and_(sql.c.timeframe == name, _are_in(sql.c.hour_ms, of_it)) for name, of_it in hours.items()),
    )


def is_sealed(sql: sa.Table) -> sa.ColumnElement[bool]:
    """Whether the partition of a row is not read from SQL."""
    same = sealed_partitions.c.hour_ms == sql.c.hour_ms, sealed_partitions.c.timeframe == sql.c.timeframe
    return sa.exists().where(*same)


def _timeframe(where: Mapping[str, str] | None) -> str | None:
    """The timeframe that is meant, None for all; a partition is sealed as a whole, so nothing else can be."""
    given = dict(where or {})
    timeframe = given.pop("timeframe", None)
    if given:
        raise DataError(f"{sealed.TABLE.name} is kept by hour and timeframe; expected no other column, found {given}")
    return timeframe


def _unseal(connection: sa.Connection, hours_ms: Sequence[int], where: Mapping[str, str] | None) -> None:
    """What is written now is read from SQL again, until it is sealed again."""
    matching = [_are_in(sealed_partitions.c.hour_ms, hours_ms)]
    if (timeframe := _timeframe(where)) is not None:
        matching.append(sealed_partitions.c.timeframe == timeframe)
    connection.execute(sa.delete(sealed_partitions).where(*matching))


def latest_hour_ms(database: Database, table: Table) -> int | None:
    """Return the newest partition that has rows."""
    newest = [sa.func.max(sql_table(table).c[table.partition])]
    if table is sealed.TABLE:
        newest.append(sa.func.max(sealed_partitions.c.hour_ms))
    with database.read() as connection:
        found = [connection.execute(sa.select(one)).scalar_one_or_none() for one in newest]
    return max((hour for hour in found if hour is not None), default=None)


def written_by(database: Database, asset: str, hour_ms: int) -> str | None:
    """Return the Dagster run that wrote what a partition holds now; None where it is not known."""
    where = (partition_writes.c.asset == asset, partition_writes.c.hour_ms == hour_ms)
    with database.read() as connection:
        return connection.execute(sa.select(partition_writes.c.run_id).where(*where)).scalar_one_or_none()


def _record_write(connection: sa.Connection, write: Write, hours_ms: Sequence[int]) -> None:
    """Record that this write made what the partitions hold now, in the caller's transaction."""
    if not hours_ms:
        return
    table = partition_writes
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


def _forget_writes(connection: sa.Connection, hours_ms: Sequence[int], where: Mapping[str, str] | None) -> None:
    """Record that nobody knows any more who made what the partitions hold now."""
    asset, timeframe = partition_writes.c.asset, _timeframe(where)
    name = rows_in_hand.ASSET
    theirs = asset.startswith(name, autoescape=True) if timeframe is None else asset == name + timeframe
    connection.execute(sa.delete(partition_writes).where(theirs, _are_in(partition_writes.c.hour_ms, hours_ms)))


def _matches(table: Table, hours_ms: Sequence[int], where: Mapping[str, str] | None) -> sa.ColumnElement[bool]:
    sql = sql_table(table)
    matching = _are_in(sql.c[table.partition], hours_ms)
    if "timeframe" in (where or {}) and len(hours_ms) <= _HOURS_ONE_BY_ONE:
        matching = sql.c[table.partition].in_(sorted(set(hours_ms)))  # the index has the timeframes of an hour together
    return sa.and_(matching, *(sql.c[column] == value for column, value in (where or {}).items()))


def _are_in(partition: sa.Column[int], hours_ms: Sequence[int]) -> sa.ColumnElement[bool]:
    hours = sorted(set(hours_ms))
    # A range of partitions is contiguous, so two bounds replace thousands of bind variables; `IN` for the rest.
    span = range(hours[0], hours[-1] + 1, HOUR_MS) if hours else range(0)
    return partition.between(hours[0], hours[-1]) if hours and len(span) == len(hours) else partition.in_(hours)


def _typed(values: Sequence[Any], dtype: Any) -> npt.NDArray[Any] | pd.Series:
    """A column of the database's Python values, None as a missing one."""
    return np.array(values, dtype=dtype) if isinstance(dtype, np.dtype) else pd.Series(values, dtype=dtype)


def _insert(connection: sa.Connection, sql: sa.Table, rows: pd.DataFrame) -> None:
    """Append rows: by the driver itself, since a month has half a million of them."""
    columns = [_values(rows[column.name]) for column in sql.columns]
    names = ", ".join(connection.dialect.identifier_preparer.quote(column.name) for column in sql.columns)
    if connection.dialect.name == "postgresql":
        _copy(connection, f"COPY {sql.name} ({names}) FROM STDIN", columns)
        return
    places = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {sql.name} ({names}) VALUES ({places})"
    with _driver(connection, statement) as cursor:
        cursor.executemany(statement, zip(*columns, strict=True))


def _copy(connection: sa.Connection, statement: str, columns: Sequence[Sequence[Any]]) -> None:
    """COPY takes a fifth of the time of INSERT."""
    text = "\n".join(map("\t".join, zip(*(map(_copied, values) for values in columns), strict=True)))
    with _driver(connection, statement) as cursor:
        cursor.copy_expert(statement, StringIO(text))


@contextmanager
def _driver(connection: sa.Connection, statement: str) -> Iterator[Any]:
    """The driver's own cursor; its errors become SQLAlchemy's, as anywhere else."""
    driver: Any = connection.connection
    dbapi: Any = connection.dialect.dbapi
    try:
        with closing(driver.cursor()) as cursor:
            yield cursor
    except dbapi.Error as error:
        raise sa.exc.DBAPIError.instance(statement, None, error, dbapi.Error, dialect=connection.dialect) from error


def _values(column: pd.Series) -> list[Any]:
    """Python values, missing ones as None."""
    missing = column.isna().to_numpy()
    if not missing.any():
        return column.tolist()
    values = column.to_numpy(dtype=object)
    if not values.flags.writeable:
        values = values.copy()
    values[missing] = None
    return values.tolist()


def _copied(value: Any) -> str:
    """A value in PostgreSQL's text format of COPY."""
    if value is None:
        return "\\N"
    return value.translate(_ESCAPED) if isinstance(value, str) else repr(value)
