"""Fields of Bybit's rows: numbers, times, texts; and lists of rows. Their meaning is in `market_rows`, `account_rows`.

An empty string is "no value"; money is `Decimal`. What cannot be read is an error, and leaves its row out alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from trading_assets.core.errors import ExchangeUnavailableError, UnreadableAnswerError
from trading_assets.core.foreign_text import plain
from trading_assets.core.models import Rows, UnreadableRow

LATEST_MS = 10**14
"""No time of Bybit's is as late, UTC ms."""

_LONGEST_NUMBER = 64
_LARGEST_EXPONENT = 20
"""Of a number: more than Bybit's own ever have, and little enough to reckon with."""

_LONGEST_TEXT = 64
"""Of an id, a symbol or a word: more than Bybit's own ever have, and no more than the ledger takes."""

_SYMBOL = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")


Row = Mapping[str, Any]

_Given = ParamSpec("_Given")
_Model = TypeVar("_Model")


def venue_errors(parse: Callable[_Given, _Model]) -> Callable[_Given, _Model]:
    """A missing key, an unknown word and a text in place of a number become errors of the venue."""

    @wraps(parse)
    def checked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Model:
        try:
            return parse(*args, **kwargs)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise UnreadableAnswerError(
                f"the exchange sent {parse.__name__.replace('_', ' ')} data that cannot be read "
                f"({type(error).__name__}: {plain(error)[:200]}); is it a newer interface than Bybit v5?"
            ) from error

    return checked


def decimal(row: Row, key: str) -> Decimal:
    """The number at `key`; 0 where there is no value. For what is 0 when it is not there: fees, times, results.

    Raises:
        UnreadableAnswerError: the text is not a number.
    """
    value = known(row, key)
    return Decimal(0) if value is None else value


def required(row: Row, key: str) -> Decimal:
    """The number at `key`, without which the row means nothing.

    Raises:
        UnreadableAnswerError: there is none, or the text is not a number.
    """
    value = known(row, key)
    if value is None:
        raise UnreadableAnswerError(f"the exchange sent {key} = {shown(row.get(key))}, expected a number")
    return value


def above_zero(row: Row, key: str) -> Decimal:
    """The number at `key`, by which something is divided or rounded: a step, a price.

    Raises:
        UnreadableAnswerError: there is none, or it is not above 0.
    """
    value = required(row, key)
    if value <= 0:
        raise UnreadableAnswerError(f"the exchange sent {key} = {shown(row.get(key))}, expected a number above 0")
    return value


def known(row: Row, key: str) -> Decimal | None:
    """The number at `key`, None where there is no value.

    Raises:
        UnreadableAnswerError: the text is not a number.
    """
    given = row.get(key)
    if given is None or given == "":
        return None
    try:
        written = str(given)
        value = Decimal(written if len(written) <= _LONGEST_NUMBER else "NaN")
    except (InvalidOperation, RecursionError, ValueError):
        value = Decimal("NaN")
    if not value.is_finite() or abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise UnreadableAnswerError(f"the exchange sent {key} = {shown(given)}, expected a number")
    return value


def shown(value: object) -> str:
    """A value as a message shows it: cut short, as it may be of any length."""
    try:
        return repr(value)[:_LONGEST_NUMBER]
    except (RecursionError, ValueError):
        return type(value).__name__


def positive(row: Row, key: str) -> Decimal | None:
    """The number at `key`, None where it is absent or 0: Bybit writes both for "not set"."""
    value = decimal(row, key)
    return value if value > 0 else None


def milliseconds(row: Row, key: str) -> int:
    """The time at `key`, 0 where there is none.

    Raises:
        UnreadableAnswerError: it is no time.
    """
    value = decimal(row, key)
    if not 0 <= value < LATEST_MS:
        raise UnreadableAnswerError(f"the exchange sent {key} = {shown(row.get(key))}, expected milliseconds")
    return int(value)


def moment(row: Row, key: str) -> int:
    """The time at `key`, without which the row has no place.

    Raises:
        UnreadableAnswerError: there is none, or it is no time.
    """
    value = milliseconds(row, key)
    if not value:
        raise UnreadableAnswerError(f"the exchange sent {key} = {shown(row.get(key))}, expected milliseconds")
    return value


def text(row: Row, key: str, longest: int = _LONGEST_TEXT) -> str:
    """The text at `key`; Bybit's UNKNOWN is no text.

    Raises:
        UnreadableAnswerError: it is no text, longer than any of Bybit's, or has a character that cannot be printed.
    """
    value = row.get(key)
    if value is None or value == "UNKNOWN":
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UnreadableAnswerError(f"the exchange sent {key} = {shown(value)}, expected a text")
    written = str(value)
    if len(written) > longest or not written.isprintable():
        raise UnreadableAnswerError(f"the exchange sent {key} = {shown(value)}, expected a text")
    return written


def named(row: Row, key: str, longest: int = _LONGEST_TEXT) -> str:
    """The text at `key`, without which the row is of no use: a symbol or an id.

    Raises:
        UnreadableAnswerError: there is none.
    """
    value = text(row, key, longest)
    if not value:
        raise UnreadableAnswerError(f"the exchange sent a row without {key}")
    return value


def symbol_of(row: Row) -> str:
    """The symbol of a row. It names folders and rows too, so it is made of letters, digits, dots and dashes.

    Raises:
        UnreadableAnswerError: there is none, or it is none.
    """
    symbol = named(row, "symbol")
    if not _SYMBOL.fullmatch(symbol):
        raise UnreadableAnswerError(f"the exchange sent symbol = {shown(symbol)}, expected letters and digits")
    return symbol


def rows(
    raw: Sequence[object],
    parse: Callable[[Row], _Model],
    identity: Callable[[_Model], Hashable],
    age: Callable[[_Model], Any] = lambda _: 0,
) -> Rows[_Model]:
    """The rows of a list, each once; one that cannot be read is left out alone, with its symbol.

    Args:
        identity: what two rows share that are the same one, in one answer or over pages.
        age: of two such rows the one with the greatest is kept, the last of equal ones.
    """
    found: dict[Hashable, _Model] = {}
    unreadable: list[UnreadableRow] = []
    for row in raw:
        try:
            if not isinstance(row, Mapping):
                raise UnreadableAnswerError(f"the exchange sent {type(row).__name__} in place of a row")
            model = parse(row)
        except ExchangeUnavailableError as error:
            symbol = row.get("symbol") if isinstance(row, Mapping) else None
            named_so = plain(symbol)[:_LONGEST_TEXT] if isinstance(symbol, str) else ""
            unreadable.append(UnreadableRow(named_so or None, str(error)))
            continue
        key = identity(model)
        if key not in found or age(model) >= age(found[key]):
            found[key] = model
    return Rows(found.values(), unreadable)


def number(value: Decimal) -> str:
    """A number as Bybit wants it: plain digits, never an exponent."""
    return f"{value.normalize():f}"
