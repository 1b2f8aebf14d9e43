"""Switches that a person turns while the system runs: each is declared here, with what holds where nobody has said.

A flag is on, off, or on for a part of the symbols. Which symbols, a hash says that is the same in every process and for
every account: a larger part has all symbols of a smaller one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trading_assets.core.errors import ConfigurationError

ON, OFF = "on", "off"
_PART = re.compile(r"^(\d{1,3})\s*%?$")
_WHOLE = 100


class Flag(StrEnum):
    """Every flag. An unknown name is an error, and a flag that cannot be read has its default."""

    ENTRIES = "entries", "new positions are opened"
    LONG_ENTRIES = "long_entries", "long positions are opened"
    SHORT_ENTRIES = "short_entries", "short positions are opened"
    PAUSES = "pauses", "losses pause entries: cooldown after a stop, stops in a row, weak symbols"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Flag:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @property
    def default(self) -> str:
        """What holds where nobody has said anything."""
        return ON


def flag_named(name: str) -> Flag:
    """Return a flag.

    Raises:
        ConfigurationError: there is none of this name.
    """
    try:
        return Flag(name)
    except ValueError:
        raise ConfigurationError(f"there is no flag {name!r}; expected one of {', '.join(Flag)}") from None


def checked(value: str) -> str:
    """Return a flag's value in its one spelling: on, off, or a part such as `25%`.

    Raises:
        ConfigurationError: it is none of these.
    """
    text = value.strip().lower()
    if text in (ON, OFF):
        return text
    found = _PART.match(text)
    if found is None or int(found[1]) > _WHOLE:
        raise ConfigurationError(
            f"the flag's value is {value!r}, expected on, off, or a part of the symbols such as 25%"
        )
    part = int(found[1])
    return {0: OFF, _WHOLE: ON}.get(part, f"{part}%")


def place_of(flag: Flag, symbol: str) -> int:
    """Return where a symbol stands in the roll-out of a flag, 0 to 99: it has the flag where the part is larger."""
    digest = hashlib.sha256(f"{flag.value}:{symbol}".encode()).digest()
    return int.from_bytes(digest[:8]) % _WHOLE


@dataclass(frozen=True)
class Flags:
    """What was said of flags: for the installation, and for the account. What is absent has its default."""

    common: Mapping[Flag, str] = field(default_factory=dict)
    own: Mapping[Flag, str] = field(default_factory=dict)

    def is_on(self, flag: Flag, symbol: str) -> bool:
        """Whether a flag is on for a symbol: off for all goes before the account's own word, then the part counts."""
        common = self.common.get(flag, flag.default)
        value = OFF if common == OFF else self.own.get(flag, common)
        if value in (ON, OFF):
            return value == ON
        return place_of(flag, symbol) < int(value.removesuffix("%"))

    def forbidding(self, symbol: str, side: str) -> str:
        """Say which flags forbid to open a position; empty where none does.

        Args:
            side: LONG or SHORT; empty where it is not known yet.
        """
        sides = {"LONG": (Flag.LONG_ENTRIES,), "SHORT": (Flag.SHORT_ENTRIES,)}.get(side, ())
        off = (flag for flag in (Flag.ENTRIES, *sides) if not self.is_on(flag, symbol))
        return ", ".join(f"{flag.value} is off for {symbol}" for flag in off)

    def __hash__(self) -> int:
        return hash((tuple(sorted(self.common.items())), tuple(sorted(self.own.items()))))
