"""A digest of the code on which backtests depend: rows made by another one are stale. Reads sources, runs nothing."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path

from trading_assets.strategies.base import Strategy

_HERE = Path(__file__).parent
_SOURCES = (
    *sorted((_HERE / "kernel").glob("*.py")),
    *(_HERE / f"{name}.py" for name in ("engine", "metrics", "parameter_choice", "run", "significance")),
    *(_HERE.parent / "strategies" / f"{name}.py" for name in ("alignment", "base", "indicators")),
)


def code_version(strategies: Iterable[type[Strategy]], sources: Iterable[Path] = _SOURCES) -> str:
    """12 hexadecimal digits of the engine's sources and of each strategy's name, version and module.

    A changed comment changes it too: rows that are made once too often are no harm, stale ones that look fresh are.
    """
    digest = hashlib.blake2b(digest_size=6)
    for path in sources:
        digest.update(path.read_bytes())
    for strategy in sorted(strategies, key=lambda one: one.name):
        digest.update(f"{strategy.name}={strategy.version}".encode())
        with contextlib.suppress(OSError, TypeError):  # one made at run time has no source: its version has to tell
            digest.update(Path(inspect.getfile(strategy)).read_bytes())
    return digest.hexdigest()
