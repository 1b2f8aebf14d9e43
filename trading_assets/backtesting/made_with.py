"""What rows of backtests and selections were made with, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def costs_told(row: Mapping[Any, Any]) -> str:
    """What a stored backtest or selection was made with; empty where a row of an older version does not tell."""
    if not isinstance(row.get("cost_model"), str):
        return ""
    return (
        f"fee {float(row['taker_fee']):.4g}, slippage {float(row['slippage_bps']):g} bp ({row['cost_model']}), "
        f"${float(row['notional']):,.0f} a trade{_entries_told(row)}"
    )


def _entries_told(row: Mapping[Any, Any]) -> str:
    """How entries waited; nothing where they did not."""
    if not isinstance(row.get("entry_order"), str):
        return ""
    bars = int(row["entry_bars"])
    return (
        f", {row['entry_order']} entries {float(row['entry_offset_pct']):g} % away for {bars} bar{'s' * (bars > 1)} "
        f"(fee {float(row['maker_fee']):.4g})"
    )


def costs_of_rows(rows: pd.DataFrame) -> str:
    """The different `costs_told` of rows."""
    told = ["taker_fee", "slippage_bps", "cost_model", "notional"]
    told += ["entry_order", "entry_offset_pct", "entry_bars", "maker_fee"]
    each = rows[told].drop_duplicates().to_dict("records")
    return "; ".join(sorted({costs_told(one) or "of an older version, not told" for one in each})) or "no rows"
