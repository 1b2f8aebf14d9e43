"""Where compiled code is kept, and how it follows its sources. Nothing is compiled here.

Numba looks at the file of a function alone. A number that it took from another file would live on in machine code after
that file has changed. So the cache of each state of the sources is a directory of its own, named by their digest.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from trading_assets.core.settings import load_settings

_ROOT = Path(__file__).parents[3]
_PACKAGE = _ROOT / "trading_assets"
_COMPILED = sorted(Path(__file__).parent.glob("*.py"))
_IMPORT = re.compile(r"^\s*(?:from|import)\s+(trading_assets[\w.]*)(?:\s+import\s+(\([^)]*\)|[^\n]*))?", re.MULTILINE)
_one_at_a_time = threading.RLock()


def cached(*signature: Any, **options: Any) -> Callable[[Any], Any]:
    """`numba.njit` whose machine code is kept in `directory()`."""
    import numba

    njit: Any = numba.njit

    def compiled(function: Any) -> Any:
        with _numba_keeps_its_cache_there():
            return njit(*signature, cache=True, **options)(function)

    return compiled


@cache
def digest() -> str:
    """16 hexadecimal digits of everything that compiled code may have been made from: the kernel and all it imports."""
    return digest_of(sources(_COMPILED))


def digest_of(files: list[Path]) -> str:
    """16 hexadecimal digits of the files' names and contents."""
    found = hashlib.blake2b(digest_size=8)
    for path in files:
        content = path.read_bytes()
        found.update(f"{path.name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def sources(files: list[Path], root: Path = _ROOT) -> list[Path]:
    """The files and those of the project that they import, directly or not, sorted."""
    found: set[Path] = set()
    left = list(files)
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        for module, names in _IMPORT.findall(path.read_text()):
            place = root.joinpath(*module.split("."))
            inner = [place / name for name in re.findall(r"\w+", names)]
            files_of = [place.with_suffix(".py"), place / "__init__.py", *(one.with_suffix(".py") for one in inner)]
            left += [one for one in files_of if one.is_file()]
    return sorted(found)


@cache
def directory() -> Path:
    """The cache of the sources as they are: below `NUMBA_CACHE_DIR`, else beside the kernel, else in the home."""
    given = _numba_config().CACHE_DIR
    beside, in_home = Path(__file__).parent / "__pycache__", load_settings().home / "machine_code"
    wanted = [Path(given)] if given else [beside, in_home]
    return first_writable([base / f"kernel-{digest()}" for base in wanted])


def first_writable(folders: list[Path]) -> Path:
    """The first folder that can be made and written to; the last one where none can: numba then compiles anew."""
    for folder in folders:
        probe = folder / ".writable"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError:
            continue
        return folder
    return folders[-1]


@contextmanager
def _numba_keeps_its_cache_there() -> Iterator[None]:
    with _one_at_a_time:
        config, place = _numba_config(), str(directory())
        before, config.CACHE_DIR = config.CACHE_DIR, place
        try:
            yield
        finally:
            config.CACHE_DIR = before


def _numba_config() -> Any:
    import numba

    return numba.config
