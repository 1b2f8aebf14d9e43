"""The engine's rules as candles and the trades they give, written by hand."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from trading_assets.backtesting.engine import Costs, Engine, Trades
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.candles import Funding
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS
from trading_assets_tests.backtesting import naive
from trading_assets_tests.backtesting.columns import COSTLY, FREE, START_MS, assert_same, column_from

QUIET = (100.0, 100.2, 99.8, 100.0)
"""A bar that touches neither the stop at 99 (short 101) nor the target at 102 (short 98)."""


@dataclass(frozen=True)
class Case:
    """Bars (open, high, low, close) and entries; expected: (entry, exit, direction, exit price, closed)."""

    name: str
    bars: list[tuple[float, float, float, float]]
    expected: list[tuple[int, int, int, float, bool]]
    long: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)


ENGINES: list[Engine] = [VectorbtEngine(), KernelEngine()]

FLAT = (100.0, 100.0, 100.0, 100.0)
"""A bar of one price."""

CASES = [
    Case("no signal, no trade", [QUIET, QUIET], []),
    Case("long stop", [QUIET, (100, 100.1, 98.5, 98.7), QUIET], [(0, 1, 1, 99.0, True)], long=[0]),
    Case("long target", [QUIET, (100, 102.5, 99.9, 101), QUIET], [(0, 1, 1, 102.0, True)], long=[0]),
    Case("short stop", [QUIET, (100, 101.5, 99.9, 100), QUIET], [(0, 1, -1, 101.0, True)], short=[0]),
    Case("short target", [QUIET, (100, 100.5, 97.5, 99), QUIET], [(0, 1, -1, 98.0, True)], short=[0]),
    Case("touching the stop exactly is a stop", [QUIET, (100, 100, 99, 100)], [(0, 1, 1, 99.0, True)], long=[0]),
    Case("a hair above the stop is none", [QUIET, (100, 100, 99.01, 100)], [(0, 1, 1, 100.0, False)], long=[0]),
    Case("stop and target in one bar: stop", [QUIET, (100, 103, 98, 102)], [(0, 1, 1, 99.0, True)], long=[0]),
    Case("the same, short: stop", [QUIET, (100, 102, 97, 98)], [(0, 1, -1, 101.0, True)], short=[0]),
    Case("opens beyond the long stop: open", [QUIET, (97, 98, 96, 97)], [(0, 1, 1, 97.0, True)], long=[0]),
    Case("opens beyond the short stop: open", [QUIET, (104, 105, 103, 104)], [(0, 1, -1, 104.0, True)], short=[0]),
    Case("opens beyond the long target: open", [QUIET, (103, 104, 102.5, 103)], [(0, 1, 1, 103.0, True)], long=[0]),
    Case("opens beyond the short target: open", [QUIET, (96, 97, 95, 96)], [(0, 1, -1, 96.0, True)], short=[0]),
    Case(
        "opens beyond the target, then the stop: stop", [QUIET, (103, 103, 98, 99)], [(0, 1, 1, 99.0, True)], long=[0]
    ),
    Case("the entry's own bar has no stops", [(100, 110, 90, 100), QUIET], [(0, 1, 1, 100.0, False)], long=[0]),
    Case("entry on the last bar stays open", [QUIET, QUIET], [(1, 1, 1, 100.0, False)], long=[1]),
    Case(
        "no entry on the bar of an exit",
        [QUIET, (100, 100, 98, 100), QUIET, (100, 100, 98, 100)],
        [(0, 1, 1, 99.0, True), (2, 3, 1, 99.0, True)],
        long=[0, 1, 2],
    ),
    Case(
        "an opposite signal is ignored",
        [QUIET, QUIET, (100, 102, 99.5, 101)],
        [(0, 2, 1, 102.0, True)],
        long=[0],
        short=[1],
    ),
    Case(
        "a second signal in the same direction is ignored",
        [QUIET, QUIET, (100, 100, 99, 99)],
        [(0, 2, 1, 99.0, True)],
        long=[0, 1],
    ),
    Case(
        "the stop stands where it was set, however the price moves",
        [QUIET, (100, 101.9, 100, 101.8), (101.8, 101.8, 99.5, 99.6), (99.6, 99.7, 98.9, 99)],
        [(0, 3, 1, 99.0, True)],
        long=[0],
    ),
    Case(
        "long, then short",
        [QUIET, (100, 102, 100, 100), QUIET, (100, 100, 98, 98)],
        [(0, 1, 1, 102.0, True), (2, 3, -1, 98.0, True)],
        long=[0],
        short=[2],
    ),
    Case(
        "short, then long",
        [QUIET, (100, 100, 98, 100), QUIET, (100, 102, 100, 102)],
        [(0, 1, -1, 98.0, True), (2, 3, 1, 102.0, True)],
        long=[2],
        short=[0],
    ),
    Case("touching the short stop exactly", [QUIET, (100, 101, 100, 100)], [(0, 1, -1, 101.0, True)], short=[0]),
    Case("a hair below the short stop", [QUIET, (100, 100.99, 100, 100)], [(0, 1, -1, 100.0, False)], short=[0]),
    Case("touching the target exactly is a target", [QUIET, (100, 102, 100, 101)], [(0, 1, 1, 102.0, True)], long=[0]),
    Case("a hair below the target is none", [QUIET, (100, 101.99, 100, 101)], [(0, 1, 1, 101.0, False)], long=[0]),
    Case("touching the short target exactly", [QUIET, (100, 100, 98, 99)], [(0, 1, -1, 98.0, True)], short=[0]),
    Case("a hair above the short target is none", [QUIET, (100, 100, 98.01, 99)], [(0, 1, -1, 99.0, False)], short=[0]),
    Case("opens exactly on the stop", [QUIET, (99, 99.5, 98.5, 99)], [(0, 1, 1, 99.0, True)], long=[0]),
    Case("opens exactly on the target", [QUIET, (102, 103, 101, 102)], [(0, 1, 1, 102.0, True)], long=[0]),
    Case("opens exactly on the short stop", [QUIET, (101, 102, 100, 101)], [(0, 1, -1, 101.0, True)], short=[0]),
    Case("opens exactly on the short target", [QUIET, (98, 99, 97, 98)], [(0, 1, -1, 98.0, True)], short=[0]),
    Case(
        "a short that opens beyond the target, then the stop: stop",
        [QUIET, (97, 102, 97, 101)],
        [(0, 1, -1, 101.0, True)],
        short=[0],
    ),
    Case("prices that never move", [FLAT] * 5, [(1, 4, 1, 100.0, False)], long=[1, 2, 3]),
    Case("a bar of one price beyond the stop", [FLAT, (98, 98, 98, 98)], [(0, 1, 1, 98.0, True)], long=[0]),
    Case("a bar of one price beyond the target", [FLAT, (103, 103, 103, 103)], [(0, 1, 1, 103.0, True)], long=[0]),
    Case("a bar of one price on the stop", [FLAT, (99, 99, 99, 99)], [(0, 1, 1, 99.0, True)], long=[0]),
    Case("short entry on the last bar stays open", [QUIET, QUIET], [(1, 1, -1, 100.0, False)], short=[1]),
    Case("one bar alone", [QUIET], [(0, 0, 1, 100.0, False)], long=[0]),
    Case("exit on the last bar", [QUIET, QUIET, (100, 102, 100, 102)], [(0, 2, 1, 102.0, True)], long=[0]),
    Case(
        "an open trade ends at the last close",
        [QUIET, (100, 100.6, 100, 100.5)],
        [(0, 1, 1, 100.5, False)],
        long=[0],
    ),
    Case(
        "an entry on the bar after an exit",
        [QUIET, (100, 100, 98, 100), QUIET],
        [(0, 1, 1, 99.0, True), (2, 2, -1, 100.0, False)],
        long=[0],
        short=[2],
    ),
    Case(
        "an opposite signal on the bar of an exit is no entry",
        [QUIET, (100, 100, 98, 100), QUIET],
        [(0, 1, 1, 99.0, True)],
        long=[0],
        short=[1],
    ),
    Case(
        "three stops in a row",
        [QUIET, (100, 100, 98, 100)] * 3,
        [(0, 1, 1, 99.0, True), (2, 3, 1, 99.0, True), (4, 5, 1, 99.0, True)],
        long=[0, 1, 2, 3, 4, 5],
    ),
    Case(
        "the entry's price is its close, whatever its open",
        [(90, 101, 89, 100), (100, 101.5, 99.5, 101)],
        [(0, 1, 1, 101.0, False)],
        long=[0],
    ),
    Case(
        "a signal on the last bar while in a position is ignored",
        [QUIET, QUIET, QUIET],
        [(0, 2, 1, 100.0, False)],
        long=[0],
        short=[2],
    ),
]


def test_there_are_many_cases() -> None:
    assert len({case.name for case in CASES}) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_table_of_candles_gives_the_trades_that_the_rules_say(case: Case, engine: Engine) -> None:
    column = column_from(case.bars, long=case.long, short=case.short)
    (trades,) = engine.simulate([column], FREE)
    found = list(
        zip(
            trades.entry.tolist(),
            trades.exit.tolist(),
            trades.direction.tolist(),
            [round(price, 9) for price in trades.exit_price.tolist()],
            trades.closed.tolist(),
            strict=True,
        )
    )
    assert found == case.expected
    assert trades.confidence.tolist() == [60.0 + entry for entry, *_ in case.expected]
    assert_same(naive.simulate(column, FREE), trades)


def one(costs: Costs, bars: list[tuple[float, float, float, float]], **kwargs: object) -> Trades:
    """The one trade that both engines find."""
    column = column_from(bars, **kwargs)  # type: ignore[arg-type]
    (trades,), (same,) = (engine.simulate([column], costs) for engine in ENGINES)
    assert len(trades) == 1
    assert_same(same, trades)
    return trades


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize(
    ("leverage", "stop_fraction", "entries"),
    [(10, 0.0949, [0, 2]), (10, 0.095, []), (10, 0.2, []), (5, 0.0951, [0, 2]), (100, 0.0051, [])],
)
def test_an_entry_whose_stop_is_as_far_as_the_liquidation_is_none(
    engine: Engine, leverage: int, stop_fraction: float, entries: list[int]
) -> None:
    costs = replace(FREE, liquidation=Settings(leverage=leverage).liquidation_distance)
    bars = [QUIET, (100, 150, 50, 100), QUIET]
    column = column_from(bars, long=[0], short=[2], stop_fraction=stop_fraction)
    (trades,) = engine.simulate([column], costs)
    assert trades.entry.tolist() == entries


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize(("max_price", "entries"), [(101.0, [0, 1, 2]), (100.99, [0, 2]), (99.5, [2]), (98.0, [])])
def test_an_entry_below_the_smallest_quantity_is_none(engine: Engine, max_price: float, entries: list[int]) -> None:
    bars = [(100, 100, 99, 100), (100, 101, 98, 101), (101, 101, 97, 99), (99, 99, 90, 95)]
    column = replace(column_from(bars, stop_fraction=0.01), max_price=max_price)
    of_each = [replace(column, long=np.arange(4) == entry) for entry in range(3)]
    found = [trades.entry.tolist() for trades in engine.simulate(of_each, FREE)]
    assert [entry for one in found for entry in one] == entries


def test_a_bar_that_is_missing_is_stepped_over_and_its_funding_is_paid() -> None:
    column = column_from([QUIET, QUIET, (100, 102, 100, 102)], long=[0])
    late = column.candles.start_ms + np.array([0, 0, 5]) * HOUR_MS
    funding = Funding(late[1:] + HOUR_MS // 2 + HOUR_MS, np.array([0.001, 0.002]))
    gapped = replace(column, candles=replace(column.candles, start_ms=late), funding=funding)
    for engine in ENGINES:
        (trades,) = engine.simulate([gapped], FREE)
        assert (trades.entry.tolist(), trades.exit.tolist()) == ([0], [2])
        assert trades.funding[0] == pytest.approx(1.0)  # 0.001 of 10 coins at 100, paid in the gap


def test_several_payments_of_a_trade_add_up_each_at_its_price() -> None:
    bars = [QUIET, (100, 101, 100, 101), (101, 101.5, 100.5, 101.5), (101.5, 102, 101, 102)]
    funding = Funding(START_MS + HOUR_MS * np.array([1, 2, 3, 4]), np.array([0.5, 0.001, -0.002, 0.5]))
    trades = one(FREE, bars, long=[0], funding=funding)
    assert trades.funding[0] == pytest.approx(10 * (0.001 * 101 - 0.002 * 101.5))


def test_slippage_worsens_both_fills_and_the_stop_is_measured_from_the_close() -> None:
    trades = one(Costs(fee=0.0, slippage=0.001, notional=1000.0), [QUIET, (100, 100, 90, 90)], long=[0])
    assert trades.entry_price[0] == pytest.approx(100.1)
    assert trades.exit_price[0] == pytest.approx(99 * 0.999)
    assert trades.size[0] == pytest.approx(10.0)  # 1000 USD at the close of 100


def test_a_short_sells_below_and_buys_back_above() -> None:
    trades = one(Costs(fee=0.0, slippage=0.001, notional=1000.0), [QUIET, (100, 110, 100, 110)], short=[0])
    assert trades.entry_price[0] == pytest.approx(99.9)
    assert trades.exit_price[0] == pytest.approx(101 * 1.001)
    assert trades.pnl[0] == pytest.approx(-10 * (101 * 1.001 - 99.9))


def test_both_fills_pay_the_fee_and_an_open_trade_has_paid_only_the_first() -> None:
    fee = Costs(fee=0.001, slippage=0.0, notional=1000.0)
    closed = one(fee, [QUIET, (100, 102, 100, 100)], long=[0])
    assert closed.fees[0] == pytest.approx(0.001 * 10 * (100 + 102))
    assert closed.pnl[0] == pytest.approx(20 - closed.fees[0])
    still_open = one(fee, [QUIET, (100, 101, 100, 101)], long=[0])
    assert still_open.fees[0] == pytest.approx(1.0)
    assert still_open.pnl[0] == pytest.approx(10 - 1.0)


STOPPED_AT_BAR_2 = [QUIET, QUIET, (100, 100, 99, 99), QUIET]


@pytest.mark.parametrize(
    ("after_start_h", "paid"),
    [(0.5, 0.0), (1.0, 0.0), (1.5, 1.0), (2.0, 1.0), (2.5, 0.0), (3.0, 0.0)],
    ids=["before", "at the entry", "inside", "at the open of the exit bar", "in the exit bar", "after"],
)
def test_funding_is_paid_after_the_entry_and_until_the_open_of_the_exit_bar(after_start_h: float, paid: float) -> None:
    funding = Funding(np.array([START_MS + int(after_start_h * HOUR_MS)]), np.array([0.001]))
    long = one(FREE, STOPPED_AT_BAR_2, long=[0], funding=funding)
    assert long.funding[0] == pytest.approx(paid)  # 0.001 of 10 coins at 100
    assert long.pnl[0] == pytest.approx(-10 - paid)


def test_a_short_receives_what_a_long_pays_at_the_price_of_that_moment() -> None:
    bars = [QUIET, (100, 100.6, 100, 100.5), (100.5, 102, 100.5, 102)]
    funding = Funding(np.array([START_MS + 2 * HOUR_MS]), np.array([0.002]))
    trades = one(FREE, bars, short=[0], funding=funding)
    assert trades.funding[0] == pytest.approx(-0.002 * 10 * 100.5)


def test_a_trade_still_open_pays_funding_up_to_the_last_close() -> None:
    funding = Funding(np.array([START_MS + 2 * HOUR_MS, START_MS + 3 * HOUR_MS]), np.array([0.001, 0.001]))
    trades = one(FREE, [QUIET, QUIET], long=[0], funding=funding)
    assert not trades.closed[0]
    assert trades.funding[0] == pytest.approx(1.0)


def test_columns_of_different_lengths_in_one_batch_do_not_disturb_each_other() -> None:
    long_one = column_from([QUIET] * 6 + [(100, 103, 100, 102)], long=[5])
    short_one = column_from([QUIET, (100, 100, 98, 98)], long=[0])
    silent = column_from([QUIET] * 3)
    empty = column_from([])
    columns = [short_one, silent, long_one, empty]
    for engine in ENGINES:
        together = engine.simulate(columns, COSTLY)
        assert [len(trades) for trades in together] == [1, 0, 1, 0]
        for column, trades in zip(columns, together, strict=True):
            assert_same(trades, naive.simulate(column, COSTLY))


def test_no_column_gives_no_trades() -> None:
    for engine in ENGINES:
        assert engine.simulate([], FREE) == []


@pytest.mark.slow
def test_importing_the_engine_does_not_import_vectorbt() -> None:
    code = (
        "import sys, trading_assets.backtesting.run, trading_assets.backtesting.selection, "
        "trading_assets.strategies.registry\n"
        "print([m for m in ('vectorbt', 'numba', 'scipy', 'matplotlib', 'dagster') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_first_simulation_of_a_process_compiles_nothing() -> None:
    code = (
        "import time\n"
        "from trading_assets.backtesting.vectorbt_engine import VectorbtEngine\n"
        "from trading_assets_tests.backtesting.columns import COSTLY, random_column\n"
        "import vectorbt\n"
        "import numba.core.dispatcher as d\n"
        "compiled = []\n"
        "original = d.Dispatcher.compile\n"
        "d.Dispatcher.compile = lambda self, sig: (compiled.append(self.__name__), original(self, sig))[1]\n"
        "VectorbtEngine().simulate([random_column(1, 300)], COSTLY)\n"
        "print(compiled)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"
