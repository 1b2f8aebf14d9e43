"""Pairs of strategy and timeframe, whether their ranks last, and how large positions could be, on drawn trades."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.reporting.configurations import capacity, configurations, parameter_sets, ranks_last
from trading_assets_tests.reporting.made_reports import START, WavesReader, drawn_trades

DAYS = 40
END = START + DAYS * DAY_MS


def test_each_pair_stands_once_with_what_was_tried_and_what_was_traded() -> None:
    tried, traded = drawn_trades(DAYS, 0.0, 1), drawn_trades(DAYS, 0.0, 2)
    found = configurations(tried[tried["strategy"] == "bands"], traded[traded["timeframe"] == "5m"])
    pairs = [(one.strategy, one.timeframe) for one in found]
    assert pairs == [("bands", "5m"), ("bands", "15m"), ("bands", "60m"), ("trend", "5m")]
    assert found[1].traded is None and found[3].tried is None
    assert found[0].tried is not None and found[0].traded is not None
    own = traded[(traded["strategy"] == "bands") & (traded["timeframe"] == "5m")]
    assert found[0].traded.value == pytest.approx(own["r"].mean()) and found[0].traded.trades == len(own)
    sets = parameter_sets(traded)
    assert sets.traded == 12 and 0 <= sets.earned <= sets.judged <= 12


def test_ranks_that_last_are_told_from_ranks_of_luck() -> None:
    luck = drawn_trades(DAYS, 0.0, 1)
    merit = luck.assign(r=luck["r"] + np.where((luck["strategy"] == "bands") & (luck["timeframe"] == "5m"), 2.0, 0.0))
    assert ranks_last(merit, START, END).probability < 0.05
    of_luck = [ranks_last(drawn_trades(DAYS, 0.0, seed), START, END).probability for seed in range(6)]
    assert 0.25 < np.mean(of_luck) < 0.75
    assert "at least 40 and 5" in ranks_last(luck[luck["strategy"] == "bands"], START, END).reason
    assert "a period is 4 hours" in ranks_last(luck.head(20), START, START + DAY_MS).reason
    longer = luck.assign(exit_ms=luck["entry_ms"] + 3 * DAY_MS)
    assert "longer than 72 hours" in ranks_last(longer, START, END).reason


def test_larger_positions_take_more_of_a_minute_and_cost_more() -> None:
    """Each minute has 1,000 coins of about $100; a position of $100 is a thousandth of that."""
    found = capacity(WavesReader(), drawn_trades(10, 0.1, 1))
    assert found is not None and [size.times for size in found.sizes] == [1, 10, 100]
    one, ten, hundred = found.sizes
    assert one.share_median == pytest.approx(0.1, rel=0.3) and hundred.share_median == pytest.approx(
        100 * one.share_median
    )
    assert one.impact_bps == 0 < ten.impact_bps < hundred.impact_bps
    # It goes with the root of the size: (10 - 1) / (sqrt(10) - 1).
    assert hundred.impact_bps / ten.impact_bps == pytest.approx(9 / (10**0.5 - 1))
    assert ten.mean_bps == pytest.approx(one.mean_bps - ten.impact_bps)
    assert 800 < found.largest < 1_300, "one percent of the turnover of a thin minute"


class Empty(WavesReader):
    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        return super().read(symbol, timeframe, start_ms, start_ms)


def test_without_candles_there_is_no_capacity() -> None:
    assert capacity(Empty(), drawn_trades(3, 0.0, 1)) is None
