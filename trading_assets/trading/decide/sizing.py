"""Quantity and stops of an order, on the venue's steps. Pure arithmetic in `Decimal`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from trading_assets.core.models import Instrument
from trading_assets.core.settings import Settings

Levels = tuple[Decimal, Decimal | None]
"""Stop and target."""


@dataclass(frozen=True)
class Size:
    """A quantity that the venue accepts."""

    qty: Decimal
    leverage: Decimal


@dataclass(frozen=True)
class Unsizable:
    """Why no quantity fits."""

    reason: str


@dataclass(frozen=True)
class Planned:
    """The value that a position is to have, USD, and how it came about."""

    notional: Decimal
    why: str


def planned_notional(settings: Settings, *, equity: Decimal, confidence: float, stop_fraction: Decimal) -> Planned:
    """Return the value of a position by the setting `size_by`, for live and the report's account alike.

    What goes by equity is cut at the limits of a position's margin and exposure, to the cent below; the limits
    themselves hold besides.

    Args:
        equity: of the account, USD, of which `capital_share_pct` counts.
        confidence: of the signal, percent.
        stop_fraction: from the price of the entry to its stop, a fraction of that price, > 0.
    """
    fixed = settings.target_notional
    if settings.size_by == "fixed":
        return Planned(fixed, f"${fixed}")
    if settings.size_by == "confidence":
        told = f"${fixed} at {confidence:g} % confidence"
        return Planned(_cents(fixed * Decimal(str(confidence)) / 100), told)
    mine = max(equity * settings.capital_share_pct / 100, Decimal(0))
    notional = mine * settings.size_pct / 100
    told = f"{settings.size_pct} % of ${mine:.2f}"
    if settings.size_by == "risk":
        if stop_fraction <= 0:
            return Planned(Decimal(0), "its stop lies at its price")
        notional /= stop_fraction
        told += f" at risk, the stop {stop_fraction * 100:.3f} % away"
    by_margin = mine * settings.max_position_margin_pct / 100 * settings.leverage
    by_exposure = mine * settings.max_symbol_exposure_pct / 100
    most = min(by_margin, by_exposure)
    if notional > most:
        limit = "max_position_margin_pct" if by_margin <= by_exposure else "max_symbol_exposure_pct"
        return Planned(_cents(most), f"{told}: ${notional:.2f}, cut at ${most:.2f} by {limit}")
    return Planned(_cents(notional), told)


def _cents(usd: Decimal) -> Decimal:
    return usd.quantize(Decimal("0.01"), ROUND_DOWN)


def size_position(
    instrument: Instrument, price: Decimal, settings: Settings, notional: Decimal | None = None
) -> Size | Unsizable:
    """Return the quantity of a position at `price`, rounded down to the step.

    Args:
        notional: its value, USD; None: `target_notional`.
    """
    notional = settings.target_notional if notional is None else notional
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


def levels_on_tick(stop: Decimal, target: Decimal | None, tick: Decimal, *, long: bool) -> Levels:
    """Return stop and target on a tick that may be another one than they were made for.

    Each is moved towards the price, by less than a tick: no more is risked than was meant, and the target is reached no
    later than was meant. A level that is on the tick stays as it is.
    """
    return on_tick(stop, tick, up=long), None if target is None else on_tick(target, tick, up=not long)


def on_tick(price: Decimal, tick: Decimal, *, up: bool) -> Decimal:
    """Return the next multiple of the tick above or below a price; a price that is one stays as it is."""
    found = (price / tick).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * tick
    return price if found == price else found


def stops(
    entry: Decimal, distance: Decimal, reward_risk: Decimal, *, long: bool, tick: Decimal
) -> tuple[Decimal, Decimal] | None:
    """Return stop loss and take profit of an entry at a bar's close, on the tick and at least one tick from the entry.

    The target stands `reward_risk` times as far as the stop on its tick, to half a tick: the ratio is that of the two
    prices that are sent. Return None where a price would not be > 0.
    """
    sign = 1 if long else -1
    stop = to_tick(entry - sign * distance, tick)
    if sign * (entry - stop) < tick:
        stop = to_tick(entry, tick) - sign * tick
    target = to_tick(entry + (entry - stop) * reward_risk, tick)
    if sign * (target - entry) < tick:
        target = to_tick(entry, tick) + sign * tick
    return (stop, target) if stop > 0 and target > 0 else None
