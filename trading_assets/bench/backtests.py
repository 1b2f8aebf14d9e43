"""The same backtests by the kernel and by other engines, one after the other in one process, with equal results.

CPU time counts (of all threads); compare ratios of one run, not runs of different days. Each engine gets the same
candles in memory, and each is told to share indicators among the parameter sets where it can. The gain of two threads
is told beside that of two threads that do nothing but compiled arithmetic: what the machine has to give at that moment.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields, replace
from typing import Any, ClassVar

import numpy as np
from rich.table import Table

from trading_assets.backtesting.engine import Costs, LimitEntry
from trading_assets.backtesting.kernel.panel import Panel, Window, panels
from trading_assets.backtesting.kernel.sweep import StrategySweep, column_from
from trading_assets.backtesting.metrics import metrics
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.backtesting.worker_threads import map_on_workers
from trading_assets.bench import baselines
from trading_assets.bench.baselines import BenchCase, BenchEngine
from trading_assets.core.candles import Candles, FloatArray, Funding
from trading_assets.core.exits import ExitPlan
from trading_assets.core.memory import peak_mb
from trading_assets.core.models import EntryOrder
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe
from trading_assets.strategies.base import Entries, Strategy, Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi, BollingerRsiParameters, stretched
from trading_assets.strategies.grids import DECLARED
from trading_assets.strategies.registry import parameter_sets

COSTS = Costs(fee=0.00055, slippage=0.0002, notional=1000.0)
CAPITAL = 1000.0
OUT_OF_SAMPLE_PCT = 25.0
STRATEGY = "bollinger_rsi"
TURN_S = 0.3
"""An engine runs at least so long before it is the next one's turn."""

START_MS = 1_772_323_200_000


