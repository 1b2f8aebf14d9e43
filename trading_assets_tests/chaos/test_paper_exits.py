"""What a paper trial finds wrong in the exits of its positions, on minutes and executions made by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from trading_assets.chaos.paper_exits import NARROW, ExitJudge, Lived, Said, course
from trading_assets.chaos.planned_exits import ExitKind
from trading_assets.core.candles import Candles
from trading_assets.core.exits import ExitPlan, ExitReason
from trading_assets.core.models import OrderPurpose, Side
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.ledger.exit_decisions import DONE, LEVELS, ExitDecision
from trading_assets.trading.decide.exits import DeclaredExits

D = Decimal
T0 = 1_772_436_900_000
TIME_PLAN = ExitPlan(after_bars=3)


def minutes(*rows: tuple[float, float, float, float]) -> Candles:
    """Candles of open, high, low and close from `T0` on."""
    table = np.array(rows)
    starts = T0 + MINUTE_MS * np.arange(len(rows), dtype=np.int64)
    columns = dict(zip(("open", "high", "low", "close"), table.T, strict=True))
    return Candles(Timeframe.M1, starts, **columns, volume=np.full(len(rows), 1000.0), turnover=table[:, 3])


def flat(*closes: float) -> Candles:
    return minutes(*((close, close, close, close) for close in closes))


def said(plan: ExitPlan, candles: Candles, left: tuple[int, ...] = (), since: int = 0) -> list[Said]:
    holds = np.isin(np.arange(len(candles)), left)
    return course(plan, 1, 100.0, 98.0, 104.0, T0, T0 + since * MINUTE_MS, candles, holds)


@pytest.mark.parametrize(
    ("plan", "closes", "left", "last"),
    [
        (ExitPlan(), (101.0, 101.0), (1,), (2, ExitReason.SIGNAL, 98.0)),
        (TIME_PLAN, (101.0, 101.0, 101.0, 101.0), (), (3, ExitReason.TIME, 98.0)),
        (ExitPlan(roi=((2, 0.005),)), (101.0, 101.0, 90.0), (), (2, ExitReason.ROI, 98.0)),
        (ExitPlan(trail=0.01), (103.0, 102.0), (), (2, ExitReason.OPEN, 103.0 * 0.99)),
        (ExitPlan(break_even_from=0.01, break_even_to=0.001), (101.0, 100.0), (), (2, ExitReason.OPEN, 100.1)),
    ],
)
def test_a_plan_is_walked_through_apart_from_the_code_that_follows_it(
    plan: ExitPlan, closes: tuple[float, ...], left: tuple[int, ...], last: tuple[int, ExitReason, float]
) -> None:
    found = said(plan, flat(*closes), left)[-1]
    assert ((found.close_ms - T0) // MINUTE_MS, found.reason) == last[:2]
    assert found.stop == pytest.approx(last[2])


def test_closes_before_the_end_of_the_bar_of_the_fill_say_nothing() -> None:
    assert [one.reason for one in said(ExitPlan(), flat(101.0, 101.0), (0,), since=1)] == [ExitReason.OPEN]


def test_every_kind_of_exit_has_its_plan() -> None:
    assert set(NARROW) == set(ExitKind)


def execution(at_ms: int, purpose: OrderPurpose, price: str = "98", link: str = "") -> Any:
    return SimpleNamespace(
        time_ms=at_ms, purpose=purpose, price=D(price), qty=D(1), closed_size=D(1), order_link_id=link, symbol="BTCUSDT"
    )


def lived(plan: ExitPlan, end_minutes: float | None, purpose: OrderPurpose = OrderPurpose.ORDINARY) -> Lived:
    """A long of one coin, entered at the signal's close."""
    intent = SimpleNamespace(symbol="BTCUSDT", side=Side.BUY, order_link_id="e", signal_id="s")
    planned = SimpleNamespace(
        intent=intent, opened_ms=T0, entry=100.0, stop_loss=98.0, take_profit=104.0, filled_ms=0,
        exit_plan=DeclaredExits(plan, has_conditions=False).to_json(),
    )  # fmt: skip
    end_ms = None if end_minutes is None else T0 + round(end_minutes * MINUTE_MS)
    ends = [] if end_ms is None else [execution(end_ms, purpose)]
    return Lived(cast("Any", planned), D(1), T0, ends, end_ms)


