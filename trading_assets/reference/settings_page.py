"""The settings as a reader sees them: docs/reference/settings.md, `.env.example`, the short table of configure.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.setting_changes import change_of
from trading_assets.core.settings import PREFIX, Settings
from trading_assets.reference import constraints, markdown

_INTRODUCTION = """
Settings are read from environment variables and from a file: the one that `TRADING_ASSETS_CONFIG` names, else `.env` in
the home, else in the checkout. The environment wins. `.env.example` lists all of them, ready to be copied.
`trading-assets settings` shows the values in force, and `trading-assets doctor` tries them. A value that is not allowed
stops every command and every run that may open a position, with one line that names it. How to choose values is told in
[configure](../howto/configure.md). When a setting may change is told in [settings that change](../live_settings.md).
"""

GROUPS: Mapping[str, str] = {
    "home": "Where things are",
    "venue": "Venue, account and keys",
    "simulator_url": "The embedded exchange",
    "min_volume_24h": "Scan",
    "min_candle_coverage_pct": "Candles that are left out",
    "parameters": "Backtests",
    "selection_preset": "Selection",
    "trade_mode": "Trading session",
    "signal_ttl_s": "Signals and orders",
    "max_daily_loss_pct": "Risk guard",
    "parity_tolerance_bps": "Live against the backtest",
    "report_capital": "Reports",
    "automation": "Automation and the UI",
    "log_format": "The log",
    "keep_research_runs_days": "Retention",
    "notify_urls": "Notifications",
    "telegram_token": "Commands by chat",
    "monitor_port": "Metrics and the live page",
    "dynamodb_mirror": "Tables that other programs read",
}
"""Titles by the first setting of each group; a group reaches to the next one."""

OFTEN_CHANGED = (
    *("venue", "allow_mainnet", "api_key", "api_secret", "home", "database_url", "max_symbols", "parameters"),
    *(
        "selection_preset",
        "trade_mode",
        "sizing",
        "position_size",
        "leverage",
        "max_positions",
        "max_daily_loss_pct",
        "max_drawdown_pct",
    ),
    *("automation", "notify_urls", "telegram_token", "telegram_users"),
)
"""The settings of the short table."""


@dataclass(frozen=True)
class SettingRow:
    """One setting: its name in `Settings`, environment variable, default as text, allowed values, meaning, `Change`."""

    name: str
    variable: str
    default: str
    values: str
    description: str
    changes: str


def build() -> str:
    """The page of all settings.

    Raises:
        ConfigurationError: a group begins with a setting that does not exist, or the first setting has no group.
    """
    parts = [f"## {title}\n\n{_table(rows)}" for title, rows in _grouped()]
    return markdown.page("Settings", "trading_assets/core/settings/fields", _INTRODUCTION, parts)


def short_table() -> str:
    """The settings that are changed most often, as a table."""
    rows = {row.name: row for row in setting_rows()}
    return markdown.table(
        ["variable", "default", "meaning"],
        [
            (markdown.literal(row.variable), markdown.literal(row.default), row.description)
            for row in (rows[name] for name in OFTEN_CHANGED)
        ],
    )


def env_example() -> str:
    """The text of `.env.example`: every setting, commented out, with its default."""
    return "\n".join(_env_lines()) + "\n"


def setting_rows() -> list[SettingRow]:
    """Every setting in the order of `Settings`."""
    return [
        SettingRow(
            name,
            _variable(name, field),
            _default(name, field),
            constraints.describe_field(field.metadata, field.annotation),
            field.description or "",
            change_of(field).value,
        )
        for name, field in Settings.model_fields.items()
    ]


def current_values(settings: Settings) -> list[tuple[str, str]]:
    """Variables and values in force; secrets only as set or not set."""
    return [(_variable(name, field), _shown(getattr(settings, name))) for name, field in Settings.model_fields.items()]


def _table(rows: list[SettingRow]) -> str:
    return markdown.table(
        ["variable", "default", "values", "changes", "meaning"],
        [
            (markdown.literal(row.variable), markdown.literal(row.default), row.values, row.changes, row.description)
            for row in rows
        ],
    )


def _grouped() -> list[tuple[str, list[SettingRow]]]:
    """Titles with the settings below them; raises as `build` does."""
    found: list[tuple[str, list[SettingRow]]] = []
    rows = setting_rows()
    unknown = sorted(GROUPS.keys() - {row.name for row in rows})
    if unknown or rows[0].name not in GROUPS:
        raise ConfigurationError(
            f"settings_page.GROUPS begins groups with {', '.join(unknown) or 'other settings'}, expected names of "
            f"settings, {rows[0].name} among them"
        )
    for row in rows:
        if row.name in GROUPS:
            found.append((GROUPS[row.name], []))
        found[-1][1].append(row)
    return found


def _env_lines() -> Iterator[str]:
    yield "# Copy to .env and uncomment what you change. Made by: trading-assets settings --env-example"
    for row in setting_rows():
        yield ""
        yield f"# {row.description}"
        yield f"# {row.variable}={row.default}"


def _variable(name: str, field: FieldInfo) -> str:
    if field.validation_alias is not None:
        return str(field.validation_alias.choices[0])  # type: ignore[union-attr]
    return f"{PREFIX}{name.upper()}"


def _default(name: str, field: FieldInfo) -> str:
    if name == "home":
        return ".trading_assets in the checkout"
    return _shown(field.get_default(call_default_factory=True)) if not field.is_required() else ""


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, tuple) and value and isinstance(value[0], SecretStr):
        return f"({len(value)} set)"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, dict):
        return json.dumps(
            {
                str(key): one.model_dump(mode="json", exclude_unset=True) if isinstance(one, BaseModel) else one
                for key, one in value.items()
            }
        )
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return json.dumps(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value)
