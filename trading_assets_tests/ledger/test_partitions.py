"""Partitions of hourly tables: replaced as a whole, or not at all, on SQLite and on PostgreSQL."""

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.errors import ConfigurationError, ConflictError, DatabaseLockedError, DataError, StorageError
from trading_assets.core.schemas import BACKTEST_RESULTS, CANDLE_COVERAGE, HOURLY_TABLES, MARKET_SCAN
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import partitions
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions, replace_partitions


def scan_rows(hour_ms: int, *symbols: str, price: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "hour_ms": hour_ms,
                "scan_id": "scan-20251217-093000",
                "symbol": symbol,
                "rank": rank,
                "price": price,
                "volume_24h": 2e6,
                "price_change_24h": -3.0,
                "volatility_24h": 5.0,
                "size_error_pct": 0.5,
                "max_price": 1e6,
                "timestamp_ms": hour_ms + HOUR_MS,
            }
            for rank, symbol in enumerate(symbols, start=1)
        ]
    )


def coverage_rows(hour_ms: int, timeframe: str) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "hour_ms": hour_ms,
                "timeframe": timeframe,
                "symbol": "BTCUSDT",
                "first_ms": 0,
                "last_ms": 0,
                "bars": 1,
                "expected_bars": 1,
                "missing_bars": 0,
                "coverage_pct": 100.0,
                "history_pct": 100.0,
                "content_hash": "0" * 16,
                "fault": None,
            }
        ]
    )


def test_writing_a_partition_again_replaces_it_and_nothing_else(database: Database) -> None:
    replace_partitions(
        database, MARKET_SCAN, pd.concat([scan_rows(0, "A", "B"), scan_rows(HOUR_MS, "A")]), [0, HOUR_MS]
    )
    replace_partitions(database, MARKET_SCAN, scan_rows(0, "C"), [0])
    assert read_partitions(database, MARKET_SCAN, [0])["symbol"].tolist() == ["C"]
    assert read_partitions(database, MARKET_SCAN, [HOUR_MS])["symbol"].tolist() == ["A"]
    assert latest_hour_ms(database, MARKET_SCAN) == HOUR_MS


@pytest.mark.slow
def test_several_writers_of_the_same_hours_leave_those_of_one_of_them_and_a_reader_never_sees_a_mixture(
    database: Database,
) -> None:
    """As when the hourly job and a backfill meet: each run has a connection of its own."""
    hours, coins = [0, HOUR_MS], [f"C{number:03}" for number in range(60)]
    url = database.url.render_as_string(hide_password=False)

    def rows(writer: int) -> pd.DataFrame:
        return pd.concat([scan_rows(hour, *coins[: 20 * writer], price=writer) for hour in hours])

    def write(writer: int) -> None:
        own = Database(url, busy_timeout_s=30.0)
        for _ in range(4):
            replace_partitions(own, MARKET_SCAN, rows(writer), hours)
        own.close()

    replace_partitions(database, MARKET_SCAN, rows(1), hours)
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, writer) for writer in (1, 2, 3)]
        looks = 0
        while not all(writer.done() for writer in writers) or looks == 0:
            found = read_partitions(database, MARKET_SCAN, hours)
            (price,) = set(found["price"])
            assert len(found) == 2 * 20 * price
            looks += 1
        for writer in writers:
            writer.result()
    assert len(set(read_partitions(database, MARKET_SCAN, hours)["price"])) == 1


def test_an_empty_result_empties_the_partition(database: Database) -> None:
    replace_partitions(database, MARKET_SCAN, scan_rows(0, "A"), [0])
    replace_partitions(database, MARKET_SCAN, MARKET_SCAN.empty(), [0])
    rows = read_partitions(database, MARKET_SCAN, [0])
    assert rows.empty
    assert rows.dtypes.equals(MARKET_SCAN.empty().dtypes)


def test_timeframes_that_share_a_table_do_not_overwrite_each_other(database: Database) -> None:
    for timeframe in ("1m", "60m"):
        replace_partitions(database, CANDLE_COVERAGE, coverage_rows(0, timeframe), [0], {"timeframe": timeframe})
    replace_partitions(database, CANDLE_COVERAGE, CANDLE_COVERAGE.empty(), [0], {"timeframe": "1m"})
    assert read_partitions(database, CANDLE_COVERAGE, [0])["timeframe"].tolist() == ["60m"]
    with pytest.raises(DataError, match="timeframe"):
        replace_partitions(database, CANDLE_COVERAGE, coverage_rows(0, "60m"), [0], {"timeframe": "1m"})


def test_rows_of_another_hour_are_refused_and_nothing_is_lost(database: Database) -> None:
    replace_partitions(database, MARKET_SCAN, scan_rows(0, "A"), [0])
    with pytest.raises(DataError, match="outside the partitions"):
        replace_partitions(database, MARKET_SCAN, scan_rows(HOUR_MS, "B"), [0])
    assert read_partitions(database, MARKET_SCAN, [0])["symbol"].tolist() == ["A"]


