"""A table of any known layout into candles, funding or contracts. Which layout it is, is decided here."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.timeframes import Timeframe
from trading_assets.history import contracts
from trading_assets.history.columns import BY_PLACE, by_key, floats, roles, times_us
from trading_assets.history.files import Member, faults_of
from trading_assets.history.names import Named, read_name, require_symbol
from trading_assets.history.rows import (
    CandleTable,
    FileFault,
    FundingTable,
    Parsed,
    Table,
    milliseconds,
    symbol_of,
    turnover_of,
)
from trading_assets.history.trades import MinuteCandles

MT4_OFFSET_H = 3.0
"""The clock of Bybit's candles for MetaTrader is three hours before UTC."""

_BLOCK_BYTES = 16 * 1024 * 1024
_SPOT = "prices of the spot market, not of the perpetual"
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class ImportOptions:
    """What a person says of files that do not say it themselves.

    Attributes:
        offset_h: by how many hours their clock is before UTC.
    """

    symbol: str | None = None
    timeframe: Timeframe | None = None
    offset_h: float | None = None


def parse(member: Member, wanted: ImportOptions) -> Parsed:
    """All that a table holds.

    Raises:
        FileFault: it cannot be read, or its layout is not known.
    """
    named = read_name(member.name)
    with faults_of(member.path):
        if named.layout == "freqtrade-mark":
            raise FileFault("mark, index or premium prices: nothing here reads them; leave the file out")
        if member.suffix == ".json":
            return _json(member, named, wanted)
        if member.suffix in (".feather", ".parquet"):
            return _frame(member, _arrow(member), named, wanted)
        return _csv(member, named, wanted)


# CSV


@dataclass(frozen=True)
class _Csv:
    """How a CSV file is laid out; `first` and `second` are its first lines that are not blank."""

    delimiter: str
    decimal: str
    skip: int
    headings: tuple[str, ...] | None
    first: tuple[str, ...]
    second: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return list(self.headings) if self.headings is not None else [f"f{at}" for at in range(len(self.first))]

    def pieces(self, file: Any, found: Mapping[str, str]) -> Iterator[pa.Table]:
        """The table piece by piece, with the columns of known roles alone, by their role.

        Types are said beforehand: a column may have whole numbers in the first piece and others in the next.
        """
        names = self.names
        places = {role: names.index(heading) for role, heading in found.items()}
        kinds = {f"c{at}": self._kind(role, at) for role, at in places.items()}
        stream = pa_csv.open_csv(
            file,
            read_options=pa_csv.ReadOptions(
                skip_rows=self.skip + (self.headings is not None),
                column_names=[f"c{at}" for at in range(len(names))],
                block_size=_BLOCK_BYTES,
            ),
            parse_options=pa_csv.ParseOptions(delimiter=self.delimiter),
            convert_options=pa_csv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), decimal_point=self.decimal
            ),
        )
        for batch in stream:
            yield pa.Table.from_batches([batch]).rename_columns(list(places))

    def _kind(self, role: str, at: int) -> pa.DataType:
        if role in ("symbol", "timeframe"):
            return pa.string()
        if role != "time":
            return pa.float64()
        first = self.second[at] if self.headings is not None and at < len(self.second) else self.first[at]
        if re.fullmatch(r"-?\d+", first):
            return pa.int64()
        return pa.float64() if _is_number(first) else pa.string()


