"""No connection to a ledger crosses a fork: what a parent has open, its children must neither use nor close.

SQLite counts its locks for each process, in memory. A child inherits the counts and not the locks: it takes those of
its parent for its own, others take its file for free, and what it commits is lost when they tidy up. So idle ones are
closed before a fork. One that another thread uses at that moment cannot be: the child is refused that file.
"""

from __future__ import annotations

import os
import weakref

import sqlalchemy as sa

from trading_assets.core.errors import StorageError

_engines: weakref.WeakSet[sa.Engine] = weakref.WeakSet()
_in_use: set[str] = set()
"""Files of SQLite that were in use while this process was forked."""

_forking: set[str] = set()
"""The same, of the fork that is under way."""


def watch(engine: sa.Engine) -> None:
    """Let no connection of the engine cross a fork."""
    _engines.add(engine)


def require_own(path: str | None) -> None:
    """Look before a file of SQLite is opened.

    Raises:
        StorageError: a thread of the parent used it while this process was forked.
    """
    if path in _in_use:
        raise StorageError(
            f"the database {path} was in use while this process was forked, so that it cannot be used here; expected a "
            "process that is spawned, or forked while no thread uses the database. Nothing was written"
        )


def _before() -> None:
    for engine in list(_engines):
        if engine.dialect.name != "sqlite":
            continue
        pool, path = engine.pool, engine.url.database
        if isinstance(pool, sa.QueuePool) and pool.checkedout() and path:
            _forking.add(path)
        engine.dispose()


def _in_child() -> None:
    _in_use.update(_forking)
    _forking.clear()
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(before=_before, after_in_child=_in_child, after_in_parent=_forking.clear)
