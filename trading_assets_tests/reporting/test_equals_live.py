"""Live, the walk-forward and parity decide on the same bars by the same selections, those of a full hour included.

Live's part are the looks of two sessions in turn: the older one looks as a bar closes, also at the full hour, and the
next one when its selection is there, some seconds later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading_assets.backtesting.costs import costs_from
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.core.candles import Candles
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, LIVE_BARS, Timeframe, as_of_ms, floor_ms
from trading_assets.ledger.evaluations import Evaluation
from trading_assets.market.loading import load_strategy_data
from trading_assets.reporting.trades import SelectedStrategy
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.decide.entry import Signal, decide, signal_id
from trading_assets.trading.parity.compare import Outcome
from trading_assets.trading.parity.day import LiveDay, compare_day
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.reporting.fixtures import HOUR, forward_tested, market, settings

SETTINGS = settings()
DAY = floor_ms(HOUR, DAY_MS)
HOURS = 3
AT_ONCE_MS, SELECTED_MS = 300, 20_000
"""So long after a close a session decides; so long after the full hour the next selection is there."""

CHOICES = st.sampled_from(
    [
        *((timeframe, "bollinger_rsi", "{}") for timeframe in ("5m", "15m", "30m")),
        ("15m", "bollinger_rsi", '{"band":0.3}'),
        ("30m", "bollinger_rsi", '{"band":0.1}'),
        ("15m", "fibonacci_bollinger", '{"band":0.3}'),
        ("60m", "fibonacci_bollinger", '{"band":0.1}'),
    ]
)


def selections(choices: Sequence[tuple[str, str, str]]) -> list[SelectedStrategy]:
    """ETHUSDT in so many hours, each with a choice of its own."""
    return [SelectedStrategy(HOUR + number * HOUR_MS, "ETHUSDT", *choice) for number, choice in enumerate(choices)]


def looks(chosen: Sequence[SelectedStrategy]) -> Iterator[tuple[int, SelectedStrategy]]:
    """When live decides, and by which selection, in order of time."""
    for selection in chosen:
        step = Timeframe(selection.timeframe).ms
        if as_of_ms(selection.hour_ms) % step == 0:
            yield as_of_ms(selection.hour_ms) + SELECTED_MS, selection
        first = floor_ms(as_of_ms(selection.hour_ms), step) + step
        yield from ((close + AT_ONCE_MS, selection) for close in range(first, selection.end_ms + 1, step))


def by_live(chosen: Sequence[SelectedStrategy], account: Settings = SETTINGS) -> dict[str, Signal]:
    """Signals that the finder inserts: a bar decided twice is one signal."""
    found: dict[str, Signal] = {}
    for now_ms, selection in looks(chosen):
        strategy, timeframe = make_strategy(selection.strategy, selection.parameters), Timeframe(selection.timeframe)
        start_ms = floor_ms(now_ms, timeframe.ms) - LIVE_BARS * timeframe.ms
        decision = decide(
            hour_ms=selection.hour_ms,
            strategy=strategy,
            parameters=selection.parameters,
            data=load_strategy_data(market(), selection.symbol, timeframe, strategy.needs(), start_ms, now_ms),
            instrument=an_instrument(selection.symbol),
            settings=account,
            now_ms=now_ms,
            last_exit_ms=None,
        )
        if isinstance(decision, Signal):
            found.setdefault(decision.signal_id, decision)
    return found


def by_parity(chosen: Sequence[SelectedStrategy], found: dict[str, Signal]) -> pd.DataFrame:
    """The day's rows, where every signal has expired."""

    def load_decided(symbol: str, timeframe: Timeframe, strategy: Strategy, first_close_ms: int) -> StrategyData:
        start_ms = first_close_ms - LIVE_BARS * timeframe.ms
        return load_strategy_data(market(), symbol, timeframe, strategy.needs(), start_ms, DAY + DAY_MS)

    def load_held(symbol: str, timeframe: Timeframe, close_ms: int) -> Candles:
        raise AssertionError("nothing was traded")

    signals = [{**signal.row, "status": "expired", "reason": None, "order_link_id": None} for signal in found.values()]
    day = LiveDay(
        selections=pd.DataFrame([selection._asdict() for selection in chosen]),
        evaluations=[
            Evaluation(now_ms, selection.hour_ms, {selection.symbol: ""}) for now_ms, selection in looks(chosen)
        ],
        signals=pd.DataFrame(signals, columns=list(signals[0]) if signals else ["signal_id"]),
        trades={},
    )
    return compare_day(
        DAY,
        day,
        settings=SETTINGS,
        ticks={"ETHUSDT": Decimal(an_instrument("ETHUSDT").tick_size)},
        load_decided=load_decided,
        load_held=load_held,
        engine=KernelEngine(),
    )