def wrong(one: Lived, candles: Candles, *decisions: ExitDecision) -> list[str]:
    """What a judge says at the end of these minutes, which allows no lateness but a minute."""
    rules = SimpleNamespace(qty_step=D("0.1"), min_qty=D("0.1"), tick_size=D("0.1"))
    ids = SimpleNamespace(encode=lambda name, kind: f"{name}:{kind}")

    def select(_symbol: str, start_ms: int, end_ms: int) -> Candles:
        return candles.select((candles.start_ms >= start_ms) & (candles.start_ms < end_ms))

    judge = ExitJudge(
        exchange=cast("Any", SimpleNamespace(now_ms=lambda: T0 + len(candles) * MINUTE_MS, order_ids=ids)),
        database=cast("Any", None),
        account="main",
        instruments=cast("Any", {"BTCUSDT": rules}),
        candles=select,
        left=lambda _planned, shown: np.zeros(len(shown), dtype=np.bool_),
        late_ms=lambda _due, _until: MINUTE_MS,
        reach=D("0.002"),
    )
    return list(judge._of(one, decisions))


def decided(kind: str, bars: int, stop: str = "98") -> ExitDecision:
    at_ms = T0 + bars * MINUTE_MS
    return ExitDecision("e", at_ms, kind, 100.0, D(stop), D(104), "", DONE, at_ms)


QUIET = flat(*[100.0] * 8)
FALLS = minutes(*[(100.0, 100.0, 100.0, 100.0)] * 2, (100.0, 100.0, 97.0, 99.0), *[(99.0, 99.0, 99.0, 99.0)] * 5)


def test_what_left_in_its_time_is_right() -> None:
    assert wrong(lived(TIME_PLAN, 3.1), QUIET, decided("time", 3)) == []
    assert wrong(lived(ExitPlan(), 2.5, OrderPurpose.STOP), FALLS) == []
    assert wrong(lived(ExitPlan(), None), QUIET) == []


@pytest.mark.parametrize(
    ("one", "candles", "decisions", "words"),
    [
        (lived(TIME_PLAN, 2.1), QUIET, [decided("time", 2)], "it left by time at the close of"),
        (lived(TIME_PLAN, 3.1), QUIET, [decided("roi", 3)], "it left by roi at the close of"),
        (lived(TIME_PLAN, 6.0), QUIET, [decided("time", 3)], "it was to leave by time"),
        (lived(TIME_PLAN, None), QUIET, [], "it was to leave by time"),
        (lived(ExitPlan(), 3.0), QUIET, [], "an order that nothing tells of"),
        (lived(ExitPlan(), None), FALLS, [], "touched 98.0 or 104.0, and it was open"),
        (lived(ExitPlan(), 4.0, OrderPurpose.STOP), QUIET, [], "a stop closed it"),
        (lived(ExitPlan(trail=0.01), 7.9), FALLS, [decided(LEVELS, 0, "99.5")], "touched 99.5 or 104"),
    ],
)
def test_what_left_too_early_too_late_for_nothing_or_not_at_all_is_found(
    one: Lived, candles: Candles, decisions: list[ExitDecision], words: str
) -> None:
    assert any(words in text for text in wrong(one, candles, *decisions)), wrong(one, candles, *decisions)


def test_a_part_that_was_passed_and_not_sold_or_sold_twice_is_found() -> None:
    plan = ExitPlan(parts=((0.5, 0.4),))
    rises = minutes(
        *[(100.0, 100.0, 100.0, 100.0)] * 4, (100.0, 102.0, 100.0, 101.5), *[(101.0, 101.0, 101.0, 101.0)] * 5
    )
    one = lived(plan, None)
    assert any("went beyond 101.0" in text for text in wrong(one, rises))
    sold = execution(T0 + round(4.5 * MINUTE_MS), OrderPurpose.ORDINARY, "101", "s:p1")
    sold.qty = sold.closed_size = D("0.4")
    assert wrong(replace(one, ends=[sold]), rises) == []
    assert any("a part has sold 0.8" in text for text in wrong(replace(one, ends=[sold, sold]), rises))
