"""`backtest_results/<timeframe>`: every scanned coin against every active strategy."""

from collections.abc import Sequence

import dagster as dg
import pandas as pd

from trading_assets.backtesting.code_version import code_version
from trading_assets.backtesting.exclusions import backtest_with_exclusions
from trading_assets.backtesting.made_with import costs_of_rows
from trading_assets.core.foreign_text import plain
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe, as_of_ms
from trading_assets.defs import metadata as md
from trading_assets.defs import pictures
from trading_assets.defs.assets.common import HOURS, OWNERS, TABLES, ByHour, Progress, describe_hours, traced
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly, hours_of
from trading_assets.defs.research_settings import hours_alike
from trading_assets.defs.resources import CandleStoreResource, DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.ledger import checks, strategy_failures
from trading_assets.ledger.fees import with_own_fees
from trading_assets.market.loading import CachedReader, OpenedData, max_prices_by_symbol, open_strategy_data
from trading_assets.market.stages import timeframes_read
from trading_assets.strategies.failures import StrategyFailure
from trading_assets.strategies.registry import known_strategies, strategy_classes

_CODE = f"4-{code_version(strategy_classes().values())}"


def _backtest_asset(timeframe: Timeframe) -> dg.AssetsDefinition:
    read = timeframes_read(timeframe, known_strategies())

    @dg.asset(
        key=["backtest_results", timeframe.value],
        ins={"market_scan": dg.AssetIn()},
        deps=[*(dg.AssetKey(["candles", other.value]) for other in read), "funding_rates"],
        group_name="backtests",
        kinds={"sql", "numba"},
        owners=OWNERS,
        code_version=_CODE,
        partitions_def=hourly,
        io_manager_key=TABLES,
        backfill_policy=HOURS,
        metadata={"dagster/column_schema": column_schema(BACKTEST_RESULTS), "timeframe": timeframe.value},
        description=f"Backtest of each active strategy on each scanned coin over the {timeframe.value} window that "
        "ends at the as-of, with fees, slippage and funding; one row per hour, symbol and strategy: the "
        "parameter set that was best in sample.",
    )
    @traced
    def backtest_results(
        context: dg.AssetExecutionContext,
        settings: SettingsResource,
        candle_store: CandleStoreResource,
        database: DatabaseResource,
        exchange: ExchangeResource,
        market_scan: pd.DataFrame,
    ) -> pd.DataFrame:
        hours = hours_of(context)
        store, max_prices = candle_store.get(), max_prices_by_symbol(market_scan)
        # Longer candles are read for every timeframe, those of an hour's coins one after the other.
        store.expect(int(market_scan.groupby("hour_ms").size().max()) if len(market_scan) else 0)
        btc = CachedReader(store, as_of_ms(hours[-1]))
        scans: dict[int, dict[str, str]] = {hour: {} for hour in hours}
        for hour, symbol, scan in market_scan[["hour_ms", "symbol", "scan_id"]].itertuples(index=False):
            scans[hour][symbol] = scan

        def opened(symbol: str, timeframe: Timeframe, needs: DataNeeds, of_hours: Sequence[int]) -> OpenedData:
            of_coin = open_strategy_data(store, symbol, timeframe, needs, of_hours, btc)
            return OpenedData(of_coin.load, max_prices.get(symbol, {}))

        parts, broken = list[pd.DataFrame](), dict[str, str]()
        raised: dict[str, tuple[int, StrategyFailure]] = {}

        def keep(hour_ms: int, failure: StrategyFailure) -> None:
            if hour_ms >= raised.get(failure.strategy, (hour_ms,))[0]:
                raised[failure.strategy] = hour_ms, failure

        for alike in hours_alike(context, settings, database, exchange, hours):
            strategies = alike.used.strategies()
            rows = backtest_with_exclusions(
                strategies.usable,
                with_own_fees(alike.used.settings, database.get()),
                timeframe,
                {hour: scans[hour] for hour in alike.hours},
                opened,
                checks.candle_faults(database.get(), alike.hours),
                progress=Progress(context.log, f"{timeframe.value} coins backtested"),
                deep=checks.deep_faults(database.get(), alike.hours),
                tell_failure=keep,
            )
            parts.append(alike.marked(rows))
            broken |= {entry.name: entry.reason for entry in strategies.broken}
        rows = BACKTEST_RESULTS.conform(pd.concat(parts, ignore_index=True)) if len(parts) > 1 else parts[0]
        newest = rows[(rows["hour_ms"] == hours[-1]) & rows["error"].isna()]
        strategy_failures.record(database.get(), timeframe, hours[-1], set(newest["strategy"]), raised)
        by_hour = ByHour(rows, hours)
        describe_hours(context, by_hour, _figures(rows, by_hour), _tables)
        if broken:
            told = "; ".join(f"{name}: {reason}" for name, reason in broken.items())
            context.log.warning(plain(f"strategies that could not be used: {told}"))
        return rows

    return backtest_results


def _figures(rows: pd.DataFrame, by_hour: ByHour) -> dict[str, Sequence[object]]:
    # A strategy has a second row where a parameter set failed; both tell of all its configurations.
    one_a_strategy = ~rows.duplicated(["hour_ms", "timeframe", "symbol", "strategy"])
    traded = rows["total_trades"] > 0
    won, tried = by_hour.count(traded & (rows["total_pnl"] > 0)), by_hour.count(traded)
    return {
        "backtests": [int(total) for total in by_hour.total("configurations", one_a_strategy)],
        "trades": [int(total) for total in by_hour.total("total_trades")],
        "profitable_pct": [round(100 * some / of, 1) if of else 0.0 for some, of in zip(won, tried, strict=True)],
        "failed": by_hour.count(rows["error"].notna()),
    }


def _tables(_at: int, rows: pd.DataFrame) -> dict[str, object]:
    traded = rows[rows["total_trades"] > 0]
    columns = ["symbol", "strategy", "total_trades", "win_rate", "profit_factor", "total_pnl", "max_drawdown"]
    return {
        "costs": costs_of_rows(rows),
        "failures": md.table(rows[rows["error"].notna()], ["symbol", "strategy", "error"]),
        "best": md.table(traded.sort_values("total_pnl", ascending=False), columns),
        "pnl": pictures.histogram(traded["total_pnl"].tolist(), title="PnL by backtest, USD"),
    }


backtest_assets = [_backtest_asset(timeframe) for timeframe in TRADED_TIMEFRAMES]
