"""Which table of the system of record an asset writes. The IO manager and the checks both ask here."""

from __future__ import annotations

import dagster as dg

from trading_assets.core.errors import DataError
from trading_assets.core.schemas import (
    BACKTEST_RESULTS,
    CANDLE_COVERAGE,
    FUNDING_COVERAGE,
    LIVE_PARITY,
    MARKET_SCAN,
    STRATEGY_SELECTIONS,
    Table,
)

_TABLES: dict[str, Table] = {
    "market_scan": MARKET_SCAN,
    "candles": CANDLE_COVERAGE,
    "funding_rates": FUNDING_COVERAGE,
    "backtest_results": BACKTEST_RESULTS,
    "strategy_selections": STRATEGY_SELECTIONS,
    "live_parity": LIVE_PARITY,
}


def has_table(key: dg.AssetKey) -> bool:
    """Whether the IO manager stores the asset in a table."""
    return key.path[0] in _TABLES


def table_of(key: dg.AssetKey) -> Table:
    """The table behind an asset.

    Raises:
        DataError: the asset has no table.
    """
    try:
        return _TABLES[key.path[0]]
    except KeyError:
        raise DataError(f"asset {key.to_user_string()} has no table; expected one of {sorted(_TABLES)}") from None


def rows_of(key: dg.AssetKey) -> dict[str, str]:
    """Fixed column values of an asset's rows: assets made per timeframe share one table."""
    return {"timeframe": key.path[1]} if len(key.path) > 1 else {}


def asset_name(key: dg.AssetKey) -> str:
    """The asset's name in the ledger: the parts of its key joined by `/`."""
    return key.to_user_string()
