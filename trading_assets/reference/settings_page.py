"""docs/reference/settings.md: every setting by group."""

from __future__ import annotations

from trading_assets.core.errors import ConfigurationError
from trading_assets.reference import markdown
from trading_assets.reference.settings_values import GROUPS, SettingRow, setting_rows

_INTRODUCTION = """
Settings are read from environment variables and from a `.env` file in the working directory; the environment wins.
`.env.example` lists them all, to be copied. `trading-assets settings` shows the values in force, and `trading-assets
doctor` tries them. A value that is not allowed stops every command and every run with one line that names it.
"""


def build() -> str:
    """The page."""
    header = ["variable", "default", "values", "meaning"]
    parts = [
        "\n\n".join(
            [
                f"## {title}",
                markdown.table(
                    header,
                    [
                        (markdown.literal(row.variable), markdown.literal(row.default), row.values, row.description)
                        for row in rows
                    ],
                ),
            ]
        )
        for title, rows in _grouped()
    ]
    return markdown.page("Settings", "trading_assets/core/settings.py", _INTRODUCTION, parts)


def _grouped() -> list[tuple[str, list[SettingRow]]]:
    """Titles with the settings below them.

    Raises:
        ConfigurationError: a group begins with a setting that does not exist, or the first setting has no group.
    """
    found: list[tuple[str, list[SettingRow]]] = []
    rows = setting_rows()
    unknown = sorted(GROUPS.keys() - {row.name for row in rows})
    if unknown or rows[0].name not in GROUPS:
        raise ConfigurationError(
            f"settings_values.GROUPS begins groups with {', '.join(unknown) or 'other settings'}, expected names of "
            f"settings, {rows[0].name} among them"
        )
    for row in rows:
        if row.name in GROUPS:
            found.append((GROUPS[row.name], []))
        found[-1][1].append(row)
    return found
