"""`entry_signals`: declared here, materialised by the `trade` job, which finds and executes them."""

from __future__ import annotations

import dagster as dg

from trading_assets.core.schemas import ENTRY_SIGNALS
from trading_assets.defs.assets.common import OWNERS
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly

entry_signals = dg.AssetSpec(
    "entry_signals",
    deps=["strategy_selections"],
    partitions_def=hourly,
    group_name="trading",
    kinds={"sql", "bybit"},
    owners=OWNERS,
    metadata={"dagster/column_schema": column_schema(ENTRY_SIGNALS)},
    description="Decisions to enter a position, each with entry, stop, target and life time; one row per account, "
    "symbol, timeframe, strategy and bar. The `trade` job writes them, in the partition of the selection that they "
    "follow, and executes them. It cannot be materialised by hand: a signal lives in the present.",
)