@pytest.mark.slow
@hypothesis_settings(max_examples=15)
@given(st.lists(CHOICES, min_size=HOURS, max_size=HOURS))
def test_live_the_walk_forward_and_parity_know_the_same_signals(choices: list[tuple[str, str, str]]) -> None:
    chosen = selections(choices)
    live = by_live(chosen)
    report = {
        signal_id(
            "main",
            trade.selection.symbol,
            Timeframe(trade.selection.timeframe),
            trade.selection.strategy,
            trade.entry_ms,
        ): (
            trade.selection.hour_ms,
            trade.selection.parameters,
            "LONG" if trade.direction > 0 else "SHORT",
        )
        for trade in forward_tested(chosen).of(chosen)
    }
    assert report == {
        identity: (signal.row["hour_ms"], signal.row["parameters"], signal.row["position_type"])
        for identity, signal in live.items()
    }
    rows = by_parity(chosen, live)
    until = chosen[-1].end_ms
    # After the last look its selection stays in force by the clock: not the business of the report.
    rows = rows[rows["bar_close_ms"] <= until]
    assert set(rows["signal_id"]) == set(report)
    assert set(rows["outcome"]) <= {Outcome.EXPIRED}


@pytest.mark.slow
@hypothesis_settings(max_examples=8)
@given(st.lists(CHOICES, min_size=HOURS, max_size=HOURS), st.sampled_from(["0.05", "0.2", "0.8"]))
def test_live_and_the_walk_forward_wait_at_the_same_prices_for_as_long(
    choices: list[tuple[str, str, str]], offset_pct: str
) -> None:
    """An offset beyond the stop is no entry of either; live's price is on the tick, away from the market."""
    chosen = selections(choices)
    account = settings(entry_order="limit", entry_offset_pct=offset_pct, entry_bars=2)
    live = {
        (int(str(one.row["signal_timestamp_ms"])), one.row["timeframe"]): one
        for one in by_live(chosen, account).values()
    }
    tested = forward_tested(chosen, costs=replace(costs_from(account), notional=100.0))
    found = {(one.entry_ms, one.selection.timeframe): one for one in tested.of(chosen, unfilled=True)}
    assert set(found) == set(live)
    tick = float(an_instrument("ETHUSDT").tick_size)
    for key, one in found.items():
        row = live[key].row
        waits_at, step = float(str(row["limit_price"])), Timeframe(one.selection.timeframe).ms
        close = float(str(row["entry_price"]))
        level = close * (1 - one.direction * float(offset_pct) / 100)
        assert -1e-9 < one.direction * (level - waits_at) < tick
        assert row["limit_until_ms"] == one.entry_ms + 2 * step
        if one.is_filled:
            assert one.filled_ms <= row["limit_until_ms"]
            better = one.direction * (level - one.entry_price)
            assert better == pytest.approx(0, abs=1e-9) or better > 0  # it came to a market beyond its price
        else:
            assert one.exit_ms == min(row["limit_until_ms"], chosen[-1].end_ms)


def test_the_bar_of_a_full_hour_is_decided_by_both_selections() -> None:
    chosen = selections([("15m", "bollinger_rsi", '{"band":0.3}'), ("60m", "fibonacci_bollinger", '{"band":0.1}')] * 6)
    entered: dict[str, list[int]] = {"older": [], "newer": []}
    for trade in forward_tested(chosen).of(chosen):
        if trade.entry_ms == as_of_ms(trade.selection.hour_ms):
            entered["newer"].append(trade.entry_ms)
        elif trade.entry_ms == trade.selection.end_ms:
            entered["older"].append(trade.entry_ms)
    assert entered["older"] and entered["newer"]
