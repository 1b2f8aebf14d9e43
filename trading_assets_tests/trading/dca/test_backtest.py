"""A DCA plan over candles: hand-made tables, and the same as a naive engine that walks over ticks."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import ContractKind, ContractStatus, Instrument, Side
from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger import dca
from trading_assets.trading.dca.backtest import Assumptions, DcaBacktest, simulate
from trading_assets.trading.dca.plans import AfterTarget, Plan
from trading_assets.trading.dca.schedule import DcaError

D = Decimal
MINUTE = 60_000
RULES = Instrument(
    symbol="BTCUSDT",
    base_coin="BTC",
    quote_coin="USDT",
    settle_coin="USDT",
    kind=next(iter(ContractKind)),
    status=ContractStatus.TRADING,
    is_coin=True,
    listed_ms=0,
    tick_size=D("0.1"),
    qty_step=D("0.001"),
    min_qty=D("0.001"),
    max_market_qty=D(1000),
    min_notional=D(5),
    max_leverage=D(100),
    leverage_step=D("0.01"),
    funding_interval_min=480,
)
FREE = Assumptions(D(0), D(0), D(0))
COSTS = Assumptions(D("0.00055"), D("0.0002"), D("0.0001"))
PLAN = Plan(
    symbol="BTCUSDT",
    side=Side.BUY,
    schedule="every 3m",
    anchor_ms=0,
    amount=D(100),
    max_deployed=D(1000),
    leverage=D(1),
    stop_pct=D(10),
)

Bar = tuple[float, float, float, float]


def candles(bars: list[Bar], starts: list[int] | None = None) -> Candles:
    opened, high, low, closed = (np.array(column, dtype=float) for column in zip(*bars, strict=True))
    starts_ms = np.array(starts if starts is not None else range(len(bars)), dtype=np.int64) * MINUTE
    ones = np.ones(len(bars))
    return Candles(Timeframe("1m"), starts_ms, opened, high, low, closed, ones, ones)


def run(plan: Plan, bars: list[Bar], costs: Assumptions = FREE, funding: Funding | None = None) -> DcaBacktest:
    return simulate(plan, candles(bars), funding or Funding.empty(), RULES, costs)


def events(found: DcaBacktest) -> list[tuple[str, int, float]]:
    return [(one.what, one.time_ms // MINUTE, float(one.price)) for one in found.events]


FLAT: Bar = (100, 100, 100, 100)


@pytest.mark.parametrize(
    ("changes", "bars", "expected"),
    [
        ({}, [FLAT] * 7, [("buy", 0, 100), ("buy", 3, 100), ("buy", 6, 100)]),
        # The target counts from the bar after the entry, strictly beyond it.
        ({"target_pct": D(2)}, [(100, 103, 100, 100), FLAT], [("buy", 0, 100)]),
        ({"target_pct": D(2)}, [FLAT, (100, 102, 100, 100)], [("buy", 0, 100)]),
        ({"target_pct": D(2)}, [FLAT, (100, 102.1, 100, 100)], [("buy", 0, 100), ("target", 1, 102)]),
        # The stop counts in the bar of the entry, and before the target; beyond it the bar's open is the price.
        ({}, [(100, 100, 90, 95)], [("buy", 0, 100), ("stop", 0, 90)]),
        ({"target_pct": D(2)}, [FLAT, (100, 110, 89, 100)], [("buy", 0, 100), ("stop", 1, 90)]),
        ({}, [FLAT, (85, 86, 84, 85)], [("buy", 0, 100), ("stop", 1, 85)]),
        # Safety orders fill beyond their price, before the stop, which goes down with the average.
        (
            {"safety_orders": 2, "safety_step_pct": D(2)},
            [FLAT, (100, 100, 98, 99), (99, 99, 97.9, 98)],
            [("buy", 0, 100), ("safety", 2, 98)],
        ),
        (
            {"safety_orders": 2, "safety_step_pct": D(2)},
            [FLAT, (100, 100, 89, 95), (95, 95, 85, 85)],
            [("buy", 0, 100), ("safety", 1, 98), ("safety", 1, 96), ("stop", 2, 88.2)],
        ),
        # A target after which the next scheduled time begins anew, or the plan ends.
        (
            {"target_pct": D(1)},
            [FLAT, (100, 102, 100, 100), FLAT, FLAT],
            [("buy", 0, 100), ("target", 1, 101), ("buy", 3, 100)],
        ),
        (
            {"target_pct": D(1), "after_target": AfterTarget.END},
            [FLAT, (100, 102, 100, 100), FLAT, FLAT],
            [("buy", 0, 100), ("target", 1, 101)],
        ),
        # Short: mirrored.
        ({"side": Side.SELL}, [(100, 110, 100, 105)], [("buy", 0, 100), ("stop", 0, 110)]),
        ({"side": Side.SELL, "target_pct": D(2)}, [FLAT, (100, 100, 97.9, 98)], [("buy", 0, 100), ("target", 1, 98)]),
        ({"end_ms": 3 * MINUTE}, [FLAT] * 7, [("buy", 0, 100)]),
        # A fixed stop that the price has passed: nothing is bought.
        ({"stop_pct": None, "stop_price": D(101)}, [FLAT] * 4, []),
    ],
)
def test_candles_give_these_fills(
    changes: dict[str, object], bars: list[Bar], expected: list[tuple[str, int, float]]
) -> None:
    assert events(run(replace(PLAN, **changes), bars)) == expected  # type: ignore[arg-type]


def test_a_time_inside_a_bar_is_entered_at_its_worst_price_and_one_without_a_candle_is_skipped() -> None:
    plan = replace(PLAN, schedule="every 1m", anchor_ms=MINUTE // 2)
    bars: list[Bar] = [(100, 105, 99, 101), (101, 104, 100, 102)]
    found = simulate(plan, candles(bars, [0, 2]), Funding.empty(), RULES, FREE)
    assert [float(one.price) for one in found.events] == [105, 104]
    assert [(outcome, bool(reason)) for _, outcome, reason in found.times] == [
        (dca.FILLED, False),
        (dca.SKIPPED, True),
        (dca.FILLED, False),
    ]


def test_no_more_than_may_be_deployed_and_no_less_than_the_exchange_takes() -> None:
    found = run(replace(PLAN, max_deployed=D(250)), [FLAT] * 13)
    assert (found.count(dca.FILLED), found.count(dca.SKIPPED), found.most_deployed) == (2, 3, 200)
    assert run(replace(PLAN, amount=D(4)), [FLAT] * 4).count(dca.SKIPPED) == 2


def test_fees_slippage_and_funding_are_counted() -> None:
    funding = Funding(np.array([MINUTE], dtype=np.int64), np.array([0.001]))
    found = run(replace(PLAN, target_pct=D(1)), [FLAT, FLAT, (100, 103, 100, 100)], COSTS, funding)
    paid, got, qty = D("100.1"), D("101.1"), D("0.999")  # 100.1 * 1.01 = 101.101, on the tick 101.2, slipped 101.1
    assert [(one.price, one.qty) for one in found.events] == [(paid, qty), (got, qty)]
    fees = (paid + got) * qty * COSTS.taker
    assert abs(found.total - ((got - paid) * qty - fees - qty * 100 * D("0.001"))) < D("1e-7")
    assert found.funding == qty * 100 * D("0.001")


def test_without_candles_there_is_no_backtest() -> None:
    with pytest.raises(DcaError, match="no candles"):
        simulate(PLAN, candles([FLAT]).select(slice(0, 0)), Funding.empty(), RULES, FREE)


def naive(plan: Plan, bars: list[Bar], costs: Assumptions) -> list[tuple[str, int, Decimal, Decimal]]:
    """The same plan tick by tick: each bar is its open, then its worst, then its best price. Written for clarity."""
    found: list[tuple[str, int, Decimal, Decimal]] = []
    sign, tick, step = plan.sign, RULES.tick_size, RULES.qty_step
    lots: list[tuple[Decimal, Decimal]] = []
    ladder: dict[int, tuple[Decimal, Decimal]] = {}
    fired: set[int] = set()
    base, over = D(0), False

    def up(value: Decimal) -> Decimal:
        return (value / tick).to_integral_value(ROUND_CEILING) * tick

    def down(value: Decimal) -> Decimal:
        return value // tick * tick

    def taken(price: Decimal, *, buying: bool) -> Decimal:
        return up(price * (1 + costs.slippage)) if buying else down(price * (1 - costs.slippage))

    def average() -> Decimal:
        return sum((p * q for p, q in lots), D(0)) / sum((q for _, q in lots), D(0))

    def levels(at: Decimal) -> tuple[Decimal, Decimal]:
        away_stop, away_target = (plan.stop_pct or 0) / D(100), (plan.target_pct or 0) / D(100)
        if plan.side is Side.BUY:
            return up(at * (1 - away_stop)), up(at * (1 + away_target))
        return down(at * (1 + away_stop)), down(at * (1 - away_target))

    def deployed() -> Decimal:
        return sum((p * q for p, q in [*lots, *ladder.values()]), D(0))

    for minute, (opened, high, low, _) in enumerate(bars):
        if over:
            break
        entered = False
        if minute % 3 == 0:
            price = taken(D(repr(float(opened))), buying=plan.side is Side.BUY)
            qty = plan.amount / price // step * step
            most = qty * price * D("1.005")
            after = (sum((p * q for p, q in lots), D(0)) + qty * price) / (sum((q for _, q in lots), D(0)) + qty)
            reference = min(price, D(repr(float(opened)))) if sign > 0 else max(price, D(repr(float(opened))))
            if deployed() + most <= plan.max_deployed and sign * (reference - levels(after)[0]) > 0:
                if not lots:
                    base, ladder, fired = price, {}, set()
                lots.append((price, qty))
                found.append(("buy", minute, price, qty))
                entered = True
                held, value = sum((q for _, q in lots), D(0)), sum((p * q for p, q in lots), D(0))
                for number in range(1, plan.safety_orders + 1):
                    if number in ladder or number in fired:
                        continue
                    raw = base * (1 - sign * plan.safety_step_pct * number / 100)
                    at = down(raw) if sign > 0 else up(raw)
                    more = plan.amount * plan.safety_scale**number / at // step * step
                    if deployed() + at * more > plan.max_deployed:
                        continue
                    held, value = held + more, value + at * more
                    stop = levels(value / held)[0]
                    if sign * (at - stop) <= 0 or sign * (D(repr(float(opened))) - stop) <= 0:
                        break
                    ladder[number] = (at, more)
        if not lots:
            continue
        worst, best = (low, high) if sign > 0 else (high, low)
        for price in (D(repr(float(opened))), D(repr(float(worst)))):
            while lots:
                stop = levels(average())[0]
                number = min(ladder, default=0)
                if number and sign * (ladder[number][0] - price) > 0 and sign * (ladder[number][0] - stop) > 0:
                    lots.append(ladder.pop(number))
                    fired.add(number)
                    found.append(("safety", minute, *lots[-1]))
                    entered = True
                    continue
                if sign * (price - stop) <= 0:
                    at = D(repr(float(opened))) if sign * (D(repr(float(opened))) - stop) <= 0 else stop
                    qty = sum((q for _, q in lots), D(0))
                    found.append(("stop", minute, taken(at, buying=sign < 0), qty))
                    lots, over = [], True
                break
        if lots and not entered and plan.target_pct is not None:
            target = levels(average())[1]
            if sign * (D(repr(float(best))) - target) > 0:
                qty = sum((q for _, q in lots), D(0))
                found.append(("target", minute, taken(target, buying=sign < 0), qty))
                lots, ladder = [], {}
                over = plan.after_target is AfterTarget.END
    return found


@st.composite
def walks(draw: st.DrawFn) -> list[Bar]:
    price, bars = 1000, []
    for _ in range(draw(st.integers(1, 40))):
        opened = max(price + draw(st.integers(-10, 10)), 200)
        closed = max(opened + draw(st.integers(-40, 40)), 200)
        high = max(opened, closed) + draw(st.integers(0, 20))
        low = min(opened, closed) - draw(st.integers(0, 20))
        bars.append((opened / 10, high / 10, low / 10, closed / 10))
        price = closed
    return bars


PLANS = st.builds(
    lambda side, stop, target, orders, step, scale, most, after: replace(
        PLAN,
        side=side,
        stop_pct=stop,
        target_pct=target,
        safety_orders=orders,
        safety_step_pct=step,
        safety_scale=scale,
        max_deployed=most,
        after_target=after,
    ),
    st.sampled_from(list(Side)),
    st.sampled_from([D(3), D(8), D(20)]),
    st.sampled_from([None, D("0.5"), D(2)]),
    st.integers(0, 4),
    st.sampled_from([D("0.7"), D(2)]),
    st.sampled_from([D(1), D("1.5")]),
    st.sampled_from([D(300), D(1000)]),
    st.sampled_from(list(AfterTarget)),
)


@pytest.mark.slow
@given(PLANS, walks(), st.sampled_from([FREE, COSTS]))
def test_it_equals_a_naive_engine_that_walks_over_ticks(plan: Plan, bars: list[Bar], costs: Assumptions) -> None:
    found = run(plan, bars, costs)
    assert [(e.what, e.time_ms // MINUTE, e.price, e.qty) for e in found.events] == naive(plan, bars, costs)
    cash = D(0)
    for event in found.events:
        opens = event.what in ("buy", "safety")
        cash += -plan.sign * event.price * event.qty * (1 if opens else -1) - event.fee
    assert found.total == cash + plan.sign * found.books.held * found.mark, "the money is the sum of the fills"
    assert found.most_deployed <= plan.max_deployed
    assert found.equity[-1] == pytest.approx(float(found.total), abs=1e-6)
