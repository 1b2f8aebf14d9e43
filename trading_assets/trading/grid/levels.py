"""A grid's shape: bounds, prices on the tick, the levels between them, quantities on the step. Pure.

n+1 prices make n levels. A level lies between two neighbouring prices: it opens at one of them and closes at the other.
A level of side Buy buys at its low price and sells at its high one; a level of side Sell sells first, at its high one.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from itertools import pairwise

import numpy as np

from trading_assets.core.candles import Candles
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import Instrument, Side
from trading_assets.strategies.indicators import atr, bollinger

ZERO = Decimal(0)

MOST_LEVELS = 400


class GridError(TradingAssetsError):
    """A grid cannot be as it is asked for, or there is none. Nothing was done."""


class Kind(StrEnum):
    """Which side of the market a grid may hold. The ledger keeps the values."""

    LONG = "long"
    SHORT = "short"
    NEUTRAL = "neutral"
    """long below the price that it started at, short above it"""


class Spacing(StrEnum):
    """How prices follow each other. The ledger keeps the values."""

    ARITHMETIC = "arithmetic"
    """by equal steps"""
    GEOMETRIC = "geometric"
    """by equal ratios"""


class OutOfRange(StrEnum):
    """What is done when the price leaves the bounds. The ledger keeps the values."""

    WAIT = "wait"
    """levels and inventory stay as they are, until the price is back or at the stop"""
    STOP = "stop"
    """the grid stops, and closes its inventory"""
    RECENTRE = "recentre"
    """bounds of the same width are laid around the price; inventory goes over to the new levels"""


@dataclass(frozen=True)
class Plan:
    """What a person asks for.

    Attributes:
        levels: number of levels, one less than that of prices.
        capital: the margin that all levels together may take, USD.
        stop_low, stop_high: prices at which the inventory is closed: below the bounds for what is long, above them for
            what is short.
    """

    symbol: str
    kind: Kind
    spacing: Spacing
    low: Decimal
    high: Decimal
    levels: int
    capital: Decimal
    leverage: Decimal
    stop_low: Decimal | None = None
    stop_high: Decimal | None = None
    out_of_range: OutOfRange = OutOfRange.WAIT


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
        qty: in coins, on the step.
        takes_first: its first opening order may take liquidity: the price has passed it at the start, and the inventory
            that it closes is bought, or sold, at once.
    """

    index: int
    low: Decimal
    high: Decimal
    side: Side
    qty: Decimal
    takes_first: bool = False

    @property
    def open_price(self) -> Decimal:
        return self.low if self.side is Side.BUY else self.high

    @property
    def close_price(self) -> Decimal:
        return self.high if self.side is Side.BUY else self.low


def bounds_by_atr(candles: Candles, multiple: float, period: int = 14) -> tuple[Decimal, Decimal]:
    """Last close minus and plus a multiple of the average true range."""
    width = multiple * atr(candles.high, candles.low, candles.close, period)[-1] if len(candles) > period else np.nan
    return _bounds(candles.close[-1] - width, candles.close[-1] + width, "ATR") if len(candles) else _none("ATR")


def bounds_by_bollinger(candles: Candles, deviations: float, period: int = 20) -> tuple[Decimal, Decimal]:
    """Lower and upper Bollinger band of the last close."""
    if not len(candles):
        return _none("Bollinger bands")
    lower, _, upper = bollinger(candles.close, period, deviations)
    return _bounds(float(lower[-1]), float(upper[-1]), "Bollinger bands")


def _bounds(low: float, high: float, name: str) -> tuple[Decimal, Decimal]:
    if not (np.isfinite(low) and np.isfinite(high) and 0 < low < high):
        return _none(name)
    return Decimal(repr(float(low))), Decimal(repr(float(high)))


def _none(name: str) -> tuple[Decimal, Decimal]:
    raise GridError(f"there are no bounds from {name}: too few candles, or a width of nothing; give --low and --high")


def prices(low: Decimal, high: Decimal, levels: int, spacing: Spacing, tick: Decimal) -> list[Decimal]:
    """The n+1 prices, ascending, each rounded to the tick once; two may be the same where they are too close.

    Raises:
        GridError: bounds or number of levels make no grid.
    """
    if not 0 < low < high:
        raise GridError(f"bounds {low} and {high}: the lower one must be above 0 and below the higher one")
    if not 2 <= levels <= MOST_LEVELS:
        raise GridError(f"{levels} levels; expected 2 to {MOST_LEVELS}")
    if spacing is Spacing.ARITHMETIC:
        step = (high - low) / levels
        raw = [low + step * number for number in range(levels + 1)]
    else:
        ratio = (high / low).ln() / levels
        raw = [low * (ratio * number).exp() for number in range(levels + 1)]
        raw[-1] = high
    return [on_step(price, tick, ROUND_HALF_EVEN) for price in raw]


def on_step(value: Decimal, step: Decimal, rounding: str = ROUND_FLOOR) -> Decimal:
    """A value as a multiple of the step."""
    return (value / step).to_integral_value(rounding) * step


def stop_prices(plan: Plan, tick: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """The stops of a plan on the tick, away from the bounds; None on a side that the grid never holds."""
    low = plan.stop_low if plan.kind is not Kind.SHORT else None
    high = plan.stop_high if plan.kind is not Kind.LONG else None
    return (
        on_step(low, tick, ROUND_FLOOR) if low is not None else None,
        on_step(high, tick, ROUND_CEILING) if high is not None else None,
    )


def quantity(plan: Plan, ladder: list[Decimal], instrument: Instrument) -> Decimal:
    """Coins of each level: capital and leverage shared by all levels alike, on the step, rounded down."""
    worst = sum(ladder[1:] if plan.kind is Kind.SHORT else ladder[:-1], ZERO)
    return on_step(plan.capital * plan.leverage / worst, instrument.qty_step)


def build(plan: Plan, price: Decimal, instrument: Instrument, qty: Decimal | None = None) -> list[Level]:
    """The levels of a plan at a price, ascending.

    A long grid buys at once for the levels above the price, a short one sells at once for those below: so that each of
    them has something to close. A neutral grid starts without a position; the price nearest to the market stays empty.

    Args:
        qty: of each level; by default `quantity`.

    Raises:
        GridError: bounds or number of levels make no grid.
    """
    ladder = prices(plan.low, plan.high, plan.levels, plan.spacing, instrument.tick_size)
    each = quantity(plan, ladder, instrument) if qty is None else qty
    found = []
    for index, (low, high) in enumerate(pairwise(ladder)):
        if plan.kind is Kind.LONG:
            side, takes = Side.BUY, low >= price
        elif plan.kind is Kind.SHORT:
            side, takes = Side.SELL, high <= price
        else:
            is_below = high <= price or (low < price and high - price <= price - low)
            side, takes = (Side.BUY if is_below else Side.SELL), False
        found.append(Level(index, low, high, side, each, takes))
    return found


def worst_value(levels: list[Level]) -> Decimal:
    """Value of the position when every level of the worse side has opened, USD."""
    sides = (sum((one.qty * one.open_price for one in levels if one.side is side), ZERO) for side in Side)
    return max(sides)
