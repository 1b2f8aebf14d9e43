"""What processes count is in the ledger while they live, and its sum never falls when they end, die or sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from trading_assets.core.counters import API_REQUESTS, CANDLES_CLOSED, Counters
from trading_assets.core.errors import StorageError
from trading_assets.ledger import process_reports
from trading_assets.ledger.database import Database
from trading_assets.ledger.process_reports import DEAD_AFTER_MS, ProcessReport, fold_ended, reporting


def total(database: Database, name: str = CANDLES_CLOSED) -> float:
    return sum(value for one in process_reports.read(database) for key, value in one.counts.items() if key[0] == name)


def test_a_process_reports_what_it_counts_and_leaves_its_sum(database: Database) -> None:
    counters = Counters()
    counters.add(CANDLES_CLOSED, amount=100)  # before it reports
    with reporting(database, "main", "session", counters=counters, gauges=lambda: {"looped_wall_ms": 7.0}, every_s=60):
        counters.add(CANDLES_CLOSED)
        counters.add(API_REQUESTS, "get_tickers", "answered")
    (left,) = process_reports.read(database)
    assert left.has_ended and left.counts == {(CANDLES_CLOSED,): 1, (API_REQUESTS, "get_tickers", "answered"): 1}
    assert left.gauges == {}
    with reporting(database, "main", "session", counters=counters, every_s=60):
        counters.add(CANDLES_CLOSED, amount=4)
    assert total(database) == 5 and len(process_reports.read(database)) == 1
    with reporting(database, "other", "session", counters=counters, every_s=60):
        counters.add(CANDLES_CLOSED)
    assert [one.account for one in process_reports.read(database)] == ["main", "other"]
    assert [one.account for one in process_reports.read(database, "other")] == ["other"]


def comes(done: Callable[[], bool]) -> None:
    rest = threading.Event()
    while not done():
        rest.wait(0.02)


def test_a_living_process_shows_its_gauges(sqlite: Database) -> None:
    with reporting(sqlite, "main", "session", counters=Counters(), gauges=lambda: {"looped_wall_ms": 7.0}, every_s=60):
        comes(lambda: bool(process_reports.read(sqlite)))
        (lives,) = process_reports.read(sqlite)
        assert lives.gauges == {"looped_wall_ms": 7.0} and not lives.has_ended


def test_the_sum_never_falls_when_a_process_is_taken_for_dead_and_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters, sums = Counters(), list[float]()
    clock = [1_000]
    monkeypatch.setattr(process_reports, "local_ms", lambda: clock[0])
    reporter = process_reports._Reporter(database, "main", "session", counters, dict)
    for asleep in (False, False, True, False, True, True):
        counters.add(CANDLES_CLOSED, amount=3)
        if asleep:
            clock[0] += DEAD_AFTER_MS + 1
            assert fold_ended(database, clock[0]) == 1
            sums.append(total(database))
        reporter.report()
        sums.append(total(database))
    reporter.end()
    assert total(database) == 18
    assert all(before <= after for before, after in pairwise([*sums, 18]))


def test_who_is_alive_is_not_folded(sqlite: Database) -> None:
    process_reports.add(sqlite, ProcessReport("a", "main", "session", 1, 1_000, {(CANDLES_CLOSED,): 2.0}))
    assert fold_ended(sqlite, 1_000 + DEAD_AFTER_MS) == 0
    assert fold_ended(sqlite, 1_001 + DEAD_AFTER_MS) == 1
    assert fold_ended(sqlite, 9_001 + 9 * DEAD_AFTER_MS) == 0
    assert total(sqlite) == 2


def test_a_ledger_that_fails_hinders_nobody_and_loses_no_count(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = Counters()
    reporter = process_reports._Reporter(sqlite, "main", "session", counters, dict)
    counters.add(CANDLES_CLOSED)

    def fails(*_: object, **__: object) -> None:
        raise StorageError("locked")

    with monkeypatch.context() as broken:
        broken.setattr(Database, "write", fails)
        reporter.report()
        counters.add(CANDLES_CLOSED)
        reporter.report()
        reporter.end()
    assert process_reports.read(sqlite) == []
    reporter.end()
    assert total(sqlite) == 2


def test_counters_of_another_version_are_left_out(sqlite: Database) -> None:
    counts = {("unknown",): 1.0, (CANDLES_CLOSED, "too", "many"): 1.0, (CANDLES_CLOSED,): 5.0}
    process_reports.add(sqlite, ProcessReport("a", "main", "session", 1, 1, counts))
    assert process_reports.read(sqlite)[0].counts == {(CANDLES_CLOSED,): 5.0}


def test_a_counter_has_the_labels_it_was_declared_with() -> None:
    counters = Counters()
    with pytest.raises(KeyError):
        counters.add("meteors")
    with pytest.raises(ValueError, match="endpoint"):
        counters.add(API_REQUESTS, "get_tickers")
