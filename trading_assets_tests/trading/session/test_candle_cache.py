"""Warm frames: whatever comes by stream and whatever does not, a complete series is what `load_live` would give."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.streams import ClosedCandle, Topic
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe, floor_ms
from trading_assets.market.loading import load_live
from trading_assets.market.store import CandleStore
from trading_assets.trading.session.candle_cache import FUNDING_LAG_MS, CandleCache, DataRequest
from trading_assets_tests.market.sources import T0, CountingSource, candles_of

NEEDS = DataNeeds(candles={Timeframe.M15: 5, Timeframe.M60: 3, Timeframe.D1: 1}, btc={Timeframe.M240: 3}, funding=True)
WANTED = DataRequest("ETHUSDT", Timeframe.M5, NEEDS, "BTCUSDT")
NOW = T0 + 60 * 24 * HOUR_MS + 7_000
LACKING = {NOW // HOUR_MS * HOUR_MS + minutes * MINUTE_MS for minutes in (15, 40)}
"""Candles of ETHUSDT that the exchange does not have."""


def source_at(now_ms: int) -> CountingSource:
    return CountingSource(now_ms, has=lambda symbol, start: symbol != "ETHUSDT" or start not in LACKING)


@contextmanager
def store() -> Iterator[CandleStore]:
    with tempfile.TemporaryDirectory() as folder:
        yield CandleStore(Path(folder))


def told(topic: Topic, start_ms: int) -> ClosedCandle:
    one = candles_of(*topic, [start_ms])
    values = (one.open[0], one.high[0], one.low[0], one.close[0], one.volume[0], one.turnover[0])
    return ClosedCandle(*topic, start_ms, values, start_ms + topic[1].ms)


def assert_same(found: StrategyData, expected: StrategyData) -> None:
    def same(one: Candles | Funding, other: Candles | Funding) -> None:
        for field in fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)

    same(found.candles, expected.candles)
    same(found.funding, expected.funding)
    assert found.other.keys() == expected.other.keys() and found.btc.keys() == expected.btc.keys()
    for held, wanted in ((found.other, expected.other), (found.btc, expected.btc)):
        for timeframe, candles in held.items():
            same(candles, wanted[timeframe])


STEPS = st.lists(
    st.tuples(
        st.integers(1, 14),  # candles of five minutes until the next look
        st.lists(st.sampled_from(["told", "lost", "twice", "late"]), min_size=4, max_size=4),
        st.booleans(),  # reconnected
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@settings(max_examples=12)
@given(steps=STEPS)
def test_complete_frames_are_those_of_the_live_loader(steps: list[tuple[int, list[str], bool]]) -> None:
    with store() as warm_store, store() as other_store:
        source = source_at(NOW)
        frames = CandleCache(source, warm_store, [WANTED])
        assert not frames.catch_up(frames.topics, NOW) and not frames.refresh_funding(["ETHUSDT"], NOW)
        before = NOW
        for bars, fates, reconnected in steps:
            source.time_ms = now = before + bars * Timeframe.M5.ms
            late: list[ClosedCandle] = []
            number = 0
            for topic in frames.topics:
                for start in range(floor_ms(before, topic[1].ms), floor_ms(now, topic[1].ms), topic[1].ms):
                    if topic[0] == "ETHUSDT" and start in LACKING:
                        continue
                    fate, number = fates[number % len(fates)], number + 1
                    if fate == "late":
                        late.append(told(topic, start))
                    elif fate != "lost":
                        frames.add(told(topic, start))
                    if fate == "twice":
                        frames.add(told(topic, start))
            for candle in late:
                frames.add(candle)
            behind = frames.topics if reconnected else frames.behind(frames.topics, now)
            assert not frames.catch_up(behind, now)
            if not frames.is_funded("ETHUSDT", now):
                assert not frames.refresh_funding(frames.funding_due(now), now)
            newest = {floor_ms(now, tf.ms) - tf.ms for symbol, tf in WANTED.topics if symbol == "ETHUSDT"}
            assert frames.is_complete(WANTED.topics, now) or newest & LACKING
            assert frames.is_funded("ETHUSDT", now)
            expected = load_live(source, other_store, "ETHUSDT", Timeframe.M5, NEEDS, now)
            assert_same(frames.load(WANTED, now), expected)
            before = now


@pytest.fixture
def warm(tmp_path: Path) -> tuple[CandleCache, CountingSource]:
    source = source_at(NOW)
    frames = CandleCache(source, CandleStore(tmp_path), [WANTED])
    frames.catch_up(frames.topics, NOW)
    frames.refresh_funding(["ETHUSDT"], NOW)
    source.calls.clear()
    return frames, source


def test_candles_that_are_all_told_cost_no_request_and_no_memory(warm: tuple[CandleCache, CountingSource]) -> None:
    frames, source = warm
    own: Topic = ("ETHUSDT", Timeframe.M5)
    first = floor_ms(NOW, Timeframe.M5.ms)
    held = len(frames.read(*own, 0, NOW * 2))
    for number in range(500):
        start = first + number * Timeframe.M5.ms
        if start not in LACKING:
            assert frames.add(told(own, start)) is (number < 3)
        if number == 3:
            break
    assert frames.behind([own], NOW + 4 * Timeframe.M5.ms) == [own]
    source.time_ms = NOW + HOUR_MS
    frames.catch_up([own], source.time_ms)
    source.calls.clear()
    for start in range(floor_ms(source.time_ms, Timeframe.M5.ms), floor_ms(NOW, HOUR_MS) + 40 * HOUR_MS, 300_000):
        assert frames.add(told(own, start))
    assert source.calls == []
    assert len(frames.read(*own, 0, NOW * 2)) <= held + 32


def test_a_candle_that_the_exchange_does_not_show_yet_leaves_its_series_behind(
    warm: tuple[CandleCache, CountingSource],
) -> None:
    frames, source = warm
    own: Topic = ("ETHUSDT", Timeframe.M5)
    now = floor_ms(NOW, HOUR_MS) + 20 * MINUTE_MS + 100  # the candle of minute 15 has closed, but is lacking
    source.time_ms = now
    assert not frames.catch_up([own], now)
    assert not frames.is_complete([own], now)
    source.time_ms = now = now + 5 * MINUTE_MS
    assert not frames.catch_up([own], now)
    assert frames.is_complete([own], now), "the exchange has gone on: the candle is one that it does not have"


def test_a_payment_is_asked_for_after_its_hour_until_the_answer_is_settled(
    warm: tuple[CandleCache, CountingSource],
) -> None:
    frames, source = warm
    hour = floor_ms(NOW, HOUR_MS) + HOUR_MS
    assert frames.is_funded("ETHUSDT", hour + FUNDING_LAG_MS - 1)
    source.time_ms = hour + FUNDING_LAG_MS
    assert not frames.is_funded("ETHUSDT", source.time_ms)
    asked = 0
    for _ in range(40):
        due = frames.funding_due(source.time_ms)
        asked += bool(due)
        frames.refresh_funding(due, source.time_ms)
        source.time_ms += 10_000
    assert 2 <= asked <= 6


def test_a_failed_read_leaves_a_series_behind_and_is_told(
    warm: tuple[CandleCache, CountingSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, source = warm

    def unreachable(*_: object) -> Candles:
        source.calls.append(("", "", 0, 0))
        raise ExchangeUnavailableError("gone")

    monkeypatch.setattr(source, "candles", unreachable)
    now = NOW + 4 * HOUR_MS
    failed = frames.catch_up(frames.topics, now)
    assert set(failed) == set(frames.topics) and not frames.is_complete(WANTED.topics, now)
    assert len(source.calls) <= 4, "an exchange that does not answer is not asked for every series"


def test_a_strategy_cannot_spoil_what_the_next_decision_reads() -> None:
    """Of streamed candles, too: BTC's are those of every coin."""
    source = source_at(NOW)
    with store() as kept:
        cache = CandleCache(source, kept, [WANTED])
        cache.catch_up(cache.topics, NOW)
        cache.refresh_funding(["ETHUSDT"], NOW)
        topic = WANTED.topics[0]
        until = floor_ms(NOW, topic[1].ms)
        assert cache.add(told(topic, until))
        now = until + topic[1].ms + 7_000
        before = cache.load(WANTED, now)
        for series in (before.candles, before.funding, *before.other.values(), *before.btc.values()):
            for field in fields(series):
                array = getattr(series, field.name)
                if isinstance(array, np.ndarray) and len(array):
                    with pytest.raises(ValueError, match="read-only"):
                        array[:] = 0
        assert len(before.funding) and len(before.btc)
        assert_same(cache.load(WANTED, now), before)
        assert cache.add(told(topic, until + topic[1].ms)), "the cache itself goes on"
