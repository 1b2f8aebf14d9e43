"""The library of real history in a home: candles and funding on disk, which file brought what, lists of contracts.

`HOME/history` has the rows in chunks of the candle store's kind, and `index.sqlite3`: each imported file with its
checksum, layout and findings. One importer writes at a time; readers need no lock. What the files look like is not
known here.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import StorageError
from trading_assets.core.private_files import path_part, private_folder
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.history.rows import COLUMNS, FUNDING_COLUMNS, ContractRow
from trading_assets.market.chunks import ChunkFiles

FOLDER = "history"
VERSION = 1
"""Of the importer: what a newer one reads otherwise can be told apart."""

_CHUNK_CANDLES = 43_200
_FUNDING_CHUNK_MS = 365 * DAY_MS
_FUNDING_EVERY_MS = DAY_MS
_TABLES = """
create table if not exists library (id text not null);
create table if not exists files (
    sha256 text primary key, path text not null, size integer not null, mtime_ns integer not null,
    format text not null, importer integer not null, imported_ms integer not null, rows integer not null,
    checksum text not null, contradicts integer not null
);
create table if not exists series (
    sha256 text not null references files, symbol text not null, timeframe text not null, first_ms integer not null,
    end_ms integer not null, traded_end_ms integer not null, estimated integer not null, report text not null
);
create index if not exists series_of_symbol on series (symbol, timeframe);
create table if not exists units (symbol text primary key, tick text not null, step text not null);
create table if not exists contracts (
    symbol text not null, as_of_ms integer not null, source text not null, row text not null,
    primary key (symbol, as_of_ms)
);
"""


@dataclass(frozen=True)
class Span:
    """What is held of a symbol and timeframe, UTC ms; `traded_end_ms` is the end of the last candle with a volume."""

    symbol: str
    timeframe: str
    first_ms: int
    end_ms: int
    traded_end_ms: int
    files: int
    estimated: bool


@dataclass(frozen=True)
class FileRecord:
    """What is remembered of an imported file."""

    sha256: str
    path: str
    size: int
    mtime_ns: int
    format: str
    importer: int
    imported_ms: int
    rows: int
    checksum: str
    contradicts: bool


@dataclass(frozen=True)
class ContractList:
    """What a list says of a contract, and when it was made."""

    as_of_ms: int
    source: str
    row: ContractRow


class Library:
    """The library below `root`; made on first use.

    Raises (every method):
        StorageError: a file cannot be read or written, or is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._chunks = ChunkFiles()

    @property
    def exists(self) -> bool:
        return self._index.is_file()

    @property
    def stamp(self) -> tuple[int, int]:
        """Another one after every import."""
        try:
            stat = self._index.stat()
        except FileNotFoundError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_size

    @property
    def _index(self) -> Path:
        return self.root / "index.sqlite3"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the library against other importers."""
        try:
            private_folder(self.root)
            with FileLock(self.root / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise StorageError(f"another import writes {self.root}; wait for its end, then try again") from error
        except OSError as error:
            raise StorageError(
                f"{self.root} cannot be written: {error.strerror or error}; nothing was changed"
            ) from error

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            private_folder(self.root)
            with contextlib.closing(sqlite3.connect(self._index, timeout=60)) as connection:
                connection.row_factory = sqlite3.Row
                with connection:
                    yield connection
        except sqlite3.Error as error:
            raise StorageError(
                f"the index {self._index} cannot be used: {error}; remove {self.root} and import again"
            ) from error
        except OSError as error:
            raise StorageError(f"{self.root} cannot be used: {error.strerror or error}") from error

    def prepare(self) -> str:
        """Make the library if there is none; its identity, which never changes."""
        with self._database() as connection:
            connection.executescript(_TABLES)
            row = connection.execute("select id from library").fetchone()
            if row is None:
                connection.execute("insert into library values (?)", (uuid.uuid4().hex[:8],))
                row = connection.execute("select id from library").fetchone()
            return str(row[0])

    # What is held

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Candles that start in [start_ms, end_ms), as they were imported on this very timeframe."""
        names = list(COLUMNS)
        folder, chunk_ms = self._folder(symbol, timeframe.value), _CHUNK_CANDLES * timeframe.ms
        chunks = [
            self._chunks.load(path, names).columns for path in self._chunks.paths(folder, chunk_ms, start_ms, end_ms)
        ]
        if not chunks:
            return Candles.empty(timeframe)
        joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in names}
        return Candles(timeframe, **joined).between(start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Payments in [start_ms, end_ms)."""
        names, folder = list(FUNDING_COLUMNS), self._folder(symbol, "funding")
        paths = self._chunks.paths(folder, _FUNDING_CHUNK_MS, start_ms, end_ms)
        chunks = [self._chunks.load(path, names).columns for path in paths]
        if not chunks:
            return Funding.empty()
        joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in names}
        return Funding(**joined).between(start_ms, end_ms)

    def spans(self) -> list[Span]:
        """What is held, by symbol and timeframe."""
        if not self.exists:
            return []
        with self._database() as connection:
            rows = connection.execute(
                "select symbol, timeframe, min(first_ms), max(end_ms), max(traded_end_ms), count(distinct sha256), "
                "max(estimated) from series group by symbol, timeframe order by symbol, timeframe"
            ).fetchall()
        return [Span(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6])) for row in rows]

    def is_estimated(self, symbol: str, timeframe: Timeframe) -> bool:
        """Whether some turnover that is held was made of volume and price."""
        with self._database() as connection:
            statement = "select 1 from series where symbol = ? and timeframe = ? and estimated limit 1"
            return connection.execute(statement, (symbol, timeframe.value)).fetchone() is not None

    def files(self) -> list[FileRecord]:
        """Each imported file, in the order of import."""
        if not self.exists:
            return []
        with self._database() as connection:
            rows = connection.execute("select * from files order by imported_ms, path").fetchall()
        return [FileRecord(**{**dict(row), "contradicts": bool(row["contradicts"])}) for row in rows]

    def reports(self, symbol: str | None = None) -> list[dict[str, Any]]:
        """The findings of each file, by symbol and time."""
        if not self.exists:
            return []
        with self._database() as connection:
            rows = connection.execute(
                "select s.*, f.path, f.format from series s join files f using (sha256) "
                "where ? is null or symbol = ? order by symbol, timeframe, first_ms",
                (symbol, symbol),
            ).fetchall()
        return [{**json.loads(row["report"]), "path": row["path"], "format": row["format"]} for row in rows]

    def units(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Tick and quantity step that the imported numbers of each symbol show."""
        if not self.exists:
            return {}
        with self._database() as connection:
            rows = connection.execute("select symbol, tick, step from units").fetchall()
        return {symbol: (Decimal(tick), Decimal(step)) for symbol, tick, step in rows}

    def contracts(self) -> dict[str, list[ContractList]]:
        """What lists say of each contract, the oldest list first."""
        if not self.exists:
            return {}
        with self._database() as connection:
            rows = connection.execute("select * from contracts order by symbol, as_of_ms").fetchall()
        found: dict[str, list[ContractList]] = {}
        for row in rows:
            told = ContractList(row["as_of_ms"], row["source"], _contract(json.loads(row["row"])))
            found.setdefault(row["symbol"], []).append(told)
        return found

    # What is added

    def known(self, path: Path) -> str | None:
        """The checksum of an imported file of this place, size and time; None where it must be read to tell."""
        stat = path.stat()
        with self._database() as connection:
            row = connection.execute(
                "select sha256 from files where path = ? and size = ? and mtime_ns = ?",
                (str(path.resolve()), stat.st_size, stat.st_mtime_ns),
            ).fetchone()
        return None if row is None else str(row[0])

    def has(self, sha256: str) -> bool:
        """Whether a file of this content was imported."""
        with self._database() as connection:
            return connection.execute("select 1 from files where sha256 = ?", (sha256,)).fetchone() is not None

    def add(self, symbol: str, candles: Candles, now_ms: int) -> None:
        """Keep candles, ascending and each once; they replace those that are held of the same time."""
        if not len(candles):
            return
        step = candles.timeframe.ms
        columns = {name: getattr(candles, name) for name in COLUMNS}
        span = (int(candles.start_ms[0]), int(candles.start_ms[-1]) + step)
        folder = self._folder(symbol, candles.timeframe.value)
        self._chunks.merge(folder, _CHUNK_CANDLES * step, columns, span, step, now_ms)

    def add_funding(self, symbol: str, funding: Funding, now_ms: int) -> None:
        """Keep payments, ascending and each once."""
        columns = {name: getattr(funding, name) for name in FUNDING_COLUMNS}
        span = (int(funding.time_ms[0]), int(funding.time_ms[-1]) + 1)
        folder = self._folder(symbol, "funding")
        self._chunks.merge(folder, _FUNDING_CHUNK_MS, columns, span, _FUNDING_EVERY_MS, now_ms)

    def remember(
        self,
        file: FileRecord,
        series: Sequence[Mapping[str, Any]],
        units: Mapping[str, tuple[Decimal, Decimal]],
        contracts: Sequence[ContractRow],
        as_of_ms: int,
    ) -> None:
        """Note an imported file with all that it brought, last of all: what was not noted is imported again.

        Args:
            as_of_ms: when lists of contracts were made that do not say so themselves.
            series: its findings: `checking.Checked` as dictionaries, and `estimated`.
        """
        with self._database() as connection:
            connection.execute("delete from series where sha256 = ?", (file.sha256,))
            names = [one.name for one in fields(FileRecord)]
            marks = ", ".join(f":{name}" for name in names)
            connection.execute(f"insert or replace into files ({', '.join(names)}) values ({marks})", asdict(file))
            for one in series:
                connection.execute(
                    "insert into series values (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(file.sha256, one["symbol"], one["timeframe"], one["first_ms"], one["end_ms"]),
                        *(one["traded_end_ms"], int(one["estimated"]), json.dumps(one)),
                    ),
                )
            for symbol, (tick, step) in units.items():
                held = connection.execute("select tick, step from units where symbol = ?", (symbol,)).fetchone()
                finer = [min(new, Decimal(old)) for new, old in zip((tick, step), held or (tick, step), strict=True)]
                connection.execute("insert or replace into units values (?, ?, ?)", (symbol, *map(str, finer)))
            for row in contracts:
                text = json.dumps(asdict(row), default=str)
                connection.execute(
                    "insert or replace into contracts values (?, ?, ?, ?)",
                    (row.symbol, as_of_ms if row.seen_ms is None else row.seen_ms, file.path, text),
                )

    def _folder(self, symbol: str, name: str) -> Path:
        return self.root / "rows" / path_part(symbol) / name


def _contract(told: Mapping[str, Any]) -> ContractRow:
    decimals = ("tick_size", "qty_step", "min_qty", "max_market_qty", "min_notional", "max_leverage")
    values: dict[str, Any] = dict(told)
    values |= {name: Decimal(values[name]) for name in decimals if values[name] is not None}
    return ContractRow(**values)
