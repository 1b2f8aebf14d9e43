"""docs/reference/metrics.md: every figure with its formula, from `metric_definitions`, and the selection's filters."""

from __future__ import annotations

from dataclasses import fields

from trading_assets.backtesting.selection import PRESETS, Preset
from trading_assets.reference import markdown
from trading_assets.reference.metric_definitions import CHAPTERS, Chapter, Metric

_INTRODUCTION = """
Percentages are in percent and money in USD. Where the source is *common usage*, the formula is what traders mean by the
name; where it is the specification, the system was asked for it. The function named last computes it.
"""

_FILTERS = """
A backtest takes part in a selection when it reaches each of these values (`TRADING_ASSETS_SELECTION_PRESET`).
`TRADING_ASSETS_MIN_DEFLATED_SHARPE` and `TRADING_ASSETS_MAX_P_VALUE` add two more. The coin's best score wins.
"""


def build() -> str:
    """The page."""
    return markdown.page(
        "Metrics",
        "trading_assets/reference/metric_definitions.py",
        _INTRODUCTION,
        [*map(_chapter, CHAPTERS), "## Filters of a selection", _FILTERS, _presets()],
    )


def _chapter(chapter: Chapter) -> str:
    header = ["figure", "formula", "unit", "source", "made by"]
    return "\n\n".join(
        [f"## {chapter.title}", chapter.introduction, markdown.table(header, map(_row, chapter.metrics))]
    )


def _row(metric: Metric) -> tuple[str, ...]:
    module = metric.made_by.__module__
    path = f"../../{module.replace('.', '/')}.py"
    name = f"{module.removeprefix('trading_assets.')}.{metric.made_by.__name__}"
    formula = "<br>".join(filter(None, [markdown.literal(metric.formula), metric.note]))
    return markdown.literal(metric.name), formula, metric.unit, metric.source, f"[{name}]({path})"


def _presets() -> str:
    names = [field.name for field in fields(Preset)]
    rows = [
        (
            markdown.literal(preset),
            *("" if (value := getattr(limits, name)) is None else f"{value:g}" for name in names),
        )
        for preset, limits in PRESETS.items()
    ]
    return markdown.table(["preset", *(f"least {name.replace('_', ' ')}" for name in names)], rows)
