"""Files of history in the documented layout of each archive, made of the same candles or trades."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import MINUTE_MS, Timeframe, to_ms
from trading_assets.history.importing import Options, Summary, import_files
from trading_assets.history.library import Library

DAY = to_ms(datetime(2024, 3, 1, tzinfo=UTC))
WALL = to_ms(datetime(2026, 1, 1, tzinfo=UTC))
NAMES = ("open", "high", "low", "close", "volume", "turnover")


def candles(count: int = 180, first_ms: int = DAY, timeframe: Timeframe = Timeframe.M1, seed: int = 1) -> Candles:
    """A random walk on a tick of 0.5 whose numbers are exact in text, without gaps."""
    rng = np.random.default_rng(seed)
    close = 1000 + np.cumsum(rng.integers(-3, 4, count)) * 0.5
    opens = np.append(1000.0, close[:-1])
    high, low = np.maximum(opens, close) + 0.5, np.minimum(opens, close) - 0.5
    volume = rng.integers(1, 4000, count) / 8
    starts = first_ms + np.arange(count) * timeframe.ms
    return Candles(timeframe, starts, opens, high, low, close, volume, volume * (high + low + close) / 3)


def rows_of(held: Candles, *, turnover: bool = True) -> list[list[float]]:
    """Start and values of each candle."""
    names = NAMES if turnover else NAMES[:5]
    return [[int(start), *(float(getattr(held, name)[at]) for name in names)] for at, start in enumerate(held.start_ms)]


def lines(rows: Sequence[Sequence[object]], heading: str | None = None) -> bytes:
    text = "".join(",".join(str(cell) for cell in row) + "\n" for row in rows)
    return ((heading + "\n" if heading else "") + text).encode()


def gz(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


def zipped(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.stem + ".csv", content)
    return path


def plain(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def imported(folder: Path, *paths: Path, options: Options | None = None, library: Library | None = None) -> Summary:
    """What an import into the library below a folder came to."""
    into = library or Library(folder / "library")
    return import_files(into, paths or [folder / "files"], options or Options(), wall_ms=lambda: WALL)


# Bybit


def bybit_trades(path: Path, trades: Sequence[tuple[float, str, float, float]], *, rpi: bool = False) -> Path:
    """`public.bybit.com/trading`: seconds with four decimals, newest first in some years."""
    heading = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    rows = [
        [
            f"{at:.4f}",
            symbol,
            "Buy",
            size,
            price,
            "ZeroPlusTick",
            f"id-{number}",
            price * size * 1e8,
            size,
            price * size,
        ]
        + ([0] if rpi else [])
        for number, (at, symbol, price, size) in enumerate(trades)
    ]
    return gz(path, lines(rows, heading + (",RPI" if rpi else "")))


def bybit_mt4(folder: Path, held: Candles) -> Path:
    """`kline_for_metatrader4`: no heading, a clock three hours ahead of UTC, no turnover."""
    rows = []
    for start, *values in rows_of(held, turnover=False):
        moment = datetime.fromtimestamp(start / 1000 + 3 * 3600, tz=UTC)
        rows.append([f"{moment:%Y.%m.%d %H:%M}", *values])
    return gz(folder / "BTCUSDT_1_2024-03-01_2024-03-31.csv.gz", lines(rows))


def bybit_rest(folder: Path, held: Candles) -> Path:
    """An answer of `/v5/market/kline`: texts, the newest candle first."""
    found = [[str(cell) for cell in row] for row in reversed(rows_of(held))]
    answer = {"retCode": 0, "result": {"category": "linear", "symbol": "BTCUSDT", "list": found}}
    return plain(folder / "kline.json", json.dumps(answer).encode())


# Binance


def binance_klines(
    folder: Path, held: Candles, *, name: str = "BTCUSDT-1m-2024-03.zip", heading: bool = True, unit: int = 1
) -> Path:
    """`data.binance.vision`: twelve columns; a heading since 2023, us on the spot market since 2025."""
    rows = [
        [start * unit, *values[:5], (start + MINUTE_MS - 1) * unit, values[5], 9, values[4] / 2, values[5] / 2, 0]
        for start, *values in rows_of(held)
    ]
    names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume"
    return zipped(folder / name, lines(rows, f"{names},ignore" if heading else None))


def with_checksum(path: Path, *, right: bool = True) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if right else "0" * 64
    path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")
    return path


# freqtrade


def freqtrade_frame(held: Candles) -> pd.DataFrame:
    columns = {name: getattr(held, name) for name in NAMES[:5]}
    return pd.DataFrame({"date": pd.to_datetime(held.start_ms, unit="ms", utc=True), **columns})


def freqtrade(folder: Path, held: Candles, suffix: str) -> Path:
    """`DATADIR/futures`: feather, parquet, JSON and JSON in gzip, without turnover."""
    path = folder / f"BTC_USDT_USDT-1m-futures.{suffix}"
    if suffix == "feather":
        freqtrade_frame(held).to_feather(path)
    elif suffix == "parquet":
        freqtrade_frame(held).to_parquet(path)
    else:
        content = json.dumps(rows_of(held, turnover=False)).encode()
        path.write_bytes(gzip.compress(content) if suffix == "json.gz" else content)
    return path


# CSV


def csv(folder: Path, held: Candles, shape: str) -> Path:
    """CSV as other programs write it."""
    rows = rows_of(held)
    if shape == "ccxt":
        return plain(folder / "BTCUSDT-1m.csv", lines([row[:6] for row in rows]))
    if shape == "seconds":
        return plain(folder / "BTC_USDT_1m.csv", lines([[row[0] // 1000, *row[1:6]] for row in rows], "time,o,h,l,c,v"))
    if shape == "text":
        made = [[f"{datetime.fromtimestamp(row[0] / 1000, tz=UTC):%Y-%m-%d %H:%M:%S}", *row[1:6]] for row in rows]
        return plain(folder / "btc-usdt.csv", lines(made, "Date,Open,High,Low,Close,Volume"))
    if shape == "microseconds":
        return plain(folder / "BTCUSDT_1m.csv", lines([[row[0] * 1000, *row[1:]] for row in rows]))
    if shape == "cryptodatadownload":
        made = [
            [row[0], f"{datetime.fromtimestamp(row[0] / 1000, tz=UTC):%Y-%m-%d %H:%M:%S}", "BTC/USDT", *row[1:], 3]
            for row in reversed(rows)
        ]
        heading = "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount"
        content = b"https://www.CryptoDataDownload.com\n" + lines(made, heading)
        return plain(folder / "Binance_BTCUSDT_minute.csv", content)
    if shape == "semicolons":
        made_text = lines([row[:6] for row in rows], "timestamp,open,high,low,close,volume").replace(b",", b";")
        return plain(folder / "BTCUSDT.csv", made_text)
    raise ValueError(shape)


@dataclass(frozen=True)
class Layout:
    """A layout by name: who makes a file of it, and whether it has the turnover."""

    name: str
    make: Callable[[Path, Candles], Path]
    turnover: bool = True


LAYOUTS = [
    Layout("bybit-mt4", bybit_mt4, turnover=False),
    Layout("bybit-rest", bybit_rest),
    Layout("binance", binance_klines),
    Layout("binance-without-heading", lambda folder, held: binance_klines(folder, held, heading=False)),
    Layout("binance-us", lambda folder, held: binance_klines(folder, held, heading=False, unit=1000)),
    *(
        Layout(
            f"freqtrade-{suffix}", lambda folder, held, suffix=suffix: freqtrade(folder, held, suffix), turnover=False
        )
        for suffix in ("feather", "parquet", "json", "json.gz")
    ),
    *(
        Layout(f"csv-{shape}", lambda folder, held, shape=shape: csv(folder, held, shape), turnover=told)
        for shape, told in (
            ("ccxt", False),
            ("seconds", False),
            ("text", False),
            ("microseconds", True),
            ("cryptodatadownload", True),
            ("semicolons", False),
        )
    ),
]


def truncated(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def buffer(frame: pd.DataFrame) -> bytes:
    found = io.BytesIO()
    frame.to_parquet(found)
    return found.getvalue()
