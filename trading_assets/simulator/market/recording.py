"""Files of recorded candles, read and checked. `recorded_candles.py` merges them, `replay.py` plays them.

A file is a table, Parquet or CSV, with the columns symbol, timeframe ("1m" ... "1d"), start_ms (UTC), open, high, low,
close, volume (base coin) and turnover (quote coin). Beside it, in the same directory, two more are used if they
exist: `funding.parquet` (symbol, funding_ms, funding_rate, and perhaps exchange, where "bybit" goes before others)
and `instruments.csv` (symbol, minimum_price_variation, lot_size, minimum_order_size, and perhaps delivery_ms and
delivery_price: when a coin was delisted, and at which price its positions were settled).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import MINUTE_MS, iso
from trading_assets.simulator.market.noise import Floats

MINUTES_OF = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360}
MINUTES_OF |= {"12h": 720, "1d": 1440}

VALUES = ("open", "high", "low", "close", "volume", "turnover")
COLUMNS = ("symbol", "timeframe", "start_ms", *VALUES)
FUNDING, INSTRUMENTS = "funding.parquet", "instruments.csv"
_FUNDING_COLUMNS = ("symbol", "funding_ms", "funding_rate")
_RULES = ("minimum_price_variation", "lot_size", "minimum_order_size")
_END = ("delivery_ms", "delivery_price")
_VENUE = "bybit"
_BATCH_ROWS = 1 << 17


@dataclass(frozen=True)
class Series:
    """Candles of one symbol and timeframe in one file.

    Attributes:
        minutes: length of a candle.
        start: minutes since 1970-01-01, ascending, distinct, shape (n,).
        values: open, high, low, close, volume, turnover; shape (6, n).
        file: for messages.
    """

    minutes: int
    start: npt.NDArray[np.int64]
    values: Floats
    file: str


@dataclass(frozen=True)
class Funding:
    """Recorded rates of one symbol: UTC ms, ascending, and the fraction of notional; shape (n,)."""

    times_ms: npt.NDArray[np.int64]
    rates: Floats


@dataclass(frozen=True)
class Rules:
    """What a file of instruments says of a symbol: units as texts; the time of its end, UTC ms, and its last price."""

    tick_size: str
    qty_step: str
    min_qty: str
    delivery_ms: int | None = None
    delivery_price: float | None = None


@dataclass(frozen=True)
class Recording:
    """All that was read.

    Attributes:
        rules: of a symbol, where a file has them.
        content: names the contents of all files, whatever their order and place.
    """

    series: dict[str, list[Series]]
    funding: dict[str, Funding]
    rules: dict[str, Rules]
    content: str


def read(paths: Sequence[Path]) -> Recording:
    """Read candle files and what lies beside them.

    Raises:
        ConfigurationError: a file cannot be read, has another layout, or holds impossible candles.
    """
    series: dict[str, list[Series]] = {}
    digests: set[str] = set()
    for path in paths:
        digests.add(_digest(path))
        for symbol, found in _candles(path):
            series.setdefault(symbol, []).append(found)
        pa.default_memory_pool().release_unused()  # 200 MB after a year of 30 symbols
    if not series:
        raise ConfigurationError("a replay needs at least one file with candles: name one with --replay FILE")
    funding: dict[str, Funding] = {}
    rules: dict[str, Rules] = {}
    for folder in sorted({path.resolve().parent for path in paths}):
        if (folder / FUNDING).is_file():
            digests.add(_digest(folder / FUNDING))
            funding |= _funding(folder / FUNDING, series.keys())
        if (folder / INSTRUMENTS).is_file():
            digests.add(_digest(folder / INSTRUMENTS))
            rules |= _instruments(folder / INSTRUMENTS, series.keys())
    return Recording(series, funding, rules, hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:16])


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"the recording {path} cannot be read: {error}") from error


def _batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The file piece by piece, with these columns; a whole year of many symbols never lies in memory twice."""
    kind = "CSV" if path.suffix == ".csv" else "Parquet"
    try:
        if path.suffix == ".csv":
            table = pa_csv.read_csv(path)
            _check_columns(path, table.column_names, columns)
            yield from table.select(columns).to_batches()
            return
        with pa_parquet.ParquetFile(path, read_dictionary=["symbol", "timeframe"]) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            yield from file.iter_batches(_BATCH_ROWS, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"the recording {path} cannot be read as {kind}: {error}") from error


