"""The second way to halt, which needs no database: a file `HALTED` in the home. What a halt means is in `ledger.risk`.

Every gate looks at it. It holds an entry for each account that was halted; a file that somebody made by hand, or that
cannot be read, halts every account of the home. `resume` takes the account's entry away, and the file with the last.
What was made by hand it takes away only when it is told to, for it concerns other accounts, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from trading_assets.core.errors import StorageError
from trading_assets.core.foreign_text import plain
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.settings import Settings

NAME = "HALTED"

_BY_HAND = "by hand"
_EVERY = ""
"""The account of an entry that halts every account of the home."""

_LONGEST = 64 * 1024


@dataclass(frozen=True)
class FileHalt:
    """That the file halts an account: why, who wrote it, and when by the local clock, UTC ms (0: not known)."""

    reason: str
    actor: str
    wall_ms: int


def path_of(settings: Settings) -> Path:
    """Where the file is, or would be."""
    return settings.home / NAME


def write(settings: Settings, *, reason: str, actor: str, wall_ms: int) -> Path:
    """Halt the account by the file. What the file says of others stays.

    Raises:
        StorageError: it cannot be written.
    """
    path = path_of(settings)
    try:
        private_folder(path.parent)
        entries = _entries(path) or {}
        entries[settings.account] = FileHalt(plain(reason), plain(actor), wall_ms)
        _put(path, entries)
    except OSError as error:
        raise StorageError(f"the file {path} cannot be written: {error.strerror}") from error
    return path


def found(settings: Settings) -> FileHalt | None:
    """Return why the file halts the account; None where it does not."""
    path = path_of(settings)
    try:
        entries = _entries(path)
    except OSError as error:
        return FileHalt(f"the file {path} cannot be read: {error.strerror}", _BY_HAND, 0)
    if entries is None:
        return None
    return entries.get(settings.account) or entries.get(_EVERY)


def by_hand(settings: Settings) -> FileHalt | None:
    """Return what a file says that was made by hand or cannot be read, and so halts every account; None without one."""
    try:
        return (_entries(path_of(settings)) or {}).get(_EVERY)
    except OSError:
        return found(settings)


def take_away(settings: Settings, *, every: bool = False) -> FileHalt | None:
    """Let the file's entry halt the account no longer. Return what it said; None where there was nothing to take.

    Args:
        every: take away what was made by hand, too: every account of the home is free of the file then, but for those
            that have an entry of their own.

    Raises:
        StorageError: it cannot be changed.
    """
    taken = _take_away(settings, every=every)
    return taken.get(settings.account) or taken.get(_EVERY)


@contextmanager
def taken_away(settings: Settings, *, every: bool = False) -> Iterator[FileHalt | None]:
    """Do what `take_away` does, and give what the file said; it is put back where the block raises."""
    taken = _take_away(settings, every=every)
    try:
        yield taken.get(settings.account) or taken.get(_EVERY)
    except BaseException:
        if taken:
            _put(path_of(settings), {**(_entries(path_of(settings)) or {}), **taken})
        raise


def _take_away(settings: Settings, *, every: bool) -> dict[str, FileHalt]:
    """Take the account's entry away, with `every` that of every account, too. Return what was taken."""
    path, names = path_of(settings), (settings.account, _EVERY) if every else (settings.account,)
    try:
        entries = _entries(path) or {}
        taken = {name: entries.pop(name) for name in names if name in entries}
        if entries and taken:
            _put(path, entries)
        elif taken:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the file {path} halts trading, and cannot be removed: {error.strerror}") from error
    return taken


def _put(path: Path, entries: Mapping[str, FileHalt]) -> None:
    write_private(path, json.dumps({name: asdict(one) for name, one in entries.items()}))


def _entries(path: Path) -> dict[str, FileHalt] | None:
    """Entries by account, that of every account under the empty name; None where there is no file.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST)
    except FileNotFoundError:
        return None
    try:
        return {
            str(name): FileHalt(plain(one["reason"]), plain(one["actor"]), int(one["wall_ms"]))
            for name, one in json.loads(text).items()
        } or {_EVERY: FileHalt("an empty file", _BY_HAND, 0)}
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError):
        words = plain(text[:200].decode(errors="replace").strip())
        return {_EVERY: FileHalt(words or "an empty file", _BY_HAND, 0)}
