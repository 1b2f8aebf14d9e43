"""A ledger is opened where the settings say, whatever the path is called, and by several processes at once."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_assets.core.errors import StorageError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import registry_rows, seed_registry
from trading_assets.ledger.tables import process_reports
from trading_assets.market.store import CandleStore
from trading_assets_tests.market.sources import T0, CountingSource

ODD = [
    "feature%2Fbranch",
    "what?a=1",
    "what?a=2",
    "50% off",
    "with space",
    "a#b",
    "a;b",
    "a&b=c",
    "ünïcode",
    "100%",
    "%",
]


@pytest.mark.parametrize("name", ODD)
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    settings = load_settings(home=home)
    database = Database(settings.resolved_database_url)
    seed_registry(database)
    assert registry_rows(database)
    database.close()
    store = CandleStore(settings.candle_store)
    store.fill(CountingSource(T0 + HOUR_MS), "AUSDT", Timeframe.M1, T0, T0 + HOUR_MS)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with sqlite3.connect(home / "trading_assets.db") as held:
        assert held.execute("SELECT count(*) FROM strategies").fetchone() != (0,)


LOOKS = """
import sqlite3, sys
found = sqlite3.connect(sys.argv[1])
found.execute("SELECT count(*) FROM told").fetchone()
found.close()
"""
"""Another process looks. Where it believes itself to be the last one, it takes the log of writes away."""


def test_what_a_process_commits_stays_though_it_opens_its_ledger_again_and_others_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    first = Database(f"sqlite:///{path}", upgrade=False)
    with first.write() as connection:
        connection.exec_driver_sql("CREATE TABLE told (who TEXT)")
    with Database(f"sqlite:///{path}", upgrade=False).read():
        subprocess.run([sys.executable, "-c", LOOKS, str(path)], check=True)
    for who in ("first", "again"):
        with first.write() as connection:
            connection.exec_driver_sql("INSERT INTO told VALUES (?)", (who,))
        subprocess.run([sys.executable, "-c", LOOKS, str(path)], check=True)
    with closing(sqlite3.connect(path)) as found:
        assert found.execute("SELECT who FROM told").fetchall() == [("first",), ("again",)]
    first.close()


def _open(home: Path, barrier: Barrier, answers: Queue[str]) -> None:
    settings = load_settings(home=home)
    barrier.wait()
    try:
        database = Database(settings.resolved_database_url)
        seed_registry(database)
        answers.put(f"{len(registry_rows(database))} strategies")
    except Exception as error:  # noqa: BLE001 (it is what the test asks)
        answers.put(f"{type(error).__name__}: {error}")


@pytest.mark.slow
def test_processes_that_start_first_at_once_all_find_a_whole_ledger(tmp_path: Path) -> None:
    processes, found = 8, set[str]()
    spawn = multiprocessing.get_context("fork")
    for attempt in range(6):
        barrier, answers = spawn.Barrier(processes), spawn.Queue()
        started = [
            spawn.Process(target=_open, args=(tmp_path / f"home{attempt}", barrier, answers)) for _ in range(processes)
        ]
        for process in started:
            process.start()
        found |= {answers.get(timeout=120) for _ in started}
        for process in started:
            process.join(120)
    assert len(found) == 1
    assert found.pop().endswith(" strategies")


def test_an_error_of_the_database_shows_no_values(database: Database) -> None:
    """They may be many, or nobody's business: the statement tells enough."""
    rows = [{"process": None, "account": "of-somebody-else"} for _ in range(500)]
    with pytest.raises(StorageError) as told, database.write() as connection:
        connection.execute(process_reports.insert(), rows)
    assert "process_reports" in str(told.value)
    assert "somebody" not in str(told.value) and len(str(told.value)) < 1500


def test_who_reads_cannot_write(sqlite: Database) -> None:
    """A reader that turned writer would be told that the database is locked, however long it may wait."""
    with pytest.raises(StorageError, match="attempt to write a readonly database"), sqlite.read() as connection:
        connection.execute(process_reports.delete())
    with sqlite.write() as connection:
        connection.execute(process_reports.delete())


def test_a_writer_that_has_read_waits_for_another_one(sqlite: Database) -> None:
    count = sa.select(sa.func.count()).select_from(process_reports)
    begun, result = threading.Event(), list[int]()

    def other() -> None:
        begun.set()
        with sqlite.write() as connection:
            result.append(connection.execute(count).scalar_one())
            connection.execute(process_reports.delete())

    with sqlite.write() as connection:
        second = threading.Thread(target=other)
        second.start()
        begun.wait()
        connection.execute(count)
        connection.execute(process_reports.delete())
    second.join()
    assert result == [0]
