"""Candles with trades as one HTML file that needs nothing else, drawn by Lightweight Charts. No trade is made here.

The same input gives the same bytes. Who has what to draw (a backtest, a walk-forward, an order) is elsewhere:
`trading_assets.research.charts`, `reporting.trade_book`.
"""

from __future__ import annotations

import hashlib
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.foreign_text import plain

STATIC = Path(__file__).with_name("static")
LIBRARY = "lightweight-charts.js"

_MOST_DECIMALS = 12
_DIGITS = 6
_ON_PRICE = 0.3
"""An indicator that is nearly always this close to the close (as a fraction of it) is drawn on the candles."""


@dataclass(frozen=True)
class ChartSeries:
    """Candles of a symbol and timeframe, and what goes with them; arrays of shape (n,).

    Attributes:
        name: such as `ETHUSDT 15m`.
        indicators: by name; NaN where undefined. Each is drawn on the candles or in a pane of its own, by its values.
        equity: USD at each close, and what it began with (`capital`); None where there is no account. The page draws
            its drawdown, too.
    """

    name: str
    candles: Candles
    indicators: Mapping[str, FloatArray] = field(default_factory=dict)
    equity: FloatArray | None = None
    capital: float = 0.0


@dataclass(frozen=True)
class ChartTrade:
    """A trade on one of the series. Times are closes of bars, UTC ms; money in USD.

    Attributes:
        series: its place among the chart's series.
        side: 1 long, -1 short.
        exit_ms: None while it is open; `exit_price` is then the mark.
        stop, target: as they stood at the entry; None where not known.
        notes: further facts that are shown with it, name and text.
    """

    series: int
    side: int
    signal_ms: int
    entry_ms: int
    exit_ms: int | None
    entry_price: float
    exit_price: float
    stop: float | None
    target: float | None
    reason: str
    pnl: float
    r: float | None = None
    mae_r: float | None = None
    mfe_r: float | None = None
    fees: float | None = None
    funding: float | None = None
    bars: int | None = None
    notes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class ChartPage:
    """A page of candles and trades. A notebook shows it; `save` writes it.

    Attributes:
        policy: the page's content security policy, for a server that sends it: its own scripts, and nothing else.
    """

    title: str
    html: str
    policy: str

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, and return its path.

        Raises:
            OSError: it cannot be written.
        """
        to = Path(path).expanduser()
        to.write_text(self.html, encoding="utf-8")
        return to

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html, quote=True)}" sandbox="allow-scripts allow-popups" '
            'style="width:100%;height:720px;border:1px solid #ccc"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<ChartPage {self.title}, {len(self.html):,} characters; .save('chart.html') writes it>"


def chart_page(
    title: str, facts: Sequence[tuple[str, str]], series: Sequence[ChartSeries], trades: Sequence[ChartTrade]
) -> ChartPage:
    """The page.

    Args:
        facts: what is shown above, name and text.
        trades: in the order in which they are numbered; the address `#t1` opens the first.
    """
    title = plain(title)
    block = orjson.dumps(
        {
            "facts": [[plain(name), plain(text)] for name, text in facts],
            "series": [_packed(one) for one in series],
            "trades": [_trade(one) for one in trades],
        }
    ).decode()
    # Inside a script element: no sequence may end it, or begin a comment.
    block = block.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    scripts = [_static(LIBRARY), _static("trade_chart.js")]
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
    code = "".join(f"<script>{one}</script>" for one in scripts)
    return ChartPage(
        title,
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_static('trade_chart.css')}"
        f":root {{ --columns: {_widths(len(series) > 1)}; }}</style></head>\n"
        f'<body><header><h1>{escape(title)}</h1><span id="facts"></span></header>\n'
        '<main><div class="bar"><span id="what"></span><button id="last">newest</button><button id="all">all</button>'
        '<span id="chips"></span></div><div id="chart"></div></main>\n'
        '<aside><div class="bar"><select id="filter"></select><button id="previous" title="key p">previous</button>'
        '<button id="next" title="key n">next</button><span id="count"></span></div>'
        '<div class="heads" id="heads"></div><div id="rows"><div id="room"></div></div><dl id="detail"></dl>'
        '<footer>Charts: <a href="https://www.tradingview.com/" rel="noreferrer">TradingView</a> Lightweight Charts™, '
        f"Copyright (c) 2026 TradingView, Inc., Apache-2.0. Times are UTC.</footer></aside>\n"
        f'<script type="application/json" id="data">{block}</script>\n{code}</body></html>\n',
        policy,
    )


def _widths(several: bool) -> str:
    return f"38px 108px {'104px ' if several else ''}44px 52px 60px 44px 1fr"


@cache
def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _packed(one: ChartSeries) -> dict[str, Any]:
    """A series as short as JSON allows: whole numbers, each told by its distance to what was before."""
    candles = one.candles
    decimals = _decimals(candles)
    whole = [
        np.rint(values * 10**decimals).astype(np.int64)
        for values in (candles.open, candles.high, candles.low, candles.close)
    ]
    opens, highs, lows, closes = whole
    before = np.concatenate([[0], closes[:-1]])
    return {
        "name": plain(one.name),
        "step": candles.timeframe.ms // 1000,
        "spans": _spans(candles),
        "decimals": decimals,
        "o": (opens - before).tolist(),
        "c": (closes - opens).tolist(),
        "h": (highs - np.maximum(opens, closes)).tolist(),
        "l": (np.minimum(opens, closes) - lows).tolist(),
        "lines": [
            {"name": plain(name), "on_price": _is_on_price(values, candles.close), "values": _rounded(values)}
            for name, values in one.indicators.items()
            if np.isfinite(values).any()  # nothing could be drawn
        ],
        "equity": None if one.equity is None else _rounded(one.equity, 3),
        "capital": one.capital,
    }


def _spans(candles: Candles) -> list[list[int]]:
    """[first open (s), bars] of each stretch without a gap."""
    starts = candles.start_ms // 1000
    step = candles.timeframe.ms // 1000
    begins = np.flatnonzero(np.diff(starts, prepend=starts[0] - 2 * step) != step) if len(starts) else starts
    counts = np.diff(np.append(begins, len(starts)))
    return [[int(starts[begin]), int(count)] for begin, count in zip(begins, counts, strict=True)]


def _decimals(candles: Candles) -> int:
    """The fewest decimals that give every price back."""
    for decimals in range(_MOST_DECIMALS):
        if all(
            np.allclose(np.rint(values * 10**decimals) / 10**decimals, values, rtol=1e-9, atol=0)
            for values in (candles.open, candles.high, candles.low, candles.close)
        ):
            return decimals
    return _MOST_DECIMALS


def _is_on_price(values: FloatArray, close: FloatArray) -> bool:
    known = np.isfinite(values)
    if not known.any():
        return False
    return bool(np.quantile(np.abs(values[known] / close[known] - 1), 0.95) < _ON_PRICE)


def _rounded(values: FloatArray, decimals: int | None = None) -> list[float | None]:
    """Numbers as short as they may be: six significant digits unless decimals are named; None for what is none."""
    finite = np.isfinite(values)
    given = np.where(finite, values, 0.0)
    if decimals is None:
        largest = float(np.abs(given).max()) if len(given) else 0.0
        decimals = min(max(_DIGITS - 1 - math.floor(math.log10(largest)), 0), 15) if largest > 0 else 0
    rounded = np.round(given, decimals).tolist()
    return [value if known else None for value, known in zip(rounded, finite.tolist(), strict=True)]


def _trade(one: ChartTrade) -> dict[str, Any]:
    numbers = {
        name: None if value is None or not math.isfinite(value) else float(value)
        for name, value in (
            ("entry_price", one.entry_price),
            ("exit_price", one.exit_price),
            ("stop", one.stop),
            ("target", one.target),
            ("pnl", round(one.pnl, 6)),
            *((name, _short(getattr(one, name))) for name in ("r", "mae_r", "mfe_r", "fees", "funding")),
        )
    }
    return {
        "series": one.series,
        "side": one.side,
        "signal": one.signal_ms // 1000,
        "entry": one.entry_ms // 1000,
        "exit": None if one.exit_ms is None else one.exit_ms // 1000,
        "bars": one.bars,
        "reason": plain(one.reason),
        **numbers,
        "notes": [[plain(name), plain(text)] for name, text in one.notes],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
