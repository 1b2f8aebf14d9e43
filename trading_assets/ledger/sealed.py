"""Results of backtests in Parquet files: how they are written and read. When they are sealed is in `sealing`.

Which file has which partition, the ledger says (`sealed_partitions`); a file alone says nothing, as its partitions may
have been written again since. A file has the rows of one UTC day, and is never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from trading_assets.core.errors import DamagedFileError, StorageError
from trading_assets.core.objects import Objects
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.timeframes import iso
from trading_assets.ledger.tables import sealed_files, sealed_partitions

TABLE = BACKTEST_RESULTS
"""The one table whose rows are sealed."""

_COMPRESSION, _LEVEL = "zstd", 9

Partition = tuple[int, str]
"""Hour, UTC ms, and timeframe."""


@dataclass(frozen=True)
class SealedFile:
    """A file of a day's rows, as the ledger knows it."""

    file_id: int
    name: str
    digest: str
    day_ms: int


@dataclass(frozen=True)
class Sealed:
    """Which partitions of some hours are not to be read from SQL.

    Attributes:
        files: what each file has of them.
        partitions: all of them; those that no file has were deleted.
    """

    files: Mapping[SealedFile, frozenset[Partition]]
    partitions: frozenset[Partition]


def sealed_of(connection: sa.Connection, hours: sa.ColumnElement[bool], timeframe: str | None) -> Sealed:
    """Return which partitions are sealed, in the caller's transaction.

    Args:
        hours: which hours, asked of `sealed_partitions.hour_ms`.
    """
    of_both = sealed_partitions.outerjoin(sealed_files, sealed_files.c.file_id == sealed_partitions.c.file_id)
    columns = [sealed_files.c[name] for name in ("file_id", "name", "digest", "day_ms")]
    statement = sa.select(sealed_partitions.c.hour_ms, sealed_partitions.c.timeframe, *columns).select_from(of_both)
    statement = statement.where(hours)
    if timeframe is not None:
        statement = statement.where(sealed_partitions.c.timeframe == timeframe)
    files: dict[SealedFile, set[Partition]] = {}
    partitions = set[Partition]()
    for hour, of_timeframe, *file in connection.execute(statement):
        partitions.add((hour, of_timeframe))
        if file[0] is not None:
            files.setdefault(SealedFile(*file), set()).add((hour, of_timeframe))
    return Sealed({file: frozenset(held) for file, held in files.items()}, frozenset(partitions))


def read_file(
    results: Objects | None, file: SealedFile, partitions: Collection[Partition], columns: Sequence[str] | None = None
) -> pd.DataFrame | None:
    """Return the rows of some partitions of a file, in any order; None where there is no such file.

    Raises:
        DamagedFileError: it is not the file that was written.
        StorageError: it cannot be read.
    """
    if results is None:
        raise StorageError(
            f"the backtests of {iso(file.day_ms)} are sealed in {file.name}, and this ledger was opened without its "
            "files: open it with Database.of(settings)"
        )
    found = results.read(file.name)
    if found is None:
        return None
    if digest_of(found[0]) != file.digest:
        raise DamagedFileError(
            f"{results.url(file.name)} is damaged: it is not what was written. Put it back from a backup, or backfill "
            f"the hours of {iso(file.day_ms)[:10]} again"
        )
    return rows_in(found[0], partitions, columns)


def absent(results: Objects | None, file: SealedFile) -> StorageError:
    """What is told of a file that the ledger names and that is not there."""
    where = file.name if results is None else results.url(file.name)
    return StorageError(
        f"{where}, which has the backtests of {iso(file.day_ms)[:10]}, is not there; expected the folder of results "
        "that belongs to this ledger (TRADING_ASSETS_HOME, TRADING_ASSETS_STORE_URL). Put it back, from a backup or "
        "from the machine that sealed it, or backfill these hours again"
    )


def digest_of(content: bytes) -> str:
    """Return the digest by which a file is known again."""
    return hashlib.sha256(content).hexdigest()


def parquet_of(rows: pd.DataFrame) -> bytes:
    """Return rows as a Parquet file: neighbours are alike, and the rows of a timeframe are apart from others."""
    ordered = rows.sort_values(["timeframe", "symbol", "strategy", "hour_ms", "parameters"], kind="stable")
    whole = pa.Table.from_pandas(ordered, preserve_index=False).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    # Of figures nearly each is another: a dictionary of them makes the file a fifth larger.
    with_dictionary = [field.name for field in whole.schema if not pa.types.is_floating(field.type)]
    with pq.ParquetWriter(
        sink, whole.schema, compression=_COMPRESSION, compression_level=_LEVEL, use_dictionary=with_dictionary
    ) as writer:
        for _, part in ordered.reset_index(drop=True).groupby("timeframe", sort=False).groups.items():
            writer.write_table(whole.slice(int(part[0]), len(part)))
    return sink.getvalue().to_pybytes()


def rows_in(content: bytes, partitions: Collection[Partition], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows of some partitions from a Parquet file, in any order.

    Args:
        columns: with `hour_ms` and `timeframe`; None: all.
    """
    hours, timeframes = {hour for hour, _ in partitions}, {timeframe for _, timeframe in partitions}
    file = pq.ParquetFile(pa.BufferReader(content))
    at = file.schema_arrow.names.index("timeframe")
    groups = []
    for number in range(file.num_row_groups):
        told = file.metadata.row_group(number).column(at).statistics
        if told is None or not told.has_min_max or any(told.min <= one <= told.max for one in timeframes):
            groups.append(number)
    # A column that only a newer version of the program knows is left where it is.
    known = set(file.schema_arrow.names)
    wanted = [name for name in (TABLE.columns if columns is None else columns) if name in known]
    rows = file.read_row_groups(groups, columns=wanted, use_threads=False).to_pandas()
    mask = rows["hour_ms"].isin(hours) & rows["timeframe"].isin(timeframes)
    if len(partitions) < len(hours) * len(timeframes):
        mask &= pd.MultiIndex.from_frame(rows[["hour_ms", "timeframe"]]).isin(list(partitions))
    return rows if mask.all() else rows[mask]
