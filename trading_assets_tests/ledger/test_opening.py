"""A ledger is opened where the settings say, whatever the path is called, and by several processes at once."""

from __future__ import annotations

import multiprocessing
import sqlite3
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import registry_rows, seed_registry
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
