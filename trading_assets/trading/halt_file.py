"""The second way to halt, which needs no database: a file `HALTED` in the home. What a halt means is in `ledger.risk`.

Every gate looks at it. It holds an entry for each account that was halted; a file that somebody made by hand, or that
cannot be read, halts every account of the home. `resume` takes the account's entry away, and the file with the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from trading_assets.core.errors import StorageError
from trading_assets.core.foreign_text import plain
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.settings import Settings

NAME = "HALTED"

_BY_HAND = "by hand"
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
        write_private(path, json.dumps({name: asdict(one) for name, one in entries.items()}))
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
    return entries.get(settings.account) or entries.get("")


def take_away(settings: Settings) -> FileHalt | None:
    """Let the file halt the account no longer. Return what it said.

    Raises:
        StorageError: it cannot be changed.
    """
    path, held = path_of(settings), found(settings)
    if held is None:
        return None
    try:
        entries = {name: one for name, one in (_entries(path) or {}).items() if name not in (settings.account, "")}
        if entries:
            write_private(path, json.dumps({name: asdict(one) for name, one in entries.items()}))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the file {path} halts trading, and cannot be removed: {error.strerror}") from error
    return held


@contextmanager
def taken_away(settings: Settings) -> Iterator[FileHalt | None]:
    """Let the file halt the account no longer, and give what it said; it is put back where the block raises."""
    held = take_away(settings)
    try:
        yield held
    except BaseException:
        if held is not None:
            write(settings, reason=held.reason, actor=held.actor, wall_ms=held.wall_ms)
        raise


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
        } or {"": FileHalt("an empty file", _BY_HAND, 0)}
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError):
        words = plain(text[:200].decode(errors="replace").strip())
        return {"": FileHalt(words or "an empty file", _BY_HAND, 0)}
