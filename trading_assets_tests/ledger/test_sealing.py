"""Sealing moves backtests into files: whoever is killed, or works beside it, no row is lost and none is there twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.core.errors import DamagedFileError, StorageError
from trading_assets.core.objects import FileObjects, Objects, S3Objects
from trading_assets.core.schemas import BACKTEST_RESULTS, STRATEGY_SELECTIONS
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.ledger import partitions, retention, sealed, sealing
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, latest_hour_ms, read_partitions, replace_partitions
from trading_assets.ledger.retention import Ages
from trading_assets.ledger.tables import entry_signals, sealed_files, sealed_partitions, sql_table
from trading_assets_tests.core.objects.s3 import BUCKET, S3Front
from trading_assets_tests.core.objects.test_objects import front, server  # noqa: F401 (fixtures)
from trading_assets_tests.trading.fixtures import add_signal

DAY = 20_000 * DAY_MS
HOURS = [DAY + number * HOUR_MS for number in (0, 1, 2, 13, 23)]
NEXT = DAY + DAY_MS
WALL = 1_000 * DAY_MS
TIMEFRAMES, SYMBOLS = ("1m", "240m"), ("AUSDT", "BUSDT", "ÄUSDT")
BACKTESTS = sql_table(BACKTEST_RESULTS)

ODD = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, np.nan, 1 / 3]


class Killed(BaseException):
    """The process ends here."""


def rows_of(hours: Sequence[int], timeframe: str, made: int = 0) -> pd.DataFrame:
    keys = [(hour, symbol, strategy) for hour in hours for symbol in SYMBOLS for strategy in ("bollinger_rsi", "macd")]
    rows = pd.DataFrame(keys, columns=["hour_ms", "symbol", "strategy"])
    number = np.arange(len(rows)) + made
    texts = pd.Series([None, "", "tab\tand 'quote'"], dtype=object)
    rows = rows.assign(
        timeframe=timeframe,
        parameters='{"a": 1}',
        scan_id="scan-20240101-000000",
        total_pnl=np.take(np.nan_to_num(ODD, nan=1.5), number % len(ODD)),
        p_value=np.take(ODD, number % len(ODD)),
        error=texts.take(number % 3).tolist(),
        cost_model="measured",
        entry_order=None,
    )
    others = set(BACKTEST_RESULTS.columns) - set(rows.columns)
    return BACKTEST_RESULTS.conform(rows.assign(**dict.fromkeys(others, number % 7)))


def write(database: Database, hours: Sequence[int], timeframe: str, made: int = 0, run: str = "run") -> None:
    written = Write(f"backtest_results/{timeframe}", run, "1", WALL + made)
    replace_partitions(
        database, BACKTEST_RESULTS, rows_of(hours, timeframe, made), hours, {"timeframe": timeframe}, written
    )


def everything(database: Database) -> pd.DataFrame:
    return read_partitions(database, BACKTEST_RESULTS, [*HOURS, NEXT])


def in_sql(database: Database) -> list[tuple[Any, ...]]:
    columns = [BACKTESTS.c[name] for name in BACKTEST_RESULTS.key]
    with database.read() as connection:
        return sorted(tuple(row) for row in connection.execute(sa.select(*columns)))


def seal(database: Database, at: int = WALL) -> sealing.Outcome:
    return sealing.seal(database, NEXT, lambda: at)


@pytest.fixture
def ledger(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A day in both timeframes, and an hour of the next one."""
    files = FileObjects(tmp_path / "results")
    monkeypatch.setattr(database, "_open_results", lambda: files)
    for timeframe in TIMEFRAMES:
        write(database, [*HOURS, NEXT], timeframe)
    return database


def kept_files(database: Database) -> list[str]:
    assert database.results is not None
    return [one.name for one in database.results.listed()]


