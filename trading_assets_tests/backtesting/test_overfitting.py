"""The probability of overfitting and the paths of a drawdown, on worlds whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from trading_assets.backtesting.overfitting import MIN_DAYS, drawdown_paths, overfitting


def world(seed: int, *, best: float = 0.0, drag: float = 0.0, periods: int = 720, tries: int = 40) -> np.ndarray:
    """Normal results of each try; one has a true t of `best`, costs take t's of 0 to `drag` from all."""
    rng = np.random.default_rng(seed)
    results = rng.normal(0, 1, (periods, tries))
    results -= np.linspace(0, drag, tries) / math.sqrt(periods)
    results[:, 0] += best / math.sqrt(periods)
    return results


@pytest.mark.slow
def test_where_ranks_are_luck_it_is_about_a_half_and_with_an_edge_it_is_small() -> None:
    luck = [overfitting(world(seed)).probability for seed in range(8)]
    edge = [overfitting(world(seed, best=5.0)).probability for seed in range(8)]
    assert 0.35 < float(np.mean(luck)) < 0.65
    assert float(np.mean(edge)) < 0.15


def test_where_costs_alone_tell_tries_apart_ranks_persist_and_money_is_lost() -> None:
    found = [overfitting(world(seed, drag=30.0) - 0.05) for seed in range(6)]
    assert float(np.mean([one.probability for one in found])) < 0.3
    assert float(np.mean([one.loss for one in found])) > 0.6


def test_it_is_what_the_definition_says() -> None:
    results = world(3, periods=80, tries=6)
    found = overfitting(results, blocks=4)
    parts = np.array_split(results, 4)
    worse = []
    for chosen in itertools.combinations(range(4), 2):
        inside = np.concatenate([parts[at] for at in chosen])
        outside = np.concatenate([parts[at] for at in range(4) if at not in chosen])
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0)))
        order = (outside.mean(axis=0) / outside.std(axis=0)).argsort().argsort()
        worse.append(order[best] + 0.5 < 3)
    assert found.splits == 6 and found.probability == pytest.approx(np.mean(worse))
    assert found.interval[0] <= found.probability <= found.interval[1]


def test_a_split_of_itself_mirrored_says_the_opposite() -> None:
    rng = np.random.default_rng(5)
    half = rng.normal(0, 1, (200, 20)) + np.linspace(-1, 1, 20)
    persists = overfitting(np.concatenate([half, half]))
    turns = overfitting(np.concatenate([half, -half]), blocks=2)
    assert persists.probability == 0.0 and turns.probability == 1.0


def test_too_little_has_no_verdict_and_tries_that_never_traded_are_none() -> None:
    few = overfitting(world(1, periods=30))
    assert math.isnan(few.probability) and few.reason.startswith("too few: 30 periods and 40 tries")
    assert overfitting(np.ones((1, 1))).reason.startswith("too few: 1 period and 1 try that traded")
    idle = np.hstack([world(1, tries=6), np.zeros((720, 50))])
    assert overfitting(idle).tries == 6 and overfitting(idle).probability == overfitting(world(1, tries=6)).probability


def test_drawdown_paths_cover_what_independent_days_do_next() -> None:
    rng = np.random.default_rng(2)
    deeper = 0
    for _ in range(60):
        days = rng.normal(0, 10, 120)
        found = drawdown_paths(days[:60], 1_000.0, paths=300)
        later = np.concatenate([[0], np.cumsum(days[60:])]) + 1_000
        deeper += (later / np.maximum.accumulate(later) - 1).min() * 100 < found.worst
    assert deeper <= 12  # 5 % if the first days told all


def test_drawdown_paths_are_repeatable_and_ordered() -> None:
    days = np.random.default_rng(4).normal(1, 10, 90)
    found = drawdown_paths(days, 1_000.0)
    assert found == drawdown_paths(days, 1_000.0)
    assert found.worst < found.median < 0 and found.end[0] < found.end[1] < found.end[2]
    equity = 1_000 + np.cumsum(days)
    peak = np.maximum.accumulate(np.maximum(equity, 1_000))
    assert found.seen == pytest.approx(float((equity / peak - 1).min()) * 100)
    assert 0 < found.longest_days <= 90
    always = drawdown_paths(np.ones(40), 1_000.0)
    assert (always.worst, always.longest_days) == (0.0, 0.0)


def test_few_days_have_no_bands() -> None:
    found = drawdown_paths(np.array([1.0, -2.0]), 100.0)
    assert found.reason == f"too few: 2 days, at least {MIN_DAYS} are needed" and math.isnan(found.worst)
    assert drawdown_paths(np.array([1.0]), 100.0).reason.startswith("too few: 1 day, at least")
    assert found.seen == pytest.approx((99 / 101 - 1) * 100)
