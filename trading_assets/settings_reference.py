"""The settings as a reader sees them: `.env.example` and the table of README.md are made here from the code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from trading_assets.settings import PREFIX, Settings


@dataclass(frozen=True)
class SettingRow:
    """One setting: its environment variable, its default as text, what it means."""

    variable: str
    default: str
    description: str


def setting_rows() -> list[SettingRow]:
    """Every setting in the order of `Settings`."""
    return [
        SettingRow(_variable(name, field), _default(name, field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def env_example() -> str:
    """The text of `.env.example`: every setting, commented out, with its default."""
    return "\n".join(_env_lines()) + "\n"


def markdown_table() -> str:
    """The configuration table of README.md."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{row.variable}` | {f'`{row.default}`' if row.default else ''} | {row.description} |"
        for row in setting_rows()
    ]
    return "\n".join(lines) + "\n"


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
