"""What a backup says of itself: from which program and books it is, and what each part must be when it is read again.

A backup is a ZIP file. `manifest.json` is in it, and the parts that the manifest lists; nothing else is read.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from trading_assets.core.errors import DamagedFileError, StorageError

FORMAT = 1
NAME = "manifest.json"
MAX_BYTES = 64 * 1024**2
"""Of the manifest: a million parts."""

LEDGER, CANDLES, EXCHANGE, ACCOUNTS, RESULTS = "ledger", "candles", "exchange", "accounts", "results"
HISTORY = "history"
"""The library of imported history, where it was asked for."""
"""First part of the names of a backup's parts. Results are sealed backtests, which the ledger names. The embedded
exchange of a named account is accounts/NAME/exchange."""

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Part:
    """One file of a backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        format: of this file; another one is refused.
        program: version of the program that made it.
        made_ms: when, UTC ms of the machine.
        venue, account: of the settings then.
        storage: "sqlite" or "postgresql".
        revision: of the ledger's schema.
        owners: whose the books are, by account name, for people.
        accounts: names of all accounts of the installation; empty in a backup of an older program.
        market: which market the research is of; None where nothing was researched.
        columns: of each table, where the ledger is kept as tables (PostgreSQL).
        settings: those that have no secret, by variable, as text.
        secrets: variables that were set and are not in the backup.
        parts: by name.
    """

    format: int
    program: str
    made_ms: int
    venue: str
    account: str
    storage: str
    revision: str
    owners: dict[str, str] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=list)
    market: str | None = None
    columns: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts.values())

    def below(self, folder: str) -> list[str]:
        """Names of the parts below a folder, sorted."""
        return sorted(name for name in self.parts if name.startswith(f"{folder}/"))

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


_MANIFEST = TypeAdapter(Manifest)


class Checked:
    """A stream that counts and sums what goes through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._sum, self.bytes = stream, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._sum.update(data)
        self.bytes += len(data)
        return self._stream.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._sum.update(data)
        self.bytes += len(data)
        return data

    @property
    def part(self) -> Part:
        return Part(self.bytes, self._sum.hexdigest())


@contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """A backup that can be read, with its manifest.

    Raises:
        StorageError: it is not there, is no backup, or a newer program made it.
        DamagedFileError: it is not whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, _manifest(archive, path)
    except FileNotFoundError:
        raise StorageError(f"there is no file {path}; expected one that `trading-assets backup` has made") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise DamagedFileError(f"{path} is no whole backup ({error}); take another one, nothing was changed") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def reading(archive: zipfile.ZipFile, manifest: Manifest, name: str) -> Iterator[Checked]:
    """A part as it was written.

    Raises:
        DamagedFileError: at the end of the block, if it is not.
    """
    try:
        with archive.open(name) as stream:
            checked = Checked(stream)  # type: ignore[arg-type]
            yield checked
            while checked.read(CHUNK):
                pass
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        raise _damaged(name) from error
    if checked.part != manifest.parts[name]:
        raise _damaged(name)


def _damaged(name: str) -> DamagedFileError:
    return DamagedFileError(
        f"the backup's {name} is not what was written into it; take another backup. Nothing was changed"
    )


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        with archive.open(NAME) as stream:
            found = json.loads(stream.read(MAX_BYTES))
        version = found["format"]
    except (KeyError, ValueError, TypeError):
        raise StorageError(
            f"{path} is no backup: it has no {NAME}; expected a file of `trading-assets backup`"
        ) from None
    if version != FORMAT:
        raise StorageError(
            f"{path} has format {version!r}, this program reads {FORMAT}: install the version that made it"
        )
    try:
        return _MANIFEST.validate_python(found)
    except ValidationError as error:
        raise DamagedFileError(f"{path} has a manifest that makes no sense: {error.error_count()} faults") from None
