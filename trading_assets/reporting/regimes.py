"""What trades earned by the state of the market at their entry. Each state is known at that moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.estimates import MIN_DAYS, MIN_TRADES, Estimate, floor_of, mean_by_day
from trading_assets.reporting.trades import OPEN

TREND_DAYS = 30
VOLATILITY_HOURS = 24
RANKED_DAYS = 30
"""BTC's volatility of a day is ranked among those of so many days before."""

UNKNOWN = "unknown"
_FUNDING_BACK_MS = 9 * HOUR_MS
_PART_OF_DAY = 6


@dataclass(frozen=True)
class Regime:
    """Closed trades of one state.

    Attributes:
        dimension, value: such as `BTC, 30 days`, `falls`.
        mean_r: R of a trade; the intervals of all states hold together.
        mean_bps, pnl: basis points of a position's value; USD.
    """

    dimension: str
    value: str
    mean_r: Estimate
    mean_bps: float
    pnl: float


def regimes(reader: CandleReader, trades: pd.DataFrame) -> list[Regime]:
    """Closed trades (`figures.TRADE_COLUMNS`) by BTC's trend and volatility, funding and part of the day.

    What the reader has no candles of is `unknown`.
    """
    closed = trades[trades["reason"] != OPEN]
    if closed.empty:
        return []
    entries = closed["entry_ms"].to_numpy(dtype=np.int64)
    states = {**_btc(reader, entries), "funding": _funding(reader, closed), _PART: _parts_of_day(entries)}
    groups = [
        (dimension, value, closed[found == value])
        for dimension, found in states.items()
        for value in _ORDER[dimension]
        if (found == value).any()
    ]
    judged = sum(_enough(rows) for dimension, value, rows in groups if value != UNKNOWN)
    return [
        Regime(
            dimension,
            value,
            mean_by_day(rows["r"].to_numpy(), rows["entry_ms"].to_numpy(), tests=max(judged, 1)),
            float(rows["bps"].mean()),
            float(rows["pnl"].sum()),
        )
        for dimension, value, rows in groups
    ]


def _enough(rows: pd.DataFrame) -> bool:
    return len(rows) >= MIN_TRADES and len(np.unique(floor_of(rows["entry_ms"].to_numpy()))) >= MIN_DAYS


_TREND, _VOLATILITY = f"BTC, {TREND_DAYS} days", f"BTC's volatility, {VOLATILITY_HOURS} hours"
_PART = "hour of the entry, UTC"
_ORDER: Mapping[str, tuple[str, ...]] = {
    _TREND: ("rises", "falls", UNKNOWN),
    _VOLATILITY: ("lowest third", "middle third", "highest third", UNKNOWN),
    "funding": ("longs pay", "shorts pay", "none", UNKNOWN),
    _PART: tuple(f"{hour:02d} to {hour + _PART_OF_DAY:02d}" for hour in range(0, 24, _PART_OF_DAY)),
}


def _btc(reader: CandleReader, entries: IntArray) -> dict[str, np.ndarray]:
    """BTC's trend, and its volatility among those of the days before, at the last whole hour before each entry."""
    back = max(TREND_DAYS * 24, RANKED_DAYS * 24 + VOLATILITY_HOURS)
    start_ms, end_ms = int(entries.min()) - (back + 1) * HOUR_MS, int(entries.max())
    candles = reader.read(reader.btc, Timeframe.M60, max(start_ms, 0), end_ms).closed_by(end_ms)
    trend, volatility = np.full(len(entries), UNKNOWN, dtype=object), np.full(len(entries), UNKNOWN, dtype=object)
    if not len(candles):
        return {_TREND: trend, _VOLATILITY: volatility}
    # By whole hours: a missing candle is a gap, not a shift.
    hours = pd.RangeIndex(int(candles.end_ms[0]) // HOUR_MS, int(candles.end_ms[-1]) // HOUR_MS + 1)
    close = pd.Series(candles.close, index=candles.end_ms // HOUR_MS).reindex(hours)
    change = close / close.shift(TREND_DAYS * 24) - 1
    spread = (close / close.shift(1) - 1).rolling(VOLATILITY_HOURS).std()
    rank = spread.rolling(RANKED_DAYS * 24).rank(pct=True)
    at = entries // HOUR_MS
    moved, ranked = _at(change, at), _at(rank, at)
    trend[moved > 0], trend[moved <= 0] = "rises", "falls"
    low, middle, high, _ = _ORDER[_VOLATILITY]
    volatility[ranked <= 1 / 3] = low
    volatility[(ranked > 1 / 3) & (ranked <= 2 / 3)] = middle
    volatility[ranked > 2 / 3] = high
    return {_TREND: trend, _VOLATILITY: volatility}


def _at(values: pd.Series[float], hours: IntArray) -> FloatArray:
    return np.asarray(values.reindex(hours), dtype=np.float64)


def _funding(reader: CandleReader, closed: pd.DataFrame) -> np.ndarray:
    """Who paid at the coin's last payment before each entry."""
    found = np.full(len(closed), UNKNOWN, dtype=object)
    entries = closed["entry_ms"].to_numpy(dtype=np.int64)
    for symbol in closed["symbol"].unique():
        of_coin = (closed["symbol"] == symbol).to_numpy()
        times = entries[of_coin]
        paid = reader.read_funding(str(symbol), max(int(times.min()) - _FUNDING_BACK_MS, 0), int(times.max()) + 1)
        last = np.searchsorted(paid.time_ms, times, side="right") - 1
        states = np.full(len(times), UNKNOWN, dtype=object)
        if len(paid.time_ms):
            known = (last >= 0) & (times - paid.time_ms[np.maximum(last, 0)] <= DAY_MS)
            rates = paid.rate[np.maximum(last, 0)]
            for value, holds in (("longs pay", rates > 0), ("shorts pay", rates < 0), ("none", rates == 0)):
                states[known & holds] = value
        found[of_coin] = states
    return found


def _parts_of_day(entries: IntArray) -> np.ndarray:
    part = entries % DAY_MS // (_PART_OF_DAY * HOUR_MS)
    return np.array(_ORDER[_PART], dtype=object)[part]
