"""The candle store: fetched once, gaps known, safe for processes, and clear about damage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import (
    ClockSkewError,
    DataError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    OrderRejectedError,
    StorageError,
    SymbolUnavailableError,
    UnreadableAnswerError,
)
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.market.spans import subtract, union
from trading_assets.market.store import CandleStore
from trading_assets_tests.conftest import recorded_data
from trading_assets_tests.market.hashes import content_hash
from trading_assets_tests.market.sources import T0, CountingSource, candles_of
from trading_assets_tests.market.writers import fill_every, fill_for_ever

M1, M60 = Timeframe.M1, Timeframe.M60
SLOTS = 2048
CHUNK_MS = SLOTS * MINUTE_MS


def assert_equal(a: Candles | Funding, b: Candles | Funding) -> None:
    assert content_hash(a) == content_hash(b)


# Spans

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=8)


def points(spans: Sequence[tuple[int, int]]) -> set[int]:
    return {at for low, high in spans for at in range(low, high)}


@given(SPANS)
def test_a_union_covers_the_same_points_in_the_fewest_spans(spans: list[tuple[int, int]]) -> None:
    merged = union(spans)
    assert points(merged) == points(spans)
    assert all(low < high for low, high in merged)
    assert all(before[1] < after[0] for before, after in pairwise(merged))
    assert union(merged) == merged
    assert union(spans[::-1]) == merged


@given(SPANS, SPANS)
def test_what_is_left_and_what_is_taken_away_share_nothing_and_miss_nothing(
    spans: list[tuple[int, int]], covered: list[tuple[int, int]]
) -> None:
    left = subtract(spans, covered)
    assert points(left) == points(spans) - points(covered)
    assert union(left) == left
    assert subtract(spans, []) == union(spans)
    assert subtract(spans, spans) == []
    assert subtract(left, covered) == left


# Filling and reading


def test_what_was_filled_is_read_and_nothing_is_fetched_twice(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + 10 * DAY_MS), CandleStore(tmp_path)
    assert store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS) == 60
    assert store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS) == 0
    assert store.fill(source, "AUSDT", M1, T0 - HOUR_MS, T0 + 2 * HOUR_MS) == 120
    assert source.asked("AUSDT", M1) == [
        (T0, T0 + HOUR_MS),
        (T0 - HOUR_MS, T0),
        (T0 + HOUR_MS, T0 + 2 * HOUR_MS),
    ]
    expected = candles_of("AUSDT", M1, range(T0 - HOUR_MS, T0 + 2 * HOUR_MS, MINUTE_MS))
    assert_equal(store.read("AUSDT", M1, T0 - DAY_MS, T0 + DAY_MS), expected)
    assert_equal(CandleStore(tmp_path).read("AUSDT", M1, T0 - DAY_MS, T0 + DAY_MS), expected)


def test_symbols_and_timeframes_do_not_mix(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    store.fill(source, "LONGUSDT", M1, T0, T0 + HOUR_MS)
    assert len(store.read("AUSDT", M60, T0, T0 + DAY_MS)) == 0
    assert_equal(store.read("AUSDT", M1, T0, T0 + HOUR_MS), candles_of("AUSDT", M1, range(T0, T0 + HOUR_MS, MINUTE_MS)))
    assert len(store.read("BUSDT", M1, T0, T0 + DAY_MS)) == 0


def test_a_candle_that_has_not_closed_is_neither_stored_nor_counted_as_answered(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + 90 * MINUTE_MS + 59_999), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M60, T0, T0 + DAY_MS)
    assert store.read("AUSDT", M60, T0, T0 + DAY_MS).start_ms.tolist() == [T0]
    assert store.missing("AUSDT", M60, T0, T0 + 3 * HOUR_MS) == [(T0 + HOUR_MS, T0 + 3 * HOUR_MS)]
    source.time_ms = T0 + 2 * HOUR_MS
    store.fill(source, "AUSDT", M60, T0, T0 + DAY_MS)
    assert store.read("AUSDT", M60, T0, T0 + DAY_MS).start_ms.tolist() == [T0, T0 + HOUR_MS]


def test_a_gap_of_the_exchange_is_known_and_not_asked_for_again(tmp_path: Path) -> None:
    gap = range(T0 + 10 * MINUTE_MS, T0 + 20 * MINUTE_MS)
    source = CountingSource(T0 + DAY_MS, has=lambda _, start: start not in gap)
    store = CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(store.read("AUSDT", M1, T0, T0 + HOUR_MS)) == 50
    assert store.missing("AUSDT", M1, T0, T0 + HOUR_MS) == []
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(source.calls) == 1


def test_a_span_without_any_candle_is_answered_too(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + DAY_MS, has=lambda *_: False), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + 3 * CHUNK_MS)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(source.calls) == 1
    assert len(store.read("AUSDT", M1, T0, T0 + DAY_MS)) == 0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((T0 + 1, T0 + MINUTE_MS + 1), [(T0, T0 + 2 * MINUTE_MS)]),
        ((T0, T0 + 1), [(T0, T0 + MINUTE_MS)]),
        ((T0, T0), []),
        ((T0 + HOUR_MS, T0), []),
    ],
)
def test_what_is_missing_is_told_in_whole_candles(
    tmp_path: Path, asked: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert CandleStore(tmp_path).missing("AUSDT", M1, *asked) == expected


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(-300, 4500), st.integers(1, 2500)), min_size=1, max_size=6))
def test_any_overlapping_fills_hold_the_same_as_one_fill(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]]
) -> None:
    """Spans cross the borders of chunks; every tenth candle or so does not exist at the exchange."""
    source = CountingSource(T0 + 5000 * MINUTE_MS, has=lambda _, start: start // MINUTE_MS % 11 != 3)
    store, root = CandleStore(tmp_path_factory.mktemp("store")), tmp_path_factory.mktemp("one")
    wanted = [(T0 + low * MINUTE_MS, T0 + (low + length) * MINUTE_MS) for low, length in spans]
    for low, high in wanted:
        store.fill(source, "AUSDT", M1, low, high)
    asked = source.asked("AUSDT", M1)
    assert sum(high - low for low, high in asked) == sum(high - low for low, high in union(asked))
    low, high = min(low for low, _ in wanted), max(high for _, high in wanted)
    one = CandleStore(root)
    one.fill(source, "AUSDT", M1, low, high)
    held, whole = store.read("AUSDT", M1, low, high), one.read("AUSDT", M1, low, high)
    inside = np.zeros(len(whole), dtype=bool)
    for a, b in wanted:
        inside |= (whole.start_ms >= a) & (whole.start_ms < b)
    assert_equal(held, whole.select(inside))
    left = subtract([(low, min(high, source.time_ms))], wanted)
    assert store.missing("AUSDT", M1, low, min(high, source.time_ms)) == left


def test_many_requests_at_once_are_each_fetched_once(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    told: list[tuple[int, int]] = []
    symbols = [f"S{i}USDT" for i in range(12)]
    requests = [(symbol, M60, T0, T0 + DAY_MS) for symbol in symbols]
    assert store.fill_many(source, requests, progress=lambda done, of: told.append((done, of))).fetched == 12 * 24
    assert told == [(i, 12) for i in range(1, 13)]
    assert store.fill_many(source, requests).fetched == 0
    assert len(source.calls) == 12
    assert store.fill_many(source, []).fetched == 0


class Failing(CountingSource):
    """Some symbols fail with an error."""

    def __init__(self, error: Exception, symbols: Sequence[str]) -> None:
        super().__init__(T0 + DAY_MS)
        self._error, self._symbols = error, symbols

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        if symbol in self._symbols:
            raise self._error
        return super().candles(symbol, timeframe, start_ms, end_ms)


@pytest.mark.parametrize(
    "error",
    [
        ExchangeUnavailableError("no answer"),
        UnreadableAnswerError("no numbers"),
        SymbolUnavailableError("no such symbol", code=10001),
        OrderRejectedError("a parameter", code=10001),
        DataError("a candle twice"),
    ],
)
def test_a_symbol_whose_request_fails_fails_alone_and_is_told(tmp_path: Path, error: Exception) -> None:
    store = CandleStore(tmp_path)
    requests = [(f"S{i}USDT", M60, T0, T0 + DAY_MS) for i in range(6)]
    filled = store.fill_many(Failing(error, ["S3USDT"]), requests, workers=2)
    assert filled.failed == {"S3USDT": str(error)}
    assert filled.fetched == 5 * 24


@pytest.mark.parametrize(
    ("error", "failing"),
    [
        (ExchangeUnavailableError("nothing"), 6),
        (ExchangeUnavailableError("nothing"), 4),
        (UnreadableAnswerError("nothing"), 6),
        (DataError("nothing"), 6),
        (ExchangeFatalError("nothing"), 1),
        (ClockSkewError("nothing"), 1),
        (StorageError("nothing"), 1),
    ],
)
def test_an_exchange_that_fails_stops_the_rest_and_is_told(tmp_path: Path, error: Exception, failing: int) -> None:
    store = CandleStore(tmp_path)
    requests = [(f"S{i}USDT", M60, T0, T0 + DAY_MS) for i in range(6)]
    with pytest.raises(type(error), match="nothing"):
        store.fill_many(Failing(error, [f"S{i}USDT" for i in range(failing)]), requests, workers=1)
    good = CountingSource(T0 + DAY_MS)
    store.fill_many(good, requests)
    assert "S3USDT" in {symbol for symbol, *_ in good.calls}
    assert all(len(store.read(symbol, M60, T0, T0 + DAY_MS)) == 24 for symbol, *_ in requests)


@pytest.mark.parametrize(
    "starts",
    [[T0, T0], [T0 + MINUTE_MS, T0], [T0 + 1], [T0 - MINUTE_MS], [T0 + HOUR_MS]],
    ids=["twice", "backwards", "off the grid", "before", "after"],
)
def test_candles_that_were_not_asked_for_are_refused_and_nothing_is_stored(tmp_path: Path, starts: list[int]) -> None:
    class Odd(CountingSource):
        def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
            return candles_of(symbol, timeframe, starts)

    store = CandleStore(tmp_path)
    with pytest.raises(DataError, match="nothing was stored"):
        store.fill(Odd(T0 + DAY_MS), "AUSDT", M1, T0, T0 + HOUR_MS)
    assert store.missing("AUSDT", M1, T0, T0 + HOUR_MS) == [(T0, T0 + HOUR_MS)]


def test_a_candle_corrected_by_a_later_answer_is_replaced(tmp_path: Path) -> None:
    """Two processes asked for the same span: what came last stays, and no time appears twice."""
    store = CandleStore(tmp_path)
    first = CountingSource(T0 + DAY_MS)
    store.fill(first, "AUSDT", M1, T0, T0 + HOUR_MS)

    def doubled(symbol: str, timeframe: Timeframe, starts: Sequence[int]) -> Candles:
        made = candles_of(symbol, timeframe, starts)
        return replace(made, close=made.close * 2)

    other = CandleStore(tmp_path)
    columns = doubled("AUSDT", M1, range(T0, T0 + HOUR_MS, MINUTE_MS))
    names = ("start_ms", "open", "high", "low", "close", "volume", "turnover")
    other._chunks.merge(
        other._folder("AUSDT", M1), CHUNK_MS, {n: getattr(columns, n) for n in names}, (T0, T0 + HOUR_MS), MINUTE_MS, T0
    )
    held = store.read("AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(held) == 60
    assert_equal(held, columns)


# Funding


def test_funding_is_fetched_once_and_the_newest_moment_is_left_open(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + 8 * HOUR_MS + 1_000), CandleStore(tmp_path)
    store.fill_funding(source, "AUSDT", T0 - DAY_MS, T0 + DAY_MS)
    assert store.read_funding("AUSDT", T0 - DAY_MS, T0 + 8 * HOUR_MS).time_ms.tolist()[-1] == T0
    assert store.missing_funding("AUSDT", T0 + 8 * HOUR_MS, T0 + 8 * HOUR_MS + 1) != []
    source.time_ms = T0 + 9 * HOUR_MS
    store.fill_funding(source, "AUSDT", T0 - DAY_MS, T0 + DAY_MS)
    held = store.read_funding("AUSDT", T0 - DAY_MS, T0 + DAY_MS)
    assert held.time_ms.tolist() == [T0 + i * 8 * HOUR_MS for i in range(-3, 2)]
    calls = len(source.calls)
    store.fill_funding(source, "AUSDT", T0 - DAY_MS, T0 + DAY_MS)
    assert len(source.calls) == calls


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(1, 300)), min_size=1, max_size=4))
def test_funding_in_any_order_is_the_funding_of_one_fill(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]]
) -> None:
    source = CountingSource(T0 + 500 * DAY_MS)
    store, one = CandleStore(tmp_path_factory.mktemp("a")), CandleStore(tmp_path_factory.mktemp("b"))
    wanted = [(T0 + low * DAY_MS, T0 + (low + length) * DAY_MS) for low, length in spans]
    for low, high in wanted:
        store.fill_funding(source, "AUSDT", low, high)
    for low, high in union(wanted):
        one.fill_funding(source, "AUSDT", low, high)
    low, high = T0 - 600 * DAY_MS, T0 + 900 * DAY_MS
    assert_equal(store.read_funding("AUSDT", low, high), one.read_funding("AUSDT", low, high))


# Processes


@pytest.mark.slow
def test_two_processes_that_write_one_symbol_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=fill_every, args=(str(tmp_path), first, 2, 40)) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = CandleStore(tmp_path)
    assert store.missing("AUSDT", M1, T0, T0 + 40 * HOUR_MS) == []
    expected = candles_of("AUSDT", M1, range(T0, T0 + 40 * HOUR_MS, MINUTE_MS))
    assert_equal(store.read("AUSDT", M1, T0, T0 + 40 * HOUR_MS), expected)


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_a_readable_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    store = CandleStore(tmp_path)
    previous = 0
    for wait_s in (0.0, 0.013, 0.031):
        worker = context.Process(target=fill_for_ever, args=(str(tmp_path),))
        worker.start()
        deadline = time.monotonic() + 60
        while len(store.read("AUSDT", M1, T0, T0 + 40 * DAY_MS)) < previous + 120 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(wait_s)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(60)
        held = store.read("AUSDT", M1, T0, T0 + 40 * DAY_MS)
        assert len(held) >= previous + 120
        assert_equal(held, candles_of("AUSDT", M1, held.start_ms.tolist()))
        missing = store.missing("AUSDT", M1, T0, T0 + 30 * DAY_MS)
        assert missing == [(int(held.end_ms[-1]), T0 + 30 * DAY_MS)]
        previous = len(held)
    store.fill(CountingSource(T0 + 30 * DAY_MS), "AUSDT", M1, T0, T0 + 3 * DAY_MS)
    assert len(store.read("AUSDT", M1, T0, T0 + 3 * DAY_MS)) == 3 * 1440


# Damage


def _only_chunk(root: Path) -> Path:
    return next(iter((root / "AUSDT" / "1m").glob("*.parquet")))


@pytest.mark.parametrize("damage", ["garbage", "empty", "half", "no metadata"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    source = CountingSource(T0 + DAY_MS)
    CandleStore(tmp_path).fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    path = _only_chunk(tmp_path)
    content = path.read_bytes()
    if damage == "no metadata":
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    else:
        path.write_bytes({"garbage": b"x" * 5000, "empty": b"", "half": content[: len(content) // 2]}[damage])
    store = CandleStore(tmp_path)
    for use in (
        lambda: store.read("AUSDT", M1, T0, T0 + HOUR_MS),
        lambda: store.missing("AUSDT", M1, T0, T0 + HOUR_MS),
    ):
        with pytest.raises(StorageError, match=r"damaged.*delete it") as raised:
            use()
        assert str(path) in str(raised.value)
    assert store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS) == 60
    assert len(store.read("AUSDT", M1, T0, T0 + HOUR_MS)) == 60
    assert [aside.name for aside in path.parent.glob("*.damaged")] == [f"{path.name}.damaged"]


@pytest.mark.parametrize("place", ["the root is a file", "the symbol is a file"])
def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path, place: str) -> None:
    root = tmp_path / "store"
    blocker = root if place == "the root is a file" else root / "AUSDT"
    blocker.parent.mkdir(parents=True, exist_ok=True)
    blocker.write_text("in the way")
    with pytest.raises(StorageError, match="TRADING_ASSETS_HOME"):
        CandleStore(root).fill(CountingSource(T0 + DAY_MS), "AUSDT", M1, T0, T0 + HOUR_MS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="TRADING_ASSETS_HOME"):
            CandleStore(tmp_path).fill(CountingSource(T0 + DAY_MS), "AUSDT", M1, T0, T0 + HOUR_MS)
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_is_full_is_a_clear_error_and_what_was_held_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(StorageError, match="No space left on device"):
        store.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS)
    monkeypatch.undo()
    assert len(store.read("AUSDT", M1, T0, T0 + DAY_MS)) == 60
    assert [p.name for p in (tmp_path / "AUSDT" / "1m").iterdir() if p.name.startswith(".writing")] == []


# Recorded


@pytest.mark.recorded
def test_the_gaps_of_a_real_collectors_bug_are_found_exactly(tmp_path: Path) -> None:
    """Its paging left out 801 minutes after each 200."""
    table = pq.read_table(recorded_data("candles_1m_with_gaps.parquet")).to_pandas().sort_values("start_ms")
    symbol = str(table["symbol"].iloc[0])
    starts = table["start_ms"].to_numpy(dtype=np.int64)

    class Recorded(CountingSource):
        def candles(self, of: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
            rows = table[(starts >= start_ms) & (starts < end_ms)]
            names = ("open", "high", "low", "close", "volume", "turnover")
            arrays = (rows[name].to_numpy(dtype=np.float64) for name in names)
            return Candles(timeframe, rows["start_ms"].to_numpy(dtype=np.int64), *arrays)

    low, high = int(starts[0]), int(starts[-1]) + MINUTE_MS
    store = CandleStore(tmp_path)
    source = Recorded(high + DAY_MS)
    for day in range(low, high, DAY_MS):
        store.fill(source, symbol, M1, day, min(day + DAY_MS, high))
    held = store.read(symbol, M1, low, high)
    assert held.start_ms.tolist() == starts.tolist()
    assert store.missing(symbol, M1, low, high) == []
    gaps = subtract([(low, high)], [(int(s), int(s) + MINUTE_MS) for s in held.start_ms])
    missed = sorted(set(range(low, high, MINUTE_MS)) - set(starts.tolist()))
    assert sum(b - a for a, b in gaps) == len(missed) * MINUTE_MS
    lengths = [(b - a) // MINUTE_MS for a, b in gaps]
    assert set(lengths) == {801}
    runs = [(gaps[i + 1][0] - gaps[i][1]) // MINUTE_MS for i in range(len(gaps) - 1)]
    assert set(runs) == {200}
