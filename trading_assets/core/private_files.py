"""Files and folders that are of their owner alone, what they hold, and names that may become part of a path. No
settings here."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trading_assets.core.errors import DataError, StorageError

FOLDER, FILE = 0o700, 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NAME = re.compile(r"[^\W_][\w.-]{0,63}")  # letters of any alphabet: a coin may be named in Chinese


def path_part(name: str, what: str = "symbol") -> str:
    """Return a name from outside as it is, if it can be one part of a path: no separator, no `..`, no control byte.

    Raises:
        DataError: it cannot.
    """
    if _NAME.fullmatch(name) is None:
        raise DataError(
            f"{what} {name[:64]!r} cannot name a file; expected 1 to 64 letters, digits, '-', '_' and '.', a letter or "
            "digit first"
        )
    return name


def private_folder(path: Path) -> Path:
    """Create a folder, with those above it that are missing, for its owner alone; one that is there stays as it is.

    Raises:
        OSError: it cannot be created.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is no directory")
    return path


def owned_folder(path: Path) -> Path:
    """`private_folder` at a path that other users of the machine could have taken, as below `/tmp`.

    Raises:
        StorageError: it is a link, or belongs to another user, or others can write into it.
        OSError: it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=FOLDER, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StorageError(
            f"{path} is not a directory of this user (owner {found.st_uid}); expected one, as another user could "
            "change what is in it: remove it, or name another directory in TRADING_ASSETS_LIMITS_DIR"
        )
    if found.st_mode & _OTHERS:
        path.chmod(FOLDER)
    return path


def limits_folder(given: Path | None) -> Path:
    """Where the processes of this machine count their requests together: as given, else a directory of this user."""
    return given or Path(tempfile.gettempdir()) / f"trading-assets-{getpass.getuser()}"


def private_file(path: Path) -> Path:
    """Create an empty file for its owner alone, unless there is one; that one stays as it is.

    One that is there is not even opened: who closes a file of SQLite gives away every lock that its process has on it,
    and others may then take its log of writes away.

    Raises:
        OSError: it cannot be created.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE))
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file for its owner alone, in one step: a reader finds the old text or the new one.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    temporary.replace(path)


def exposed(path: Path) -> Iterator[Path]:
    """The path and what is below it, as far as others may read or write it. Links are not followed."""
    if not path.exists():
        return
    for folder, folders, files in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
        for name in files:
            yield from _if_exposed(Path(folder) / name)
        for name in folders:
            yield from _if_exposed(Path(folder) / name)
    if path.is_dir():
        yield from _if_exposed(path)


def make_private(path: Path) -> bool:
    """Take the rights of others away; whether that was possible."""
    try:
        path.chmod(FOLDER if path.is_dir() else path.stat().st_mode & ~_OTHERS & 0o7777)
    except OSError:
        return False
    return True


def _if_exposed(path: Path) -> Iterator[Path]:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # removed meanwhile
    if not stat.S_ISLNK(mode) and mode & _OTHERS:
        yield path


def used_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; one that goes away meanwhile has none."""
    total = 0
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):
            total += each.lstat().st_size if each.is_file() else 0
    return total
