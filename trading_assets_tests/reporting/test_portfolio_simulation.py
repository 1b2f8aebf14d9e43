"""An account takes what its limits allow, and never knows more than the moment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trading_assets.reporting.portfolio_simulation import PortfolioResult, simulate_portfolio
from trading_assets.reporting.trades import DROPPED, OPEN, STOP, TARGET, ForwardTrade, SelectedStrategy, whole_hours
from trading_assets_tests.reporting.fixtures import UNLIMITED, settings

START = 1_772_409_600_000
"""2026-03-02 00:00 UTC."""

END = START + 2 * DAY_MS


def trade(
    symbol: str, minute: int, minutes: int = 30, pnl: float = 1.0, *, reason: str | None = None, size: float = 1.0
) -> ForwardTrade:
    """A long trade of $100 that enters so many minutes after the start and earns `pnl`, without costs."""
    entry_ms = START + minute * MINUTE_MS
    exit_ms = min(entry_ms + minutes * MINUTE_MS, END)
    hours = whole_hours(entry_ms, exit_ms)
    reason = reason or (TARGET if pnl > 0 else STOP)
    return ForwardTrade(
        selection=SelectedStrategy(entry_ms // HOUR_MS * HOUR_MS - HOUR_MS, symbol, "1m", "bollinger_rsi", "{}"),
        entry_ms=entry_ms,
        exit_ms=END if reason == OPEN else exit_ms,
        direction=1,
        size=size,
        entry_price=100.0,
        exit_price=100.0 + pnl,
        entry_fee=0.0,
        fees=0.0,
        slippage=0.0,
        funding=0.0,
        pnl=pnl * size,
        reason=reason,
        confidence=80.0,
        stop_fraction=0.01,
        risk=size,
        marks=np.full(len(hours), 100.0 + pnl / 2),
        first_mark_ms=hours.start,
    )


def portfolio(*trades: ForwardTrade, capital: float = 1000.0, **changes: object) -> PortfolioResult:
    ordered = sorted(trades, key=lambda one: (one.entry_ms, one.selection.symbol))
    return simulate_portfolio(ordered, settings(**changes), capital, START, END)


def test_one_position_a_coin_and_none_on_the_bar_of_its_exit() -> None:
    found = portfolio(trade("A", 1), trade("A", 20), trade("A", 31), trade("A", 32), **UNLIMITED)
    assert [one.entry_ms for one in found.taken] == [START + MINUTE_MS, START + 32 * MINUTE_MS]
    assert found.refused == {"its position is open": 1, "a position was closed on this bar": 1}


def waiting(symbol: str, minute: int, filled_after: int | None, **options: float) -> ForwardTrade:
    """A trade whose entry waits so many minutes, in vain where that is None (ten minutes)."""
    one = trade(symbol, minute, **options)  # type: ignore[arg-type]
    if filled_after is None:
        nothing = {"pnl": 0.0, "reason": DROPPED, "marks": np.empty(0)}
        return replace(one, **nothing, exit_ms=one.entry_ms + 10 * MINUTE_MS)  # type: ignore[arg-type]
    return replace(one, filled_ms=one.entry_ms + filled_after * MINUTE_MS)


def test_an_entry_that_waits_in_vain_keeps_its_coin_and_its_place() -> None:
    found = portfolio(
        *(waiting("A", 1, None), trade("A", 5), trade("A", 11), trade("A", 12), trade("B", 5), trade("C", 11)),
        **{**UNLIMITED, "max_positions": 1},
    )
    assert [(one.selection.symbol, one.entry_ms) for one in found.taken] == [("C", START + 11 * MINUTE_MS)]
    assert found.refused == {
        "its price was not reached": 1,
        "its position is open": 1,
        "a position was closed on this bar": 1,
        "positions": 2,
    }
    assert found.equity[-1] == 1001.0


def test_nothing_is_held_while_an_entry_waits() -> None:
    found = portfolio(waiting("A", 30, 60, minutes=120), **UNLIMITED)
    # At 01:00 it waits, at 02:00 it is open, at 03:00 it has ended.
    assert found.exposure[:4].tolist() == [0.0, 0.0, 100.5, 0.0]
    assert found.equity[:4].tolist() == [1000.0, 1000.0, 1000.5, 1001.0]


def test_a_halt_cancels_the_entries_that_wait() -> None:
    loss = trade("A", 1, 10, -60.0)
    found = portfolio(
        loss, waiting("B", 5, 70, minutes=120), waiting("C", 5, None), **{**UNLIMITED, "max_daily_loss_pct": 5.0}
    )
    assert [one.selection.symbol for one in found.taken] == ["A"]
    assert [halt.cause for halt in found.halts] == ["daily loss"]
    assert found.equity[-1] == 940.0


def test_an_account_sizes_by_its_equity_of_the_moment() -> None:
    """The gain of the first trade is in the size of the second; both are simulated at $100."""
    by = {**UNLIMITED, "max_position_margin_pct": 100, "max_symbol_exposure_pct": 1000, "max_total_exposure_pct": 1000}
    wins = [trade("A", 1, 30, 10.0), trade("B", 60, 30, 10.0)]
    equity = portfolio(*wins, **by, size_by="equity", size_pct="50")
    assert [one.size for one in equity.taken] == pytest.approx([5.0, 5.25])
    assert equity.equity[-1] == pytest.approx(1000 + 50 + 52.5)
    # The stop is 1 % away: $10 at risk are a position of $1000.
    risk = portfolio(*wins, **by, size_by="risk", size_pct="1")
    assert [one.risk for one in risk.taken] == pytest.approx([10.0, 11.0])
    assert [one.size for one in risk.taken] == pytest.approx([10.0, 11.0])
    confidence = portfolio(*wins, **by, size_by="confidence")
    assert [one.size for one in confidence.taken] == pytest.approx([0.8, 0.8])
    fixed = portfolio(*wins, **by)
    assert [one.size for one in fixed.taken] == [1.0, 1.0]


def test_so_many_positions_at_once_and_the_next_when_one_has_ended() -> None:
    limited = {**UNLIMITED, "max_positions": 2}
    found = portfolio(trade("A", 1), trade("B", 1), trade("C", 1), trade("D", 31), **limited)
    assert [one.selection.symbol for one in found.taken] == ["A", "B", "D"]
    assert found.refused == {"positions": 1}


def test_a_daily_loss_stops_entries_until_midnight() -> None:
    losses = [trade(coin, 1, 10, -30.0) for coin in "AB"]
    limited = {**UNLIMITED, "max_daily_loss_pct": 5.0}
    found = portfolio(*losses, trade("C", 60), trade("C", 24 * 60 - 1), trade("D", 24 * 60 + 1), **limited)
    assert [one.selection.symbol for one in found.taken] == ["A", "B", "D"]
    assert [halt.cause for halt in found.halts] == ["daily loss"]
    assert found.refused == {"a limit of loss was reached": 2}


def test_a_drawdown_stops_entries_until_midnight_and_is_then_counted_from_a_new_peak() -> None:
    limited = {**UNLIMITED, "max_drawdown_pct": 5.0}
    falls = [trade("A", 1, 10, -60.0), trade("B", 24 * 60 + 1, 10, -10.0)]
    found = portfolio(*falls, trade("C", 60), trade("C", 25 * 60), **limited)
    assert [one.selection.symbol for one in found.taken] == ["A", "B", "C"]
    assert [halt.cause for halt in found.halts] == ["drawdown"]


def test_pauses_after_losses_are_those_of_live() -> None:
    found = portfolio(trade("A", 1, 10, -1.0), trade("A", 20), trade("A", 27), capital=100_000.0)
    assert found.refused == {"cooldown": 1} and len(found.taken) == 2


def test_the_curve_is_the_capital_the_closed_trades_and_the_open_ones_at_their_marks() -> None:
    found = portfolio(trade("A", 30, 60, 8.0), trade("B", 60 * 47, 30, 3.0, reason=OPEN), **UNLIMITED)
    assert found.equity[0] == 1000.0
    assert found.equity[1] == 1004.0
    assert found.equity[2] == 1008.0
    assert found.equity[-1] == 1011.0
    assert found.exposure[[0, 1, 2]].tolist() == [0.0, 104.0, 0.0]


def test_a_trade_at_the_very_start_is_taken_after_the_first_mark() -> None:
    found = portfolio(trade("A", 0, 60, 8.0), **UNLIMITED)
    assert found.equity[[0, 1]].tolist() == [1000.0, 1008.0]
    assert found.exposure[0] == 0.0 and len(found.taken) == 1


trades_strategy = st.lists(
    st.builds(
        trade,
        st.sampled_from("ABCDEF"),
        st.integers(0, 2870),
        st.integers(1, 600),
        st.sampled_from([-20.0, -5.0, -1.0, 1.0, 2.0, 12.0]),
    ),
    max_size=40,
)


@hypothesis_settings(max_examples=40)
@given(trades_strategy, st.integers(60, 2800))
def test_what_comes_later_changes_nothing_of_what_was_before(trades: list[ForwardTrade], minute: int) -> None:
    now = START + minute * MINUTE_MS
    # The same past; every later trade is gone, every later end is another one.
    changed = [
        replace(one, exit_ms=END, pnl=-90.0, reason=OPEN, marks=one.marks[: (now - one.first_mark_ms) // HOUR_MS + 1])
        if one.exit_ms > now
        else one
        for one in trades
        if one.entry_ms <= now
    ]
    first, second = portfolio(*trades), portfolio(*changed)
    assert [one.entry_ms for one in first.taken if one.entry_ms <= now] == [one.entry_ms for one in second.taken]
    known = int(np.searchsorted(first.times_ms, now, side="right"))
    np.testing.assert_array_equal(first.equity[:known], second.equity[:known])


@hypothesis_settings(max_examples=40)
@given(trades_strategy)
def test_limits_hold_at_every_moment_and_the_curve_ends_with_the_pnl_of_all(trades: list[ForwardTrade]) -> None:
    found = portfolio(*trades, max_positions=3, max_daily_loss_pct=2.0)
    for one in found.taken:
        held = [other for other in found.taken if other.entry_ms <= one.entry_ms < other.exit_ms]
        assert len(held) <= 3
        assert len({other.selection.symbol for other in held}) == len(held)
    assert found.equity[-1] == pytest.approx(1000.0 + sum(one.pnl for one in found.taken))
    assert len(found.taken) + found.refused.total() == len(trades)
