"""The files that are made from the code: where they are, what they should hold, and whether they hold it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click

from trading_assets.core.errors import StorageError
from trading_assets.reference import commands_page, metric_definitions, research_page, settings_page, tables_page

FOLDER = Path("docs/reference")
_CONFIGURE = Path("docs/howto/configure.md")
_MARKED = re.compile(r"(<!-- settings: begin[^>]*-->\n).*?(<!-- settings: end -->)", re.S)


def checkout() -> Path:
    """The root of the checkout that this program runs from.

    Raises:
        StorageError: it is installed elsewhere.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / _CONFIGURE).is_file():
        raise StorageError(f"{root} is no checkout of the project: it has no {_CONFIGURE}; name one with --to")
    return root


def texts(root: Path, *, dagster_page: str, commands: click.Group) -> dict[Path, str]:
    """What each generated file should hold, by its path below `root`.

    Args:
        dagster_page: the text of dagster.md by `dagster_page.build`; a parameter, so that this module needs no Dagster.
        commands: the tree of commands.

    Raises:
        StorageError: the page of the configuration has no place for its table of settings.
    """
    return {
        FOLDER / "settings.md": settings_page.build(),
        FOLDER / "tables.md": tables_page.pipeline(),
        FOLDER / "ledger.md": tables_page.ledger(),
        FOLDER / "commands.md": commands_page.build(commands),
        FOLDER / "metrics.md": metric_definitions.build(),
        FOLDER / "research.md": research_page.build(),
        FOLDER / "dagster.md": dagster_page,
        Path(".env.example"): settings_page.env_example(),
        _CONFIGURE: _with_settings((root / _CONFIGURE).read_text()),
    }


def stale(root: Path, expected: Mapping[Path, str]) -> list[Path]:
    """The files that differ or are missing."""
    return [path for path, text in expected.items() if not _holds(root / path, text)]


def write(root: Path, expected: Mapping[Path, str]) -> list[Path]:
    """Write the files that differ, and tell which."""
    changed = stale(root, expected)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(expected[path])
    return changed


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def _with_settings(page: str) -> str:
    """The page of the configuration with its table of settings made anew."""
    table = settings_page.short_table()
    found, count = _MARKED.subn(lambda match: match.group(1) + table + match.group(2), page)
    if count != 1:
        raise StorageError(f"{_CONFIGURE} has {count} places for its settings, expected one between its two comments")
    return found
