"""Whether candles are good, by timeframe. A warning: a coin with a fault is left out of the hour, the others go on."""

from collections.abc import Iterable

import dagster as dg
import pandas as pd

from trading_assets.core.schemas import CANDLE_COVERAGE
from trading_assets.core.timeframes import TRADED_TIMEFRAMES
from trading_assets.defs import metadata as md
from trading_assets.defs.checks.hours import NOTHING_YET, hours_to_check
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import DatabaseResource
from trading_assets.ledger import checks

QUALITY = "CANDLE_QUALITY"
SHOWN = 50

_CANDLES = {dg.AssetKey(["candles", timeframe.value]): timeframe.value for timeframe in TRADED_TIMEFRAMES}


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            QUALITY,
            asset=key,
            description="No coin has a gap, duplicate, unfinished, misplaced or impossible candle, a jump, or an old "
            "one. A coin that has is left out of the hour's backtests, selection and entries; the table says why.",
        )
        for key in _CANDLES
    ],
    can_subset=True,
)
def candles_are_good(
    context: dg.AssetCheckExecutionContext, database: DatabaseResource
) -> Iterable[dg.AssetCheckResult]:
    """`CANDLE_QUALITY` of each timeframe; one step for all, as every step costs some."""
    asked = {key.asset_key for key in context.op_execution_context.selected_asset_check_keys}
    hours = hours_to_check(context, database.get(), CANDLE_COVERAGE)
    found = checks.candle_faults(database.get(), hours)
    for key, timeframe in _CANDLES.items():
        if key not in asked:
            continue
        rows = pd.DataFrame(
            [
                {"hour": key_of(hour), "symbol": symbol, "fault": fault}
                for hour, faults in found.items()
                for (of, symbol), fault in faults.items()
                if of == timeframe
            ]
        )
        coins = rows["symbol"].nunique() if len(rows) else 0
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=QUALITY,
            passed=rows.empty,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{coins} coins are left out in {rows['hour'].nunique()} of {len(hours)} hours"
            if coins
            else (None if hours else NOTHING_YET),
            metadata={
                "hours": f"{key_of(hours[0])} .. {key_of(hours[-1])}" if hours else "none",
                "left_out": len(rows),
                "faults": md.table(rows, limit=SHOWN),
            },
        )
