"""Files as they lie on the disk: which there are, what is packed in them, and their checksums. No layouts here."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trading_assets.core.errors import ConfigurationError
from trading_assets.history.names import read_name
from trading_assets.history.rows import FileFault

TABLES = (".csv", ".txt", ".json", ".feather", ".parquet")
PACKED = (".gz", ".zip")
_CHECKSUM = ".CHECKSUM"
_HEAD_BYTES = 4096
_MOST_BYTES = 64 * 1024**3
"""A zip that claims to unpack to more is no archive of a market."""


@dataclass(frozen=True)
class Member:
    """One table: a file, or what is packed in it.

    Attributes:
        name: of the table, without `.gz`.
        head: its first bytes, unpacked.
    """

    path: Path
    name: str
    inner: str | None
    head: bytes

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix.lower()

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, unpacked. What is damaged inside raises while it is read; `faults_of` says so."""
        with _opened(self.path, self.inner) as file:
            yield file

    def read(self) -> bytes:
        with self.open() as file:
            return file.read()


def walk(paths: Iterable[Path]) -> list[Path]:
    """The files that may hold a table, of folders too, ordered by name so that days come one after the other.

    Raises:
        ConfigurationError: a path does not exist.
    """
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(one for one in path.rglob("*") if one.is_file() and _may_be_table(one))
        elif path.is_file():
            found.add(path)
        else:
            raise ConfigurationError(f"{path} does not exist; expected a file or a folder of files")
    return sorted(found, key=lambda one: (one.name, str(one)))


def _may_be_table(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith("."):
        return False
    return name.endswith(TABLES) or (name.endswith(".gz") and Path(name[:-3]).suffix in TABLES) or name.endswith(".zip")


def members(path: Path) -> list[Member]:
    """The tables of a file.

    Raises:
        FileFault: it cannot be read or unpacked, or holds none.
    """
    with faults_of(path):
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                inner = [
                    one for one in archive.infolist() if not one.is_dir() and one.filename.lower().endswith(TABLES)
                ]
            if sum(one.file_size for one in inner) > _MOST_BYTES:
                raise FileFault("it would unpack to more than 64 GB; expected tables of candles or trades")
            found = [_member(path, _name_in(path, one.filename), one.filename) for one in inner]
        else:
            name = re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)
            found = [_member(path, name, None)]
    if not found:
        raise FileFault(f"no table in it; expected one that ends in {', '.join(TABLES)}")
    return found


def _name_in(path: Path, inner: str) -> str:
    """What a table in a ZIP file is called: as the ZIP file, where its own name has no symbol and that one has."""
    own = Path(inner).name
    of_zip = path.stem if path.stem.lower().endswith(TABLES) else f"{path.stem}{Path(inner).suffix}"
    return of_zip if read_name(own).symbol is None and read_name(of_zip).symbol is not None else own


def _member(path: Path, name: str, inner: str | None) -> Member:
    with _opened(path, inner) as file:
        return Member(path, name, inner, file.read(_HEAD_BYTES))


@contextmanager
def _opened(path: Path, inner: str | None) -> Iterator[IO[bytes]]:
    if inner is not None:
        with zipfile.ZipFile(path) as archive, archive.open(inner) as file:
            yield file
    elif path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            yield io.BufferedReader(file)
    else:
        with path.open("rb") as file:
            yield file


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Errors of reading and unpacking, as those of this file."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise FileFault(f"damaged: it cannot be unpacked ({error}); fetch it again") from error
    except (OSError, NotImplementedError, RuntimeError) as error:
        raise FileFault(f"it cannot be read: {error}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        FileFault: it cannot be read.
    """
    with faults_of(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published_digest(path: Path) -> str | None:
    """What the checksum file beside it says (`NAME.CHECKSUM`: the digest, two blanks, the name); None without one."""
    beside = path.with_name(path.name + _CHECKSUM)
    try:
        words = beside.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return None
    return words[0].lower() if words and re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) else None
