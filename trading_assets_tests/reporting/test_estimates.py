"""Intervals of means hold the truth about as often as they say, and say "too few" where they cannot."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.reporting.estimates import (
    below_peak_since,
    difference_by_day,
    drawdowns_of,
    mean_by_day,
    mean_of_days,
    order_of_trades,
)
from trading_assets.reporting.figures import Curve
from trading_assets_tests.reporting.made_reports import START, drawn_trades


def test_the_interval_of_a_mean_holds_the_truth_although_trades_of_a_day_are_alike() -> None:
    """30 days, 2 R or -1 R; a day's trades share a coin's toss. Were they independent, a third of the intervals would
    miss."""
    rng, held, naive = np.random.default_rng(1), 0, 0
    for _ in range(400):
        count = rng.poisson(8, 30) + 1
        chance = np.repeat(np.where(rng.random(30) < 0.5, 0.65, 1 / 60), count)  # a third on the average
        entry_ms = START + np.repeat(np.arange(30), count) * DAY_MS
        r = np.where(rng.random(len(chance)) < chance, 2.0, -1.0)
        found = mean_by_day(r, entry_ms)
        held += found.low <= 0 <= found.high
        naive += abs(r.mean()) <= 1.96 * r.std() / np.sqrt(len(r))
    assert 0.92 <= held / 400 <= 0.98 and naive / 400 < 0.75


def test_the_mean_of_one_trade_a_day_has_the_interval_of_students_t() -> None:
    r = np.array([2.0, -1.0] * 12)
    found = mean_by_day(r, START + np.arange(24) * DAY_MS)
    width = 2.0687 * r.std(ddof=1) / np.sqrt(24)  # t of 23 degrees of freedom, from a table
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 - width, 0.5 + width), abs=1e-4)
    assert found.excludes_zero == (width < 0.5)
    wider = mean_by_day(r, START + np.arange(24) * DAY_MS, tests=12)
    assert wider.high - wider.low > 1.3 * (found.high - found.low)
    assert found.trades_needed == pytest.approx(24 * (width / 0.5) ** 2, abs=1)


@pytest.mark.parametrize(("trades", "days"), [(19, 19), (40, 9), (1, 1), (0, 0)])
def test_few_trades_or_days_have_no_interval(trades: int, days: int) -> None:
    entry_ms = START + np.arange(trades) % max(days, 1) * DAY_MS
    found = mean_by_day(np.ones(trades), entry_ms)
    assert np.isnan(found.low) and not found.excludes_zero and np.isnan(found.trades_needed)
    assert found.reason == "no trade" if not trades else found.reason.startswith(f"too few: {trades} trade")


def test_what_two_share_is_no_difference_and_narrows_the_interval() -> None:
    trades = drawn_trades(30, 0.0, 3)
    r, entry_ms = trades["r"].to_numpy(), trades["entry_ms"].to_numpy()
    same = difference_by_day((r, entry_ms), (r, entry_ms))
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    other = np.random.default_rng(1).permutation(r) + 0.2
    paired = difference_by_day((r + 0.2 + 1e-3 * np.arange(len(r)) % 2, entry_ms), (r, entry_ms))
    apart = difference_by_day((other, entry_ms), (r, entry_ms))
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)
    assert mean_of_days(np.full(9, 1.0)).reason.startswith("too few: 9 days")


def test_another_order_of_trades_ends_alike_and_falls_otherwise() -> None:
    trades = drawn_trades(30, 0.0, 1)
    assert np.isnan(order_of_trades(trades.head(19)).worst)
    worst_first = trades.sort_values("pnl").assign(exit_ms=START + np.arange(len(trades)) * HOUR_MS)
    found = order_of_trades(worst_first)
    assert found.seen == pytest.approx(trades.loc[trades["pnl"] < 0, "pnl"].sum())
    assert found.seen < found.worst < found.median < 0
    assert found == order_of_trades(worst_first), "the same seed, the same orders"


def test_a_curve_tells_its_last_peak_and_its_days() -> None:
    times = START + np.arange(25 * 24 + 1) * HOUR_MS
    curve = Curve("x", times, 1000 + np.where(np.arange(len(times)) <= 240, np.arange(len(times)), 200.0))
    assert below_peak_since(curve) == "2026-03-12"
    found = drawdowns_of(curve)
    assert found.days == 25 and found.seen == pytest.approx((1200 / 1240 - 1) * 100)
