"""Numbers of a report on curves and trades that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.reporting.figures import TRADE_COLUMNS, Curve, by_dimension, daily_returns, figures

START = 1_772_409_600_000
"""2026-03-02 00:00 UTC."""


def curve(*equity: float, start_ms: int = START) -> Curve:
    times = start_ms + HOUR_MS * np.arange(len(equity), dtype=np.int64)
    return Curve("any", times, np.array(equity, dtype=np.float64))


def trades(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Trades of (strategy, timeframe, PnL), an hour long, of $100, with $0.11 of fees."""
    fixed = {"entry_ms": START, "exit_ms": START + HOUR_MS, "symbol": "A", "parameters": "{}", "hour_ms": START}
    fixed |= {"side": "LONG", "entry_price": 50.0, "exit_price": 51.0, "size": 2.0, "fees": 0.11, "slippage": 0.04}
    fixed |= {"funding": 0.01, "confidence": 60.0}
    return pd.DataFrame(
        [
            {
                **fixed,
                "strategy": strategy,
                "timeframe": timeframe,
                "pnl": pnl,
                "r": pnl / 2,
                "bps": pnl * 100,
                "reason": "target" if pnl > 0 else "stop",
            }
            for strategy, timeframe, pnl in rows
        ],
        columns=TRADE_COLUMNS,
    )


def test_the_headline_numbers_of_a_small_curve() -> None:
    found = figures(curve(100, 110, 99, 104.5), trades(("x", "1m", 3.0), ("y", "5m", -1.0)), np.array([0, 50, 99, 0]))
    assert found.return_pct == pytest.approx(4.5)
    assert found.max_drawdown_pct == pytest.approx(-10.0)
    changes = np.array([0.1, -0.11, 0.055])
    assert found.sharpe_ratio == pytest.approx(changes.mean() / changes.std() * math.sqrt(8760))
    assert (found.trades, found.win_rate, found.profit_factor) == (2, 50.0, 3.0)
    assert found.turnover == pytest.approx(2 * (100 + 102))
    assert (found.fees, found.slippage, found.funding) == pytest.approx((0.22, 0.08, 0.02))
    assert found.exposure_pct == pytest.approx((0 + 50 / 110 + 1 + 0) / 4 * 100)
    assert found.mean_hours == 1.0


def test_more_pairs_of_strategy_and_timeframe_deflate_more() -> None:
    rising = curve(*(1000 + np.cumsum(np.tile([3.0, -1.0], 60))).tolist())
    flat = np.zeros(len(rising.equity))
    one = trades(*[("x", "1m", pnl) for pnl in (1.0, 2.0, -1.0) * 8])
    many = trades(*[(name, "1m", pnl) for name in "abcdefgh" for pnl in (1.0 + ord(name) % 3, 2.0, -1.0)])
    assert 0 < figures(rising, many, flat).deflated_sharpe < figures(rising, one, flat).deflated_sharpe <= 1
    assert math.isnan(figures(rising, one.iloc[:19], flat).deflated_sharpe)
    assert figures(rising, one.iloc[:20], flat).deflated_sharpe > 0


def test_an_account_that_never_traded_has_numbers_all_the_same() -> None:
    found = figures(curve(1000, 1000, 1000), trades(), np.zeros(3))
    assert (found.return_pct, found.trades, found.turnover) == (0.0, 0, 0.0)
    assert all(map(math.isnan, (found.sharpe_ratio, found.sharpe_error, found.deflated_sharpe, found.mean_r)))
    assert by_dimension(trades(), "symbol").empty


def test_a_straight_line_has_no_sharpe_ratio() -> None:
    for step in (0.1, -0.3, 1e-3):
        straight = curve(*(1000 + step * np.arange(200)).tolist())
        found = figures(straight, trades(*[("x", "1m", 1.0)] * 30), np.zeros(200))
        assert math.isnan(found.sharpe_ratio) and math.isnan(found.deflated_sharpe)


def test_an_account_that_lost_more_than_it_had_has_no_nonsense_for_numbers() -> None:
    """A stop that is jumped over takes more than the equity: nothing is a percentage of it from then on."""
    day = [*np.linspace(1000.0, 10.0, 20), *np.full(10, -5.0), *np.full(30, -400.0)]
    with np.errstate(all="raise"):
        found = figures(curve(*day), trades(("x", "1m", -1400.0)), np.where(np.arange(60) < 40, 500.0, 0.0))
    assert found.return_pct == pytest.approx(-140.0) and found.max_drawdown_pct == pytest.approx(-140.0)
    assert 50 < found.exposure_pct < 5000 and found.sharpe_ratio < 0
    days = daily_returns(curve(*day))
    assert list(days) == ["2026-03-02"] and days["2026-03-02"] == pytest.approx(-100.5)


def test_exact_ties_are_neither_won_nor_lost() -> None:
    with np.errstate(all="raise"):
        found = figures(curve(1000, 1000, 1000), trades(*[("x", "1m", tie) for tie in (0.0, -0.0)] * 15), np.zeros(3))
        (row,) = by_dimension(trades(*[("x", "1m", -0.0)] * 3), "strategy").to_dict("records")
    assert (found.win_rate, found.profit_factor, found.pnl, found.mean_r) == (0.0, 0.0, 0.0, 0.0)
    assert math.isnan(found.sharpe_ratio) and math.isnan(found.deflated_sharpe)
    assert (row["trades"], row["win_rate"], row["pnl"]) == (3, 0.0, 0.0)


def test_closed_and_open_trades_are_apart() -> None:
    rows = trades(("x", "1m", 3.0), ("x", "1m", -1.0), ("x", "1m", 50.0), ("y", "1m", -7.0))
    rows.loc[2:, "reason"] = "open"
    found = figures(curve(100, 145, 140), rows, np.zeros(3))
    assert (found.trades, found.pnl, found.open_trades, found.open_pnl) == (2, 2.0, 2, 43.0)
    assert (found.win_rate, found.mean_r, found.mean_bps, found.whole_pnl) == (50.0, 0.5, 100.0, 45.0)
    x, y = by_dimension(rows, "strategy").to_dict("records")
    assert (x["trades"], x["win_rate"], x["pnl"], x["open_trades"], x["open_pnl"]) == (2, 50.0, 2.0, 1, 50.0)
    assert (y["trades"], y["pnl"], y["open_trades"], y["open_pnl"]) == (0, 0.0, 1, -7.0) and math.isnan(y["win_rate"])


def test_days_are_those_of_utc_and_multiply_to_the_whole() -> None:
    rng = np.random.default_rng(3)
    whole = curve(*(1000 * np.cumprod(1 + rng.normal(0, 0.01, 60))).tolist(), start_ms=START + 5 * HOUR_MS)
    days = daily_returns(whole)
    assert list(days) == ["2026-03-02", "2026-03-03", "2026-03-04"]
    midnight = (START + DAY_MS - int(whole.times_ms[0])) // HOUR_MS
    assert days["2026-03-02"] == pytest.approx((whole.equity[midnight] / whole.equity[0] - 1) * 100)
    assert math.prod(1 + value / 100 for value in days.values()) == pytest.approx(whole.equity[-1] / whole.equity[0])


def test_results_by_one_dimension_add_up() -> None:
    rows = by_dimension(trades(("x", "1m", 3.0), ("y", "5m", -1.0), ("y", "1m", 2.5)), "strategy")
    assert rows["strategy"].tolist() == ["x", "y"]
    assert rows["pnl"].tolist() == [3.0, 1.5] and rows["win_rate"].tolist() == [100.0, 50.0]
