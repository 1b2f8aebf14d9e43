"""Files of the candle store: rows with a time, the spans that the exchange answered, and what was absent in them.

Writes replace a chunk atomically under a lock. So a reader never sees half a chunk, two writers lose nothing, and a
process that is killed anywhere leaves the chunk as it was. A chunk carries checksums of its pages and one of everything
it says. What the rows are, and when they are fetched, is in `store`.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from trading_assets.core.errors import DamagedFileError, StorageError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.private_files import FILE, private_folder
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, floor_ms, iso, to_ms
from trading_assets.market.spans import Span, gaps, subtract, union

_log = get_logger(__name__)

Absence = tuple[int, int, int]
"""Half-open span of UTC ms in which the exchange had nothing, and the time of that answer."""

Identity = tuple[int, int, int]
"""Inode, time of change and size of a file: another one where its content is another."""

_COVERED, _ABSENT, _CHECKSUM = b"covered", b"absent", b"checksum"
_LOCK_TIMEOUT_S = 60.0
_CACHED_BYTES = 96 * 1024 * 1024
_BYTES_OF_A_COIN = 640 * 1024
_TEMPORARY = ".writing-"
_DAMAGED = ".damaged"

_BELIEVED_MS = 30 * MINUTE_MS
_LONGEST_BELIEVED_MS = 7 * 24 * HOUR_MS
"""An answer "absent" is believed as long as the candle was overdue when it was given, within these bounds."""


@dataclass(frozen=True)
class Chunk:
    """Columns by name, all of one length and ascending in the first, the spans that were answered, and those of them
    without rows."""

    columns: dict[str, np.ndarray]
    covered: tuple[Span, ...]
    absent: tuple[Absence, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(column.nbytes for column in self.columns.values())

    @property
    def checksum(self) -> str:
        """Of everything the chunk says."""
        found = zlib.crc32(json.dumps([self.covered, self.absent, list(self.columns)]).encode())
        for column in self.columns.values():
            found = zlib.crc32(column.tobytes(), found)
        return f"{found:08x}"


class ChunkFiles:
    """Reading and writing of chunks; safe for threads and processes. What was read is kept in memory, up to 96 MB, and
    more where many coins are read (`expect`).

    Raises (every method):
        StorageError: a file cannot be read or written; the message names it and what to do.
        DamagedFileError: a file is damaged, likewise.
    """

    def __init__(self) -> None:
        self._cache: OrderedDict[Path, tuple[Identity, Chunk]] = OrderedDict()
        self._cached_bytes = 0
        self._coins = 0
        self._cache_lock = Lock()

    def expect(self, coins: int) -> None:
        """Keep enough for so many coins that are read one after the other, again and again: with less, each time all of
        them would be read from their files.
        """
        self._coins = coins

    @staticmethod
    def start_of(path: Path) -> int:
        """Begin of a chunk, UTC ms: the opposite of `chunk_path`. A copy's name has a version behind it."""
        return to_ms(datetime.strptime(path.name.partition(".")[0], "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC))

    @staticmethod
    def chunk_path(folder: Path, start_ms: int) -> Path:
        """Where the chunk that begins at `start_ms` is kept."""
        return folder / _name_of(start_ms)

    def paths(self, folder: Path, chunk_ms: int, start_ms: int, end_ms: int) -> Iterator[Path]:
        """Existing chunks that overlap [start_ms, end_ms), in time."""
        for start in range(floor_ms(start_ms, chunk_ms), end_ms, chunk_ms):
            path = self.chunk_path(folder, start)
            if path.exists():
                yield path

    def every(self, folder: Path, *, newest_first: bool = False) -> Iterator[Path]:
        """Existing chunks of a folder, in time or against it."""
        yield from sorted(folder.glob("*.parquet"), reverse=newest_first)

    def symbols(self, root: Path) -> list[str]:
        """Names of the folders in which folders of chunks are."""
        return sorted(path.name for path in root.glob("*") if path.is_dir())

    def delete(
        self, folder: Path, is_wanted: Callable[[int, float], bool], *, dry_run: bool = False
    ) -> tuple[int, int]:
        """Delete chunks of a folder by their begin and by when they were written; how many, and their bytes.

        Args:
            is_wanted: told the begin, UTC ms, and seconds since 1970. True: it is deleted.
        """
        files = size = 0
        if not folder.is_dir():
            return files, size
        with self.locked(folder):
            for path in self.every(folder):
                stat = path.stat()
                if is_wanted(self.start_of(path), stat.st_mtime):
                    files, size = files + 1, size + stat.st_size
                    if not dry_run:
                        path.unlink(missing_ok=True)
        return files, size

    def missing(
        self,
        folder: Path,
        chunk_ms: int,
        columns: list[str],
        start_ms: int,
        end_ms: int,
        now_ms: int | None,
        *,
        mend: bool = False,
    ) -> list[Span]:
        """Spans of [start_ms, end_ms) that no chunk covers, and with `now_ms` those whose "absent" has expired.

        Args:
            mend: put damaged chunks aside, so that they count as not fetched yet.
        """
        covered: list[Span] = []
        expired: list[Span] = []
        for path in self.paths(folder, chunk_ms, start_ms, end_ms):
            try:
                chunk = self.load(path, columns)
            except DamagedFileError as error:
                if not mend:
                    raise
                self._put_aside(path, error)
                continue
            covered += chunk.covered
            if now_ms is not None:
                expired += [(low, high) for low, high, asked in chunk.absent if _has_expired(high, asked, now_ms)]
        if expired:
            covered = subtract(covered, expired)
        return subtract([(start_ms, end_ms)] if start_ms < end_ms else [], covered)

    def _put_aside(self, path: Path, error: DamagedFileError) -> None:
        """Rename a damaged chunk."""
        with self.locked(path.parent), contextlib.suppress(FileNotFoundError):
            path.replace(path.with_suffix(f"{path.suffix}{_DAMAGED}"))
        _log.warning("%s; it was put aside and is fetched again", error)

    def load(self, path: Path, columns: list[str]) -> Chunk:
        """A chunk from memory, or from its file where that has changed."""
        try:
            # Opened once: another process may put a newer file in its place at any moment.
            with path.open("rb") as file:
                identity = _identity(file)
                with self._cache_lock:
                    cached = self._cache.get(path)
                    if cached is not None and cached[0] == identity:
                        self._cache.move_to_end(path)
                        return cached[1]
                content = file.read()
        except OSError as error:
            raise StorageError(f"the candle file {path} cannot be read: {error.strerror or error}") from error
        try:
            file_ = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            table = file_.read(columns=columns, use_threads=False)
            said = table.schema.metadata
            covered = tuple((int(low), int(high)) for low, high in json.loads(said[_COVERED]))
            arrays = {name: table.column(name).to_numpy() for name in columns}
            chunk = Chunk(arrays, covered, _absent_as_told(said, arrays[columns[0]], covered))
            if _CHECKSUM in said and said[_CHECKSUM].decode() != chunk.checksum:
                raise ValueError("its checksum is another")
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"the candle file {path} is damaged ({error}); delete it, it will be fetched again"
            ) from error
        self._keep(path, identity, chunk)
        return chunk

    def _keep(self, path: Path, identity: Identity, chunk: Chunk) -> None:
        """Have the chunk in memory that a file of that identity holds."""
        with self._cache_lock:
            replaced = self._cache.pop(path, None)
            self._cached_bytes += chunk.bytes - (replaced[1].bytes if replaced is not None else 0)
            self._cache[path] = (identity, chunk)
            most_bytes = max(_CACHED_BYTES, self._coins * _BYTES_OF_A_COIN)
            while self._cached_bytes > most_bytes and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1][1].bytes

    def merge(
        self,
        folder: Path,
        chunk_ms: int,
        columns: dict[str, np.ndarray],
        answered: Span,
        step_ms: int,
        now_ms: int,
    ) -> None:
        """Add rows (first column is time) and an answered span that holds them to the chunks that they touch.

        Where two rows are further apart than `step_ms`, the answer of `now_ms` was that there is nothing.
        """
        if answered[0] >= answered[1]:
            return
        with self.locked(folder):
            for start in range(floor_ms(answered[0], chunk_ms), answered[1], chunk_ms):
                path = self.chunk_path(folder, start)
                held = self.load(path, list(columns)) if path.exists() else None
                self._write(path, merged(held, columns, answered, start, start + chunk_ms, step_ms, now_ms))

    @contextmanager
    def locked(self, folder: Path) -> Iterator[None]:
        """Hold the folder against other writers."""
        try:
            if not folder.is_dir():
                private_folder(folder)
            with FileLock(folder / ".lock", timeout=_LOCK_TIMEOUT_S, mode=FILE):
                with os.scandir(folder) as entries:
                    left = [entry.path for entry in entries if entry.name.startswith(_TEMPORARY)]
                for left_by_a_killed_process in left:
                    Path(left_by_a_killed_process).unlink(missing_ok=True)
                yield
        except Timeout as error:
            raise StorageError(
                f"another process has been writing {folder} for {_LOCK_TIMEOUT_S:.0f} s; end it, then try again"
            ) from error
        except OSError as error:
            raise StorageError(
                f"candles cannot be written to {folder}: {error.strerror or error}; nothing was changed. Free some "
                "space or choose another directory with TRADING_ASSETS_HOME"
            ) from error

    def _write(self, path: Path, chunk: Chunk) -> None:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                write_chunk(chunk, file)
                file.flush()
                os.fsync(file.fileno())
                identity = _identity(file)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._keep(path, identity, chunk)


