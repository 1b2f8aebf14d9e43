"""`grid_results` and `grid_selections`: declared grids on the hour's coins, where grids are researched.

Beside the strategies, never among them: no entry signal, walk-forward or parity reads these tables.
"""

from collections.abc import Mapping, Sequence

import dagster as dg
import pandas as pd

from trading_assets.backtesting.made_with import costs_of_rows
from trading_assets.core.candles import FUNDING, CandleFaults
from trading_assets.core.schemas import GRID_RESULTS, GRID_SELECTIONS
from trading_assets.defs import metadata as md
from trading_assets.defs.assets.common import HOURS, OWNERS, TABLES, ByHour, describe_hours, traced
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly, hours_of
from trading_assets.defs.research_settings import hours_alike
from trading_assets.defs.resources import CandleStoreResource, DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.ledger import checks
from trading_assets.ledger.fees import with_own_fees
from trading_assets.trading.grid.declared import DECLARED
from trading_assets.trading.grid.ranking import BARS, BOUNDS, CoinData, GridResearch, select_grids

GROUP = "grids"

_SHOWN = ["symbol", "parameters", "total_trades", "win_rate", "profit_factor", "total_pnl", "mean_r"]
_SELECTED = [*_SHOWN, "out_of_sample_pnl", "configurations_tried", "deflated_sharpe", "p_value_corrected", "score"]


@dg.asset(
    ins={"market_scan": dg.AssetIn()},
    deps=[dg.AssetKey(["candles", BARS.value]), dg.AssetKey(["candles", BOUNDS.value]), "funding_rates"],
    group_name=GROUP,
    kinds={"sql"},
    owners=OWNERS,
    code_version="1",
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=HOURS,
    metadata={"dagster/column_schema": column_schema(GRID_RESULTS)},
)
@traced
def grid_results(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    candle_store: CandleStoreResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    market_scan: pd.DataFrame,
) -> pd.DataFrame:
    """Declared settings of grids on each scanned coin; one row per hour and symbol: the one that was best in sample.

    Off by default (TRADING_ASSETS_GRID_RESEARCH). A trade is one life of a grid of 12 hours, its inventory closed at
    the market at the end, with fees, slippage and funding. A coin whose candles or payments are left out of the hour
    has the reason in `error`.
    """
    hours = hours_of(context)
    ledger, store = database.get(), candle_store.get()
    faults = checks.candle_faults(ledger, hours)
    parts = [GRID_RESULTS.empty()]
    for alike in hours_alike(context, settings, database, exchange, hours):
        if not alike.used.settings.grid_research:
            continue
        listed = {one.symbol: one for one in exchange.market_data().instruments()}

        def read(symbol: str, start_ms: int, end_ms: int, listed: Mapping[str, object] = listed) -> CoinData:
            if symbol not in listed:
                raise LookupError(f"{symbol} is not listed any more: its tick and lot are not known")
            bars, bounds = (store.read(symbol, one, start_ms, end_ms).closed_by(end_ms) for one in (BARS, BOUNDS))
            return CoinData(listed[symbol], bars, bounds, store.read_funding(symbol, start_ms, end_ms))  # type: ignore[arg-type]

        scans: dict[int, dict[str, str]] = {hour: {} for hour in alike.hours}
        left_out = dict[tuple[int, str], str]()
        for hour, symbol, scan in market_scan[["hour_ms", "symbol", "scan_id"]].itertuples(index=False):
            if hour in scans:
                scans[hour][symbol] = scan
                if (why := _fault(faults.get(hour, {}), symbol)) is not None:
                    left_out[hour, symbol] = why
        research = GridResearch(with_own_fees(alike.used.settings, ledger), DECLARED)
        parts.append(alike.marked(research.rows(scans, read, left_out)))
    rows = GRID_RESULTS.conform(pd.concat(parts[1:] or parts, ignore_index=True))
    by_hour = ByHour(rows, hours)
    figures = {"backtests": [int(one) for one in by_hour.total("configurations")]}
    describe_hours(context, by_hour, figures, lambda _at, of_hour: _result_tables(of_hour))
    return rows


def _fault(faults: CandleFaults, symbol: str) -> str | None:
    found = [(name, faults.get((name, symbol))) for name in (BARS.value, BOUNDS.value, FUNDING)]
    return "; ".join(f"{name} {symbol}: {fault}" for name, fault in found if fault is not None) or None


def _result_tables(rows: pd.DataFrame) -> dict[str, object]:
    sound = rows[rows["error"].isna()].sort_values("total_pnl", ascending=False)
    return {
        "costs": costs_of_rows(rows),
        "best": md.table(sound, _SHOWN),
        "failures": md.table(rows[rows["error"].notna()], ["symbol", "error"]),
    }


@dg.asset(
    ins={"grid_results": dg.AssetIn()},
    group_name=GROUP,
    kinds={"sql"},
    owners=OWNERS,
    code_version="1",
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=HOURS,
    metadata={"dagster/column_schema": column_schema(GRID_SELECTIONS)},
)
@traced
def grid_selections(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    grid_results: pd.DataFrame,
) -> pd.DataFrame:
    """Coins on which a grid passes the filters of selection, with its setting; one row per symbol, ranked by `score`.

    Nothing trades them by itself: `trading-assets grid start --from-selection` starts one. An hour of whose scan or
    candles a blocking check has failed has none.
    """
    hours = hours_of(context)
    blocked = checks.failed(database.get(), hours)
    parts, failed = [GRID_SELECTIONS.empty()], dict[int, dict[str, int]]()
    for alike in hours_alike(context, settings, database, exchange, hours):
        open_hours = [hour for hour in alike.hours if hour not in blocked]
        found = select_grids(grid_results[grid_results["hour_ms"].isin(open_hours)], alike.used.settings)
        parts.append(alike.marked(found.rows))
        failed |= found.failed
    some = [part for part in parts if len(part)]
    rows = GRID_SELECTIONS.conform(pd.concat(some, ignore_index=True)) if some else GRID_SELECTIONS.empty()
    by_hour = ByHour(rows, hours)
    figures: dict[str, Sequence[object]] = {
        "selected": by_hour.count(),
        "blocked_by": [blocked.get(hour, "no failed check") for hour in hours],
    }

    def tables(at: int, of_hour: pd.DataFrame) -> dict[str, object]:
        best = of_hour.sort_values("score", ascending=False)
        return {
            "selections": md.table(best, _SELECTED, limit=30),
            "failed_filters": md.counts(failed.get(hours[at], {}), "filter"),
        }

    describe_hours(context, by_hour, figures, tables)
    return rows
