"""What the exit plan of an open position says, from the candles since its signal; and its parts. Pure.

Nothing of it is kept: the same candles say the same again, whoever asks and however often it was restarted. Everything
is measured from the close of the signal's bar, by the function that backtests use, too (`ExitPlan.after_close`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from trading_assets.core.candles import BoolArray, Candles
from trading_assets.core.errors import StrategyError
from trading_assets.core.exits import AfterBar, ExitPlan, ExitReason, Standing
from trading_assets.core.models import Instrument
from trading_assets.core.strategy_data import Signals
from trading_assets.trading.decide.sizing import to_tick


@dataclass(frozen=True)
class DeclaredExits:
    """What a signal carries: the plan, and whether its strategy has exit conditions besides."""

    plan: ExitPlan
    has_conditions: bool

    @classmethod
    def of(cls, signals: Signals) -> DeclaredExits | None:
        """What a strategy's decision declares; None where it has stop and target alone."""
        has_conditions = signals.exit_long is not None or signals.exit_short is not None
        return cls(signals.exits, has_conditions) if has_conditions or signals.exits else None

    def to_json(self) -> str:
        """As text, for the signal's row."""
        held = {"conditions": self.has_conditions, "plan": json.loads(self.plan.to_json())}
        return json.dumps(held, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> DeclaredExits:
        """What such a text holds.

        Raises:
            StrategyError: it holds something else.
        """
        try:
            held = json.loads(text)
            return cls(ExitPlan.from_json(json.dumps(held["plan"])), bool(held["conditions"]))
        except (ValueError, TypeError, KeyError) as error:
            raise StrategyError(f"exits {text!r} of a signal cannot be read: {error}") from None


@dataclass(frozen=True)
class Position:
    """What a plan is asked about.

    Attributes:
        opened_ms: close of the signal's bar, UTC ms; `entry` its price.
        stop, target: as the signal has them.
        since_ms: of an entry that has waited the end of the bar of its fill: closes before count for nothing.
    """

    plan: ExitPlan
    long: bool
    opened_ms: int
    entry: float
    stop: float
    target: float
    since_ms: int = 0

    @property
    def sign(self) -> int:
        return 1 if self.long else -1


class Bar(NamedTuple):
    """A bar after that of the signal: which one, the levels during it, and what is said at its close."""

    at: int
    during: Standing
    after: AfterBar


@dataclass(frozen=True)
class DecidedExit:
    """What a plan says now.

    Attributes:
        reason: why to leave; `OPEN`: stay.
        bar_close_ms, close: of the candle at which it was said; where nothing is said, of the newest.
        standing: the levels from then on.
        detail: in words.
    """

    reason: ExitReason
    bar_close_ms: int
    close: float
    standing: Standing
    detail: str = ""


def bars_of(held: Position, candles: Candles, left: BoolArray) -> Iterator[Bar]:
    """What is said at each close after the signal's, up to the first that says to leave.

    Args:
        left: whether the strategy's exit condition of this side holds at each close, shape (n,).
    """
    standing, step = Standing(held.stop, held.target), candles.timeframe.ms
    first = int((candles.start_ms < max(held.opened_ms, held.since_ms)).sum())
    for index in range(first, len(candles)):
        age = int(candles.start_ms[index] + step - held.opened_ms) // step
        close, is_left = float(candles.close[index]), bool(left[index])
        after = held.plan.after_close(held.entry, held.sign, close, age, standing, left=is_left)
        yield Bar(index, standing, after)
        if after.reason is not ExitReason.OPEN:
            return
        standing = after.standing


def decided_exit(held: Position, candles: Candles, left: BoolArray) -> DecidedExit | None:
    """What the plan says at the newest close: to leave, since the first close that said so, or which levels stand.

    None where no bar has closed since the signal's.
    """
    found: DecidedExit | None = None
    for bar in bars_of(held, candles, left):
        close_ms, close = int(candles.end_ms[bar.at]), float(candles.close[bar.at])
        if bar.after.reason is not ExitReason.OPEN:
            return DecidedExit(bar.after.reason, close_ms, close, bar.after.standing, f"at the close of {close:g}")
        if found is None or bar.after.standing != bar.during:
            why = _moved_by(held, bar, close)
            found = DecidedExit(ExitReason.OPEN, close_ms, close, bar.after.standing, why)
    return found


def _moved_by(held: Position, bar: Bar, close: float) -> str:
    moved = []
    if bar.after.standing.stop != bar.during.stop:
        even = replace(held.plan, trail=0.0, trail_from=0.0).stop_after(held.entry, held.sign, close)
        moved.append("break-even" if even == bar.after.standing.stop else "trailing")
    if bar.after.standing.target != bar.during.target:
        moved.append("ROI table")
    return f"{' and '.join(moved)} at the close of {close:g}" if moved else ""


def on_tick(
    standing: Standing, stop: Decimal, target: Decimal, *, long: bool, tick: Decimal
) -> tuple[Decimal, Decimal]:
    """Stop and target of a plan on the tick; the one that stands already where the plan's is not nearer."""
    sign = 1 if long else -1
    new_stop, new_target = (to_tick(Decimal(str(level)), tick) for level in standing)
    return (
        new_stop if sign * (new_stop - stop) > 0 and new_stop > 0 else stop,
        new_target if sign * (target - new_target) > 0 and new_target > 0 else target,
    )


class Part(NamedTuple):
    """A target with a part of the quantity: which one, from 1 on; coins, and price on the tick."""

    number: int
    qty: Decimal
    price: Decimal


def parts_of(held: Position, filled_qty: Decimal, instrument: Instrument) -> list[Part]:
    """The orders of a plan's parts. A part below the smallest quantity is none; it leaves with the rest."""
    entry, stop = Decimal(str(held.entry)), Decimal(str(held.stop))
    found = []
    for number, (away, share) in enumerate(held.plan.parts, start=1):
        steps = filled_qty * Decimal(str(share)) / instrument.qty_step
        qty = steps.to_integral_value(ROUND_FLOOR) * instrument.qty_step
        price = to_tick(entry + (entry - stop) * Decimal(str(away)), instrument.tick_size)
        if qty >= instrument.min_qty and qty > 0 and price > 0:
            found.append(Part(number, qty, price))
    return found
