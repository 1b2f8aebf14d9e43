"""How trades ended and how far the price went meanwhile, on candles made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.backtesting.endings import excursions, levels, risk_usd, words
from trading_assets.backtesting.engine import Column, Costs
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.backtesting.run import production_engine
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.exits import NO_PLAN, ExitPlan
from trading_assets.core.timeframes import MINUTE_MS, Timeframe

FREE = Costs(fee=0.0, slippage=0.0, notional=100.0)


def column(*bars: tuple[float, float, float, float], long: bool = True, exits: ExitPlan = NO_PLAN) -> Column:
    """An entry at the close of the first bar (open, high, low, close), stop 2 % away, target 4 %."""
    values = np.array(bars, dtype=np.float64).T
    starts = np.arange(len(bars)) * MINUTE_MS
    volume = np.ones(len(bars))
    candles = Candles(Timeframe.M1, starts, *values, volume, volume)
    return Column.from_entry(
        candles, MINUTE_MS, long=long, stop_fraction=0.02, reward_risk=2.0, funding=Funding.empty(), exits=exits
    )


FLAT = (100.0, 100.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("bars", "long", "exits", "reason", "against", "with_it"),
    [
        # The target's bar went lower, too: that may have come after it.
        ([FLAT, (100, 101, 99, 100), (100, 105, 98.5, 99)], True, NO_PLAN, "target", -0.5, 2.0),
        # The stop's bar went higher, too; it opened 0.5 above.
        ([FLAT, (100, 102, 100, 101), (101, 103, 97, 98)], True, NO_PLAN, "stop", -1.0, 1.0),
        ([FLAT, (100, 100, 99, 99), (99, 103, 99, 102)], False, NO_PLAN, "stop", -1.0, 0.5),
        # Through the stop at the open.
        ([FLAT, (95, 96, 94, 95)], True, NO_PLAN, "stop", -2.5, 0.0),
        # Left at a close: all of that bar counts.
        ([FLAT, (100, 101, 99, 100), (100, 103, 98.5, 102)], True, ExitPlan(after_bars=2), "time", -0.75, 1.5),
        ([FLAT, (100, 101, 99, 100.5)], True, NO_PLAN, "open", -0.5, 0.5),
        ([FLAT], True, NO_PLAN, "open", 0.0, 0.0),
    ],
)
def test_excursions_count_what_surely_came_before_the_end(
    bars: list[tuple[float, float, float, float]],
    long: bool,
    exits: ExitPlan,
    reason: str,
    against: float,
    with_it: float,
) -> None:
    made = column(*bars, long=long, exits=exits)
    for engine in (production_engine(), NaiveEngine()):
        (trades,) = engine.simulate([made], FREE)
        assert words(made, trades) == [reason]
        worst, best = excursions(made, trades, FREE)
        assert (worst[0], best[0]) == (pytest.approx(against), pytest.approx(with_it))
        assert risk_usd(made, trades, FREE) == pytest.approx([2.0])


def test_levels_are_measured_from_the_signals_close_whatever_the_fill() -> None:
    made = column(FLAT, (100, 101, 99, 100), long=False)
    costs = Costs(fee=0.0, slippage=0.01, notional=100.0)
    (trades,) = production_engine().simulate([made], costs)
    assert trades.entry_price[0] == pytest.approx(99.0)
    found = levels(made, trades)
    assert (found.stop[0], found.target[0]) == (pytest.approx(102.0), pytest.approx(96.0))
