"""What a grid is to be like before a price is known: kind, spacing, width, levels, stops in percent. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from trading_assets.core.candles import Candles
from trading_assets.trading.grid.levels import (
    GridError,
    Kind,
    OutOfRange,
    Plan,
    Spacing,
    bounds_by_atr,
    bounds_by_bollinger,
)


class Bounds(StrEnum):
    """What the bounds come from. Results keep the values."""

    ATR = "atr"
    """the last close and so many average true ranges to each side"""
    BOLLINGER = "bollinger"
    """Bollinger bands of so many deviations"""


@dataclass(frozen=True)
class GridShape:
    """A grid without prices.

    Attributes:
        width: of the bounds, in average true ranges or deviations.
        stop_beyond_pct: the stops lie so far beyond the bounds.
    """

    kind: Kind
    spacing: Spacing
    bounds: Bounds
    width: float
    levels: int
    stop_beyond_pct: float = 5.0
    out_of_range: OutOfRange = OutOfRange.WAIT

    def plan(self, symbol: str, candles: Candles, capital: Decimal, leverage: Decimal) -> Plan:
        """The plan as of the close of the last candle.

        Raises:
            GridError: the candles give no bounds.
        """
        if self.bounds is Bounds.ATR:
            low, high = bounds_by_atr(candles, self.width)
        else:
            low, high = bounds_by_bollinger(candles, self.width)
        stop_low, stop_high = stops_beyond(self.kind, low, high, self.stop_beyond_pct)
        return Plan(
            symbol=symbol,
            kind=self.kind,
            spacing=self.spacing,
            low=low,
            high=high,
            levels=self.levels,
            capital=capital,
            leverage=leverage,
            stop_low=stop_low,
            stop_high=stop_high,
            out_of_range=self.out_of_range,
        )

    def as_json(self) -> str:
        """Canonical JSON, as it stands in the column `parameters`."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The way back.

        Raises:
            GridError: it is no shape of a grid.
        """
        try:
            held: dict[str, Any] = json.loads(text)
            return cls(
                kind=Kind(held["kind"]),
                spacing=Spacing(held["spacing"]),
                bounds=Bounds(held["bounds"]),
                width=float(held["width"]),
                levels=int(held["levels"]),
                stop_beyond_pct=float(held["stop_beyond_pct"]),
                out_of_range=OutOfRange(held["out_of_range"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise GridError(f"{text!r} is no shape of a grid: {error}") from None


def stops_beyond(kind: Kind, low: Decimal, high: Decimal, pct: float) -> tuple[Decimal | None, Decimal | None]:
    """Stops so many percent beyond the bounds, on the sides that a grid of the kind may hold."""
    share = Decimal(repr(pct)) / 100
    return (
        None if kind is Kind.SHORT else low * (1 - share),
        None if kind is Kind.LONG else high * (1 + share),
    )
