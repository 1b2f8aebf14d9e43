"""What the framework promises to every strategy and demands of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.errors import StrategyError
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets_tests.strategies.donchian_breakout import DonchianBreakout
from trading_assets_tests.strategies.markets import candles_of_closes, market, walk

BARS = 60
YES, NO = np.ones(BARS, dtype=bool), np.zeros(BARS, dtype=bool)
SURE = np.full(BARS, 70.0)


class Always(Strategy):
    """Returns what it is told to."""

    name = "always"
    description = "for tests"
    answer = Entries(YES, NO, SURE)
    values: Mapping[str, FloatArray] = {}

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return dict(self.values)

    def entries(self, v: Values, p: Parameters) -> Entries:
        return self.answer


def data(candles: Candles | None = None) -> StrategyData:
    return StrategyData("COINUSDT", candles or walk(1, BARS))


def always(**attributes: object) -> Strategy:
    return type("Changed", (Always,), attributes)()


def test_no_entry_before_the_stop_is_defined() -> None:
    signals = Always().signals(data())
    assert not signals.long[:13].any()
    assert signals.long[13:].all()
    assert np.isnan(signals.confidence[:13]).all()
    assert (signals.confidence[13:] == 70).all()


def test_the_stop_is_one_and_a_half_atr_away_and_the_target_twice_that() -> None:
    candles = walk(1, BARS)
    signals = Always().signals(data(candles))
    expected = 1.5 * indicators.atr(candles.high, candles.low, candles.close, 14)
    np.testing.assert_array_equal(signals.stop_distance, expected)
    assert signals.reward_risk == 2.0
    wider = Always({"stop_atr": 3.0, "atr_period": 20, "reward_risk": 1.5}).signals(data(candles))
    expected = 3.0 * indicators.atr(candles.high, candles.low, candles.close, 20)
    np.testing.assert_array_equal(wider.stop_distance, expected)
    assert wider.reward_risk == 1.5


def test_no_entry_where_prices_do_not_move_at_all() -> None:
    flat = candles_of_closes(np.full(BARS, 100.0), wick=0.0)
    assert not Always().signals(data(flat)).long.any()


def test_no_entry_whose_stop_or_target_would_not_be_above_zero() -> None:
    candles = walk(1, BARS)
    wild = replace(candles, high=candles.high * 1.5, low=candles.low * 0.9)  # ATR of about 60 % of the price
    both = always(answer=Entries(YES, NO, SURE)).signals(data(wild))
    assert (both.stop_distance[20:] / wild.close[20:] < 1).all()
    assert both.long[20:].all()
    assert not always(answer=Entries(NO, YES, SURE)).signals(data(wild)).short.any()
    wilder = replace(candles, high=candles.high * 2.0)
    assert not always(answer=Entries(YES, NO, SURE)).signals(data(wilder)).long.any()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"answer": Entries(YES[:-1], NO, SURE)}, "long is bool"),
        ({"answer": Entries(YES, NO, SURE[:-1])}, "confidence is float64"),
        ({"answer": Entries(YES.astype(float), NO, SURE)}, "expected a numpy bool array"),
        ({"answer": Entries(pd.Series(YES), NO, SURE)}, "long is Series"),
        ({"values": {"x": np.zeros(3)}}, "indicator 'x' is float64"),
        ({"values": {"x": 3.0}}, "indicator 'x' is float, expected"),
        ({"answer": Entries(YES, YES, SURE)}, "bar 0 is both long and short"),
        ({"answer": Entries(YES, NO, SURE * np.nan)}, "confidence nan, expected 0 to 100"),
        ({"answer": Entries(YES, NO, SURE * 2)}, "confidence 140.0, expected 0 to 100"),
    ],
)
def test_a_malformed_answer_is_refused_with_a_reason(attributes: dict[str, object], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        always(**attributes).signals(data())


@pytest.mark.parametrize("where", ["indicators", "entries"])
def test_a_strategy_that_asks_to_exit_ends_itself_alone(where: str) -> None:
    def leave(*_: object) -> None:
        sys.exit("no data today")

    with pytest.raises(StrategyError, match=r"it asked to exit \('no data today'\)"):
        always(**{where: leave}).signals(data())


def test_confidence_matters_only_where_an_entry_is() -> None:
    confidence = np.where(np.arange(BARS) == 50, 80.0, np.nan)
    signals = always(answer=Entries(np.arange(BARS) == 50, NO, confidence)).signals(data())
    assert np.flatnonzero(signals.long).tolist() == [50]
    assert signals.confidence[50] == 80


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"stop_atr": -1}, r"stop_atr: .*greater than 0.*found -1"),
        ({"rsi_perod": 14}, r"rsi_perod: Extra inputs.*it has .*rsi_period"),
        ({"rsi_low": 60, "rsi_high": 40}, "rsi_low 60 must lie below rsi_high 40"),
        ({"base_confidence": 95}, "add up to 105"),
        ({"bollinger_period": 1}, "bollinger_period"),
    ],
)
def test_malformed_parameters_are_named(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        BollingerRsi(parameters)


def test_the_bonuses_of_every_strategy_stay_within_100_by_default() -> None:
    assert BollingerRsi().parameters.highest_confidence == 70  # type: ignore[attr-defined]
    assert FibonacciBollinger().parameters.highest_confidence == 95  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [BollingerRsi, FibonacciBollinger, DonchianBreakout])
@pytest.mark.parametrize("bars", [0, 1, 5, 14])
def test_too_few_candles_are_no_entries_and_no_failure(kind: Callable[[], Strategy], bars: int) -> None:
    strategy = kind()
    found = strategy.signals(market(1, Timeframe.M15, strategy.needs(), bars=bars, days=2))
    assert found.long.shape == (bars,)
    assert not (found.long | found.short).any()
