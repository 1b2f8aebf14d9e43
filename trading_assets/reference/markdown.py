"""The Markdown that the reference pages need. Nothing here knows their subjects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line for each row; `|` and line breaks in a cell are escaped."""
    lines = [_line(header), "|" + "---|" * len(header), *(_line([cell(text) for text in row]) for row in rows)]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """A text as one line in which `|` is escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def literal(text: str) -> str:
    """A text as code; empty stays empty."""
    return f"`{text}`" if text else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def paragraphs(docstring: str) -> str:
    """A docstring as Markdown: its lines joined to paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", docstring.strip()))


def page(title: str, source: str, introduction: str, parts: Iterable[str]) -> str:
    """A generated page: its title, what it is made from, an introduction and its parts, blank lines between them."""
    made = f"<!-- Made from {source} by `make docs`. Changes made here are lost. -->"
    return "\n\n".join(part.strip() for part in (made, f"# {title}", introduction, *parts)) + "\n"
