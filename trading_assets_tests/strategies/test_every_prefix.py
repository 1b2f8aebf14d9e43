"""At every single bar the decision on what was known by its close is the decision with all data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets_tests.strategies.series import known_at, random_data

KINDS = [BollingerRsi, FibonacciBollinger]
TIMEFRAMES = [Timeframe.M3, Timeframe.M15, Timeframe.M60, Timeframe.M120, Timeframe.M240]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32 - 1), timeframe=st.sampled_from(TIMEFRAMES), bars=st.integers(1, 120))
@settings(max_examples=8)
def test_the_last_row_of_every_prefix_is_the_full_runs_row(
    kind: type[Strategy], seed: int, timeframe: Timeframe, bars: int
) -> None:
    strategy = kind()
    data = random_data(seed, timeframe, bars)
    whole = strategy.signals(data)
    for bar, end_ms in enumerate(data.candles.end_ms):
        prefix = strategy.signals(known_at(data, int(end_ms)))
        assert (prefix.long[-1], prefix.short[-1]) == (whole.long[bar], whole.short[bar])
        np.testing.assert_array_equal(prefix.confidence[-1], whole.confidence[bar])
        np.testing.assert_array_equal(prefix.stop_distance[-1], whole.stop_distance[bar])
        for name, array in whole.indicators.items():
            np.testing.assert_array_equal(prefix.indicators[name][-1], array[bar], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_random_data_do_have_entries_of_both_directions(kind: type[Strategy]) -> None:
    found = [kind().signals(random_data(seed, timeframe, 120)) for seed in range(4) for timeframe in TIMEFRAMES]
    assert sum(int(signals.long.sum()) for signals in found) > 10
    assert sum(int(signals.short.sum()) for signals in found) > 10
