"""Columns for engine tests: written by hand, or random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.timeframes import Timeframe

START_MS = 1_772_323_200_000
FREE = Costs(fee=0.0, slippage=0.0, notional=1000.0)
COSTLY = Costs(fee=0.00055, slippage=0.0002, notional=1000.0)


def candles_of(bars: Sequence[Sequence[float]], timeframe: Timeframe = Timeframe.M60) -> Candles:
    """Candles from (open, high, low, close) rows."""
    opened, high, low, close = np.array(bars, dtype=np.float64).reshape(len(bars), 4).T
    start = START_MS + timeframe.ms * np.arange(len(bars), dtype=np.int64)
    return Candles(timeframe, start, opened, high, low, close, np.ones(len(bars)), close.copy())


def column_from(
    bars: Sequence[Sequence[float]],
    *,
    long: Sequence[int] = (),
    short: Sequence[int] = (),
    stop_fraction: float = 0.01,
    reward_risk: float = 2.0,
    funding: Funding | None = None,
) -> Column:
    """A column that enters at the given bars."""
    count = len(bars)
    return Column(
        candles=candles_of(bars),
        long=np.isin(np.arange(count), list(long)),
        short=np.isin(np.arange(count), list(short)),
        stop_fraction=np.full(count, stop_fraction),
        reward_risk=reward_risk,
        confidence=60.0 + np.arange(count, dtype=np.float64),
        funding=funding or Funding.empty(),
    )


def random_column(seed: int, bars: int, *, signals: float = 0.2, gap: float = 0.004) -> Column:
    """A random walk with gaps between bars, random signals, stops of different widths, and funding."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
    opened = np.concatenate([[100.0], close[:-1]]) * (1 + rng.normal(0, gap, bars))
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, 0.004, bars)))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, 0.004, bars)))
    side = rng.random(bars)
    rows = np.stack([opened, high, low, close], axis=1)
    candles = candles_of(rows)
    times = np.unique(START_MS + rng.integers(0, bars * candles.timeframe.ms + 1, 1 + bars // 8))
    return Column(
        candles=candles,
        long=side < signals / 2,
        short=side > 1 - signals / 2,
        stop_fraction=rng.uniform(0.002, 0.04, bars),
        reward_risk=float(rng.choice([1.0, 2.0, 3.5])),
        confidence=rng.uniform(60, 95, bars),
        funding=Funding(times.astype(np.int64), rng.normal(0, 0.001, len(times))),
    )


def assert_same(found: Trades, expected: Trades) -> None:
    """Equal trades; prices and money to a relative 1e-9."""
    for name in ("entry", "exit", "direction", "closed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("size", "entry_price", "exit_price", "fees", "funding", "pnl", "confidence"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-8, err_msg=name)
