"""A directory as a store of files by name: locks and renames of its file system. Others of the machine share it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from trading_assets.core.errors import ChangedMeanwhileError, StorageError
from trading_assets.core.objects.base import Stored
from trading_assets.core.private_files import FILE, path_part, private_folder

_LOCK_TIMEOUT_S = 60.0
_TEMPORARY = ".writing-"


class FileObjects:
    """`Objects` below one directory. Names that begin with a dot are not of the store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def url(self, name: str = "") -> str:
        return str(self.root / name)

    def listed(self, prefix: str = "", *, after: str = "") -> Iterator[Stored]:
        base = self.root / prefix.rpartition("/")[0]
        found = []
        for folder, folders, files in os.walk(base):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [(Path(folder) / name).relative_to(self.root).as_posix() for name in files if name[0] != "."]
        for name in sorted(found):
            if name.startswith(prefix) and name > after:
                stored = self._stored(name)
                if stored is not None:
                    yield stored

    def folders(self, prefix: str = "") -> list[str]:
        base = self.root / prefix
        return sorted(path.name for path in base.glob("*") if path.is_dir() and path.name[0] != ".")

    def read(self, name: str) -> tuple[bytes, str] | None:
        try:
            with self._path(name).open("rb") as file:
                return file.read(), _version(os.fstat(file.fileno()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self._path(name)} cannot be read: {error.strerror or error}") from error

    def fetch(self, stored: Stored, *, again: bool = False) -> Path:
        return self._path(stored.name)

    def write(self, name: str, content: bytes, *, replaces: str | None) -> Stored:
        path = self._path(name)
        with self._locked(path):
            held = self._stored(name)
            if (None if held is None else held.version) != replaces:
                raise ChangedMeanwhileError(f"{path} was written by another process meanwhile")
            return self._replace(path, name, content)

    def put(self, name: str, content: bytes) -> Stored:
        path = self._path(name)
        with self._locked(path):
            return self._replace(path, name, content)

    def delete(self, stored: Stored) -> bool:
        path = self._path(stored.name)
        with self._locked(path):
            if self._stored(stored.name) != stored:
                return False
            path.unlink()
            return True

    def _path(self, name: str) -> Path:
        return self.root.joinpath(*(path_part(part, "file") for part in name.split("/")))

    def _stored(self, name: str) -> Stored | None:
        try:
            stat = self._path(name).stat()
        except FileNotFoundError:
            return None
        return Stored(name, _version(stat), stat.st_size, stat.st_mtime)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        try:
            private_folder(path.parent)
            with FileLock(path.parent / ".lock", timeout=_LOCK_TIMEOUT_S, mode=FILE):
                for left_by_a_killed_process in path.parent.glob(f"{_TEMPORARY}*"):
                    left_by_a_killed_process.unlink(missing_ok=True)
                yield
        except Timeout as error:
            raise StorageError(
                f"another process has been writing {path.parent} for {_LOCK_TIMEOUT_S:.0f} s; end it, then try again"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written: {error.strerror or error}; nothing was changed. Free some space or choose "
                "another directory with TRADING_ASSETS_HOME"
            ) from error

    def _replace(self, path: Path, name: str, content: bytes) -> Stored:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                stat = os.fstat(file.fileno())
            Path(temporary).replace(path)
            self._settle(path.parent)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return Stored(name, _version(stat), stat.st_size, stat.st_mtime)

    @staticmethod
    def _settle(folder: Path) -> None:
        """The name, too, is on the disk before anybody relies on the file."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _version(stat: os.stat_result) -> str:
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"
