"""Figures of a backtest against an example computed by hand, and against laws that they obey."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trading_assets.backtesting.engine import Trades, no_trades
from trading_assets.backtesting.metrics import (
    NO_TRADES,
    PROFIT_FACTOR_CAP,
    equity_curve,
    metrics,
    moments,
    profit_factor,
    split_bar,
)
from trading_assets.core.timeframes import Timeframe
from trading_assets_tests.backtesting import naive
from trading_assets_tests.backtesting.columns import COSTLY, candles_of, random_column

CLOSES = [100.0, 110.0, 105.0, 100.0, 90.0, 95.0]
"""Bars of the example. Trade 1: long 10 from the close of bar 0 at 100 to bar 2 at 106. Trade 2: short 10 from the
close of bar 3 at 100 to bar 4 at 103. Trade 3: long 10 from the close of bar 4 at 90, still open at 95."""


def example() -> Trades:
    # Fees 0.1 % of each fill; funding of trade 1 is 2 USD.
    fees = np.array([1.0 + 1.06, 1.0 + 1.03, 0.9])
    funding = np.array([2.0, 0.0, 0.0])
    return Trades(
        entry=np.array([0, 3, 4]),
        exit=np.array([2, 4, 5]),
        direction=np.array([1, -1, 1]),
        size=np.full(3, 10.0),
        entry_price=np.array([100.0, 100.0, 90.0]),
        exit_price=np.array([106.0, 103.0, 95.0]),
        fees=fees,
        funding=funding,
        pnl=np.array([60.0, -30.0, 50.0]) - fees - funding,
        confidence=np.array([60.0, 80.0, 95.0]),
        closed=np.array([True, True, False]),
    )


EQUITY = [
    1000 - 1.0,  # entry fee of trade 1
    1000 + 100 - 1.0,  # marked at 110
    1000 + 60 - 2.06 - 2.0,  # closed at 106
    1055.94 - 1.0,  # entry fee of trade 2
    1055.94 - 32.03 - 0.9,  # trade 2 closed at 103, entry fee of trade 3
    1023.91 + 50 - 0.9,  # trade 3 marked at 95
]


def candles() -> object:
    return candles_of([(close, close, close, close) for close in CLOSES])


def test_the_equity_curve_is_the_one_computed_by_hand() -> None:
    np.testing.assert_allclose(equity_curve(example(), candles(), 1000.0), EQUITY)


def test_every_figure_is_the_one_computed_by_hand() -> None:
    found = metrics(example(), candles(), 1000.0)
    win, loss = 60 - 2.06 - 2.0, 30 + 2.03
    assert found.total_trades == 2
    assert found.win_rate == 50.0
    assert found.profit_factor == pytest.approx(win / loss)
    assert found.total_pnl == pytest.approx(win - loss)
    assert found.total_return == pytest.approx((win - loss) / 10)
    assert found.confidence_avg == 70.0
    assert found.fees_paid == pytest.approx(2.06 + 2.03)
    assert found.funding_paid == 2.0
    assert found.exposure_pct == pytest.approx((2 + 1 + 1) / 6 * 100)
    assert found.max_drawdown == pytest.approx((1023.01 / 1099 - 1) * 100)
    returns = [(after - before) / 1000 for before, after in zip([1000, *EQUITY], EQUITY, strict=False)]
    mean = sum(returns) / 6
    deviation = math.sqrt(sum((value - mean) ** 2 for value in returns) / 6)
    assert found.sharpe_ratio == pytest.approx(mean / deviation * math.sqrt(365 * 24))
    assert found.skewness == pytest.approx(sum((value - mean) ** 3 for value in returns) / 6 / deviation**3)
    assert found.kurtosis == pytest.approx(sum((value - mean) ** 4 for value in returns) / 6 / deviation**4)
    assert (found.in_sample_trades, found.out_of_sample_trades) == (2, 0)
    assert found.in_sample_pnl == found.total_pnl
    assert found.in_sample_score == pytest.approx(50 * win / loss * math.log(3))


@pytest.mark.parametrize(
    ("split", "seen", "held_back"),
    [(6, [0, 1], []), (5, [0, 1], []), (4, [0], []), (3, [0], [1]), (2, [], [1]), (1, [], [1]), (0, [], [0, 1])],
)
def test_a_trade_across_the_split_is_in_neither_part_nor_is_an_open_one(
    split: int, seen: list[int], held_back: list[int]
) -> None:
    found = metrics(example(), candles(), 1000.0, split)
    pnl = example().pnl
    assert (found.in_sample_trades, found.out_of_sample_trades) == (len(seen), len(held_back))
    assert found.in_sample_pnl == pytest.approx(pnl[seen].sum())
    assert found.out_of_sample_pnl == pytest.approx(pnl[held_back].sum())
    assert found.total_trades == 2


@pytest.mark.parametrize(
    ("bars", "percent", "split"), [(1008, 25.0, 756), (252, 25.0, 189), (10, 0.0, 10), (10, 99.0, 1), (0, 25.0, 0)]
)
def test_the_split_leaves_the_newest_part_out(bars: int, percent: float, split: int) -> None:
    assert split_bar(bars, percent) == split


@settings(max_examples=60)
@given(changes=st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=80).filter(lambda found: np.std(found) > 1e-4))
def test_moments_are_those_of_scipy_and_of_sums_of_powers(changes: list[float]) -> None:
    values = np.array(changes)
    spread, skewness, kurtosis = moments(values)
    assert spread == pytest.approx(values.std())
    assert skewness == pytest.approx(stats.skew(values), rel=1e-7, abs=1e-9)
    assert kurtosis == pytest.approx(stats.kurtosis(values, fisher=False), rel=1e-7)
    m1, m2, m3, m4 = (math.fsum(values**power) / len(values) for power in (1, 2, 3, 4))
    assert skewness * spread**3 == pytest.approx(m3 - 3 * m1 * m2 + 2 * m1**3, rel=1e-6, abs=1e-12)
    assert kurtosis * spread**4 == pytest.approx(m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4, rel=1e-6, abs=1e-12)


def test_a_loss_from_the_first_bar_on_is_a_drawdown_from_the_capital() -> None:
    column = candles_of([(100, 100, 100, 100), (90, 90, 90, 90)])
    losing = Trades(
        entry=np.array([0]),
        exit=np.array([1]),
        direction=np.array([1]),
        size=np.array([10.0]),
        entry_price=np.array([100.0]),
        exit_price=np.array([90.0]),
        fees=np.array([38.0]),  # 20 of them at the entry
        funding=np.zeros(1),
        pnl=np.array([-138.0]),
        confidence=np.array([60.0]),
        closed=np.array([True]),
    )
    assert metrics(losing, column, 1000.0).max_drawdown == pytest.approx(-13.8)


def test_no_trades_are_zeros() -> None:
    assert metrics(no_trades(), candles(), 1000.0) == NO_TRADES
    assert metrics(no_trades(), candles_of([]), 1000.0) == NO_TRADES


@pytest.mark.parametrize(
    ("pnl", "expected"),
    [
        ([], 0.0),
        ([-5.0], 0.0),
        ([0.0], 0.0),
        ([5.0], PROFIT_FACTOR_CAP),
        ([5.0, 0.0], PROFIT_FACTOR_CAP),
        ([5.0, -1e-300], PROFIT_FACTOR_CAP),
        ([5.0, -0.01], PROFIT_FACTOR_CAP),
        ([5.0, -0.1], 50.0),
        ([5.0, -2.0, 1.0, -1.0], 2.0),
    ],
)
def test_profit_factor_is_gross_profit_over_gross_loss_within_its_cap(pnl: list[float], expected: float) -> None:
    assert profit_factor(np.array(pnl)) == pytest.approx(expected)


def test_the_sharpe_ratio_grows_with_the_number_of_bars_in_a_year() -> None:
    hourly = metrics(example(), candles(), 1000.0)
    rows = [(close, close, close, close) for close in CLOSES]
    minutes = metrics(example(), candles_of(rows, Timeframe.M1), 1000.0)
    assert minutes.sharpe_ratio / hourly.sharpe_ratio == pytest.approx(math.sqrt(60))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(1, 150))
def test_figures_obey_their_laws_on_random_trades(seed: int, bars: int) -> None:
    column = random_column(seed, bars)
    trades = naive.simulate(column, COSTLY)
    found = metrics(trades, column.candles, 1000.0)
    assert found.total_trades == int(trades.closed.sum())
    assert 0 <= found.win_rate <= 100
    assert 0 <= found.profit_factor <= PROFIT_FACTOR_CAP
    assert found.max_drawdown <= 0
    assert 0 <= found.exposure_pct <= 100
    assert math.isfinite(found.sharpe_ratio)
    if len(trades):
        equity = equity_curve(trades, column.candles, 1000.0)
        assert equity[-1] == pytest.approx(1000.0 + trades.pnl.sum())
        # The loop's own marking, bar by bar.
        expected = [
            1000.0
            + sum(_worth(trades, trade, bar, float(column.candles.close[bar]), bars) for trade in range(len(trades)))
            for bar in range(bars)
        ]
        np.testing.assert_allclose(equity, expected, rtol=1e-10)


def _worth(trades: Trades, trade: int, bar: int, close: float, bars: int) -> float:
    """What a trade adds to the capital at the close of a bar."""
    if bar < trades.entry[trade]:
        return 0.0
    if trades.closed[trade] and bar >= trades.exit[trade]:
        return float(trades.pnl[trade])
    entry_price, size = trades.entry_price[trade], trades.size[trade]
    funding = trades.funding[trade] if bar == bars - 1 else 0.0
    return float(trades.direction[trade] * size * (close - entry_price) - COSTLY.fee * size * entry_price - funding)
