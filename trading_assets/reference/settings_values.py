"""The settings as a reader sees them, from the code: rows for `.env.example`, README.md and the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from trading_assets.core.settings import PREFIX, Settings
from trading_assets.reference import constraints, markdown

GROUPS: Mapping[str, str] = {
    "home": "Where things are",
    "venue": "Venue, account and keys",
    "simulator_url": "The embedded exchange",
    "min_volume_24h": "Scan",
    "min_candle_coverage_pct": "Candles that are left out",
    "backtest_capital": "Backtests",
    "selection_preset": "Selection",
    "trade_mode": "Trading session",
    "signal_ttl_s": "Signals and orders",
    "max_daily_loss_pct": "Risk guard",
    "parity_tolerance_bps": "Live against the backtest",
    "report_capital": "Reports",
    "automation": "Automation and the UI",
    "keep_research_runs_days": "Retention",
    "notify_urls": "Notifications",
}
"""Titles by the first setting of each group; a group reaches to the next one."""

OFTEN_CHANGED = (
    *("venue", "allow_mainnet", "api_key", "api_secret", "home", "database_url", "max_symbols", "selection_preset"),
    *("trade_mode", "sizing", "position_size", "leverage", "max_positions", "max_daily_loss_pct", "max_drawdown_pct"),
    *("automation", "notify_urls"),
)
"""The settings that README.md shows."""


@dataclass(frozen=True)
class SettingRow:
    """One setting: its name in `Settings`, environment variable, default as text, what it takes, what it means."""

    name: str
    variable: str
    default: str
    values: str
    description: str


def setting_rows() -> list[SettingRow]:
    """Every setting in the order of `Settings`."""
    return [
        SettingRow(
            name,
            _variable(name, field),
            _default(name, field),
            constraints.of_field(field.metadata, field.annotation),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def env_example() -> str:
    """The text of `.env.example`: every setting, commented out, with its default."""
    return "\n".join(_env_lines()) + "\n"


def short_table() -> str:
    """The configuration table of README.md."""
    rows = {row.name: row for row in setting_rows()}
    return markdown.table(
        ["variable", "default", "meaning"],
        [
            (markdown.literal(row.variable), markdown.literal(row.default), row.description)
            for row in (rows[name] for name in OFTEN_CHANGED)
        ],
    )


def current_values(settings: Settings) -> list[tuple[str, str]]:
    """Variables and values in force; secrets only as set or not set."""
    return [(_variable(name, field), _shown(getattr(settings, name))) for name, field in Settings.model_fields.items()]


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
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value)
