"""`candles/<timeframe>` and `funding_rates`: what backtests read, brought into the candle store up to the as-of."""

from collections.abc import Sequence

import dagster as dg
import pandas as pd

from trading_assets.core.schemas import CANDLE_COVERAGE, FUNDING_COVERAGE
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe
from trading_assets.defs import metadata as md
from trading_assets.defs.assets.common import (
    HOURS,
    OWNERS,
    TABLES,
    ByHour,
    Progress,
    describe_hours,
    require_ended,
    traced,
)
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly, hours_of
from trading_assets.defs.research_settings import hours_alike
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    SettingsResource,
    require_market,
)
from trading_assets.market.fingerprint import rows_hash
from trading_assets.market.quality import QualityLimits
from trading_assets.market.stages import fill_candles, fill_funding


def _candle_asset(timeframe: Timeframe) -> dg.AssetsDefinition:
    @dg.asset(
        key=["candles", timeframe.value],
        group_name="market_data",
        kinds={"parquet", "bybit"},
        owners=OWNERS,
        code_version="3",
        partitions_def=hourly,
        io_manager_key=TABLES,
        backfill_policy=HOURS,
        metadata={"dagster/column_schema": column_schema(CANDLE_COVERAGE), "timeframe": timeframe.value},
        description=f"What the candle store holds of each scanned coin and BTCUSDT in {timeframe.value}, as of the end "
        "of the hour: coverage, gaps and a hash of the content; one row per hour and symbol. Materialising fetches "
        "only what is missing.",
    )
    @traced
    def candles(
        context: dg.AssetExecutionContext,
        settings: SettingsResource,
        exchange: ExchangeResource,
        candle_store: CandleStoreResource,
        database: DatabaseResource,
        market_scan: pd.DataFrame,
    ) -> dg.Output[pd.DataFrame]:
        hours = hours_of(context)
        source = exchange.market_data()
        require_market(source)
        require_ended(source, hours)
        symbols_of = _symbols(market_scan, hours)
        parts = [
            alike.marked(
                fill_candles(
                    source,
                    candle_store.get(),
                    timeframe,
                    {hour: symbols_of[hour] for hour in alike.hours},
                    alike.used.strategies().usable,
                    QualityLimits.from_settings(alike.used.settings),
                    progress=Progress(context.log, f"{timeframe.value} candles"),
                )
            )
            for alike in hours_alike(context, settings, database, exchange, hours)
        ]
        rows = CANDLE_COVERAGE.conform(pd.concat(parts, ignore_index=True))
        by_hour = ByHour(rows, hours)
        symbols, coverage = by_hour.count(), by_hour.total("coverage_pct")
        figures: dict[str, Sequence[object]] = {
            "symbols": symbols,
            "bars": [int(total) for total in by_hour.total("bars")],
            "coverage_pct": [round(total / of, 2) if of else 0.0 for total, of in zip(coverage, symbols, strict=True)],
            "with_gaps": by_hour.count(rows["missing_bars"] > 0),
            "left_out": by_hour.count(rows["fault"].notna()),
        }
        describe_hours(context, by_hour, figures, _gaps)
        # A range of hours has one version for all: Dagster gives an output one, however many partitions it is of.
        return dg.Output(rows, data_version=dg.DataVersion(rows_hash(rows["content_hash"])))

    return candles


def _gaps(_at: int, rows: pd.DataFrame) -> dict[str, object]:
    gaps = rows[rows["missing_bars"] > 0].sort_values("missing_bars", ascending=False)
    return {
        "gaps": md.table(gaps, ["symbol", "bars", "expected_bars", "missing_bars", "coverage_pct"]),
        "left_out_because": md.table(rows[rows["fault"].notna()], ["symbol", "fault"], limit=30),
        "left_out_of_strategies_that_read_farther_back": md.table(
            rows[rows["deep_faults"].notna()], ["symbol", "deep_faults"], limit=30
        ),
    }


def _symbols(market_scan: pd.DataFrame, hours: Sequence[int]) -> dict[int, list[str]]:
    """The scanned coins of each hour."""
    found: dict[int, list[str]] = {hour: [] for hour in hours}
    for hour, symbol in zip(market_scan["hour_ms"].tolist(), market_scan["symbol"].tolist(), strict=True):
        found[hour].append(symbol)
    return found


candle_assets = [_candle_asset(timeframe) for timeframe in TRADED_TIMEFRAMES]


@dg.asset(
    group_name="market_data",
    kinds={"parquet", "bybit"},
    owners=OWNERS,
    code_version="1",
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=HOURS,
    metadata={"dagster/column_schema": column_schema(FUNDING_COVERAGE)},
)
@traced
def funding_rates(
    context: dg.AssetExecutionContext,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
    database: DatabaseResource,
    market_scan: pd.DataFrame,
) -> pd.DataFrame:
    """Funding payments of each scanned coin that the store holds as of the end of the hour; one row per symbol."""
    hours = hours_of(context)
    source = exchange.market_data()
    require_market(source)
    require_ended(source, hours)
    rows = fill_funding(
        source,
        candle_store.get(),
        _symbols(market_scan, hours),
        progress=Progress(context.log, "funding rates"),
    )
    versions = market_scan.groupby("hour_ms")["settings_version"].first()  # the scan names the coins
    rows = rows.assign(settings_version=rows["hour_ms"].map(versions).astype(float))
    by_hour = ByHour(rows, hours)
    figures: dict[str, Sequence[object]] = {
        "symbols": by_hour.count(),
        "payments": [int(total) for total in by_hour.total("payments")],
        "left_out": by_hour.count(rows["fault"].notna()),
    }
    describe_hours(context, by_hour, figures, _extremes)
    return rows


def _extremes(_at: int, rows: pd.DataFrame) -> dict[str, object]:
    extremes = rows.reindex(rows["last_rate"].abs().sort_values(ascending=False).index)
    return {
        "most_extreme": md.table(extremes, ["symbol", "last_rate", "payments"]),
        "left_out_because": md.table(rows[rows["fault"].notna()], ["symbol", "fault"], limit=30),
    }
