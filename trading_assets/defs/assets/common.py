"""What every research asset has in common: owners, backfill policy, the time guard, progress lines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import dagster as dg
import pandas as pd

from trading_assets.defs.partitions import key_of
from trading_assets.errors import DataError
from trading_assets.exchange.base import MarketData
from trading_assets.market.timeframes import as_of_ms, iso

OWNERS = ["team:trading-assets"]

TABLES = "hourly_tables"
"""Key of the IO manager that stores a research asset's frame."""

ONE_RUN = dg.BackfillPolicy.single_run()
"""A run costs seconds before any work, so a backfill hands a range of hours to one run."""

SETTLE_MS = 2_000
"""A candle's last trades reach the exchange's own candles a moment after its end."""


def require_ended(market_data: MarketData, hours: Sequence[int]) -> None:
    """Wait the last moment until the newest hour's candles are final.

    Raises:
        DataError: the hour has not ended.
    """
    as_of = as_of_ms(max(hours))
    now = market_data.now_ms()
    if now < as_of:
        raise DataError(
            f"the hour that ends at {iso(as_of)} has not ended: the exchange's clock says {iso(now)}. Materialise an "
            "earlier partition, or wait."
        )
    if now < as_of + SETTLE_MS:
        time.sleep((as_of + SETTLE_MS - now) / 1000)


def describe_hour(
    context: dg.AssetExecutionContext, hour_ms: int, rows: pd.DataFrame, metadata: Mapping[str, object]
) -> None:
    """Metadata of one hour's rows: a run of a range of hours describes each of its partitions apart."""
    context.add_asset_metadata({"dagster/row_count": len(rows), **metadata}, partition_key=key_of(hour_ms))


class Progress:
    """Says how far a long step is, at most every few seconds: every line is stored as an event."""

    def __init__(self, log: dg.DagsterLogManager, what: str, every_s: float = 5.0) -> None:
        self._log, self._what, self._every_s = log, what, every_s
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self._every_s and done < total:
            self._last = time.monotonic()
            self._log.info(f"{self._what}: {done} of {total}")
