"""Imports: what is damaged concerns itself alone, nothing is taken twice, and what was stopped goes on."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.timeframes import DAY_MS, MINUTE_MS, Timeframe
from trading_assets.history import reading
from trading_assets.history.importing import HELD, IMPORTED, REFUSED, WOULD, Options, Outcome, import_files
from trading_assets.history.library import Library
from trading_assets.history.market import HistoryMarket
from trading_assets.market.store import CandleStore
from trading_assets_tests.history import made
from trading_assets_tests.history.made import DAY, WALL


def all_of(folder: Path, symbol: str = "BTCUSDT") -> Candles:
    return Library(folder / "library").read(symbol, Timeframe.M1, 0, WALL)


def damaged(folder: Path) -> dict[str, Path]:
    """Files that cannot be taken, by a word of what is said of each."""
    held = made.candles()
    folder.mkdir()
    trades = made.bybit_trades(
        folder / "BTCUSDT2024-03-09.csv.gz", [(DAY / 1000 + at, "BTCUSDT", 100.0, 1.0) for at in range(5000)]
    )
    return {
        "cannot be unpacked": made.truncated(trades),
        "is not a zip": made.plain(folder / "ETHUSDT-1m-2024-05.zip", b"no zip at all"),
        "no feather": made.plain(folder / "BTC_USDT_USDT-1m-futures.feather", b"ARROW1 and no more"),
        "no JSON": made.plain(folder / "BTC_USDT_USDT-1m-futures.json", b"[[1709251200000, 1, 2"),
        "columns are not known": made.plain(folder / "SOLUSDT.csv", b"alpha,beta\nx,y\n"),
        "no rows": made.plain(folder / "XRPUSDT.csv", b"time,open,high,low,close,volume\n"),
        "are no 1m candles": made.plain(
            folder / "ADAUSDT-1m.csv",
            made.lines([[row[0], row[3], row[4], row[2], *row[4:6]] for row in made.rows_of(held)]),
        ),
        "its times are from": made.plain(
            folder / "DOTUSDT-1m.csv", made.lines([[row[0] / 1000 / 365, *row[1:6]] for row in made.rows_of(held)])
        ),
        "settled in their coin": made.bybit_trades(
            folder / "BTCUSD2024-03-01.csv.gz", [(DAY / 1000, "BTCUSD", 100.0, 1.0)]
        ),
        "spot market": made.gz(
            folder / "BTCUSDT_2024-03-01.csv.gz", b"id,timestamp,price,volume,side,rpi\n1,1709251200000,1,1,buy,0\n"
        ),
        "timeframe 8h": made.plain(folder / "BTC_USDT_USDT-8h-futures.json", b"[[1709251200000, 1, 2, 1, 1, 5]]"),
        "mark, index": made.plain(folder / "BTC_USDT_USDT-1h-mark.json", b"[[1709251200000, 1, 2, 1, 1, 5]]"),
    }


def test_each_damaged_file_is_refused_with_its_reason_and_costs_nothing_else(tmp_path: Path) -> None:
    bad = damaged(tmp_path / "files")
    held = made.candles()
    good = made.binance_klines(tmp_path / "files", held, name="LINKUSDT-1m-2024-03.zip")
    summary = made.imported(tmp_path)
    by_path = {one.path: one for one in summary.outcomes}
    for words, path in bad.items():
        outcome = by_path[path]
        assert outcome.status == REFUSED, path.name
        assert words in outcome.reason or (words == "is not a zip" and "zip" in outcome.reason), outcome.reason
    assert by_path[good].status == IMPORTED
    assert len(all_of(tmp_path, "LINKUSDT")) == len(held)
    assert {span.symbol for span in Library(tmp_path / "library").spans()} == {"LINKUSDT"}
    assert not summary.is_clean


def test_bad_rows_are_left_out_and_counted_and_gaps_said(tmp_path: Path) -> None:
    rows = made.rows_of(made.candles(1000))
    rows[10][2] = rows[10][3] - 1  # high below low
    rows[20][1] = float("nan")
    rows[30][0] += 1500  # off the grid
    rows.insert(41, list(rows[40]))
    rows.insert(51, [*rows[50][:4], rows[50][4] + 0.5, *rows[50][5:]])
    rows[51][2] = max(rows[51][2], rows[51][4])
    del rows[500:560]
    path = made.plain(tmp_path / "BTCUSDT-1m.csv", made.lines(rows))
    (outcome,) = made.imported(tmp_path, path).outcomes
    counts = outcome.checked[0].counts
    assert counts["impossible bars"] == 1
    assert counts["rows without a number"] == 1
    assert counts["rows off the grid"] == 1
    assert counts["rows twice, the same"] == 1
    assert counts["rows twice with other values, the first was kept"] == 1
    assert counts["candles missing in them"] == 60 + 3
    assert outcome.contradicts
    assert len(all_of(tmp_path)) == 1000 - 63


def test_a_second_import_takes_nothing_and_a_moved_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = made.binance_klines(tmp_path, made.candles())
    assert made.imported(tmp_path, path).outcomes[0].status == IMPORTED
    before = all_of(tmp_path)
    moved = path.rename(tmp_path / "ETHUSDT-1m-2024-09.zip")
    for again in (moved, moved):
        (outcome,) = made.imported(tmp_path, again).outcomes
        assert outcome.status == HELD
    (read,) = made.imported(tmp_path, path.parent / moved.name, options=Options(again=True, dry_run=True)).outcomes
    assert read.status == WOULD
    np.testing.assert_array_equal(all_of(tmp_path).close, before.close)
    (record,) = Library(tmp_path / "library").files()
    assert (record.format, record.rows, Path(record.path).name) == ("binance-klines", 180, "BTCUSDT-1m-2024-03.zip")


def test_an_import_that_was_stopped_goes_on_with_the_file_it_had_not_finished(tmp_path: Path) -> None:
    for month in (1, 2, 3):
        made.binance_klines(tmp_path, made.candles(60, DAY + month * DAY_MS), name=f"BTCUSDT-1m-2024-0{month}.zip")

    class StoppedError(Exception):
        pass

    def stop(done: int, _total: int, _last: Outcome) -> None:
        if done == 2:
            raise StoppedError

    library = Library(tmp_path / "library")
    with pytest.raises(StoppedError):
        import_files(library, [tmp_path], Options(), progress=stop, wall_ms=lambda: WALL)
    assert len(library.files()) == 2
    summary = import_files(library, [*sorted(tmp_path.glob("*.zip"))], Options(), wall_ms=lambda: WALL)
    assert [one.status for one in summary.outcomes] == [HELD, HELD, IMPORTED]
    assert len(all_of(tmp_path)) == 180


def test_a_file_whose_rows_were_kept_but_that_was_not_noted_is_taken_again_without_a_contradiction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.binance_klines(tmp_path, made.candles())

    def die(*_: object) -> None:
        raise StorageError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(Library, "remember", die)
        with pytest.raises(StorageError):
            made.imported(tmp_path, path)
    (outcome,) = made.imported(tmp_path, path).outcomes
    assert outcome.status == IMPORTED and not outcome.contradicts
    assert outcome.checked[0].counts["held already, the same"] == 180
    assert len(all_of(tmp_path)) == 180


@pytest.mark.parametrize("is_replaced", [False, True])
def test_an_overlap_that_disagrees_is_said_and_the_held_rows_stay_unless_a_person_says_otherwise(
    tmp_path: Path, is_replaced: bool
) -> None:
    held = made.candles()
    made.imported(tmp_path, made.binance_klines(tmp_path, held))
    other = replace(held, close=np.where(np.arange(180) == 7, held.close + 0.5, held.close), high=held.high + 0.0)
    other = replace(other, high=np.maximum(other.high, other.close))
    longer = made.candles(240)
    joined = {
        name: np.concatenate([getattr(other, name), getattr(longer, name)[180:]]) for name in ("start_ms", *made.NAMES)
    }
    second = made.binance_klines(tmp_path, Candles(Timeframe.M1, **joined), name="BTCUSDT-1m-2024-04.zip")
    (outcome,) = made.imported(tmp_path, second, options=Options(replace=is_replaced)).outcomes
    counts = outcome.checked[0].counts
    assert counts["held already, the same"] == 179
    assert counts["held already with other values, " + ("replaced" if is_replaced else "the held ones were kept")] == 1
    assert outcome.contradicts is not is_replaced
    found = all_of(tmp_path)
    assert len(found) == 240
    assert found.close[7] == (held.close[7] + 0.5 if is_replaced else held.close[7])


def test_the_published_checksum_is_compared(tmp_path: Path) -> None:
    good = made.with_checksum(made.binance_klines(tmp_path, made.candles()))
    bad = made.with_checksum(
        made.binance_klines(tmp_path, made.candles(seed=2), name="ETHUSDT-1m-2024-03.zip"), right=False
    )
    outcomes = {one.path: one for one in made.imported(tmp_path, good, bad).outcomes}
    assert outcomes[good].checksum == "as published"
    assert outcomes[bad].status == IMPORTED  # the archives publish wrong ones: it is said, and not refused
    assert "its checksum is not the published one" in outcomes[bad].checked[0].notes


def test_the_month_files_of_metatrader_overlap_by_a_minute_and_agree(tmp_path: Path) -> None:
    held = made.candles(181)
    first = made.bybit_mt4(tmp_path, held.select(slice(0, 91)))
    first = first.rename(tmp_path / "BTCUSDT_1_2024-02-01_2024-02-29.csv.gz")
    second = made.bybit_mt4(tmp_path, held.select(slice(90, 181)))
    summary = made.imported(tmp_path, first, second)
    assert summary.is_clean
    assert all_of(tmp_path).start_ms.tolist() == held.start_ms.tolist()


def test_what_research_has_read_is_forgotten_where_an_import_changes_it_and_stays_elsewhere(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    held = made.candles(6000)
    part = held.select(np.r_[0:100, 200:6000])
    made.imported(tmp_path, made.binance_klines(tmp_path, part), library=library)
    store, market = CandleStore(tmp_path / "store"), HistoryMarket(library)
    end = int(held.end_ms[-1])
    store.fill(market, "BTCUSDT", Timeframe.M1, DAY, end)
    assert len(store.read("BTCUSDT", Timeframe.M1, DAY, end)) == 5900
    kept = sorted(store.root.rglob("*.parquet"))
    rest = made.binance_klines(tmp_path, held.select(slice(100, 200)), name="BTCUSDT-1m-2024-09.zip")
    import_files(library, [rest], Options(), store=store, wall_ms=lambda: WALL)
    left = sorted(store.root.rglob("*.parquet"))
    assert set(left) < set(kept) and left
    store.fill(market, "BTCUSDT", Timeframe.M1, DAY, end)
    assert len(store.read("BTCUSDT", Timeframe.M1, DAY, end)) == 6000


def test_a_folder_without_tables_and_a_path_that_is_not_there_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, words in ((tmp_path / "empty", "no file there"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(ConfigurationError, match=words):
            made.imported(tmp_path, path)


def test_two_imports_at_once_are_refused(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    path = made.binance_klines(tmp_path, made.candles())
    with library.locked(), pytest.raises(StorageError, match="another import"):
        made.imported(tmp_path, path)


def test_a_candle_that_has_not_ended_is_left_out(tmp_path: Path) -> None:
    held = made.candles(60, WALL - 59 * MINUTE_MS)
    (outcome,) = made.imported(tmp_path, made.bybit_rest(tmp_path, held)).outcomes
    assert outcome.checked[0].counts["unfinished"] == 1
    assert len(all_of(tmp_path)) == 59


def test_a_gzip_of_no_text_is_said(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT2024-03-01.csv.gz"
    path.write_bytes(gzip.compress(b"\xff\xfe\x00\x81" * 400))
    (outcome,) = made.imported(tmp_path, path).outcomes
    assert outcome.status == REFUSED and "text" in outcome.reason


def test_numbers_that_are_whole_in_the_first_piece_of_a_file_and_not_in_the_next_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 512)
    rows = [[row[0], *(int(value) for value in row[1:5]), 3] for row in made.rows_of(made.candles(60))]
    for row in rows:
        row[2], row[3] = row[2] + 1, row[3] - 1
    rows[50][5] = 3.5
    made.imported(tmp_path, made.plain(tmp_path / "BTCUSDT-1m.csv", made.lines(rows)))
    assert all_of(tmp_path).volume[50] == 3.5