@cache
def _name_of(start_ms: int) -> str:
    return f"{iso(start_ms).replace(':', '')}.parquet"


def _identity(file: IO[bytes]) -> Identity:
    stat = os.fstat(file.fileno())
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def parquet_options(times: str) -> dict[str, Any]:
    """How columns are encoded, of which one has the times.

    LZ4 is read twice as fast as zstd, and written faster. What it needs more of disk, times as differences save.
    """
    return {
        "compression": "lz4",
        "use_dictionary": False,
        "column_encoding": {times: "DELTA_BINARY_PACKED"},
    }


def write_chunk(chunk: Chunk, file: IO[bytes]) -> None:
    """Write a chunk as Parquet, with what it says of itself."""
    said = {_COVERED: json.dumps(chunk.covered), _ABSENT: json.dumps(chunk.absent), _CHECKSUM: chunk.checksum}
    pq.write_table(
        pa.table(chunk.columns).replace_schema_metadata(said),
        file,
        **parquet_options(next(iter(chunk.columns))),
        write_page_checksum=True,
        write_statistics=False,
    )


def merged(
    held: Chunk | None,
    columns: Mapping[str, np.ndarray],
    answered: Span,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    now_ms: int,
) -> Chunk:
    """The chunk of [start_ms, end_ms) with what of new rows and an answered span is in it; see `ChunkFiles.merge`."""
    names = list(columns)
    times = columns[names[0]]
    inside = slice(*(int(i) for i in np.searchsorted(times, [start_ms, end_ms])))
    part = {name: columns[name][inside].copy() for name in names}  # it stays in memory, without the rest
    span = (max(answered[0], start_ms), min(answered[1], end_ms))
    covered: tuple[Span, ...] = ()
    absent: list[Absence] = []
    if held is not None:
        covered = held.covered
        absent = [(*left, asked) for low, high, asked in held.absent for left in subtract([(low, high)], [span])]
        part = _newest_wins(held.columns, part)
    absent += [(*gap, now_ms) for gap in gaps(part[names[0]], span, step_ms)]
    for column in part.values():
        column.flags.writeable = False
    return Chunk(part, tuple(union([*covered, span])), tuple(sorted(absent)))


def _absent_as_told(said: Mapping[bytes, bytes], times: np.ndarray, covered: Sequence[Span]) -> tuple[Absence, ...]:
    """What a chunk tells of absences. An older version's told none: they count as asked for long ago."""
    if _ABSENT in said:
        return tuple((int(low), int(high), int(asked)) for low, high, asked in json.loads(said[_ABSENT]))
    step = int(np.diff(times).min()) if len(times) > 1 else MINUTE_MS
    return tuple((*gap, 0) for span in covered for gap in gaps(times, span, step))


def _has_expired(end_ms: int, asked_ms: int, now_ms: int) -> bool:
    believed = min(max(asked_ms - end_ms, _BELIEVED_MS), _LONGEST_BELIEVED_MS)
    return now_ms - asked_ms >= believed


def _newest_wins(held: dict[str, np.ndarray], added: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = list(held)
    times = np.concatenate([added[names[0]], held[names[0]]])
    _, first = np.unique(times, return_index=True)
    return {name: np.concatenate([added[name], held[name]])[first] for name in names}
