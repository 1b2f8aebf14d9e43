"""Live equals backtest: what a strategy decides on the data known at a bar's close is what it decides with all data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets.strategies.hyperrsi import HyperRsi
from trading_assets_tests.strategies.donchian_breakout import DonchianBreakout
from trading_assets_tests.strategies.markets import known_at, market

STRATEGIES = [BollingerRsi, FibonacciBollinger, HyperRsi, DonchianBreakout]
TIMEFRAMES = [Timeframe.M15, Timeframe.M60, Timeframe.M240]


@pytest.mark.slow
@pytest.mark.parametrize("kind", STRATEGIES)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    timeframe=st.sampled_from(TIMEFRAMES),
    cuts=st.lists(st.integers(1, 250), min_size=6, max_size=6),
)
def test_the_last_row_of_any_prefix_is_the_full_runs_row(
    kind: Callable[[], Strategy], seed: int, timeframe: Timeframe, cuts: list[int]
) -> None:
    strategy = kind()
    data = market(seed, timeframe, strategy.needs(), bars=250)
    whole = strategy.signals(data)
    # Bars with an entry are few: look at every one of some, besides the drawn ones.
    entries = np.flatnonzero(whole.long | whole.short)[:10] + 1
    for bars in {*cuts, *entries.tolist()}:
        prefix = strategy.signals(known_at(data, int(data.candles.end_ms[bars - 1])))
        last = bars - 1
        assert len(prefix.long) == bars
        assert (prefix.long[-1], prefix.short[-1]) == (whole.long[last], whole.short[last])
        np.testing.assert_array_equal(prefix.confidence[-1], whole.confidence[last])
        np.testing.assert_array_equal(prefix.stop_distance[-1], whole.stop_distance[last])
        for name, array in whole.indicators.items():
            np.testing.assert_array_equal(prefix.indicators[name][-1], array[last], err_msg=name)


@pytest.mark.parametrize("kind", STRATEGIES)
def test_the_property_is_not_empty(kind: Callable[[], Strategy]) -> None:
    strategy = kind()
    found = [
        strategy.signals(market(seed, timeframe, strategy.needs(), bars=250))
        for seed in range(4)
        for timeframe in TIMEFRAMES
    ]
    assert sum(int((signals.long | signals.short).sum()) for signals in found) > 5


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_strategy_that_looks_ahead_would_be_caught(kind: type[Strategy]) -> None:
    class Peeking(kind):  # type: ignore[misc, valid-type]
        def indicators(self, data: StrategyData) -> dict[str, np.ndarray]:
            values = super().indicators(data)
            return {**values, "rsi": np.append(values["rsi"][1:], np.nan)}

    strategy = Peeking()
    data = market(5, Timeframe.M15, strategy.needs(), bars=250)
    whole = strategy.signals(data)
    prefix = strategy.signals(known_at(data, int(data.candles.end_ms[199])))
    assert prefix.indicators["rsi"][-1] != whole.indicators["rsi"][199]


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_later_start_of_the_data_changes_no_decision_after_the_warm_up(kind: Callable[[], Strategy]) -> None:
    strategy = kind()
    data = market(8, Timeframe.M15, strategy.needs(), bars=1000)
    whole = strategy.signals(data)
    skipped = 1000 - WARM_UP_BARS - 400
    late = strategy.signals(StrategyData(**{**vars(data), "candles": data.candles.select(slice(skipped, None))}))
    decided = slice(skipped + WARM_UP_BARS, None)
    np.testing.assert_array_equal(late.long[WARM_UP_BARS:], whole.long[decided])
    np.testing.assert_array_equal(late.short[WARM_UP_BARS:], whole.short[decided])
    np.testing.assert_allclose(late.stop_distance[WARM_UP_BARS:], whole.stop_distance[decided], rtol=1e-5)
