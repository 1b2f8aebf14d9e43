"""Entries that wait at a price: the rules of docs/engine.md as candles and trades, and kernel = naive engine."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.backtesting.engine import COST_MODELS, Column, Costs, Engine, LimitEntry, risked
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.metrics import equity_curve
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.candles import Funding
from trading_assets.core.exits import NO_PLAN, ExitPlan, ExitReason
from trading_assets.core.models import EntryOrder
from trading_assets_tests.backtesting.columns import COSTLY, FREE, assert_same, column_from
from trading_assets_tests.backtesting.test_exits_against_naive import assert_same_exits, plans, with_exits

STOP, TARGET, OPEN, SIGNAL = ExitReason.STOP, ExitReason.TARGET, ExitReason.OPEN, ExitReason.SIGNAL

LIMIT = LimitEntry(EntryOrder.LIMIT, offset=0.005, bars=2, fee=0.0, deviation=0.004)
POST_ONLY, CHASE = replace(LIMIT, kind=EntryOrder.POST_ONLY), replace(LIMIT, kind=EntryOrder.CHASE)

Q = (100.0, 100.2, 99.8, 100.0)
"""A quiet bar. A long entry waits at 99.5 (short 100.5), the stop stands at 99 (101), the target at 102 (98)."""

DIP, TOP = (100.0, 100.0, 99.4, 100.0), (100.0, 100.6, 100.0, 100.0)
"""A bar that fills a long entry, and one that fills a short one."""


@dataclass(frozen=True)
class Case:
    """Bars and signals; expected: (signal, fill, price, exit, exit price, reason) of each trade, without any costs."""

    name: str
    bars: list[tuple[float, float, float, float]]
    expected: list[tuple[int, int, float, int, float, ExitReason]]
    entry: LimitEntry = LIMIT
    long: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    exit_long: list[int] = field(default_factory=list)
    plan: ExitPlan = NO_PLAN
    max_price: float = np.inf

    def column(self) -> Column:
        bars = np.arange(len(self.bars))
        column = replace(
            column_from(self.bars, long=self.long, short=self.short), exits=self.plan, max_price=self.max_price
        )
        if self.exit_long:
            column = replace(column, exit_long=np.isin(bars, self.exit_long))
        there = ~np.isin(bars, self.missing)
        arrays = {name: getattr(column, name)[there] for name in ("long", "short", "stop_fraction", "confidence")}
        return replace(column, candles=column.candles.select(there), **arrays)


CASES = [
    Case("a touch is no fill", [Q, (100, 100, 99.5, 100), Q, Q], [], long=[0]),
    Case("a price beyond fills, at the entry's price", [Q, DIP, Q], [(0, 1, 99.5, 2, 100, OPEN)], long=[0]),
    Case("a short one", [Q, TOP, Q], [(0, 1, 100.5, 2, 100, OPEN)], short=[0]),
    Case("a short one that is touched", [Q, (100, 100.5, 100, 100), Q, Q], [], short=[0]),
    Case("on the last bar of its life", [Q, Q, DIP, Q], [(0, 2, 99.5, 3, 100, OPEN)], long=[0]),
    Case("after its life it is dropped", [Q, Q, Q, DIP, Q], [], long=[0]),
    Case("a missing bar counts", [Q, Q, Q, DIP, Q], [], long=[0], missing=[2]),
    Case("at the end of the data it still waits", [Q, Q], [], long=[0]),
    Case("a signal on the last bar", [Q, Q, Q], [], long=[2]),
    # One bar.
    Case("the stop counts in the bar of the fill", [Q, (100, 100, 98.9, 100), Q], [(0, 1, 99.5, 1, 99, STOP)],
         long=[0]),
    Case("a short one's stop does", [Q, (100, 101.5, 100, 100), Q], [(0, 1, 100.5, 1, 101, STOP)], short=[0]),
    Case("the target does not: it may have come before", [Q, (100, 102.5, 99.4, 100), Q, Q],
         [(0, 1, 99.5, 3, 100, OPEN)], long=[0]),
    Case("unless the bar closes beyond it", [Q, (100, 102.5, 99.4, 102.2), Q], [(0, 1, 99.5, 1, 102, TARGET)],
         long=[0]),
    Case("a short one's that closes beyond it", [Q, (100, 100.6, 97.5, 97.8), Q], [(0, 1, 100.5, 1, 98, TARGET)],
         short=[0]),
    Case("stop and target in the bar of the fill are a stop", [Q, (100, 103, 98, 102.5), Q],
         [(0, 1, 99.5, 1, 99, STOP)], long=[0]),
    Case("from the next bar the target counts", [Q, DIP, (100, 102.5, 100, 100), Q], [(0, 1, 99.5, 2, 102, TARGET)],
         long=[0]),
    Case("stop and target are measured from the signal's close", [Q, DIP, (100, 100, 99.01, 99.5), Q],
         [(0, 1, 99.5, 3, 100, OPEN)], long=[0]),
    # Gaps.
    Case("what arrives at a market beyond its price takes that", [Q, (99.2, 99.6, 99.1, 99.5), Q],
         [(0, 1, 99.2, 2, 100, OPEN)], long=[0]),
    Case("and the whole bar counts then", [Q, (99.2, 102.5, 99.1, 99.5), Q], [(0, 1, 99.2, 1, 102, TARGET)], long=[0]),
    Case("a short one that arrives so", [Q, (100.8, 100.9, 100, 100), Q], [(0, 1, 100.8, 2, 100, OPEN)], short=[0]),
    Case("a gap later fills at its price", [Q, Q, (99.2, 99.6, 99.1, 99.5), Q], [(0, 2, 99.5, 3, 100, OPEN)],
         long=[0]),
    Case("a gap over missing bars, too", [Q, Q, (99.2, 99.6, 99.1, 99.5), Q], [(0, 1, 99.5, 2, 100, OPEN)],
         long=[0], missing=[1]),
    Case("a gap beyond the stop is a loss at once", [Q, Q, (98, 98.5, 97, 98), Q], [(0, 2, 99.5, 2, 98, STOP)],
         long=[0]),
    # Post-only.
    Case("post-only waits as well", [Q, DIP, Q], [(0, 1, 99.5, 2, 100, OPEN)], POST_ONLY, long=[0]),
    Case("post-only takes nothing", [Q, (99.2, 99.6, 99.1, 99.5), DIP, Q], [], POST_ONLY, long=[0]),
    Case("and its coin is free at once", [Q, (99.2, 99.6, 99.1, 100), DIP, Q], [(1, 2, 99.5, 3, 100, OPEN)], POST_ONLY,
         long=[0, 1]),
    Case("post-only fills in a later gap", [Q, Q, (99.2, 99.6, 99.1, 99.5), Q], [(0, 2, 99.5, 3, 100, OPEN)],
         POST_ONLY, long=[0]),
    # Chase.
    Case("a chase takes the close of its last bar", [Q, Q, (100, 100.3, 100, 100.3), Q], [(0, 2, 100.3, 3, 100, OPEN)],
         CHASE, long=[0]),
    Case("a short chase", [Q, Q, (100, 100, 99.7, 99.7), Q], [(0, 2, 99.7, 3, 100, OPEN)], CHASE, short=[0]),
    Case("not farther than the deviation", [Q, Q, (100, 100.5, 100, 100.5), DIP, Q], [], CHASE, long=[0]),
    Case("its bars up to there are not held", [Q, Q, (100, 102.5, 100, 100.2), Q], [(0, 2, 100.2, 3, 100, OPEN)],
         CHASE, long=[0]),
    Case("a chase that was filled does not follow", [Q, DIP, Q, Q], [(0, 1, 99.5, 3, 100, OPEN)], CHASE, long=[0]),
    Case("at the end of the data nothing is followed yet", [Q, Q], [], CHASE, long=[0]),
    Case("where its end is missing it takes the close before", [Q, (100, 100.1, 99.9, 100.1), Q, Q],
         [(0, 1, 100.1, 2, 100, OPEN)], CHASE, long=[0], missing=[2]),
    # The coin is occupied.
    Case("a signal while one waits is none", [Q, Q, Q, DIP, Q], [], long=[0, 1, 2]),
    Case("after its end the next one counts", [Q, Q, Q, Q, DIP, Q], [(3, 4, 99.5, 5, 100, OPEN)], long=[0, 3]),
    Case("of the other side, too", [Q, Q, Q, Q, TOP, Q], [(3, 4, 100.5, 5, 100, OPEN)], long=[0], short=[2, 3]),
    Case("no entry on the bar of an exit", [Q, (100, 100, 98.9, 100), DIP, Q], [(0, 1, 99.5, 1, 99, STOP)],
         long=[0, 1]),
    # What is no entry.
    Case("where it would wait beyond the stop", [Q, (100, 100, 98, 100), Q], [], replace(LIMIT, offset=0.01), long=[0]),
    Case("where its quantity would be too small", [Q, TOP, Q], [], short=[0], max_price=100.2),
    Case("where it is large enough at its price", [Q, DIP, Q], [(0, 1, 99.5, 2, 100, OPEN)], long=[0], max_price=99.6),
    # With exits.
    Case("an exit condition at the close of the fill's bar", [Q, DIP, Q], [(0, 1, 99.5, 1, 100, SIGNAL)], long=[0],
         exit_long=[1]),
    Case("one while it waits says nothing", [Q, Q, DIP, Q], [(0, 2, 99.5, 3, 100, OPEN)], long=[0], exit_long=[1]),
    Case("time counts from the signal", [Q, Q, DIP, Q, Q], [(0, 2, 99.5, 3, 100, ExitReason.TIME)], long=[0],
         plan=ExitPlan(after_bars=3)),
]  # fmt: skip


@pytest.mark.parametrize("engine", [KernelEngine(), NaiveEngine()], ids=["kernel", "naive"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rules_as_candles(case: Case, engine: Engine) -> None:
    costs = replace(FREE, entry=case.entry)
    [trades] = engine.simulate([case.column()], costs)
    found = []
    if len(trades):
        assert trades.signal is not None and trades.reason is not None
        columns = (trades.signal, trades.entry, trades.entry_price, trades.exit, trades.exit_price, trades.reason)
        found = list(zip(*(column.tolist() for column in columns), strict=True))
    assert [one[:2] + one[3:4] + one[5:] for one in found] == [one[:2] + one[3:4] + one[5:] for one in case.expected]
    for one, other in zip(found, case.expected, strict=True):
        assert one[2] == pytest.approx(other[2], rel=1e-12) and one[4] == pytest.approx(other[4], rel=1e-12)


@pytest.mark.parametrize("engine", [KernelEngine(), NaiveEngine()], ids=["kernel", "naive"])
def test_costs_of_each_fill(engine: Engine) -> None:
    """The maker's fee and no slippage where it waited; the taker's and slippage where it took."""
    bars = [Q, DIP, (100, 102.5, 100, 100), Q]
    hour = 3_600_000
    begins = int(column_from(bars).candles.start_ms[0])
    funding = Funding(begins + hour * np.array([1, 2, 3]), np.array([0.1, 0.001, 0.002]))
    costs = replace(COSTLY, entry=replace(LIMIT, fee=0.0002))
    size = 1000 / 99.5
    [waited] = engine.simulate([column_from(bars, long=[0], funding=funding)], costs)
    out = 102 * (1 - 0.0002)
    assert waited.entry_price[0] == pytest.approx(99.5, rel=1e-12)
    assert waited.size[0] == pytest.approx(size, rel=1e-12)
    assert waited.fees[0] == pytest.approx(size * (99.5 * 0.0002 + out * 0.00055), rel=1e-9)
    # That of the close of the fill's bar; not that of the signal's, nor that of the exit's bar.
    assert waited.funding[0] == pytest.approx(size * 100 * 0.001, rel=1e-9)
    [took] = engine.simulate([column_from([Q, (99.2, 99.6, 99.1, 99.5), Q], long=[0])], costs)
    assert took.entry_price[0] == pytest.approx(99.2 * 1.0002, rel=1e-12)
    assert took.fees[0] == pytest.approx(size * 99.2 * 1.0002 * 0.00055, rel=1e-9)
    [never_worse] = engine.simulate([column_from([Q, (99.49, 99.6, 99.1, 99.5), Q], long=[0])], costs)
    assert never_worse.entry_price[0] == pytest.approx(99.5, rel=1e-12)
    chase = replace(costs, entry=replace(CHASE, fee=0.0002))
    [followed] = engine.simulate([column_from([Q, Q, (100, 100.3, 100, 100.3), Q], long=[0])], chase)
    assert followed.entry_price[0] == pytest.approx(100.3 * 1.0002, rel=1e-12)
    [at_most] = engine.simulate([column_from([Q, Q, (100, 100.4, 100, 100.395), Q], long=[0])], chase)
    assert at_most.entry_price[0] == pytest.approx(100.4, rel=1e-12)


def test_what_is_risked() -> None:
    column = column_from([Q, DIP, Q], long=[0])
    costs = replace(FREE, entry=LIMIT)
    [trades] = KernelEngine().simulate([column], costs)
    assert risked(column, trades, costs)[0] == pytest.approx(0.5 / 99.5)
    chased = column_from([Q, Q, (100, 100.3, 100, 100.3), Q], long=[0])
    costs = replace(FREE, entry=CHASE)
    [trades] = KernelEngine().simulate([chased], costs)
    assert risked(chased, trades, costs)[0] == pytest.approx(1.3 / 99.5)


ENTRIES = st.builds(
    LimitEntry,
    st.sampled_from([EntryOrder.LIMIT, EntryOrder.POST_ONLY, EntryOrder.CHASE]),
    offset=st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.03, -0.002]),
    bars=st.sampled_from([1, 2, 3, 10, 200]),
    fee=st.sampled_from([0.0, 0.0002]),
    deviation=st.sampled_from([0.001, 0.005, 0.05]),
)

COLUMNS = st.builds(
    with_exits,
    st.integers(0, 2**32 - 1),
    st.one_of(st.just(NO_PLAN), plans()),
    signals=st.sampled_from([0.0, 0.0, 0.1]),
    bars=st.integers(1, 120),
    missing=st.sampled_from([0.0, 0.2]),
)


@pytest.mark.slow
@settings(max_examples=400)
@given(column=COLUMNS, entry=ENTRIES, costs=st.sampled_from([FREE, COSTLY]), model=st.sampled_from(sorted(COST_MODELS)))
def test_kernel_finds_the_naive_engines_trades(column: Column, entry: LimitEntry, costs: Costs, model: str) -> None:
    costs = replace(costs.under(model), entry=entry)
    [found], [expected] = KernelEngine().simulate([column], costs), NaiveEngine().simulate([column], costs)
    if not len(expected):
        assert not len(found)
        return
    assert_same_exits(found, expected)
    np.testing.assert_array_equal(found.signal, expected.signal)
    np.testing.assert_allclose(found.entry_fee, expected.entry_fee, rtol=1e-9)
    assert (risked(column, found, costs) > 0).all()
    # Equity ends with all that was earned.
    equity = equity_curve(found, column.candles, 1000.0)
    assert equity[-1] == pytest.approx(1000 + found.pnl.sum(), rel=1e-9)


def test_random_columns_have_every_kind_of_fill() -> None:
    """Enough of each that the property above says something."""
    seen: dict[str, int] = dict.fromkeys(("one bar", "dropped", "chased", "took", "later"), 0)
    for seed in range(20):
        column = with_exits(seed, NO_PLAN, signals=0.0)
        [trades] = KernelEngine().simulate([column], replace(FREE, entry=CHASE))
        [limit] = KernelEngine().simulate([column], replace(FREE, entry=LIMIT))
        assert trades.signal is not None
        level = column.candles.close[trades.signal] * (1 - trades.direction * 0.005)
        opened = column.candles.open[trades.entry]
        seen["one bar"] += int((trades.entry == trades.exit).sum())
        seen["took"] += int((~np.isclose(trades.entry_price, level) & np.isclose(trades.entry_price, opened)).sum())
        closes = column.candles.close[trades.entry]
        seen["chased"] += int((np.isclose(trades.entry_price, closes)).sum())
        seen["later"] += int((trades.entry - trades.signal > 1).sum())
        seen["dropped"] += len(trades) > len(limit)
    assert min(seen.values()) > 5, seen


def test_vectorbt_refuses() -> None:
    with pytest.raises(NotImplementedError, match="cannot represent an entry that waits at a price"):
        VectorbtEngine().simulate([column_from([Q, DIP, Q], long=[0])], replace(FREE, entry=LIMIT))


def test_a_market_entry_is_untouched() -> None:
    for seed in range(10):
        column = with_exits(seed, NO_PLAN, signals=0.0)
        [market], [naive] = KernelEngine().simulate([column], COSTLY), NaiveEngine().simulate([column], COSTLY)
        assert market.signal is None and market.entry_fee is None
        assert_same(market, naive)
    assert astuple(COSTLY)[-1] is None
