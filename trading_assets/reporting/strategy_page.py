"""One strategy on one page: what following its selections earned, by coin, timeframe, hour, month and parameters, and
beside it what its backtests had said. No trade is made here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape

import pandas as pd

from trading_assets.core.timeframes import iso
from trading_assets.reporting.charts import Charts, pnl_bars
from trading_assets.reporting.markup import NONE, document, section
from trading_assets.reporting.trades import OPEN

MIN_TRADES = 20
"""A group of fewer closed trades is marked: its mean says little."""

MOST_ROWS = 20

DIMENSIONS: Mapping[str, str] = {
    "timeframe": "By timeframe",
    "symbol": "By coin",
    "hour": "By hour of the entry, UTC",
    "month": "By month",
    "side": "By side",
    "reason": "By what ended it",
}


def with_parts_of_time(trades: pd.DataFrame) -> pd.DataFrame:
    """A report's trades with `hour` (`05`) and `month` (`2026-03`) of the entry, UTC."""
    at = pd.to_datetime(trades["entry_ms"], unit="ms", utc=True).dt
    return trades.assign(hour=at.strftime("%H"), month=at.strftime("%Y-%m"))


def grouped(trades: pd.DataFrame, dimension: str) -> pd.DataFrame:
    """Closed trades by a column: `trades`, `won_pct`, `mean_r`, `pnl` (USD), ascending in the column."""
    closed = trades[trades["reason"] != OPEN]
    rows = closed.groupby(dimension).agg(
        trades=("pnl", "size"),
        won_pct=("pnl", lambda pnl: float((pnl > 0).mean() * 100)),
        mean_r=("r", "mean"),
        pnl=("pnl", "sum"),
    )
    return rows.reset_index()


def chosen_parameters(trades: pd.DataFrame) -> pd.DataFrame:
    """Closed trades by each value of each parameter that differs between them.

    Returns:
        `parameter`, `value`, and the columns of `grouped`.
    """
    values = pd.DataFrame([json.loads(text) for text in trades["parameters"]], index=trades.index)
    parts = []
    for name in values.columns:
        if values[name].nunique() > 1:
            rows = grouped(trades.assign(value=values[name].astype(str)), "value")
            parts.append(rows.assign(parameter=name))
    columns = ["parameter", "value", "trades", "won_pct", "mean_r", "pnl"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def said_and_done(selections: pd.DataFrame, trades: pd.DataFrame) -> pd.DataFrame:
    """Selections of a strategy in four equal parts by the mean R of their backtests, beside what following them gave.

    Args:
        selections: rows of `strategy_selections` of the strategy.
        trades: of the report, of the strategy.

    Returns:
        For each part: `selections`, `said_r` (mean of the backtests' mean R), `trades` (closed), `done_r` (their mean
        R; NaN without any).
    """
    closed = trades[trades["reason"] != OPEN]
    known = selections[selections["mean_r"].notna()]
    if known.empty:
        return pd.DataFrame(columns=["selections", "said_r", "trades", "done_r"])
    part = pd.qcut(known["mean_r"].rank(method="first"), min(4, len(known)), labels=False)
    keyed = known.assign(part=part)[["hour_ms", "symbol", "timeframe", "mean_r", "part"]]
    followed = closed.merge(keyed, on=["hour_ms", "symbol", "timeframe"], how="inner")
    said = keyed.groupby("part")["mean_r"].agg(["size", "mean"])
    done = followed.groupby("part")["r"].agg(["size", "mean"]).reindex(said.index)
    return pd.DataFrame(
        {
            "selections": said["size"].tolist(),
            "said_r": said["mean"].tolist(),
            "trades": done["size"].fillna(0).astype(int).tolist(),
            "done_r": done["mean"].tolist(),
        }
    )


def render(strategy: str, trades: pd.DataFrame, selections: pd.DataFrame, start_ms: int, end_ms: int) -> str:
    """The page.

    Args:
        trades: of a walk-forward report (`figures.TRADE_COLUMNS`), of this strategy.
        selections: rows of `strategy_selections` of the same hours, of this strategy.
    """
    charts, timed = Charts(), with_parts_of_time(trades)
    closed = trades[trades["reason"] != OPEN]
    mean = float(closed["r"].mean()) if len(closed) else math.nan
    said = float(selections["mean_r"].mean()) if selections["mean_r"].notna().any() else math.nan
    parts = [
        f'<header><h1>{escape(strategy)}</h1><p class="span">{iso(start_ms)[:16]} to {iso(end_ms)[:16]} UTC</p>'
        "</header>",
        f'<p class="headline">{len(selections):,} selections, whose backtests had said {_number(said)} R a trade, gave '
        f"{len(closed):,} closed trades of {_number(mean)} R.{_few(len(closed))}</p>",
        section("What backtests had said, and what came of it", _said(said_and_done(selections, trades))),
    ]
    for dimension, name in DIMENSIONS.items():
        rows, title = grouped(timed, dimension), name
        if dimension == "symbol" and len(rows) > MOST_ROWS:
            ordered = rows.sort_values("pnl", kind="stable")
            rows = pd.concat([ordered.tail(MOST_ROWS // 2).iloc[::-1], ordered.head(MOST_ROWS // 2)])
            title += f": the best and the worst {MOST_ROWS // 2} of {len(ordered)}"
        if len(rows):
            chart = charts.show(dimension, pnl_bars(rows, dimension), 260)
            parts.append(section(title, f'<div class="pair">{chart}{_groups(rows, [dimension])}</div>'))
    by_parameter = chosen_parameters(trades)
    if len(by_parameter):
        parts.append(section("By the parameters that were chosen", _groups(by_parameter, ["parameter", "value"])))
    note = (
        f"A mean of fewer than {MIN_TRADES} trades is grey: it says little. Groups were not chosen before they were "
        "looked at, so the best of many is partly luck: docs/statistics.md."
    )
    parts.append(f"<p>{note}</p>")
    return document(strategy, chr(10).join(parts), charts.policy, ".few { color: var(--soft); }")


def _few(count: int) -> str:
    return f" That is too few to say anything: at least {MIN_TRADES} are needed." if count < MIN_TRADES else ""


def _said(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "<p>none</p>"
    lines = "".join(
        f"<tr><td>{place + 1}</td><td>{row['selections']:,}</td><td>{_number(row['said_r'])}</td><td>{row['trades']:,}"
        f'</td><td class="{_tone(row["done_r"], row["trades"])}">{_number(row["done_r"])}</td></tr>'
        for place, row in enumerate(rows.to_dict("records"))
    )
    heads = ("part, the lowest first", "selections", "said, R", "closed trades", "came, R")
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{lines}</table>"


def _groups(rows: pd.DataFrame, names: list[str]) -> str:
    heads = "".join(f'<th class="text">{name}</th>' for name in names)
    heads += "".join(f"<th>{name}</th>" for name in ("closed", "won", "R", "PnL"))
    lines = []
    for row in rows.to_dict("records"):
        tone = _tone(row["mean_r"], row["trades"])
        cells = "".join(f'<td class="text">{escape(str(row[name]))}</td>' for name in names)
        cells += f"<td>{row['trades']:,}</td><td>{row['won_pct']:.0f} %</td>"
        cells += f'<td class="{tone}">{_number(row["mean_r"])}</td><td class="{tone}">{row["pnl"]:+,.2f}</td>'
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><tr>{heads}</tr>{''.join(lines)}</table>"


def _tone(value: float, trades: int) -> str:
    if trades < MIN_TRADES:
        return "few"
    return "gain" if value > 0 else "loss"


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:+.3f}"
