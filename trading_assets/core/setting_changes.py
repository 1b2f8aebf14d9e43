"""When a setting may change. Each field of `core.settings` says it in its metadata, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pydantic.fields import FieldInfo

_KEY = "change"


class Change(StrEnum):
    """When a change of a setting is obeyed, and what it needs."""

    LIVE = "live"
    RESEARCH = "research"
    FLAT = "flat"
    RESTART = "restart"

    @property
    def meaning(self) -> str:
        """What it means, for people."""
        return {
            Change.LIVE: "while it runs, within 5 s",
            Change.RESEARCH: "from the next hour that is researched; of the whole installation",
            Change.FLAT: "while it runs, where no position or order of the account is open",
            Change.RESTART: "in the environment or the file, then start again",
        }[self]


LIVE: Final[dict[str, Any]] = {_KEY: Change.LIVE.value}
RESEARCH: Final[dict[str, Any]] = {_KEY: Change.RESEARCH.value}
FLAT: Final[dict[str, Any]] = {_KEY: Change.FLAT.value}
"""Values of a field's `json_schema_extra`. A field without one changes with a restart."""


def change_of(field: FieldInfo) -> Change:
    """Return when a setting may change."""
    told = field.json_schema_extra
    return Change(str(told[_KEY])) if isinstance(told, Mapping) and _KEY in told else Change.RESTART
