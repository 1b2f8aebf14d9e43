"""Each engine's trades are the loop's trades, on random candles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.backtesting import vectorbt_engine
from trading_assets.backtesting.engine import Costs, Engine
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets_tests.backtesting import naive
from trading_assets_tests.backtesting.columns import COSTLY, FREE, assert_same, random_column

ENGINES: list[Engine] = [VectorbtEngine(), KernelEngine()]

RANDOM = st.builds(
    random_column,
    st.integers(0, 2**32 - 1),
    st.integers(1, 120),
    signals=st.sampled_from([0.02, 0.2, 1.0]),
    gap=st.sampled_from([0.0, 0.004, 0.05]),
)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@settings(max_examples=60)
@given(columns=st.lists(RANDOM, min_size=1, max_size=6), costs=st.sampled_from([FREE, COSTLY]))
def test_every_trade_equals_the_loop(engine: Engine, columns: list, costs: Costs) -> None:
    for column, trades in zip(columns, engine.simulate(columns, costs), strict=True):
        assert_same(trades, naive.simulate(column, costs))


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
def test_many_trades_are_compared_and_both_ends_occur(engine: Engine) -> None:
    columns = [random_column(seed, 200) for seed in range(40)]
    found = engine.simulate(columns, COSTLY)
    for column, trades in zip(columns, found, strict=True):
        assert_same(trades, naive.simulate(column, COSTLY))
    closed = [trade for trades in found for trade in trades.closed]
    directions = {direction for trades in found for direction in trades.direction}
    assert len(closed) > 500
    assert {True, False} == set(closed)
    assert {1, -1} == directions


def test_batches_of_any_size_give_the_same_trades(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [random_column(seed, 40 + 17 * seed) for seed in range(8)]
    together = VectorbtEngine().simulate(columns, COSTLY)
    monkeypatch.setattr(vectorbt_engine, "_CELLS", 300)
    for apart, trades in zip(VectorbtEngine().simulate(columns, COSTLY), together, strict=True):
        assert_same(apart, trades)
