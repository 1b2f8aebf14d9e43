"""Hashes of windows of candles or funding: equal for equal content, however it was fetched. No reading here.

They tell versions of data apart; they are no defence against forgery. A row's hash mixes the bits of its columns, and a
window's hash is made of the sum of its rows' hashes. So any number of windows over the same rows costs one pass;
otherwise a month of hourly windows would hash each minute a hundred times.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from trading_assets.core.candles import Candles, Funding, IntArray
from trading_assets.core.strategy_data import StrategyData

_Bits = npt.NDArray[np.uint64]

# Odd constants of MurmurHash3's and xxHash's finalizers.
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_COLUMN = np.uint64(0x9E3779B185EBCA87)
_SHIFT = np.uint64(32)


def window_hashes(rows: Candles | Funding, low: IntArray, high: IntArray) -> list[str]:
    """16 hexadecimal digits for each window rows[low:high], of the bytes of every column in it.

    Args:
        low, high: shape (n,), 0 <= low <= high <= len(rows).
    """
    mixed = np.full(len(rows), _COLUMN, dtype=np.uint64)
    salt = 0
    for field in fields(rows):
        value: Any = getattr(rows, field.name)
        if isinstance(value, str):
            salt = zlib.crc32(value.encode(), salt)
        else:
            mixed = _mix((mixed * _COLUMN) ^ np.ascontiguousarray(value).view(np.uint64))
    sums = np.zeros(len(rows) + 1, dtype=np.uint64)
    np.cumsum(mixed, out=sums[1:])
    counts = (high - low).astype(np.uint64)
    hashes = _mix((sums[high] - sums[low]) ^ _mix(counts * _COLUMN + np.uint64(salt)))
    return [f"{value:016x}" for value in hashes.tolist()]


def rows_hash(hashes: Iterable[str]) -> str:
    """16 hexadecimal digits for the content hashes of several windows, in their order."""
    return hashlib.blake2b("".join(hashes).encode(), digest_size=8).hexdigest()


def series_read(data: StrategyData, btc: str) -> Mapping[str, Mapping[str, int | str]]:
    """Bars, first and last open time and content hash of each series of candles in some data, by `timeframe symbol`."""
    held = {
        (data.timeframe, data.symbol): data.candles,
        **{(timeframe, data.symbol): candles for timeframe, candles in data.other.items()},
        **{(timeframe, btc): candles for timeframe, candles in data.btc.items()},
    }
    return {f"{timeframe.value} {symbol}": _summary(candles) for (timeframe, symbol), candles in held.items()}


def _summary(candles: Candles) -> Mapping[str, int | str]:
    bars = len(candles)
    (content_hash,) = window_hashes(candles, np.array([0]), np.array([bars]))
    ends = {"first_ms": int(candles.start_ms[0]), "last_ms": int(candles.start_ms[-1])} if bars else {}
    return {"bars": bars, **ends, "content_hash": content_hash}


def _mix(bits: _Bits) -> _Bits:
    """A bijection of 64 bits in which every bit of the input changes about half of the output."""
    bits = (bits ^ (bits >> _SHIFT)) * _FIRST
    bits = (bits ^ (bits >> _SHIFT)) * _SECOND
    return np.asarray(bits ^ (bits >> _SHIFT), dtype=np.uint64)
