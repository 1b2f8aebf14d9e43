"""Rows in hand: what is read is what SQL has, bit for bit, whoever has changed it since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.ledger import partitions, rows_in_hand, sealing
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, read_partitions, replace_partitions
from trading_assets.ledger.rows_in_hand import RowsInHand
from trading_assets.ledger.sealed import read_file, sealed_of
from trading_assets.ledger.tables import sealed_partitions
from trading_assets_tests.ledger.test_sealing import (
    BACKTESTS,
    DAY,
    HOURS,
    NEXT,
    TIMEFRAMES,
    WALL,
    everything,
    ledger,  # noqa: F401 (a fixture)
    rows_of,
    seal,
    write,
)

ALL = [*HOURS, NEXT]


@pytest.fixture
def kept(ledger: Database) -> Iterator[Database]:  # noqa: F811
    """The ledger of `test_sealing`, written while rows are kept."""
    with rows_in_hand.keeping(ledger):
        for timeframe in TIMEFRAMES:
            write(ledger, ALL, timeframe)
        yield ledger


def from_hand(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[set[Any]]:
    """What each read from now on takes from hand."""
    taken: list[set[Any]] = []
    look = partitions._in_hand

    def told(*given: Any) -> set[Any]:
        taken.append(look(*given))
        return taken[-1]

    monkeypatch.setattr(partitions, "_in_hand", told)
    return taken


def in_sql_alone(database: Database, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """What SQL says without anything in hand."""
    held, database.rows_in_hand = database.rows_in_hand, None
    try:
        return read()
    finally:
        database.rows_in_hand = held


def test_every_reader_gets_the_rows_that_sql_has_and_gets_them_from_hand(
    kept: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Callable[[], pd.DataFrame]] = [
        lambda: everything(kept),
        lambda: read_partitions(kept, BACKTEST_RESULTS, ALL, {"timeframe": "1m"}),
        lambda: read_partitions(kept, BACKTEST_RESULTS, HOURS[1:2], {"timeframe": "240m"}),
        lambda: read_partitions(kept, BACKTEST_RESULTS, HOURS, {"timeframe": "1m"}, ["symbol", "p_value", "error"]),
        lambda: read_partitions(kept, BACKTEST_RESULTS, [HOURS[3], NEXT, NEXT + DAY], columns=["error", "hour_ms"]),
        lambda: read_partitions(kept, BACKTEST_RESULTS, []),
    ]
    for look, count in zip(looks, (12, 6, 1, 5, 4, 0), strict=True):
        expected = in_sql_alone(kept, look)
        with monkeypatch.context() as patch:
            taken = from_hand(kept, patch)
            found = look()
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        assert all(found[name].map(repr).equals(expected[name].map(repr)) for name in found), "the sign of zero, too"
        assert sum(map(len, taken)) == count


def _by_another_run(database: Database) -> None:
    write(database, HOURS[:1], "1m", made=3, run="another")


def _by_nobody_known(database: Database) -> None:
    replace_partitions(database, BACKTEST_RESULTS, rows_of(HOURS[:1], "1m", 3), HOURS[:1], {"timeframe": "1m"})


def _all_timeframes_by_nobody_known(database: Database) -> None:
    replace_partitions(database, BACKTEST_RESULTS, rows_of(HOURS[:1], "1m", 3), HOURS[:1])


def _with_nothing(database: Database) -> None:
    written = Write("backtest_results/1m", "another", "1", WALL)
    replace_partitions(database, BACKTEST_RESULTS, BACKTEST_RESULTS.empty(), HOURS[:1], {"timeframe": "1m"}, written)


def _one_row_less(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.delete(BACKTESTS).where(BACKTESTS.c.hour_ms == DAY, BACKTESTS.c.symbol == "AUSDT"))


def _sealed(database: Database) -> None:
    sealing.seal(database, NEXT, lambda: WALL)


def _forgotten(database: Database) -> None:
    _sealed(database)
    sealing.delete_old(database, NEXT, WALL + 1)


@pytest.mark.parametrize(
    "change",
    [
        _by_another_run,
        _by_nobody_known,
        _all_timeframes_by_nobody_known,
        _with_nothing,
        _one_row_less,
        _sealed,
        _forgotten,
    ],
)
def test_what_another_process_has_changed_since_is_read_as_it_is_now(
    kept: Database, change: Callable[[Database], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Database(kept.url.render_as_string(hide_password=False), results=kept._open_results)
    change(other)
    other.close()
    taken = from_hand(kept, monkeypatch)
    found = everything(kept)
    assert all((DAY, "1m") not in some for some in taken)
    pd.testing.assert_frame_equal(found, in_sql_alone(kept, lambda: everything(kept)), check_exact=True)


def test_what_this_process_writes_again_replaces_what_it_had_in_hand(kept: Database) -> None:
    for change in (_by_another_run, _with_nothing):
        change(kept)
        expected = in_sql_alone(kept, lambda: everything(kept))
        pd.testing.assert_frame_equal(everything(kept), expected, check_exact=True)


def test_a_write_that_fails_leaves_in_hand_what_sql_has(kept: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(kept)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(partitions, "_record_write", full)
    with pytest.raises(OSError, match="space"):
        write(kept, HOURS, "1m", made=3, run="another")
    pd.testing.assert_frame_equal(everything(kept), before, check_exact=True)


def test_what_does_not_fit_is_read_from_sql_and_nothing_is_kept_once_the_block_has_ended(
    ledger: Database,  # noqa: F811
) -> None:
    expected = everything(ledger)
    with rows_in_hand.keeping(ledger, most_bytes=1):
        write(ledger, ALL, "1m")
        assert ledger.rows_in_hand is not None
        assert ledger.rows_in_hand.size == 0
        pd.testing.assert_frame_equal(everything(ledger), expected, check_exact=True)
    assert ledger.rows_in_hand is None
    some = RowsInHand()
    some.keep(rows_of(HOURS, "1m"), "1m", "run", WALL)
    limited = RowsInHand(some.size)
    for timeframe in TIMEFRAMES:
        limited.keep(rows_of(HOURS, timeframe), timeframe, "run", WALL)
    assert {timeframe for _, timeframe in limited.known(HOURS, None)} == {"1m"}, "what came first stays"


def test_a_file_that_is_sealed_from_hand_has_what_sql_had(kept: Database) -> None:
    expected = in_sql_alone(kept, lambda: everything(kept))
    assert seal(kept).rows == 2 * 5 * 6
    with kept.read() as connection:
        ((file, held),) = sealed_of(connection, sealed_partitions.c.hour_ms.in_(HOURS), None).files.items()
    found = read_file(kept.results, file, held)
    assert found is not None
    wanted = expected[expected["hour_ms"] != NEXT].reset_index(drop=True)
    pd.testing.assert_frame_equal(BACKTEST_RESULTS.conform(found), wanted, check_exact=True)
