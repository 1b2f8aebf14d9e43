"""`live_parity`: what live did in a day, held against the same day replayed."""

from collections import Counter

import dagster as dg
import pandas as pd

from trading_assets.core.errors import DataError
from trading_assets.core.ports import MarketData
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, iso
from trading_assets.defs import metadata as md
from trading_assets.defs import pictures
from trading_assets.defs.assets.common import ONE_RUN, OWNERS, TABLES
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import daily, day_key_of, hours_of
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    SettingsResource,
    require_market,
)
from trading_assets.trading.context import why_off

_SHOWN = ["account", "symbol", "timeframe", "strategy", "position_type", "outcome", "reason"]


@dg.asset(
    deps=["entry_signals", "strategy_selections"],
    group_name="trading",
    kinds={"sql"},
    owners=OWNERS,
    code_version="2",
    partitions_def=daily,
    io_manager_key=TABLES,
    backfill_policy=ONE_RUN,
    metadata={"dagster/column_schema": column_schema(LIVE_PARITY)},
)
def live_parity(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
) -> pd.DataFrame:
    """Live against the backtest, decision by decision; one row per day and signal that either of them had, and per
    filled order of a grid or DCA plan.

    The day's closed candles are replayed through the production engine for what was selected hour by hour. Signals,
    entry prices, slippage and exits are compared; where live differs, the row says why, and whether the ledger explains
    it: a gate refused, the signal expired, a position was open, trading was halted, nothing ran. Grids and DCA plans
    are run again on candles of a minute. Of every account: that of the settings, and each named one that is on or did
    something that day.
    """
    # The engine and numba's loops: a second, and loading the definitions stays light.
    from trading_assets.backtesting.run import production_engine  # noqa: PLC0415
    from trading_assets.trading.parity import load as reading  # noqa: PLC0415
    from trading_assets.trading.parity.day import compare_day  # noqa: PLC0415
    from trading_assets.trading.parity.plans import compare_plans  # noqa: PLC0415

    source, store, config = exchange.market_data(), candle_store.get(), settings.get()
    require_market(source)
    days, accounts = hours_of(context), [settings.get(name, with_keys=False) for name in settings.names()]
    for one in accounts:
        _require_ended(source, max(days), one)
    instruments = {instrument.symbol: instrument for instrument in source.instruments()}
    ticks = {symbol: instrument.tick_size for symbol, instrument in instruments.items()}
    frames = []
    for day in days:
        of_day = []
        for one in accounts:
            live, load_held = reading.read_live_day(database.get(), one, day), reading.held_loader(source, store, day)
            of_plans = compare_plans(day, database.get(), settings=one, instruments=instruments, load_held=load_held)
            did_something = bool(len(live.evaluations) or len(live.signals) or len(of_plans))
            if one.account != config.account and not did_something and why_off(database.get(), one):
                continue
            rows = compare_day(
                day,
                live,
                settings=one,
                ticks=ticks,
                load_decided=reading.decided_loader(source, store, day),
                load_held=load_held,
                engine=production_engine(),
            )
            of_day += [rows, of_plans]
        frames.append(pd.concat(of_day, ignore_index=True))
        _describe(context, day, frames[-1], config)
    context.log.info(f"{sum(map(len, frames))} decisions of {len(days)} days compared")
    return pd.concat(frames, ignore_index=True)


def _require_ended(source: MarketData, day_ms: int, settings: Settings) -> None:
    """
    Raises:
        DataError: the day, or the life of its last signal, has not ended.
    """
    ends, now_ms = day_ms + DAY_MS + settings.signal_ttl_s * 1000, source.now_ms()
    if now_ms < ends:
        raise DataError(
            f"the day and its last signals end at {iso(ends)}: the exchange's clock says {iso(now_ms)}. Materialise an "
            "earlier partition, or wait."
        )


def _describe(context: dg.AssetExecutionContext, day_ms: int, rows: pd.DataFrame, settings: Settings) -> None:
    differing = rows[rows["outcome"] != "agrees"].sort_values(["explained", "symbol"])
    slippage = rows["slippage_bps"].dropna()
    context.add_asset_metadata(
        {
            "dagster/row_count": len(rows),
            "decisions": len(rows),
            "accounts": md.counts(Counter(rows["account"].tolist()), "account"),
            "agrees_pct": _share(rows["outcome"] == "agrees"),
            "explained_pct": _share(rows["explained"] == 1),
            "outcomes": md.counts(Counter(rows["outcome"].tolist()), "outcome"),
            "differences": md.table(differing, _SHOWN, limit=30),
            "fills": len(slippage),
            "slippage_bps_mean": float(slippage.mean()) if len(slippage) else 0.0,
            "slippage_bps_assumed": settings.slippage_bps,
            "slippage": pictures.histogram(slippage.tolist(), title="Slippage of live's entries, basis points"),
        },
        partition_key=day_key_of(day_ms),
    )


def _share(which: pd.Series) -> float:
    return round(100.0 * float(which.mean()), 2) if len(which) else 100.0
