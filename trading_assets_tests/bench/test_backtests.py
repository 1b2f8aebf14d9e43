"""The bench: every engine that obeys our rules finds the kernel's results, and a false result is not called equal."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from trading_assets.bench import backtests, baselines
from trading_assets.cli.bench import bench
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.grids import DECLARED

ENGINES = [
    "kernel",
    "kernel, two threads",
    *(f"kernel, {kind}" for kind in backtests.KINDS),
    *(f"kernel, {entry.kind.value} entries" for entry in backtests.WAITS),
    "vectorbt Rust, low level",
    "vectorbt Rust, orders alone",
    "vectorbt numba, orders alone",
    "vectorbt Portfolio, all sets at once",
    "vectorbt Portfolio, set by set",
    "vectorbt Portfolio, pandas and its own figures",
]


@pytest.mark.slow
def test_every_engine_with_our_rules_is_equal_and_has_its_times() -> None:
    answer = CliRunner().invoke(
        bench,
        ["backtests", "--symbols", "2", "--params", "3", "--timeframes", "60m,240m", "--repeat", "1", "--json"],
    )
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.output.splitlines()[-1])
    found = {result["engine"]: result for result in report["engines"]}
    assert [name for name in found if name != "backtesting.py"] == ENGINES
    assert all(found[name]["equal"] is True for name in ENGINES)
    assert all(result["ns"] > 0 and result["wall_s"] > 0 for result in found.values())
    assert report["bars"] == 2 * (504 + 252)
    assert report["trades"] > 50
    assert found["kernel"]["times_kernel"] == 1.0


@pytest.mark.slow
def test_a_wrong_result_is_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    real = baselines.VectorbtEngine.simulate

    def late(self: object, columns: object, costs: object) -> list:
        return [trade if at else others_without(trade) for at, trade in enumerate(real(self, columns, costs))]  # type: ignore[arg-type]

    def others_without(trades: object) -> object:
        changed = dict(vars(trades))
        changed["pnl"] = changed["pnl"] * (1 + 1e-6)
        return type(trades)(**changed)

    every = baselines.engines
    looked_at = {"vectorbt Rust, low level", "vectorbt Portfolio, all sets at once", "vectorbt Portfolio, set by set"}
    monkeypatch.setattr(baselines.VectorbtEngine, "simulate", late)
    monkeypatch.setattr(baselines, "engines", lambda *given: [one for one in every(*given) if one.name in looked_at])
    monkeypatch.setattr(backtests, "_machines_gain", lambda: 1.0)
    report = backtests.measure(1, 2, [Timeframe.M60], 1)
    equal = {result["engine"]: result["equal"] for result in report["engines"]}
    assert equal["kernel"] and equal["vectorbt Rust, low level"]
    assert not equal["vectorbt Portfolio, all sets at once"]
    assert not equal["vectorbt Portfolio, set by set"]


def test_figures_that_are_off_are_not_equal() -> None:
    data = backtests._walk(1, Timeframe.M60)
    sets = backtests.parameter_sets(backtests.STRATEGY, grid=DECLARED)[:2]
    work = backtests._prepared(data, backtests.StrategySweep(sets))
    rust = baselines.engines(sets, backtests.COSTS, backtests.CAPITAL, 1)[0]
    assert rust.name == "vectorbt Rust, low level" and rust.equal is not None
    (found,) = rust.run([work])
    assert rust.equal(work, found)
    for figure in range(len(baselines._BY_RUST)):
        spoiled = np.array(found)
        spoiled[1, figure] += 1e-6
        assert not rust.equal(work, spoiled), baselines._BY_RUST[figure]


@pytest.mark.slow
def test_orders_of_another_price_or_bar_are_not_the_same() -> None:
    work = backtests._walk(1, Timeframe.M60)
    sets = backtests.parameter_sets(backtests.STRATEGY, grid=DECLARED)[:2]
    window = backtests.Window.from_data(work, int(work.candles.start_ms[200]))
    columns = [baselines.column_from(strategy, work, window) for strategy in sets]
    records = baselines._orders(columns, backtests.COSTS, "numba")
    assert baselines._same_orders(records, columns, backtests.COSTS)
    for field, change in (("price", 1e-6), ("idx", 1)):
        spoiled = np.array(records)
        spoiled[field][0] += change
        assert not baselines._same_orders(spoiled, columns, backtests.COSTS)
    assert not baselines._same_orders(records[:-1], columns, backtests.COSTS)


def test_an_unknown_timeframe_is_refused() -> None:
    answer = CliRunner().invoke(bench, ["backtests", "--timeframes", "7m"])
    assert answer.exit_code == 2
    assert "7m; expected some of 1m, 3m" in answer.output
