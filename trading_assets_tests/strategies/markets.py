"""Random but consistent markets for strategy tests: all timeframes are made of the same minutes or quarter hours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.loading import resample

START_MS = 1_769_904_000_000
"""2026-02-01 00:00 UTC."""


def candles_of_closes(close: np.ndarray, timeframe: Timeframe = Timeframe.M15, wick: float = 0.001) -> Candles:
    """Candles that open at the previous close, with wicks of a fixed fraction."""
    close = np.asarray(close, dtype=np.float64)
    opened = np.concatenate([close[:1], close[:-1]])
    start = START_MS + timeframe.ms * np.arange(len(close), dtype=np.int64)
    high, low = np.maximum(opened, close) * (1 + wick), np.minimum(opened, close) * (1 - wick)
    return Candles(timeframe, start, opened, high, low, close, np.ones(len(close)), close.copy())


def walk(seed: int, bars: int, timeframe: Timeframe = Timeframe.M15, sigma: float = 0.004) -> Candles:
    """A random walk around 100 with wicks of random length."""
    rng = np.random.default_rng(seed)
    candles = candles_of_closes(100 * np.exp(np.cumsum(rng.normal(0, sigma, bars))), timeframe, 0.0)
    wick = np.abs(rng.normal(0, sigma / 2, (2, bars)))
    return replace(candles, high=candles.high * (1 + wick[0]), low=candles.low * (1 - wick[1]))


def market(seed: int, timeframe: Timeframe, needs: DataNeeds, *, bars: int = 300, days: int = 45) -> StrategyData:
    """The newest `bars` of a market of `days`, with all that is needed of the other timeframes, of BTC and funding."""
    rng = np.random.default_rng(seed)
    base = Timeframe.M15 if timeframe.ms >= Timeframe.M15.ms else Timeframe.M1
    count, share = days * DAY_MS // base.ms, (base.ms / Timeframe.M15.ms) ** 0.5
    # Wild coins and calm ones, so that every gate of a strategy opens and closes.
    coin = walk(seed, count, base, sigma=share * float(rng.choice([0.002, 0.004, 0.012])))
    btc = walk(seed + 1, count, base, sigma=share * 0.0015)
    end = START_MS + days * DAY_MS
    times = np.arange(START_MS, end + 1, 8 * HOUR_MS)
    return StrategyData(
        "COINUSDT",
        _tail(resample(coin, timeframe, end), bars),
        {other: resample(coin, other, end) for other in needs.candles},
        {other: resample(btc, other, end) for other in needs.btc},
        Funding(times, rng.normal(0, 0.0003, len(times))),
    )


def _tail(candles: Candles, bars: int) -> Candles:
    return candles.select(slice(max(len(candles) - bars, 0), None))


def known_at(data: StrategyData, time_ms: int) -> StrategyData:
    """What a live finder would have had at a time: nothing that closed, or was paid, later."""
    return StrategyData(
        data.symbol,
        data.candles.closed_by(time_ms),
        {timeframe: candles.closed_by(time_ms) for timeframe, candles in data.other.items()},
        {timeframe: candles.closed_by(time_ms) for timeframe, candles in data.btc.items()},
        data.funding.between(0, time_ms + 1),
    )
