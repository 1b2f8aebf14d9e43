"""Who uses a home or a ledger now, so that nothing is put in its place below their hands."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from trading_assets.accounts import effective
from trading_assets.backup.ledger_copy import POSTGRESQL, others_connected
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases, migrations
from trading_assets.ledger.database import Database, shown
from trading_assets.trading.context import trading_lease
from trading_assets.trading.session.registry import living

LOOKS, LOOK_EVERY_S = 5, 0.2


def users_of(settings: Settings, database: Database, places: list[Path]) -> list[str]:
    """Sessions, processes and connections that use the home or the ledger; a sentence each. None: it is free.

    Args:
        places: files and directories that are about to be replaced.
    """
    where = shown(database.url)
    sessions = [one for one in living() if one.home == str(settings.home) or one.database == where]
    found = [f"a session lives: {one}" for one in sessions]
    lease = _lease(settings, database)
    if lease and not sessions:
        found.append(lease)
    if database.dialect == POSTGRESQL:
        found += [f"connected to the database: {other}" for other in _connected(database)]
    return found + [f"process {pid} ({name}) has {path} open" for pid, name, path in _processes_at(places)]


def _connected(database: Database) -> list[str]:
    """Others at the database; a server process whose client has just left ends a moment later."""
    found = others_connected(database)
    for _ in range(LOOKS):
        if not found:
            break
        time.sleep(LOOK_EVERY_S)
        found = others_connected(database)
    return found


def _lease(settings: Settings, database: Database) -> str:
    """A trader that this machine may not see, or that has just died."""
    file = Path(database.url.database or "")
    if database.dialect != POSTGRESQL and not (file.is_file() and file.stat().st_size):
        return ""  # a look would make one
    with database.read() as connection:
        if not migrations.is_usable(connection):
            return ""
    now_ms, found = local_ms(), []
    for name in effective.names(database, settings):
        held = leases.holder_of(database, trading_lease(name), wall_ms=now_ms)
        if held is not None:
            left_s = (held.expires_wall_ms - now_ms) // 1000
            found.append(f"{held.holder} trades account {name}; its lease ends in {left_s} s")
    return "; ".join(found)


def _processes_at(places: list[Path]) -> list[tuple[int, str, Path]]:
    """Processes of this machine that have a file there open, the first file of each; those that one may not see not."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            opened = [Path(file.path) for file in process.open_files()]
            name = process.name()
        except (psutil.Error, OSError):
            continue
        held = next((path for path in opened if any(_is_at(path, place) for place in places)), None)
        if held is not None:
            found.append((process.pid, name, held))
    return found


def _is_at(path: Path, place: Path) -> bool:
    """Whether it is the place, below it, or a file of a SQLite database there."""
    return path.is_relative_to(place) or (path.parent == place.parent and path.name.startswith(f"{place.name}-"))
