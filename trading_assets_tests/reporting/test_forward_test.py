"""Selections followed into the hour after them: only candles that the selection had not seen, to the trade's end."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from trading_assets.backtesting.engine import LimitEntry
from trading_assets.core.models import EntryOrder
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.reporting.figures import trades_frame, tried_frame
from trading_assets.reporting.forward_test import run_forward_tests
from trading_assets.reporting.trades import OPEN, STOP, TARGET, ForwardTrade, SelectedStrategy
from trading_assets_tests.reporting.fixtures import COSTS, HOUR, Poisoned, forward_tested, market, selections

COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def trades_of(chosen: list[SelectedStrategy], **options: int) -> list[ForwardTrade]:
    return forward_tested(chosen, **options).of(chosen)


@pytest.mark.parametrize("timeframe", ["1m", "15m", "120m"])
def test_an_hour_enters_only_on_bars_that_close_from_its_as_of_to_the_next_one(timeframe: str) -> None:
    chosen = selections(24, *COINS, timeframe=timeframe)
    found = forward_tested(chosen)
    entries = [(selection, trade) for selection, trades in found.trades.items() for trade in trades]
    assert len(entries) > 5
    for selection, trade in entries:
        assert as_of_ms(selection.hour_ms) <= trade.entry_ms <= selection.end_ms
        assert trade.entry_ms % Timeframe(timeframe).ms == 0
    edges = {trade.entry_ms - as_of_ms(selection.hour_ms) for selection, trade in entries}
    assert {0, HOUR_MS} <= edges


def test_no_trade_enters_above_the_price_at_which_a_position_has_a_quantity() -> None:
    free = trades_of(selections(24, "ETHUSDT"))
    closes = [trade.entry_price for trade in free]
    most = (min(closes) + max(closes)) / 2
    limited = [selection._replace(max_price=most) for selection in selections(24, "ETHUSDT")]
    allowed = [trade.entry_ms for trade in trades_of(limited)]
    # The close lies a slippage beside the fill.
    expected = [t.entry_ms for t in free if t.entry_price / (1 + t.direction * COSTS.slippage) <= most]
    assert allowed == expected and 0 < len(allowed) < len(free)


def test_a_bar_on_which_two_selections_decide_alike_is_one_signal_of_the_older() -> None:
    chosen = selections(24, *COINS, timeframe="60m")
    found = forward_tested(chosen)
    decided = [trade for trades in found.trades.values() for trade in trades]
    signals = found.of(chosen)
    twice = len(decided) - len(signals)
    assert twice > 5
    assert len({(trade.entry_ms, trade.selection.symbol) for trade in decided}) == len(signals)
    at_as_of = [trade for trade in signals if trade.entry_ms == as_of_ms(trade.selection.hour_ms)]
    assert {trade.selection.hour_ms for trade in at_as_of} <= {HOUR}, "later ones are the older selection's"


def test_of_signals_at_one_moment_the_most_confident_goes_first() -> None:
    chosen = selections(40, *COINS, timeframe="15m", strategy="fibonacci_bollinger", band=0.1)
    found = trades_of(chosen)
    together = [
        (one, other)
        for one, other in itertools.pairwise(found)
        if (one.entry_ms, one.selection.hour_ms) == (other.entry_ms, other.selection.hour_ms)
    ]
    assert any(one.confidence > other.confidence and one.selection > other.selection for one, other in together)
    assert all(one.confidence >= other.confidence for one, other in together)
    assert [one.entry_ms for one in found] == sorted(one.entry_ms for one in found)


def test_a_trade_is_followed_into_later_hours_and_one_still_open_is_marked_at_the_end() -> None:
    chosen = selections(30, *COINS, timeframe="30m")
    early, late = trades_of(chosen), trades_of(chosen, end_ms=HOUR + 4 * DAY_MS)
    assert {trade.reason for trade in late} == {STOP, TARGET}
    assert any(trade.exit_ms > trade.selection.end_ms for trade in late)
    assert len(early) == len(late)
    still_open = 0
    for short, long in zip(early, late, strict=True):
        if short.reason != OPEN:
            assert short.exit_ms == long.exit_ms and short.pnl == long.pnl
            continue
        still_open += 1
        end_ms = as_of_ms(HOUR) + 30 * HOUR_MS
        assert short.exit_ms == end_ms < long.exit_ms
        [last] = market().read(short.selection.symbol, Timeframe.M30, end_ms - 1_800_000, end_ms).close
        gain = short.direction * short.size * (last - short.entry_price)
        assert short.pnl == pytest.approx(gain - short.entry_fee - short.funding)
        assert short.fees == short.entry_fee
    assert still_open


def test_the_parts_of_a_trade_add_up_to_its_pnl() -> None:
    for trade in trades_of(selections(12, *COINS), end_ms=HOUR + 2 * DAY_MS):
        gross = trade.direction * trade.size * (trade.exit_price - trade.entry_price)
        assert trade.pnl == pytest.approx(gross - trade.fees - trade.funding)
        fills = trade.size * (trade.entry_price + trade.exit_price)
        assert trade.fees == pytest.approx(fills * COSTS.fee)
        assert trade.slippage == pytest.approx(fills * COSTS.slippage, rel=1e-3)
        assert (trade.pnl > 0) is (trade.reason == TARGET) or trade.stop_fraction < 0.003


def test_marks_are_the_last_closes_of_whole_hours_while_it_is_open() -> None:
    trade = trades_of(selections(24, *COINS, timeframe="240m"), end_ms=HOUR + 9 * DAY_MS)[0]
    hours = np.arange(trade.first_mark_ms, trade.exit_ms, HOUR_MS)
    assert len(trade.marks) == len(hours) > 4
    hourly = market().read(trade.selection.symbol, Timeframe.M60, int(hours[0]) - HOUR_MS, int(hours[-1]))
    np.testing.assert_array_equal(trade.marks, hourly.close)
    assert trade.mark_at(trade.entry_ms - 1) == trade.entry_price
    assert trade.mark_at(int(hours[2]) + 5) == hourly.close[2]


@pytest.mark.parametrize("after", [3, 7])
def test_nonsense_after_a_moment_changes_no_decision_before_it(after: int) -> None:
    chosen = [*selections(10, *COINS), *selections(10, "BTCUSDT", timeframe="15m", strategy="fibonacci_bollinger")]
    moment = as_of_ms(HOUR) + after * HOUR_MS
    poisoned = Poisoned(market(), moment)
    honest, changed = forward_tested(chosen).of(chosen), forward_tested(chosen, poisoned).of(chosen)
    assert poisoned.poisoned > 100

    def before(trades: list[ForwardTrade]) -> list[tuple[object, ...]]:
        return [
            (trade.selection, trade.entry_ms, trade.entry_price, trade.stop_fraction, trade.confidence)
            + ((trade.exit_ms, trade.exit_price, trade.pnl) if trade.exit_ms <= moment else ())
            for trade in trades
            if trade.entry_ms <= moment
        ]

    assert len(before(honest)) > 5
    assert before(honest) == before(changed)
    assert [trade.entry_ms for trade in honest] != [trade.entry_ms for trade in changed]


@pytest.mark.parametrize(
    ("timeframe", "strategy"),
    [
        *(("1m", "bollinger_rsi"), ("15m", "bollinger_rsi"), ("5m", "hyperrsi")),
        *(("15m", "fibonacci_bollinger"), ("60m", "bollinger_rsi")),
    ],
)
def test_hours_that_are_decided_together_have_the_trades_of_each_alone(timeframe: str, strategy: str) -> None:
    mixed = [
        selection
        for number in range(2)
        for selection in selections(30, "SOLUSDT", timeframe=timeframe, strategy=strategy, atr_period=14 + number)
        if selection.hour_ms // HOUR_MS % 3 != number
    ]
    alone, at_once = forward_tested(mixed), forward_tested(mixed, together=True)
    assert set(alone.trades) == set(at_once.trades)
    for one, other in zip(alone.of(mixed), at_once.of(mixed), strict=True):
        assert (one.selection, one.entry_ms, one.exit_ms) == (other.selection, other.entry_ms, other.exit_ms)
        assert one.pnl == pytest.approx(other.pnl, rel=1e-4, abs=1e-4)
    assert alone.of(mixed)


def test_a_strategy_that_cannot_be_made_concerns_its_own_selections_alone() -> None:
    good, bad = selections(3, "ETHUSDT"), selections(3, "BTCUSDT", strategy="no_such_strategy")
    found = forward_tested([*good, *bad])
    assert set(found.failures) == set(bad) and "no_such_strategy" in next(iter(found.failures.values()))
    assert set(found.trades) == set(good)


def test_what_was_not_kept_of_trades_is_found_once_more_to_the_last_bit() -> None:
    chosen = [
        *(*selections(20, *COINS, timeframe="5m"), *selections(20, *COINS, timeframe="240m")),
        *selections(20, "SOLUSDT", timeframe="15m", strategy="fibonacci_bollinger"),
    ]
    end_ms = as_of_ms(chosen[-1].hour_ms) + HOUR_MS
    asked = {"end_ms": end_ms, "min_confidence": 60.0, "costs": COSTS}
    whole = run_forward_tests(market(), chosen, **asked)  # type: ignore[arg-type]
    spare = run_forward_tests(market(), chosen, **asked, details=False)  # type: ignore[arg-type]
    assert len(spare.table.fees) == 0 and len(spare.table) == len(whole.table) > 50
    some = np.random.default_rng(2).permutation(len(whole.table))[:40]
    for one, other in zip(
        whole.table.take(some).trades(), spare.detailed(spare.table.take(some)).trades(), strict=True
    ):
        np.testing.assert_array_equal(one.marks, other.marks)
        assert replace(one, marks=COINS) == replace(other, marks=COINS)  # type: ignore[arg-type]


def test_signals_of_all_trades_are_a_frame_in_live_s_order() -> None:
    chosen = selections(30, *COINS, timeframe="15m")
    found = forward_tested(chosen)
    frame, rows = tried_frame(found.table), trades_frame(found.of(found.trades))
    for column in ("entry_ms", "exit_ms", "timeframe", "strategy", "r", "reason"):
        assert frame[column].tolist() == rows[column].tolist()


@pytest.mark.slow
def test_entries_that_wait_are_the_same_signals_filled_at_their_price_or_not_at_all() -> None:
    """Held against the candles: a price beyond the entry's within its bars, and what it keeps its coin for."""
    chosen = selections(24, *COINS, timeframe="15m")
    step, bars, offset = Timeframe.M15.ms, 2, 0.001
    costs = replace(COSTS, entry=LimitEntry(EntryOrder.LIMIT, offset, bars, fee=0.0002, deviation=0.005))
    found = forward_tested(chosen, costs=costs).of(chosen, unfilled=True)
    at_market = {(one.entry_ms, one.selection): one for one in trades_of(chosen)}
    assert {(one.entry_ms, one.selection) for one in found} == set(at_market)
    filled, end_ms = 0, as_of_ms(chosen[-1].hour_ms) + HOUR_MS
    for one in found:
        close = at_market[one.entry_ms, one.selection].entry_price / (1 + one.direction * COSTS.slippage)
        level = close * (1 - one.direction * offset)
        lived = market().read(one.selection.symbol, Timeframe.M15, one.entry_ms, one.entry_ms + bars * step)
        lived = lived.closed_by(end_ms)
        worst = lived.low if one.direction > 0 else -lived.high
        beyond = np.flatnonzero(worst < one.direction * level - 1e-9 * level)
        assert one.is_filled == bool(len(beyond))
        assert one.entry_price == pytest.approx(level)
        if not one.is_filled:
            assert one.exit_ms == min(one.entry_ms + bars * step, end_ms) and one.pnl == one.fees == 0
            continue
        filled += 1
        assert one.filled_ms == lived.end_ms[beyond[0]]
        assert one.slippage < one.size * one.exit_price * COSTS.slippage * 1.01
        assert one.size == pytest.approx(100 / level) and one.entry_fee == pytest.approx(100 * 0.0002)
        assert one.open_gain(one.filled_ms - 1) == 0.0
        assert one.risk == pytest.approx(one.size * abs(level - close * (1 - one.direction * one.stop_fraction)))
    assert 5 < filled < len(found) - 5