def test_what_is_read_is_the_same_before_and_after_and_other_programs_can_read_it(ledger: Database) -> None:
    looks: list[Callable[[], pd.DataFrame]] = [
        lambda: everything(ledger),
        lambda: read_partitions(ledger, BACKTEST_RESULTS, HOURS[1:2], {"timeframe": "240m"}),
        lambda: read_partitions(ledger, BACKTEST_RESULTS, HOURS, {"timeframe": "1m"}, ["symbol", "p_value", "error"]),
        lambda: read_partitions(ledger, BACKTEST_RESULTS, [HOURS[3], NEXT], columns=["error", "hour_ms"]),
    ]
    before = [look() for look in looks]
    assert sealing.due_days(ledger, NEXT) == [DAY]
    assert sealing.before_ms(ledger, 0.0) == NEXT
    done = seal(ledger)
    assert (done.days, done.rows, done.left, done.failed) == ([DAY], 2 * 5 * 6, 0, {})
    assert {key[0] for key in in_sql(ledger)} == {NEXT}
    for look, expected in zip(looks, before, strict=True):
        pd.testing.assert_frame_equal(look(), expected, check_exact=True)
    ((day, name),) = sealing.files_in_use(ledger)
    assert day == DAY
    assert ledger.results is not None
    content = ledger.results.read(name)
    assert content is not None
    found = pd.read_parquet(BytesIO(content[0]))
    assert len(found) == 60
    assert set(found["hour_ms"]) == set(HOURS)
    assert seal(ledger) == sealing.Outcome(), "a second time there is nothing to do"
    state = sealing.state(ledger, NEXT)
    assert (state.files, state.rows, state.due_days) == (1, 60, 0)
    assert latest_hour_ms(ledger, BACKTEST_RESULTS) == NEXT


def test_a_file_of_an_older_or_a_newer_version_of_the_program_is_read_as_far_as_both_know_it() -> None:
    rows = rows_of(HOURS, "1m")
    keys = [(hour, "1m") for hour in HOURS]
    older = sealed.rows_in(sealed.parquet_of(rows.drop(columns="searched")), keys)
    pd.testing.assert_frame_equal(BACKTEST_RESULTS.conform(older), BACKTEST_RESULTS.conform(rows.assign(searched=None)))
    asked = ["hour_ms", "timeframe", "searched"]
    assert list(sealed.rows_in(sealed.parquet_of(rows.drop(columns="searched")), keys, asked)) == asked[:2]
    newer = sealed.rows_in(sealed.parquet_of(rows.assign(of_tomorrow=1)), keys)
    pd.testing.assert_frame_equal(BACKTEST_RESULTS.conform(newer), rows)


@pytest.mark.slow
def test_rows_that_were_selected_or_decided_on_stay_in_sql_and_are_read_once(ledger: Database) -> None:
    chosen = {"symbol": "AUSDT", "timeframe": "1m", "strategy": "macd", "parameters": '{"a": 1}'}
    columns = [name for name in STRATEGY_SELECTIONS.columns if name not in chosen]
    row = {**dict.fromkeys(columns, 1), **chosen, "hour_ms": HOURS[0], "scan_id": "scan-20240101-000000"}
    replace_partitions(ledger, STRATEGY_SELECTIONS, pd.DataFrame([row]), [HOURS[0]])
    add_signal(ledger, "BUSDT", hour_ms=HOURS[1], timeframe="240m", parameters="{}")
    add_signal(ledger, "ÄUSDT", hour_ms=HOURS[2], timeframe="240m", order_link_id="ours")
    before = everything(ledger)
    seal(ledger)
    pd.testing.assert_frame_equal(everything(ledger), before, check_exact=True)
    assert {key[:4] for key in in_sql(ledger) if key[0] != NEXT} == {
        (HOURS[0], "1m", "AUSDT", "macd"),
        (HOURS[1], "240m", "BUSDT", "bollinger_rsi"),
        *((HOURS[2], timeframe, "ÄUSDT", name) for timeframe in TIMEFRAMES for name in ("bollinger_rsi", "macd")),
    }
    write(ledger, HOURS[:1], "1m", made=3, run="again")
    seal(ledger)
    assert len(everything(ledger)) == len(before)


