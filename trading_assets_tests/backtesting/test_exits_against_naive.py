"""Kernel and naive engine find the same trades with every kind of exit, and vectorbt where it can represent one."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.backtesting.engine import COST_MODELS, Column, Costs, Trades
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.metrics import equity_curve, metrics
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.exits import NO_PLAN, ExitPlan, ExitReason
from trading_assets_tests.backtesting import naive
from trading_assets_tests.backtesting.columns import COSTLY, FREE, assert_same, random_column

KINDS: dict[str, dict[str, object]] = {
    "time": {"after_bars": 5},
    "trailing": {"trail": 0.01, "trail_from": 0.008},
    "trailing at once": {"trail": 0.02},
    "break-even": {"break_even_from": 0.01, "break_even_to": 0.002},
    "roi": {"roi": ((1, 0.05), (4, 0.02), (9, -0.005))},
    "parts": {"parts": ((0.3, 0.25), (0.7, 0.5))},
}
PAIRS = [{**KINDS[a], **KINDS[b]} for a, b in combinations(KINDS, 2)]
EVERYTHING: dict[str, object] = {name: value for kind in KINDS.values() for name, value in kind.items()}

GAINS = st.floats(0.0005, 0.05)


@st.composite
def plans(draw: st.DrawFn) -> ExitPlan:
    """Any plan beside a target at one stop distance or farther."""
    kinds: dict[str, object] = {}
    if draw(st.booleans()):
        kinds["after_bars"] = draw(st.integers(1, 40))
    if draw(st.booleans()):
        kinds |= {"trail": draw(GAINS), "trail_from": draw(st.sampled_from([0.0, 0.003, 0.02]))}
    if draw(st.booleans()):
        after = draw(GAINS)
        kinds |= {"break_even_from": after, "break_even_to": after * draw(st.sampled_from([0.0, 0.5]))}
    if draw(st.booleans()):
        bars = sorted(draw(st.sets(st.integers(1, 30), min_size=1, max_size=4)))
        gains = sorted(draw(st.sets(st.floats(-0.02, 0.06), min_size=len(bars), max_size=len(bars))), reverse=True)
        kinds["roi"] = tuple(zip(bars, gains, strict=True))
    if draw(st.booleans()):
        away = sorted(draw(st.sets(st.floats(0.05, 0.95), min_size=1, max_size=3)))
        kinds["parts"] = tuple((distance, 0.9 / len(away)) for distance in away)
    return ExitPlan(**kinds)  # type: ignore[arg-type]


def with_exits(seed: int, plan: ExitPlan, *, signals: float = 0.1, bars: int = 120, missing: float = 0.0) -> Column:
    """A random column with a plan, exit signals at a share of the bars, and missing bars."""
    column, rng = random_column(seed, bars), np.random.default_rng(seed + 1)
    exit_long, exit_short = rng.random((2, bars)) < signals
    column = replace(column, exits=plan)
    if signals:
        column = replace(column, exit_long=exit_long, exit_short=exit_short)
    if missing:
        there = rng.random(bars) >= missing
        there[0] = True
        arrays = {
            name: getattr(column, name)[there]
            for name in ("long", "short", "stop_fraction", "confidence", "exit_long", "exit_short")
            if getattr(column, name) is not None
        }
        column = replace(column, candles=column.candles.select(there), **arrays)
    return column


def assert_same_exits(found: Trades, expected: Trades) -> None:
    assert_same(found, expected)
    np.testing.assert_array_equal(found.reason, expected.reason)
    assert (found.parts is None) == (expected.parts is None)
    if found.parts is not None and expected.parts is not None:
        for name in ("trade", "bar", "share", "price"):
            np.testing.assert_allclose(getattr(found.parts, name), getattr(expected.parts, name), rtol=1e-9)


COLUMNS = st.builds(
    with_exits,
    st.integers(0, 2**32 - 1),
    plans(),
    signals=st.sampled_from([0.0, 0.05, 0.5]),
    bars=st.integers(1, 120),
    missing=st.sampled_from([0.0, 0.2]),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(column=COLUMNS, costs=st.sampled_from([FREE, COSTLY]), model=st.sampled_from(sorted(COST_MODELS)))
def test_kernel_finds_the_naive_engines_trades(column: Column, costs: Costs, model: str) -> None:
    costs = costs.under(model)
    [found], [expected] = KernelEngine().simulate([column], costs), NaiveEngine().simulate([column], costs)
    if column.has_exits and len(expected):
        assert_same_exits(found, expected)
    else:
        assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [*KINDS.values(), *PAIRS, EVERYTHING], ids="+".join)
@pytest.mark.parametrize("signals", [0.0, 0.1], ids=["", "signals"])
def test_each_kind_and_pair_ends_trades_alike(kinds: dict, signals: float) -> None:
    """The same over many trades, of which the kinds end enough for this to say something."""
    plan, reasons, changed = ExitPlan(**kinds), set[int](), 0
    for seed in range(12):
        column = with_exits(seed, plan, signals=signals, missing=0.1)
        [found], [expected] = KernelEngine().simulate([column], COSTLY), NaiveEngine().simulate([column], COSTLY)
        assert_same_exits(found, expected)
        reasons |= set(found.reason)
        [bare] = KernelEngine().simulate([replace(column, exits=NO_PLAN, exit_long=None, exit_short=None)], COSTLY)
        changed += len(bare) != len(found) or not np.array_equal(bare.pnl, found.pnl)
    assert changed > 6
    wanted = {"after_bars": ExitReason.TIME, "roi": ExitReason.ROI}
    assert {wanted[name] for name in kinds if name in wanted} <= reasons
    assert (ExitReason.SIGNAL in reasons) == bool(signals)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), costs=st.sampled_from([FREE, COSTLY]))
def test_without_exits_the_naive_engine_and_both_loops_find_the_fixed_trades(seed: int, costs: Costs) -> None:
    """A plan that never acts: the loop with exits finds what the loop without them finds."""
    column = random_column(seed, 100)
    never = replace(column, exits=ExitPlan(after_bars=1000), exit_long=np.zeros(100, dtype=bool))
    [fixed], [by_exits] = KernelEngine().simulate([column], costs), KernelEngine().simulate([never], costs)
    assert_same(by_exits, fixed)
    [plain] = NaiveEngine().simulate([column], costs)
    assert_same(plain, fixed)
    assert_same(plain, naive.simulate(column, costs))


@pytest.mark.slow
@settings(max_examples=40)
@given(
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5),
    signals=st.sampled_from([0.02, 0.3, 1.0]),
    costs=st.sampled_from([FREE, COSTLY]),
    model=st.sampled_from(sorted(COST_MODELS)),
)
def test_vectorbt_finds_the_kernels_trades_with_exit_signals(
    seeds: list[int], signals: float, costs: Costs, model: str
) -> None:
    costs = costs.under(model)
    columns = [with_exits(seed, NO_PLAN, signals=signals, bars=40 + seed % 50) for seed in seeds]
    found, expected = VectorbtEngine().simulate(columns, costs), KernelEngine().simulate(columns, costs)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@settings(max_examples=100)
@given(column=COLUMNS)
def test_equity_ends_at_what_all_trades_earned(column: Column) -> None:
    [trades] = KernelEngine().simulate([column], COSTLY)
    if len(trades):
        equity = equity_curve(trades, column.candles, 1000.0)
        np.testing.assert_allclose(equity[-1], 1000.0 + trades.pnl.sum(), rtol=1e-9)
        flat = np.ones(len(equity), dtype=bool)
        for entry, end, closed in zip(trades.entry, trades.exit, trades.closed, strict=True):
            flat[entry : end if closed else None] = False
        steps = np.diff(equity, prepend=1000.0)
        ends = np.isin(np.arange(len(equity)), trades.exit[trades.closed])
        assert np.all(np.abs(steps[flat & ~ends]) < 1e-9)
        assert metrics(trades, column.candles, 1000.0).total_trades == int(trades.closed.sum())
