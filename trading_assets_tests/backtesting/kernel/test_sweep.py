"""A sweep's figures are those of the trades of each set, and what it cannot compile it computes all the same."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

from trading_assets.backtesting.kernel import loops
from trading_assets.backtesting.kernel.entry_rules import compile_rule
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.kernel.panel import Panel, Window
from trading_assets.backtesting.kernel.sweep import StrategySweep, column_from
from trading_assets.backtesting.metrics import NO_TRADES, metrics
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.candles import FloatArray, Funding
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets.strategies.registry import parameter_sets
from trading_assets_tests.backtesting.columns import assert_same
from trading_assets_tests.backtesting.kernel.markets import CAPITAL, COSTS, NAMES, grid_of, panel_of, seeded

LIMIT = 50.0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("timeframe", TRADED_TIMEFRAMES)
def test_every_set_has_the_trades_and_figures_that_vectorbt_finds(name: str, timeframe: Timeframe) -> None:
    sweep = grid_of(name)
    data, window = seeded(sweep.sets, 5, timeframe)
    columns = [column_from(strategy, data, window) for strategy in sweep.sets]
    outcome = sweep.run(panel_of(data), COSTS, CAPITAL)
    assert not outcome.failures
    kernel, reference = KernelEngine().simulate(columns, COSTS), VectorbtEngine().simulate(columns, COSTS)
    for found, ours, theirs in zip(outcome.figures[0], kernel, reference, strict=True):
        assert_same(ours, theirs)
        np.testing.assert_allclose(
            found, astuple(metrics(theirs, window.candles, CAPITAL, window.split)), rtol=1e-9, atol=1e-9
        )
    assert outcome.figures[0][:, 0].sum() > 20
    assert outcome.figures[0][:, 13].sum() > 10 and outcome.figures[0][:, 16].sum() > 5


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.M60])
def test_conditions_that_are_switched_by_true_and_false_are_compiled(timeframe: Timeframe) -> None:
    switches = ["extreme_required", "level_required", "trend_required", "funding_required"]
    blocks = [{**{switch: [False, True] for switch in switches}, "level_timeframes": [4, 5]}]
    sets = parameter_sets("fibonacci_bollinger", grid=blocks)
    assert len(sets) == 32
    data, window = seeded(sets, 5, timeframe)
    names = frozenset(sets[0].indicators(data))
    assert compile_rule(FibonacciBollinger.entries, FibonacciBollinger.Parameters, names) is not None
    outcome = StrategySweep(sets).run(panel_of(data), COSTS, CAPITAL)
    reference = VectorbtEngine().simulate([column_from(strategy, data, window) for strategy in sets], COSTS)
    assert not outcome.failures
    for found, theirs in zip(outcome.figures[0], reference, strict=True):
        np.testing.assert_allclose(
            found, astuple(metrics(theirs, window.candles, CAPITAL, window.split)), rtol=1e-9, atol=1e-9
        )
    counts = {
        tuple(getattr(one.parameters, switch) for switch in switches): len(t)
        for one, t in zip(sets, reference, strict=True)
    }
    assert counts[True, True, True, True] < counts[True, False, False, False] < counts[False, False, False, False]


def test_sets_that_share_indicators_differ_where_their_parameters_do() -> None:
    sweep = grid_of("bollinger_rsi")
    data, _ = seeded(sweep.sets, 3, Timeframe.M15)
    outcome = sweep.run(panel_of(data), COSTS, CAPITAL)
    assert len(np.unique(outcome.figures[0], axis=0)) > 15


class Choice(Parameters):
    period: int = Field(14, ge=2)
    level: float = 40.0
    confidence: float = 60.0


class Simple(Strategy):
    """RSI below a level; what the tests vary is its rule."""

    name = "simple"
    description = "for tests"
    Parameters = Choice

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"rsi": indicators.rsi(data.candles.close, self.parameters.period)}  # type: ignore[attr-defined]

    @staticmethod
    def entries(v: Values, p: Choice) -> Entries:
        return Entries(long=v.rsi < p.level, short=v.rsi > 100 - p.level, confidence=p.confidence)


class ByMethod(Simple):
    """A rule that reads the object."""

    def entries(self, v: Values, p: Choice) -> Entries:
        return Simple.entries(v, self.parameters)


class ByLibrary(Simple):
    """A rule that needs a library."""

    @staticmethod
    def entries(v: Values, p: Choice) -> Entries:
        low = pd.Series(v.rsi).lt(p.level).to_numpy()
        return Entries(long=low, short=v.rsi > 100 - p.level, confidence=p.confidence)


class ByHelper(Simple):
    """A rule that calls a function and reads a constant of its module."""

    @staticmethod
    def entries(v: Values, p: Choice) -> Entries:
        return Entries(long=below(v.rsi, p.level), short=below(LIMIT + LIMIT - v.rsi, p.level), confidence=p.confidence)


def below(value: FloatArray, level: float) -> np.ndarray:
    return value < level


class ByArray(Simple):
    """A rule that reads an array of its module."""

    @staticmethod
    def entries(v: Values, p: Choice) -> Entries:
        return Entries(long=v.rsi < LEVELS[0], short=v.rsi > LEVELS[1], confidence=60.0)


LEVELS = np.array([40.0, 60.0])


class ByNothing(Simple):
    """A rule without parameters, in one direction."""

    @staticmethod
    def entries(v: Values, p: Choice) -> Entries:
        return Entries(long=v.close > v.open, short=False, confidence=60.0)


class ByIndicators(Simple):
    """Reads a parameter of its indicators only on wild candles."""

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        wild = data.candles.close.std() > 5
        return super().indicators(data) if wild else {"rsi": indicators.rsi(data.candles.close, 14)}


SETS = [{"period": period, "level": level} for period in (14, 7) for level in (40.0, 30.0)]


def of(kind: type[Strategy], sets: list[dict[str, float]] | None = None) -> StrategySweep:
    return StrategySweep([kind(one) for one in sets or SETS])


def expected(sweep: StrategySweep, seed: int) -> np.ndarray:
    """Figures from the trades of each set alone."""
    data, window = seeded(sweep.sets, seed, Timeframe.M15)
    columns = [column_from(strategy, data, window) for strategy in sweep.sets]
    trades = KernelEngine().simulate(columns, COSTS)
    return np.array([astuple(metrics(one, window.candles, CAPITAL, window.split)) for one in trades])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "compiled"),
    [
        (Simple, True),
        (ByHelper, True),
        (ByMethod, False),
        (ByLibrary, False),
        (ByIndicators, True),
        (ByNothing, True),
        (ByArray, False),
    ],
)
def test_any_way_to_write_a_rule_gives_the_same_figures(kind: type[Strategy], compiled: bool) -> None:
    sweep = of(kind)
    for seed in (1, 2, 9):
        data, _ = seeded(sweep.sets, seed, Timeframe.M15)
        np.testing.assert_allclose(
            sweep.run(panel_of(data), COSTS, CAPITAL).figures[0], expected(sweep, seed), rtol=1e-9, atol=1e-9
        )
    assert sweep.compiles == compiled


@pytest.mark.slow
def test_a_changed_constant_or_helper_is_a_changed_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> np.ndarray:
        compile_rule.cache_clear()  # as in a new process
        sweep = of(ByHelper)
        data, _ = seeded(sweep.sets, 1, Timeframe.M15)
        figures = sweep.run(panel_of(data), COSTS, CAPITAL).figures[0]
        np.testing.assert_allclose(figures, expected(sweep, 1), rtol=1e-9, atol=1e-9)
        return figures

    before = run()
    monkeypatch.setitem(globals(), "LIMIT", 55.0)
    assert not np.array_equal(run(), before)
    monkeypatch.setitem(globals(), "below", lambda value, level: value < level / 2)
    assert not np.array_equal(run(), before)


@pytest.mark.slow
def test_a_rule_that_means_something_else_for_one_bar_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    class Ambiguous(Simple):
        @staticmethod
        def entries(v: Values, p: Choice) -> Entries:
            long = (v.rsi < p.level) & (not np.isscalar(v.rsi))
            return Entries(long=long, short=v.rsi > 100 - p.level, confidence=p.confidence)

    sweep = of(Ambiguous)
    data, _ = seeded(sweep.sets, 1, Timeframe.M15)
    with caplog.at_level(logging.INFO):
        found = sweep.run(panel_of(data), COSTS, CAPITAL)
    np.testing.assert_allclose(found.figures[0], expected(sweep, 1), rtol=1e-9, atol=1e-9)
    assert not sweep.compiles
    assert "something else" in caplog.text


def test_a_set_that_is_not_sound_fails_alone() -> None:
    sweep = of(Simple, [{}, {"level": 60.0}, {"confidence": 120.0}])
    data, _ = seeded(sweep.sets, 1, Timeframe.M15)
    outcome = sweep.run(panel_of(data), COSTS, CAPITAL)
    assert set(outcome.failures) == {(0, 1), (0, 2)}
    assert "both long and short" in str(outcome.failures[0, 1])
    assert "confidence 120" in str(outcome.failures[0, 2])
    assert outcome.figures[0, 0, 0] > 0
    assert (outcome.figures[0, 1:] == astuple(NO_TRADES)).all()


def test_a_stop_below_zero_is_no_entry() -> None:
    sweep = of(Simple, [{"stop_atr": 400.0}, {"reward_risk": 900.0}, {}])
    data, _ = seeded(sweep.sets, 1, Timeframe.M15)
    figures = sweep.run(panel_of(data), COSTS, CAPITAL).figures[0]
    np.testing.assert_allclose(figures, expected(sweep, 1), rtol=1e-9, atol=1e-9)
    assert figures[0, 10] == 0.0 < figures[2, 10]


def test_a_stop_as_far_as_the_liquidation_is_no_entry() -> None:
    sweep = grid_of("bollinger_rsi")
    data, window = seeded(sweep.sets, 7, Timeframe.M240)
    columns = [column_from(strategy, data, window) for strategy in sweep.sets]
    near = replace(COSTS, liquidation=float(np.median(columns[0].stop_fraction)))
    outcome = sweep.run(panel_of(data), near, CAPITAL)
    for found, trades in zip(outcome.figures[0], VectorbtEngine().simulate(columns, near), strict=True):
        wanted = astuple(metrics(trades, window.candles, CAPITAL, window.split))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    unlimited = sweep.run(panel_of(data), COSTS, CAPITAL).figures[0, :, 0]
    assert 0 < outcome.figures[0, :, 0].sum() < unlimited.sum()


def test_funding_of_every_minute_is_in_the_figures() -> None:
    sweep = grid_of("bollinger_rsi")
    data, _ = seeded(sweep.sets, 4, Timeframe.M15)
    first = int(data.candles.start_ms[0])
    times = np.arange(first, int(data.candles.end_ms[-1]) + 1, HOUR_MS // 12)
    heavy = replace(data, funding=Funding(times, np.random.default_rng(1).normal(0, 1e-4, len(times))))
    window = Window.from_data(heavy, int(data.candles.start_ms[200]))
    outcome = sweep.run(Panel.from_members([heavy], int(heavy.candles.start_ms[200])), COSTS, CAPITAL)
    columns = [column_from(strategy, heavy, window) for strategy in sweep.sets]
    for found, trades in zip(outcome.figures[0], VectorbtEngine().simulate(columns, COSTS), strict=True):
        np.testing.assert_allclose(
            found, astuple(metrics(trades, window.candles, CAPITAL, window.split)), rtol=1e-9, atol=1e-9
        )
    assert np.abs(outcome.figures[0][:, 9]).min() > 0


def test_moments_keep_their_digits_after_a_crash_that_no_trade_was_in() -> None:
    # 99.9 % in a bar of the window: the fourth power of that change leaves no digit for one of a tenth of a percent.
    sweep = grid_of("bollinger_rsi")
    data, _ = seeded(sweep.sets, 6, Timeframe.M15)
    fall = np.where(np.arange(len(data.candles)) < 210, 1000.0, 1.0)
    columns = ("open", "high", "low", "close")
    crashed = replace(data.candles, **{name: getattr(data.candles, name) * fall for name in columns})
    quiet = replace(data, candles=crashed)
    window = Window.from_data(quiet, int(crashed.start_ms[205]), 30.0)
    compared = 0
    for strategy, found in zip(
        sweep.sets,
        sweep.run(Panel.from_members([quiet], int(crashed.start_ms[205]), 30.0), COSTS, CAPITAL).figures[0],
        strict=True,
    ):
        (trades,) = VectorbtEngine().simulate([column_from(strategy, quiet, window)], COSTS)
        wanted = astuple(metrics(trades, window.candles, CAPITAL, window.split))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
        compared += len(trades) > 0 and trades.entry[0] > 5
    assert compared > 5


@pytest.mark.slow
def test_a_second_process_compiles_nothing() -> None:
    code = (
        "from trading_assets_tests.backtesting.kernel.markets import *\n"
        "import numba.core.dispatcher as d\n"
        "compiled, original = [], d._FunctionCompiler.compile\n"
        "def compile(self, args, result):\n"
        "    compiled.append(self.py_func.__name__)\n"
        "    return original(self, args, result)\n"
        "d._FunctionCompiler.compile = compile\n"
        "for name in NAMES:\n"
        "    sweep = grid_of(name)\n"
        "    data, window = seeded(sweep.sets, 5, Timeframe.M15)\n"
        "    assert sweep.run(panel_of(data), COSTS, CAPITAL).figures[0][:, 0].any()\n"
        "print(compiled)"
    )
    for _ in range(2):
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"


def test_without_numbas_private_option_the_loops_have_plain_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loops.without_reference_counts() == {"_nrt": False}
    monkeypatch.setattr("numba.core.cpu.CPUTargetOptions", object)
    assert loops.without_reference_counts() == {}
    monkeypatch.setitem(sys.modules, "numba.core.cpu", None)
    assert loops.without_reference_counts() == {}
