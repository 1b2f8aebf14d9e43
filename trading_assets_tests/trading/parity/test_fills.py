"""A filled order of a grid or DCA plan: what is said of it, by its candle."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.trading.parity.compare import Outcome, Verdict
from trading_assets.trading.parity.fills import PlanFill, compare_fills

START = 1_772_323_200_000
LOWS = [100.0, 99.0, 98.0, 99.5, 97.0]
CANDLES = Candles(
    Timeframe.M1,
    START + MINUTE_MS * np.arange(5, dtype=np.int64),
    *(np.array(LOWS) + away for away in (1.0, 2.0, 0.0, 1.0)),
    volume=np.ones(5),
    turnover=np.ones(5),
)
MISSED = Verdict(Outcome.IDLE, "paused")


def buy(minute: float, price: float, *, key: str = "a", waits: bool = True, since: float = 0) -> PlanFill:
    """In the backtest `minute` is the end of a candle."""
    return PlanFill(key, True, START + round(minute * MINUTE_MS), price, waits, "", START + round(since * MINUTE_MS))


@pytest.mark.parametrize(
    ("live", "expected", "outcomes"),
    [
        ([buy(1.5, 99.5)], [buy(2, 99.5)], [Outcome.AGREES]),
        ([buy(1.5, 99.5)], [buy(2, 99.5), buy(5, 99.5)], [Outcome.AGREES, Outcome.IDLE]),
        ([buy(1.5, 99.5), buy(1.8, 99.5)], [buy(2, 99.5)], [Outcome.AGREES, Outcome.WITHIN]),
        ([buy(1.5, 99.5)], [buy(3, 99.5)], [Outcome.WITHIN]),
        ([buy(4.5, 98.5)], [buy(3, 98.5)], [Outcome.NOT_FILLED]),
        ([buy(4.5, 98.5, since=3)], [buy(3, 98.5)], [Outcome.IDLE]),
        ([buy(4.5, 97.9)], [buy(3, 98.1)], [Outcome.LEVELS]),
        ([buy(1.5, 98.5)], [], [Outcome.FILL]),
        ([buy(1.5, 101.5)], [], [Outcome.FILL if LOWS[1] + 2 < 101.5 else Outcome.WITHIN]),
        ([buy(1.5, 99.5, waits=False)], [], [Outcome.FILL]),
        ([buy(1.5, 100.4, waits=False)], [buy(2, 99.5, waits=False)], [Outcome.ENTRY]),
        ([buy(1.5, 99.6, waits=False)], [buy(2, 99.5, waits=False)], [Outcome.AGREES]),
        ([buy(1.5, 99.5, key="b")], [buy(2, 99.5)], [Outcome.WITHIN, Outcome.IDLE]),
        ([buy(9, 99.5)], [], [Outcome.FILL]),
    ],
)
def test_what_is_said_of_a_fill(live: list[PlanFill], expected: list[PlanFill], outcomes: list[Outcome]) -> None:
    pairs = compare_fills(live, expected, CANDLES, 50.0, lambda _one: MISSED)
    assert [pair.verdict.outcome for pair in pairs] == outcomes
    assert sorted(map(id, live)) == sorted(id(pair.live) for pair in pairs if pair.live is not None), "each fill once"


def test_what_hangs_on_an_earlier_difference_has_its_outcome_unless_it_lies_outside_of_the_candle() -> None:
    live = [buy(2.5, 98.5, key="b"), buy(4.5, 105.0, key="c")]
    expected = [buy(1, 100.5), buy(5, 97.5, key="b"), buy(5, 97.5, key="d")]
    pairs = compare_fills(live, expected, CANDLES, 50.0, lambda _one: MISSED, follows=True)
    told = [(pair.one.key, pair.verdict.outcome) for pair in pairs]
    assert told == [("a", Outcome.IDLE), ("b", Outcome.IDLE), ("c", Outcome.FILL), ("d", Outcome.IDLE)]
    assert pairs[1].verdict.reason == "after a difference before: paused"
