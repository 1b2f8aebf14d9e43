"""Biased strategies are caught, each by the check that is meant for it; honest ones pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Parameters, Strategy, Values
from trading_assets.strategies.bias_checks import Verdict, later_start, look_ahead, warm_up
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets.strategies.grids import DECLARED
from trading_assets.strategies.registry import parameter_sets, strategy_classes
from trading_assets_tests.strategies import biased_strategies
from trading_assets_tests.strategies.donchian_breakout import DonchianBreakout
from trading_assets_tests.strategies.markets import known_at, market

BARS = 900
HONEST = [BollingerRsi, FibonacciBollinger, DonchianBreakout, biased_strategies.Momentum]


def data_for(strategy: Strategy, seed: int = 5, timeframe: Timeframe = Timeframe.M15) -> StrategyData:
    return market(seed, timeframe, strategy.needs(), bars=BARS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", HONEST)
@pytest.mark.parametrize("timeframe", [Timeframe.M15, Timeframe.M60])
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_an_honest_strategy_passes_every_check(kind: type[Strategy], timeframe: Timeframe, seed: int) -> None:
    strategy = kind()
    data = data_for(strategy, seed, timeframe)
    ahead, early = look_ahead(strategy, data, seed=seed, signals=10), warm_up(strategy, data, seed=seed)
    assert ahead == replace(ahead, violations=())
    assert early == replace(early, violations=())
    assert ahead.bars >= 20 and early.bars >= 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", HONEST)
def test_the_checks_of_honest_strategies_do_look_at_signals(kind: type[Strategy]) -> None:
    verdicts = [look_ahead(kind(), data_for(kind(), seed), seed=seed) for seed in (5, 6, 7)]
    assert sum(verdict.signals for verdict in verdicts) > 20
    assert sum(warm_up(kind(), data_for(kind(), seed)).signals for seed in (5, 6, 7)) > 20


@pytest.mark.parametrize("kind", biased_strategies.PEEKING)
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_strategy_that_looks_ahead_is_caught(kind: type[Strategy], seed: int) -> None:
    verdict = look_ahead(kind(), data_for(kind(), seed), seed=seed, signals=8, others=4)
    assert not verdict.passed


@pytest.mark.parametrize("kind", biased_strategies.FORGETFUL)
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_strategy_whose_warm_up_is_too_short_is_caught(kind: type[Strategy], seed: int) -> None:
    assert not warm_up(kind(), data_for(kind(), seed), seed=seed).passed


@pytest.mark.parametrize(
    "kind", [biased_strategies.NextClose, biased_strategies.UnfinishedHour, biased_strategies.NextFunding]
)
def test_looking_ahead_is_told_from_forgetting(kind: type[Strategy]) -> None:
    assert warm_up(kind(), data_for(kind())).passed


@pytest.mark.parametrize(
    "kind", [biased_strategies.LongAverage, biased_strategies.BarCounter, biased_strategies.SinceTheStart]
)
def test_forgetting_is_told_from_looking_ahead(kind: type[Strategy]) -> None:
    assert look_ahead(kind(), data_for(kind())).passed


def test_a_violation_names_bar_and_both_values() -> None:
    data = data_for(biased_strategies.OnlyInItsEntries())
    whole = biased_strategies.OnlyInItsEntries().signals(data)
    violations = look_ahead(biased_strategies.OnlyInItsEntries(), data).violations
    longs = {violation.time_ms: violation for violation in violations if violation.what == "long"}
    first = int(np.flatnonzero(whole.long & (np.arange(BARS) >= WARM_UP_BARS))[0])
    found = longs[int(data.candles.end_ms[first])]
    assert (found.whole, found.cut) == ("1", "0")
    assert {violation.what for violation in violations} == {"long", "short", "confidence"}


def test_a_strategy_that_fails_on_less_data_says_so() -> None:
    (violation, *_) = warm_up(biased_strategies.NeedsMuch(), data_for(biased_strategies.NeedsMuch())).violations
    assert violation.cut == "ValueError: too few bars"


def test_one_flip_at_a_threshold_is_rounding_and_two_are_a_violation() -> None:
    """`WARM_UP_TOLERANCE` allows the values to differ by a little, and entries stand on such values."""

    class Flipping(biased_strategies.Crossing):
        name = "flipping"
        at = (BARS - 5,)

        def line(self, data: StrategyData) -> np.ndarray:
            return indicators.change_pct(data.candles.close, 10)

        def entries(self, v: Values, p: Parameters) -> biased_strategies.Entries:
            entries = super().entries(v, p)
            if len(v.close) < BARS:
                for bar in self.at:
                    entries.long[bar - BARS] ^= True
            return entries._replace(short=entries.short & ~entries.long)

    assert warm_up(Flipping(), data_for(Flipping())).passed
    Flipping.at = (BARS - 5, BARS - 9)
    assert [found.what for found in warm_up(Flipping(), data_for(Flipping())).violations] == ["long", "long"]


@pytest.mark.parametrize("name", sorted(strategy_classes()))
def test_no_set_of_a_shipped_grid_needs_more_warm_up_than_it_gets(name: str) -> None:
    for strategy in parameter_sets(name, grid=DECLARED):
        verdict = warm_up(strategy, data_for(strategy))
        assert verdict.passed and verdict.bars > 0, strategy.parameters


def test_too_few_bars_compare_nothing() -> None:
    strategy = BollingerRsi()
    short = market(5, Timeframe.M15, strategy.needs(), bars=WARM_UP_BARS + 50)
    assert warm_up(strategy, short) == Verdict(0, 0, ())
    assert look_ahead(strategy, replace(short, candles=short.candles.select(slice(0, 1)))).passed


def test_the_same_seed_looks_at_the_same_bars() -> None:
    data = data_for(biased_strategies.NextClose())
    one, again = (look_ahead(biased_strategies.NextClose(), data, seed=3, signals=5, others=3) for _ in range(2))
    assert one == again
    assert one != look_ahead(biased_strategies.NextClose(), data, seed=4, signals=5, others=3)


def test_a_later_start_keeps_just_what_a_loader_would_give() -> None:
    needs = DataNeeds(candles={Timeframe.M60: 7}, btc={Timeframe.M240: 3}, funding=True)
    data = market(5, Timeframe.M15, needs, bars=BARS)
    late = later_start(data, needs, 100, WARM_UP_BARS)
    decided = int(late.candles.start_ms[WARM_UP_BARS])
    assert decided == data.candles.start_ms[100 + WARM_UP_BARS]
    assert late.other[Timeframe.M60].start_ms[0] == decided - decided % Timeframe.M60.ms - 7 * Timeframe.M60.ms
    assert late.btc[Timeframe.M240].start_ms[0] == decided - decided % Timeframe.M240.ms - 3 * Timeframe.M240.ms
    assert late.other[Timeframe.M60].end_ms[-1] == data.other[Timeframe.M60].end_ms[-1]
    known = known_at(data, decided)
    assert 0 < len(late.funding) < len(data.funding)
    assert known.funding.time_ms[-1] - late.funding.time_ms[0] > Timeframe.D1.ms
