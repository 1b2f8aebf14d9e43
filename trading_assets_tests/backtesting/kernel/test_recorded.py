"""On recorded candles, the crash of October 2025 among them, kernel and vectorbt find the same trades and figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.kernel.panel import Panel, Window
from trading_assets.backtesting.kernel.sweep import column_from
from trading_assets.backtesting.metrics import metrics
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, TRADED_TIMEFRAMES, WARM_UP_BARS, Timeframe
from trading_assets.market.loading import resample
from trading_assets_tests.backtesting.columns import assert_same
from trading_assets_tests.backtesting.kernel.markets import CAPITAL, COSTS, NAMES, OUT_OF_SAMPLE_PCT, grid_of
from trading_assets_tests.conftest import recorded_data

CRASH_MS = 1_760_130_900_000
"""2025-10-10 21:15 UTC."""

FILES = {
    "candles_1m.parquet": (Timeframe.M1, "binance"),
    "candles_1m_with_gaps.parquet": (Timeframe.M1, "bybit"),
    "candles_5m.parquet": (Timeframe.M5, "bybit"),
    "candles_1h_universe.parquet": (Timeframe.M60, "binance"),
}
MOST_SYMBOLS = 10
"""Of a file with more, so many are looked at, spread over the alphabet."""

LONGEST_BARS = 5_000
"""A test looks at no more bars of a series: vectorbt would take minutes."""


@lru_cache(maxsize=4)
def recorded(name: str) -> tuple[dict[str, Candles], dict[str, Funding]]:
    """Candles and funding by symbol."""
    timeframe, exchange = FILES[name]
    rows = pd.read_parquet(recorded_data(name)).sort_values(["symbol", "start_ms"])
    paid = pd.read_parquet(recorded_data("funding.parquet")).sort_values("funding_ms")
    candles, funding = {}, {}
    for symbol, of in rows.groupby("symbol"):
        names = ("open", "high", "low", "close", "volume", "turnover")
        arrays = (of[column].to_numpy(dtype=np.float64) for column in names)
        candles[symbol] = Candles(timeframe, of["start_ms"].to_numpy(dtype=np.int64), *arrays)
        its = paid[(paid["exchange"] == exchange) & (paid["symbol"] == symbol)]
        funding[symbol] = Funding(its["funding_ms"].to_numpy(np.int64), its["funding_rate"].to_numpy(np.float64))
    return candles, funding


def markets(name: str, timeframe: Timeframe, needs: DataNeeds) -> Iterator[tuple[StrategyData, Window]]:
    """Each recorded symbol on a timeframe, around the crash where it is in the file."""
    base = FILES[name][0]
    candles, funding = recorded(name)
    for symbol in list(candles)[:: -(-len(candles) // MOST_SYMBOLS)]:
        held = candles[symbol]
        end = int(held.end_ms[-1])
        if held.start_ms[0] < CRASH_MS < end:
            end = min(end, CRASH_MS + LONGEST_BARS // 2 * timeframe.ms // DAY_MS * DAY_MS + DAY_MS)

        def of(other: Timeframe, source: Candles, end: int = end) -> Candles:
            # The file's own candles stand in for finer ones.
            return source.closed_by(end) if other.ms <= base.ms else resample(source, other, end)

        own = of(timeframe, held)
        own = own.select(slice(max(len(own) - LONGEST_BARS, 0), None))
        data = StrategyData(
            symbol,
            own,
            {other: of(other, held) for other in needs.candles},
            {other: of(other, candles.get("BTCUSDT", held)) for other in needs.btc},
            funding[symbol],
        )
        start_ms = int(own.start_ms[WARM_UP_BARS]) if len(own) > WARM_UP_BARS else 0
        yield data, Window.from_data(data, start_ms, OUT_OF_SAMPLE_PCT)


QUICK = (("candles_5m.parquet", Timeframe.M60),)
"""The other files and timeframes are slow tests."""


@pytest.mark.slow
@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "timeframe"),
    [
        pytest.param(name, timeframe, marks=[] if (name, timeframe) in QUICK else pytest.mark.slow)
        for name, (base, _) in FILES.items()
        for timeframe in TRADED_TIMEFRAMES
        # Two days of minutes are too few for the warm-up of a longer timeframe.
        if timeframe.ms % base.ms == 0 and not ("gaps" in name and timeframe.ms > Timeframe.M5.ms)
    ],
)
def test_every_trade_and_figure_of_every_set_is_vectorbts(name: str, timeframe: Timeframe) -> None:
    trades = 0
    for strategy in NAMES:
        sweep = grid_of(strategy)
        for data, window in markets(name, timeframe, DataNeeds.deepest(one.needs() for one in sweep.sets)):
            columns = [column_from(one, data, window) for one in sweep.sets]
            panel = Panel.from_members([data], int(window.candles.start_ms[0]), OUT_OF_SAMPLE_PCT)
            outcome = sweep.run(panel, COSTS, CAPITAL)
            assert not outcome.failures
            pairs = zip(KernelEngine().simulate(columns, COSTS), VectorbtEngine().simulate(columns, COSTS), strict=True)
            for found, (ours, theirs) in zip(outcome.figures[0], pairs, strict=True):
                assert_same(ours, theirs)
                figures = astuple(metrics(theirs, window.candles, CAPITAL, window.split))
                np.testing.assert_allclose(found, figures, rtol=1e-9, atol=1e-9)
                trades += len(theirs)
    assert trades > 10


@pytest.mark.recorded
def test_the_crash_is_among_them() -> None:
    needs = grid_of("fibonacci_bollinger").sets[0].needs()
    falls = {
        data.symbol: float((window.candles.low / window.candles.open - 1).min())
        for data, window in markets("candles_5m.parquet", Timeframe.M5, needs)
    }
    assert falls["APEUSDT"] < -0.5
