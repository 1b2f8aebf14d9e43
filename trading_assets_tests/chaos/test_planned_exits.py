"""Levels that an exit plan allows, by the candles up to the newest recorded decision, apart from the code of plans."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from trading_assets.chaos.planned_exits import PLANS, ExitKind, Leaves, Signalled, allowed, known
from trading_assets.core.candles import Candles
from trading_assets.core.exits import ExitPlan
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.ledger.exit_decisions import DONE, LEVELS, TIME, ExitDecision
from trading_assets.strategies.registry import strategy_classes

D = Decimal
T0 = 1_772_436_900_000
LONG = Signalled(
    "BTCUSDT",
    ExitPlan(trail=0.01),
    Timeframe("1m"),
    long=True,
    opened_ms=T0,
    entry=100.0,
    stop=D(98),
    target=D(104),
    tick=D("0.1"),
)


class Closes:
    """A market that has these closes from `T0` on, a minute each."""

    def __init__(self, *closes: float) -> None:
        self._closes = closes

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        del symbol
        close = np.array(self._closes)
        starts = T0 + MINUTE_MS * np.arange(len(close), dtype=np.int64)
        kept = (starts >= start_ms) & (starts < end_ms)
        values = dict.fromkeys(("open", "high", "low", "close"), close[kept])
        return Candles(timeframe, starts[kept], **values, volume=close[kept], turnover=close[kept])


def decided(bars: int, kind: str = LEVELS) -> ExitDecision:
    return ExitDecision("l", T0 + bars * MINUTE_MS, kind, 100.0, D(98), D(104), "", DONE, T0)


@pytest.mark.parametrize(
    ("signal", "closes", "decisions", "levels"),
    [
        (LONG, (101.0, 103.0), [], (D(98), D(104))),
        (LONG, (101.0, 103.0), [decided(1)], (D(100), D(104))),
        (LONG, (101.0, 103.0), [decided(1), decided(2)], (D("102"), D(104))),
        (LONG, (103.0, 101.0), [decided(2)], (D(102), D(104))),
        (LONG, (103.0, 101.0), [decided(2, TIME)], (D(98), D(104))),
        (replace(LONG, since_ms=T0 + MINUTE_MS), (103.0, 101.0), [decided(2)], (D(100), D(104))),
        (replace(LONG, plan=ExitPlan(roi=((2, 0.01),))), (100.5, 100.5), [decided(2)], (D(98), D(101))),
        (replace(LONG, long=False, stop=D(102), target=D(96)), (99.0, 98.0), [decided(2)], (D(99), D(96))),
    ],
)
def test_the_recorded_decisions_allow_what_the_plan_says_at_their_closes(
    signal: Signalled, closes: tuple[float, ...], decisions: list[ExitDecision], levels: tuple[Decimal, Decimal]
) -> None:
    stop, target = allowed(Closes(*closes), signal, decisions)  # type: ignore[arg-type]
    assert (stop, target) == pytest.approx(levels, abs=Decimal("0.11"))
    assert (stop == signal.stop) == (levels[0] == signal.stop)


def test_every_kind_of_exit_has_a_plan_and_the_strategy_of_conditions_is_known_within_a_trial_alone() -> None:
    assert PLANS.keys() == set(ExitKind)
    assert Leaves.name not in strategy_classes()
    with known():
        assert Leaves.name in strategy_classes()
    assert Leaves.name not in strategy_classes()
