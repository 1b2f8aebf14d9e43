"""Which code this process runs: a digest of the package's sources, the same on every machine that has the same."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

_LENGTH = 12


@lru_cache
def code_version() -> str:
    """Digest of the sources as they were when it was first asked for."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:_LENGTH]
