"""What comes late is not taken for a gap, what a killed process left is cleared, and memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import OrderRejectedError
from trading_assets.core.models import Instrument, Rows
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, TRADED_TIMEFRAMES, Timeframe, as_of_ms
from trading_assets.market import chunks
from trading_assets.market import lookback as depth
from trading_assets.market.loading import hour_loader, load_live
from trading_assets.market.quality import QualityLimits
from trading_assets.market.stages import fill_candles
from trading_assets.market.store import CandleStore
from trading_assets_tests.market.hashes import content_hash
from trading_assets_tests.market.sources import T0, CountingSource

M1, M15, M60, M240, D1 = Timeframe.M1, Timeframe.M15, Timeframe.M60, Timeframe.M240, Timeframe.D1

BORNE = QualityLimits.from_settings(Settings(_env_file=None))  # type: ignore[call-arg]


class LateSource(CountingSource):
    """A venue that shows a candle and a payment only `late_ms` after their time."""

    def __init__(self, now_ms: int, late_ms: int) -> None:
        super().__init__(now_ms, has=self._shown)
        self.late_ms = late_ms

    def _shown(self, _symbol: str, start_ms: int) -> bool:
        return start_ms + MINUTE_MS + self.late_ms <= self.time_ms

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        found = super().funding(symbol, start_ms, end_ms)
        return found.between(start_ms, self.time_ms - self.late_ms + 1)


@pytest.mark.parametrize("late_ms", [1, 700, 30_000, 59_999])
def test_a_candle_that_the_venue_shows_late_is_no_gap(tmp_path: Path, late_ms: int) -> None:
    source, store = LateSource(T0 + HOUR_MS, late_ms), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(store.read("AUSDT", M1, T0, T0 + HOUR_MS)) == 59
    assert store.missing("AUSDT", M1, T0, T0 + HOUR_MS) == [(T0 + HOUR_MS - MINUTE_MS, T0 + HOUR_MS)]
    source.time_ms += MINUTE_MS
    assert store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS) == 1
    assert store.missing("AUSDT", M1, T0, T0 + HOUR_MS) == []


def test_a_candle_that_never_comes_is_a_gap_after_a_minute(tmp_path: Path) -> None:
    last = T0 + HOUR_MS - MINUTE_MS
    source, store = CountingSource(T0 + HOUR_MS, has=lambda _, start: start != last), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert store.missing("AUSDT", M1, T0, T0 + HOUR_MS) == [(last, T0 + HOUR_MS)]
    source.time_ms += MINUTE_MS
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert store.missing("AUSDT", M1, T0, T0 + HOUR_MS) == []
    assert len(source.calls) == 2


def test_a_venue_that_shows_nothing_yet_leaves_no_trace(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + MINUTE_MS, has=lambda *_: False), CandleStore(tmp_path)
    assert store.fill(source, "AUSDT", M1, T0, T0 + MINUTE_MS) == 0
    assert list(tmp_path.rglob("*.parquet")) == []


@pytest.mark.parametrize("late_ms", [0, 8_000, 110_000])
def test_a_payment_that_the_venue_shows_late_is_not_lost(tmp_path: Path, late_ms: int) -> None:
    paid_ms = T0 + 8 * HOUR_MS
    source, store = LateSource(paid_ms + 6_000, late_ms), CandleStore(tmp_path)
    for after in (6_000, 60_000, 119_000, 125_000, HOUR_MS):
        source.time_ms = paid_ms + after
        store.fill_funding(source, "AUSDT", T0, T0 + DAY_MS)
    assert store.read_funding("AUSDT", T0, T0 + DAY_MS).time_ms.tolist() == [T0, paid_ms]
    assert store.missing_funding("AUSDT", T0, paid_ms + 1) == []


def test_between_two_hours_nobody_asks_for_payments(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + 3 * HOUR_MS + 3 * MINUTE_MS), CandleStore(tmp_path)
    for minutes in range(0, 56, 5):
        source.time_ms = T0 + 3 * HOUR_MS + (3 + minutes) * MINUTE_MS
        store.fill_funding(source, "AUSDT", T0, source.time_ms)
    assert len(source.calls) == 1


def test_what_a_killed_process_left_behind_is_cleared_by_the_next_write(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    folder = tmp_path / "AUSDT" / "1m"
    (folder / ".writing-abc123").write_bytes(b"half a file")
    assert len(store.read("AUSDT", M1, T0, T0 + HOUR_MS)) == 60
    store.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS)
    assert [path.name for path in folder.glob(".writing-*")] == []
    assert len(store.read("AUSDT", M1, T0, T0 + DAY_MS)) == 120


def test_the_memory_of_read_chunks_is_bounded_and_forgets_the_longest_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk_bytes = 24 * 7 * 8
    monkeypatch.setattr(chunks, "_CACHED_BYTES", 3 * chunk_bytes)
    source, store = CountingSource(T0 + 2 * DAY_MS), CandleStore(tmp_path)
    for i in range(10):
        store.fill(source, f"S{i}USDT", M60, T0, T0 + DAY_MS)
        assert len(store.read(f"S{i}USDT", M60, T0, T0 + DAY_MS)) == 24
        store.read("S0USDT", M60, T0, T0 + DAY_MS)
    assert {path.parts[-3] for path in store._chunks._cache} == {"S0USDT", "S8USDT", "S9USDT"}
    assert store._chunks._cached_bytes == sum(chunk.bytes for _, chunk in store._chunks._cache.values())
    store.fill(source, "S0USDT", M60, T0, T0 + 2 * DAY_MS)
    assert len(store.read("S0USDT", M60, T0, T0 + 2 * DAY_MS)) == 48
    assert store._chunks._cached_bytes == sum(chunk.bytes for _, chunk in store._chunks._cache.values())


def test_as_many_coins_as_are_expected_are_read_from_their_files_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_CACHED_BYTES", 1)
    monkeypatch.setattr(chunks, "_BYTES_OF_A_COIN", 24 * 7 * 8)
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    coins = [f"S{i}USDT" for i in range(10)]
    for coin in coins:
        store.fill(source, coin, M60, T0, T0 + DAY_MS)
    for expected, kept in [(10, 10), (4, 4)]:
        store.expect(expected)
        for coin in [*coins, *coins]:
            assert len(store.read(coin, M60, T0, T0 + DAY_MS)) == 24
        store.fill(source, "LASTUSDT", M60, T0, T0 + DAY_MS)
        store.read("LASTUSDT", M60, T0, T0 + DAY_MS)
        assert len(store._chunks._cache) == kept


def test_another_process_that_wrote_is_seen_at_once(tmp_path: Path) -> None:
    source, one, other = CountingSource(T0 + DAY_MS), CandleStore(tmp_path), CandleStore(tmp_path)
    one.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(one.read("AUSDT", M1, T0, T0 + DAY_MS)) == 60
    other.fill(source, "AUSDT", M1, T0 + HOUR_MS, T0 + 2 * HOUR_MS)
    assert len(one.read("AUSDT", M1, T0, T0 + DAY_MS)) == 120
    assert one.missing("AUSDT", M1, T0, T0 + 2 * HOUR_MS) == []


def test_what_was_just_written_is_not_read_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    afresh = CandleStore(tmp_path).read("AUSDT", M1, T0, T0 + DAY_MS)
    monkeypatch.setattr(chunks.pq, "ParquetFile", None)
    kept = store.read("AUSDT", M1, T0, T0 + DAY_MS)
    assert content_hash(kept) == content_hash(afresh) and len(kept) == 60
    for column in (kept.start_ms, kept.close):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
    assert kept.close.base is not None and kept.close.base.nbytes == kept.close.nbytes, "no other rows stay in memory"


def test_a_chunk_of_an_older_version_is_read_and_added_to(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    (path,) = tmp_path.rglob("*.parquet")
    pq.write_table(pq.read_table(path), path, compression="zstd", use_dictionary=False, write_page_checksum=True)
    older = CandleStore(tmp_path)
    assert content_hash(older.read("AUSDT", M1, T0, T0 + DAY_MS)) == content_hash(
        store.read("AUSDT", M1, T0, T0 + DAY_MS)
    )
    assert older.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS) == 60
    other = CandleStore(tmp_path / "other")
    other.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS)
    assert content_hash(CandleStore(tmp_path).read("AUSDT", M1, T0, T0 + DAY_MS)) == content_hash(
        other.read("AUSDT", M1, T0, T0 + DAY_MS)
    )


def test_a_symbol_is_looked_at_once_all_of_it_is_filled(tmp_path: Path) -> None:
    class Refusing(CountingSource):
        def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
            if symbol == "BUSDT" and start_ms == T0:
                raise OrderRejectedError("no such symbol")
            return super().candles(symbol, timeframe, start_ms, end_ms)

    source, store = Refusing(T0 + DAY_MS), CandleStore(tmp_path)
    spans = [(T0, T0 + HOUR_MS), (T0 + 3 * HOUR_MS, T0 + 4 * HOUR_MS)]
    found: list[tuple[str, int]] = []
    filled = store.fill_many(
        source,
        [(symbol, M1, *span) for span in spans for symbol in ("AUSDT", "BUSDT", "CUSDT")],
        then=lambda symbol: found.append((symbol, len(store.read(symbol, M1, T0, T0 + DAY_MS)))),
    )
    assert sorted(found) == [("AUSDT", 120), ("CUSDT", 120)]
    assert list(filled.failed) == ["BUSDT"]


def test_a_candle_that_closes_while_others_are_fetched_is_finished(tmp_path: Path) -> None:
    class Passing(CountingSource):
        """A venue whose next four hours end while the first answer is on its way."""

        def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
            self.time_ms = T0 + 4 * HOUR_MS
            return super().candles(symbol, timeframe, start_ms, end_ms)

    store = CandleStore(tmp_path)
    source = Passing(T0 + 4 * HOUR_MS - 1)
    hours = {T0 + 2 * HOUR_MS: ["AUSDT", "BUSDT"]}
    store.fill(CountingSource(T0 + 4 * HOUR_MS), "AUSDT", M240, T0, T0 + 4 * HOUR_MS)
    rows = fill_candles(source, store, M240, hours, [], BORNE)
    assert not any(str(fault).startswith("unfinished") for fault in rows["fault"])


def test_contracts_are_asked_for_where_a_coin_may_be_young_alone(tmp_path: Path) -> None:
    class Asked(CountingSource):
        times = 0

        def instruments(self) -> Rows[Instrument]:
            self.times += 1
            return super().instruments()

    old, young = Asked(T0 + DAY_MS), Asked(T0 + DAY_MS, has=lambda symbol, at: symbol != "BUSDT" or at >= T0)
    for source, store in ((old, CandleStore(tmp_path / "old")), (young, CandleStore(tmp_path / "young"))):
        rows = fill_candles(source, store, M60, {T0: ["AUSDT", "BUSDT", "CUSDT"]}, [], BORNE)
        assert list(rows["symbol"]) == ["AUSDT", "BTCUSDT", "BUSDT", "CUSDT"]
    assert (old.times, young.times) == (0, 1)


# What is loaded depends on the question alone, not on what else the store happens to hold.


@dataclass(frozen=True)
class Wants:
    wanted: DataNeeds = field(default_factory=DataNeeds)

    def needs(self) -> DataNeeds:
        return self.wanted


NEEDS = DataNeeds(candles={M15: 3, M60: 50, D1: 5}, btc={M240: 7, M15: 30}, funding=True)


def hashes(data: StrategyData) -> list[str]:
    parts = [data.candles, *data.other.values(), *data.btc.values(), data.funding]
    return [content_hash(part) for part in parts]


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", [M1, M60, Timeframe.M120, M240])
@pytest.mark.parametrize("hour_of_day", [2, 13])
def test_a_fuller_store_loads_the_same(tmp_path: Path, timeframe: Timeframe, hour_of_day: int) -> None:
    hour = T0 + hour_of_day * HOUR_MS
    as_of = as_of_ms(hour)
    source = CountingSource(as_of + 5 * DAY_MS)
    exact, full = CandleStore(tmp_path / "exact"), CandleStore(tmp_path / "full")
    stored = {timeframe, M15, M60, M240}
    for one in stored:
        fill_candles(source, exact, one, {hour: ["AUSDT"]}, [Wants(NEEDS)], BORNE)
        for symbol in ("AUSDT", "BTCUSDT"):
            reach = depth.reach_ms(one, [Wants(NEEDS)])
            full.fill(source, symbol, one, as_of - reach - 40 * DAY_MS, as_of + DAY_MS)
    for store, margin in ((exact, 0), (full, DAY_MS)):
        store.fill_funding(source, "AUSDT", as_of - depth.FUNDING_REACH_MS - margin, as_of + margin)
    load = [hour_loader(store, hour)("AUSDT", timeframe, NEEDS) for store in (exact, full)]
    assert hashes(load[0]) == hashes(load[1])
    assert all(len(part) for part in (*load[0].other.values(), *load[0].btc.values()))


@pytest.mark.slow
@examples(max_examples=8)
@given(st.sampled_from([M1, M15, Timeframe.M120, M240]), st.integers(0, 2 * DAY_MS))
def test_a_live_frame_is_the_same_from_a_fuller_store(
    tmp_path_factory: pytest.TempPathFactory, timeframe: Timeframe, after: int
) -> None:
    now = T0 + after
    source = CountingSource(now)
    exact, full = CandleStore(tmp_path_factory.mktemp("a")), CandleStore(tmp_path_factory.mktemp("b"))
    for one in {timeframe, M15, M60, M240}:
        for symbol in ("AUSDT", "BTCUSDT"):
            full.fill(source, symbol, one, now - depth.reach_ms(one, [Wants(NEEDS)]) - 3 * DAY_MS, now)
    live = [load_live(source, store, "AUSDT", timeframe, NEEDS, now) for store in (exact, full)]
    assert hashes(live[0]) == hashes(live[1])


@pytest.mark.parametrize("timeframe", TRADED_TIMEFRAMES)
def test_own_candles_and_days_end_at_the_as_of_not_at_now(tmp_path: Path, timeframe: Timeframe) -> None:
    hour = T0 + 23 * HOUR_MS
    as_of = as_of_ms(hour)
    source, store = CountingSource(as_of + DAY_MS), CandleStore(tmp_path)
    for one in {timeframe, M240}:
        store.fill(source, "AUSDT", one, as_of - 60 * DAY_MS, as_of + DAY_MS)
    data = hour_loader(store, hour)("AUSDT", timeframe, DataNeeds(candles={D1: 3}))
    assert int(data.candles.end_ms[-1]) == as_of - as_of % timeframe.ms
    assert int(data.other[D1].end_ms[-1]) == as_of
    assert np.all(np.diff(data.other[D1].start_ms) == DAY_MS)
