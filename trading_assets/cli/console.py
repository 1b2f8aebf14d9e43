"""Printing for people: one form of table for every command."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from trading_assets.core.timeframes import iso

_WIDTH_OF_A_FILE = 140
"""Columns of output that goes to a file or a pipe, which has no width of its own."""


def open_console() -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_OF_A_FILE)


def frame_table(title: str, rows: pd.DataFrame, columns: Mapping[str, str]) -> Table | str:
    """Some columns of a frame (name to heading) as a table, or one line if there are no rows; `*_ms` become times."""
    if rows.empty:
        return f"[italic]{title}[/]: none"
    table = Table(*columns.values(), title=f"{title} ({len(rows)})", title_justify="left")
    for record in rows[list(columns)].to_dict("records"):
        table.add_row(*(_cell(str(name), value) for name, value in record.items()))
    return table


def _cell(name: str, value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    if name.endswith("_ms") and isinstance(value, int | float):
        return iso(int(value))[5:16].replace("T", " ")
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.5g}"
    return str(value)