def test_a_write_that_fails_in_the_middle_leaves_the_old_rows(database: Database) -> None:
    replace_partitions(database, MARKET_SCAN, scan_rows(0, "A"), [0])
    twice = pd.concat([scan_rows(0, "B"), scan_rows(0, "B")])
    with pytest.raises(Exception, match=r"(?i)unique"):
        replace_partitions(database, MARKET_SCAN, twice, [0])
    assert read_partitions(database, MARKET_SCAN, [0])["symbol"].tolist() == ["A"]


def test_a_missing_column_is_named(database: Database) -> None:
    with pytest.raises(DataError, match="price"):
        replace_partitions(database, MARKET_SCAN, scan_rows(0, "A").drop(columns="price"), [0])


def test_hours_that_are_not_contiguous_are_read_exactly(database: Database) -> None:
    hours = [0, HOUR_MS, 2 * HOUR_MS]
    replace_partitions(database, MARKET_SCAN, pd.concat([scan_rows(h, "A") for h in hours]), hours)
    assert read_partitions(database, MARKET_SCAN, [0, 2 * HOUR_MS])["hour_ms"].tolist() == [0, 2 * HOUR_MS]


def test_every_hourly_table_exists_and_reads_empty(database: Database) -> None:
    for table in HOURLY_TABLES:
        assert read_partitions(database, table, [0]).columns.tolist() == table.columns


def _hold_lock(path: str, locked: object, release: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    locked.set()  # type: ignore[attr-defined]
    release.wait(300)  # type: ignore[attr-defined]
    connection.execute("ROLLBACK")


@pytest.mark.slow
def test_a_database_locked_by_another_process_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    database = Database(f"sqlite:///{path}", busy_timeout_s=0.2)
    context = multiprocessing.get_context("spawn")
    locked, release = context.Event(), context.Event()
    holder = context.Process(target=_hold_lock, args=(str(path), locked, release))
    holder.start()
    try:
        assert locked.wait(120)
        with pytest.raises(DatabaseLockedError, match=r"another process.*Nothing was written"):
            replace_partitions(database, MARKET_SCAN, scan_rows(0, "A"), [0])
    finally:
        release.set()
        holder.join(60)
    replace_partitions(database, MARKET_SCAN, scan_rows(0, "A"), [0])
    assert len(read_partitions(database, MARKET_SCAN, [0])) == 1


def test_an_unwritable_place_is_a_clear_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a directory")
    with pytest.raises(StorageError, match="TRADING_ASSETS_HOME"):
        Database(f"sqlite:///{blocker}/deep/ledger.db")


def test_a_damaged_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StorageError, match=r"not a database"):
        Database(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x", "mysqlite:///x"])
def test_a_malformed_url_is_a_clear_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database_url"):
        Database(url)


def test_a_password_is_never_in_an_error() -> None:
    with pytest.raises(StorageError) as raised:
        Database("postgresql+psycopg2://user:visible-password@127.0.0.1:1/none")
    assert "visible-password" not in str(raised.value)


def test_every_text_and_number_comes_back_as_it_was_written(database: Database) -> None:
    texts = ["plain", "", "tab\there", "line\nbreak\r", r"back\slash \N \t", "quote ' and \"", "ümlaut €", None]
    numbers = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1e16, 123456789.123456789, 2.0**-1074, 1 / 3]
    rows = pd.DataFrame(
        {"parameters": [str(i) for i in range(8)], "error": texts, "total_pnl": numbers, "p_value": np.nan}
    )
    rows = rows.assign(hour_ms=0, timeframe="1m", symbol="A", strategy="s", scan_id="scan-19700101-010000")
    for name in set(BACKTEST_RESULTS.columns) - set(rows.columns):
        rows[name] = 1
    replace_partitions(database, BACKTEST_RESULTS, rows, [0], {"timeframe": "1m"})
    found = read_partitions(database, BACKTEST_RESULTS, [0], {"timeframe": "1m"})
    pd.testing.assert_frame_equal(found, BACKTEST_RESULTS.conform(rows), check_exact=True)
    assert found["error"].isna().tolist() == [text is None for text in texts]


def test_rows_beyond_one_batch_are_all_there_and_written_all_or_not_at_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_ROWS_AT_A_TIME", 2)
    replace_partitions(database, MARKET_SCAN, scan_rows(0, *"EDCBA"), [0])
    assert read_partitions(database, MARKET_SCAN, [0])["symbol"].tolist() == list("ABCDE")
    twice = pd.concat([scan_rows(0, *"FGHI"), scan_rows(0, "I")])
    with pytest.raises(ConflictError):
        replace_partitions(database, MARKET_SCAN, twice, [0])
    assert read_partitions(database, MARKET_SCAN, [0])["symbol"].tolist() == list("ABCDE")
