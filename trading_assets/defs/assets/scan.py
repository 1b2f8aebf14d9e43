"""`market_scan`: which coins are worth a backtest in an hour."""

from collections.abc import Sequence

import dagster as dg
import pandas as pd

from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.defs import metadata as md
from trading_assets.defs import pictures
from trading_assets.defs.assets.common import (
    HOURS,
    OWNERS,
    TABLES,
    ByHour,
    Progress,
    describe_hours,
    require_ended,
)
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly, hours_of
from trading_assets.defs.resources import CandleStoreResource, ExchangeResource, SettingsResource, require_market
from trading_assets.market.stages import scan_hours


@dg.asset(
    group_name="scan",
    kinds={"sql", "bybit"},
    owners=OWNERS,
    code_version="1",
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=HOURS,
    metadata={"dagster/column_schema": column_schema(MARKET_SCAN)},
)
def market_scan(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
) -> pd.DataFrame:
    """USDT perpetuals that moved and traded enough in the 24 hours before the as-of; one row per hour and symbol.

    Every figure comes from hourly candles that had closed by the as-of, never from the ticker, so a backfilled hour
    equals the live one. The most volatile coins come first.
    """
    hours = hours_of(context)
    source = exchange.market_data()
    require_market(source)
    require_ended(source, hours)
    result = scan_hours(
        source, candle_store.get(), hours, settings.get(), progress=Progress(context.log, "hourly candles")
    )
    by_hour = ByHour(result.rows, hours)
    dropped = [{reason: len(symbols) for reason, symbols in result.dropped[hour].items()} for hour in hours]
    scanned = by_hour.count()
    figures: dict[str, Sequence[object]] = {
        "scanned": scanned,
        "looked_at": [kept + sum(of_hour.values()) for kept, of_hour in zip(scanned, dropped, strict=True)],
    }
    describe_hours(context, by_hour, figures, lambda at, rows: _tables(dropped[at], rows.sort_values("rank")))
    context.log.info(f"{len(result.rows)} coins scanned in {len(hours)} hours")
    return result.rows


def _tables(dropped: dict[str, int], ranked: pd.DataFrame) -> dict[str, object]:
    columns = ["rank", "symbol", "price", "price_change_24h", "volatility_24h", "volume_24h", "size_error_pct"]
    return {
        "dropped": md.counts(dropped, "reason"),
        "coins": md.table(ranked, columns, limit=30),
        "volatility": pictures.bar_chart(
            ranked["volatility_24h"].tolist(), ranked["symbol"].tolist(), title="24 h range by coin, percent"
        ),
    }
