"""Secrets taken out of texts and log records. What is secret, `core.settings` says by the types of its fields."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

HIDDEN = "(secret)"
_SHORTEST = 6
"""Parts of a URL that are shorter are words such as `json`, a port or a chat's number, and would hide half a text."""


def parts_of_url(url: str) -> set[str]:
    """A URL and what in it may be a secret: user, password, parts of host, path and query, as written and decoded."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    rest = [part for part in re.split(r"[/?&=@:;,#\s]+", url) if part != parts.scheme]
    found = {url, parts.username or "", parts.password or "", *rest}
    found |= {unquote(part) for part in found}
    return {part for part in found if len(part) >= _SHORTEST or part == (parts.password or None)}


_known: set[str] = set()
_SHORTEST_KNOWN = 8
"""A shorter secret would hide parts of words."""


def know(*secrets: str) -> None:
    """Take these out of every line of the log and every span of this process from now on, see `hidden`."""
    _known.update(one for one in secrets if len(one) >= _SHORTEST_KNOWN)


def hidden(text: str) -> str:
    """The text without every secret that this process knows."""
    return without(text, _known)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced, longest first."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


class SecretFilter(logging.Filter):
    """Takes secrets out of what a logger is told, out of its traceback, too. For a logger, or for a handler."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = frozenset(secrets)

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging's. Every record passes."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        shown = without(text, self._secrets)
        if shown != text:
            record.msg, record.args, record.exc_info, record.exc_text = shown, (), None, None
        return True


def keep_out_of_logs(secrets: Iterable[str], *loggers: str) -> None:
    """Filter what these loggers themselves are told; libraries log to them with the addresses that they call."""
    known = frozenset(secrets)
    for name in loggers:
        logger = logging.getLogger(name)
        if not any(isinstance(one, SecretFilter) and one._secrets == known for one in logger.filters):
            logger.addFilter(SecretFilter(known))