def _layout(member: Member) -> _Csv:
    try:
        # The head may end within a letter.
        lines = codecs.getincrementaldecoder("utf-8-sig")().decode(member.head).splitlines()
    except UnicodeDecodeError:
        raise FileFault("it is no text; expected CSV in UTF-8") from None
    skip = 0
    while skip < min(len(lines), 3) and not any(mark in lines[skip] for mark in ",;\t"):
        skip += 1  # an address above the headings, as CryptoDataDownload has it
    if skip >= len(lines):
        raise FileFault("it is empty, or has no columns; expected a table with commas")
    # Commas may stand within numbers: what else divides cells goes before them.
    line = lines[skip]
    delimiter = next((mark for mark in ";\t" if line.count(mark) > 1), max(",;\t", key=line.count))
    rows = [line for line in lines[skip:] if line.strip()]
    first, second = (tuple(cell.strip().strip('"') for cell in line.split(delimiter)) for line in (*rows[:2], "")[:2])
    # Where commas divide no cells, they may divide whole numbers from their fractions.
    decimal = "," if delimiter != "," and any(re.fullmatch(r"-?\d+,\d+", cell) for cell in (*first, *second)) else "."
    is_heading = len(first) > 1 and not any(_is_number(cell.replace(decimal, ".")) for cell in first[1:])
    if is_heading and len(rows) < 2:
        raise FileFault("it has headings and no rows")
    return _Csv(delimiter, decimal, skip, first if is_heading else None, first, second)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv(member: Member, named: Named, wanted: ImportOptions) -> Parsed:
    layout = _layout(member)
    found = roles(layout.headings) if layout.headings is not None else _by_place(layout, named)
    kind, sample = _kind(found), _sample(member, layout)
    if kind == "contracts":
        with member.open() as file:
            rows = pa_csv.read_csv(io.BytesIO(file.read())).to_pylist()
        return Parsed("list of contracts", contracts=contracts.from_rows(rows), sample=sample)
    with member.open() as file:
        try:
            tables = layout.pieces(file, found)
            if kind == "trades":
                return Parsed(named.layout or "CSV of trades", _trades(tables, found, named, wanted), sample=sample)
            pieces = list(tables)
            if not pieces:
                raise FileFault("it has no rows")
            whole = pa.concat_tables(pieces)
        except pa.ArrowException as error:
            raise FileFault(f"damaged, or no such table: {str(error)[:160]}") from error
    name = named.layout or ("CSV" if layout.headings is not None else "CSV without headings")
    if kind == "funding":
        return Parsed(name, _funding(whole, found, named, wanted), sample=sample)
    return Parsed(name, _candles(whole, found, named, wanted), sample=sample)


def _sample(member: Member, layout: _Csv) -> str:
    lines = member.head.decode("utf-8-sig", errors="replace").splitlines()
    return " | ".join(lines[layout.skip : layout.skip + 2])[:200]


def _by_place(layout: _Csv, named: Named) -> dict[str, str]:
    width, first = len(layout.first), layout.first
    if named.layout == "binance-trades":
        # The sixth column of an aggregate is its time; of a trade it says who was the maker.
        is_aggregate = width >= 6 and _is_number(first[5])
        key = "binance-agg-trades" if is_aggregate else "binance-trades"
    elif named.layout == "binance-funding":
        key = "binance-funding"
    elif width >= 11:
        key = "binance-klines"
    elif width in (6, 7, 8) and all(_is_number(cell.replace(layout.decimal, ".")) for cell in first[1:6]):
        key = "klines-turnover" if width == 7 else "klines"
    else:
        raise FileFault(
            f"{width} columns without headings ({', '.join(first)[:80]}): expected time, open, high, low, close, "
            "volume and perhaps turnover, or headings above them"
        )
    return {role: f"f{at}" for at, role in enumerate(BY_PLACE[key]) if role}


def _kind(found: dict[str, str]) -> str:
    if "time" in found and all(name in found for name in (*_PRICES, "volume")):
        return "candles"
    if "time" in found and "rate" in found:
        return "funding"
    if "time" in found and "price" in found and "volume" in found:
        return "trades"
    if "symbol" in found and "time" not in found:
        return "contracts"
    raise FileFault(
        f"its columns are not known (understood: {', '.join(found) or 'none'}); expected time, open, high, low, close, "
        "volume; or time, price, size; or time, funding_rate"
    )


# Tables


