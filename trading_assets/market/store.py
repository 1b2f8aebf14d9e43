"""The candle store: candles and funding on disk, fetched once, with known gaps. No strategy and no scan here.

A symbol's candles of one timeframe are in Parquet chunks of 2,048 candle slots. The metadata of each chunk records the
spans for which the exchange was asked and answered. A candle that is missing inside such a span is absent at the
exchange, as of the time of the answer; one outside has not been fetched yet. An answer "absent" expires: the longer a
candle had been absent when it was asked for, the longer it is believed. A filling that meets a damaged chunk puts it
aside and fetches it again. How chunks are read and written is in `chunks`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from trading_assets.core.candles import FUNDING, Candles, Funding
from trading_assets.core.errors import (
    DataError,
    ExchangeUnavailableError,
    OrderRejectedError,
    UnreadableAnswerError,
)
from trading_assets.core.ports import MarketData
from trading_assets.core.private_files import path_part
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe, floor_ms, iso
from trading_assets.market.chunks import ChunkFiles
from trading_assets.market.spans import Span, union

CandleRequest = tuple[str, Timeframe, int, int]
FundingRequest = tuple[str, int, int]
Progress = Callable[[int, int], None]

_SLOTS = 2048

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
class Filled:
    """How many rows were fetched, and why nothing was fetched of some symbols."""

    fetched: int
    failed: Mapping[str, str]


class CandleStore:
    """Candles and funding of one venue below one directory; safe for threads and processes.

    Args:
        btc: the venue's symbol of the BTC perpetual, which strategies of every coin may read.
        chunks: reads and writes the files; default: in the directory itself.

    Raises (every method):
        StorageError: a file cannot be read or written; the message names it and what to do.
        DamagedFileError: a file is damaged, likewise. `fill` fetches it again instead.
    """

    def __init__(self, root: Path, *, btc: str = "BTCUSDT", chunks: ChunkFiles | None = None) -> None:
        self.root, self.btc = root, btc
        self._chunks = ChunkFiles() if chunks is None else chunks

    def expect(self, coins: int) -> None:
        """See `ChunkFiles.expect`."""
        self._chunks.expect(coins)

    # Candles

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Candles held that start in [start_ms, end_ms)."""
        chunks = [
            self._chunks.load(path, _CANDLE_COLUMNS).columns
            for path in self._chunks.paths(self._folder(symbol, timeframe), _SLOTS * timeframe.ms, start_ms, end_ms)
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
        return self._chunks.missing(
            self._folder(symbol, timeframe),
            _SLOTS * step,
            _CANDLE_COLUMNS,
            floor_ms(start_ms, step),
            -(-end_ms // step) * step,
            now_ms,
        )

    def first_ms(self, symbol: str, timeframe: Timeframe) -> int | None:
        """Open of the oldest candle held, UTC ms."""
        for path in self._chunks.every(self._folder(symbol, timeframe)):
            starts = self._chunks.load(path, _CANDLE_COLUMNS).columns["start_ms"]
            if len(starts):
                return int(starts[0])
        return None

    def last_ms(self, symbol: str, timeframe: Timeframe) -> int | None:
        """Close of the newest candle held, UTC ms."""
        for path in self._chunks.every(self._folder(symbol, timeframe), newest_first=True):
            starts = self._chunks.load(path, _CANDLE_COLUMNS).columns["start_ms"]
            if len(starts):
                return int(starts[-1]) + timeframe.ms
        return None

    def absences(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Span]:
        """Spans inside [start_ms, end_ms) of which the exchange said that it has no candles."""
        found = [
            (max(low, start_ms), min(high, end_ms))
            for path in self._chunks.paths(self._folder(symbol, timeframe), _SLOTS * timeframe.ms, start_ms, end_ms)
            for low, high, _ in self._chunks.load(path, _CANDLE_COLUMNS).absent
        ]
        return union([(low, high) for low, high in found if low < high])

    def symbols(self) -> list[str]:
        """Symbols of which anything is held."""
        return self._chunks.symbols(self.root)

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
        first, last = floor_ms(start_ms, step), -(-closed_until // step) * step
        wanted = self._chunks.missing(folder, _SLOTS * step, _CANDLE_COLUMNS, first, last, now_ms, mend=True)
        if again:
            wanted = [(floor_ms(start_ms, step), closed_until)] if start_ms < closed_until else []
        for low, high in wanted:
            candles = source.candles(symbol, timeframe, low, high)
            _require_grid(symbol, candles, low, high)
            settled = int(candles.end_ms[-1]) if len(candles) else low
            until = max(settled, min(high, floor_ms(now_ms - _SETTLED_MS, step)))
            columns = {name: getattr(candles, name) for name in _CANDLE_COLUMNS}
            self._chunks.merge(folder, _SLOTS * step, columns, (low, until), step, now_ms)
            fetched += len(candles)
        return fetched

    def fill_many(
        self,
        source: MarketData,
        requests: Sequence[CandleRequest],
        *,
        workers: int = 4,
        progress: Progress | None = None,
        then: Callable[[str], None] = lambda _: None,
    ) -> Filled:
        """`fill` for many (symbol, timeframe, start_ms, end_ms) at once.

        A symbol that is refused, or whose answer makes no sense, fails alone.

        Args:
            then: called with each symbol that was filled, in the thread that did so: its chunks are in memory still.

        Raises:
            ExchangeError: the exchange does not answer, or refuses everything.
        """
        now_ms = source.now_ms()
        return _in_threads(
            lambda request: self.fill(source, *request, now_ms=now_ms), requests, workers, progress, then
        )

    # Funding

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Payments held in [start_ms, end_ms)."""
        chunks = [
            self._chunks.load(path, _FUNDING_COLUMNS).columns
            for path in self._chunks.paths(self._funding_folder(symbol), _FUNDING_CHUNK_MS, start_ms, end_ms)
        ]
        if not chunks:
            return Funding.empty()
        joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in _FUNDING_COLUMNS}
        return Funding(**joined).between(start_ms, end_ms)

    def missing_funding(self, symbol: str, start_ms: int, end_ms: int, *, now_ms: int | None = None) -> list[Span]:
        """Spans of [start_ms, end_ms) for which the exchange was not asked yet, and with `now_ms` those whose answer
        "absent" has expired by then."""
        folder = self._funding_folder(symbol)
        return self._chunks.missing(folder, _FUNDING_CHUNK_MS, _FUNDING_COLUMNS, start_ms, end_ms, now_ms)

    @staticmethod
    def funding_known_until_ms(now_ms: int) -> int:
        """Up to when payments are asked for at a time: the newest whole hour, its payment included."""
        return floor_ms(now_ms - _FUNDING_LAG_MS, HOUR_MS) + 1

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
        until = min(end_ms, self.funding_known_until_ms(now_ms))
        fetched = 0
        folder = self._funding_folder(symbol)
        wanted = self._chunks.missing(folder, _FUNDING_CHUNK_MS, _FUNDING_COLUMNS, start_ms, until, now_ms, mend=True)
        if again:
            wanted = [(start_ms, until)] if start_ms < until else []
        for low, high in wanted:
            funding = source.funding(symbol, low, high)
            _require_payments(symbol, funding, low, high)
            settled = int(funding.time_ms[-1]) + 1 if len(funding) else low
            answered = max(settled, min(high, floor_ms(now_ms - _FUNDING_SETTLED_MS, HOUR_MS) + 1))
            columns = {name: getattr(funding, name) for name in _FUNDING_COLUMNS}
            self._chunks.merge(folder, _FUNDING_CHUNK_MS, columns, (low, answered), _FUNDING_EVERY_MS, now_ms)
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

            def is_old(start_ms: int, changed_s: float, keep_from: int = keep_from, chunk_ms: int = chunk_ms) -> bool:
                return start_ms + chunk_ms <= keep_from and changed_s < unchanged_since_s

            for symbol in self.symbols():
                found = self._chunks.delete(self._folder(symbol, timeframe), is_old, dry_run=dry_run)
                files, size = files + found[0], size + found[1]
        return files, size

    def forget(self, symbol: str, start_ms: int, end_ms: int) -> None:
        """Delete the chunks of a symbol that overlap [start_ms, end_ms): the source has other rows there.

        They are fetched again when they are needed.
        """
        folders = {self._folder(symbol, timeframe): _SLOTS * timeframe.ms for timeframe in Timeframe}
        for folder, chunk_ms in {**folders, self._funding_folder(symbol): _FUNDING_CHUNK_MS}.items():

            def overlaps(begin_ms: int, _: float, chunk_ms: int = chunk_ms) -> bool:
                return begin_ms < end_ms and begin_ms + chunk_ms > start_ms

            self._chunks.delete(folder, overlaps)

    # Folders

    def _folder(self, symbol: str, timeframe: Timeframe) -> Path:
        return self.root / path_part(symbol) / timeframe.value

    def _funding_folder(self, symbol: str) -> Path:
        return self.root / path_part(symbol) / FUNDING


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
    then: Callable[[str], None] = lambda _: None,
) -> Filled:
    """Work on requests that begin with their symbol; one that fails by its own fault does not stop the others."""
    total, failed, unanswered = 0, dict[str, str](), 0
    stopped = threading.Event()
    left, counting = Counter(request[0] for request in requests), threading.Lock()

    def unless_stopped(request: tuple) -> int:
        if stopped.is_set():
            return 0
        try:
            done = work(request)
            with counting:  # one that has failed leaves a request that is not done
                left[request[0]] -= 1
                is_last = not left[request[0]]
            if is_last:
                then(request[0])
            return done
        except (*_OF_ONE_SYMBOL, ExchangeUnavailableError):
            raise
        except BaseException:
            stopped.set()  # here and not in the caller: this thread takes the next request before the caller wakes up
            raise

    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = {pool.submit(unless_stopped, request): request[0] for request in requests}
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
