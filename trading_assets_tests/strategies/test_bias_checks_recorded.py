"""The shipped strategies are not biased on recorded candles with the crash and its funding; biased ones are found."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.market.loading import resample
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bias_checks import look_ahead, warm_up
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets_tests.conftest import recorded_data
from trading_assets_tests.strategies import biased_strategies

pytestmark = pytest.mark.recorded

CRASH_MS = 1_760_130_900_000
"""2025-10-10 21:15 UTC."""

NAMES = ("open", "high", "low", "close", "volume", "turnover")


@lru_cache(maxsize=1)
def _tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    candles, funding = (pq.read_table(recorded_data(f"{name}.parquet")) for name in ("candles_5m", "funding"))
    return candles.to_pandas(), funding.to_pandas()


def recorded(symbol: str, strategy: Strategy, timeframe: Timeframe, bars: int = 1200) -> StrategyData:
    """`bars` bars of Bybit's candles that end two days after the crash, and all that the strategy needs with them."""
    candles, funding = _tables()
    end = CRASH_MS - CRASH_MS % Timeframe.D1.ms + 3 * Timeframe.D1.ms

    def of(name: str) -> Candles:
        rows = candles[(candles["symbol"] == name) & (candles["start_ms"] < end)].sort_values("start_ms")
        arrays = (rows[column].to_numpy(dtype=np.float64) for column in NAMES)
        return Candles(Timeframe.M5, rows["start_ms"].to_numpy(dtype=np.int64), *arrays)

    own, btc, needs = of(symbol), of("BTCUSDT"), strategy.needs()
    bybit = funding["exchange"].str.lower() == "bybit"
    paid = funding[bybit & (funding["symbol"] == symbol) & (funding["funding_ms"] < end)].sort_values("funding_ms")
    whole = resample(own, timeframe, end)
    return StrategyData(
        symbol,
        whole.select(slice(max(len(whole) - bars, 0), None)),
        {other: resample(own, other, end) for other in needs.candles},
        {other: resample(btc, other, end) for other in needs.btc},
        Funding(paid["funding_ms"].to_numpy(dtype=np.int64), paid["funding_rate"].to_numpy(dtype=np.float64)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BollingerRsi, FibonacciBollinger])
@pytest.mark.parametrize("symbol", ["APEUSDT", "ETHUSDT"])
@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.M15])
def test_the_shipped_strategies_are_unbiased_through_the_crash(
    kind: type[Strategy], symbol: str, timeframe: Timeframe
) -> None:
    strategy = kind()
    data = recorded(symbol, strategy, timeframe)
    assert data.candles.start_ms[0] < CRASH_MS < data.candles.end_ms[-1] and len(data.funding)
    ahead, early = look_ahead(strategy, data, signals=40), warm_up(strategy, data)
    assert ahead.violations == early.violations == ()
    assert ahead.signals > 10 and early.bars > 500


@pytest.mark.parametrize("kind", biased_strategies.PEEKING)
def test_strategies_that_look_ahead_are_caught_on_recorded_candles(kind: type[Strategy]) -> None:
    assert not look_ahead(kind(), recorded("ETHUSDT", kind(), Timeframe.M15), signals=8, others=4).passed


@pytest.mark.parametrize("kind", biased_strategies.FORGETFUL)
def test_strategies_that_forget_are_caught_on_recorded_candles(kind: type[Strategy]) -> None:
    assert not warm_up(kind(), recorded("ETHUSDT", kind(), Timeframe.M15)).passed