def _candles(table: pa.Table, found: dict[str, str], named: Named, wanted: ImportOptions) -> list[Table]:
    """Candles of a table whose columns have the names of their roles."""
    offset = wanted.offset_h
    if offset is None:
        offset = MT4_OFFSET_H if named.layout == "bybit-mt4" else 0.0
    columns: dict[str, np.ndarray] = {"start_ms": times_us(table["time"], found["time"], offset) // 1000}
    for name in (*_PRICES, "volume"):
        columns[name] = floats(table[name], found[name])
    estimated = "turnover" not in table.column_names
    columns["turnover"] = turnover_of(columns) if estimated else floats(table["turnover"], found["turnover"])
    result: list[Table] = []
    for symbol, frame, rows in _series(table, named, wanted):
        part = columns if rows is None else {name: column[rows] for name, column in columns.items()}
        timeframe = wanted.timeframe or Named(None, None, frame or named.frame).timeframe
        timeframe = timeframe or _commonest_step(part["start_ms"])
        result.append(CandleTable(symbol, timeframe, part, estimated, notes=_notes(named, table)))
    return result


def _series(table: pa.Table, named: Named, wanted: ImportOptions) -> Iterator[tuple[str, str | None, IntArray | None]]:
    """Symbol, timeframe (as it is named) and rows of each series of a table; all rows where there is one."""
    of_symbol = table["symbol"] if "symbol" in table.column_names and wanted.symbol is None else None
    of_frame = table["timeframe"] if "timeframe" in table.column_names and wanted.timeframe is None else None
    if of_symbol is None and of_frame is None:
        yield require_symbol(wanted.symbol, named), None, None
        return
    empty = pa.chunked_array([pa.repeat("", len(table))])
    keys = pc.binary_join_element_wise(
        *((empty if one is None else one).cast(pa.string()) for one in (of_symbol, of_frame)), "\t"
    )
    for key, rows in by_key(keys):
        name, _, frame = key.partition("\t")
        yield symbol_of(name) if name else require_symbol(wanted.symbol, named), frame or None, rows


def _notes(named: Named, table: pa.Table) -> tuple[str, ...]:
    if named.layout == "binance-klines" and pa.types.is_integer(table["time"].type) and len(table):
        # Since 2025 the files of Binance's spot market have microseconds; those of futures never.
        return (_SPOT,) if int(table["time"][0].as_py()) > 10**14 else ()
    return ()


def _commonest_step(starts: IntArray) -> Timeframe:
    """The timeframe that most candles are apart.

    Raises:
        FileFault: there are too few candles, or it is no known timeframe.
    """
    between = np.abs(np.diff(starts))
    between = between[between > 0]
    if not len(between):
        raise FileFault("one candle alone does not tell its timeframe; name it with --timeframe 1m")
    steps, counts = np.unique(between, return_counts=True)
    step = int(steps[counts.argmax()])
    found = next((one for one in Timeframe if one.ms == step), None)
    if found is None:
        raise FileFault(
            f"most of its candles are {step / 60_000:g} minutes apart, which is no known timeframe: take files of 1m "
            "candles, or name what it is with --timeframe"
        )
    return found


def _funding(table: pa.Table, found: dict[str, str], named: Named, wanted: ImportOptions) -> list[Table]:
    # Stamps of payments are a few milliseconds late in some archives.
    times = times_us(table["time"], found["time"], wanted.offset_h or 0.0) // 60_000_000 * 60_000
    rates = floats(table["rate"], found["rate"])
    if "symbol" in table.column_names and wanted.symbol is None:
        return [FundingTable(symbol_of(name), times[rows], rates[rows]) for name, rows in by_key(table["symbol"])]
    return [FundingTable(require_symbol(wanted.symbol, named), times, rates)]


def _trades(pieces: Iterator[pa.Table], found: dict[str, str], named: Named, wanted: ImportOptions) -> list[Table]:
    """Minutes of trades. The minutes before a file's first trade are the importer's to fill."""
    if named.layout == "bybit-spot-trades":
        raise FileFault("trades of the spot market; expected those of a perpetual (public.bybit.com/trading)")
    minutes: dict[str, MinuteCandles] = {}
    for piece in pieces:
        times = times_us(piece["time"], found["time"], wanted.offset_h or 0.0)
        prices, sizes = floats(piece["price"], found["price"]), floats(piece["volume"], found["volume"])
        bad = int((~(np.isfinite(prices) & np.isfinite(sizes) & (prices > 0) & (sizes >= 0))).sum())
        if bad:
            raise FileFault(f"{bad} trades have no price above zero, or no size: it is damaged, or no table of trades")
        if "symbol" in piece.column_names and wanted.symbol is None:
            for name, rows in by_key(piece["symbol"]):
                of = minutes.setdefault(symbol_of(name), MinuteCandles())
                of.add(times[rows], prices[rows], sizes[rows])
        else:
            minutes.setdefault(require_symbol(wanted.symbol, named), MinuteCandles()).add(times, prices, sizes)
    result: list[Table] = []
    for symbol, of in minutes.items():
        columns, filled = of.finish()
        result.append(
            CandleTable(symbol, Timeframe.M1, columns, filled=filled, notes=(f"{of.trades:,} trades",), of_trades=True)
        )
    return result


# Other kinds of files


def _arrow(member: Member) -> pa.Table:
    content = pa.BufferReader(member.read())
    try:
        if member.suffix == ".parquet":
            return pa_parquet.ParquetFile(content).read()
        return pa_feather.read_table(content)
    except (pa.ArrowException, OSError) as error:
        raise FileFault(f"damaged, or no {member.suffix[1:]} file: {str(error)[:160]}") from error


def _frame(member: Member, table: pa.Table, named: Named, wanted: ImportOptions) -> Parsed:
    found = roles(table.column_names)
    sample = ", ".join(table.column_names)[:200]
    if named.layout == "freqtrade-funding" and "rate" not in found and "open" in found:
        found["rate"] = found["open"]  # as older versions kept it
    kind = "funding" if "rate" in found and "time" in found else _kind(found)
    if kind == "contracts":
        return Parsed("list of contracts", contracts=contracts.from_rows(table.to_pylist()), sample=sample)
    by_role = pa.table({role: table[heading] for role, heading in found.items()})
    name = named.layout or member.suffix[1:]
    make = {"funding": _funding, "candles": _candles}.get(kind)
    if make is None:
        return Parsed(name, _trades(iter([by_role]), found, named, wanted), sample=sample)
    return Parsed(name, make(by_role, found, named, wanted), sample=sample)


def _json(member: Member, named: Named, wanted: ImportOptions) -> Parsed:
    text = member.read()
    try:
        found = json.loads(text)
    except ValueError as error:
        raise FileFault(f"damaged, or no JSON: {error}") from error
    sample = text[:120].decode(errors="replace")
    result = found.get("result", found) if isinstance(found, dict) else found
    rows = result.get("list") if isinstance(result, dict) else result
    if not isinstance(rows, list) or not rows:
        raise FileFault("a JSON file without rows; expected a list of candles, or an answer of Bybit with result.list")
    if isinstance(rows[0], dict):
        if "fundingRate" in rows[0] or "funding_rate" in rows[0]:
            table = pa.table({name: [str(row.get(name, "")) for row in rows] for name in rows[0]})
            roles_ = roles(table.column_names)
            by_role = pa.table({role: _numbers(role, table[heading]) for role, heading in roles_.items()})
            return Parsed("Bybit REST funding", _funding(by_role, roles_, named, wanted), sample=sample)
        return Parsed("list of contracts", contracts=contracts.from_rows(rows), sample=sample)
    symbol = result.get("symbol") if isinstance(result, dict) else None
    name = "Bybit REST candles" if symbol else (named.layout or "JSON")
    if named.layout == "freqtrade-trades":
        return Parsed(name, _json_trades(rows, named, wanted), sample=sample)
    return Parsed(name, _json_candles(rows, symbol, named, wanted), sample=sample)


def _numbers(role: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column if role == "symbol" else column.cast(pa.int64() if role == "time" else pa.float64())
    except pa.ArrowException as error:
        raise FileFault(f"{role} is no number: {str(error)[:120]}") from error


def _matrix(rows: list[Any], least: int) -> FloatArray:
    try:
        matrix = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FileFault(f"rows of different lengths, or no numbers in them: {str(error)[:80]}") from error
    if matrix.ndim != 2 or matrix.shape[1] < least:
        raise FileFault(f"expected rows of {least} numbers, found the shape {matrix.shape}")
    return matrix


def _json_candles(rows: list[Any], symbol: str | None, named: Named, wanted: ImportOptions) -> list[Table]:
    if named.layout == "freqtrade-funding":
        matrix = _matrix(rows, 2)
        times = milliseconds(matrix[:, 0]) // 60_000 * 60_000
        return [FundingTable(require_symbol(wanted.symbol, named), times, matrix[:, 1])]
    matrix = _matrix(rows, 6)
    columns: dict[str, np.ndarray] = {"start_ms": milliseconds(matrix[:, 0])}
    columns |= {name: matrix[:, at] for at, name in enumerate((*_PRICES, "volume"), start=1)}
    estimated = matrix.shape[1] < 7
    columns["turnover"] = turnover_of(columns) if estimated else matrix[:, 6]
    found = symbol_of(symbol) if symbol and wanted.symbol is None else require_symbol(wanted.symbol, named)
    timeframe = wanted.timeframe or named.timeframe or _commonest_step(columns["start_ms"])
    return [CandleTable(found, timeframe, columns, estimated)]


def _json_trades(rows: list[Any], named: Named, wanted: ImportOptions) -> list[Table]:
    """freqtrade's: timestamp, id, type, side, price, amount, cost."""
    table = pa.table(
        {"time": [row[0] for row in rows], "price": [row[4] for row in rows], "volume": [row[5] for row in rows]}
    )
    found = {"time": "timestamp", "price": "price", "volume": "amount"}
    return _trades(iter([table]), found, named, wanted)
