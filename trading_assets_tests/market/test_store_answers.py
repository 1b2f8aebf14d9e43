"""What the store believes: answers "absent" expire, and a file that is not what was written is never read."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.errors import DamagedFileError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.market.store import CandleStore
from trading_assets_tests.market.hashes import content_hash
from trading_assets_tests.market.sources import T0, CountingSource, candles_of

M1 = Timeframe.M1


class InTrouble(CountingSource):
    """Hides the candles of a span while it is in trouble."""

    def __init__(self, hidden: range) -> None:
        self.in_trouble = True
        super().__init__(T0 + HOUR_MS, has=lambda _, start: not (self.in_trouble and start in hidden))


@pytest.mark.parametrize(
    "hidden",
    [range(20, 50), range(60), range(30), range(30, 60), range(1, 60)],
    ids=["in the middle", "all", "the first half", "the second half", "all but one"],
)
def test_candles_that_the_exchange_did_not_show_in_its_trouble_are_read_later(tmp_path: Path, hidden: range) -> None:
    times = range(T0 + hidden.start * MINUTE_MS, T0 + hidden.stop * MINUTE_MS)
    source, store = InTrouble(times), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(store.read("AUSDT", M1, T0, T0 + HOUR_MS)) == 60 - len(hidden)
    source.in_trouble = False
    source.time_ms = T0 + 3 * HOUR_MS
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(store.read("AUSDT", M1, T0, T0 + HOUR_MS)) == 60
    assert store.absences("AUSDT", M1, T0, T0 + HOUR_MS) == []


@pytest.mark.slow
def test_a_candle_that_never_existed_is_asked_for_ever_more_seldom(tmp_path: Path) -> None:
    gap = range(T0 + 20 * MINUTE_MS, T0 + 50 * MINUTE_MS)
    source, store = CountingSource(T0 + HOUR_MS, has=lambda _, start: start not in gap), CandleStore(tmp_path)
    for _ in range(60 * 24 * 60 // 10):
        store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
        source.time_ms += 10 * MINUTE_MS
    assert len(source.calls) < 25
    assert set(source.calls[1:]) == {("AUSDT", "1m", gap.start, gap.stop)}
    assert store.absences("AUSDT", M1, T0, T0 + HOUR_MS) == [(gap.start, gap.stop)]
    asked = len(source.calls)
    source.time_ms += 8 * DAY_MS
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(source.calls) == asked + 1, "at least once a week"


def test_payments_that_the_exchange_did_not_show_in_its_trouble_are_read_later(tmp_path: Path) -> None:
    class Trouble(CountingSource):
        in_trouble = True

        def funding(self, symbol: str, start_ms: int, end_ms: int):  # type: ignore[no-untyped-def]
            paid = super().funding(symbol, start_ms, end_ms)
            return paid.between(0, T0 + 3 * DAY_MS) if self.in_trouble else paid

    source, store = Trouble(T0 + 10 * DAY_MS), CandleStore(tmp_path)
    store.fill_funding(source, "AUSDT", T0, T0 + 10 * DAY_MS)
    assert len(store.read_funding("AUSDT", T0, T0 + 10 * DAY_MS)) == 9
    source.in_trouble = False
    source.time_ms += 7 * DAY_MS
    store.fill_funding(source, "AUSDT", T0, T0 + 10 * DAY_MS)
    assert len(store.read_funding("AUSDT", T0, T0 + 10 * DAY_MS)) == 30
    asked = len(source.calls)
    source.time_ms += 365 * DAY_MS
    store.fill_funding(source, "AUSDT", T0, T0 + 10 * DAY_MS)
    assert len(source.calls) == asked, "three payments a day leave nothing to ask for"


def test_what_is_held_can_be_fetched_again(tmp_path: Path) -> None:
    factor = 1.0

    def made(symbol: str, timeframe: Timeframe, starts: object) -> Candles:
        candles = candles_of(symbol, timeframe, starts)  # type: ignore[arg-type]
        return Candles(
            timeframe,
            candles.start_ms,
            *(getattr(candles, name) * factor for name in ("open", "high", "low", "close", "volume", "turnover")),
        )

    source, store = CountingSource(T0 + DAY_MS, candles=made), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    factor = 2.0
    assert store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS) == 0
    assert store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS, again=True) == 60
    expected = made("AUSDT", M1, range(T0, T0 + HOUR_MS, MINUTE_MS))
    assert content_hash(store.read("AUSDT", M1, T0, T0 + HOUR_MS)) == content_hash(expected)


# Files


def written(root: Path) -> tuple[Path, bytes, str]:
    """The largest chunk of a day of candles, what it holds, and the hash of the day."""
    store, source = CandleStore(root), CountingSource(T0 + 100 * DAY_MS, has=lambda _, start: start % 7 != 0)
    store.fill(source, "AUSDT", M1, T0, T0 + DAY_MS)
    path = max((root / "AUSDT" / "1m").glob("*.parquet"), key=lambda one: one.stat().st_size)
    return path, path.read_bytes(), content_hash(store.read("AUSDT", M1, T0 - DAY_MS, T0 + 2 * DAY_MS))


@pytest.mark.slow
def test_no_flipped_bit_is_read_as_other_candles_or_other_answers(tmp_path: Path) -> None:
    path, content, expected = written(tmp_path)
    missing = CandleStore(tmp_path).missing("AUSDT", M1, T0 - DAY_MS, T0 + 2 * DAY_MS, now_ms=T0 + 101 * DAY_MS)
    rng, refused = random.Random(1), 0
    tail = range(len(content) - 2500, len(content))
    for at in [*(rng.randrange(len(content)) for _ in range(300)), *rng.sample(tail, 300)]:
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.randrange(8)
        path.unlink()
        path.write_bytes(flipped)
        store = CandleStore(tmp_path)
        try:
            held = store.read("AUSDT", M1, T0 - DAY_MS, T0 + 2 * DAY_MS)
        except DamagedFileError:
            refused += 1
            continue
        assert content_hash(held) == expected
        assert store.missing("AUSDT", M1, T0 - DAY_MS, T0 + 2 * DAY_MS, now_ms=T0 + 101 * DAY_MS) == missing
    assert refused > 300


def test_pages_carry_checksums(tmp_path: Path) -> None:
    """Whoever reads a chunk with another program can verify it, too."""
    path, content, _ = written(tmp_path)
    at = len(content) // 2
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(path, page_checksum_verification=True).read()


def test_a_damaged_chunk_is_put_aside_and_fetched_again(tmp_path: Path) -> None:
    path, content, expected = written(tmp_path)
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    source, store = CountingSource(T0 + 100 * DAY_MS, has=lambda _, start: start % 7 != 0), CandleStore(tmp_path)
    store.fill(source, "AUSDT", M1, T0, T0 + DAY_MS)
    assert content_hash(store.read("AUSDT", M1, T0 - DAY_MS, T0 + 2 * DAY_MS)) == expected
    assert path.with_name(f"{path.name}.damaged").exists()


def test_a_chunk_of_an_older_version_is_read_and_its_gaps_are_asked_for_once_more(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path)
    source._has = lambda _, start: start >= T0 + 30 * MINUTE_MS  # type: ignore[method-assign]
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    (path,) = (tmp_path / "AUSDT" / "1m").glob("*.parquet")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"covered": table.schema.metadata[b"covered"]}), path)
    older = CandleStore(tmp_path)
    assert np.array_equal(older.read("AUSDT", M1, T0, T0 + HOUR_MS).start_ms, np.arange(30, 60) * MINUTE_MS + T0)
    source._has = lambda *_: True  # type: ignore[method-assign]
    older.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    assert len(older.read("AUSDT", M1, T0, T0 + HOUR_MS)) == 60
