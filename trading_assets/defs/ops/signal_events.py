"""What the trade job's ops write into Dagster's event log about `entry_signals`. No decisions."""

import dagster as dg
import pandas as pd

from trading_assets.defs import metadata as md
from trading_assets.defs.checks.schema import CHECK_NAME
from trading_assets.defs.partitions import key_of

ENTRY_SIGNALS_KEY = dg.AssetKey("entry_signals")

_SHOWN = ["symbol", "timeframe", "strategy", "position_type", "confidence", "entry_price", "stop_loss", "take_profit"]


def log_signals(
    context: dg.OpExecutionContext,
    rows: pd.DataFrame,
    hour_ms: int,
    check: dg.AssetCheckResult,
    skipped: dict[str, int],
) -> None:
    """New signals as a materialisation of the partition whose selection they follow, with its schema check."""
    context.log_event(
        dg.AssetMaterialization(
            ENTRY_SIGNALS_KEY,
            partition=key_of(hour_ms),
            metadata={
                "dagster/row_count": len(rows),
                "signals": md.table(rows, _SHOWN),
                "skipped": md.counts(skipped, "reason"),
            },
        )
    )
    context.log_event(
        # `log_event` takes it, though its annotation does not say so.
        dg.AssetCheckEvaluation(  # type: ignore[arg-type]
            asset_key=ENTRY_SIGNALS_KEY,
            check_name=CHECK_NAME,
            passed=check.passed,
            metadata=check.metadata,
            severity=check.severity,
            description=check.description,
            blocking=True,
        )
    )
