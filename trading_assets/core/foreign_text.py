"""Text that others have written (a venue, a person, a row of the ledger) is data: one function makes it fit to show.

Every command prints through it (`cli.console`), every logger of the project writes through it (`get_logger`), and so do
messages to people. What it gives is one line: nothing in it moves a cursor, begins a line or ends one.
"""

from __future__ import annotations

import logging
import traceback


def plain(text: object) -> str:
    r"""Text on one line, as it is, except that what cannot be seen is written as an escape, such as `\x1b` or `\n`.

    That is every control character, line break, mark that turns the direction of writing, and lone surrogate: none of
    them reaches a terminal, a log or a column of text. Applied twice it changes nothing more.
    """
    found = str(text)
    if found.isprintable():
        return found
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in found)


def plain_lines(text: object) -> str:
    """The same, with line breaks kept: for text of our own that has several lines."""
    return "\n".join(map(plain, str(text).split("\n")))


def message_of(record: logging.LogRecord) -> str:
    """The message of a record. Arguments that do not fit it, or cannot be shown, do not break the call."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 (what a foreign object raises when it is shown)
        kinds = [type(one).__name__ for one in record.args] if isinstance(record.args, tuple) else []
        return f"{record.msg if isinstance(record.msg, str) else type(record.msg).__name__} {kinds}"


class _PlainRecords(logging.Filter):
    """Makes each record one line. Its traceback stays below it, every line of it marked."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = plain(message_of(record)), None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
            record.exc_text = "\n".join(f"  | {plain(line)}" for line in lines)
        return True


def get_logger(name: str) -> logging.Logger:
    """The logger of a module: what it writes may hold foreign text."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, _PlainRecords) for one in logger.filters):
        logger.addFilter(_PlainRecords())
    return logger
