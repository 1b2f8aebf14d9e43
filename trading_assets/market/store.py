"""The candle store: candles and funding on disk, fetched once, with known gaps. No strategy and no scan here.

A symbol's candles of one timeframe are in Parquet chunks of 2,048 candle slots. The metadata of each chunk records the
spans for which the exchange was asked and answered. A candle that is missing inside such a span is absent at the
exchange, as of the time of the answer; one outside has not been fetched yet. An answer "absent" expires: the longer a
candle had been absent when it was asked for, the longer it is believed. Writes replace a chunk atomically under a lock.
So a reader never sees half a chunk, two writers lose nothing, and a process that is killed anywhere leaves the chunk as
it was. A chunk carries checksums of its pages and one of everything it says. A filling that meets a damaged chunk puts
it aside and fetches it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import (
    DamagedFileError,
    DataError,
    ExchangeUnavailableError,
    OrderRejectedError,
    StorageError,
    UnreadableAnswerError,
)
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.ports import MarketData
from trading_assets.core.private_files import FILE, path_part, private_folder
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe, floor_ms, iso, to_ms

_log = get_logger(__name__)

Span = tuple[int, int]
"""Half-open span of UTC ms."""

Absence = tuple[int, int, int]
"""Half-open span of UTC ms in which the exchange had nothing, and the time of that answer."""

CandleRequest = tuple[str, Timeframe, int, int]
FundingRequest = tuple[str, int, int]
Progress = Callable[[int, int], None]

_SLOTS = 2048
_COVERED, _ABSENT, _CHECKSUM = b"covered", b"absent", b"checksum"
_LOCK_TIMEOUT_S = 60.0
_CACHED_BYTES = 192 * 1024 * 1024
_TEMPORARY = ".writing-"
_DAMAGED = ".damaged"

_BELIEVED_MS = 30 * MINUTE_MS
_LONGEST_BELIEVED_MS = 7 * 24 * HOUR_MS
"""An answer "absent" is believed as long as the candle was overdue when it was given, within these bounds."""

_UNANSWERED = 3
"""So many requests in a row without an answer, or all of them: the exchange is not there. Fewer: the symbol's fault."""

_OF_ONE_SYMBOL = (DataError, OrderRejectedError, UnreadableAnswerError)
"""Errors of a read that concern the symbol asked for: refused, or an answer that makes no sense."""

_SETTLED_MS = MINUTE_MS
"""A candle that is absent this soon after its close may still come (clocks differ, the venue lags): no gap yet."""

_FUNDING_LAG_MS = 5_000
_FUNDING_SETTLED_MS = 2 * MINUTE_MS
"""Payments fall on whole hours. One is looked for this long after its time, and counts as absent this long after it."""
_FUNDING_CHUNK_MS = 365 * 24 * HOUR_MS
_FUNDING_EVERY_MS = 8 * HOUR_MS
"""The longest interval between two payments. A longer one misses some."""
_HIGHEST_RATE = 1.0
_CANDLE_COLUMNS = [field.name for field in fields(Candles)][1:]
_FUNDING_COLUMNS = [field.name for field in fields(Funding)]


@dataclass(frozen=True)
class _Chunk:
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


@dataclass(frozen=True)
class Filled:
    """How many rows were fetched, and why nothing was fetched of some symbols."""

    fetched: int
    failed: Mapping[str, str]


