"""The decision to enter: its identity, what it is made of, and why there is none."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.candles import Candles
from trading_assets.core.errors import StrategyError
from trading_assets.core.exits import ExitPlan
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, Timeframe
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.trading.decide.entry import (
    NoSignal,
    Signal,
    decide,
    is_due,
    newest_close_ms,
)
from trading_assets.trading.decide.exits import DeclaredExits
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.trading.decide.candle_fixtures import Dictated, candles
from trading_assets_tests.trading.fixtures import NOW_MS, settings

CLOSE_MS = NOW_MS - 5_000


def decided(
    side: str = "long",
    *,
    now_ms: int = NOW_MS,
    last_exit_ms: int | None = None,
    data: Candles | None = None,
    strategy: Strategy | None = None,
    **rules: object,
) -> Signal | NoSignal:
    return decide(
        hour_ms=CLOSE_MS - HOUR_MS,
        strategy=strategy or Dictated(side),
        parameters="{}",
        data=StrategyData("BTCUSDT", candles(Timeframe.M60, CLOSE_MS) if data is None else data),
        instrument=an_instrument("BTCUSDT"),
        settings=settings(**rules),
        now_ms=now_ms,
        last_exit_ms=last_exit_ms,
    )


def reason(answer: Signal | NoSignal) -> str:
    assert isinstance(answer, NoSignal)
    return answer.reason


# Identity


def test_the_same_bar_decided_again_is_the_same_signal() -> None:
    first, again = decided(), decided(now_ms=NOW_MS + 200_000)
    assert isinstance(first, Signal)
    assert isinstance(again, Signal)
    assert first.signal_id == again.signal_id == f"main:BTCUSDT:60m:dictated:{CLOSE_MS}"


@given(st.integers(0, 2**42), st.sampled_from(TRADED_TIMEFRAMES))
def test_the_newest_close_is_the_last_boundary_not_after_now(now_ms: int, timeframe: Timeframe) -> None:
    close = newest_close_ms(timeframe, now_ms)
    assert close % timeframe.ms == 0
    assert close <= now_ms < close + timeframe.ms


@pytest.mark.parametrize(("age_ms", "due"), [(0, True), (299_999, True), (300_000, False)])
def test_a_candle_is_due_for_the_life_time_of_a_signal(age_ms: int, due: bool) -> None:
    assert is_due(Timeframe.M60, CLOSE_MS + age_ms, 300) is due


# The decision


@pytest.mark.parametrize(
    ("side", "position", "stop", "target"), [("long", "LONG", 98.5, 103.0), ("short", "SHORT", 101.5, 97.0)]
)
def test_a_decision_becomes_a_complete_row(side: str, position: str, stop: float, target: float) -> None:
    answer = decided(side)
    assert isinstance(answer, Signal)
    row = answer.row
    assert (row["position_type"], row["entry_price"]) == (position, 100.0)
    assert (row["stop_loss"], row["take_profit"]) == (pytest.approx(stop), pytest.approx(target))
    assert row["signal_timestamp_ms"] == CLOSE_MS
    assert row["ttl_ms"] == CLOSE_MS + 300_000
    assert (row["status"], row["confidence"], row["risk_reward_ratio"]) == ("active", 75.0, 2.0)
    assert (row["position_size"], row["leverage"]) == (100.0, 10.0)
    assert (row["rsi"], row["bb_position"], row["btc_trend"], row["funding_rate"]) == (25.0, None, "BULLISH", None)


@pytest.mark.parametrize("late", [1, 2, 24])
def test_a_stale_candle_is_no_ground_for_a_decision(late: int) -> None:
    old = candles(Timeframe.M60, CLOSE_MS - late * HOUR_MS)
    assert reason(decided(data=old)).startswith("stale candle")


def test_a_candle_from_the_future_is_no_ground_for_a_decision() -> None:
    assert reason(decided(data=candles(Timeframe.M60, CLOSE_MS + HOUR_MS))).startswith("stale candle")


def test_without_candles_there_is_no_decision() -> None:
    assert reason(decided(data=Candles.empty(Timeframe.M60))) == "no candles"


def test_an_old_candle_is_no_ground_for_a_decision() -> None:
    assert isinstance(decided(now_ms=CLOSE_MS + 299_999), Signal)
    assert "life time" in reason(decided(now_ms=CLOSE_MS + 300_000))
    assert "life time" in reason(decided(now_ms=CLOSE_MS + 60_000, signal_ttl_s=60))


@pytest.mark.parametrize(
    ("ago_ms", "enters"), [(3_600_001, True), (3_600_000, False), (1, False), (0, False), (-4_000, False)]
)
def test_there_is_no_entry_on_the_bar_of_an_exit(ago_ms: int, enters: bool) -> None:
    answer = decided(last_exit_ms=CLOSE_MS - ago_ms)
    assert isinstance(answer, Signal) is enters
    if not enters:
        assert reason(answer) == "a position was closed on this bar"


@pytest.mark.parametrize("plan", [True, False], ids=["a plan", "a condition"])
def test_a_signal_carries_the_exits_that_it_was_decided_with(plan: bool) -> None:
    class Leaving(Dictated):
        def exits(self) -> ExitPlan:
            return ExitPlan(after_bars=3) if plan else ExitPlan()

        def entries(self, v: Values, p: Parameters) -> Entries:  # type: ignore[override]
            found = super().entries(v, p)
            return found if plan else found._replace(exit_long=v.close < 0)

    answer = decided(strategy=Leaving("long"))
    assert isinstance(answer, Signal)
    held = DeclaredExits.from_json(str(answer.row["exit_plan"]))
    assert held == DeclaredExits(ExitPlan(after_bars=3) if plan else ExitPlan(), has_conditions=not plan)
    without = decided(strategy=Dictated("long"))
    assert isinstance(without, Signal) and without.row["exit_plan"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plan": {}}', '{"conditions": true, "plan": {"wish": 1}}'])
def test_exits_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(StrategyError, match="cannot be read"):
        DeclaredExits.from_json(text)


def test_no_condition_means_no_signal() -> None:
    assert reason(decided("")) == "no entry condition"


@given(
    price=st.floats(0.5, 50_000).map(lambda value: round(value, 2)),
    long=st.booleans(),
    tick=st.sampled_from(["0.01", "0.1", "0.5"]),
)
def test_stops_of_a_signal_are_on_the_tick_and_on_the_right_side(price: float, long: bool, tick: str) -> None:
    answer = decide(
        hour_ms=CLOSE_MS - HOUR_MS,
        strategy=Dictated("long" if long else "short"),
        parameters="{}",
        data=StrategyData("BTCUSDT", candles(Timeframe.M60, CLOSE_MS, price)),
        instrument=an_instrument("BTCUSDT", tick_size=Decimal(tick)),
        settings=settings(),
        now_ms=NOW_MS,
        last_exit_ms=None,
    )
    if isinstance(answer, NoSignal):
        assert "above zero" in answer.reason
        return
    stop, target = (Decimal(str(answer.row[name])) for name in ("stop_loss", "take_profit"))
    assert stop % Decimal(tick) == target % Decimal(tick) == 0
    assert (stop < Decimal(str(price)) < target) if long else (target < Decimal(str(price)) < stop)


@pytest.mark.parametrize("series", ["candles", "other", "btc"])
def test_bad_candles_give_no_signal_whichever_series_they_are_in(series: str) -> None:
    good = candles(Timeframe.M60, CLOSE_MS)
    bad = replace(good, high=np.where(np.arange(len(good)) == 5, 1.0, good.high))
    frames = {"candles": good, "other": {Timeframe.M15: candles(Timeframe.M15, CLOSE_MS)}, "btc": {}}
    changed = {**frames, series: bad if series == "candles" else {Timeframe.M60: bad}}

    def answer(given: dict[str, object]) -> Signal | NoSignal:
        return decide(
            hour_ms=CLOSE_MS - HOUR_MS,
            strategy=Dictated("long"),
            parameters="{}",
            data=StrategyData("BTCUSDT", **given),  # type: ignore[arg-type]
            instrument=an_instrument("BTCUSDT"),
            settings=settings(),
            now_ms=NOW_MS,
            last_exit_ms=None,
        )

    assert isinstance(answer(frames), Signal)
    assert reason(answer(changed)).startswith("bad candles: 60m of BTCUSDT: impossible prices: 1 candles")


@pytest.mark.parametrize(("side", "price"), [("long", Decimal("99.89")), ("short", Decimal("100.11"))])
@pytest.mark.parametrize("kind", ["limit", "post-only", "chase"])
def test_an_entry_that_waits_has_its_price_on_the_tick_and_its_end(side: str, price: Decimal, kind: str) -> None:
    at_market, waits = decided(side), decided(side, entry_order=kind, entry_offset_pct="0.105", entry_bars=2)
    assert isinstance(at_market, Signal)
    assert isinstance(waits, Signal)
    more = {"entry_order": kind, "limit_price": float(price), "limit_until_ms": float(CLOSE_MS + 2 * HOUR_MS)}
    assert dict(waits.row) == {**at_market.row, **more}
    assert not more.keys() & at_market.row.keys(), "an entry at the market is the row that it always was"


def test_an_entry_that_would_wait_beyond_its_stop_is_none() -> None:
    assert "beyond the stop" in reason(decided(entry_order="limit", entry_offset_pct=30))
