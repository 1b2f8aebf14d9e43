"""The files of SQLite that a process keeps open for Dagster's storages. It knows none of their tables.

Stock opens a file for every statement and closes it, and each tick of a schedule or sensor makes its storages anew.
"""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from trading_assets.ledger import forks

LOCK_TIMEOUT_S = 60.0
"""So long Dagster's storages wait for a lock on SQLite's files."""

FILES_KEPT = 6
"""An instance has three that all its runs share."""

LOG_BYTES = 4_000_000
"""SQLite cuts its log of writes to this after a large transaction."""


@dataclass
class KeptFile:
    """A file with its kept connections.

    Attributes:
        is_revised: its tables were looked at, and are of a known revision.
    """

    engine: sa.Engine
    is_revised: bool = False
    _known: set[str] = field(default_factory=set)

    def knows(self, name: str, ask: Callable[[str], bool]) -> bool:
        """Whether the file has something that, once there, stays; asked for until it is there."""
        if name not in self._known and ask(name):
            self._known.add(name)
        return name in self._known


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
            found = _files[key] = KeptFile(_engine(url, sa.QueuePool, pool_size=2, max_overflow=-1))
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
