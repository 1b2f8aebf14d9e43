"""Candles for strategy tests: written by hand, or random on every timeframe."""

from collections.abc import Mapping, Sequence

import numpy as np

from trading_assets.core.candles import Candles, FloatArray, Funding
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.strategies.fibonacci_bollinger import LEVEL_TIMEFRAMES

START_MS = 1_772_323_200_000
"""A midnight (UTC), so candles of every timeframe start on it."""

FUNDING_MS = 8 * HOUR_MS


def candles_of(
    timeframe: Timeframe,
    close: Sequence[float] | FloatArray,
    *,
    high: Sequence[float] | FloatArray | None = None,
    low: Sequence[float] | FloatArray | None = None,
    start_ms: int = START_MS,
) -> Candles:
    """Candles that follow each other without gaps; high and low are the close unless given."""
    close = np.asarray(close, dtype=np.float64)
    start = start_ms + timeframe.ms * np.arange(len(close), dtype=np.int64)
    top = close if high is None else np.asarray(high, dtype=np.float64)
    bottom = close if low is None else np.asarray(low, dtype=np.float64)
    return Candles(timeframe, start, close.copy(), top, bottom, close, np.ones(len(close)), close.copy())


def ending(timeframe: Timeframe, close: Sequence[float] | FloatArray, end_ms: int, **extremes: FloatArray) -> Candles:
    """The same, the last one ending at `end_ms`."""
    return candles_of(timeframe, close, start_ms=end_ms - len(close) * timeframe.ms, **extremes)


def walk(rng: np.random.Generator, timeframe: Timeframe, start_ms: int, end_ms: int, swing: float) -> Candles:
    """A random walk around 100 of the candles inside [start, end)."""
    first = -(-start_ms // timeframe.ms) * timeframe.ms
    count = max((end_ms - first) // timeframe.ms, 0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, swing, count)))
    opened = np.concatenate([[100.0], close[:-1]])[:count]
    high = np.maximum(opened, close) * (1 + rng.uniform(0, swing, count))
    low = np.minimum(opened, close) * (1 - rng.uniform(0, swing, count))
    return candles_of(timeframe, close, high=high, low=low, start_ms=first)


def random_data(seed: int, timeframe: Timeframe, bars: int) -> StrategyData:
    """Random candles of a symbol and BTC on every timeframe, and funding; the others begin now early, now late."""
    rng = np.random.default_rng(seed)
    end = START_MS + bars * timeframe.ms
    before = int(rng.choice([0, 40])) * DAY_MS
    other = {of: walk(rng, of, START_MS - before, end, 0.01) for of in LEVEL_TIMEFRAMES}
    btc = {Timeframe.M240: walk(rng, Timeframe.M240, START_MS - before, end, 0.01)}
    times = np.arange(START_MS, end + 1, FUNDING_MS, dtype=np.int64)
    return StrategyData(
        "ALTUSDT",
        walk(rng, timeframe, START_MS, end, 0.01),
        other,
        btc,
        Funding(times, rng.normal(0, 1e-4, len(times))),
    )


def known_at(data: StrategyData, time_ms: int) -> StrategyData:
    """What of `data` had happened at a moment."""

    def closed(candles: Mapping[Timeframe, Candles]) -> dict[Timeframe, Candles]:
        return {timeframe: held.closed_by(time_ms) for timeframe, held in candles.items()}

    return StrategyData(
        data.symbol,
        data.candles.closed_by(time_ms),
        closed(data.other),
        closed(data.btc),
        data.funding.between(0, time_ms + 1),
    )
