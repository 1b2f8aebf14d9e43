"""From a selection of grids to a plan of now: which setting of which coin, and the evidence that a grid keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.candles import Candles
from trading_assets.core.schemas import GRID_SELECTIONS
from trading_assets.core.timeframes import as_of_ms, hour_key
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.ledger.tables import partition_writes
from trading_assets.trading.grid.levels import GridError, Plan
from trading_assets.trading.grid.shapes import GridShape

HOW = "set TRADING_ASSETS_GRID_RESEARCH=true and research an hour (trading-assets backfill, or the hourly schedule)"


@dataclass(frozen=True)
class SelectedGrid:
    """A row of `grid_selections`.

    Attributes:
        shape: the setting; its prices come from candles of now.
        row: as it was selected.
    """

    symbol: str
    hour_ms: int
    shape: GridShape
    row: Mapping[str, Any]

    def plan(self, candles: Candles, capital: Decimal, leverage: Decimal) -> Plan:
        """The plan as of the close of the last candle."""
        return self.shape.plan(self.symbol, candles, capital, leverage)

    def evidence(self) -> str:
        """The row as JSON, for good: the table's own may be written again, or go."""
        is_number = {name: not isinstance(one, float) or math.isfinite(one) for name, one in self.row.items()}
        held = {name: one if is_number[name] else None for name, one in self.row.items()}
        return json.dumps(held, sort_keys=True, separators=(",", ":"), allow_nan=False)


def newest_hour_ms(database: Database) -> int | None:
    """The newest hour of which grids were selected, although it may have selected none."""
    writes = partition_writes.c
    with database.read() as connection:
        wrote = sa.select(sa.func.max(writes.hour_ms)).where(writes.asset == GRID_SELECTIONS.name)
        return connection.execute(wrote).scalar_one_or_none()


def newest(database: Database) -> pd.DataFrame:
    """Rows of `grid_selections` of the newest hour of which grids were selected, the best first; it may have none."""
    rows = read_partitions(database, GRID_SELECTIONS, [] if (hour := newest_hour_ms(database)) is None else [hour])
    return rows.sort_values(["score", "symbol"], ascending=[False, True], ignore_index=True)


def choose(database: Database, symbol: str | None, now_ms: int, oldest_s: int) -> SelectedGrid:
    """The grid that the newest hour selected for a coin, or the best of all coins.

    Args:
        now_ms: the exchange's time.
        oldest_s: age of the hour's as-of beyond which a selection is not used.

    Raises:
        GridError: nothing was selected, not this coin, or too long ago.
    """
    hour, rows = newest_hour_ms(database), newest(database)
    if hour is None:
        raise GridError(f"no grid was ever selected: {HOW}")
    age_s = (now_ms - as_of_ms(hour)) / 1000
    if age_s > oldest_s:
        raise GridError(
            f"the newest selection of grids, of the hour {hour_key(hour)}, is {age_s:.0f} s old, at most {oldest_s} s: "
            "research a newer hour"
        )
    if rows.empty:
        raise GridError(f"the hour {hour_key(hour)} selected no grid: none passed the filters, or grid_research is off")
    of_coin = rows if symbol is None else rows[rows["symbol"] == symbol]
    if of_coin.empty:
        raise GridError(f"the hour {hour_key(hour)} selected no grid in {symbol}; it has {', '.join(rows['symbol'])}")
    row = {str(name): value for name, value in of_coin.to_dict("records")[0].items()}
    return SelectedGrid(str(row["symbol"]), hour, GridShape.from_json(str(row["parameters"])), row)


def told(evidence: str) -> str:
    """One line of what a grid was started from."""
    row = json.loads(evidence)
    seen = f"{row['total_trades']} lives, ${row['total_pnl']:.2f}, {row['configurations_tried']} settings tried"
    sharpe = row.get("deflated_sharpe")
    luck = "" if sharpe is None else f", deflated Sharpe ratio {sharpe:.2f}"
    return f"started from the selection of {hour_key(row['hour_ms'])}: {seen}{luck}; {row['parameters']}"
