"""A report as one HTML file that needs nothing else: charts of `charts`, the rest plain HTML. No numbers are made here.

The same report gives the same bytes: there is no time of writing and no random id in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd

from trading_assets.core.timeframes import Timeframe, iso
from trading_assets.reporting.answers import answers
from trading_assets.reporting.charts import (
    Charts,
    drawdown_chart,
    equity_chart,
    exposure_chart,
    matched_chart,
    pnl_bars,
)
from trading_assets.reporting.figures import DIMENSIONS, Figures, by_dimension, daily_returns
from trading_assets.reporting.first_screen import first_screen, sections
from trading_assets.reporting.markup import bullets, document, money, number, section, signed, table, tone, with_error
from trading_assets.reporting.matched import MatchedBenchmark, share_interval
from trading_assets.reporting.report import Report
from trading_assets.reporting.trade_book import MOST_TRADES

_LENGTHS = {timeframe.value: timeframe.ms for timeframe in Timeframe}

LAST_TRADES = 200
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
            first_screen(answers(report)),
            f'<p class="headline">{escape(headline(report))}</p>',
            _cards(report.main.figures),
            section("Equity", charts.show("equity", equity_chart(report), 400), _curves_table(report)),
            section("Drawdown", charts.show("drawdown", drawdown_chart(report.curves), 220)),
            section("Value of the open positions", charts.show("exposure", exposure_chart(report), 200)),
            section("Returns by day", _calendar(daily_returns(report.main.curve))),
            _under_costs(report),
            _matched(report, charts),
            sections(report.evidence),
            *(_dimension(report, name, charts) for name in DIMENSIONS),
            section(f"Last {LAST_TRADES} trades", _trades_table(report.main.trades, charts_file)),
            _what_stood_against(report),
            bullets("What happened on the way", report.notes),
            bullets("What these numbers assume", report.assumptions),
        ]
    )
    return document(f"{report.title} {_span(report)}", body, charts.policy)


def headline(report: Report) -> str:
    """The report in three sentences."""
    told = [f"{curve.name} {signed(float(curve.returns_pct[-1]), '%')}" for curve in report.curves]
    numbers = report.main.figures
    costs = numbers.fees + numbers.slippage + numbers.funding
    return (
        f"{', '.join(told)}. {numbers.trades:,} closed trades turned over {money(numbers.turnover)} and paid "
        f"{money(costs)} in fees, slippage and funding: without these {money(numbers.whole_pnl + costs)} instead of "
        f"{money(numbers.whole_pnl)}{_of_it_open(numbers)}.{_rank(report)}"
    )


def _of_it_open(numbers: Figures) -> str:
    return f", {money(numbers.open_pnl)} of it in {numbers.open_trades:,} open trades" if numbers.open_trades else ""


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
        ("Return", signed(numbers.return_pct, "%"), tone(numbers.return_pct)),
        ("Largest drawdown", signed(numbers.max_drawdown_pct, "%"), ""),
        ("Sharpe ratio", with_error(numbers.sharpe_ratio, numbers.sharpe_error), tone(numbers.sharpe_ratio)),
        ("Deflated Sharpe", number(numbers.deflated_sharpe, ".2f"), ""),
        ("Closed trades", f"{numbers.trades:,}", ""),
        ("Win rate", f"{numbers.win_rate:.1f} %", ""),
        ("Profit factor", f"{numbers.profit_factor:.2f}", ""),
        ("PnL closed, costs paid", money(numbers.pnl), tone(numbers.pnl)),
        ("Mean of a trade, R", number(numbers.mean_r, "+.3f"), tone(numbers.mean_r)),
        ("Mean of a trade, bp", number(numbers.mean_bps, "+.1f"), tone(numbers.mean_bps)),
        ("Open trades", f"{numbers.open_trades:,}", ""),
        ("PnL of open trades", money(numbers.open_pnl), tone(numbers.open_pnl)),
        ("Fees", money(numbers.fees), ""),
        ("Slippage", money(numbers.slippage), ""),
        ("Funding paid", money(numbers.funding), ""),
        ("Turnover", money(numbers.turnover), ""),
        ("Mean exposure", f"{numbers.exposure_pct:.1f} %", ""),
        ("Mean time in a trade", number(numbers.mean_hours, ".1f", " h"), ""),
    ]
    shown = "".join(
        f'<div class="card"><div class="name">{name}</div><div class="value {kind}">{value}</div></div>'
        for name, value, kind in cards
    )
    return f'<div class="cards">{shown}</div>'


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
                signed(one.return_pct, "%"),
                signed(one.max_drawdown_pct, "%"),
                with_error(one.sharpe_ratio, one.sharpe_error),
                number(one.deflated_sharpe, ".2f"),
                f"{one.trades:,}",
                f"{one.win_rate:.1f} %",
                number(one.mean_r, "+.3f"),
                number(one.mean_bps, "+.1f"),
                money(one.fees + one.slippage + one.funding),
                money(one.pnl),
                f"{one.open_trades:,}",
                money(one.open_pnl),
            )
        )
    if report.holding is not None:
        held = report.holding
        change = signed(float(held.returns_pct[-1]), "%")
        rows.append((held.name, change, signed(float(held.drawdown_pct.min()), "%"), *[""] * (len(heading) - 3)))
    return table(heading, rows)


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
            signed(one.return_pct, "%"),
            f"{one.trades:,}",
            number(one.mean_r, "+.3f"),
            number(one.mean_bps, "+.1f"),
            money(one.fees),
            money(one.slippage),
            money(one.pnl),
            f"{one.open_trades:,}",
            money(one.open_pnl),
        )
        for model, one in report.under_costs.items()
    ]
    heading = ("", "return", "closed", "R", "bp", "fees", "slippage", "PnL", "open", "PnL of open")
    return section("If fills cost otherwise", table(heading, rows))


def _matched(report: Report, charts: Charts) -> str:
    """The trades against random entries in their place."""
    matched = report.matched
    if matched is None:
        return ""
    rows = [
        (
            name,
            number(of_trades, form),
            number(float(np.median(drawn)), form),
            " to ".join(number(float(edge), form) for edge in np.quantile(drawn, [0.025, 0.975])),
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
    return section(title, charts.show("matched", matched_chart(matched), 220), table(heading, rows))


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
            number(row["win_rate"], ".1f", " %"),
            number(row["mean_r"], "+.3f"),
            number(row["mean_bps"], "+.1f"),
            money(row["fees"]),
            money(row["funding"]),
            money(row["pnl"]),
            f"{row['open_trades']:,}",
            money(row["open_pnl"]),
        )
        for row in drawn.to_dict("records")
    ]
    return section(
        title, '<div class="pair">', charts.show(name, pnl_bars(drawn, name), 260), table(heading, cells), "</div>"
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
            money(row["fees"]),
            money(row["funding"]),
            str(row["reason"]),
            f"{row['r']:+.2f}",
            f"{row['bps']:+.1f}",
            money(row["pnl"]),
        )
        for row in trades.iloc[::-1].head(LAST_TRADES).to_dict("records")
    ]
    shown = table((*heading, "end", "R", "bp", "PnL"), cells)
    if charts_file and cells:
        drawn = min(len(trades), MOST_TRADES)
        numbers = iter(range(drawn, 0, -1))
        shown = _FIRST_CELL.sub(
            lambda cell: f'{cell[1]}<a href="{escape(charts_file)}#t{next(numbers)}">{cell[2]}</a>', shown, count=drawn
        )
        which = "All" if drawn == len(trades) else "The newest"
        whole = f'<p><a href="{escape(charts_file)}">{which} {drawn:,} trades on their candles</a></p>'
        return f'{whole}<div class="tall">{shown}</div>'
    return f'<div class="tall">{shown}</div>'


def _what_stood_against(report: Report) -> str:
    if not report.refused:
        return ""
    rows = [(name, f"{count:,}") for name, count in report.refused.items()]
    return section("Signals that were not taken", table(("what stood against it first", "signals"), rows))


def _span(report: Report) -> str:
    return f"{iso(report.start_ms)[:16].replace('T', ' ')} to {iso(report.end_ms)[:16].replace('T', ' ')} UTC"
