"""A report as one HTML file that needs nothing else: charts of `charts`, the rest plain HTML. No numbers are made here.

The same report gives the same bytes: there is no time of writing and no random id in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from trading_assets.core.timeframes import Timeframe, iso
from trading_assets.reporting.charts import (
    Charts,
    drawdown_chart,
    equity_chart,
    exposure_chart,
    matched_chart,
    pnl_bars,
)
from trading_assets.reporting.figures import DIMENSIONS, Figures, by_dimension, daily_returns
from trading_assets.reporting.matched import MatchedBenchmark, share_interval
from trading_assets.reporting.report import Report

_LENGTHS = {timeframe.value: timeframe.ms for timeframe in Timeframe}

LAST_TRADES = 200
NONE = "–"
"""Stands for a figure that there is not."""

_MAX_BARS = 20

_FIRST_CELL = re.compile(r'(<tr><td class="text">)([^<]*)')


def render(report: Report, charts_file: str = "") -> str:
    """The page of a report.

    Args:
        charts_file: name of the file beside it that shows each trade on its candles; links lead there.
    """
    charts = Charts()
    body = "\n".join(
        [
            _head(report),
            f'<p class="headline">{escape(headline(report))}</p>',
            _cards(report.main.figures),
            _section("Equity", charts.show("equity", equity_chart(report), 400), _curves_table(report)),
            _section("Drawdown", charts.show("drawdown", drawdown_chart(report.curves), 220)),
            _section("Value of the open positions", charts.show("exposure", exposure_chart(report), 200)),
            _section("Returns by day", _calendar(daily_returns(report.main.curve))),
            _under_costs(report),
            _matched(report, charts),
            *(_dimension(report, name, charts) for name in DIMENSIONS),
            _section(f"Last {LAST_TRADES} trades", _trades_table(report.main.trades, charts_file)),
            _what_stood_against(report),
            _list("What happened on the way", report.notes),
            _list("What these numbers assume", report.assumptions),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{charts.policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)} {_span(report)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def headline(report: Report) -> str:
    """The report in three sentences."""
    told = [f"{curve.name} {_signed(float(curve.returns_pct[-1]), '%')}" for curve in report.curves]
    numbers = report.main.figures
    costs = numbers.fees + numbers.slippage + numbers.funding
    return (
        f"{', '.join(told)}. {numbers.trades:,} closed trades turned over {_money(numbers.turnover)} and paid "
        f"{_money(costs)} in fees, slippage and funding: without these {_money(numbers.whole_pnl + costs)} instead of "
        f"{_money(numbers.whole_pnl)}{_of_it_open(numbers)}.{_rank(report)}"
    )


def _of_it_open(numbers: Figures) -> str:
    return f", {_money(numbers.open_pnl)} of it in {numbers.open_trades:,} open trades" if numbers.open_trades else ""


def _rank(report: Report) -> str:
    told = ""
    if report.sample is not None:
        low, high = report.sample.rank_interval
        told += (
            f" {report.main.curve.name} ended above {report.sample.behind} of {len(report.sample.ends)} random choices "
            f"(of all there could be, above {low:.0%} to {high:.0%})."
        )
    if report.matched is not None:
        told += f" Against random entries in place of the same trades: {matched_sentence(report.matched)}"
    return told


def matched_sentence(matched: MatchedBenchmark) -> str:
    """The rank of the trades among the random ones in their place."""
    count = matched.draws
    low, high = share_interval(count - matched.behind, count)
    bottom, top = matched.band_r
    return (
        f"{matched.gross_r:+.3f} R a trade before costs, where 95 % of the draws lie from {bottom:+.3f} to {top:+.3f}; "
        f"better than {matched.behind:,} of {count:,}, p = {matched.p_value:.3f} ({low:.3f} to {high:.3f}). After "
        f"costs {matched.mean_r:+.3f} R, the median draw {float(np.median(matched.drawn_r)):+.3f}."
    )


def _head(report: Report) -> str:
    facts = "".join(f"<span><b>{escape(value)}</b> {escape(name)}</span>" for name, value in report.facts.items())
    title = f'<h1>{escape(report.title)}</h1><p class="span">{_span(report)}</p>'
    return f'<header>{title}<p class="facts">{facts}</p></header>'


def _cards(numbers: Figures) -> str:
    cards = [
        ("Return", _signed(numbers.return_pct, "%"), _tone(numbers.return_pct)),
        ("Largest drawdown", _signed(numbers.max_drawdown_pct, "%"), ""),
        ("Sharpe ratio", _with_error(numbers.sharpe_ratio, numbers.sharpe_error), _tone(numbers.sharpe_ratio)),
        ("Deflated Sharpe", _number(numbers.deflated_sharpe, ".2f"), ""),
        ("Closed trades", f"{numbers.trades:,}", ""),
        ("Win rate", f"{numbers.win_rate:.1f} %", ""),
        ("Profit factor", f"{numbers.profit_factor:.2f}", ""),
        ("PnL closed, costs paid", _money(numbers.pnl), _tone(numbers.pnl)),
        ("Mean of a trade, R", _number(numbers.mean_r, "+.3f"), _tone(numbers.mean_r)),
        ("Mean of a trade, bp", _number(numbers.mean_bps, "+.1f"), _tone(numbers.mean_bps)),
        ("Open trades", f"{numbers.open_trades:,}", ""),
        ("PnL of open trades", _money(numbers.open_pnl), _tone(numbers.open_pnl)),
        ("Fees", _money(numbers.fees), ""),
        ("Slippage", _money(numbers.slippage), ""),
        ("Funding paid", _money(numbers.funding), ""),
        ("Turnover", _money(numbers.turnover), ""),
        ("Mean exposure", f"{numbers.exposure_pct:.1f} %", ""),
        ("Mean time in a trade", _number(numbers.mean_hours, ".1f", " h"), ""),
    ]
    shown = "".join(
        f'<div class="card"><div class="name">{name}</div><div class="value {tone}">{value}</div></div>'
        for name, value, tone in cards
    )
    return f'<div class="cards">{shown}</div>'


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{''.join(parts)}</section>"


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return _section(title, "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")


def _curves_table(report: Report) -> str:
    """The compared tracks side by side."""
    heading = (
        *("", "return", "largest drawdown", "Sharpe", "deflated", "closed", "win rate", "R", "bp", "costs", "PnL"),
        *("open", "PnL of open"),
    )
    rows: list[tuple[str, ...]] = []
    for track in (report.main, *report.beside):
        one = track.figures
        rows.append(
            (
                track.curve.name,
                _signed(one.return_pct, "%"),
                _signed(one.max_drawdown_pct, "%"),
                _with_error(one.sharpe_ratio, one.sharpe_error),
                _number(one.deflated_sharpe, ".2f"),
                f"{one.trades:,}",
                f"{one.win_rate:.1f} %",
                _number(one.mean_r, "+.3f"),
                _number(one.mean_bps, "+.1f"),
                _money(one.fees + one.slippage + one.funding),
                _money(one.pnl),
                f"{one.open_trades:,}",
                _money(one.open_pnl),
            )
        )
    if report.holding is not None:
        held = report.holding
        change = _signed(float(held.returns_pct[-1]), "%")
        rows.append((held.name, change, _signed(float(held.drawdown_pct.min()), "%"), *[""] * (len(heading) - 3)))
    return _table(heading, rows)


_MODELS = {
    "flat": "the same slippage everywhere",
    "liquidity": "by turnover and range of the bar",
    "stress": "the same, and stops halfway to the worst price of their bar",
}


def _under_costs(report: Report) -> str:
    """The account, had fills cost otherwise."""
    if not report.under_costs:
        return ""
    rows = [
        (
            f"{model}: {_MODELS[model]}",
            _signed(one.return_pct, "%"),
            f"{one.trades:,}",
            _number(one.mean_r, "+.3f"),
            _number(one.mean_bps, "+.1f"),
            _money(one.fees),
            _money(one.slippage),
            _money(one.pnl),
            f"{one.open_trades:,}",
            _money(one.open_pnl),
        )
        for model, one in report.under_costs.items()
    ]
    heading = ("", "return", "closed", "R", "bp", "fees", "slippage", "PnL", "open", "PnL of open")
    return _section("If fills cost otherwise", _table(heading, rows))


def _matched(report: Report, charts: Charts) -> str:
    """The trades against random entries in their place."""
    matched = report.matched
    if matched is None:
        return ""
    rows = [
        (
            name,
            _number(of_trades, form),
            _number(float(np.median(drawn)), form),
            " to ".join(_number(float(edge), form) for edge in np.quantile(drawn, [0.025, 0.975])),
            f"{(drawn < of_trades).sum():,} of {len(drawn):,}",
        )
        for name, of_trades, drawn, form in (
            ("mean of a trade before fees and slippage, R", matched.gross_r, matched.drawn_gross_r, "+.3f"),
            ("after them, R", matched.mean_r, matched.drawn_r, "+.3f"),
            ("after them, bp", matched.mean_bps, matched.drawn_bps, "+.1f"),
        )
    ]
    heading = ("", f"{matched.trades:,} trades", "median draw", "95 % of the draws", "better than")
    title = "Random entries in place of these trades"
    return _section(title, charts.show("matched", matched_chart(matched), 220), _table(heading, rows))


def _dimension(report: Report, name: str, charts: Charts) -> str:
    rows = by_dimension(report.main.trades, name)
    if rows.empty:
        return ""
    if name == "timeframe":
        rows = rows.sort_values(name, key=lambda column: column.map(_LENGTHS), kind="stable")
    # Of many coins the best and the worst.
    half = _MAX_BARS // 2
    drawn = rows if len(rows) <= _MAX_BARS else pd.concat([rows.head(half), rows.tail(half)])
    title = f"By {name}" + (f": the best and the worst {half} of {len(rows)}" if len(drawn) < len(rows) else "")
    heading = (name, "closed", "win rate", "R", "bp", "fees", "funding", "PnL", "open", "PnL of open")
    cells = [
        (
            str(row[name]),
            f"{row['trades']:,}",
            _number(row["win_rate"], ".1f", " %"),
            _number(row["mean_r"], "+.3f"),
            _number(row["mean_bps"], "+.1f"),
            _money(row["fees"]),
            _money(row["funding"]),
            _money(row["pnl"]),
            f"{row['open_trades']:,}",
            _money(row["open_pnl"]),
        )
        for row in drawn.to_dict("records")
    ]
    return _section(
        title, '<div class="pair">', charts.show(name, pnl_bars(drawn, name), 260), _table(heading, cells), "</div>"
    )


def _calendar(days: Mapping[str, float]) -> str:
    """Months down, days across; each cell a day's return in percent."""
    months: dict[str, dict[int, float]] = {}
    for day, value in days.items():
        months.setdefault(day[:7], {})[int(day[8:])] = value
    heading = ("", *(str(day) for day in range(1, 32)), "month")
    lines = []
    for month, values in months.items():
        cells = "".join(_day_cell(values.get(day)) for day in range(1, 32))
        total = (math.prod(1 + value / 100 for value in values.values()) - 1) * 100
        lines.append(f"<tr><th>{month}</th>{cells}<td><b>{total:+.2f}</b></td></tr>")
    head = "".join(f"<th>{name}</th>" for name in heading)
    return f'<div class="wide"><table class="days"><thead><tr>{head}</tr></thead>{"".join(lines)}</table></div>'


