"""What a store of files by name promises. No store here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Stored:
    """A file as it was when the store was asked.

    Args:
        name: parts with `/` between them, below the store's root.
        version: equal as long as nobody has written the file.
        changed_s: seconds since 1970, by the store's clock.
    """

    name: str
    version: str
    size: int
    changed_s: float


class Objects(Protocol):
    """Files by name. Safe for threads, processes and, in S3, machines; a reader finds an old file or a new one.

    Every method raises StorageError where the store cannot be read or written; the message says what to do.
    """

    def url(self, name: str = "") -> str:
        """Where a file is, for people."""

    def listed(self, prefix: str = "", *, after: str = "") -> Iterator[Stored]:
        """Files whose names begin with `prefix` and are above `after`, by name. What was written before is in it."""

    def folders(self, prefix: str = "") -> list[str]:
        """First parts of the names below `prefix` (empty, or ending in `/`) that are folders, ascending."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Content and version of a file; None where there is none."""

    def fetch(self, stored: Stored, *, again: bool = False) -> Path:
        """A path on this machine from which the file can be read: the file itself, or a copy. Nobody may change it.

        Args:
            again: the copy has turned out to be damaged: make it anew.

        Raises:
            ChangedMeanwhileError: there is another version by now, or none.
        """

    def write(self, name: str, content: bytes, *, replaces: str | None) -> Stored:
        """Write a file in one step, in place of the version `replaces`; None: there must be no such file.

        Raises:
            ChangedMeanwhileError: another writer was first. Or the store took this very write, and its answer was lost:
                so read again in every case.
        """

    def put(self, name: str, content: bytes) -> Stored:
        """Write a file in one step, whatever was there."""

    def delete(self, stored: Stored) -> bool:
        """Delete a file if it is still of this version; whether it was."""
