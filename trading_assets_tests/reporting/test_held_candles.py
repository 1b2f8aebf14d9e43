"""What is held in memory of a store is what the store would read, and nothing is fetched sooner than it is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.store import CandleStore
from trading_assets.reporting.held_candles import HeldCandles
from trading_assets.reporting.load import FillingReader
from trading_assets_tests.reporting.fixtures import HOUR, SeededSource

NOW = HOUR + 20 * DAY_MS


class Counting(SeededSource):
    """A market that counts what is asked of it."""

    asked = 0

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        self.asked += (end_ms - start_ms) // timeframe.ms
        return super().candles(symbol, timeframe, start_ms, end_ms)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        self.asked += (end_ms - start_ms) // HOUR_MS
        return super().funding(symbol, start_ms, end_ms)


def test_reads_are_those_of_the_reader_and_fetch_no_more_than_it_would(tmp_path: Path) -> None:
    sources = Counting(NOW), Counting(NOW)
    readers = [FillingReader(CandleStore(tmp_path / str(number)), one) for number, one in enumerate(sources)]
    for reader in readers:  # what a backfill left: with a hole between
        reader.read("ETHUSDT", Timeframe.M15, HOUR, HOUR + 3 * DAY_MS)
        reader.read("ETHUSDT", Timeframe.M15, HOUR + 6 * DAY_MS, HOUR + 9 * DAY_MS)
        reader.read_funding("ETHUSDT", HOUR, HOUR + 5 * DAY_MS)
    plain, held = readers[0], HeldCandles(readers[1], HOUR, HOUR + 9 * DAY_MS)
    rng = np.random.default_rng(3)
    for number in range(120):
        symbol = ("ETHUSDT", "BTCUSDT", "SOLUSDT")[number % 2 if number < 100 else 2]
        begin = HOUR + int(rng.integers(-12, 24 * 9)) * HOUR_MS
        end = begin + int(rng.integers(1, 30)) * HOUR_MS
        one, other = (reader.read(symbol, Timeframe.M15, begin, end) for reader in (plain, held))
        for column in ("start_ms", "open", "high", "low", "close", "volume", "turnover"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
        paid, same = (reader.read_funding(symbol, begin, end) for reader in (plain, held))
        np.testing.assert_array_equal(paid.time_ms, same.time_ms)
        np.testing.assert_array_equal(paid.rate, same.rate)
        assert sources[0].asked == sources[1].asked


def test_what_is_stored_is_read_once(tmp_path: Path) -> None:
    source, store = Counting(NOW), CandleStore(tmp_path)
    reader = FillingReader(store, source)
    reader.read("ETHUSDT", Timeframe.M15, HOUR, HOUR + 9 * DAY_MS)
    held, reads = HeldCandles(reader, HOUR, HOUR + 9 * DAY_MS), []
    real = store.read
    store.read = lambda *asked: reads.append(asked) or real(*asked)  # type: ignore[method-assign, func-returns-value]
    for hour in range(200):
        found = held.read("ETHUSDT", Timeframe.M15, HOUR + hour * HOUR_MS, HOUR + (hour + 9) * HOUR_MS)
        assert len(found) == 36
    assert len(reads) == 1
