"""What the other processes of the store's tests do; light to import, as each starts anew."""

from __future__ import annotations

from pathlib import Path

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.store import CandleStore
from trading_assets_tests.market.sources import T0, CountingSource


def fill_every(root: str, first: int, step: int, count: int) -> None:
    """Fill AUSDT hour by hour: the hours first, first + step, ... below count."""
    source, store = CountingSource(T0 + 30 * DAY_MS), CandleStore(Path(root))
    for i in range(first, count, step):
        store.fill(source, "AUSDT", Timeframe.M1, T0 + i * HOUR_MS, T0 + (i + 1) * HOUR_MS)


def fill_for_ever(root: str) -> None:
    fill_every(root, 0, 1, 1_000_000)
