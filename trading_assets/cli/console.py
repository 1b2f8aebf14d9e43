"""Printing for people: one form of table for every command, and the only place that writes to a terminal.

What is printed may come from a venue, a person or the ledger. So square brackets are no markup here, styles are given
beside the text (`line`), and what a terminal would obey is shown as an escape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trading_assets.core import logs
from trading_assets.core.foreign_text import get_logger, plain, plain_lines
from trading_assets.core.timeframes import iso

_log = get_logger("trading_assets.cli")

_WIDTH_OF_A_FILE = 140
"""Columns of output that goes to a file or a pipe, which has no width of its own."""


class _PlainConsole(Console):
    """A console to which every text is data."""

    def __init__(self, **given: Any) -> None:
        super().__init__(markup=False, emoji=False, **given)

    def print(self, *objects: Any, **given: Any) -> None:
        """Print; lines are not wrapped here, so that no text is put at the beginning of a line."""
        if all(isinstance(one, str | Text) for one in objects):
            given.setdefault("soft_wrap", True)
        super().print(*objects, **given)

    def render_str(self, text: str, **given: Any) -> Text:
        """A text as it is shown, in cells of tables too."""
        return super().render_str(plain_lines(text), **given)


def open_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    console = _PlainConsole(stderr=stderr)
    return console if console.is_terminal else _PlainConsole(width=_WIDTH_OF_A_FILE, stderr=stderr)


def line(*parts: object) -> Text:
    """One line of parts; a part that is a pair has its style second, such as `("ok", "green")`."""
    pairs = (part if isinstance(part, tuple) else (part, "") for part in parts)
    return Text.assemble(*((plain(text), str(style)) for text, style in pairs))


def echo(text: object, *, err: bool = False) -> None:
    """Print one line without a table or styles, however long it is. On standard error it may be a line of the log."""
    if err and logs.is_json():
        _log.info("%s", text)
        return
    click.echo(plain(text), err=err)


def frame_table(title: str, rows: pd.DataFrame, columns: Mapping[str, str]) -> Table | Text:
    """Some columns of a frame (name to heading) as a table, or one line if there are no rows; `*_ms` become times."""
    if rows.empty:
        return line((title, "italic"), ": none")
    table = Table(*columns.values(), title=f"{title} ({len(rows)})", title_justify="left")
    for record in rows[list(columns)].to_dict("records"):
        table.add_row(*(plain(_cell(str(name), value)) for name, value in record.items()))
    return table


def _cell(name: str, value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    if name.endswith("_ms") and isinstance(value, int | float):
        return iso(int(value))[5:16].replace("T", " ")
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.5g}"
    return str(value)
