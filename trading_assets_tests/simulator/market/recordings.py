"""Small recordings written by the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from trading_assets.core.timeframes import MINUTE_MS
from trading_assets.simulator.market.recording import MINUTES_OF

T0 = 1_760_054_400_000  # 2025-10-10T00:00:00Z
VALUES = ["open", "high", "low", "close", "volume", "turnover"]


def walk(
    timeframe: str, count: int, *, symbol: str = "ABCUSDT", seed: int = 1, start_ms: int = T0, jump: float = 0.01
) -> pd.DataFrame:
    """A random walk on a tick of 0.0005 with gaps between closes and opens, volumes on a step of 0.1."""
    random = np.random.default_rng(seed)
    closes = np.maximum(np.rint(2000 * 1.5 * np.exp(np.cumsum(random.normal(0, jump, count)))), 100)
    opens = np.maximum(np.append(3000, closes[:-1]) + random.integers(-2, 3, count), 1)
    highs = np.maximum(opens, closes) + random.integers(0, 30, count)
    lows = np.minimum(opens, closes) - random.integers(0, 30, count)
    volumes = random.integers(3, 90_000, count)
    table = pd.DataFrame(
        {
            "symbol": symbol,
            "timeframe": timeframe,
            "start_ms": start_ms + np.arange(count) * MINUTES_OF[timeframe] * MINUTE_MS,
            "open": opens / 2000,
            "high": highs / 2000,
            "low": lows / 2000,
            "close": closes / 2000,
            "volume": volumes / 10,
        }
    )
    return table.assign(turnover=(table["volume"] * (table["high"] + table["low"]) / 2).round(4))


def coarser(table: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """The same trades in candles of `timeframe`."""
    step = MINUTES_OF[timeframe] * MINUTE_MS
    grouped = table.groupby(["symbol", table["start_ms"] // step * step])
    columns = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "turnover": "sum"}
    made = grouped.agg(columns).round(6).reset_index()
    return made.assign(timeframe=timeframe)[table.columns]


def write(folder: Path, name: str, *tables: pd.DataFrame) -> Path:
    table = pd.concat(tables)
    path = folder / name
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return path


def matrix(table: pd.DataFrame, columns: Sequence[str] = ("start_ms", *VALUES)) -> np.ndarray:
    return table[list(columns)].to_numpy(dtype=np.float64)
