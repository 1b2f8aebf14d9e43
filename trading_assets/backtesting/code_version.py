"""The version of the code that makes rows of backtests: what makes stored rows stale."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path

from trading_assets.strategies.base import Strategy

_HERE = Path(__file__).parent
_ENGINE = (
    *("costs", "day_panels", "engine", "liquidity", "metrics", "parameter_choice", "result_rows", "run", "searching"),
    "significance",
)
SOURCES = (
    *sorted((_HERE / "kernel").glob("*.py")),
    *(_HERE / f"{name}.py" for name in _ENGINE),
    *(
        _HERE.parent / "strategies" / f"{name}.py"
        for name in ("alignment", "base", "declared", "grids", "indicator_cache", "indicators")
    ),
    *(_HERE.parent / "market" / f"{name}.py" for name in ("loading", "lookback")),
    *(_HERE.parent / "core" / f"{name}.py" for name in ("candles", "declared", "exits", "strategy_data", "timeframes")),
)
"""Modules on whose text the figures of a row depend, besides those of strategies."""


def code_version(strategies: Iterable[type[Strategy]], sources: Iterable[Path] = SOURCES) -> str:
    """12 hexadecimal digits of the sources of the engine and of what loads its data, and of each strategy's name,
    version and module.

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
