"""What the trade job's ops write into Dagster's event log about `entry_signals`. No decisions."""

from collections.abc import Sequence

import dagster as dg
import pandas as pd

from trading_assets.core.foreign_text import plain
from trading_assets.core.settings import load_settings
from trading_assets.defs import metadata as md
from trading_assets.defs.checks.schema import CHECK_NAME
from trading_assets.defs.partitions import key_of
from trading_assets.ledger.database import Database
from trading_assets.trading.explain import Links, explain, markdown, signals_markdown

ENTRY_SIGNALS_KEY = dg.AssetKey("entry_signals")

_SHOWN = ["symbol", "timeframe", "strategy", "position_type", "confidence", "entry_price", "stop_loss", "take_profit"]


EXPLAINED = 5
"""Orders that a run explains in its metadata; `trading-assets explain` explains every one."""


def links() -> Links:
    """Addresses of this UI's pages."""
    return Links(load_settings(lenient=True).ui_url)


def explanations(database: Database, signal_ids: Sequence[str]) -> dg.MetadataValue:
    """Where orders came from and what became of them, with links to each step."""
    if not signal_ids:
        return dg.MetadataValue.text("none")
    btc = load_settings(lenient=True).symbols.btc
    texts = [markdown(explain(database, signal_id, links(), btc)) for signal_id in signal_ids[:EXPLAINED]]
    if len(signal_ids) > EXPLAINED:
        texts.append(f"{len(signal_ids) - EXPLAINED} more: `trading-assets explain ORDER`")
    return dg.MetadataValue.md("\n\n".join(texts))


def _charts(rows: pd.DataFrame) -> dg.MetadataValue:
    """Where new signals are seen on their candles, some of them."""
    shown = load_settings(lenient=True)
    lines = [
        f"* [{plain(f'{row.position_type} {row.symbol} {row.timeframe}')}]({shown.chart_url(str(row.signal_id))}), or "
        f"`trading-assets chart {plain(row.signal_id)}`"
        for row in rows.head(EXPLAINED).itertuples()
    ]
    return dg.MetadataValue.md("\n".join(lines) or "none")


def log_signals(
    context: dg.OpExecutionContext,
    rows: pd.DataFrame,
    hour_ms: int,
    check: dg.AssetCheckResult,
    skipped: dict[str, int],
) -> None:
    """New signals as a materialisation of the partition whose selection they follow, with its schema check.

    Nothing is drawn here, where an order is waited for: the links lead to the live page, which draws when it is asked.
    """
    context.log_event(
        dg.AssetMaterialization(
            ENTRY_SIGNALS_KEY,
            partition=key_of(hour_ms),
            metadata={
                "dagster/row_count": len(rows),
                "signals": md.table(rows, _SHOWN),
                "skipped": md.counts(skipped, "reason"),
                "live_page": dg.MetadataValue.url(load_settings(lenient=True).live_page_url),
                "on_their_candles": _charts(rows),
                "came_from": dg.MetadataValue.md(signals_markdown(rows.to_dict("records"), links())),
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
