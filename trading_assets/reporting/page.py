"""A report as one HTML file that needs nothing else: charts by plotly, the rest plain HTML. No numbers are made here.

The same report gives the same bytes: there is no time of writing and no random id in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from trading_assets.core.timeframes import Timeframe, iso, to_datetime
from trading_assets.reporting.figures import DIMENSIONS, Curve, Figures, by_dimension, daily_returns
from trading_assets.reporting.report import Report
from trading_assets.reporting.style import STYLE

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#2563eb", "#9ca3af", "#f59e0b", "#10b981")
GAIN, LOSS, INK, GRID = "#0f9d6b", "#d64545", "#1f2937", "#e5e7eb"

_LENGTHS = {timeframe.value: timeframe.ms for timeframe in Timeframe}

LAST_TRADES = 200
_MAX_BARS = 20


def render(report: Report) -> str:
    """The page of a report."""
    charts = _Charts()
    body = "\n".join(
        [
            _head(report),
            f'<p class="headline">{escape(headline(report))}</p>',
            _cards(report.main.figures),
            _section("Equity", charts.show("equity", _equity_chart(report), 400), _curves_table(report)),
            _section("Drawdown", charts.show("drawdown", _drawdown_chart(report.curves), 220)),
            _section("Value of the open positions", charts.show("exposure", _exposure_chart(report), 200)),
            _section("Returns by day", _calendar(daily_returns(report.main.curve))),
            *(_dimension(report, name, charts) for name in DIMENSIONS),
            _section(f"Last {LAST_TRADES} trades", _trades_table(report.main.trades)),
            _what_stood_against(report),
            _list("What happened on the way", report.notes),
            _list("What these numbers assume", report.assumptions),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)} {_span(report)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


class _Charts:
    """Charts of one page: plotly's code comes with the first of them."""

    def __init__(self) -> None:
        self._first = True

    def show(self, name: str, figure: go.Figure, height: int) -> str:
        figure.update_layout(
            template="none",
            height=height,
            margin={"l": 60, "r": 20, "t": 10, "b": 36},
            font={"family": "Inter, system-ui, sans-serif", "size": 12, "color": INK},
            hovermode="x unified",
            legend={"orientation": "h", "y": 1.12, "x": 0, "traceorder": "normal"},
            paper_bgcolor="white",
            plot_bgcolor="white",
        )
        figure.update_xaxes(gridcolor=GRID, zeroline=False)
        figure.update_yaxes(gridcolor=GRID, zerolinecolor="#9ca3af")
        html = figure.to_html(
            full_html=False,
            include_plotlyjs=self._first,
            div_id=f"chart-{name}",
            config={"displayModeBar": False, "responsive": True},
        )
        self._first = False
        return str(html)


def headline(report: Report) -> str:
    """The report in three sentences."""
    told = [f"{curve.name} {_signed(float(curve.returns_pct[-1]), '%')}" for curve in report.curves]
    numbers = report.main.figures
    costs = numbers.fees + numbers.slippage + numbers.funding
    return (
        f"{', '.join(told)}. {numbers.trades:,} closed trades turned over {_money(numbers.turnover)} and paid "
        f"{_money(costs)} in fees, slippage and funding: without these {_money(numbers.pnl + costs)} instead of "
        f"{_money(numbers.pnl)}.{_rank(report)}"
    )


def _rank(report: Report) -> str:
    if report.sample is None:
        return ""
    behind, curve = report.sample.behind(report.main.curve), report.main.curve
    return f" {curve.name} ended above {behind} of {len(report.sample.ends)} random choices."


def _head(report: Report) -> str:
    facts = "".join(f"<span><b>{escape(value)}</b> {escape(name)}</span>" for name, value in report.facts.items())
    title = f'<h1>{escape(report.title)}</h1><p class="span">{_span(report)}</p>'
    return f'<header>{title}<p class="facts">{facts}</p></header>'


