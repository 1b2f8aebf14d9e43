"""What the families of endpoints share: the route record, categories, time windows. No endpoint is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from trading_assets.core.timeframes import DAY_MS
from trading_assets.simulator.codec import Params, Refusal
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.venue import Venue

LINEAR = "linear"
UNSERVED_CATEGORIES = frozenset({"spot", "inverse", "option"})
"""Known to the venue but without contracts here: lists are empty, orders refused."""

WINDOW_MS = 7 * DAY_MS

Handler = Callable[[Venue, Params, int], object]
"""(venue, parameters, now) -> `result` of the envelope, as JSON values or `Raw`."""


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    handler: Handler
    signed: bool


class Timed(Protocol):
    """A record that happened at a time."""

    symbol: str


_Record = TypeVar("_Record", bound=Timed)


def category_of(params: Params, default: str = "") -> str:
    """The category, one of the venue's.

    Raises:
        Refusal: missing or unknown.
    """
    category = params.text("category", default)
    if category != LINEAR and category not in UNSERVED_CATEGORIES:
        raise Refusal(10001, "params error: Category is invalid")
    return category


def require_linear(params: Params) -> None:
    if category_of(params) != LINEAR:
        raise Refusal(10001, "params error: only category linear is traded here")


def time_window(params: Params, now_ms: int) -> tuple[int, int]:
    """[start, end] of an account query: seven days at most, the newest seven when nothing is given."""
    start, end = params.integer("startTime"), params.integer("endTime")
    if start is None and end is None:
        return now_ms - WINDOW_MS, now_ms
    if start is None or end is None:
        return (start, start + WINDOW_MS) if start is not None else ((end or 0) - WINDOW_MS, end or 0)
    if end < start:
        raise Refusal(10001, "params error: startTime must not be later than endTime")
    if end - start > WINDOW_MS:
        raise Refusal(10001, "The time range between startTime and endTime cannot exceed 7 days")
    return start, end


def symbol_filter(venue: Venue, params: Params, *, required: bool) -> Callable[[str], bool]:
    """Which symbols a query means, by symbol, base coin or settle coin.

    Raises:
        Refusal: `required` and none of them is given.
    """
    symbol, base, settle = params.text("symbol"), params.text("baseCoin"), params.text("settleCoin")
    if required and not (symbol or base or settle):
        raise Refusal(10001, "Missing some parameters that must be filled in, symbol or settleCoin or baseCoin")

    def matches(contract: Contract) -> bool:
        return (not base or contract.base_coin == base) and (not settle or contract.settle_coin == settle)

    if symbol:
        return lambda name: name == symbol
    names = {name for name, contract in venue.market.contracts.items() if matches(contract)}
    return lambda name: name in names


def marked(rows: Iterable[_Record], mark: Callable[[_Record], str]) -> list[tuple[str, _Record]]:
    """Rows with the marks that cursors are made of."""
    return [(mark(row), row) for row in rows]