def measure(symbols: int, params: int, timeframes: Sequence[Timeframe], repeat: int) -> dict[str, Any]:
    """Time every engine on a seeded random market.

    Returns:
        Size of the work, and for each engine CPU and wall seconds, ns of CPU per bar and parameter set, how many times
        the kernel's, and whether its results were equal (None where its rules differ).
    """
    sets = parameter_sets(STRATEGY, grid=DECLARED)[:params]
    sweep = StrategySweep(sets)
    data = [_walk(seed, timeframe) for timeframe in timeframes for seed in range(symbols)]
    _prepared(data[0], sweep)  # imports and compiles
    loaded_mb = peak_mb()
    work = [_prepared(one, sweep) for one in data]

    def kernel(part: Sequence[BenchCase]) -> list[FloatArray]:
        """All coins of a timeframe, put side by side in panels as the pipeline does."""
        found: dict[int, FloatArray] = {}
        start_ms = int(part[0].window.candles.start_ms[0])
        for places, panel in panels([one.data for one in part], start_ms, OUT_OF_SAMPLE_PCT):
            found |= dict(zip(places, sweep.run(panel, COSTS, CAPITAL).figures, strict=True))
        return [found[place] for place in range(len(part))]

    def alike(one: BenchCase, found: FloatArray) -> bool:
        return bool(np.array_equal(found, one.figures))

    engines = [
        BenchEngine("kernel", kernel, alike),
        BenchEngine("kernel, two threads", kernel, alike, threads=2),
        *(_with_exits(kind, strategy, sets, max(symbols // 2, 1)) for kind, strategy in KINDS.items()),
        *(
            _with_exits(f"{entry.kind.value} entries", BollingerRsi, sets, max(symbols // 2, 1), entry)
            for entry in WAITS
        ),
        *baselines.engines(sets, COSTS, CAPITAL, max(symbols // 2, 1)),
    ]
    timings: list[_Timing] = []
    kernel_mb = 0.0
    with ThreadPoolExecutor(max(engine.threads for engine in engines)) as pool:
        for engine in engines:
            parts = [work[at : at + symbols : engine.every] for at in range(0, len(work), symbols)]
            timings.append(_Timing(engine, parts, pool))
            kernel_mb = kernel_mb or peak_mb() - loaded_mb
        # In turns: a machine that baselines use is fast at one moment and slow at the next, for all engines alike.
        for _ in range(repeat):
            for timing in timings:
                timing.turn()
    results = [timing.result(len(sets)) for timing in timings]
    one_thread, two_threads = results[0]["wall_s"], results[1]["wall_s"]
    for result in results:
        result["times_kernel"] = round(result["ns"] / results[0]["ns"], 1)
    return {
        "strategy": STRATEGY,
        "symbols": symbols,
        "parameter_sets": len(sets),
        "timeframes": [timeframe.value for timeframe in timeframes],
        "bars": sum(len(one.window.candles) for one in work),
        "trades": int(sum(one.figures[:, 0].sum() for one in work)),
        "data_mb": round(sum(_bytes(one.data.candles) for one in work) / 1e6, 1),
        "kernel_mb": round(kernel_mb, 1),
        "peak_mb": round(peak_mb(), 1),
        "two_threads_gain": round(one_thread / two_threads, 2),
        "two_threads_of_machine": _machines_gain(),
        "engines": results,
    }


class _Planned(BollingerRsi):
    """The strategy with a plan of exits."""

    plan: ClassVar[ExitPlan]

    def exits(self) -> ExitPlan:
        return self.plan


class _BySignal(BollingerRsi):
    """The strategy with an exit at the middle of the bands."""

    @staticmethod
    def entries(v: Values, p: BollingerRsiParameters) -> Entries:
        found = stretched(v, p)
        return Entries(found.long, found.short, found.confidence, v.bb_position > 0.0, v.bb_position < 0.0)


def _planned(plan: ExitPlan) -> type[BollingerRsi]:
    return type("Planned", (_Planned,), {"plan": plan})


KINDS: Mapping[str, type[BollingerRsi]] = {
    "exit signals": _BySignal,
    "time": _planned(ExitPlan(after_bars=48)),
    "trailing": _planned(ExitPlan(trail=0.01, trail_from=0.005)),
    "break-even": _planned(ExitPlan(break_even_from=0.006, break_even_to=0.0015)),
    "ROI table": _planned(ExitPlan(roi=((1, 0.02), (12, 0.01), (48, 0.004)))),
    "three targets": _planned(ExitPlan(parts=((0.5, 0.25), (1.0, 0.5)))),
}
"""The benchmark's strategy with each kind of exit."""


WAITS = [
    LimitEntry(kind, offset=0.001, bars=3, fee=0.0002, deviation=0.005) for kind in (EntryOrder.LIMIT, EntryOrder.CHASE)
]
"""Entries that wait, without exits."""


def _with_exits(
    kind: str, strategy: type[BollingerRsi], sets: Sequence[Strategy], every: int, entry: LimitEntry | None = None
) -> BenchEngine:
    """The kernel with one kind of exit or entry; equal where its first set has the naive engine's figures."""
    sweep, costs = StrategySweep([strategy(one.parameters.model_dump()) for one in sets]), replace(COSTS, entry=entry)

    def run(part: Sequence[BenchCase]) -> list[FloatArray]:
        found: dict[int, FloatArray] = {}
        start_ms = int(part[0].window.candles.start_ms[0])
        for places, panel in panels([one.data for one in part], start_ms, OUT_OF_SAMPLE_PCT):
            found |= dict(zip(places, sweep.run(panel, costs, CAPITAL).figures, strict=True))
        return [found[place] for place in range(len(part))]

    def equal(one: BenchCase, found: FloatArray) -> bool:
        [trades] = NaiveEngine().simulate([column_from(sweep.sets[0], one.data, one.window)], costs)
        figures = astuple(metrics(trades, one.window.candles, CAPITAL, one.window.split))
        return bool(np.allclose(found[0], figures, rtol=1e-9, atol=1e-9))

    return BenchEngine(f"kernel, {kind}", run, equal, every=every)


def _machines_gain() -> float:
    """How many times faster two threads of compiled arithmetic are than one, at this moment."""
    from trading_assets.backtesting.kernel.indicators import rsi  # noqa: PLC0415 (imports numba)

    close = 100 + np.sin(np.arange(200_000.0))

    def seconds(threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            begin = time.perf_counter()
            list(pool.map(lambda _: rsi(close), range(24)))
            return time.perf_counter() - begin

    seconds(2)
    # In turn, so that a moment in which baselines use the machine spoils both.
    turns = [(seconds(1), seconds(2)) for _ in range(7)]
    return round(min(one for one, _ in turns) / min(two for _, two in turns), 2)


def table(report: dict[str, Any]) -> Table:
    """The report for a person."""
    shown = Table(
        "engine", "CPU s", "wall s", "ns per bar and set", "x kernel", "equal",
        title=f"{report['symbols']} coins, {', '.join(report['timeframes'])}, {report['parameter_sets']} sets of "
        f"{report['strategy']}: {report['bars']:,} bars, {report['trades']:,} trades; peak {report['peak_mb']:.0f} MB; "
        f"two threads {report['two_threads_gain']:.2f} times one (the machine gives "
        f"{report['two_threads_of_machine']:.2f})",
        title_justify="left",
    )  # fmt: skip
    for result in report["engines"]:
        equal = {True: "yes", False: "NO", None: "other rules"}[result["equal"]]
        numbers = [f"{result[key]:.3g}" for key in ("cpu_s", "wall_s", "ns", "times_kernel")]
        shown.add_row(result["engine"], *numbers, equal)
    return shown


class _Timing:
    """Runs of one engine, after one that imports, compiles and is compared."""

    def __init__(self, engine: BenchEngine, parts: Sequence[Sequence[BenchCase]], pool: ThreadPoolExecutor) -> None:
        """Threads share the coins as the pipeline's do: whole parts, halves where there are few parts."""
        self._engine = engine
        pieces = 1 if len(parts) >= 2 * engine.threads else engine.threads
        shares = [part[place::pieces] for part in parts for place in range(pieces) if part[place::pieces]]
        # The longest first: else one thread may end with a long one alone.
        self._shares = sorted(shares, key=lambda share: -sum(len(one.window.candles) for one in share))
        self._pool = pool
        pairs = [
            pair
            for share, found in zip(self._shares, self._all_of_it(), strict=True)
            for pair in zip(share, found, strict=True)
        ]
        check = engine.equal
        self._equal = None if check is None else all(check(one, found) for one, found in pairs)
        self._bars = sum(len(one.window.candles) for one, _ in pairs)
        self._times: list[tuple[float, float]] = []

    def turn(self) -> None:
        """Once, or as often as fits into `TURN_S`: a short run has the same chance to find the machine undisturbed."""
        gc.collect()
        gc.disable()
        try:
            until = time.perf_counter() + TURN_S
            while True:
                cpu, wall = time.process_time(), time.perf_counter()
                self._all_of_it()
                self._times.append((time.process_time() - cpu, time.perf_counter() - wall))
                if time.perf_counter() > until:
                    return
        finally:
            gc.enable()

    def result(self, sets: int) -> dict[str, Any]:
        """The fastest run, by CPU and by wall time."""
        cpu, wall = map(min, zip(*self._times, strict=True))
        bar_sets = self._bars * sets
        return {
            "engine": self._engine.name,
            "cpu_s": round(cpu, 4),
            "wall_s": round(wall, 4),
            "ns": round(cpu / bar_sets * 1e9, 2),
            "wall_ns": round(wall / bar_sets * 1e9, 2),
            "equal": self._equal,
        }

    def _all_of_it(self) -> Sequence[Sequence[object]]:
        return map_on_workers(self._pool, self._engine.threads, self._engine.run, self._shares)


def _prepared(data: StrategyData, sweep: StrategySweep) -> BenchCase:
    window = Window.from_data(data, int(data.candles.start_ms[WARM_UP_BARS]), OUT_OF_SAMPLE_PCT)
    panel = Panel.from_members([data], int(data.candles.start_ms[WARM_UP_BARS]), OUT_OF_SAMPLE_PCT)
    return BenchCase(data, window, sweep.run(panel, COSTS, CAPITAL).figures[0])


def _walk(seed: int, timeframe: Timeframe) -> StrategyData:
    """A random walk with gaps and wicks over the window and its warm-up."""
    bars = timeframe.window_bars + WARM_UP_BARS
    rng = np.random.default_rng([seed, timeframe.minutes])
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, bars)))
    opened = np.concatenate([[100.0], close[:-1]]) * (1 + rng.normal(0, 0.0003, bars))
    wick = np.abs(rng.normal(0, 0.0015, (2, bars)))
    high, low = np.maximum(opened, close) * (1 + wick[0]), np.minimum(opened, close) * (1 - wick[1])
    starts = START_MS + timeframe.ms * np.arange(bars, dtype=np.int64)
    candles = Candles(timeframe, starts, opened, high, low, close, np.ones(bars), close)
    return StrategyData(f"COIN{seed}USDT", candles, funding=Funding.empty())


def _bytes(candles: Candles) -> int:
    return sum(getattr(candles, field.name).nbytes for field in fields(candles)[1:])
