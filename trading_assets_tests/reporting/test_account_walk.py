"""The compiled walk of an account is, to the last bit, the one in which live functions make each decision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading_assets.reporting import account_loops, account_walk, portfolio_simulation
from trading_assets.reporting.portfolio_simulation import simulate_portfolio
from trading_assets.reporting.trades import DROPPED, OPEN, ForwardTrade
from trading_assets_tests.reporting.fixtures import UNLIMITED, settings
from trading_assets_tests.reporting.test_portfolio_simulation import END, START, trade, waiting


def made(
    symbol: str, minute: int, minutes: int, pnl: float, direction: int, kind: str, strategy: str, drift: float
) -> ForwardTrade:
    """A trade of some kind."""
    if kind == "waits":
        one = waiting(symbol, minute, minutes // 3, minutes=minutes, pnl=pnl)
    elif kind == "in vain":
        one = waiting(symbol, minute, None)
    else:
        one = trade(symbol, minute, minutes, pnl, reason=OPEN if kind == "open" else None)
    marks = one.marks * (1 + drift * np.sin(np.arange(len(one.marks))))
    selection = one.selection._replace(strategy=strategy)
    fee = 0.0 if one.reason == DROPPED else 0.055
    return replace(one, selection=selection, direction=direction, marks=marks, entry_fee=fee, pnl=one.pnl - fee)


offered = st.lists(
    st.builds(
        made,
        st.sampled_from("ABCDEFGH"),
        st.integers(0, 2870),
        st.integers(1, 700),
        st.sampled_from([-60.0, -20.0, -5.0, -1.0, 1.0, 2.0, 12.0]),
        st.sampled_from([1, -1]),
        st.sampled_from(["plain", "plain", "plain", "waits", "in vain", "open"]),
        st.sampled_from(["bollinger_rsi", "hyperrsi"]),
        st.sampled_from([0.0, 0.01, 0.3]),
    ),
    max_size=60,
)
limits = st.sampled_from(
    [
        {},
        UNLIMITED,
        {"max_positions": 2, "max_daily_loss_pct": 2.0},
        {"max_drawdown_pct": 3.0, "cooldown_after_stop_s": 600, "max_stops_in_a_row": 2},
        {"weak_symbol_trades": 1, "weak_symbol_min_pnl": "1.0", "min_signal_interval_s": 900},
        {"strategies": ["hyperrsi"], "max_symbol_exposure_pct": 10},
        {"max_total_exposure_pct": 30, "max_position_margin_pct": 100},
        {"max_position_margin_pct": "0.9"},
        {"max_daily_loss_pct": 6.0, "max_drawdown_pct": 6.0},
    ]
)


def compare(trades: list[ForwardTrade], capital: float, **changes: object) -> None:
    ordered = sorted(trades, key=lambda one: (one.entry_ms, one.selection.symbol))
    of = settings(**changes)
    compiled = simulate_portfolio(ordered, of, capital, START, END)
    plain = portfolio_simulation._one_by_one(ordered, of, capital, compiled.times_ms)
    assert [id(one) for one in compiled.taken] == [id(one) for one in plain.taken]
    assert compiled.refused == plain.refused
    assert compiled.halts == plain.halts
    np.testing.assert_array_equal(compiled.equity, plain.equity)
    np.testing.assert_array_equal(compiled.exposure, plain.exposure)


@hypothesis_settings(max_examples=60, deadline=None)
@given(offered, limits, st.sampled_from([1000.0, 100.0, 250.0, 987.65]))
def test_an_account_does_the_same_with_and_without_compiled_code(
    trades: list[ForwardTrade], changes: dict[str, object], capital: float
) -> None:
    compare(trades, capital, **changes)


def test_what_floats_cannot_decide_is_asked_of_the_live_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of 5 % to the last digit, and an exposure that is the limit itself."""
    asked: list[str] = []
    refusal, losses = portfolio_simulation._Live.refusal, portfolio_simulation._Live.losses
    monkeypatch.setattr(portfolio_simulation._Live, "refusal", lambda *a: asked.append("refusal") or refusal(*a))
    monkeypatch.setattr(portfolio_simulation._Live, "losses", lambda *a: asked.append("losses") or losses(*a))
    trades = [trade("A", 1, 10, -50.0), trade("B", 60), trade("C", 24 * 60 + 1, 30, -30.0), trade("D", 24 * 60 + 40)]
    compare(trades, 1000.0, **{**UNLIMITED, "max_daily_loss_pct": 5.0, "max_symbol_exposure_pct": 10})
    assert {"refusal", "losses"} <= set(asked)


def test_every_reason_of_the_compiled_walk_has_its_name() -> None:
    assert len(account_walk.GATES) == account_loops.REFUSALS
    assert account_walk.GATES[account_loops.UNFILLED] == account_walk.UNFILLED
    assert account_walk.GATES[account_loops.HALTED] == account_walk.HALTED
