"""What each channel of messages is to have, and when: the values of `TRADING_ASSETS_NOTIFY_RULES`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trading_assets.core.messages import Kind, Severity

EVERY_CHANNEL = "*"

_QUIET = re.compile(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)(?: (\S+))?")
_SEVERITIES = tuple(Severity)
"""From the least to the most."""


class ChannelRule(BaseModel):
    """The rule of a channel.

    Attributes:
        kinds: it gets these alone; None means every one. A test always comes.
        min_severity: it gets nothing that matters less.
        quiet: "22:00-07:00 Europe/Berlin": then it gets only what is critical, the rest afterwards; UTC without a zone.
        per_minute: most texts in a minute; what is critical always goes.
        group_from: so many messages that wait become one text; 0: never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: frozenset[Kind] | None = None
    min_severity: Severity = Severity.INFO
    quiet: str = ""
    per_minute: int = Field(20, ge=1)
    group_from: int = Field(5, ge=0)

    @field_validator("quiet")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value:
            _span(value)
        return value

    @property
    def severities(self) -> frozenset[Severity]:
        """Those that it gets."""
        return frozenset(_SEVERITIES[_SEVERITIES.index(self.min_severity) :])

    def is_quiet(self, wall_ms: int) -> bool:
        """Whether these are its quiet hours, by the local clock."""
        if not self.quiet:
            return False
        start, end, zone = _span(self.quiet)
        now = datetime.fromtimestamp(wall_ms / 1000, UTC).astimezone(zone).time()
        return start <= now < end if start <= end else now >= start or now < end

    def with_changes(self, other: ChannelRule) -> Self:
        """This rule, and what the other one says in so many words."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


def rule_of(rules: Mapping[str, ChannelRule], name: str) -> ChannelRule:
    """The rule of a channel: that of "*", changed by that of its kind (`tgram`), changed by that of its own name."""
    found = ChannelRule()
    for key in (EVERY_CHANNEL, name.partition("-")[0], name):
        if key in rules:
            found = found.with_changes(rules[key])
    return found


def _span(text: str) -> tuple[time, time, ZoneInfo]:
    matched = _QUIET.fullmatch(text.strip())
    try:
        if matched is None:
            raise ValueError
        one, two, three, four, zone = matched.groups()
        return time(int(one), int(two)), time(int(three), int(four)), ZoneInfo(zone or "UTC")
    except (ValueError, OSError, KeyError):  # the last two: there is no such zone
        raise ValueError(f"quiet is {text!r}, expected such as 22:00-07:00 or 22:00-07:00 Europe/Berlin") from None