def _day_cell(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    # Full colour at 3 % a day.
    strength = min(abs(value) / 3, 1) * 0.75
    colour = f"rgba(15, 157, 107, {strength:.2f})" if value >= 0 else f"rgba(214, 69, 69, {strength:.2f})"
    return f'<td style="background:{colour}">{value:+.2f}</td>'


def _trades_table(trades: pd.DataFrame, charts_file: str) -> str:
    heading = ("entry", "exit", "coin", "side", "strategy", "tf", "entry price", "exit price", "fees", "funding")
    cells = [
        (
            iso(int(row["entry_ms"]))[:16].replace("T", " "),
            iso(int(row["exit_ms"]))[:16].replace("T", " "),
            str(row["symbol"]),
            str(row["side"]),
            str(row["strategy"]),
            str(row["timeframe"]),
            f"{row['entry_price']:.6g}",
            f"{row['exit_price']:.6g}",
            _money(row["fees"]),
            _money(row["funding"]),
            str(row["reason"]),
            f"{row['r']:+.2f}",
            f"{row['bps']:+.1f}",
            _money(row["pnl"]),
        )
        for row in trades.iloc[::-1].head(LAST_TRADES).to_dict("records")
    ]
    table = _table((*heading, "end", "R", "bp", "PnL"), cells)
    if charts_file and cells:
        numbers = iter(range(len(trades), 0, -1))
        table = _FIRST_CELL.sub(
            lambda cell: f'{cell[1]}<a href="{escape(charts_file)}#t{next(numbers)}">{cell[2]}</a>', table
        )
        whole = f'<p><a href="{escape(charts_file)}">All {len(trades):,} trades on their candles</a></p>'
        return f'{whole}<div class="tall">{table}</div>'
    return f'<div class="tall">{table}</div>'


def _what_stood_against(report: Report) -> str:
    if not report.refused:
        return ""
    rows = [(name, f"{count:,}") for name, count in report.refused.items()]
    return _section("Signals that were not taken", _table(("what stood against it first", "signals"), rows))


_TEXTS = frozenset({"entry", "exit", "coin", "side", "strategy", "timeframe", "symbol", "end", "tf"})
"""Headings of columns that hold words; all others hold numbers."""

_TONED = frozenset({"return", "PnL", "R", "bp"})
"""Headings of columns in which a gain is green and a loss red."""


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>none</p>"
    kinds = ["text" if name in _TEXTS else "toned" if name in _TONED else "" for name in heading]
    head = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in zip(heading, kinds, strict=True))
    lines = "".join("<tr>" + "".join(map(_cell, row, kinds)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(value: str, kind: str) -> str:
    if kind == "toned":
        kind = "loss" if value.startswith("-") else "gain" if value != NONE else ""
    return f'<td class="{kind}">{escape(value)}</td>' if kind else f"<td>{escape(value)}</td>"


def _span(report: Report) -> str:
    return f"{iso(report.start_ms)[:16].replace('T', ' ')} to {iso(report.end_ms)[:16].replace('T', ' ')} UTC"


def _money(value: float) -> str:
    sign = "-" if value <= -0.005 else ""
    return f"{sign}${abs(value):,.2f}" if abs(value) < 10_000 else f"{sign}${abs(value):,.0f}"


def _signed(value: float, unit: str) -> str:
    return f"{value:+.2f} {unit}"


def _number(value: float, form: str, unit: str = "") -> str:
    return NONE if math.isnan(value) else f"{value:{form}}{unit}"


def _with_error(value: float, error: float) -> str:
    return NONE if math.isnan(value) else f"{value:.2f} ± {error:.1f}"


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""


STYLE = """
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --gain: #0f9d6b; --loss: #d64545; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f4f6; color: var(--ink); font: 14px/1.5 Inter, system-ui, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
header h1 { margin: 0; font-size: 30px; letter-spacing: -0.02em; }
.span { margin: 2px 0 10px; color: var(--soft); font-size: 15px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0 0 18px; color: var(--soft); }
.facts b { color: var(--ink); }
.cards { display: grid; grid-template-columns: repeat(7, 1fr); gap: 10px; }
.card { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 10px 12px; }
.card .name { color: var(--soft); font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.card .value { font-size: 19px; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
section { background: white; border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px 16px; }
section { margin-top: 16px; }
h2 { margin: 0 0 8px; font-size: 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th { text-align: right; color: var(--soft); font-weight: 550; padding: 4px 8px; border-bottom: 1px solid var(--line); }
td { text-align: right; padding: 4px 8px; border-bottom: 1px solid #f3f4f6; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
.gain { color: var(--gain); }
.loss { color: var(--loss); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; align-items: start; }
.pair > div { min-width: 0; }
.tall { max-height: 560px; overflow: auto; }
.tall th { position: sticky; top: 0; background: white; }
.wide { overflow-x: auto; }
.days { font-size: 9.5px; letter-spacing: -0.03em; table-layout: fixed; min-width: 1080px; }
.days th:first-child, .days th:last-child { width: 56px; }
.headline { margin: 0 0 16px; font-size: 16px; }
.days th { white-space: nowrap; }
.days th, .days td { padding: 3px 2px; text-align: center; border: 1px solid white; }
ul { margin: 0; padding-left: 20px; }
li { margin: 3px 0; }
@media (max-width: 900px) { .cards { grid-template-columns: repeat(3, 1fr); } .pair { grid-template-columns: 1fr; } }
"""
