"""`candles/<timeframe>` and `funding_rates`: what backtests read, brought into the candle store up to the as-of."""

import dagster as dg
import pandas as pd

from trading_assets.defs import metadata as md
from trading_assets.defs.assets.common import ONE_RUN, OWNERS, TABLES, Progress, describe_hour, require_ended
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly, hours_of
from trading_assets.defs.resources import CandleStoreResource, DatabaseResource, ExchangeResource
from trading_assets.market.stages import fill_candles, fill_funding
from trading_assets.market.timeframes import TRADED_TIMEFRAMES, Timeframe
from trading_assets.schemas.tables import CANDLE_COVERAGE, FUNDING_COVERAGE
from trading_assets.strategies.registry import active_strategies


def _candle_asset(timeframe: Timeframe) -> dg.AssetsDefinition:
    @dg.asset(
        key=["candles", timeframe.value],
        group_name="market_data",
        kinds={"parquet", "bybit"},
        owners=OWNERS,
        code_version="1",
        partitions_def=hourly,
        io_manager_key=TABLES,
        backfill_policy=ONE_RUN,
        metadata={"dagster/column_schema": column_schema(CANDLE_COVERAGE), "timeframe": timeframe.value},
        description=f"What the candle store holds of each scanned coin and BTCUSDT in {timeframe.value}, as of the end "
        "of the hour: coverage, gaps and a hash of the content; one row per hour and symbol. Materialising fetches "
        "only what is missing.",
    )
    def candles(
        context: dg.AssetExecutionContext,
        exchange: ExchangeResource,
        candle_store: CandleStoreResource,
        database: DatabaseResource,
        market_scan: pd.DataFrame,
    ) -> pd.DataFrame:
        hours = hours_of(context)
        source = exchange.market_data()
        require_ended(source, hours)
        rows = fill_candles(
            source,
            candle_store.get(),
            timeframe,
            {hour: market_scan.loc[market_scan["hour_ms"] == hour, "symbol"].tolist() for hour in hours},
            active_strategies(database.get()).usable,
            progress=Progress(context.log, f"{timeframe.value} candles"),
        )
        for hour in hours:
            of_hour = rows[rows["hour_ms"] == hour]
            gaps = of_hour[of_hour["missing_bars"] > 0].sort_values("missing_bars", ascending=False)
            describe_hour(
                context,
                hour,
                of_hour,
                {
                    "symbols": len(of_hour),
                    "bars": int(of_hour["bars"].sum()),
                    "coverage_pct": round(float(of_hour["coverage_pct"].mean()), 2) if len(of_hour) else 0.0,
                    "with_gaps": len(gaps),
                    "gaps": md.table(gaps, ["symbol", "bars", "expected_bars", "missing_bars", "coverage_pct"]),
                },
            )
        return rows

    return candles


candle_assets = [_candle_asset(timeframe) for timeframe in TRADED_TIMEFRAMES]


@dg.asset(
    group_name="market_data",
    kinds={"parquet", "bybit"},
    owners=OWNERS,
    code_version="1",
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=ONE_RUN,
    metadata={"dagster/column_schema": column_schema(FUNDING_COVERAGE)},
)
def funding_rates(
    context: dg.AssetExecutionContext,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
    market_scan: pd.DataFrame,
) -> pd.DataFrame:
    """Funding payments of each scanned coin that the store holds as of the end of the hour; one row per symbol."""
    hours = hours_of(context)
    source = exchange.market_data()
    require_ended(source, hours)
    rows = fill_funding(
        source,
        candle_store.get(),
        {hour: market_scan.loc[market_scan["hour_ms"] == hour, "symbol"].tolist() for hour in hours},
        progress=Progress(context.log, "funding rates"),
    )
    for hour in hours:
        of_hour = rows[rows["hour_ms"] == hour]
        extremes = of_hour.reindex(of_hour["last_rate"].abs().sort_values(ascending=False).index)
        describe_hour(
            context,
            hour,
            of_hour,
            {
                "symbols": len(of_hour),
                "payments": int(of_hour["payments"].sum()),
                "most_extreme": md.table(extremes, ["symbol", "last_rate", "payments"]),
            },
        )
    return rows