def test_rows_that_are_selected_after_they_were_sealed_are_in_sql_for_good_too(ledger: Database) -> None:
    before = everything(ledger)
    seal(ledger)
    assert {key[0] for key in in_sql(ledger)} == {NEXT}
    chosen = [(HOURS[0], "1m", "AUSDT", "macd"), (HOURS[3], "240m", "ÄUSDT", "bollinger_rsi"), (NEXT, "1m", "A", "b")]
    keys = [dict(zip(("hour_ms", "timeframe", "symbol", "strategy"), one, strict=True)) for one in chosen]
    others = dict.fromkeys(set(STRATEGY_SELECTIONS.columns) - set(keys[0]), 1)
    row = {**others, "parameters": '{"a": 1}', "scan_id": "scan-20240101-000000"}
    for _ in range(2):  # selected again, they are there once
        replace_partitions(ledger, STRATEGY_SELECTIONS, pd.DataFrame([row | key for key in keys]), [*HOURS, NEXT])
        assert [key[:4] for key in in_sql(ledger) if key[0] != NEXT] == chosen[:2]
        pd.testing.assert_frame_equal(everything(ledger), before, check_exact=True)
    with ledger.read() as connection:
        kept = connection.execute(sa.select(BACKTESTS).where(BACKTESTS.c.hour_ms != NEXT)).mappings().all()
    wanted = before.merge(pd.DataFrame(keys), on=list(keys[0]))
    wanted = wanted[wanted["hour_ms"] != NEXT]
    pd.testing.assert_frame_equal(
        BACKTEST_RESULTS.conform(pd.DataFrame(map(dict, kept))), BACKTEST_RESULTS.conform(wanted)
    )
    seal(ledger)
    sealing.delete_old(ledger, NEXT, WALL + 1)
    assert [key[:4] for key in in_sql(ledger) if key[0] != NEXT] == chosen[:2]


def test_a_selection_whose_sealed_backtests_are_missing_is_not_written(ledger: Database) -> None:
    seal(ledger)
    assert ledger.results is not None
    for name in kept_files(ledger):
        ledger.results.delete(next(one for one in ledger.results.listed() if one.name == name))
    key = {"hour_ms": HOURS[0], "timeframe": "1m", "symbol": "AUSDT", "strategy": "macd", "parameters": '{"a": 1}'}
    others = dict.fromkeys(set(STRATEGY_SELECTIONS.columns) - set(key), 1)
    with pytest.raises(StorageError, match="is not there"):
        replace_partitions(
            ledger, STRATEGY_SELECTIONS, pd.DataFrame([{**others, **key, "scan_id": "scan-20240101-000000"}]), HOURS
        )
    assert read_partitions(ledger, STRATEGY_SELECTIONS, HOURS).empty


