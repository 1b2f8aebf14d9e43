"""Checks of this machine: home, rights of files, counters of requests, memory."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from trading_assets.cli.doctor.findings import Advice
from trading_assets.core.configuration import config_file
from trading_assets.core.errors import ChangedMeanwhileError, StorageError
from trading_assets.core.memory import limit_mb
from trading_assets.core.objects import open_objects
from trading_assets.core.private_files import exposed, limits_folder, make_private, owned_folder, private_folder
from trading_assets.core.settings import Settings

_LOW_DISK_BYTES = 500 * 1024**2

INSTALLATION_MB, RESEARCH_MB, COIN_MB = 750.0, 650.0, 1.3
"""What Dagster, a session and the embedded exchange need together; research beside it; each coin more. See
docs/production.md, "Memory"."""


def check_home(settings: Settings) -> str:
    home: Path = settings.home
    try:
        private_folder(home)
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise StorageError(
            f"{home} cannot be written: {error.strerror}; free some space or choose another directory with "
            "TRADING_ASSETS_HOME"
        ) from error
    if free < _LOW_DISK_BYTES:
        raise StorageError(f"{home} has {free // 1024**2} MB left, expected at least {_LOW_DISK_BYTES // 1024**2} MB")
    return f"{home}, {free / 1024**3:.1f} GB free"


def check_rights(settings: Settings) -> str:
    """Takes away what others may read or write: nothing of it is meant for them."""
    file = config_file()
    places = (settings.home, file if file is not None and file.is_file() else None, settings.limits_dir)
    found = [path for place in places if place is not None for path in exposed(place)]
    left = [path for path in found if not make_private(path)]
    if left:
        raise StorageError(
            f"others may read or write {left[0]} and {len(left) - 1} more, and this user cannot change it; let its "
            "owner do: chmod -R go-rwx"
        )
    return f"of this user alone; taken away from others just now: {len(found)}" if found else "of this user alone"


def check_store(settings: Settings) -> str:
    """Where research keeps candles: S3 is written, read, refused and deleted once as runs do it."""
    if settings.store_url is None:
        return "candles and reports are files in the home"
    objects, name = open_objects(settings, "doctor"), f"probe-{os.getpid()}-{secrets.token_hex(4)}"
    stored = objects.write(name, b"probe", replaces=None)
    try:
        objects.write(name, b"probe again", replaces=None)
    except ChangedMeanwhileError:
        pass
    else:
        raise StorageError(
            f"{objects.url()} has replaced a file that was to be new: it does not know conditional writes, and two "
            "writers would lose candles. Use S3, or a server that refuses If-None-Match with 412"
        )
    finally:
        found = next(iter(objects.listed(name)), None)
        if found is not None:
            objects.delete(found)
    return f"{objects.url()}: written, read, and a second writer refused; {stored.size} bytes deleted again"


def check_limits(settings: Settings) -> str:
    """All processes count their requests in one directory, into which nobody else can write."""
    folder = limits_folder(settings.limits_dir)
    try:
        return str(owned_folder(folder))
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be used: {error.strerror}; name another directory in TRADING_ASSETS_LIMITS_DIR"
        ) from error


def check_memory(settings: Settings) -> str:
    limit, who = limit_mb()
    needed = INSTALLATION_MB + RESEARCH_MB + COIN_MB * settings.max_symbols
    text = (
        f"{limit / 1024:.1f} GB by {who}; research of {settings.max_symbols} coins beside a session and Dagster needs "
        f"{needed / 1024:.1f}"
    )
    if limit < needed:
        return Advice(f"{text}: the system would kill a run; lower TRADING_ASSETS_MAX_SYMBOLS, or give it more memory")
    return text
