"""Quantity and stops of an order, on the venue's steps. Pure arithmetic in `Decimal`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from trading_assets.core.models import Instrument
from trading_assets.core.settings import Settings


@dataclass(frozen=True)
class Size:
    """A quantity that the venue accepts."""

    qty: Decimal
    leverage: Decimal


@dataclass(frozen=True)
class Unsizable:
    """Why no quantity fits."""

    reason: str


def size_position(instrument: Instrument, price: Decimal, settings: Settings) -> Size | Unsizable:
    """Return the quantity of a position at `price`, rounded down to the step."""
    notional = settings.target_notional
    qty = quantity(notional, price, instrument.qty_step)
    if qty is None:
        return Unsizable(f"no quantity of {instrument.symbol} fits a price of {price} and a step {instrument.qty_step}")
    if qty < instrument.min_qty or qty <= 0:
        return Unsizable(
            f"${notional} at {price} is below the smallest quantity {instrument.min_qty} of {instrument.symbol}"
        )
    if qty > instrument.max_market_qty:
        return Unsizable(f"{qty} exceeds the largest market order {instrument.max_market_qty} of {instrument.symbol}")
    if qty * price < instrument.min_notional:
        return Unsizable(f"{qty} at {price} is worth less than the smallest order ${instrument.min_notional}")
    if settings.leverage > instrument.max_leverage:
        return Unsizable(f"leverage {settings.leverage} exceeds {instrument.max_leverage} of {instrument.symbol}")
    return Size(qty, settings.leverage)


def quantity(notional: Decimal, price: Decimal, step: Decimal) -> Decimal | None:
    """Return the quantity of a notional, rounded down to the step; None where there is none, as at a price of 0."""
    try:
        return (notional / price) // step * step
    except ArithmeticError:
        return None


def to_tick(price: Decimal, tick: Decimal) -> Decimal:
    """Return the nearest multiple of the tick."""
    return (price / tick).to_integral_value(ROUND_HALF_EVEN) * tick


def exits(
    close: Decimal, distance: Decimal, reward_risk: Decimal, *, long: bool, slippage_bps: float, tick: Decimal
) -> tuple[Decimal, Decimal] | None:
    """Return stop loss and take profit of an entry at a bar's close, as a backtest sets them, rounded to the tick.

    A backtest fills at the close with slippage, and its stop is a fraction `distance` / `close` away from that fill.
    Both are at least a tick away from the close, too, which the venue takes for the price. Return None where a price
    would not be > 0.
    """
    sign = 1 if long else -1
    fill = 1 + sign * Decimal(str(slippage_bps)) / 10_000
    levels = stops(close * fill, distance * fill, reward_risk, long=long, tick=tick)
    if levels is None or sign * (close - levels[0]) >= tick:
        return levels
    stop = to_tick(close, tick) - sign * tick
    return (stop, levels[1]) if stop > 0 else None


def stops(
    entry: Decimal, distance: Decimal, reward_risk: Decimal, *, long: bool, tick: Decimal
) -> tuple[Decimal, Decimal] | None:
    """Return stop loss and take profit, at least one tick from the entry; None where a price would not be > 0."""
    sign = 1 if long else -1
    stop = to_tick(entry - sign * distance, tick)
    target = to_tick(entry + sign * distance * reward_risk, tick)
    if sign * (entry - stop) < tick:
        stop = to_tick(entry, tick) - sign * tick
    if sign * (target - entry) < tick:
        target = to_tick(entry, tick) + sign * tick
    return (stop, target) if stop > 0 and target > 0 else None
