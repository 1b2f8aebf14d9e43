"""Frames and counts as asset metadata. What is worth showing is the assets' business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg
import pandas as pd


def table(rows: pd.DataFrame, columns: Sequence[str] | None = None, limit: int = 10) -> dg.MetadataValue:
    """The first `limit` rows as a table; numbers to four significant digits, so that a trader reads at a glance."""
    shown = rows[list(columns)] if columns is not None else rows
    if shown.empty:
        return dg.MetadataValue.text("no rows")
    return dg.MetadataValue.table(
        [
            dg.TableRecord({str(name): _cell(value) for name, value in record.items()})
            for record in shown.head(limit).to_dict("records")
        ]
    )


def counts(values: Mapping[str, int], name: str) -> dg.MetadataValue:
    """Counts by reason, largest first, as a table."""
    if not values:
        return dg.MetadataValue.text("none")
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.table([dg.TableRecord({name: reason, "count": count}) for reason, count in ordered])


def _cell(value: object) -> str | int | float | bool | None:
    if isinstance(value, float):
        return None if pd.isna(value) else float(f"{value:.4g}") if abs(value) < 10_000 else round(value)
    if isinstance(value, bool | int | str) or value is None:
        return value
    return str(value)
