"""The parameter set is chosen on the in-sample part alone, and what all sets together tell of luck is kept."""

from __future__ import annotations

from dataclasses import asdict, astuple, replace

import numpy as np
import pytest

from trading_assets.backtesting.metrics import NO_TRADES, Metrics
from trading_assets.backtesting.parameter_choice import choose_parameters, trials_from

WORSE = replace(NO_TRADES, total_trades=20, in_sample_trades=14, in_sample_score=100.0, in_sample_pnl=50.0)
BETTER = replace(WORSE, in_sample_score=200.0)
TEXTS = ('{"set":1}', '{"set":2}', '{"set":3}')


def figures(*sets: Metrics) -> np.ndarray:
    """Of one coin, shape (1, sets, fields)."""
    return np.array([[astuple(one) for one in sets]], dtype=np.float64)


def of(*sets: Metrics, texts: tuple[str, ...] = TEXTS, failed: tuple[int, ...] = ()) -> int:
    usable = np.array([[index not in failed for index in range(len(sets))]])
    return int(choose_parameters(figures(*sets), texts[: len(sets)], usable)[0])


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
    assert of(BETTER, WORSE, failed=(0, 1)) == -1


def test_what_came_after_the_in_sample_part_is_not_looked_at() -> None:
    seen = ("in_sample_trades", "in_sample_score", "in_sample_pnl")
    lucky = {name: 1e6 for name in asdict(WORSE) if name not in seen}
    assert of(replace(WORSE, **lucky), BETTER) == 1
    assert of(WORSE, replace(BETTER, **dict.fromkeys(lucky, -1000000.0))) == 1


def test_sharpe_ratios_of_all_sets_that_traded_are_summed_up() -> None:
    sets = figures(*(replace(WORSE, sharpe_ratio=ratio) for ratio in (2.0, 0.0, -1.0, 99.0)))
    found = trials_from(sets, np.array([[True, True, True, False]]))
    assert [values.tolist() for values in vars(found).values()] == [[2], [0.5], [1.5]]
    for nothing in (trials_from(sets[:, 1:2], np.array([[True]])), trials_from(sets, np.zeros((1, 4), dtype=bool))):
        assert [values.tolist() for values in vars(nothing).values()] == [[0], [0.0], [0.0]]


def test_each_coin_has_its_own_choice() -> None:
    rng = np.random.default_rng(1)
    many = figures(*[WORSE] * 6).repeat(50, axis=0)
    # Few different values, so that there are ties of every kind.
    many[:, :, [13, 14, 15]] = rng.integers(3, 8, (50, 6, 3))
    usable = rng.random((50, 6)) < 0.7
    texts = [f"{{{place}}}" for place in rng.permutation(6)]
    together = choose_parameters(many, texts, usable)
    for coin in range(50):
        alone = choose_parameters(many[coin : coin + 1], texts, usable[coin : coin + 1])
        by_hand = min(
            np.flatnonzero(usable[coin]),
            key=lambda one: (many[coin, one, 13] < 5, -many[coin, one, 14], -many[coin, one, 15], texts[one]),
            default=-1,
        )
        assert together[coin] == alone[0] == by_hand
