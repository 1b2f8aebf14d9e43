"""Texts that a user may replace: files `templates/KIND.txt` in the home. The first line is the title.

`$symbol` and such stand for the facts of a message; `$title` and `$body` for its own words. A file `KIND.CHANNEL.txt`,
as `fill.mailto.txt`, is for one kind of channel.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from string import Template

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.foreign_text import plain, plain_lines
from trading_assets.core.messages import FACTS, Kind, Message
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import iso

FOLDER = "templates"
_ALWAYS = ("title", "body", "kind", "severity", "account", "venue", "time")
_LONGEST_BYTES = 20_000


def names_of(kind: Kind) -> tuple[str, ...]:
    """What a template of this kind may name."""
    return (*_ALWAYS, *FACTS.get(kind, ()))


class Templates:
    """The user's templates for one kind of channel. They are read anew for each message."""

    def __init__(self, folder: Path, scheme: str, account: str, venue: str) -> None:
        self._folder, self._scheme = folder, scheme
        self._installation = {"account": account, "venue": venue}

    @classmethod
    def of(cls, settings: Settings, scheme: str) -> Templates:
        """Those in the settings' home."""
        return cls(settings.home / FOLDER, scheme, settings.account, settings.venue.value)

    def rendered(self, message: Message, time_ms: int) -> Message:
        """The message in the user's words; in its own where there are none, or where it lacks a fact that they name."""
        text = self._text(message.kind)
        if text is None:
            return message
        values = {
            **self._installation,
            **message.facts,
            "title": message.title,
            "body": message.body,
            "kind": message.kind.value,
            "severity": message.severity.value,
            "time": iso(time_ms),
        }
        try:
            title, _, body = Template(text).substitute(values).partition("\n")
        except (KeyError, ValueError):
            return message
        return replace(message, title=plain(title), body=plain_lines(body.strip("\n")))

    def _text(self, kind: Kind) -> str | None:
        for name in (f"{kind.value}.{self._scheme}.txt", f"{kind.value}.txt"):
            try:
                with (self._folder / name).open(encoding="utf-8") as file:
                    return file.read(_LONGEST_BYTES).strip("\n")
            except (OSError, ValueError):
                continue
        return None


def check(settings: Settings) -> list[str]:
    """The names of the user's templates.

    Raises:
        ConfigurationError: one cannot be used; its messages go out in their own words.
    """
    found = []
    for path in sorted((settings.home / FOLDER).glob("*.txt")):
        kind = path.name.partition(".")[0]
        if kind not in tuple(Kind):
            raise ConfigurationError(f"{path} is for the kind {kind!r}, expected one of {', '.join(Kind)}")
        try:
            template = Template(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from None
        unknown = sorted(set(template.get_identifiers()) - set(names_of(Kind(kind))))
        if unknown or not template.is_valid():
            what = f"names ${unknown[0]}" if unknown else "has a $ that names nothing (write $$ for the sign)"
            raise ConfigurationError(f"{path} {what}; expected ${', $'.join(names_of(Kind(kind)))}")
        found.append(path.name)
    return found