STEPS = ("note", "put", "same", "give 0", "give 1", "given 0", "given 3", "tidy")


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_whoever_is_killed_between_two_steps_loses_and_doubles_nothing(
    ledger: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = everything(ledger)
    calls: list[str] = []

    def killing(name: str, function: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
        def called(*args: Any, **given: Any) -> Any:
            calls.append(name)
            if after:
                found = function(*args, **given)
            if f"{name} {calls.count(name) - 1}" == step or name == step:
                raise Killed
            return found if after else function(*args, **given)

        return called

    with monkeypatch.context() as patched:
        for name in ("note", "require_same", "give"):
            old = getattr(sealing, f"_{name}")
            patched.setattr(sealing, f"_{name}", killing({"require_same": "same"}.get(name, name), old))
        patched.setattr(sealing, "_give", killing("given", sealing._give, after=True))
        patched.setattr(FileObjects, "put", killing("put", FileObjects.put, after=True))
        patched.setattr(sealing, "tidy", killing("tidy", sealing.tidy))
        with pytest.raises(Killed):
            seal(ledger)
    pd.testing.assert_frame_equal(everything(ledger), before, check_exact=True)
    seal(ledger, WALL + 1)
    pd.testing.assert_frame_equal(everything(ledger), before, check_exact=True)
    assert {key[0] for key in in_sql(ledger)} == {NEXT}
    for hours in (2, 4):
        sealing.tidy(ledger, WALL + hours * HOUR_MS)
    assert kept_files(ledger) == [name for _, name in sealing.files_in_use(ledger)], "what a killed one left is gone"
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(sealed_files)).scalar_one() == 1
    pd.testing.assert_frame_equal(everything(ledger), before, check_exact=True)


@pytest.mark.slow
def test_of_two_sealers_at_once_each_partition_is_given_to_one_and_a_write_between_them_wins(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one works while the first has written its file; then an hour is researched again."""
    put, entered = FileObjects.put, list[str]()

    def meanwhile(self: FileObjects, name: str, content: bytes) -> Any:
        entered.append(name)
        if len(entered) == 1:
            assert seal(ledger).left == 0
            write(ledger, HOURS[3:4], "1m", made=5, run="again")
        return put(self, name, content)

    expected = everything(ledger)
    monkeypatch.setattr(FileObjects, "put", meanwhile)
    first = seal(ledger)
    assert (first.days, first.left, len(entered)) == ([], 10, 2)
    again = (expected["hour_ms"] == HOURS[3]) & (expected["timeframe"] == "1m")
    expected = BACKTEST_RESULTS.conform(pd.concat([expected[~again], rows_of(HOURS[3:4], "1m", 5)]))
    pd.testing.assert_frame_equal(everything(ledger), expected, check_exact=True)
    assert seal(ledger).days == [DAY]
    pd.testing.assert_frame_equal(everything(ledger), expected, check_exact=True)


@pytest.mark.slow
def test_a_sealed_hour_that_is_researched_again_is_replaced_and_sealed_again_with_its_day(ledger: Database) -> None:
    seal(ledger)
    old = kept_files(ledger)
    expected = everything(ledger)
    write(ledger, HOURS[:2], "240m", made=4, run="backfill")
    replaced = expected["hour_ms"].isin(HOURS[:2]) & (expected["timeframe"] == "240m")
    expected = BACKTEST_RESULTS.conform(pd.concat([expected[~replaced], rows_of(HOURS[:2], "240m", 4)]))
    pd.testing.assert_frame_equal(everything(ledger), expected, check_exact=True)
    assert sealing.due_days(ledger, NEXT) == [DAY]
    later = WALL + 2 * HOUR_MS
    assert seal(ledger, later).rows == 60
    pd.testing.assert_frame_equal(everything(ledger), expected, check_exact=True)
    assert set(kept_files(ledger)) > set(old), "somebody may be reading it"
    assert sealing.tidy(ledger, later + HOUR_MS) == 1
    assert [name for _, name in sealing.files_in_use(ledger)] == kept_files(ledger)
    assert not set(kept_files(ledger)) & set(old)
    replace_partitions(ledger, BACKTEST_RESULTS, BACKTEST_RESULTS.empty(), HOURS, {"timeframe": "1m"})
    left = expected[(expected["timeframe"] != "1m") | (expected["hour_ms"] == NEXT)].reset_index(drop=True)
    pd.testing.assert_frame_equal(everything(ledger), left, check_exact=True)


@pytest.mark.slow
def test_a_reader_looks_again_where_a_file_was_replaced_since_and_else_says_what_is_missing(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(ledger)
    expected = everything(ledger)
    read, looks = sealed.read_file, list[int]()

    def replaced(*given: Any) -> pd.DataFrame | None:
        looks.append(1)
        return None if len(looks) == 1 else read(*given)

    with monkeypatch.context() as patched:
        patched.setattr(partitions.sealed, "read_file", replaced)
        pd.testing.assert_frame_equal(everything(ledger), expected, check_exact=True)
    assert len(looks) == 2
    assert isinstance(ledger.results, FileObjects)
    (path,) = ledger.results.root.glob("*/*.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:-20] + b"x" * 20)
    with pytest.raises(DamagedFileError, match=r"backfill the hours of 2024-10-04 again"):
        everything(ledger)
    path.unlink()
    with pytest.raises(StorageError, match=r"is not there; expected the folder of results"):
        everything(ledger)
    write(ledger, HOURS, "1m")
    write(ledger, HOURS, "240m")
    assert seal(ledger).rows == 60, "a backfill mends it"
    monkeypatch.setattr(ledger, "_open_results", None)
    with pytest.raises(StorageError, match=r"Database\.of"):
        everything(ledger)


@pytest.mark.slow
def test_a_day_that_cannot_be_sealed_stays_in_sql_and_stops_no_other(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ledger, [DAY - HOUR_MS], "1m")
    put = FileObjects.put

    def lying(self: FileObjects, name: str, content: bytes) -> Any:
        return put(self, name, content[:-1] if name.startswith("backtest_results/2024-10-03") else content)

    monkeypatch.setattr(FileObjects, "put", lying)
    done = seal(ledger)
    assert done.days == [DAY]
    assert "does not hold what was written" in done.failed[DAY - DAY_MS]
    assert {key[0] for key in in_sql(ledger)} == {DAY - HOUR_MS, NEXT}


@pytest.mark.slow
def test_retention_forgets_sealed_days_and_what_is_left_of_deleted_ones_is_not_taken_for_all_of_them(
    ledger: Database,
) -> None:
    add_signal(ledger, "AUSDT", hour_ms=HOURS[0], timeframe="1m")
    add_signal(ledger, "AUSDT", hour_ms=NEXT, timeframe="1m", signal_timestamp_ms=NEXT)
    seal(ledger)

    def delete(backtests: int | None, before: int | None, wall: int = WALL + 1) -> dict[str, int]:
        ages = Ages(None, backtests, WALL + DAY_MS, before, wall, selections=None, evaluations=None)
        return retention.delete_old(ledger, ages, btc="BTCUSDT")

    assert delete(None, NEXT, WALL)["sealed backtests"] == 0, "it was sealed a moment ago"
    assert delete(None, NEXT)["sealed backtests"] == 60
    assert read_partitions(ledger, BACKTEST_RESULTS, HOURS).empty, "not the one that was decided on alone"
    assert [key[2:4] for key in in_sql(ledger) if key[0] == HOURS[0]] == [("AUSDT", "bollinger_rsi")]
    sealing.tidy(ledger, WALL + 2 * HOUR_MS)
    assert sealing.tidy(ledger, WALL + 3 * HOUR_MS) == 1
    assert kept_files(ledger) == []
    assert sealing.due_days(ledger, NEXT) == []
    assert delete(NEXT + HOUR_MS, None)["backtest_results"] == 11
    assert everything(ledger).empty
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(entry_signals)).scalar_one() == 2
    write(ledger, [NEXT], "1m", made=1)
    assert len(everything(ledger)) == 6, "written again it is all there"


@pytest.mark.slow
def test_files_in_s3_are_sealed_and_read_alike(
    ledger: Database,
    front: S3Front,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = everything(ledger)
    stored: Objects = S3Objects(BUCKET, "results", tmp_path / "copies")
    monkeypatch.setattr(ledger, "_open_results", lambda: stored)
    assert seal(ledger).rows == 60
    pd.testing.assert_frame_equal(everything(ledger), before, check_exact=True)
    write(ledger, HOURS[:1], "1m", made=2)
    assert seal(ledger, WALL + 2 * HOUR_MS).rows == 60
    assert sealing.tidy(ledger, WALL + 4 * HOUR_MS) == 1
    assert [one.name for one in stored.listed()] == [name for _, name in sealing.files_in_use(ledger)]
    assert len(everything(ledger)) == len(before)
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(sealed_partitions)).scalar_one() == 10
