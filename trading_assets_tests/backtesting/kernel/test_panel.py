"""Coins in a panel have what each has alone, to the last bit, whatever their bars and however a strategy is written."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.backtesting.kernel import panel as module
from trading_assets.backtesting.kernel import sweep as sweeps
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.kernel.panel import Panel, Rows, panels
from trading_assets.backtesting.kernel.sweep import StrategySweep, column_from
from trading_assets.core.candles import FloatArray, Funding
from trading_assets.core.errors import StrategyError
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets_tests.backtesting.kernel.markets import (
    CAPITAL,
    COSTS,
    NAMES,
    OUT_OF_SAMPLE_PCT,
    grid_of,
    panel_of,
    seeded,
    start_of,
)


def coins(count: int, strategy: str = "bollinger_rsi", timeframe: Timeframe = Timeframe.M15) -> list[StrategyData]:
    """Coins of one market: their bars are the same, and so is BTCUSDT."""
    made = [seeded(grid_of(strategy).sets, seed, timeframe)[0] for seed in range(count)]
    return [replace(one, symbol=f"C{at}USDT", btc=made[0].btc) for at, one in enumerate(made)]


def without(data: StrategyData, bar: int) -> StrategyData:
    """With a bar missing."""
    keep = np.arange(len(data.candles)) != bar
    return replace(data, candles=data.candles.select(keep))


def same(sweep: StrategySweep, members: list[StrategyData], found: Panel) -> None:
    outcome = sweep.run(found, COSTS, CAPITAL)
    assert not outcome.failures
    for coin, data in enumerate(members):
        alone = sweep.run(panel_of(data), COSTS, CAPITAL)
        np.testing.assert_array_equal(outcome.figures[coin], alone.figures[0])
        for index in range(len(sweep.sets)):
            np.testing.assert_array_equal(outcome.pnl(coin, index), alone.pnl(0, index))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_panel_finds_what_each_coin_finds_alone(name: str) -> None:
    sweep, members = grid_of(name), coins(5, name)
    same(sweep, members, panel_of(*members))
    assert sweep.compiles and sweep.panels


@pytest.mark.slow
def test_the_gains_are_the_pnl_of_the_trades() -> None:
    sweep, members = grid_of("bollinger_rsi"), coins(3)
    panel = panel_of(*members)
    outcome = sweep.run(panel, COSTS, CAPITAL)
    for coin, data in enumerate(members):
        columns = [column_from(strategy, data, panel.window(coin)) for strategy in sweep.sets]
        for index, trades in enumerate(KernelEngine().simulate(columns, COSTS)):
            np.testing.assert_allclose(outcome.pnl(coin, index), trades.pnl[trades.closed], rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def test_no_coin_enters_above_its_own_highest_price(name: str) -> None:
    sweep, members = grid_of(name), coins(3, name)
    middle = [float(np.median(data.candles.close)) for data in members]
    limited = [
        members[0],
        *(replace(one, max_price=price) for one, price in zip(members[1:], middle[1:], strict=True)),
    ]
    panel = panel_of(*limited)
    outcome = sweep.run(panel, COSTS, CAPITAL)
    assert sweep.compiles and sweep.panels
    entered = []
    for coin, data in enumerate(limited):
        columns = [column_from(strategy, data, panel.window(coin)) for strategy in sweep.sets]
        for index, trades in enumerate(KernelEngine().simulate(columns, COSTS)):
            np.testing.assert_allclose(outcome.pnl(coin, index), trades.pnl[trades.closed], rtol=1e-13)
            entered += [coin] * len(trades)
            assert (panel.window(coin).candles.close[trades.entry] <= data.max_price).all()
    assert set(entered) == {0, 1, 2}
    assert not np.array_equal(outcome.figures[1], sweep.run(panel_of(members[1]), COSTS, CAPITAL).figures[0])


@settings(max_examples=40)
@given(
    gaps=st.lists(st.sampled_from([None, 210, 300]), min_size=1, max_size=6),
    other_funding=st.integers(0, 5),
    most=st.sampled_from([1, 700, 1900, 32_768]),
)
def test_only_coins_with_the_same_times_stand_side_by_side(
    gaps: list[int | None], other_funding: int, most: int
) -> None:
    members = [data if gap is None else without(data, gap) for data, gap in zip(coins(len(gaps)), gaps, strict=True)]
    if other_funding < len(members):
        held = members[other_funding]
        times = held.candles.end_ms[::32]
        members[other_funding] = replace(held, funding=Funding(times, np.full(len(times), 1e-4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_BARS", most)
        made = list(panels(members, start_of(members[0]), OUT_OF_SAMPLE_PCT))
    assert sorted(place for places, _ in made for place in places) == list(range(len(members)))
    for places, panel in made:
        assert [members[place].symbol for place in places] == [member.symbol for member in panel.members]
        assert len(panel) == 1 or sum(len(member.candles) for member in panel.members) <= most
        for member in panel.members:
            np.testing.assert_array_equal(member.candles.start_ms, panel.data.candles.start_ms)
            np.testing.assert_array_equal(member.funding.time_ms, panel.data.funding.time_ms)


def test_coins_that_saw_another_btc_are_not_put_together() -> None:
    first, second = coins(2, "fibonacci_bollinger")
    btc = {timeframe: replace(candles, close=candles.close * 1.01) for timeframe, candles in second.btc.items()}
    assert len(list(panels([first, second], start_of(first)))) == 1
    assert len(list(panels([first, replace(second, btc=btc)], start_of(first)))) == 2


class Level(Parameters):
    level: float = 40.0


class Plain(Strategy):
    """RSI below a level; what the tests vary is how its indicator is computed."""

    name = "plain"
    description = "for tests"
    Parameters = Level

    def needs(self) -> DataNeeds:
        return DataNeeds()

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"rsi": indicators.rsi(data.candles.close) + self.more(data)}

    def more(self, data: StrategyData) -> FloatArray:
        return np.zeros(len(data.candles))

    @staticmethod
    def entries(v: Values, p: Level) -> Entries:
        return Entries(long=v.rsi < p.level, short=v.rsi > 100 - p.level, confidence=60.0)


class FirstRow(Plain):
    """Divides by the first bar, which is the first coin of a panel."""

    def more(self, data: StrategyData) -> FloatArray:
        return data.candles.close / data.candles.close[0]


class AlongTheCoins(Plain):
    """`accumulate` goes along the first axis."""

    def more(self, data: StrategyData) -> FloatArray:
        return np.maximum.accumulate(data.candles.close) * 0.01


class OneByOne(Plain):
    """A shape that a panel does not have."""

    def more(self, data: StrategyData) -> FloatArray:
        out = np.zeros(len(data.candles))
        out[1:] = np.sign(data.candles.close[1:] - data.candles.close[:-1])
        return out


class BySymbol(Plain):
    """Asks which coin it is."""

    def more(self, data: StrategyData) -> FloatArray:
        return np.full(len(data.candles), 5.0 if data.symbol == "C1USDT" else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Plain, FirstRow, AlongTheCoins, OneByOne, BySymbol])
def test_a_strategy_that_does_not_act_along_the_last_axis_is_found_out(
    kind: type[Plain], caplog: pytest.LogCaptureFixture
) -> None:
    sweep, members = StrategySweep([kind({"level": level}) for level in (40.0, 35.0)]), coins(4)
    with caplog.at_level(logging.WARNING):
        same(sweep, members, panel_of(*members))
    assert sweep.compiles
    assert ("one by one" in caplog.text) == (kind in (FirstRow, AlongTheCoins))


@pytest.mark.slow
def test_a_strategy_that_changes_its_mind_later_is_found_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, members = StrategySweep([Plain({"level": 40.0})]), coins(3)
    panel = panel_of(*members)
    sweep.run(panel, COSTS, CAPITAL)
    monkeypatch.setattr(Plain, "more", FirstRow.more)
    runs = 0
    while sweep.panels and runs <= sweeps.RECHECK_EVERY * len(members):
        sweep.run(panel, COSTS, CAPITAL)
        runs += 1
    assert not sweep.panels


@pytest.mark.slow
def test_a_set_that_fails_on_one_coin_leaves_the_others_alone() -> None:
    class Picky(Plain):
        @staticmethod
        def entries(v: Values, p: Level) -> Entries:
            return Entries(long=v.rsi < p.level, short=v.rsi > 100 - p.level, confidence=v.close)

    members = coins(3)
    cheap = members[1].candles
    factor = 20.0 / cheap.close.max()
    names = ("open", "high", "low", "close")
    members[1] = replace(members[1], candles=replace(cheap, **{name: getattr(cheap, name) * factor for name in names}))
    expensive = members[0].candles
    factor = 200.0 / expensive.close.min()
    members[0] = replace(
        members[0], candles=replace(expensive, **{name: getattr(expensive, name) * factor for name in names})
    )
    sweep = StrategySweep([Picky({"level": 40.0})])
    outcome = sweep.run(panel_of(*members), COSTS, CAPITAL)
    assert isinstance(outcome.failures[0, 0], StrategyError)
    assert (1, 0) not in outcome.failures and outcome.figures[1, 0, 0] > 0
    assert not outcome.usable[0, 0] and outcome.usable[1, 0]


@pytest.mark.parametrize("shape", [(2, 9), (3, 10), (9,), (1, 11)])
def test_rows_of_another_shape_are_never_read_where_they_lie(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one row for all coins"):
        Rows([np.zeros((2, 10)), np.zeros(shape)], (2, 10))


def test_rows_are_read_where_they_lie_whatever_their_array_is() -> None:
    import numba

    from trading_assets.backtesting.kernel.rows import row_at

    @numba.njit
    def total(places, which, coin, first, bars):  # type: ignore[no-untyped-def]
        return row_at(places, which, coin, first, bars).sum()

    whole = np.arange(40.0).reshape(4, 10)
    arrays = [whole[:2], whole[2], whole[::2], whole.T[:, :2].T.astype(np.int64), np.asfortranarray(whole[1:3])]
    rows = Rows(arrays, (2, 10))
    for which, array in enumerate(arrays):
        for coin in range(2):
            assert total(rows.places, which, coin, 3, 5) == np.broadcast_to(array, (2, 10))[coin, 3:8].sum()
