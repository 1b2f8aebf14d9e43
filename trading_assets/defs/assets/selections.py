"""`strategy_selections`: the one best strategy and timeframe of each coin."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import numpy as np
import pandas as pd

from trading_assets.backtesting.exclusions import left_out, without_excluded
from trading_assets.backtesting.made_with import costs_of_rows
from trading_assets.backtesting.selection import (
    COLUMNS_READ,
    Preset,
    Selection,
    SignificanceLimits,
    coin_summary,
    select_best,
)
from trading_assets.core.foreign_text import plain
from trading_assets.core.schemas import BACKTEST_RESULTS, STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import TRADED_TIMEFRAMES
from trading_assets.defs import metadata as md
from trading_assets.defs import pictures
from trading_assets.defs.assets.common import HOURS, IN_FULL, OWNERS, TABLES, ByHour, describe_hours, traced
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly, hours_of, key_of
from trading_assets.defs.research_settings import hours_alike
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.defs.table_io import asset_name
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions

WARNS_AFTER, FAILS_AFTER = timedelta(minutes=75), timedelta(minutes=120)
"""An hour and what its research may take; after the second, the entry gate takes a selection for too old."""

HOURS_AT_A_TIME = 24
"""A month of backtests is half a gigabyte, and so is each copy: they are read and judged in parts, each hour apart."""

_ORDER = {timeframe.value: index for index, timeframe in enumerate(TRADED_TIMEFRAMES)}

CHARTS = 3
"""Selections of an hour whose charts are linked, the best first."""

_SHOWN = ["selection", "unseen", "configurations_tried", "deflated_sharpe", "p_value_corrected", "mean_r", "score"]
_MEANINGS = {
    "selection": "symbol, timeframe and strategy",
    "unseen": "trades and PnL in the newest part of the window, by which no set was chosen",
}


@dg.asset(
    deps=[dg.AssetKey(["backtest_results", timeframe.value]) for timeframe in TRADED_TIMEFRAMES],
    group_name="selection",
    kinds={"sql"},
    owners=OWNERS,
    code_version="5",
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=FAILS_AFTER, warn_window=WARNS_AFTER),
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=HOURS,
    metadata={"dagster/column_schema": column_schema(STRATEGY_SELECTIONS)},
)
@traced
def strategy_selections(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
) -> pd.DataFrame:
    """The best strategy and timeframe of each coin whose backtests pass the preset's filters; one row per symbol.

    The score is win_rate * profit_factor * ln(total_trades + 1). Of each strategy the parameter set takes part that was
    best on the older part of the window; `out_of_sample_pnl` tells how it did on the newer part, `deflated_sharpe` and
    `p_value_corrected` how likely its result is to be luck. An hour of whose scan, candles or backtests a blocking
    check has failed has no selection. What is left out of an hour stands in one table: coins with bad data, strategies
    that failed a check of their own or raised.
    """
    hours = hours_of(context)
    blocked = checks.failed(database.get(), hours, but=asset_name(context.asset_key))
    excluded, faults = checks.excluded(database.get(), hours), checks.candle_faults(database.get(), hours)
    deep = checks.deep_faults(database.get(), hours)
    parts, tried, presets = list[Selection](), dict[int, int](), dict[int, str]()
    shown = dict[int, pd.DataFrame]()
    for alike in hours_alike(context, settings, database, exchange, hours):
        held = alike.used.settings
        preset, limits = Preset.from_settings(held), SignificanceLimits.from_settings(held)
        presets |= dict.fromkeys(alike.hours, held.selection_preset)
        for at in range(0, len(alike.hours), HOURS_AT_A_TIME):
            some = alike.hours[at : at + HOURS_AT_A_TIME]
            read = _backtests(database.get(), some, blocked)
            shown |= {hour: read[read["hour_ms"] == hour] for hour in some if hour in hours[-IN_FULL:]}
            rows = without_excluded(read, excluded)
            part = select_best(rows, preset, limits)
            parts.append(replace(part, rows=alike.marked(part.rows)))
            tried |= dict(zip(some, ByHour(rows, some).count(), strict=True))
    selection = Selection.concat(parts)
    selection = replace(selection, rows=selection.rows.sort_values("hour_ms", kind="stable", ignore_index=True))
    selected = ByHour(selection.rows, hours)
    figures: dict[str, Sequence[object]] = {
        "selected": selected.count(),
        "backtests": [tried[hour] for hour in hours],
        "passed": [selection.passed.get(hour, 0) for hour in hours],
        "excluded_strategies": [len(excluded.get(hour, {})) for hour in hours],
        "blocked_by": [blocked.get(hour, "no failed check") for hour in hours],
        "preset": [presets[hour] for hour in hours],
    }

    def tables(at: int, rows: pd.DataFrame) -> dict[str, object]:
        best, hour = rows.sort_values("score", ascending=False), hours[at]
        backtests = shown[hour].reset_index(drop=True)
        out = left_out(faults.get(hour, {}), excluded.get(hour, {}), backtests, deep.get(hour, {}))
        return {
            "left_out": md.table(out, limit=30),
            "failed_filters": md.counts(selection.failed.get(hours[at], {}), "filter"),
            "selections": _selected(best),
            "best_on_its_candles": _charts(best, hour),
            "costs": costs_of_rows(rows),
            "scores": pictures.histogram(best["score"].tolist(), title="Score by selected coin"),
            "by_coin": _by_coin(without_excluded(backtests, excluded)),
        }

    describe_hours(context, selected, figures, tables)
    for hour, reason in list(blocked.items())[:10]:
        context.log.warning(f"nothing is selected in the hour {key_of(hour)}: {reason}")
    context.log.info(f"{len(selection.rows)} coins selected in {len(hours)} hours")
    return selection.rows


def _backtests(database: Database, hours: Sequence[int], blocked: Mapping[int, str]) -> pd.DataFrame:
    """What a selection reads of these hours but those that a check blocks; by hour, the shortest timeframe first."""
    rows = read_partitions(database, BACKTEST_RESULTS, hours, columns=COLUMNS_READ)
    rows = rows[rows["timeframe"].isin(list(_ORDER))]
    order = np.lexsort((rows["timeframe"].map(_ORDER), rows["hour_ms"]))
    rows = rows.iloc[order].reset_index(drop=True)
    return rows[~rows["hour_ms"].isin(list(blocked))].reset_index(drop=True) if blocked else rows


def _charts(best: pd.DataFrame, hour_ms: int) -> dg.MetadataValue:
    """Where the best selections are seen as the backtests that chose them: drawn by the live page when it is asked."""
    if best.empty:
        return dg.MetadataValue.text("nothing was selected")
    shown = load_settings(lenient=True)
    lines = []
    for row in best.head(CHARTS).to_dict("records"):
        what = f"{key_of(hour_ms)}/{row['symbol']}"
        title = plain(f"{row['symbol']} {row['timeframe']} {row['strategy']}")
        lines.append(f"* [{title}]({shown.chart_url(what)}), or `trading-assets chart {plain(what)}`")
    return dg.MetadataValue.md("\n".join(lines))


def _by_coin(backtests: pd.DataFrame) -> dg.MetadataValue:
    """Of each coin the best timeframe and strategy, and of every timeframe the PnL of its best strategy."""
    summary = coin_summary(backtests)
    if summary.empty:
        return md.table(summary)
    traded = backtests[backtests["total_trades"] > 0]
    pnl = traded.groupby(["symbol", "timeframe"])["total_pnl"].max().round().unstack()
    timeframes = [name for name in summary.columns if name in pnl.columns]
    best = [
        f"{name} {summary[name].iloc[at].partition(' ')[0]}" for at, name in enumerate(summary["optimal_timeframe"])
    ]
    of_timeframes = pnl.loc[summary["symbol"], timeframes].reset_index(drop=True)
    shown = pd.concat([summary[["symbol"]].assign(best=best), of_timeframes], axis=1)
    meaning = "PnL of the strategy with the largest PnL, USD"
    meanings = {"best": "timeframe and strategy with the largest PnL", **dict.fromkeys(timeframes, meaning)}
    return md.table(shown, limit=30, meanings=meanings)


def _selected(rows: pd.DataFrame) -> dg.MetadataValue:
    """Selections with what no set was chosen by first. The UI breaks cells into lines, but not headings."""
    unseen = [
        f"{trades} trades {'-' if pnl < 0 else ''}${abs(pnl):.2f}"
        for trades, pnl in zip(rows["out_of_sample_trades"], rows["out_of_sample_pnl"], strict=True)
    ]
    what = rows["symbol"] + " " + rows["timeframe"] + " " + rows["strategy"]
    shown = rows.assign(selection=what, unseen=unseen)
    return md.table(shown, _SHOWN, limit=30, meanings=_MEANINGS)
