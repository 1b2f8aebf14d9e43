"""Exit plans of every kind for the signals of a trial, and which stop and target such a plan allows, apart from the
code that follows plans.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trading_assets.core.exits import ExitPlan
from trading_assets.core.ports import MarketData
from trading_assets.core.timeframes import MINUTE_MS, Timeframe, floor_ms
from trading_assets.ledger.exit_decisions import LEVELS, ExitDecision
from trading_assets.strategies import registry
from trading_assets.strategies.base import Entries, Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi, BollingerRsiParameters
from trading_assets.trading.decide.exits import DeclaredExits
from trading_assets.trading.decide.sizing import to_tick

TIMEFRAME = Timeframe("1m")
"""Of signals with a plan: on an exchange in haste a candle closes every few seconds."""

MOST_BACK = 3
"""So many candles have closed since the signal when it is given, at most: then the plan has something to say at once.
"""


class ExitKind(StrEnum):
    """Ways to leave besides stop and target."""

    SIGNAL = "signal"
    TIME = "time"
    TRAILING = "trailing"
    EVEN = "break-even"
    ROI = "roi"
    PARTS = "parts"
    ALL = "all"
    """levels that move, parts, and an end in time"""


PLANS: dict[ExitKind, ExitPlan] = {
    ExitKind.SIGNAL: ExitPlan(),
    ExitKind.TIME: ExitPlan(after_bars=2),
    ExitKind.TRAILING: ExitPlan(trail=0.008),
    ExitKind.EVEN: ExitPlan(break_even_from=0.0008, break_even_to=0.0002),
    ExitKind.ROI: ExitPlan(roi=((1, 0.01), (4, 0.002), (9, -0.05))),
    ExitKind.PARTS: ExitPlan(parts=((0.03, 0.3), (0.3, 0.3))),
    ExitKind.ALL: ExitPlan(
        after_bars=12, trail=0.01, trail_from=0.001, roi=((5, 0.003),), parts=((0.05, 0.4), (0.2, 0.2))
    ),
}


class Leaves(BollingerRsi):
    """`bollinger_rsi` whose exit condition holds below the middle of the bands for a long, above it for a short."""

    name = "leaves_in_trials"
    description = "For trials: leaves by its exit condition"
    Parameters = BollingerRsiParameters

    @staticmethod
    def entries(v: Values, p: BollingerRsiParameters) -> Entries:
        found = BollingerRsi.entries(v, p)
        return found._replace(exit_long=v.bb_position < 0, exit_short=v.bb_position > 0)


@contextmanager
def known() -> Iterator[None]:
    """The strategy of exit conditions is there, in this process and in those forked from it."""
    with registry.offering(Leaves):
        yield


@dataclass(frozen=True)
class PlannedExit:
    """What a signal says of its exits.

    Attributes:
        back: so many candles have closed since.
    """

    kind: ExitKind
    back: int

    def row(self, now_ms: int, plans: Mapping[ExitKind, ExitPlan] = PLANS) -> dict[str, object]:
        """The columns of the signal."""
        declared = DeclaredExits(plans[self.kind], self.kind is ExitKind.SIGNAL)
        return {
            "timeframe": TIMEFRAME.value,
            "strategy": Leaves.name if declared.has_conditions else BollingerRsi.name,
            "signal_timestamp_ms": floor_ms(now_ms, MINUTE_MS) - self.back * MINUTE_MS,
            "exit_plan": declared.to_json(),
        }


def some_exit(chance: random.Random) -> PlannedExit | None:
    """Stop and target alone, or any plan."""
    if chance.random() < 0.4:
        return None
    return PlannedExit(chance.choice(list(ExitKind)), chance.randrange(MOST_BACK + 1))


@dataclass(frozen=True)
class Signalled:
    """What the levels of a position follow from.

    Attributes:
        opened_ms: close of the signal's bar, UTC ms; `entry` its price.
        since_ms: of an entry that has waited the end of the bar of its first fill; closes before say nothing.
        tick: of the contract.
    """

    symbol: str
    plan: ExitPlan
    timeframe: Timeframe
    long: bool
    opened_ms: int
    entry: float
    stop: Decimal
    target: Decimal
    tick: Decimal
    since_ms: int = 0


def allowed(market: MarketData, signal: Signalled, decisions: Sequence[ExitDecision]) -> tuple[Decimal, Decimal]:
    """Stop and target that the recorded decisions allow: those of the plan by the candles up to the newest of them.

    A decision that moves a level farther away, or to where no close of the plan's would have it, allows nothing.
    """
    moves = [one for one in decisions if one.kind == LEVELS]
    stop, target = signal.stop, signal.target
    if not moves:
        return stop, target
    last_ms = max(one.bar_close_ms for one in moves)
    sign, step = 1 if signal.long else -1, signal.timeframe.ms
    candles = market.candles(signal.symbol, signal.timeframe, signal.opened_ms, last_ms)
    nearer_stop, nearer_target = (max, min) if signal.long else (min, max)
    for start_ms, close in zip(candles.start_ms, candles.close, strict=True):
        if int(start_ms) < max(signal.opened_ms, signal.since_ms) or int(start_ms) + step > last_ms:
            continue
        asked = signal.plan.stop_after(signal.entry, sign, float(close))
        if asked is not None:
            stop = nearer_stop(stop, to_tick(Decimal(str(asked)), signal.tick))
        age = (int(start_ms) + step - signal.opened_ms) // step
        lowered = signal.plan.target_after(signal.entry, sign, age)
        if lowered is not None:
            target = nearer_target(target, to_tick(Decimal(str(lowered)), signal.tick))
    return stop, target
