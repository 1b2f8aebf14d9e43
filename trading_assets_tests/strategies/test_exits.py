"""Exit conditions and plans in what a strategy answers: checked as entries are, also for look-ahead and warm-up."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.core.candles import FloatArray
from trading_assets.core.errors import StrategyError
from trading_assets.core.exits import NO_PLAN, ExitPlan
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.bias_checks import look_ahead, warm_up
from trading_assets_tests.backtesting.kernel.markets import seeded


class Crossing(Strategy):
    """RSI below a level; it leaves where the RSI is back."""

    name = "crossing"
    description = "for tests"
    entry_level = 35.0

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"rsi": indicators.rsi(data.candles.close, 14)}

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        low, high = v.rsi < 35, v.rsi > 65
        return Entries(low, high, 60.0, v.rsi > 50, v.rsi < 50)


class Peeking(Crossing):
    """Its exits know the next bar."""

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        found = Crossing.entries(v, p)
        falls = np.append(v.close[1:] < v.close[:-1], False)
        return found._replace(exit_long=falls, exit_short=~falls)


class Remembering(Crossing):
    """Its exits know where the data begin."""

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        since = np.cumsum(v.close > v.open)
        return Crossing.entries(v, p)._replace(exit_long=since % 2 == 0, exit_short=since % 2 == 1)


def data_of(strategy: Strategy) -> StrategyData:
    return seeded([strategy], 3, Timeframe.M15)[0]


def test_exits_come_with_the_entries_of_the_same_method() -> None:
    strategy = Crossing()
    data = data_of(strategy)
    signals = strategy.signals(data)
    np.testing.assert_array_equal(signals.exit_long, signals.indicators["rsi"] > 50)
    np.testing.assert_array_equal(signals.exit_short, signals.indicators["rsi"] < 50)
    assert signals.exits is NO_PLAN and signals.long.any()


def test_an_undefined_condition_is_no_exit() -> None:
    strategy = Crossing()
    signals = strategy.signals(data_of(strategy))
    undefined = np.isnan(signals.indicators["rsi"])
    assert undefined.any()
    assert signals.exit_long is not None and not signals.exit_long[undefined].any()


@pytest.mark.parametrize("kind", [Crossing, Peeking, Remembering])
def test_the_checks_see_exits(kind: type[Strategy]) -> None:
    strategy = kind()
    data = data_of(strategy)
    ahead, early = look_ahead(strategy, data, signals=40), warm_up(strategy, data)
    assert ahead.passed == (kind is not Peeking)
    assert early.passed == (kind is not Remembering)
    if kind is Peeking:
        assert {one.what for one in ahead.violations} >= {"exit long", "exit short"}


def test_an_entry_with_an_exit_of_its_side_is_none() -> None:
    class Both(Crossing):
        @staticmethod
        def entries(v: Values, p: Parameters) -> Entries:
            return Crossing.entries(v, p)._replace(exit_long=True)

    strategy = Both()
    signals = strategy.signals(data_of(strategy))
    assert not signals.long.any() and signals.short.any()
    assert signals.exit_long is not None and signals.exit_long.all()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(3, dtype=bool), np.full(10, np.nan), [True, False], None, 1.0],
    ids=["too short", "NaN", "a list", "none", "a number"],
)
def test_a_malformed_condition_is_refused(wrong: object) -> None:
    class Malformed(Crossing):
        @staticmethod
        def entries(v: Values, p: Parameters) -> Entries:
            return Crossing.entries(v, p)._replace(exit_short=wrong)

    strategy = Malformed()
    with pytest.raises(StrategyError, match=r"exit_short is .*expected a numpy bool array"):
        strategy.signals(data_of(strategy))


@pytest.mark.parametrize(
    ("plan", "told"), [(None, "expected an ExitPlan"), (ExitPlan(parts=((2.0, 0.5),)), "not before the target")]
)
def test_a_plan_that_is_none_is_refused(plan: object, told: str) -> None:
    class Odd(Crossing):
        def exits(self) -> ExitPlan:
            return plan  # type: ignore[return-value]

    with pytest.raises(StrategyError, match=told):
        Odd().signals(data_of(Crossing()))
