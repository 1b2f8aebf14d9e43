"""`market_scan`: which coins are worth a backtest in an hour."""

import dagster as dg
import pandas as pd

from trading_assets.defs import metadata as md
from trading_assets.defs import pictures
from trading_assets.defs.assets.common import ONE_RUN, OWNERS, TABLES, Progress, describe_hour, require_ended
from trading_assets.defs.partitions import hourly, hours_of
from trading_assets.defs.resources import CandleStoreResource, ExchangeResource, SettingsResource
from trading_assets.market.stages import scan_hours


@dg.asset(
    group_name="scan",
    kinds={"sql", "bybit"},
    owners=OWNERS,
    code_version="1",
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=ONE_RUN,
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
    require_ended(source, hours)
    result = scan_hours(
        source, candle_store.get(), hours, settings.get(), progress=Progress(context.log, "hourly candles")
    )
    for hour in hours:
        rows = result.rows[result.rows["hour_ms"] == hour]
        dropped = {reason: len(symbols) for reason, symbols in result.dropped[hour].items()}
        describe_hour(
            context,
            hour,
            rows,
            {
                "scanned": len(rows),
                "looked_at": len(rows) + sum(dropped.values()),
                "dropped": md.counts(dropped, "reason"),
                "coins": md.table(
                    rows.sort_values("rank"),
                    [
                        "rank",
                        "symbol",
                        "price",
                        "price_change_24h",
                        "volatility_24h",
                        "volume_24h",
                        "size_error_pct",
                    ],
                    limit=30,
                ),
                "volatility": pictures.bar_chart(
                    rows.sort_values("rank")["volatility_24h"].tolist(),
                    rows.sort_values("rank")["symbol"].tolist(),
                    title="24 h range by coin, percent",
                ),
            },
        )
    context.log.info(f"{len(result.rows)} coins scanned in {len(hours)} hours")
    return result.rows
