"""The newest selection, as those who trade on it see it. How it is made is not decided here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pandas as pd

from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.timeframes import iso
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions

_DECIDES = ["symbol", "timeframe", "strategy", "parameters"]


@dataclass(frozen=True)
class Selected:
    """Rows of `strategy_selections` of one hour; never none."""

    hour_ms: int
    rows: pd.DataFrame

    @property
    def key(self) -> str:
        """Hour and digest of what is traded: an hour selected again with another result has another key."""
        text = self.rows[_DECIDES].sort_values("symbol").to_csv(index=False)
        return f"{iso(self.hour_ms)}#{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def newest_selection(database: Database) -> Selected | None:
    """The newest hour with a selected coin; None where there is none yet."""
    hour = latest_hour_ms(database, STRATEGY_SELECTIONS)
    if hour is None:
        return None
    rows = read_partitions(database, STRATEGY_SELECTIONS, [hour])
    return Selected(hour, rows) if len(rows) else None
