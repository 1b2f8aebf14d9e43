"""Chunks of the candle store in a store of files that several machines write: S3. What a chunk holds is in `chunks`.

Each reading asks the store for the names and versions of a folder, so what another machine has written is seen at once;
content comes from this machine's copies, where those are of the same version. A writing says which version it replaces;
one that came too late reads again and adds its rows to what is there now. So two writers lose nothing, without a lock.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from trading_assets.core.errors import ChangedMeanwhileError, DamagedFileError, StorageError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.objects import Objects, Stored
from trading_assets.core.timeframes import floor_ms
from trading_assets.market.chunks import Chunk, ChunkFiles, merged, write_chunk
from trading_assets.market.spans import Span

_log = get_logger(__name__)

_PATIENCE_S = 60.0
"""So long a writing is tried again that others forestall."""

_FIRST_REST_S, _LONGEST_REST_S = 0.02, 1.0
_SUFFIX = ".parquet"


class ObjectChunks(ChunkFiles):
    """`ChunkFiles` over `Objects`. Folders are paths below `root`, and name the same folder of the store.

    Args:
        root: stands for the store's root; nothing is written there.
    """

    def __init__(self, objects: Objects, root: Path) -> None:
        super().__init__()
        self._objects, self._root = objects, root
        self._known: dict[str, Stored] = {}

    def paths(self, folder: Path, chunk_ms: int, start_ms: int, end_ms: int) -> Iterator[Path]:
        if start_ms >= end_ms:
            return
        first = self._name(self.chunk_path(folder, floor_ms(start_ms, chunk_ms)))
        yield from self._copies(partial(self._listed, folder, first=first, until_ms=end_ms))

    def every(self, folder: Path, *, newest_first: bool = False) -> Iterator[Path]:
        for name in sorted((stored.name for stored in self._listed(folder)), reverse=newest_first):
            yield from self._copies(partial(self._listed, folder, exactly=name))

    def symbols(self, root: Path) -> list[str]:
        return self._objects.folders()

    def delete(
        self, folder: Path, is_wanted: Callable[[int, float], bool], *, dry_run: bool = False
    ) -> tuple[int, int]:
        files = size = 0
        for stored in self._listed(folder):
            if is_wanted(self.start_of(Path(stored.name)), stored.changed_s) and (
                dry_run or self._objects.delete(stored)
            ):
                files, size = files + 1, size + stored.size
        return files, size

    def missing(
        self,
        folder: Path,
        chunk_ms: int,
        columns: list[str],
        start_ms: int,
        end_ms: int,
        now_ms: int | None,
        *,
        mend: bool = False,
    ) -> list[Span]:
        if mend:
            self._put_damaged_aside(folder, chunk_ms, columns, start_ms, end_ms)
        return super().missing(folder, chunk_ms, columns, start_ms, end_ms, now_ms)

    def _put_damaged_aside(self, folder: Path, chunk_ms: int, columns: list[str], start_ms: int, end_ms: int) -> None:
        if start_ms >= end_ms:
            return
        first = self._name(self.chunk_path(folder, floor_ms(start_ms, chunk_ms)))
        for stored in self._listed(folder, first=first, until_ms=end_ms):
            try:
                self._load(stored, columns)
            except ChangedMeanwhileError:
                continue
            except DamagedFileError as error:
                found = self._objects.read(stored.name)
                if found is not None and found[1] == stored.version:
                    self._objects.put(f"{stored.name}.damaged", found[0])
                    self._objects.delete(stored)
                _log.warning("%s; it was put aside and is fetched again", error)

    def merge(
        self, folder: Path, chunk_ms: int, columns: dict[str, np.ndarray], answered: Span, step_ms: int, now_ms: int
    ) -> None:
        if answered[0] >= answered[1]:
            return
        for start in range(floor_ms(answered[0], chunk_ms), answered[1], chunk_ms):
            name = self._name(self.chunk_path(folder, start))
            held_as = self._known.get(name)  # an old one is found out by the write
            rest_s, until_s = _FIRST_REST_S, time.monotonic() + _PATIENCE_S
            while True:
                try:
                    held = None if held_as is None else self._load(held_as, list(columns))
                    new = merged(held, columns, answered, start, start + chunk_ms, step_ms, now_ms)
                    if held is not None and new.checksum == held.checksum:
                        break
                    content = io.BytesIO()
                    write_chunk(new, content)
                    replaces = None if held_as is None else held_as.version
                    self._known[name] = self._objects.write(name, content.getvalue(), replaces=replaces)
                    break
                except ChangedMeanwhileError as error:
                    if time.monotonic() > until_s:
                        raise StorageError(
                            f"{self._objects.url(name)} was written by others again and again for {_PATIENCE_S:.0f} s; "
                            "nothing was changed, try again"
                        ) from error
                    time.sleep(rest_s * random.uniform(0.5, 1.0))
                    rest_s = min(2 * rest_s, _LONGEST_REST_S)
                    self._known.pop(name, None)
                    held_as = next(iter(self._listed(folder, exactly=name)), None)

    # Names, versions, copies

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _listed(
        self, folder: Path, *, first: str = "", until_ms: int | None = None, exactly: str | None = None
    ) -> list[Stored]:
        """Chunks of a folder in time: from the name `first` on, those that begin before `until_ms`; or that one."""
        prefix = f"{self._name(folder)}/" if exactly is None else exactly
        found = []
        # The name without its suffix is the greatest of those below the name itself.
        for stored in self._objects.listed(prefix, after=first.removesuffix(_SUFFIX)):
            if not stored.name.endswith(_SUFFIX):
                continue
            if until_ms is not None and self.start_of(Path(stored.name)) >= until_ms:
                break
            self._known[stored.name] = stored
            found.append(stored)
        return found

    def _copies(self, listed: Callable[[], list[Stored]]) -> list[Path]:
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return [self._objects.fetch(stored) for stored in listed()]
            except ChangedMeanwhileError:
                if time.monotonic() > until_s:
                    raise

    def _load(self, stored: Stored, columns: list[str]) -> Chunk:
        """A chunk by its copy; where that is damaged, by a new one."""
        try:
            return self.load(self._objects.fetch(stored), columns)
        except DamagedFileError:
            return self.load(self._objects.fetch(stored, again=True), columns)
