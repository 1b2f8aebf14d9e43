"""What the other processes of the store's tests do; light to import, as each starts anew."""

from __future__ import annotations

from pathlib import Path

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.store import CandleStore
from trading_assets_tests.market.sources import T0, CountingSource


def fill_every(root: str, first: int, step: int, count: int, store_url: str | None = None) -> None:
    """Fill AUSDT hour by hour: the hours first, first + step, ... below count. With a URL the root is a home."""
    source, store = CountingSource(T0 + 30 * DAY_MS), CandleStore(Path(root))
    if store_url is not None:
        from trading_assets.core.settings import load_settings
        from trading_assets.market.opening import open_candle_store

        store = open_candle_store(load_settings(home=Path(root), store_url=store_url))
    for i in range(first, count, step):
        store.fill(source, "AUSDT", Timeframe.M1, T0 + i * HOUR_MS, T0 + (i + 1) * HOUR_MS)


def fill_for_ever(root: str, store_url: str | None = None) -> None:
    fill_every(root, 0, 1, 1_000_000, store_url)