def _check_columns(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise ConfigurationError(
            f"the recording {path} has the columns {', '.join(found)}; {', '.join(missing)} missing: expected are "
            f"{', '.join(expected)}"
        )


_Piece = tuple[npt.NDArray[np.int64], Floats]


def _candles(path: Path) -> list[tuple[str, Series]]:
    pieces: dict[tuple[str, str], list[_Piece]] = {}
    for batch in _batches(path, COLUMNS):
        for key, piece in _split(path, batch):
            pieces.setdefault(key, []).append(piece)
    unknown = sorted({frame for _, frame in pieces} - MINUTES_OF.keys())
    if unknown:
        raise ConfigurationError(
            f"the recording {path} has the timeframes {', '.join(unknown)}; known are {', '.join(MINUTES_OF)}"
        )
    result = []
    for symbol, frame in sorted(pieces):
        parts = pieces.pop((symbol, frame))
        starts, values = np.concatenate([part[0] for part in parts]), np.hstack([part[1] for part in parts])
        if np.any(np.diff(starts) < 0):
            order = np.argsort(starts, kind="stable")
            starts, values = starts[order], values[:, order]
        result.append((symbol, _series(path, f"{symbol} {frame}", MINUTES_OF[frame], starts, values)))
    return result


def _split(path: Path, batch: pa.RecordBatch) -> Iterator[tuple[tuple[str, str], _Piece]]:
    """The batch's candles by symbol and timeframe, in their order."""
    try:
        symbols, frames = (_texts(batch[name]) for name in ("symbol", "timeframe"))
        starts = batch["start_ms"].cast(pa.int64())
        values = np.stack([batch[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in VALUES])
    except pa.ArrowException as error:
        raise ConfigurationError(f"the recording {path} holds columns of a wrong type: {error}") from error
    if symbols.null_count or frames.null_count or starts.null_count:
        raise ConfigurationError(f"the recording {path} has rows without symbol, timeframe or start_ms")
    keys = symbols.indices.to_numpy().astype(np.int64) * len(frames.dictionary) + frames.indices.to_numpy()
    order = None if np.all(keys[1:] >= keys[:-1]) else np.argsort(keys, kind="stable")
    keys = keys if order is None else keys[order]
    bounds = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)] if len(keys) else []
    times = starts.to_numpy()
    for begin, end in pairwise(bounds):
        symbol, frame = divmod(int(keys[begin]), len(frames.dictionary))
        rows = slice(begin, end) if order is None else order[begin:end]
        yield (
            (str(symbols.dictionary[symbol]), str(frames.dictionary[frame])),
            (times[rows].copy(), values[:, rows].copy()),
        )


def _texts(column: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(column.type):
        return column
    return column.cast(pa.string()).dictionary_encode()


def _series(path: Path, name: str, minutes: int, starts: npt.NDArray[np.int64], values: Floats) -> Series:
    def refuse(bad: npt.NDArray[np.bool_], what: str) -> None:
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            numbers = ", ".join(f"{label} {value:.12g}" for label, value in zip(VALUES, values[:, first], strict=True))
            raise ConfigurationError(
                f"the recording {path} has {int(bad.sum())} candles of {name} {what}, the first at "
                f"{iso(int(starts[first]))}: {numbers}"
            )

    refuse(starts % (minutes * MINUTE_MS) != 0, "that do not start on their timeframe")
    again = np.append(False, np.diff(starts) == 0)
    same = again & np.append(False, np.all(values[:, 1:] == values[:, :-1], axis=0))
    refuse(np.logical_and(again, ~same), "twice with different values")
    opens, highs, lows, closes, volume, turnover = values
    refuse(~np.all(np.isfinite(values), axis=0), "without a number")
    refuse(lows <= 0, "at a price of zero or below")
    refuse((highs < np.maximum(opens, closes)) | (lows > np.minimum(opens, closes)), "outside their own range")
    refuse((volume < 0) | (turnover < 0), "with a negative volume or turnover")
    return Series(minutes, starts[~same] // MINUTE_MS, values[:, ~same], path.name)


def _funding(path: Path, symbols: Iterable[str]) -> dict[str, Funding]:
    try:
        table = pa_parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"the funding in {path} cannot be read as Parquet: {error}") from error
    _check_columns(path, table.column_names, _FUNDING_COLUMNS)
    table = table.filter(pc.is_in(table["symbol"], pa.array(sorted(symbols), type=table["symbol"].type)))
    venue = np.zeros(len(table), dtype=bool)
    if "exchange" in table.column_names:
        venue = pc.equal(table["exchange"], _VENUE).to_numpy(zero_copy_only=False).astype(bool)
    names = np.array(table["symbol"].to_pylist(), dtype=object)
    times = table["funding_ms"].cast(pa.int64()).to_numpy() // MINUTE_MS * MINUTE_MS
    rates = table["funding_rate"].cast(pa.float64()).to_numpy()
    result = {}
    for symbol in set(names.tolist()):
        rows = np.flatnonzero(names == symbol)
        rows = rows[np.lexsort((~venue[rows], times[rows]))]
        _, first = np.unique(times[rows], return_index=True)
        result[str(symbol)] = Funding(times[rows][first], rates[rows][first])
    return result


def _instruments(path: Path, symbols: Iterable[str]) -> dict[str, Rules]:
    types = dict.fromkeys(("symbol", *_RULES), pa.string()) | dict(zip(_END, (pa.int64(), pa.float64()), strict=True))
    try:
        table = pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=types))
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"the instruments in {path} cannot be read: {error}") from error
    missing = [name for name in ("symbol", *_RULES) if name not in table.column_names]
    if missing:
        raise ConfigurationError(f"the instruments in {path} have no column {', '.join(missing)}")
    wanted = set(symbols)
    told = [name for name in _END if name in table.column_names]
    rows = table.select(["symbol", *_RULES, *told]).to_pylist()
    return {
        row["symbol"]: Rules(*(row[name] for name in _RULES), *(row.get(name) or None for name in _END))
        for row in rows
        if row["symbol"] in wanted
    }
