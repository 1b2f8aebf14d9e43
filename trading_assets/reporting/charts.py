"""The charts of a report's page, by plotly. No numbers are made here."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trading_assets.core.candles import IntArray
from trading_assets.core.timeframes import to_datetime
from trading_assets.reporting.figures import Curve
from trading_assets.reporting.matched import MatchedBenchmark
from trading_assets.reporting.report import Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#2563eb", "#9ca3af", "#f59e0b", "#10b981")
GAIN, LOSS, INK, GRID = "#0f9d6b", "#d64545", "#1f2937", "#e5e7eb"


_SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)


class Charts:
    """Charts of one page: plotly's code comes with the first of them."""

    def __init__(self) -> None:
        self._first = True
        self._hashes: list[str] = []

    @property
    def policy(self) -> str:
        """The page's content security policy: it runs the charts' own scripts, and asks no server for anything."""
        scripts = " ".join(f"'sha256-{one}'" for one in self._hashes) or "'none'"
        return (
            f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
            "base-uri 'none'; form-action 'none'"
        )

    def show(self, name: str, figure: go.Figure, height: int) -> str:
        """A chart as HTML, `height` pixels high."""
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
        for script in _SCRIPT.findall(html):
            self._hashes.append(b64encode(hashlib.sha256(script.encode()).digest()).decode())
        return str(html)


def _lines(curves: Sequence[Curve], values: str, hover: str) -> Iterator[Any]:
    import plotly.graph_objects as go

    for curve, colour in zip(curves, COLOURS, strict=False):
        yield go.Scatter(
            x=_times(curve.times_ms),
            y=[round(value, 4) for value in getattr(curve, values).tolist()],
            name=curve.name,
            mode="lines",
            line={"color": colour, "width": 2.4 if curve is curves[0] else 1.5},
            hovertemplate=hover,
        )


def equity_chart(report: Report) -> go.Figure:
    """Return of every curve, percent, and the band of the random choices."""
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
            x=_times(times),
            y=[round(value, 4) for value in Curve("", times, equity).returns_pct.tolist()],
            name=f"{len(sample.ends)} random choices, 5 to 95 %",
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor="rgba(156, 163, 175, 0.22)",
            hoverinfo="skip",
            showlegend=fill is not None,
        )


def drawdown_chart(curves: Sequence[Curve]) -> go.Figure:
    """Drawdown of every curve, percent."""
    import plotly.graph_objects as go

    figure = go.Figure(list(_lines(curves, "drawdown_pct", "%{y:.2f} %")))
    figure.data[0].update(fill="tozeroy", fillcolor="rgba(37, 99, 235, 0.12)")
    return figure.update_yaxes(title="below the peak, %").update_layout(showlegend=False)


def exposure_chart(report: Report) -> go.Figure:
    """Value of the open positions of the main track, USD."""
    import plotly.graph_objects as go

    curve, exposure = report.main.curve, report.main.exposure
    figure = go.Figure(
        go.Scatter(
            x=_times(curve.times_ms),
            y=[round(value, 2) for value in exposure.tolist()],
            mode="lines",
            line={"color": COLOURS[0], "width": 1, "shape": "hv"},
            fill="tozeroy",
            fillcolor="rgba(37, 99, 235, 0.12)",
            hovertemplate="$%{y:,.0f}",
        )
    )
    return figure.update_yaxes(title="USD").update_layout(showlegend=False)


def matched_chart(matched: MatchedBenchmark) -> go.Figure:
    """How the draws' means spread, and where the trades' mean lies, R."""
    import plotly.graph_objects as go

    counts, edges = np.histogram(matched.drawn_gross_r, bins=40)
    figure = go.Figure(
        go.Bar(
            x=[round(value, 5) for value in ((edges[:-1] + edges[1:]) / 2).tolist()],
            y=counts.tolist(),
            width=float(edges[1] - edges[0]),
            marker={"color": COLOURS[1]},
            hovertemplate="%{x:+.3f} R: %{y} draws<extra></extra>",
        )
    )
    figure.add_vline(x=matched.gross_r, line={"color": COLOURS[0], "width": 2.4})
    return figure.update_xaxes(title="mean of a trade before costs, R").update_yaxes(title="draws")


def pnl_bars(rows: pd.DataFrame, name: str) -> go.Figure:
    """PnL of each row, by the column `name`."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Bar(
            x=[str(value).removesuffix("USDT") for value in rows[name].tolist()],
            y=[round(value, 2) for value in rows["pnl"].tolist()],
            marker={"color": [GAIN if value >= 0 else LOSS for value in rows["pnl"].tolist()]},
            hovertemplate="%{y:+,.2f} USD<extra></extra>",
        )
    )
    return figure.update_xaxes(type="category", automargin=True, tickangle=-60 if len(rows) > 8 else 0).update_yaxes(
        title="PnL, USD"
    )


def _times(times_ms: IntArray) -> list[str]:
    return [to_datetime(time).strftime("%Y-%m-%d %H:%M") for time in times_ms.tolist()]


def days_chart(lines: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Values by day (`2026-03-02`), percent, a line each."""
    import plotly.graph_objects as go

    figure = go.Figure(
        [
            go.Scatter(
                x=list(days),
                y=[round(value, 4) for value in days.values()],
                name=name,
                mode="lines+markers" if len(days) < 40 else "lines",
                line={"color": colour, "width": 2},
                hovertemplate="%{y:+.2f} %",
            )
            for (name, days), colour in zip(lines.items(), (COLOURS[0], COLOURS[2]), strict=False)
        ]
    )
    return figure.update_yaxes(title="return, %")
