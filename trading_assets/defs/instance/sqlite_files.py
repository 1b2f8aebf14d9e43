"""The files of SQLite that a process keeps open for Dagster's storages. It knows none of their tables.

Stock opens a file for every statement and closes it, and each tick of a schedule or sensor makes its storages anew.
"""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trading_assets.ledger import forks

LOCK_TIMEOUT_S = 60.0
"""So long Dagster's storages wait for a lock on SQLite's files."""

FILES_KEPT = 6
"""An instance has three that all its runs share."""

ANSWERS_KEPT = 32
"""Of each file."""

LOG_BYTES = 4_000_000
"""SQLite cuts its log of writes to this after a large transaction."""


_Version = tuple[int, int, int]

_numbers = count()
"""Of connections."""


@dataclass
class KeptFile:
    """A file with its kept connections.

    Attributes:
        is_revised: its tables were looked at, and are of a known revision.
    """

    engine: sa.Engine
    is_revised: bool = False
    _known: set[str] = field(default_factory=set)
    _answers: OrderedDict[str, tuple[_Version, Any]] = field(default_factory=OrderedDict)
    _commits: int = 0

    def __post_init__(self) -> None:
        @sa.event.listens_for(self.engine, "commit")
        def _count(connection: sa.Connection) -> None:
            # Those who only read commit, too.
            self._commits += connection.connection.driver_connection.in_transaction  # type: ignore[union-attr]

    def knows(self, name: str, ask: Callable[[str], bool]) -> bool:
        """Whether the file has something that, once there, stays; asked for until it is there."""
        if name not in self._known and ask(name):
            self._known.add(name)
        return name in self._known

    def answer(self, question: str, ask: Callable[[], Any]) -> Any:
        """The answer to a question about committed rows; asked again once anybody has committed anything."""
        version = self._version()
        kept = self._answers.get(question)
        if kept is not None and kept[0] == version:
            return kept[1]
        # The version is older than the answer: a commit in between has it asked again.
        found = ask()
        self._answers[question] = version, found
        while len(self._answers) > ANSWERS_KEPT:
            with suppress(KeyError):  # another thread was quicker
                self._answers.popitem(last=False)
        return found

    def _version(self) -> _Version:
        """What changes with every commit: of others by SQLite's count, which is the connection's own, of this process
        by ours."""
        with closing(self.engine.raw_connection()) as connection:
            found = connection.driver_connection.execute("PRAGMA data_version").fetchone()  # type: ignore[union-attr]
            number = connection.info.setdefault("number", next(_numbers))
        return number, found[0], self._commits


Identity = tuple[str, int, int]

_files: OrderedDict[Identity, KeptFile] = OrderedDict()
_lock = threading.Lock()


def identity(url: str) -> Identity | None:
    """Which file a URL of SQLAlchemy's means now: another one after it was replaced; None where there is none."""
    path = url.removeprefix("sqlite:///")
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return path, found.st_dev, found.st_ino


def opened(url: str) -> KeptFile:
    """The file of a URL; the least used one is closed where there are too many."""
    key = identity(url)
    if key is None:
        return KeptFile(_engine(url, sa.NullPool))  # its first statement creates it, or fails as stock's does
    with _lock:
        found = _files.get(key)
        if found is None:
            found = _files[key] = KeptFile(_engine(url, sa.QueuePool, pool_size=2, max_overflow=-1, pool_use_lifo=True))
            forks.watch(found.engine)
        _files.move_to_end(key)
        while len(_files) > FILES_KEPT:
            _files.popitem(last=False)[1].engine.dispose()
        return found


def close() -> None:
    """Close what no thread uses: the last process that does so has SQLite write back its log of writes."""
    with _lock:
        for file in _files.values():
            file.engine.dispose()
        _files.clear()


def _engine(url: str, pool: type[sa.Pool], **options: int) -> sa.Engine:
    engine = sa.create_engine(url, poolclass=pool, connect_args={"timeout": LOCK_TIMEOUT_S}, **options)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: object, _record: object) -> None:
        forks.require_own(engine.url.database)
        connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")  # type: ignore[attr-defined]

    return engine


atexit.register(close)
