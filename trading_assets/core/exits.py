"""Exits of a position besides its stop and target: what a strategy declares, and what a plan says at a close. Pure.

Everything is decided on closed bars and measured from the close of the signal's bar, so that a backtest and live decide
alike; see the table in docs/engine.md. The stop of the entry always stands at the exchange: a plan may only tighten it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from trading_assets.core.errors import StrategyError

MOST_STEPS = 16
"""Steps of an ROI table, and targets with a part of the quantity: more are refused."""


class ExitReason(IntEnum):
    """Why a trade ended. A stop that was moved is a stop, a target that the ROI table has lowered is a target."""

    OPEN = 0
    STOP = 1
    TARGET = 2
    SIGNAL = 3
    TIME = 4
    ROI = 5

    @property
    def word(self) -> str:
        return self.name.lower()


AT_CLOSE = frozenset({ExitReason.SIGNAL, ExitReason.TIME, ExitReason.ROI})
"""Exits that are decided at a close and made there, at the market."""

AT_CLOSE_WORDS = frozenset(reason.word for reason in AT_CLOSE)
"""The same, as rows name them."""


class Standing(NamedTuple):
    """Prices of stop and target of a position."""

    stop: float
    target: float


class AfterBar(NamedTuple):
    """What a plan says at a close: leave for this reason, or stay (`OPEN`) with these levels from the next bar on."""

    reason: ExitReason
    standing: Standing


@dataclass(frozen=True)
class ExitPlan:
    """What ends a position besides stop, target and exit signals. Gains are fractions of the signal's close.

    Attributes:
        after_bars: the position is closed at the close of this bar after that of the signal; 0 for never. Bars count by
            time, whether or not they are there.
        trail: the stop follows the best close at this distance, a fraction of that close; 0 for no trailing stop.
        trail_from: it does so from a close with this gain on.
        break_even_from: a close with this gain moves the stop to the entry; 0 for never.
        break_even_to: gain of the stop then: fees and slippage of both fills, for instance.
        roi: rows of (bars since the signal, gain): from that bar's close on the target stands at most that far.
        parts: rows of (distance in stop distances, share of the quantity), nearest first: targets before the last one.
    """

    after_bars: int = 0
    trail: float = 0.0
    trail_from: float = 0.0
    break_even_from: float = 0.0
    break_even_to: float = 0.0
    roi: tuple[tuple[int, float], ...] = ()
    parts: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            StrategyError: a number is out of range, or steps are in disorder.
        """
        numbers = (self.trail, self.trail_from, self.break_even_from, self.break_even_to)
        listed = [number for row in (*self.roi, *self.parts) for number in row]
        if not all(math.isfinite(number) for number in (*numbers, *listed, self.after_bars)):
            raise StrategyError(f"exit plan {self}: expected finite numbers")
        problems = (
            (type(self.after_bars) is not int or self.after_bars < 0, "after_bars must be a whole number, 0 or more"),
            (not 0 <= self.trail < 1, "trail must be a fraction from 0 to below 1"),
            (
                self.trail_from < 0 or (self.trail_from > 0 and not self.trail),
                "trail_from needs trail, and is 0 or more",
            ),
            (self.break_even_from < 0 or self.break_even_to < 0, "break_even_from and break_even_to must be 0 or more"),
            (
                (self.break_even_from > 0 or self.break_even_to > 0) and self.break_even_to >= self.break_even_from,
                "break_even_to must lie below break_even_from: the stop would be passed already",
            ),
            (max(len(self.roi), len(self.parts)) > MOST_STEPS, f"roi and parts have at most {MOST_STEPS} rows"),
            (
                any(type(bars) is not int or bars < 1 or gain <= -1 for bars, gain in self.roi)
                or any(b[0] <= a[0] or b[1] >= a[1] for a, b in zip(self.roi, self.roi[1:], strict=False)),
                "roi needs rows of (bars from 1 on, gain above -1), later ones with a smaller gain",
            ),
            (
                any(distance <= 0 or share <= 0 for distance, share in self.parts)
                or any(b[0] <= a[0] for a, b in zip(self.parts, self.parts[1:], strict=False))
                or sum(share for _, share in self.parts) >= 1,
                "parts needs rows of (distance above 0, share above 0), nearest first, shares below 1 together",
            ),
        )
        found = [problem for is_so, problem in problems if is_so]
        if found:
            raise StrategyError(f"exit plan {self}: {'; '.join(found)}")

    def __bool__(self) -> bool:
        """Whether it says anything at all."""
        return self != NO_PLAN

    def checked(self, reward_risk: float) -> ExitPlan:
        """The plan itself, beside a target that stands `reward_risk` stop distances away.

        Raises:
            StrategyError: a part stands as far as the target, or farther.
        """
        if self.parts and self.parts[-1][0] >= reward_risk:
            raise StrategyError(
                f"exit plan: a part at {self.parts[-1][0]:g} stop distances is not before the target at {reward_risk:g}"
            )
        return self

    def stop_after(self, entry: float, sign: int, close: float) -> float | None:
        """The stop that a close asks for, whatever the one that stands; None where it asks for none.

        Args:
            entry: close of the signal's bar.
            sign: 1 long, -1 short.
        """
        gain = sign * (close / entry - 1)
        wanted = []
        if self.trail and gain >= self.trail_from:
            wanted.append(close * (1 - sign * self.trail))
        if self.break_even_from and gain >= self.break_even_from:
            wanted.append(entry * (1 + sign * self.break_even_to))
        return sign * max(sign * level for level in wanted) if wanted else None

    def target_after(self, entry: float, sign: int, bars: int) -> float | None:
        """The target that the ROI table allows at most, that many bars after the signal; None where it says nothing."""
        gain = None
        for after, allowed in self.roi:
            if bars >= after:
                gain = allowed
        return None if gain is None else entry * (1 + sign * gain)

    def after_close(
        self, entry: float, sign: int, close: float, bars: int, standing: Standing, *, left: bool
    ) -> AfterBar:
        """What is said after a bar that has touched neither stop nor target: rules 4 to 6 of the table.

        Args:
            entry: close of the signal's bar.
            sign: 1 long, -1 short.
            bars: age of the position at this close, counted by time.
            standing: stop and target during the bar.
            left: whether the strategy's exit condition holds at this close.
        """
        if left:
            return AfterBar(ExitReason.SIGNAL, standing)
        if self.after_bars and bars >= self.after_bars:
            return AfterBar(ExitReason.TIME, standing)
        stop, target = standing
        wanted = self.stop_after(entry, sign, close)
        if wanted is not None and sign * wanted >= sign * stop:
            stop = wanted
        allowed = self.target_after(entry, sign, bars)
        if allowed is not None and sign * target >= sign * allowed:
            target = allowed
        reason = ExitReason.ROI if sign * close >= sign * target else ExitReason.OPEN
        return AfterBar(reason, Standing(stop, target))

    def to_json(self) -> str:
        """The plan as text, for the ledger; equal plans have equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ExitPlan:
        """The plan of such a text.

        Raises:
            StrategyError: the text holds something else.
        """
        try:
            held: dict[str, Any] = json.loads(text)
            for name in {"roi", "parts"} & held.keys():
                held[name] = tuple(tuple(row) for row in held[name])
            return cls(**held)
        except (ValueError, TypeError, AttributeError) as error:
            raise StrategyError(f"exit plan {text!r} cannot be read: {error}") from None


NO_PLAN = ExitPlan()