def _cards(numbers: Figures) -> str:
    cards = [
        ("Return", _signed(numbers.return_pct, "%"), _tone(numbers.return_pct)),
        ("Largest drawdown", _signed(numbers.max_drawdown_pct, "%"), ""),
        ("Sharpe ratio", f"{numbers.sharpe_ratio:.2f}", _tone(numbers.sharpe_ratio)),
        ("Deflated Sharpe", _probability(numbers.deflated_sharpe), ""),
        ("Closed trades", f"{numbers.trades:,}", ""),
        ("Win rate", f"{numbers.win_rate:.1f} %", ""),
        ("Profit factor", f"{numbers.profit_factor:.2f}", ""),
        ("PnL, all costs paid", _money(numbers.pnl), _tone(numbers.pnl)),
        ("Fees", _money(numbers.fees), ""),
        ("Slippage", _money(numbers.slippage), ""),
        ("Funding paid", _money(numbers.funding), ""),
        ("Turnover", _money(numbers.turnover), ""),
        ("Mean exposure", f"{numbers.exposure_pct:.1f} %", ""),
        ("Mean time in a trade", f"{numbers.mean_hours:.1f} h", ""),
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


def _lines(curves: Sequence[Curve], values: str, hover: str) -> Iterator[Any]:
    import plotly.graph_objects as go

    for curve, colour in zip(curves, COLOURS, strict=False):
        yield go.Scatter(
            x=[to_datetime(time).strftime("%Y-%m-%d %H:%M") for time in curve.times_ms.tolist()],
            y=[round(value, 4) for value in getattr(curve, values).tolist()],
            name=curve.name,
            mode="lines",
            line={"color": colour, "width": 2.4 if curve is curves[0] else 1.5},
            hovertemplate=hover,
        )


def _equity_chart(report: Report) -> go.Figure:
    import plotly.graph_objects as go

    figure = go.Figure([*_band(report), *_lines(report.curves, "returns_pct", "%{y:+.2f} %")])
    return figure.update_yaxes(title="return, %")


def _band(report: Report) -> Iterator[Any]:
    """The random choices, but for the best and the worst 5 %."""
    import plotly.graph_objects as go

    sample, times = report.sample, report.main.curve.times_ms
    if sample is None:
        return
    for equity, fill in ((sample.low, None), (sample.high, "tonexty")):
        yield go.Scatter(
            x=[to_datetime(time).strftime("%Y-%m-%d %H:%M") for time in times.tolist()],
            y=[round(value, 4) for value in Curve("", times, equity).returns_pct.tolist()],
            name=f"{len(sample.ends)} random choices, 5 to 95 %",
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor="rgba(156, 163, 175, 0.22)",
            hoverinfo="skip",
            showlegend=fill is not None,
        )


def _drawdown_chart(curves: Sequence[Curve]) -> go.Figure:
    import plotly.graph_objects as go

    figure = go.Figure(list(_lines(curves, "drawdown_pct", "%{y:.2f} %")))
    figure.data[0].update(fill="tozeroy", fillcolor="rgba(37, 99, 235, 0.12)")
    return figure.update_yaxes(title="below the peak, %").update_layout(showlegend=False)


def _exposure_chart(report: Report) -> go.Figure:
    import plotly.graph_objects as go

    curve, exposure = report.main.curve, report.main.exposure
    figure = go.Figure(
        go.Scatter(
            x=[to_datetime(time).strftime("%Y-%m-%d %H:%M") for time in curve.times_ms.tolist()],
            y=[round(value, 2) for value in exposure.tolist()],
            mode="lines",
            line={"color": COLOURS[0], "width": 1, "shape": "hv"},
            fill="tozeroy",
            fillcolor="rgba(37, 99, 235, 0.12)",
            hovertemplate="$%{y:,.0f}",
        )
    )
    return figure.update_yaxes(title="USD").update_layout(showlegend=False)


def _curves_table(report: Report) -> str:
    """The compared tracks side by side."""
    heading = ("", "return", "largest drawdown", "Sharpe", "deflated", "trades", "win rate", "costs", "PnL")
    rows: list[tuple[str, ...]] = []
    for track in (report.main, *report.beside):
        one = track.figures
        rows.append(
            (
                track.curve.name,
                _signed(one.return_pct, "%"),
                _signed(one.max_drawdown_pct, "%"),
                f"{one.sharpe_ratio:.2f}",
                _probability(one.deflated_sharpe),
                f"{one.trades:,}",
                f"{one.win_rate:.1f} %",
                _money(one.fees + one.slippage + one.funding),
                _money(one.pnl),
            )
        )
    if report.holding is not None:
        held = report.holding
        change = _signed(float(held.returns_pct[-1]), "%")
        rows.append((held.name, change, _signed(float(held.drawdown_pct.min()), "%"), *[""] * 6))
    return _table(heading, rows)


def _dimension(report: Report, name: str, charts: _Charts) -> str:
    import plotly.graph_objects as go

    rows = by_dimension(report.main.trades, name)
    if rows.empty:
        return ""
    if name == "timeframe":
        rows = rows.sort_values(name, key=lambda column: column.map(_LENGTHS), kind="stable")
    # Of many coins the best and the worst.
    half = _MAX_BARS // 2
    drawn = rows if len(rows) <= _MAX_BARS else pd.concat([rows.head(half), rows.tail(half)])
    figure = go.Figure(
        go.Bar(
            x=[str(value).removesuffix("USDT") for value in drawn[name].tolist()],
            y=[round(value, 2) for value in drawn["pnl"].tolist()],
            marker={"color": [GAIN if value >= 0 else LOSS for value in drawn["pnl"].tolist()]},
            hovertemplate="%{y:+,.2f} USD<extra></extra>",
        )
    )
    figure.update_xaxes(type="category", automargin=True, tickangle=-60 if len(drawn) > 8 else 0).update_yaxes(
        title="PnL, USD"
    )
    title = f"By {name}" + (f": the best and the worst {half} of {len(rows)}" if len(drawn) < len(rows) else "")
    heading = (name, "trades", "win rate", "fees", "funding", "PnL")
    cells = [
        (
            str(row[name]),
            f"{row['trades']:,}",
            f"{row['win_rate']:.1f} %",
            _money(row["fees"]),
            _money(row["funding"]),
            _money(row["pnl"]),
        )
        for row in drawn.to_dict("records")
    ]
    return _section(title, '<div class="pair">', charts.show(name, figure, 260), _table(heading, cells), "</div>")


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


def _trades_table(trades: pd.DataFrame) -> str:
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
            _money(row["pnl"]),
        )
        for row in trades.iloc[::-1].head(LAST_TRADES).to_dict("records")
    ]
    return f'<div class="tall">{_table((*heading, "end", "PnL"), cells)}</div>'


def _what_stood_against(report: Report) -> str:
    if not report.refused:
        return ""
    rows = [(name, f"{count:,}") for name, count in report.refused.items()]
    return _section("Signals that were not taken", _table(("what stood against it first", "signals"), rows))


_TEXTS = frozenset({"entry", "exit", "coin", "side", "strategy", "timeframe", "symbol", "end", "tf"})
"""Headings of columns that hold words; all others hold numbers."""

_TONED = frozenset({"return", "PnL"})
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
        kind = "loss" if value.startswith("-") else "gain"
    return f'<td class="{kind}">{escape(value)}</td>' if kind else f"<td>{escape(value)}</td>"


def _span(report: Report) -> str:
    return f"{iso(report.start_ms)[:16].replace('T', ' ')} to {iso(report.end_ms)[:16].replace('T', ' ')} UTC"


def _money(value: float) -> str:
    sign = "-" if value <= -0.005 else ""
    return f"{sign}${abs(value):,.2f}" if abs(value) < 10_000 else f"{sign}${abs(value):,.0f}"


def _signed(value: float, unit: str) -> str:
    return f"{value:+.2f} {unit}"


def _probability(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""
