"""Which column of a table is which, by its heading or its place. No reading here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.history.rows import FileFault, microseconds

_NAMES: Mapping[str, tuple[str, ...]] = {
    "time": (
        *("startms", "opentime", "starttime", "unix", "unixtimestamp", "timestamp", "time", "calctime", "fundingms"),
        *("fundingratetimestamp", "fundingtime", "transacttime", "t", "start", "openat", "datetime", "date"),
    ),
    "symbol": ("symbol", "pair", "market", "ticker"),
    "timeframe": ("timeframe", "interval", "resolution"),
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "h"),
    "low": ("low", "lowprice", "l"),
    "close": ("close", "closeprice", "c"),
    "price": ("price", "p"),
    "volume": ("volume", "vol", "v", "volumebase", "basevolume", "size", "qty", "quantity", "amount", "q"),
    "turnover": (
        *("turnover", "quotevolume", "quoteassetvolume", "volumequote", "quotevol", "volumeusdt", "volumeusd"),
        "volumeusdc",
    ),
    "rate": ("fundingrate", "lastfundingrate", "rate"),
}

BY_PLACE = {
    "klines": ("time", "open", "high", "low", "close", "volume"),
    "klines-turnover": ("time", "open", "high", "low", "close", "volume", "turnover"),
    "binance-klines": ("time", "open", "high", "low", "close", "volume", "", "turnover"),
    "binance-agg-trades": ("", "price", "volume", "", "", "time"),
    "binance-trades": ("", "price", "volume", "", "time"),
    "binance-funding": ("time", "", "rate"),
}
"""Roles of the columns of tables without headings; further ones are not read."""


def roles(headings: Sequence[str]) -> dict[str, str]:
    """The heading of each role that is there: `time`, `open`, ..., `price`, `rate`.

    A heading such as `Volume BTC` is the volume, where another one tells the turnover in quote coin.
    """
    plain = {re.sub(r"[^a-z0-9]", "", heading.lower()): heading for heading in reversed(headings)}
    found = {}
    for role, names in _NAMES.items():
        heading = next((plain[name] for name in names if name in plain), None)
        if heading is not None:
            found[role] = heading
    if "volume" not in found:
        others = [plain[name] for name in plain if name.startswith("volume") and plain[name] != found.get("turnover")]
        if len(others) == 1:
            found["volume"] = others[0]
    return found


def floats(column: pa.ChunkedArray, name: str) -> FloatArray:
    """A column as float64; empty cells are NaN.

    Raises:
        FileFault: it is no column of numbers.
    """
    try:
        return column.cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise FileFault(f"the column {name} is no column of numbers: {str(error)[:120]}") from error


def times_us(column: pa.ChunkedArray, name: str, offset_h: float = 0.0) -> IntArray:
    """A column of times as UTC us: numbers since 1970, times of the file's own kind, or text.

    Args:
        offset_h: by how many hours the file's clock is before UTC.

    Raises:
        FileFault: a time is missing, or is none.
    """
    if column.null_count:
        raise FileFault(f"{column.null_count} rows have no time in the column {name}: it is damaged, or no such table")
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        found = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.int64()).to_numpy()
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found = microseconds(column.to_numpy())
    else:
        found = _of_text(column, name)
    return np.asarray(found - round(offset_h * 3_600_000_000), dtype=np.int64)


def _of_text(column: pa.ChunkedArray, name: str) -> IntArray:
    text = pc.replace_substring_regex(column.cast(pa.string()), r"^(\d{4})\.(\d{2})\.(\d{2})", r"\1-\2-\3")
    try:
        parsed = pd.to_datetime(text.to_pandas(), utc=True, format="ISO8601")
    except (ValueError, OverflowError) as error:
        raise FileFault(
            f"the column {name} has times such as {str(column[0])[:40]!r}; expected numbers since 1970 or "
            "2024-01-31 23:59:00"
        ) from error
    return np.asarray(parsed.astype("datetime64[us, UTC]").astype(np.int64), dtype=np.int64)


def by_key(keys: pa.ChunkedArray) -> list[tuple[str, IntArray]]:
    """Row numbers of each different key, in their order.

    Raises:
        FileFault: a row has no key.
    """
    coded = keys.cast(pa.string()).combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    if coded.null_count:
        raise FileFault(f"{coded.null_count} rows have no symbol or timeframe: it is damaged, or no such table")
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    order = np.arange(len(codes)) if np.all(codes[1:] >= codes[:-1]) else np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return [
        (str(names[codes[order[low]]]), order[low:high])
        for low, high in zip(bounds, [*bounds[1:], len(order)], strict=True)
    ]