class CandleStore:
    """Candles and funding of one venue below one directory; safe for threads and processes.

    Args:
        btc: the venue's symbol of the BTC perpetual, which strategies of every coin may read.

    Raises (every method):
        StorageError: a file cannot be read or written; the message names it and what to do.
        DamagedFileError: a file is damaged, likewise. `fill` fetches it again instead.
    """

    def __init__(self, root: Path, *, btc: str = "BTCUSDT") -> None:
        self.root, self.btc = root, btc
        self._cache: OrderedDict[Path, tuple[tuple[int, int, int], _Chunk]] = OrderedDict()
        self._cached_bytes = 0
        self._cache_lock = Lock()

    # Candles

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Candles held that start in [start_ms, end_ms)."""
        chunks = [
            self._load(path, _CANDLE_COLUMNS).columns
            for path in self._paths(self._folder(symbol, timeframe), _SLOTS * timeframe.ms, start_ms, end_ms)
        ]
        if not chunks:
            return Candles.empty(timeframe)
        if len(chunks) == 1:
            return Candles(timeframe, **chunks[0]).between(start_ms, end_ms)
        joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in _CANDLE_COLUMNS}
        return Candles(timeframe, **joined).between(start_ms, end_ms)

    def missing(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, *, now_ms: int | None = None
    ) -> list[Span]:
        """Spans inside [start_ms, end_ms), widened to whole candles, for which the exchange was not asked yet.

        With `now_ms`, also those whose answer "absent" has expired by then.
        """
        step = timeframe.ms
        return self._missing(
            self._folder(symbol, timeframe),
            _SLOTS * step,
            _CANDLE_COLUMNS,
            floor_ms(start_ms, step),
            -(-end_ms // step) * step,
            now_ms,
        )

    def first_ms(self, symbol: str, timeframe: Timeframe) -> int | None:
        """Open of the oldest candle held, UTC ms."""
        for path in sorted(self._folder(symbol, timeframe).glob("*.parquet")):
            starts = self._load(path, _CANDLE_COLUMNS).columns["start_ms"]
            if len(starts):
                return int(starts[0])
        return None

    def absences(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Span]:
        """Spans inside [start_ms, end_ms) of which the exchange said that it has no candles."""
        found = [
            (max(low, start_ms), min(high, end_ms))
            for path in self._paths(self._folder(symbol, timeframe), _SLOTS * timeframe.ms, start_ms, end_ms)
            for low, high, _ in self._load(path, _CANDLE_COLUMNS).absent
        ]
        return union([(low, high) for low, high in found if low < high])

    def symbols(self) -> list[str]:
        """Symbols of which anything is held."""
        return sorted(path.name for path in self.root.glob("*") if path.is_dir())

    def fill(
        self,
        source: MarketData,
        symbol: str,
        timeframe: Timeframe,
        start_ms: int,
        end_ms: int,
        *,
        now_ms: int | None = None,
        again: bool = False,
    ) -> int:
        """Fetch what is missing of [start_ms, end_ms) and has closed; the number of candles fetched.

        `now_ms` is a time of the source not after its own; by default it is asked. With `again` all of the span is
        fetched, held or not.

        Raises:
            DataError: the answer has candles that were not asked for, or in disorder. Nothing was stored.
        """
        step = timeframe.ms
        now_ms = source.now_ms() if now_ms is None else now_ms
        closed_until = min(end_ms, floor_ms(now_ms, step))
        folder, fetched = self._folder(symbol, timeframe), 0
        self._put_damaged_aside(folder, _SLOTS * step, _CANDLE_COLUMNS, start_ms, closed_until)
        wanted = self.missing(symbol, timeframe, start_ms, closed_until, now_ms=now_ms)
        if again:
            wanted = [(floor_ms(start_ms, step), closed_until)] if start_ms < closed_until else []
        for low, high in wanted:
            candles = source.candles(symbol, timeframe, low, high)
            _require_grid(symbol, candles, low, high)
            settled = int(candles.end_ms[-1]) if len(candles) else low
            until = max(settled, min(high, floor_ms(now_ms - _SETTLED_MS, step)))
            columns = {name: getattr(candles, name) for name in _CANDLE_COLUMNS}
            self._merge(folder, _SLOTS * step, columns, (low, until), step, now_ms)
            fetched += len(candles)
        return fetched

    def fill_many(
        self,
        source: MarketData,
        requests: Sequence[CandleRequest],
        *,
        workers: int = 4,
        progress: Progress | None = None,
    ) -> Filled:
        """`fill` for many (symbol, timeframe, start_ms, end_ms) at once.

        A symbol that is refused, or whose answer makes no sense, fails alone.

        Raises:
            ExchangeError: the exchange does not answer, or refuses everything.
        """
        now_ms = source.now_ms()
        return _in_threads(lambda request: self.fill(source, *request, now_ms=now_ms), requests, workers, progress)

    # Funding

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Payments held in [start_ms, end_ms)."""
        chunks = [
            self._load(path, _FUNDING_COLUMNS).columns
            for path in self._paths(self._funding_folder(symbol), _FUNDING_CHUNK_MS, start_ms, end_ms)
        ]
        if not chunks:
            return Funding.empty()
        joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in _FUNDING_COLUMNS}
        return Funding(**joined).between(start_ms, end_ms)

    def missing_funding(self, symbol: str, start_ms: int, end_ms: int, *, now_ms: int | None = None) -> list[Span]:
        """Spans of [start_ms, end_ms) for which the exchange was not asked yet, and with `now_ms` those whose answer
        "absent" has expired by then."""
        folder = self._funding_folder(symbol)
        return self._missing(folder, _FUNDING_CHUNK_MS, _FUNDING_COLUMNS, start_ms, end_ms, now_ms)

    def fill_funding(
        self,
        source: MarketData,
        symbol: str,
        start_ms: int,
        end_ms: int,
        *,
        now_ms: int | None = None,
        again: bool = False,
    ) -> int:
        """Fetch what is missing of [start_ms, end_ms), up to the newest whole hour; the number of payments fetched.

        Raises:
            DataError: the answer has payments that were not asked for or are yet to come, disorder, or a rate that is
                none. Nothing was stored.
        """
        now_ms = source.now_ms() if now_ms is None else now_ms
        until = min(end_ms, floor_ms(now_ms - _FUNDING_LAG_MS, HOUR_MS) + 1)
        fetched = 0
        folder = self._funding_folder(symbol)
        self._put_damaged_aside(folder, _FUNDING_CHUNK_MS, _FUNDING_COLUMNS, start_ms, until)
        wanted = self.missing_funding(symbol, start_ms, until, now_ms=now_ms)
        if again:
            wanted = [(start_ms, until)] if start_ms < until else []
        for low, high in wanted:
            funding = source.funding(symbol, low, high)
            _require_payments(symbol, funding, low, high)
            settled = int(funding.time_ms[-1]) + 1 if len(funding) else low
            answered = max(settled, min(high, floor_ms(now_ms - _FUNDING_SETTLED_MS, HOUR_MS) + 1))
            columns = {name: getattr(funding, name) for name in _FUNDING_COLUMNS}
            self._merge(folder, _FUNDING_CHUNK_MS, columns, (low, answered), _FUNDING_EVERY_MS, now_ms)
            fetched += len(funding)
        return fetched

    def fill_funding_many(
        self,
        source: MarketData,
        requests: Sequence[FundingRequest],
        *,
        workers: int = 4,
        progress: Progress | None = None,
    ) -> Filled:
        """`fill_funding` for many (symbol, start_ms, end_ms) at once; see `fill_many`."""
        now_ms = source.now_ms()
        return _in_threads(
            lambda request: self.fill_funding(source, *request, now_ms=now_ms), requests, workers, progress
        )

    # Age

    def prune(
        self, keep_from_ms: Mapping[Timeframe, int], *, unchanged_since_s: float, dry_run: bool = False
    ) -> tuple[int, int]:
        """Delete chunks of candles that end before `keep_from_ms` of their timeframe; the files and bytes of them.

        Chunks that were fetched after `unchanged_since_s` (seconds since 1970) stay, because they were needed a moment
        ago. Nobody may read such old chunks meanwhile. Deleted candles are fetched again when they are needed.
        """
        files = size = 0
        for timeframe, keep_from in keep_from_ms.items():
            chunk_ms = _SLOTS * timeframe.ms
            for folder in sorted(self.root.glob(f"*/{timeframe.value}")):
                with self._locked(folder):
                    for path in sorted(folder.glob("*.parquet")):
                        stat = path.stat()
                        if self._start_of(path) + chunk_ms > keep_from or stat.st_mtime >= unchanged_since_s:
                            continue
                        files, size = files + 1, size + stat.st_size
                        if not dry_run:
                            path.unlink()
        return files, size

    # Chunks

    @staticmethod
    def _start_of(path: Path) -> int:
        """The opposite of `_chunk_path`."""
        return to_ms(datetime.strptime(path.stem, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC))

    def _folder(self, symbol: str, timeframe: Timeframe) -> Path:
        return self.root / path_part(symbol) / timeframe.value

    def _funding_folder(self, symbol: str) -> Path:
        return self.root / path_part(symbol) / "funding"

    @staticmethod
    def _chunk_path(folder: Path, start_ms: int) -> Path:
        return folder / f"{iso(start_ms).replace(':', '')}.parquet"

    def _paths(self, folder: Path, chunk_ms: int, start_ms: int, end_ms: int) -> Iterator[Path]:
        """Existing chunks that overlap [start_ms, end_ms), in time."""
        for start in range(floor_ms(start_ms, chunk_ms), end_ms, chunk_ms):
            path = self._chunk_path(folder, start)
            if path.exists():
                yield path

    def _missing(
        self, folder: Path, chunk_ms: int, columns: list[str], start_ms: int, end_ms: int, now_ms: int | None
    ) -> list[Span]:
        covered: list[Span] = []
        expired: list[Span] = []
        for path in self._paths(folder, chunk_ms, start_ms, end_ms):
            chunk = self._load(path, columns)
            covered += chunk.covered
            if now_ms is not None:
                expired += [(low, high) for low, high, asked in chunk.absent if _has_expired(high, asked, now_ms)]
        if expired:
            covered = subtract(covered, expired)
        return subtract([(start_ms, end_ms)] if start_ms < end_ms else [], covered)

    def _put_damaged_aside(self, folder: Path, chunk_ms: int, columns: list[str], start_ms: int, end_ms: int) -> None:
        """Rename damaged chunks, so that they count as not fetched yet."""
        for path in self._paths(folder, chunk_ms, start_ms, end_ms):
            try:
                self._load(path, columns)
            except DamagedFileError as error:
                with self._locked(folder), contextlib.suppress(FileNotFoundError):
                    path.replace(path.with_suffix(f"{path.suffix}{_DAMAGED}"))
                _log.warning("%s; it was put aside and is fetched again", error)

    def _load(self, path: Path, columns: list[str]) -> _Chunk:
        try:
            # Opened once: another process may put a newer file in its place at any moment.
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
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
            chunk = _Chunk(arrays, covered, _absent_as_told(said, arrays[columns[0]], covered))
            if _CHECKSUM in said and said[_CHECKSUM].decode() != chunk.checksum:
                raise ValueError("its checksum is another")
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"the candle file {path} is damaged ({error}); delete it, it will be fetched again"
            ) from error
        with self._cache_lock:
            replaced = self._cache.pop(path, None)
            self._cached_bytes += chunk.bytes - (replaced[1].bytes if replaced is not None else 0)
            self._cache[path] = (identity, chunk)
            while self._cached_bytes > _CACHED_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1][1].bytes
        return chunk

    def _merge(
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
        names = list(columns)
        times = columns[names[0]]
        with self._locked(folder):
            for start in range(floor_ms(answered[0], chunk_ms), answered[1], chunk_ms):
                inside = slice(*(int(i) for i in np.searchsorted(times, [start, start + chunk_ms])))
                part = {name: columns[name][inside] for name in names}
                span = (max(answered[0], start), min(answered[1], start + chunk_ms))
                path = self._chunk_path(folder, start)
                covered: tuple[Span, ...] = ()
                absent: list[Absence] = []
                if path.exists():
                    held = self._load(path, names)
                    covered = held.covered
                    absent = [
                        (*left, asked) for low, high, asked in held.absent for left in subtract([(low, high)], [span])
                    ]
                    part = _newest_wins(held.columns, part)
                absent += [(*gap, now_ms) for gap in _gaps(part[names[0]], span, step_ms)]
                self._write(path, _Chunk(part, tuple(union([*covered, span])), tuple(sorted(absent))))

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        try:
            private_folder(folder)
            with FileLock(folder / ".lock", timeout=_LOCK_TIMEOUT_S, mode=FILE):
                for left_by_a_killed_process in folder.glob(f"{_TEMPORARY}*"):
                    left_by_a_killed_process.unlink(missing_ok=True)
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

    @staticmethod
    def _write(path: Path, chunk: _Chunk) -> None:
        said = {_COVERED: json.dumps(chunk.covered), _ABSENT: json.dumps(chunk.absent), _CHECKSUM: chunk.checksum}
        table = pa.table(chunk.columns).replace_schema_metadata(said)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                pq.write_table(
                    table,
                    file,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=False,
                    write_page_checksum=True,
                )
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def union(spans: Sequence[Span]) -> list[Span]:
    """The spans' union as disjoint spans, ascending."""
    merged: list[Span] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def subtract(spans: Sequence[Span], covered: Sequence[Span]) -> list[Span]:
    """What of `spans` is in none of `covered`, ascending."""
    left: list[Span] = []
    for low, high in union(spans):
        at = low
        for covered_low, covered_high in union(covered):
            if covered_high <= at:
                continue
            if covered_low >= high:
                break
            if covered_low > at:
                left.append((at, covered_low))
            at = max(at, covered_high)
        if at < high:
            left.append((at, high))
    return left


def _gaps(times: np.ndarray, span: Span, step_ms: int) -> list[Span]:
    """The parts of `span` where two neighbours of `times` (ascending) are further apart than `step_ms`, the span's ends
    included."""
    inside = times[slice(*(int(i) for i in np.searchsorted(times, span)))]
    edges = np.concatenate([[span[0] - step_ms], inside, [span[1]]])
    wide = np.flatnonzero(np.diff(edges) > step_ms)
    return [(int(edges[at]) + step_ms, int(edges[at + 1])) for at in wide]


def _absent_as_told(said: Mapping[bytes, bytes], times: np.ndarray, covered: Sequence[Span]) -> tuple[Absence, ...]:
    """What a chunk tells of absences. An older version's told none: they count as asked for long ago."""
    if _ABSENT in said:
        return tuple((int(low), int(high), int(asked)) for low, high, asked in json.loads(said[_ABSENT]))
    step = int(np.diff(times).min()) if len(times) > 1 else MINUTE_MS
    return tuple((*gap, 0) for span in covered for gap in _gaps(times, span, step))


def _has_expired(end_ms: int, asked_ms: int, now_ms: int) -> bool:
    believed = min(max(asked_ms - end_ms, _BELIEVED_MS), _LONGEST_BELIEVED_MS)
    return now_ms - asked_ms >= believed


def _newest_wins(held: dict[str, np.ndarray], added: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = list(held)
    times = np.concatenate([added[names[0]], held[names[0]]])
    _, first = np.unique(times, return_index=True)
    return {name: np.concatenate([added[name], held[name]])[first] for name in names}


def _require_grid(symbol: str, candles: Candles, start_ms: int, end_ms: int) -> None:
    starts, step = candles.start_ms, candles.timeframe.ms
    between = np.diff(starts)
    faults = {
        "a candle twice": bool(np.any(between == 0)),
        "candles out of order": bool(np.any(between < 0)),
        "candles off the grid": bool(np.any(starts % step)),
        "candles of another time": bool(np.any((starts < start_ms) | (starts >= end_ms))),
    }
    found = [what for what, is_so in faults.items() if is_so]
    if found:
        raise DataError(
            f"{symbol} {candles.timeframe.value}: expected ascending candles on the grid inside "
            f"[{iso(start_ms)}, {iso(end_ms)}), found {' and '.join(found)}; nothing was stored"
        )


def _require_payments(symbol: str, funding: Funding, start_ms: int, end_ms: int) -> None:
    times = funding.time_ms
    faults = {
        "payments twice or out of order": bool(np.any(np.diff(times) <= 0)),
        "payments of another time": bool(np.any((times < start_ms) | (times >= end_ms))),
        "rates that are none": not bool(np.all(np.abs(funding.rate) <= _HIGHEST_RATE)),
    }
    found = [what for what, is_so in faults.items() if is_so]
    if found:
        raise DataError(
            f"funding of {symbol}: expected ascending payments inside [{iso(start_ms)}, {iso(end_ms)}), found "
            f"{' and '.join(found)}; nothing was stored"
        )


def _in_threads(
    work: Callable[[tuple], int],
    requests: Sequence[tuple],
    workers: int,
    progress: Progress | None,
) -> Filled:
    """Work on requests that begin with their symbol; one that fails by its own fault does not stop the others."""
    total, failed, unanswered = 0, dict[str, str](), 0
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = {pool.submit(work, request): request[0] for request in requests}
        symbols = set(futures.values())
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                try:
                    total += future.result()
                    unanswered = 0
                except (*_OF_ONE_SYMBOL, ExchangeUnavailableError) as error:
                    symbol = futures[future]
                    failed.setdefault(symbol, str(error))
                    unanswered = 0 if isinstance(error, _OF_ONE_SYMBOL) else unanswered + 1
                    if unanswered >= _UNANSWERED or len(failed) == len(symbols):
                        raise
                if progress is not None:
                    progress(done, len(requests))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Filled(total, failed)
