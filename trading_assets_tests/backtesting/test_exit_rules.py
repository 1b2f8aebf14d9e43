"""The table of a bar's events (docs/engine.md) as candles and the trades they give, written by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from trading_assets.backtesting.engine import Column, Engine
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine, represents
from trading_assets.core.errors import StrategyError
from trading_assets.core.exits import NO_PLAN, ExitPlan, ExitReason
from trading_assets_tests.backtesting.columns import FREE, column_from

STOP, TARGET, OPEN = ExitReason.STOP, ExitReason.TARGET, ExitReason.OPEN
SIGNAL, TIME, ROI = ExitReason.SIGNAL, ExitReason.TIME, ExitReason.ROI

Q = (100.0, 100.2, 99.8, 100.0)
"""A quiet bar. The stop stands at 99 (short 101), the target at 102 (short 98)."""

UP, DOWN = (100.0, 101.0, 100.0, 101.0), (100.0, 100.0, 99.0, 99.0)
"""A bar that gains one percent, and one that loses it."""


@dataclass(frozen=True)
class Case:
    """Bars and entries with exits; expected: (entry, exit, exit price, reason) of each trade."""

    name: str
    bars: list[tuple[float, float, float, float]]
    expected: list[tuple[int, int, float, ExitReason]]
    plan: ExitPlan = NO_PLAN
    long: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)
    exit_long: list[int] = field(default_factory=list)
    exit_short: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)

    def column(self) -> Column:
        bars = np.arange(len(self.bars))
        column = replace(column_from(self.bars, long=self.long, short=self.short), exits=self.plan)
        if self.exit_long or self.exit_short:
            column = replace(column, exit_long=np.isin(bars, self.exit_long), exit_short=np.isin(bars, self.exit_short))
        if self.missing:
            there = ~np.isin(bars, self.missing)
            arrays = {name: getattr(column, name)[there] for name in ("long", "short", "stop_fraction", "confidence")}
            column = replace(column, candles=column.candles.select(there), **arrays)
        return column


N3 = ExitPlan(after_bars=3)
TRAIL = ExitPlan(trail=0.005)
TRAIL_LATER = ExitPlan(trail=0.005, trail_from=0.01)
EVEN = ExitPlan(break_even_from=0.008)
EVEN_WITH_COSTS = ExitPlan(break_even_from=0.008, break_even_to=0.002)
TABLE = ExitPlan(roi=((2, 0.01), (4, 0.0)))
PARTS = ExitPlan(parts=((0.5, 0.25), (1.0, 0.5)))

CASES = [
    # Exit conditions.
    Case("an exit condition closes at the close", [Q, (100, 101, 100, 100.7), Q], [(0, 1, 100.7, SIGNAL)],
         long=[0], exit_long=[1]),
    Case("a short one", [Q, (100, 100.5, 99, 99.5), Q], [(0, 1, 99.5, SIGNAL)], short=[0], exit_short=[1]),
    Case("that of the other side says nothing", [Q, Q, Q], [(0, 2, 100, OPEN)], long=[0], exit_short=[1, 2]),
    Case("an entry with an exit of its side is none", [Q, Q, Q], [], long=[0], exit_long=[0]),
    Case("an entry with an exit of the other side is one", [Q, Q], [(0, 1, 100, OPEN)], long=[0], exit_short=[0]),
    Case("the stop of the same bar wins", [Q, (100, 100, 98, 100), Q], [(0, 1, 99, STOP)], long=[0], exit_long=[1]),
    Case("the target of the same bar wins", [Q, (100, 103, 100, 100), Q], [(0, 1, 102, TARGET)],
         long=[0], exit_long=[1]),
    Case("no entry on the bar of an exit", [Q, Q, Q], [(0, 1, 100, SIGNAL)], long=[0], short=[1], exit_long=[1]),
    Case("an entry on the next bar", [Q, Q, Q, Q], [(0, 1, 100, SIGNAL), (2, 3, 100, OPEN)],
         long=[0, 2], exit_long=[1]),
    Case("an exit on the last bar is one", [Q, (100, 100.5, 99.9, 100.4)], [(0, 1, 100.4, SIGNAL)],
         long=[0], exit_long=[1]),
    # Time.
    Case("after three bars at the close", [Q, Q, Q, (100, 100.5, 99.5, 100.3), Q], [(0, 3, 100.3, TIME)], N3, [0]),
    Case("short after three bars", [Q, Q, Q, (100, 100.5, 99.5, 100.3), Q], [(0, 3, 100.3, TIME)], N3, short=[0]),
    Case("the stop of the last bar wins", [Q, Q, Q, (100, 100, 98, 99.9)], [(0, 3, 99, STOP)], N3, [0]),
    Case("the target of the last bar wins", [Q, Q, Q, (100, 105, 99.9, 100)], [(0, 3, 102, TARGET)], N3, [0]),
    Case("too few bars: still open", [Q, Q, Q], [(0, 2, 100, OPEN)], N3, [0]),
    Case("a missing bar counts", [Q, Q, Q, (100, 100.5, 99.5, 100.3)], [(0, 2, 100.3, TIME)], N3, [0], missing=[2]),
    Case("the last bar is missing: the next one", [Q, Q, Q, Q, (100, 100.5, 99.5, 100.4)], [(0, 3, 100.4, TIME)],
         N3, [0], missing=[3]),
    Case("an exit condition before the time", [Q, Q, Q, Q], [(0, 2, 100, SIGNAL)], N3, [0], exit_long=[2, 3]),
    Case("both at one close: the condition tells", [Q, Q, Q, Q], [(0, 3, 100, SIGNAL)], N3, [0], exit_long=[3]),
    # Trailing stop: on closes, from the next bar.
    Case("it follows the close", [Q, UP, (101, 101.2, 100.4, 100.6)], [(0, 2, 100.495, STOP)], TRAIL, [0]),
    Case("short", [Q, (100, 100, 99, 99), (99, 99.6, 98.9, 99)], [(0, 2, 99.495, STOP)], TRAIL, short=[0]),
    Case("the high alone moves nothing", [Q, (100, 101.9, 99.9, 100), (100, 100, 99.6, 99.7)], [(0, 2, 99.7, OPEN)],
         TRAIL, [0]),
    Case("not on the bar of its close", [Q, (100, 101, 99.1, 101), (101, 101, 100.8, 101)], [(0, 2, 101, OPEN)],
         TRAIL, [0]),
    Case("it never moves back", [Q, UP, (101, 101.5, 100.5, 100.6), (100.6, 100.7, 100.4, 100.5)],
         [(0, 3, 100.495, STOP)], TRAIL, [0]),
    Case("it never loosens the stop of the entry", [Q, (100, 100, 99.1, 99.2), (99.2, 99.3, 98.9, 99)],
         [(0, 2, 99, STOP)], ExitPlan(trail=0.05), [0]),
    Case("a gap beyond it: the open", [Q, UP, (100.2, 101, 100, 101)], [(0, 2, 100.2, STOP)], TRAIL, [0]),
    Case("not before its gain", [Q, (100, 100.9, 99.9, 100.9), (100.9, 100.9, 99.5, 100)], [(0, 2, 100, OPEN)],
         TRAIL_LATER, [0]),
    Case("from its gain on", [Q, (100, 101.1, 99.9, 101.1), (101.1, 101.2, 99.5, 100)], [(0, 2, 100.5945, STOP)],
         TRAIL_LATER, [0]),
    Case("moved stop and target in one bar: stop", [Q, UP, (101, 103, 100, 102)], [(0, 2, 100.495, STOP)], TRAIL, [0]),
    # Break-even.
    Case("the stop goes to the entry", [Q, UP, (101, 101, 99.5, 99.6)], [(0, 2, 100, STOP)], EVEN, [0]),
    Case("short with costs", [Q, (100, 100, 99, 99), (99, 100.5, 99, 100)], [(0, 2, 99.8, STOP)],
         EVEN_WITH_COSTS, short=[0]),
    Case("a smaller gain moves nothing", [Q, (100, 101, 99.9, 100.7), (100.7, 101, 99.5, 99.6)], [(0, 2, 99.6, OPEN)],
         EVEN, [0]),
    Case("the tighter of two stops counts", [Q, UP, (101, 101, 100.3, 100.4)], [(0, 2, 100.495, STOP)],
         replace(TRAIL, break_even_from=0.008), [0]),
    # ROI table.
    Case("before its first step the target stands", [Q, (100, 101.5, 99.9, 100), Q], [(0, 2, 100, OPEN)], TABLE, [0]),
    Case("from the bar after the step", [Q, Q, Q, (100, 101.5, 99.9, 100)], [(0, 3, 101, TARGET)], TABLE, [0]),
    Case("not on the bar of the step", [Q, Q, (100, 101.5, 99.9, 100)], [(0, 2, 100, OPEN)], TABLE, [0]),
    Case("a close beyond the new target leaves at once", [Q, Q, (100, 101.5, 99.9, 101.2)], [(0, 2, 101.2, ROI)],
         TABLE, [0]),
    Case("the last step: no gain is enough", [Q, Q, Q, (100, 100, 99.5, 99.8), (99.8, 99.9, 99.5, 99.6),
         (99.6, 100.4, 99.5, 100.2)], [(0, 5, 100, TARGET)], TABLE, [0]),
    Case("it never moves the target away", [Q, Q, Q, (100, 102.5, 99.9, 102)], [(0, 3, 102, TARGET)],
         ExitPlan(roi=((1, 0.05),)), [0]),
    Case("lowered target and stop in one bar: stop", [Q, Q, Q, (100, 101.5, 98, 100)], [(0, 3, 99, STOP)],
         TABLE, [0]),
    Case("a step on a missing bar works from the next close", [Q, Q, Q, Q, (100, 101.5, 99.9, 100)],
         [(0, 3, 101, TARGET)], TABLE, [0], missing=[2]),
    # Targets with a part: at 100.5 a quarter, at 101 a half, at 102 the rest.
    Case("each at its price", [Q, (100, 100.6, 99.9, 100), (100, 101.1, 99.9, 100), (100, 103, 99.9, 100)],
         [(0, 3, 0.25 * 100.5 + 0.5 * 101 + 0.25 * 102, TARGET)], PARTS, [0]),
    Case("all in one bar", [Q, (100, 103, 99.9, 100)], [(0, 1, 0.25 * 100.5 + 0.5 * 101 + 0.25 * 102, TARGET)],
         PARTS, [0]),
    Case("a gap beyond two: the open", [Q, (101.5, 101.6, 101.4, 101.5)],
         [(0, 1, 0.75 * 101.5 + 0.25 * 101.5, OPEN)], PARTS, [0]),
    Case("the stop takes what is left", [Q, (100, 100.6, 99.9, 100), (100, 100, 98, 99)],
         [(0, 2, 0.25 * 100.5 + 0.75 * 99, STOP)], PARTS, [0]),
    Case("a part and the stop in one bar: the stop", [Q, (100, 101.5, 98, 99)], [(0, 1, 99, STOP)], PARTS, [0]),
    Case("an exit condition takes what is left", [Q, (100, 100.6, 99.9, 100.1)],
         [(0, 1, 0.25 * 100.5 + 0.75 * 100.1, SIGNAL)], PARTS, [0], exit_long=[1]),
    Case("short", [Q, (100, 100.1, 98.9, 99.5), (99.5, 101.5, 99, 101)],
         [(0, 2, 0.25 * 99.5 + 0.5 * 99 + 0.25 * 101, STOP)], PARTS, short=[0]),
    Case("a lowered target before a part takes all", [Q, Q, (100, 101.05, 99.9, 100)], [(0, 2, 100.3, TARGET)],
         replace(PARTS, roi=((1, 0.003),)), [0]),
    # Everything at once: a bar that touches all of it.
    Case("a bar that touches everything: the stop", [Q, UP, (101, 103, 98, 100)], [(0, 2, 100.495, STOP)],
         ExitPlan(2, 0.005, 0, 0.008, 0, ((1, 0.03),), ((1.5, 0.5),)), [0], exit_long=[2]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "engine", [KernelEngine(), NaiveEngine(), VectorbtEngine()], ids=lambda one: type(one).__name__
)
def test_a_table_of_candles_gives_these_trades(engine: Engine, case: Case) -> None:
    column = case.column()
    if isinstance(engine, VectorbtEngine) and not represents(column):
        with pytest.raises(NotImplementedError, match="exits"):
            engine.simulate([column], FREE)
        return
    [trades] = engine.simulate([column], FREE)
    found = list(zip(trades.entry.tolist(), trades.exit.tolist(), trades.exit_price.tolist(), strict=True))
    assert found == [(entry, end, pytest.approx(price)) for entry, end, price, _ in case.expected]
    assert trades.closed.tolist() == [reason is not OPEN for *_, reason in case.expected]
    if trades.reason is not None:
        assert trades.reason.tolist() == [reason for *_, reason in case.expected]


def test_there_are_forty_tables_and_more() -> None:
    assert len({case.name for case in CASES if not case.name.startswith("short")}) >= 40


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"after_bars": -1}, "after_bars"),
        ({"after_bars": 1.5}, "after_bars"),
        ({"trail": 1.0}, "trail must"),
        ({"trail": float("nan")}, "finite"),
        ({"trail_from": 0.01}, "trail_from needs trail"),
        ({"break_even_from": 0.01, "break_even_to": 0.01}, "below break_even_from"),
        ({"break_even_to": 0.01}, "below break_even_from"),
        ({"roi": ((0, 0.1),)}, "roi needs"),
        ({"roi": ((5, 0.01), (2, 0.005))}, "roi needs"),
        ({"roi": ((2, 0.01), (5, 0.02))}, "roi needs"),
        ({"roi": ((2, float("inf")),)}, "finite"),
        ({"parts": ((0.5, 0.5), (0.4, 0.2))}, "parts needs"),
        ({"parts": ((0.5, 0.5), (0.8, 0.5))}, "parts needs"),
        ({"parts": tuple((n / 100, 0.01) for n in range(1, 20))}, "at most"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(wrong: dict, told: str) -> None:
    with pytest.raises(StrategyError, match=told):
        ExitPlan(**wrong)


def test_a_part_lies_before_the_target() -> None:
    with pytest.raises(StrategyError, match="not before the target at 1"):
        PARTS.checked(1.0)
    assert PARTS.checked(2.0) is PARTS


@pytest.mark.parametrize("plan", [NO_PLAN, N3, TRAIL_LATER, EVEN_WITH_COSTS, TABLE, PARTS])
def test_a_plan_survives_the_ledger(plan: ExitPlan) -> None:
    assert ExitPlan.from_json(plan.to_json()) == plan
    assert bool(plan) == (plan is not NO_PLAN)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"roi": 3}', '{"unknown": 1}'])
def test_a_plan_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(StrategyError, match="cannot be read"):
        ExitPlan.from_json(text)


def test_the_documents_table_names_every_reason() -> None:
    page = Path(__file__).parents[2] / "docs/engine.md"
    table = page.read_text().split("## Exits besides stop and target")[1]
    order = [row.split("|")[1].strip() for row in re.findall(r"^\|.*\|$", table, re.MULTILINE)]
    assert order[2:8] == ["1", "2", "3", "4", "5", "6"]
    for reason in ExitReason:
        assert f"`{reason.word}`" in table
