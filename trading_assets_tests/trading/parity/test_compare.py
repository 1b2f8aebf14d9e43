"""Each way in which live may differ from the backtest, and what it is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trading_assets.backtesting.engine import COST_MODELS, FLAT, Costs
from trading_assets.backtesting.run import production_engine
from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.trading.parity.compare import (
    LiveTrade,
    Outcome,
    behind_bps,
    entry_agrees,
    exit_agrees,
    same_signal,
    why_no_position,
    why_no_signal,
)
from trading_assets.trading.parity.replay import OPEN, STOP, TARGET, Decision, Exit, first_touch, replay_exit

T = 1_772_413_200_000
BAR = 15 * MINUTE_MS
OPEN_IDEA = Exit(OPEN, T, T + BAR, 100.0, both=False)
AT_TARGET = Exit(TARGET, T, T + BAR, 104.0, both=False)
LIVE_TARGET = LiveTrade(True, 100.0, TARGET, 104.0, T + 60_000)
DECISION = Decision(T, True, 100.0, 0.02, 2.0, 98.0, 104.0)
SIGNAL = {"entry_price": 100.0, "stop_loss": 98.0, "take_profit": 104.0, "position_type": "LONG"}


@pytest.mark.parametrize(
    ("reasons", "evaluated", "elsewhere", "outcome"),
    [
        ([], False, False, Outcome.NOT_RUNNING),
        ([], False, True, Outcome.NOT_RUNNING),
        ([], True, True, Outcome.SELECTION),
        ([""], True, False, Outcome.MISSING),
        (["stale candle", ""], True, False, Outcome.MISSING),
        (["its order or position is open"], True, False, Outcome.POSITION),
        (["a position was closed on this bar"], True, False, Outcome.POSITION),
        (["too soon after the strategy's last signal"], True, False, Outcome.REPEATED),
        (["stale candle"], True, False, Outcome.NO_DATA),
        (["failed"], True, False, Outcome.NO_DATA),
    ],
)
def test_a_missing_signal_has_its_reason(
    reasons: list[str], evaluated: bool, elsewhere: bool, outcome: Outcome
) -> None:
    assert why_no_signal(reasons, evaluated=evaluated, elsewhere=elsewhere).outcome is outcome


@pytest.mark.parametrize(
    ("status", "reason", "link", "outcome"),
    [
        ("executed", None, "ta-e-1", None),
        ("executing", None, "ta-e-1", Outcome.UNSETTLED),
        ("expired", "its life time ended before it could be executed", None, Outcome.EXPIRED),
        ("rejected", "expired: 3 s ago", None, Outcome.EXPIRED),
        ("active", None, None, Outcome.EXPIRED),
        ("expired", "spread: 0.3 %, at most 0.1 %", None, Outcome.GATE),
        ("rejected", "confidence: 55, at least 60", None, Outcome.GATE),
        ("rejected", "position: SOLUSDT has an open position or order", None, Outcome.POSITION),
        ("expired", "daily loss: 6.0 % lost today, less than 5 % needed", None, Outcome.HALTED),
        ("expired", "spread: 0.3 %; state: HALTED since 10:00 by a human", None, Outcome.HALTED),
        ("expired", "exposure: 30 % of equity: at most 25 %", None, Outcome.GATE),
        ("rejected", "place_order: no (Bybit code 110007)", "ta-e-1", Outcome.FAILED),
    ],
)
def test_a_signal_without_a_position_has_its_reason(
    status: str, reason: str | None, link: str | None, outcome: Outcome | None
) -> None:
    verdict = why_no_position({"status": status, "reason": reason, "order_link_id": link})
    assert (verdict.outcome if verdict else None) is outcome


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"stop_loss": 98.01}, True),
        ({"stop_loss": 98.03}, False),
        ({"take_profit": 103.9}, False),
        ({"entry_price": 100.0001}, False),
        ({"position_type": "SHORT"}, False),
    ],
)
def test_a_signal_is_the_same_within_a_tick(changes: dict[str, object], same: bool) -> None:
    assert (same_signal({**SIGNAL, **changes}, DECISION, 0.01) is None) is same


def test_a_fill_counts_by_what_it_costs() -> None:
    assert behind_bps(100.1, 100.0, long=True) == pytest.approx(10)
    assert behind_bps(99.9, 100.0, long=False) == pytest.approx(10)
    assert entry_agrees(100.0, LIVE_TARGET, 5, long=True) is None
    late = replace(LIVE_TARGET, entry_price=100.1)
    verdict = entry_agrees(100.0, late, 5, long=True)
    assert verdict is not None and verdict.outcome is Outcome.ENTRY and "+10.0 bps" in str(verdict.reason)
    for lost in (replace(late, ordered=False), replace(late, entry_price=None)):
        verdict = entry_agrees(100.0, lost, 5, long=True)
        assert verdict is not None and verdict.outcome is Outcome.NO_ORDER


@pytest.mark.parametrize(
    ("live", "expected", "levels", "outcome"),
    [
        (LIVE_TARGET, AT_TARGET, AT_TARGET, None),
        (replace(LIVE_TARGET, exit_ms=T + BAR + 1000), AT_TARGET, AT_TARGET, None),
        (replace(LIVE_TARGET, exit_ms=T + 2 * BAR), AT_TARGET, AT_TARGET, Outcome.EXIT),
        (replace(LIVE_TARGET, exit_price=103.0), AT_TARGET, AT_TARGET, Outcome.EXIT_PRICE),
        (replace(LIVE_TARGET, exit_reason="liquidation"), AT_TARGET, AT_TARGET, Outcome.EXIT),
        (LIVE_TARGET, replace(AT_TARGET, reason=STOP, both=True), AT_TARGET, Outcome.ONE_BAR),
        (LIVE_TARGET, OPEN_IDEA, AT_TARGET, Outcome.LEVELS),
        (LIVE_TARGET, OPEN_IDEA, OPEN_IDEA, Outcome.EXIT),
        (LIVE_TARGET, OPEN_IDEA, replace(AT_TARGET, reason=STOP, both=True), Outcome.LEVELS),
        (LiveTrade(True, 100.0, OPEN, None, None), OPEN_IDEA, OPEN_IDEA, None),
        (LiveTrade(True, 100.0, OPEN, None, None), AT_TARGET, OPEN_IDEA, Outcome.LEVELS),
        (LiveTrade(True, 100.0, OPEN, None, None), AT_TARGET, AT_TARGET, Outcome.EXIT),
    ],
)
def test_an_exit_is_the_backtests_or_has_its_reason(
    live: LiveTrade, expected: Exit, levels: Exit, outcome: Outcome | None
) -> None:
    verdict = exit_agrees(live, expected, levels, 50, long=True)
    assert (verdict.outcome if verdict else None) is outcome


def bars(*rows: tuple[float, float, float, float]) -> Candles:
    """Candles of open, high, low, close; the first closes at T."""
    table = np.array(rows, dtype=float)
    starts = T - BAR + BAR * np.arange(len(rows), dtype=np.int64)
    ones = np.ones(len(rows))
    return Candles(Timeframe.M15, starts, *(np.ascontiguousarray(table[:, i]) for i in range(4)), ones, ones)


CALM = (100.0, 100.5, 99.5, 100.0)


@pytest.mark.parametrize(
    ("rows", "long", "reason", "bar", "both"),
    [
        ([CALM, CALM, (100, 104.5, 100, 104)], True, TARGET, 2, False),
        ([CALM, (100, 100.5, 97, 98), CALM], True, STOP, 1, False),
        ([CALM, (100, 105, 97, 98)], True, STOP, 1, True),
        ([CALM, (100, 102.5, 99, 102)], False, STOP, 1, False),
        ([CALM, (100, 100, 95, 96)], False, TARGET, 1, False),
        ([CALM, CALM, CALM], True, OPEN, 2, False),
        ([(100, 105, 90, 100)], True, OPEN, 0, False),
    ],
)
def test_a_replayed_trade_ends_by_the_engines_rules(
    rows: list[tuple[float, float, float, float]], long: bool, reason: str, bar: int, both: bool
) -> None:
    candles = bars(*rows)
    found = replay_exit(
        candles,
        T,
        long=long,
        stop_fraction=0.02,
        reward_risk=2.0,
        engine=production_engine(),
        costs=Costs(0.00055, 0.0002, 1000.0),
    )
    assert found is not None
    assert (found.reason, found.start_ms, found.both) == (reason, int(candles.start_ms[bar]), both)
    stop, target = (98.0, 104.0) if long else (102.0, 96.0)
    assert first_touch(candles, T, long=long, stop=stop, target=target).reason == reason


def test_a_trade_whose_bar_is_missing_cannot_be_replayed() -> None:
    given = {"long": True, "stop_fraction": 0.02, "reward_risk": 2.0}
    engine, costs = production_engine(), Costs(0.0, 0.0, 1000.0)
    assert replay_exit(bars(CALM), T + BAR, engine=engine, costs=costs, **given) is None  # type: ignore[arg-type]
    assert replay_exit(Candles.empty(Timeframe.M15), T, engine=engine, costs=costs, **given) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("model", COST_MODELS)
def test_slippage_of_a_thin_bar_makes_no_stop_of_a_target(model: str) -> None:
    costs = Costs(0.00055, 0.0002, 1000.0).under(model)
    candles = bars(CALM, (100, 101, 99.9, 100.9))
    found = replay_exit(
        candles, T, long=True, stop_fraction=0.003, reward_risk=2.0, engine=production_engine(), costs=costs
    )
    assert found is not None and found.reason == TARGET
    assert model == FLAT or found.price < 100, "each bar trades 1 USD"
