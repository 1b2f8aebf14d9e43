"""A connection to a ledger does not cross a fork: parent and child each have their own, and nothing that either of them
commits is lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from trading_assets.core.errors import StorageError
from trading_assets.ledger.database import Database

ANOTHER = """
import sqlite3, sys
found = sqlite3.connect(sys.argv[1])
print(found.execute("SELECT count(*) FROM told").fetchone()[0])
found.close()
"""
"""Another process looks. Where it believes itself to be the last one, it takes the log of writes away."""


@pytest.fixture
def ledger(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}", upgrade=False)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE told (who TEXT)")
    return database


def tell(database: Database, who: str) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO told VALUES (?)", (who,))


def told(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.exec_driver_sql("SELECT who FROM told ORDER BY rowid").scalars())


class Child:
    """A forked process that does things when it is told to, and ends."""

    def __init__(self, *acts: Callable[[], None]) -> None:
        (self._hears, self._say), (self._done, done) = os.pipe(), os.pipe()
        self._pid = os.fork()
        if self._pid:
            return
        try:
            for act in acts:
                os.read(self._hears, 1)
                act()
                os.write(done, b"y")
        except BaseException:  # noqa: BLE001 (its parent asks)
            os.write(done, b"n")
        finally:
            os._exit(0)

    def act(self) -> bool:
        """Do the next thing; whether it went well."""
        os.write(self._say, b".")
        return os.read(self._done, 1) == b"y"

    def end(self) -> None:
        os.waitpid(self._pid, 0)


@pytest.mark.parametrize("inherits", [False, True], ids=["opens its own", "uses its parent's"])
def test_what_a_child_commits_stays_though_its_parent_and_others_come_and_go(ledger: Database, inherits: bool) -> None:
    tell(ledger, "parent")
    url = ledger.url
    held: list[Database] = [ledger] if inherits else []

    def first() -> None:
        if not held:
            held.append(Database(url, upgrade=False))
        tell(held[0], "child")

    child = Child(first, lambda: tell(held[0], "child again"))
    assert child.act()
    tell(ledger, "parent again")
    ledger.close()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", ANOTHER, str(url.database)], check=True, capture_output=True)
    assert child.act()
    child.end()
    assert told(ledger) == ["parent", "child", "parent again", "child again"]
    ledger.close()


def test_a_child_that_was_forked_in_the_middle_of_a_transaction_is_refused_the_file(ledger: Database) -> None:
    begun, ends = threading.Event(), threading.Event()

    def long() -> None:
        with ledger.write() as connection:
            connection.exec_driver_sql("INSERT INTO told VALUES ('parent')")
            begun.set()
            ends.wait(60)

    def refused(database: Callable[[], Database]) -> None:
        with pytest.raises(StorageError, match="was in use while this process was forked"):
            tell(database(), "child")

    thread = threading.Thread(target=long)
    thread.start()
    begun.wait(60)
    child = Child(lambda: refused(lambda: ledger), lambda: refused(lambda: Database(ledger.url, upgrade=False)))
    ends.set()
    thread.join()
    assert child.act() and child.act()
    child.end()
    later = Child(lambda: tell(ledger, "child"))
    assert later.act()
    later.end()
    assert told(ledger) == ["parent", "child"]
    ledger.close()


def test_a_turn_to_write_that_a_thread_of_the_parent_has_is_not_waited_for_by_a_child(ledger: Database) -> None:
    ledger._lock_s = 300.0
    assert ledger._writing.acquire()
    try:
        child = Child(lambda: tell(ledger, "child"))
        assert child.act()
        child.end()
    finally:
        ledger._writing.release()
    assert told(ledger) == ["child"]
