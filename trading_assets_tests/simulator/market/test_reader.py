"""What the reader gives without a server is what the embedded exchange serves."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.simulator.venue import ServeConfig
from trading_assets.venues import open_market_data

END_MS = 1_772_323_200_000
TIMEFRAMES = [Timeframe.M1, Timeframe.M15, Timeframe.M240]


def test_candles_and_funding_are_those_of_the_exchange() -> None:
    config = ServeConfig(symbols=5, clock=ClockSpec(ClockMode.MANUAL, start_ms=END_MS))
    reader = MarketReader(SeededMarket(config.seed, 5))
    with serve_in_thread(config) as running:
        source = open_market_data(load_settings(simulator_url=running.url))
        for timeframe in TIMEFRAMES:
            start = END_MS - 300 * timeframe.ms
            served = source.candles("ETHUSDT", timeframe, start, END_MS)
            found = reader.read("ETHUSDT", timeframe, start, END_MS)
            assert len(found) == 300
            for name in ("start_ms", "open", "high", "low", "close", "volume", "turnover"):
                np.testing.assert_allclose(getattr(found, name), getattr(served, name), rtol=1e-12, err_msg=name)
        paid = source.funding("ETHUSDT", END_MS - 5 * DAY_MS, END_MS)
    funding = reader.read_funding("ETHUSDT", END_MS - 5 * DAY_MS, END_MS)
    assert len(funding) == 15
    np.testing.assert_array_equal(funding.time_ms, paid.time_ms)
    np.testing.assert_array_equal(funding.rate, paid.rate)


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_candle_is_the_same_whatever_span_is_read(timeframe: Timeframe) -> None:
    reader = MarketReader(SeededMarket(7, 5))
    whole = reader.read("BTCUSDT", timeframe, END_MS - 50 * timeframe.ms, END_MS)
    part = reader.read("BTCUSDT", timeframe, END_MS - 50 * timeframe.ms, END_MS - 9 * timeframe.ms)
    np.testing.assert_array_equal(part.close, whole.close[:-9])
