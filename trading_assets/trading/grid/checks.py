"""What is checked before a grid starts: each problem is one sentence with what was found and expected. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.models import ContractStatus, Instrument, Side
from trading_assets.core.settings import Settings
from trading_assets.trading.grid.levels import ZERO, Kind, Level, Plan, stop_prices, worst_value

LEAST_TICKS = 3
FEES_COVERED = 3
"""The step of a level is at least so many times what a round trip as maker costs."""

MOST_ORDERS, KEPT_FREE = 500, 20
"""Active orders that an account may have in a contract, and how many of them are left to others."""

MOST_CONDITIONAL = 10
MARGIN_OVER_MAINTENANCE = Decimal("1.25")
"""Equity left at the stop, as a multiple of what the position needs there as maintenance margin."""


@dataclass(frozen=True)
class Surroundings:
    """What the account and the market are like when a grid is to start.

    Attributes:
        equity: of the account, USD, less the maintenance margin of what it holds already.
        available: what new positions may use as margin, USD.
        orders, conditional: of anybody that wait in the contract now.
        maker, taker: the account's fees, fractions.
    """

    instrument: Instrument
    price: Decimal
    equity: Decimal
    available: Decimal
    maker: Decimal
    taker: Decimal
    orders: int = 0
    conditional: int = 0


def problems(plan: Plan, levels: list[Level], around: Surroundings, settings: Settings) -> list[str]:
    """Return why a grid must not start; empty where it may."""
    rules = around.instrument
    found = []
    if rules.status is not ContractStatus.TRADING:
        found.append(f"{plan.symbol} is {rules.status.value}, not trading")
    if rules.delivery_ms is not None:
        found.append(f"{plan.symbol} is to be delivered: its orders and position end then")
    if plan.leverage > min(settings.max_leverage, rules.max_leverage):
        most = min(Decimal(settings.max_leverage), rules.max_leverage)
        found.append(f"leverage {plan.leverage} is above {most}")
    if not plan.low < around.price < plan.high:
        found.append(f"the price {around.price} is not between the bounds {plan.low} and {plan.high}")
    found += [*_spacing(levels, around), *_sizes(plan, levels, rules), *_stops(plan, levels, around)]
    active, guards = len(levels), 2
    room = MOST_ORDERS - KEPT_FREE - around.orders
    if active > room:
        found.append(f"{active} levels need as many orders, and {room} are free in {plan.symbol}: take fewer levels")
    if guards + around.conditional > MOST_CONDITIONAL:
        found.append(f"{around.conditional} conditional orders wait in {plan.symbol} already; the stops need {guards}")
    margin = worst_value(levels) / plan.leverage if levels else ZERO
    if margin > around.available:
        found.append(f"its margin may come to ${margin:.2f}, and ${around.available:.2f} are free")
    return found


def round_trip(level: Level, fee_open: Decimal, fee_close: Decimal) -> Decimal:
    """What one round trip of a level earns after fees, as a fraction of its opening value."""
    moved = abs(level.close_price / level.open_price - 1)
    return moved - fee_open - level.close_price / level.open_price * fee_close


def loss_at_stop(levels: list[Level], side: Side, stop: Decimal, taker: Decimal) -> Decimal:
    """What is lost where every level of a side has opened and the stop closes all of them, with fees, USD."""
    held = [one for one in levels if one.side is side]
    sign = 1 if side is Side.BUY else -1
    fees = sum((one.qty * (one.open_price + stop) * taker for one in held), ZERO)
    return sum((sign * (one.open_price - stop) * one.qty for one in held), ZERO) + fees


def _spacing(levels: list[Level], around: Surroundings) -> list[str]:
    tick = around.instrument.tick_size
    narrowest = min(level.high - level.low for level in levels)
    if narrowest < LEAST_TICKS * tick:
        return [
            f"two prices of the grid are {narrowest} apart, at least {LEAST_TICKS} ticks of {tick} are needed: take "
            "fewer levels or wider bounds"
        ]
    worst = min(levels, key=lambda one: one.high / one.low)
    step, cost = worst.high / worst.low - 1, 2 * around.maker
    if step < FEES_COVERED * cost:
        return [
            f"the step from {worst.low} to {worst.high} is {step * 100:.3f} %, and a round trip costs "
            f"{cost * 100:.3f} % as maker: at least {FEES_COVERED} times that is needed; take fewer levels"
        ]
    return []


def _sizes(plan: Plan, levels: list[Level], rules: Instrument) -> list[str]:
    qty, lowest = levels[0].qty, levels[0].low
    least = max(rules.min_qty, rules.min_notional / lowest)
    if qty >= rules.min_qty and qty * lowest >= rules.min_notional:
        return []
    needed = least * sum((one.open_price for one in levels), ZERO) / plan.leverage
    return [
        f"${plan.capital} at {plan.leverage}x are {qty} {rules.base_coin} a level; at least {least:.6g} are needed at "
        f"{lowest}: give about ${needed:.2f} or take fewer levels"
    ]


def _stops(plan: Plan, levels: list[Level], around: Surroundings) -> list[str]:
    """Every side that the grid may hold has its stop beyond the bounds, and the account outlives it."""
    low, high = stop_prices(plan, around.instrument.tick_size)
    found = []
    sides = {Kind.LONG: [Side.BUY], Kind.SHORT: [Side.SELL], Kind.NEUTRAL: [Side.BUY, Side.SELL]}[plan.kind]
    for side in sides:
        stop, bound = (low, plan.low) if side is Side.BUY else (high, plan.high)
        name, where = ("stop-low", "below") if side is Side.BUY else ("stop-high", "above")
        if stop is None:
            found.append(f"a {plan.kind} grid needs a --{name} {where} its bound {bound}")
            continue
        if stop <= 0 or (stop >= bound if side is Side.BUY else stop <= bound):
            found.append(f"the {name} {stop} must be {where} the bound {bound}, and above 0")
            continue
        held = sum((one.qty for one in levels if one.side is side), ZERO)
        lost = loss_at_stop(levels, side, stop, around.taker)
        left = around.equity - lost
        maintenance = held * stop / (2 * around.instrument.max_leverage)
        if left < maintenance * MARGIN_OVER_MAINTENANCE:
            found.append(
                f"with every level open the stop {stop} would cost ${lost:.2f} of ${around.equity:.2f}; what is left "
                f"must be above ${maintenance * MARGIN_OVER_MAINTENANCE:.2f}, else the position is liquidated before"
            )
    return found
