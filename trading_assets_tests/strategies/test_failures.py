"""What a strategy raised is kept with the bar that made it raise, without secrets, and in a bounded size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trading_assets.core.candles import FloatArray
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.base import Entries, Strategy
from trading_assets.strategies.failures import MOST_CHARACTERS, MOST_ERROR_CHARACTERS, StrategyFailure, failure_of
from trading_assets_tests.strategies.series import random_data

DATA = random_data(3, Timeframe.M15, 700)
END_MS = DATA.candles.end_ms


class Raises(Strategy):
    """Raises what it is told to, once a bar is known."""

    name = "raises_in_tests"
    description = "for tests"
    bar = 0
    message: object = "no such level"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        if len(data.candles) < 20:
            raise ValueError("something else, on so few bars")
        if len(data.candles) > self.bar:
            self.fail()
        return {"one": np.ones(len(data.candles))}

    def fail(self) -> None:
        raise ValueError(self.message)

    @staticmethod
    def entries(v: Any, p: Any) -> Entries:
        return Entries(long=False, short=False, confidence=50.0)


class TwoSided(Raises):
    """What the framework finds in its answer is one of its failures, too."""

    name = "two_sided_in_tests"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"both": (np.arange(len(data.candles)) == 333).astype(np.float64)}

    @staticmethod
    def entries(v: Any, p: Any) -> Entries:
        return Entries(long=v.both > 0, short=v.both > 0, confidence=50.0)


def failed(strategy: Strategy, data: StrategyData = DATA) -> StrategyFailure:
    with pytest.raises(Exception) as caught:
        strategy.signals(data)
    return failure_of(strategy, "ALTUSDT", Timeframe.M15, data, caught.value)


@pytest.mark.parametrize("bar", [20, 41, 320, 698, 699])
def test_the_bar_that_makes_it_fail_is_found_whatever_else_fails_on_fewer(bar: int) -> None:
    strategy = Raises()
    strategy.bar = bar
    found = failed(strategy)
    assert (found.strategy, found.symbol, found.timeframe) == ("raises_in_tests", "ALTUSDT", "15m")
    assert found.bar_ms == END_MS[bar]
    assert found.error == "ValueError: no such level" and "in fail\n" in found.traceback
    assert found.traceback.endswith("ValueError: no such level")


def test_what_the_framework_refuses_has_its_bar_and_what_fails_always_has_none() -> None:
    assert failed(TwoSided()).bar_ms == END_MS[333]

    class Always(Raises):
        def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
            self.fail()
            return {}

    assert failed(Always()).bar_ms is None


def test_a_failure_that_does_not_come_again_has_no_bar() -> None:
    class Once(Raises):
        calls = 0

        def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
            Once.calls += 1
            if Once.calls == 1:
                self.fail()
            return {}

    assert failed(Once()).bar_ms is None


def test_secrets_are_taken_out_and_the_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYBIT_API_SECRET", "verysecret-of-the-key")
    strategy = Raises()
    strategy.bar, strategy.message = 100, "verysecret-of-the-key \x1b[2J " + "x" * 50_000
    found = failed(strategy)
    for text in (found.error, found.traceback):
        assert "verysecret" not in text and "(secret)" in text and "\x1b" not in text
    assert len(found.error) <= MOST_ERROR_CHARACTERS
    assert len(found.traceback) < MOST_CHARACTERS + 100 and "characters left out" in found.traceback

    class Endless(Raises):
        def fail(self) -> None:
            self.fail()

    assert len(failed(Endless()).traceback) < MOST_CHARACTERS
