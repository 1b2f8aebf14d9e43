"""`trading-assets bench history`: files of an archive's layout are made, then imported; rows a second. No network."""

from __future__ import annotations

import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from trading_assets.core.memory import peak_mb
from trading_assets.core.timeframes import MINUTE_MS, to_datetime, to_ms

_FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_NAMES = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)


def run(symbols: int, months: int, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Make files of 1m candles as Binance's public archive has them (one zip a coin and month), import them, and import
    them again.

    Returns:
        Rows, bytes, seconds of the clock and of the processor, and rows a second.
    """
    from trading_assets.history.importing import HELD, Options, import_files  # noqa: PLC0415 (what is measured)
    from trading_assets.history.library import Library  # noqa: PLC0415 (as above)

    with tempfile.TemporaryDirectory() as folder:
        files, library = Path(folder, "files"), Library(Path(folder, "library"))
        files.mkdir()
        rows, size = _make(files, symbols, months, tell)
        tell(f"{rows:,} rows in {symbols * months} files, {size / 1e6:,.0f} MB; importing")
        wall, cpu = time.perf_counter(), time.process_time()
        summary = import_files(library, [files], Options())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        again = time.perf_counter()
        second = import_files(library, [files], Options())
        again = time.perf_counter() - again
        stored = sum(one.stored for outcome in summary.outcomes for one in outcome.checked)
        if stored != rows or len(second.of(HELD)) != symbols * months:
            raise AssertionError(f"{stored:,} of {rows:,} rows were stored")
        kept = sum(path.stat().st_size for path in library.root.rglob("*") if path.is_file())
    return {
        "rows": rows,
        "files": symbols * months,
        "megabytes": round(size / 1e6, 1),
        "library_megabytes": round(kept / 1e6, 1),
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "rows_per_second": round(rows / wall),
        "again_seconds": round(again, 2),
        "peak_mb": round(peak_mb()),
    }


def _make(folder: Path, symbols: int, months: int, tell: Callable[[str], None]) -> tuple[int, int]:
    rows = size = 0
    rng = np.random.default_rng(1)
    for month in range(months):
        begin, end = _month(month), _month(month + 1)
        starts = np.arange(begin, end, MINUTE_MS)
        name = to_datetime(begin).strftime("%Y-%m")
        for number in range(symbols):
            stem = f"S{number}USDT-1m-{name}"
            content = _csv(starts, rng)
            with zipfile.ZipFile(folder / f"{stem}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr(f"{stem}.csv", content)
            rows, size = rows + len(starts), size + (folder / f"{stem}.zip").stat().st_size
        tell(f"made {month + 1} of {months} months")
    return rows, size


def _month(number: int) -> int:
    return to_ms(datetime(_FIRST.year + number // 12, number % 12 + 1, 1, tzinfo=UTC))


def _csv(starts: np.ndarray, rng: np.random.Generator) -> bytes:
    """A month of candles on a tick of 0.01, with a heading, as text."""
    ticks = 100_000 + np.cumsum(rng.integers(-5, 6, len(starts)))
    opens = np.append(ticks[0], ticks[:-1])
    prices = (opens, np.maximum(opens, ticks) + 3, np.minimum(opens, ticks) - 3, ticks)
    volume = rng.integers(1, 10_000, len(starts)) / 1000
    columns = [
        starts,
        *(one / 100 for one in prices),
        volume,
        starts + MINUTE_MS - 1,
        np.round(volume * ticks / 100, 4),
    ]
    columns += [
        rng.integers(1, 500, len(starts)),
        volume,
        np.round(volume * ticks / 200, 4),
        np.zeros(len(starts), int),
    ]
    sink = pa.BufferOutputStream()
    options = pa_csv.WriteOptions(include_header=False)
    pa_csv.write_csv(pa.table(dict(zip(_NAMES, columns, strict=True))), sink, options)
    return (",".join(_NAMES) + "\n").encode() + sink.getvalue().to_pybytes()
