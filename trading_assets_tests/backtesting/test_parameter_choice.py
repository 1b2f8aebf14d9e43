"""The parameter set is chosen on the in-sample part alone, and what all sets together tell of luck is kept."""

from __future__ import annotations

from dataclasses import asdict, astuple, replace

import numpy as np
import pytest

from trading_assets.backtesting.metrics import NO_TRADES, Metrics
from trading_assets.backtesting.parameter_choice import Tried, choose, tried

WORSE = replace(NO_TRADES, total_trades=20, in_sample_trades=14, in_sample_score=100.0, in_sample_pnl=50.0)
BETTER = replace(WORSE, in_sample_score=200.0)
TEXTS = ('{"set":1}', '{"set":2}', '{"set":3}')


def figures(*sets: Metrics) -> np.ndarray:
    return np.array([astuple(one) for one in sets], dtype=np.float64)


def of(*sets: Metrics, texts: tuple[str, ...] = TEXTS, failed: tuple[int, ...] = ()) -> int | None:
    usable = np.array([index not in failed for index in range(len(sets))])
    return choose(figures(*sets), texts, usable)


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        (BETTER, WORSE, 0),
        (replace(BETTER, in_sample_trades=4), WORSE, 1),
        (replace(BETTER, in_sample_trades=4), replace(WORSE, in_sample_trades=1), 0),
        (replace(WORSE, in_sample_pnl=1.0), replace(WORSE, in_sample_pnl=2.0), 1),
    ],
    ids=["higher score", "too few trades", "both too few", "larger PnL"],
)
def test_the_choice_of_a_parameter_set(first: Metrics, second: Metrics, chosen: int) -> None:
    assert of(first, second) == chosen
    assert of(second, first) == 1 - chosen


def test_equal_sets_are_chosen_by_their_text_and_one_that_failed_never() -> None:
    assert of(WORSE, WORSE) == 0
    assert of(WORSE, WORSE, texts=("b", "a")) == 1
    assert of(BETTER, WORSE, failed=(0,)) == 1
    assert of(BETTER, WORSE, failed=(0, 1)) is None


def test_what_came_after_the_in_sample_part_is_not_looked_at() -> None:
    seen = ("in_sample_trades", "in_sample_score", "in_sample_pnl")
    lucky = {name: 1e6 for name in asdict(WORSE) if name not in seen}
    assert of(replace(WORSE, **lucky), BETTER) == 1
    assert of(WORSE, replace(BETTER, **dict.fromkeys(lucky, -1000000.0))) == 1


def test_sharpe_ratios_of_all_sets_that_traded_are_summed_up() -> None:
    sets = figures(*(replace(WORSE, sharpe_ratio=ratio) for ratio in (2.0, 0.0, -1.0, 99.0)))
    found = tried(sets, np.array([True, True, True, False]))
    assert found == Tried(2, 0.5, 1.5)
    assert tried(sets[1:2], np.array([True])) == Tried(0, 0.0, 0.0)
    assert tried(sets, np.zeros(4, dtype=bool)) == Tried(0, 0.0, 0.0)
