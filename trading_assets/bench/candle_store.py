"""`trading-assets bench store`: candles written to the candle store and read from it, beside Parquet files alone.

Both write the same columns, chunk by chunk, with the same compression. The files alone have no lock, no checksum, no
atomic replacement and no spans that were answered: the ratio is what these cost. No network.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trading_assets.core.candles import Candles
from trading_assets.core.ports import MarketData
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.market.chunks import parquet_options
from trading_assets.market.store import CandleStore

SLOTS = 2048
"""Candles of a chunk of the store."""

_TIMEFRAME = Timeframe("1m")
_BEGIN_MS = 830_000 * SLOTS * MINUTE_MS // 60
"""In 2026, at the begin of a chunk."""


def measure(symbols: int, chunks: int, repeat: int) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU and of the clock, of the store and of the files alone, by what was done: the fastest of some
    rounds, in turn, so that what else the machine does befalls both.

    Args:
        chunks: of each symbol, 2,048 candles of a minute each.
    """
    begin = _BEGIN_MS - _BEGIN_MS % (SLOTS * MINUTE_MS)
    candles = {f"S{number}USDT": _random(begin, chunks * SLOTS, number) for number in range(symbols)}
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            for what, (store, files) in _round(Path(folder), candles, begin).items():
                sides = found.setdefault(what, {"store": [], "files": []})
                sides["store"].append(store)
                sides["files"].append(files)
    return {what: _fastest(sides) for what, sides in found.items()}


Cost = tuple[float, float]
"""Milliseconds of CPU and of the clock."""


def _fastest(sides: Mapping[str, list[Cost]]) -> dict[str, float]:
    row: dict[str, float] = {}
    for number, kind in enumerate(("cpu", "wall")):
        store, files = (min(one[number] for one in sides[side]) for side in ("store", "files"))
        row |= {f"store_{kind}_ms": round(store, 2), f"files_{kind}_ms": round(files, 2)}
        row[f"{kind}_ratio"] = round(store / files, 2)
    return row


def _round(folder: Path, candles: Mapping[str, Candles], begin: int) -> dict[str, tuple[Cost, Cost]]:
    source = cast(MarketData, _Given(candles))
    end = begin + len(next(iter(candles.values()))) * MINUTE_MS
    hour = end - HOUR_MS
    root, plain = folder / "store", folder / "files"
    store = CandleStore(root)
    now = end + HOUR_MS

    def fill(until: int) -> None:
        for symbol in candles:
            store.fill(source, symbol, _TIMEFRAME, begin, until, now_ms=now)

    def read(from_store: CandleStore) -> None:
        for symbol, all_of_it in candles.items():
            if len(from_store.read(symbol, _TIMEFRAME, begin, end)) != len(all_of_it):
                raise AssertionError(f"candles of {symbol} are missing in the store")

    def write_files(newest_alone: bool) -> None:
        for symbol, all_of_it in candles.items():
            (plain / symbol).mkdir(parents=True, exist_ok=True)
            starts = range(begin, end, SLOTS * MINUTE_MS)
            for start in starts[-1:] if newest_alone else starts:
                part = all_of_it.between(start, start + SLOTS * MINUTE_MS)
                _write(plain / symbol / f"{start}.parquet", part)

    def read_files() -> None:
        for symbol, all_of_it in candles.items():
            parts = [_columns_of(path) for path in sorted((plain / symbol).iterdir())]
            joined = {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}
            if len(Candles(_TIMEFRAME, **joined).between(begin, end)) != len(all_of_it):
                raise AssertionError(f"candles of {symbol} are missing in the files")

    found = {"write": (_cost(lambda: fill(hour)), _cost(lambda: write_files(newest_alone=False)))}

    def append_to_files() -> None:
        read_files()
        write_files(newest_alone=True)

    found["append_hour"] = (_cost(lambda: fill(end)), _cost(append_to_files))
    fresh = CandleStore(root)
    found["read"] = (_cost(lambda: read(fresh)), _cost(read_files))
    found["read_again"] = (_cost(lambda: read(fresh)), _cost(read_files))
    return found


_COLUMNS = [field.name for field in fields(Candles)][1:]


class _Given:
    """A venue that has these candles and answers at once."""

    def __init__(self, candles: Mapping[str, Candles]) -> None:
        self._candles = candles

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        if timeframe is not _TIMEFRAME:
            raise AssertionError(f"found {timeframe}, expected {_TIMEFRAME}")
        return self._candles[symbol].between(start_ms, end_ms)


def _random(begin_ms: int, count: int, seed: int) -> Candles:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    columns: dict[str, Any] = {name: close * (1 + number * 1e-4) for number, name in enumerate(_COLUMNS)}
    columns["start_ms"] = begin_ms + np.arange(count, dtype=np.int64) * MINUTE_MS
    columns["volume"] = rng.lognormal(3, 1, count)
    return Candles(_TIMEFRAME, **columns)


def _write(path: Path, candles: Candles) -> None:
    columns = {name: getattr(candles, name) for name in _COLUMNS}
    pq.write_table(pa.table(columns), path, **parquet_options("start_ms"))


def _columns_of(path: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(path, memory_map=False)
    return {name: table.column(name).to_numpy() for name in _COLUMNS}


def _cost(do: Callable[[], None]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    do()
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3
