"""Coarser candles, how far back data reaches, and that nothing newer than the as-of is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from trading_assets.core.candles import Candles
from trading_assets.core.errors import DataError
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import (
    DAY_MS,
    HOUR_MS,
    LIVE_BARS,
    MINUTE_MS,
    TRADED_TIMEFRAMES,
    WARM_UP_BARS,
    Timeframe,
)
from trading_assets.market import lookback as depth
from trading_assets.market.loading import (
    CachedReader,
    hour_loader,
    live_requests,
    load_live,
    open_strategy_data,
    resample,
)
from trading_assets.market.quality import QualityLimits
from trading_assets.market.stages import fill_candles, fill_funding
from trading_assets.market.store import CandleStore
from trading_assets_tests.market.hashes import content_hash
from trading_assets_tests.market.sources import T0, CountingSource, candles_of

M1, M15, M60, M240, D1 = Timeframe.M1, Timeframe.M15, Timeframe.M60, Timeframe.M240, Timeframe.D1

BORNE = QualityLimits.from_settings(Settings(_env_file=None))  # type: ignore[call-arg]


@dataclass(frozen=True)
class Wants:
    """A strategy as far as its needs go."""

    wanted: DataNeeds = field(default_factory=DataNeeds)

    def needs(self) -> DataNeeds:
        return self.wanted


# Resampling


@examples(max_examples=60)
@given(
    st.lists(st.integers(0, 600), unique=True, max_size=200).map(sorted),
    st.sampled_from([Timeframe.M3, Timeframe.M15, Timeframe.M60, M240]),
    st.integers(0, 700),
)
def test_a_coarser_candle_is_its_minutes_and_only_closed_ones_come_out(
    minutes: list[int], timeframe: Timeframe, closed: int
) -> None:
    fine = candles_of("AUSDT", M1, [T0 + m * MINUTE_MS for m in minutes])
    closed_by = T0 + closed * MINUTE_MS + 30_000
    made = resample(fine, timeframe, closed_by)
    slots = sorted({int(s) // timeframe.ms * timeframe.ms for s in fine.start_ms})
    assert made.start_ms.tolist() == [s for s in slots if s + timeframe.ms <= closed_by]
    assert made.timeframe is timeframe
    for i, start in enumerate(made.start_ms):
        inside = fine.between(int(start), int(start) + timeframe.ms)
        assert made.open[i] == inside.open[0]
        assert made.close[i] == inside.close[-1]
        assert made.high[i] == inside.high.max()
        assert made.low[i] == inside.low.min()
        assert made.volume[i] == pytest.approx(inside.volume.sum())
        assert made.turnover[i] == pytest.approx(inside.turnover.sum())


@examples(max_examples=30)
@given(st.lists(st.integers(0, 1000), unique=True, max_size=300).map(sorted))
def test_resampling_in_two_steps_is_resampling_in_one(minutes: list[int]) -> None:
    fine = candles_of("AUSDT", M1, [T0 + m * MINUTE_MS for m in minutes])
    end = T0 + 2 * DAY_MS
    direct, twice = resample(fine, M240, end), resample(resample(fine, M60, end), M240, end)
    assert direct.start_ms.tolist() == twice.start_ms.tolist()
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(direct, name), getattr(twice, name))
    assert np.allclose(direct.volume, twice.volume)


def test_a_timeframe_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(DataError, match="not a multiple"):
        resample(candles_of("AUSDT", M60, [T0]), M15, T0 + DAY_MS)
    assert len(resample(Candles.empty(M1), M60, T0)) == 0


# Depth


@pytest.mark.parametrize("timeframe", TRADED_TIMEFRAMES)
def test_without_needs_the_window_and_its_warm_up_are_reached(timeframe: Timeframe) -> None:
    assert depth.reach_ms(timeframe, [Wants()]) == (timeframe.window_bars + WARM_UP_BARS) * timeframe.ms + DAY_MS
    assert depth.own_reach_ms(timeframe, DataNeeds(), live=True) == (LIVE_BARS + WARM_UP_BARS) * timeframe.ms


@examples(max_examples=60)
@given(st.sampled_from(TRADED_TIMEFRAMES), st.sampled_from(list(Timeframe)), st.integers(1, 400))
def test_more_needs_never_reach_less(stored: Timeframe, other: Timeframe, bars: int) -> None:
    plain = depth.reach_ms(stored, [Wants()])
    for needs in (DataNeeds(candles={other: bars}), DataNeeds(btc={other: bars})):
        reach = depth.reach_ms(stored, [Wants(), Wants(needs)])
        assert reach >= plain
        assert reach % stored.ms == 0
        if depth.stored_timeframe(other) is not stored:
            assert reach == plain


def test_days_are_stored_as_four_hours() -> None:
    assert depth.stored_timeframe(D1) is M240
    assert all(depth.stored_timeframe(tf) is tf for tf in TRADED_TIMEFRAMES)


# Loading


def newest(data: StrategyData) -> int:
    """The latest close of any candle in it."""
    parts = [data.candles, *data.other.values(), *data.btc.values()]
    return max(int(part.end_ms[-1]) for part in parts if len(part))


def poisoned_after(as_of: int) -> CountingSource:
    """A source whose candles that had not closed by `as_of`, and later funding, are absurd."""

    def made(symbol: str, timeframe: Timeframe, starts: Sequence[int]) -> Candles:
        good = candles_of(symbol, timeframe, starts)
        bad = good.end_ms > as_of
        spoilt = {n: np.where(bad, 1e9, getattr(good, n)) for n in ("open", "high", "low", "close", "volume")}
        return replace(good, **spoilt)

    return CountingSource(as_of + 60 * DAY_MS, candles=made)


NEEDS = DataNeeds(candles={M60: 50, D1: 5}, btc={M15: 30, M240: 60}, funding=True)


@pytest.mark.parametrize("timeframe", [Timeframe.M5, M15, Timeframe.M120])
def test_a_backtest_reads_nothing_that_closed_after_its_as_of(tmp_path: Path, timeframe: Timeframe) -> None:
    hour = T0 + 5 * HOUR_MS
    as_of = hour + HOUR_MS
    loaded = []
    for name, source in (("clean", CountingSource(as_of + 60 * DAY_MS)), ("poisoned", poisoned_after(as_of))):
        store = CandleStore(tmp_path / name)
        for stored in (timeframe, M15, M60, M240):
            for symbol in ("AUSDT", "BTCUSDT"):
                store.fill(source, symbol, stored, as_of - 130 * DAY_MS, as_of + 3 * DAY_MS)
        store.fill_funding(source, "AUSDT", as_of - 60 * DAY_MS, as_of + 3 * DAY_MS)
        loaded.append(hour_loader(store, hour)("AUSDT", timeframe, NEEDS))
    clean, poisoned = loaded
    assert newest(clean) <= as_of
    assert int(clean.funding.time_ms[-1]) < as_of
    assert content_hash(clean.candles) == content_hash(poisoned.candles)
    assert content_hash(clean.funding) == content_hash(poisoned.funding)
    for theirs, ours in ((clean.other, poisoned.other), (clean.btc, poisoned.btc)):
        assert {k: content_hash(v) for k, v in theirs.items()} == {k: content_hash(v) for k, v in ours.items()}
    assert poisoned.candles.close.max() < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", TRADED_TIMEFRAMES)
@pytest.mark.parametrize("hour_of_day", [0, 5, 22])
def test_what_the_stages_fill_is_enough_for_the_loader(tmp_path: Path, timeframe: Timeframe, hour_of_day: int) -> None:
    hour = T0 + hour_of_day * HOUR_MS
    as_of = hour + HOUR_MS
    source, store, strategies = CountingSource(as_of + 5 * MINUTE_MS), CandleStore(tmp_path), [Wants(NEEDS)]
    for stored in {timeframe, M15, M60, M240}:
        fill_candles(source, store, stored, {hour: ["AUSDT"]}, strategies, BORNE)
    data = hour_loader(store, hour)("AUSDT", timeframe, NEEDS)
    start = hour - hour % DAY_MS - depth.window_ms(timeframe)
    own = data.candles
    assert own.start_ms.tolist() == list(
        range(start - WARM_UP_BARS * timeframe.ms, as_of - timeframe.ms + 1, timeframe.ms)
    )
    for other, bars, held in (
        *((tf, bars, data.other[tf]) for tf, bars in NEEDS.candles.items()),
        *((tf, bars, data.btc[tf]) for tf, bars in NEEDS.btc.items()),
    ):
        known = held.closed_by(start)
        assert len(known) >= bars, f"{other.value}: {len(known)} of {bars} bars known at the first decided bar"
        assert np.all(np.diff(held.start_ms) == other.ms)


@pytest.mark.parametrize("timeframe", [M15, M240])
def test_an_hour_of_a_range_has_what_it_has_alone_and_coins_share_the_candles_of_btc(
    tmp_path: Path, timeframe: Timeframe
) -> None:
    hours = [T0 + at * HOUR_MS for at in (0, 3, 4, 9, 26, 27)]
    end = hours[-1] + HOUR_MS
    source, store = CountingSource(end + MINUTE_MS), CandleStore(tmp_path)
    for symbol in ("AUSDT", "BUSDT", "BTCUSDT"):
        for stored in (M15, M60, M240):
            store.fill(source, symbol, stored, end - 140 * DAY_MS, end)
        store.fill_funding(source, symbol, end - 60 * DAY_MS, end)
    btc = CachedReader(store, end)
    opened = {one: open_strategy_data(store, one, timeframe, NEEDS, hours, btc) for one in ("AUSDT", "BUSDT")}
    for hour in hours:
        found = {symbol: data_at(hour) for symbol, data_at in opened.items()}
        for symbol, data in found.items():
            alone = hour_loader(store, hour)(symbol, timeframe, NEEDS)
            assert len(data.other[D1]) and content_hash(data.candles) == content_hash(alone.candles)
            for theirs, ours in ((data.other, alone.other), (data.btc, alone.btc)):
                assert {k: content_hash(v) for k, v in theirs.items()} == {k: content_hash(v) for k, v in ours.items()}
        assert all(held is found["BUSDT"].btc[other] for other, held in found["AUSDT"].btc.items())


@pytest.mark.parametrize("timeframe", [M1, M15, M240])
def test_the_live_finder_has_its_newest_bars_and_fetches_only_once(tmp_path: Path, timeframe: Timeframe) -> None:
    now = T0 + 5 * HOUR_MS + 17 * MINUTE_MS + 3_000
    source, store = CountingSource(now), CandleStore(tmp_path)
    data = load_live(source, store, "AUSDT", timeframe, NEEDS, now)
    last = now - now % timeframe.ms
    assert int(data.candles.end_ms[-1]) == last
    assert len(data.candles) == LIVE_BARS + WARM_UP_BARS
    assert newest(data) <= now
    start = last - LIVE_BARS * timeframe.ms
    assert all(len(data.other[tf].closed_by(start)) >= bars for tf, bars in NEEDS.candles.items())
    assert all(len(data.btc[tf].closed_by(start)) >= bars for tf, bars in NEEDS.btc.items())
    asked = {(symbol, name) for symbol, name, *_ in source.calls}
    source.calls.clear()
    again = load_live(source, store, "AUSDT", timeframe, NEEDS, now)
    assert content_hash(again.candles) == content_hash(data.candles)
    assert [call for call in source.calls if call[1] != "funding"] == []
    assert {(of, tf.value) for of, tf, *_ in live_requests("AUSDT", timeframe, NEEDS, now, store.btc)} <= asked


# Stages over a range of hours


def test_a_range_of_hours_is_those_hours_one_by_one(tmp_path: Path) -> None:
    hours = [T0 + i * HOUR_MS for i in range(4)]
    symbols = {hours[0]: ["AUSDT"], hours[1]: ["AUSDT", "CUSDT"], hours[2]: [], hours[3]: ["CUSDT"]}
    listed_ms = T0 - 3 * DAY_MS

    def has(symbol: str, start: int) -> bool:
        return (symbol != "CUSDT" or start >= listed_ms) and start // HOUR_MS % 17 != 5

    now = hours[-1] + 90 * MINUTE_MS
    together = fill_candles(CountingSource(now, has=has), CandleStore(tmp_path / "all"), M60, symbols, [Wants()], BORNE)
    store, source, parts = CandleStore(tmp_path / "each"), CountingSource(now, has=has), []
    for hour in reversed(hours):
        parts.append(fill_candles(source, store, M60, {hour: symbols[hour]}, [Wants()], BORNE))
    order = ["hour_ms", "symbol"]
    import pandas as pd

    each = pd.concat(parts).sort_values(order).reset_index(drop=True)
    assert each.equals(together.sort_values(order).reset_index(drop=True))
    assert set(together["symbol"]) == {"AUSDT", "BTCUSDT", "CUSDT"}
    young = together[together["symbol"] == "CUSDT"]
    assert (young["first_ms"] == listed_ms).all()
    old = together[together["symbol"] == "AUSDT"]
    assert (old["missing_bars"] == old["expected_bars"] - old["bars"]).all()
    assert (old["missing_bars"] > 0).all()


def test_a_coin_that_comes_and_goes_is_not_fetched_in_between(tmp_path: Path) -> None:
    hours = [T0, T0 + 200 * DAY_MS]
    source = CountingSource(hours[-1] + DAY_MS)
    rows = fill_candles(source, CandleStore(tmp_path), M60, {hour: ["AUSDT"] for hour in hours}, [Wants()], BORNE)
    assert sorted(symbol for symbol, *_ in source.calls) == ["AUSDT", "AUSDT", "BTCUSDT", "BTCUSDT"]
    assert (rows["missing_bars"] == 0).all()
    assert rows.groupby("symbol")["bars"].nunique().tolist() == [1, 1]


def test_funding_of_a_range_is_that_of_its_hours(tmp_path: Path) -> None:
    import pandas as pd

    hours = [T0 + i * HOUR_MS for i in range(0, 24, 8)]
    wanted = {hour: ["AUSDT", "BUSDT"] for hour in hours}
    source, store = CountingSource(hours[-1] + DAY_MS), CandleStore(tmp_path / "all")
    together = fill_funding(source, store, wanted)
    assert len(source.calls) == 2
    each = CandleStore(tmp_path / "each")
    parts = [fill_funding(source, each, {hour: wanted[hour]}) for hour in hours]
    assert pd.concat(parts).reset_index(drop=True).equals(together)
    assert (together["last_ms"] < together["hour_ms"] + HOUR_MS).all()
