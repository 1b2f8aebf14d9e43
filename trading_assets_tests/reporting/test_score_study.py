"""Whether a figure predicts: seen where it does, and seldom where it does not, although coins keep their scores."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from trading_assets.backtesting.metrics import PROFIT_FACTOR_CAP, score
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.reporting import score_study
from trading_assets.reporting.score_study import mean_result, picture, predicts, robust_score
from trading_assets_tests.reporting.fixtures import forward_tested, selections

COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
START = 1_772_409_600_000


def world(seed: int, *, tie: float = 0.0, days: int = 20, coins: int = 20) -> pd.DataFrame:
    """Scores that a coin keeps for days, and results that a coin and an hour share: a market in miniature."""
    rng = np.random.default_rng(seed)
    hours = days * 24
    kept = np.repeat(rng.normal(size=(days // 4, coins)), 4 * 24, axis=0) + 0.3 * rng.normal(size=(hours, coins))
    luck_of_coin = np.repeat(rng.normal(size=(days // 4, coins)), 4 * 24, axis=0)
    results = 0.5 * luck_of_coin + 0.5 * rng.normal(size=(hours, 1)) + rng.normal(size=(hours, coins)) + tie * kept
    there = rng.random((hours, coins)) < 0.6
    traded = there & (rng.random((hours, coins)) < 0.2)
    hour, coin = np.nonzero(there)
    return pd.DataFrame(
        {
            "hour_ms": START + hour * HOUR_MS,
            "symbol": [f"C{number}" for number in coin],
            "score": kept[hour, coin],
            "followed_r": np.where(traded, results, math.nan)[hour, coin],
            "followed_trades": traded[hour, coin].astype(int),
        }
    )


def test_a_score_that_predicts_is_found_and_the_opposite_too() -> None:
    found = predicts(world(1, tie=0.6), "score", permutations=199)
    assert found.correlation > found.high and found.p_value <= 0.01 and found.verdict == "predicts"
    assert predicts(world(1, tie=-0.6), "score", permutations=199).verdict == "predicts the opposite"


@pytest.mark.slow
def test_a_score_that_does_not_is_found_in_about_one_of_twenty_worlds() -> None:
    found = [predicts(world(seed), "score", permutations=99).p_value for seed in range(300)]
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    naive = 0
    for seed in range(300):
        of = world(seed).dropna()
        correlation = of["score"].rank().corr(of["followed_r"].rank())
        naive += abs(correlation) > 1.96 / math.sqrt(len(of))
    assert naive > 0.2 * 300, "what pooled correlations would have called significant"


@pytest.mark.parametrize(("days", "coins"), [(8, 20), (20, 4)])
def test_too_few_is_an_answer(days: int, coins: int) -> None:
    found = predicts(world(1, tie=5, days=days, coins=coins), "score", permutations=99)
    assert found.verdict == "too few" and math.isnan(found.p_value)


def test_a_figure_that_is_missing_leaves_its_rows_out() -> None:
    rows = world(2)
    rows["other"] = rows["score"].where(rows["symbol"] != "C3")
    whole, part = predicts(rows, "score", permutations=9), predicts(rows, "other", permutations=9)
    assert part.pairs == whole.pairs - int(rows.loc[rows["symbol"] == "C3", "followed_trades"].sum())
    assert part.coins == whole.coins - 1


def test_the_error_of_a_mean_takes_days_for_independent_not_trades() -> None:
    rows = world(3)
    alone = mean_result(rows, "all", "")
    traded = rows[rows["followed_trades"] > 0]
    assert alone.mean_r == pytest.approx(traded["followed_r"].mean()) and alone.trades == len(traded)
    # The same day over and over is one day.
    again = pd.concat([rows.assign(hour_ms=rows["hour_ms"] % DAY_MS + START)] * 2)
    assert math.isnan(mean_result(again, "all", "").error)
    sums = traded["followed_r"].groupby(traded["hour_ms"] // DAY_MS).agg(["sum", "size"])
    expected = math.sqrt(((sums["sum"] - alone.mean_r * sums["size"]) ** 2).sum()) / len(traded)
    assert alone.error == pytest.approx(expected)


def test_the_robust_score_of_a_record_without_a_loss_has_one() -> None:
    rows = pd.DataFrame(
        {
            "win_rate": [100.0, 50.0, 0.0],
            "profit_factor": [PROFIT_FACTOR_CAP, 2.0, 0.0],
            "total_trades": [5, 20, 5],
        }
    )
    clean, ordinary, lost = robust_score(rows)
    # Wins of 1: 5 earned, 0.05 lost by the cap, and half a win more; 5 of 6 trades won.
    assert clean == pytest.approx(score(500 / 6, 5 / (0.05 + 0.5), 5))
    # Ten wins of 1 against 5 lost, and half a win more.
    assert ordinary == pytest.approx(score(1000 / 21, 10 / 5.5, 20))
    assert lost == 0.0
    capped = score_study.capped_score(rows, 10.0)
    assert capped[0] == pytest.approx(score(100.0, 10.0, 5)) and capped[1] == pytest.approx(score(50.0, 2.0, 20))


def test_what_a_selection_earned_is_what_its_own_trades_did() -> None:
    chosen = selections(24, *COINS, timeframe="15m")
    tested = forward_tested(chosen)
    rows = pd.DataFrame([one._asdict() for one in chosen])
    found = score_study.followed(rows, tested)
    assert found["followed_trades"].sum() == len(tested.of(chosen)) > 20
    assert (found["followed_trades"] > 0).equals(found["followed_r"].notna())
    earned = (found["followed_r"].fillna(0) * found["followed_trades"]).sum()
    assert earned == pytest.approx(sum(trade.r for trade in tested.of(chosen)))


def test_the_picture_has_a_line_a_cell() -> None:
    cells = [predicts(world(1, tie=0.6), "score", permutations=19), predicts(world(1, coins=3), "score")]
    drawn = picture(cells, "a < b")
    assert drawn.count("<circle") == 1 and drawn.count("too few") == 1 and "a &lt; b" in drawn
