"""Bybit's wire format: envelope, refusals, number formats, parameters, cursors. No meaning and no state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import numpy as np
import orjson

from trading_assets.core.errors import ExchangeError
from trading_assets.simulator.market.base import Bars

EIGHT_PLACES = Decimal("0.00000001")
MAX_EXPONENT = 15
"""Decimals above 10**15 or below 10**-15 are refused: a larger one has no whole quotient by a tick in 28 digits."""

_Row = TypeVar("_Row")


class Refusal(ExchangeError):
    """The answer is an envelope with this `retCode` and `retMsg`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message, code=code)
        self.ret_code = code


@dataclass(frozen=True)
class Raw:
    """A `result` that is JSON text already."""

    text: str


@dataclass(frozen=True)
class Extended:
    """A `result` with something in `retExtInfo`: the outcome of each order of a batch."""

    result: object
    ext_info: object


def envelope(result: object, time_ms: int, code: int = 0, message: str = "OK") -> bytes:
    """The five keys around every answer."""
    ext_info = b"{}"
    if isinstance(result, Extended):
        ext_info = orjson.dumps(result.ext_info)
        result = result.result
    body = result.text.encode() if isinstance(result, Raw) else orjson.dumps(result)
    return b'{"retCode":%d,"retMsg":%b,"result":%b,"retExtInfo":%b,"time":%d}' % (
        code,
        json.dumps(message).encode(),
        body,
        ext_info,
        time_ms,
    )


def round8(value: Decimal) -> Decimal:
    """Half up to 8 decimal places, as Bybit books money."""
    return value.quantize(EIGHT_PLACES, ROUND_HALF_UP)


def trimmed(value: Decimal) -> str:
    """At most 8 decimal places, half up, no trailing zeros: `0.06739145`, `-0.43582528`, `0`."""
    text = f"{round8(value):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def fixed(value: Decimal | float, places: int) -> str:
    """Fixed point with `places` decimals."""
    return f"{value:.{places}f}"


def plain(value: Decimal) -> str:
    """Every digit, no trailing zeros, no exponent."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def places_of(step: Decimal) -> int:
    """Decimal places of a tick or step: 0.10 -> 2, 0.1 -> 1, 100 -> 0. Not kept in a cache, where both are one key."""
    exponent = step.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def short(value: float, places: int) -> str:
    """Rounded to `places`, no trailing zeros."""
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def candle_rows(bars: Bars, price_places: int, volume_places: int) -> str:
    """The JSON list of a kline answer, newest first, numbers without trailing zeros."""
    if not len(bars):
        return "[]"
    ordered = bars[::-1].copy()
    ordered[:, 1:5] = np.round(ordered[:, 1:5], price_places)
    ordered[:, 5] = np.round(ordered[:, 5], volume_places)
    ordered[:, 6] = np.round(ordered[:, 6], 4)
    # The shortest text of a number rounded before is its decimal, without a binary tail.
    text = orjson.dumps(ordered, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    if "e" in text:  # below 0.00001 or above 1e16: rare, so the slow way
        return orjson.dumps(
            [
                [
                    str(int(row[0])),
                    *(short(price, price_places) for price in row[1:5]),
                    short(row[5], volume_places),
                    short(row[6], 4),
                ]
                for row in ordered.tolist()
            ]
        ).decode()
    text = text.replace(".0,", ",").replace(".0]", "]").replace(",", '","').replace(']","[', '"],["')
    return f'[["{text[2:-2]}"]]'


def price_rows(bars: Bars, places: int) -> str:
    """The JSON list of candles of five columns, newest first, numbers without trailing zeros."""
    rows = [[str(int(row[0])), *(short(price, places) for price in row[1:5])] for row in bars[::-1].tolist()]
    return json.dumps(rows, separators=(",", ":"))


class Params:
    """Parameters of one request, from the query string or the JSON body. Unknown ones are ignored.

    Attributes:
        let_through: of a batch so many orders are within the limits; None: all of them.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.let_through: int | None = None

    @property
    def orders(self) -> int:
        """How many a batch has; 1 for any other request."""
        found = self._values.get("request")
        return len(found) if isinstance(found, list) and found else 1

    @property
    def values(self) -> Mapping[str, Any]:
        """As the client sent them."""
        return self._values

    def replaced(self, **values: str) -> Params:
        """The same parameters but for `values`."""
        return Params({**self._values, **values})

    def text(self, name: str, default: str = "") -> str:
        """A string; a JSON number is taken as its text, because clients differ."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise Refusal(10001, f"params error: {name} must be a string, found {json.dumps(value)[:60]}")
        return str(value)

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise Refusal(10001, f"params error: {name} is required")
        return value

    def integer(self, name: str, default: int | None = None) -> int | None:
        text = self.text(name)
        if not text:
            return default
        digits = text.removesuffix(".0")
        if not digits.removeprefix("-").isascii() or not digits.removeprefix("-").isdigit() or len(digits) > 18:
            raise Refusal(10001, f"params error: {name} must be an integer, found {text[:40]!r}")
        return int(digits)

    def limit(self, default: int, highest: int) -> int:
        """Page length; more than the venue's maximum is cut down to it."""
        value = self.integer("limit", default)
        if value is None or value < 1:
            raise Refusal(10001, f"params error: limit must be in 1..{highest}, found {value}")
        return min(value, highest)

    def decimal(self, name: str) -> Decimal | None:
        text = self.text(name)
        if not text:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise Refusal(10001, f"params error: {name} must be a number, found {text[:40]!r}") from None
        if not value.is_finite() or abs(value.adjusted()) > MAX_EXPONENT or len(text) > 60:
            raise Refusal(10001, f"params error: {name} is out of range, found {text[:40]!r}")
        return value

    def objects(self, name: str) -> list[dict[str, Any]]:
        """A list of JSON objects."""
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise Refusal(10001, f"params error: {name} must be a list of objects")
        return value

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if value in (None, "", False, "false", "False"):
            return False
        if value in (True, "true", "True"):
            return True
        raise Refusal(10001, f"params error: {name} must be true or false, found {json.dumps(value)[:40]}")


def cursor_of(first: str, last: str) -> str:
    """The cursor behind a page, percent-encoded as the venue gives it out."""
    return quote(f"{first},{last}", safe="")


def cursor_last(cursor: str) -> str:
    """The mark of the last row of the page before; accepts a cursor encoded once, twice or not at all.

    Raises:
        Refusal: it is none of ours.
    """
    decoded = cursor
    while (again := unquote(decoded)) != decoded:
        decoded = again
    first, comma, last = decoded.rpartition(",")
    if not comma or not first or not last:
        raise Refusal(10001, f"params error: cursor is invalid: {cursor[:80]!r}")
    return last


def page(rows: Sequence[tuple[str, _Row]], limit: int, cursor: str) -> tuple[list[_Row], str]:
    """One page of `rows` (mark, row), already in the order of the answer, and the cursor to the next.

    The cursor is not empty on the last page either, only on an empty one: that is the venue's way.
    """
    start = 0
    if cursor:
        last = cursor_last(cursor)
        start = next((index + 1 for index, (mark, _) in enumerate(rows) if mark == last), -1)
        if start < 0:
            raise Refusal(10001, f"params error: cursor is invalid: {cursor[:80]!r}")
    chosen = rows[start : start + limit]
    if not chosen:
        return [], ""
    return [row for _, row in chosen], cursor_of(chosen[0][0], chosen[-1][0])
