"""Charts for asset metadata, as SVG inside Markdown. Bins are counted here; nothing else is computed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

import dagster as dg
import numpy as np

_WIDTH, _HEIGHT, _MARGIN = 560, 160, 28
_INK, _BAR, _GRID = "#4b5563", "#4f46e5", "#d1d5db"
_LINES = (_BAR, "#9ca3af", "#f59e0b", "#10b981")


def histogram(values: Sequence[float], *, title: str, bins: int = 24) -> dg.MetadataValue:
    """The distribution of the finite values; a line of text where there are none."""
    finite = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if not len(finite):
        return dg.MetadataValue.text("no values")
    counts, edges = np.histogram(finite, bins=bins)
    labels = [_number(edge) for edge in (edges[0], (edges[0] + edges[-1]) / 2, edges[-1])]
    return _bars([float(count) for count in counts], labels, title)


def bar_chart(values: Sequence[float], labels: Sequence[str], *, title: str) -> dg.MetadataValue:
    """One bar a value, first and last label below; a line of text where there are no values."""
    if not values:
        return dg.MetadataValue.text("no values")
    return _bars(list(values), [labels[0], "", labels[-1]], title)


def lines(series: Mapping[str, Sequence[float]], axis: Sequence[str], *, title: str) -> dg.MetadataValue:
    """Curves over one axis, the first one thickest; the labels stand below its ends."""
    drawn = {name: _thinned(values) for name, values in series.items() if len(values) > 1}
    if not drawn:
        return dg.MetadataValue.text("no values")
    every = [value for values in drawn.values() for value in values]
    low, high = min(*every, 0.0), max(*every, 0.0)
    span, width = max(high - low, 1e-12), _WIDTH - 2 * _MARGIN

    def height(value: float) -> float:
        return _HEIGHT - _MARGIN - (_HEIGHT - 2.4 * _MARGIN) * (value - low) / span

    parts = [
        f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{height(0):.1f}" y2="{height(0):.1f}" stroke="{_GRID}"/>'
    ]
    legend = 0
    for (name, values), colour in reversed(list(zip(drawn.items(), _LINES, strict=False))):
        points = " ".join(
            f"{_MARGIN + width * index / (len(values) - 1):.1f},{height(value):.1f}"
            for index, value in enumerate(values)
        )
        thick = 2 if name == next(iter(drawn)) else 1.2
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{thick}"/>')
        label_text = f"{name} {values[-1]:+.2f}"
        x = _WIDTH - _MARGIN - legend
        parts.append(f'<text x="{x}" y="30" text-anchor="end" fill="{colour}">{escape(label_text)}</text>')
        legend += 7 * len(label_text) + 10
    ends = f'<text x="{_MARGIN}" y="{_HEIGHT - 8}">{escape(axis[0])}</text>'
    ends += f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 8}" text-anchor="end">{escape(axis[-1])}</text>'
    return _picture(title, ends + "".join(parts))


def _thinned(values: Sequence[float]) -> list[float]:
    """At most about 300 of the values, the last one among them: a picture is stored as an event."""
    step = -(-len(values) // 300)
    return [*values[: len(values) - 1 : step], values[-1]]


def _bars(values: Sequence[float], axis: Sequence[str], title: str) -> dg.MetadataValue:
    top = max(*values, 0.0, 1e-12) if len(values) > 1 else max(values[0], 1e-12)
    step = (_WIDTH - 2 * _MARGIN) / len(values)
    span = _HEIGHT - 2 * _MARGIN
    bars = "".join(
        f'<rect x="{_MARGIN + i * step:.1f}" y="{_HEIGHT - _MARGIN - span * max(value, 0) / top:.1f}" '
        f'width="{max(step - 2, 1):.1f}" height="{span * max(value, 0) / top:.1f}" fill="{_BAR}"/>'
        for i, value in enumerate(values)
    )
    anchors = zip(axis, (_MARGIN, _WIDTH / 2, _WIDTH - _MARGIN), ("start", "middle", "end"), strict=True)
    labels = "".join(
        f'<text x="{x}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{escape(label)}</text>' for label, x, anchor in anchors
    )
    return _picture(
        title,
        f'<text x="{_WIDTH - _MARGIN}" y="16" text-anchor="end">max {_number(top)}</text>'
        f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{_HEIGHT - _MARGIN}" y2="{_HEIGHT - _MARGIN}" '
        f'stroke="{_GRID}"/>{bars}{labels}',
    )


def _picture(title: str, content: str) -> dg.MetadataValue:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="{_INK}"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
        f'<text x="{_MARGIN}" y="16" font-size="12" font-weight="bold">{escape(title)}</text>{content}</svg>'
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{encoded})")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
