"""An engine that is wrong in one small thing is found on a handful of stored backtests; one that is right is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trading_assets.backtesting.engine import Column, Costs, Trades
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.made_with import costs_of_rows
from trading_assets.backtesting.validation import (
    CostSensitivity,
    ReferenceEngine,
    at_double_costs,
    column_from_row,
    cross_validate,
    sample_backtests,
)
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.candles import Funding
from trading_assets.core.errors import DataError
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.loading import Loader
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets_tests.backtesting import naive
from trading_assets_tests.backtesting.columns import COSTLY, FREE, column_from, random_column
from trading_assets_tests.backtesting.test_window import HOUR, SCANS, TIMEFRAME, configured, loader
from trading_assets_tests.backtesting.windows import backtest_window

SETTINGS = Settings()


class Loop:
    """The rules as a loop, with something changed before or after."""

    def __init__(
        self,
        before: Callable[[Column], Column] = lambda column: column,
        costs: Callable[[Costs], Costs] = lambda costs: costs,
        after: Callable[[Trades], Trades] = lambda trades: trades,
    ) -> None:
        self._before, self._costs, self._after = before, costs, after

    def simulate(self, columns: Sequence[Column], costs: Costs) -> list[Trades]:
        return [self._after(naive.simulate(self._before(column), self._costs(costs))) for column in columns]


def load(hour_ms: int) -> Loader:
    """Random candles of the hour's window, with funding every eight hours of it."""

    def of(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
        times = np.arange(hour_ms - 21 * DAY_MS, hour_ms, 8 * HOUR_MS)
        rates = np.random.default_rng(ord(symbol[0])).normal(0, 1e-4, len(times))
        return replace(loader()(symbol, timeframe, needs), funding=Funding(times, rates))

    return of


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Stored backtests of three coins and two strategies."""
    strategies = configured(BollingerRsi, FibonacciBollinger)
    found = backtest_window(HOUR, TIMEFRAME, SCANS, load(HOUR), strategies, SETTINGS)
    assert found["total_trades"].sum() > 30
    return found


def one_bar_later(column: Column) -> Column:
    def shift(signal: np.ndarray) -> np.ndarray:
        return np.concatenate([[False], signal[:-1]])

    confidence = np.concatenate([[np.nan], column.confidence[:-1]])
    return replace(column, long=shift(column.long), short=shift(column.short), confidence=confidence)


def test_two_engines_that_obey_the_rules_agree(rows: pd.DataFrame) -> None:
    assert cross_validate(rows, load, Loop(), VectorbtEngine(), SETTINGS) == []


WRONG = {
    "fee": (Loop(costs=lambda costs: replace(costs, fee=costs.fee * 1.0001)), "fees"),
    "slippage": (Loop(costs=lambda costs: replace(costs, slippage=costs.slippage + 1e-7)), "entry_price"),
    "off by one fill": (Loop(before=one_bar_later), "entry"),
    "stop": (Loop(before=lambda column: replace(column, stop_fraction=column.stop_fraction * 1.001)), "exit_price"),
    "target": (Loop(before=lambda column: replace(column, reward_risk=column.reward_risk + 0.01)), "exit_price"),
    "size": (Loop(after=lambda trades: replace(trades, size=trades.size * (1 + 1e-8))), "size"),
    "no funding": (Loop(before=lambda column: replace(column, funding=column.funding.between(0, 0))), "funding"),
    "no shorts": (Loop(before=lambda column: replace(column, short=column.short & False)), "number of trades"),
    "open trade": (Loop(after=lambda trades: replace(trades, closed=np.ones(len(trades), dtype=bool))), "closed"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_engine_that_is_wrong_in_one_thing_is_found(rows: pd.DataFrame, name: str) -> None:
    wrong, field = WRONG[name]
    found = cross_validate(rows, load, wrong, Loop(), SETTINGS)
    named = [difference.what for difference in found]
    assert any(what.startswith(field) for what in named), named
    # The second engine and the stored row are right, so no figure differs.
    assert all(" of trade" in what or what == "number of trades" for what in named)


@pytest.mark.parametrize(
    "column", ["total_pnl", "skewness", "sharpe_ratio", "in_sample_trades", "bars", "max_drawdown"]
)
def test_a_figure_that_was_stored_wrong_is_found(rows: pd.DataFrame, column: str) -> None:
    spoilt = rows.assign(**{column: rows[column] + (rows.index == 2) * 1})
    (difference,) = cross_validate(spoilt, load, Loop(), Loop(), SETTINGS)
    assert difference.what == column
    assert difference.row == rows.iloc[2][["hour_ms", "timeframe", "symbol", "strategy", "parameters"]].to_dict()


def test_figures_of_the_second_engine_are_compared_with_the_row(rows: pd.DataFrame) -> None:
    wrong = WRONG["fee"][0]
    assert {found.what for found in cross_validate(rows, load, wrong, wrong, SETTINGS)} >= {"total_pnl", "fees_paid"}


DEARER = Settings(
    taker_fee=0.001, slippage_bps=9, cost_model="stress", backtest_capital=250, leverage=3, out_of_sample_pct=40
)


def test_a_row_is_computed_again_with_the_costs_it_was_made_with_and_an_old_one_with_those_of_today(
    rows: pd.DataFrame,
) -> None:
    both = pd.concat([rows, backtest_window(HOUR, TIMEFRAME, SCANS, load(HOUR), configured(BollingerRsi), DEARER)])
    assert set(both["taker_fee"]) == {0.00055, 0.001} and set(both["cost_model"]) == {"flat", "stress"}
    for today in (SETTINGS, DEARER):
        assert cross_validate(both, load, KernelEngine(), VectorbtEngine(), today) == []
    old = rows.assign(cost_model=None, taker_fee=np.nan, held_back_pct=np.nan)
    assert cross_validate(old, load, Loop(), Loop(), SETTINGS) == []
    assert {found.what for found in cross_validate(old, load, Loop(), Loop(), DEARER)} >= {"total_pnl", "fees_paid"}


@pytest.mark.slow
def test_a_row_whose_entries_waited_is_computed_again_as_such(rows: pd.DataFrame) -> None:
    waiting = Settings(entry_order="chase", entry_offset_pct="0.3", entry_bars=2, maker_fee=0.0001)
    waited = backtest_window(HOUR, TIMEFRAME, SCANS, load(HOUR), configured(BollingerRsi), waiting)
    assert set(waited["entry_order"]) == {"chase"} and set(waited["entry_bars"]) == {2}
    told = "chase entries 0.3 % away for 2 bars (fee 0.0001)"
    assert told in costs_of_rows(waited) and told not in costs_of_rows(rows)
    assert rows["entry_order"].isna().all() and rows["maker_fee"].isna().all()
    both = pd.concat([rows, waited])
    for today in (SETTINGS, waiting):
        assert cross_validate(both, load, KernelEngine(), ReferenceEngine(), today) == []
    # As if they had been at the market, they are other trades.
    wrong = waited.assign(entry_order=None)
    assert cross_validate(wrong, load, KernelEngine(), ReferenceEngine(), SETTINGS)


def test_a_backtest_that_cannot_be_made_again_is_a_difference_and_the_others_are_compared(rows: pd.DataFrame) -> None:
    def gone(_hour_ms: int) -> Loader:
        def of(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
            if symbol == rows["symbol"].iloc[0]:
                raise DataError("its candles are gone")
            return load(HOUR)(symbol, timeframe, needs)

        return of

    renamed = rows.assign(strategy=rows["strategy"].mask(rows.index == len(rows) - 1, "unheard_of"))
    found = cross_validate(renamed, gone, Loop(), Loop(), SETTINGS)
    assert [difference.what for difference in found] == ["backtest"] * 3
    assert "candles are gone" in found[0].second and "unheard_of" in found[-1].second
    assert cross_validate(rows.head(0), load, Loop(), Loop(), SETTINGS) == []


def test_a_column_made_again_is_the_one_that_was_backtested(rows: pd.DataFrame) -> None:
    for row in rows.to_dict("records"):
        column = column_from_row(row, load)
        assert len(column.candles) == row["bars"]
        assert int(naive.simulate(column, COSTLY).closed.sum()) == row["total_trades"]


def test_the_sample_is_the_same_for_the_same_rows_and_another_one_each_hour(rows: pd.DataFrame) -> None:
    many = pd.concat([rows.assign(symbol=rows["symbol"] + str(number)) for number in range(10)], ignore_index=True)
    taken = sample_backtests(many, 5)
    shuffled = many.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(sample_backtests(shuffled, 5), taken)
    assert set(sample_backtests(many.assign(hour_ms=HOUR + 3_600_000), 5).index) != set(taken.index)
    each = sample_backtests(many, 2, each="strategy")
    assert each["strategy"].value_counts().to_dict() == {"bollinger_rsi": 2, "fibonacci_bollinger": 2}


def test_the_sample_prefers_backtests_with_trades_and_leaves_failed_ones_out(rows: pd.DataFrame) -> None:
    idle = rows.assign(total_trades=0)
    assert len(sample_backtests(idle, 3)) == 3
    one = idle.assign(total_trades=[0, 0, 7, 0, 0, 0])
    assert sample_backtests(one, 3).index.tolist() == [2]
    assert sample_backtests(one.assign(error="ValueError: no"), 3).empty


def test_double_costs_are_those_of_the_trades_made_again() -> None:
    columns = [random_column(seed, 300) for seed in range(5)]
    twice = Costs(COSTLY.fee * 2, COSTLY.slippage * 2, COSTLY.notional)
    for found, column in zip(at_double_costs(columns, COSTLY, Loop()), columns, strict=True):
        once, doubled = naive.simulate(column, COSTLY), naive.simulate(column, twice)
        assert found.pnl == pytest.approx(once.pnl[once.closed].sum())
        assert found.pnl_at_double == pytest.approx(doubled.pnl[doubled.closed].sum())
        assert found.pnl_at_double < found.pnl
        assert found.trades == once.closed.sum()
    (free,) = at_double_costs(columns[:1], FREE, Loop())
    assert free.pnl == free.pnl_at_double


def test_a_thin_edge_does_not_survive_double_costs_and_a_thick_one_does() -> None:
    # Long at 100 with a target of 0.2 % (thin) or 2 % (thick); fees and slippage of both fills cost about 0.15 %.
    bars = [(100, 100, 100, 100), (100, 103, 100, 103)]
    thin = column_from(bars, long=[0], stop_fraction=0.001)
    thick = column_from(bars, long=[0], stop_fraction=0.01)
    results = at_double_costs([thin, thick], COSTLY, Loop())
    assert [result.pnl > 0 for result in results] == [True, True]
    assert [result.survives for result in results] == [False, True]
    assert CostSensitivity(3, -1.0, -2.0).survives
    assert not CostSensitivity(3, 1.0, 0.0).survives


def test_the_strategy_of_a_row_has_the_parameters_of_the_row(rows: pd.DataFrame) -> None:
    strategy: Strategy = BollingerRsi({"band": 0.9})
    narrow = {**rows.iloc[0].to_dict(), "parameters": strategy.parameters.model_dump_json()}
    fewer, more = column_from_row(narrow, load), column_from_row(rows.iloc[0].to_dict(), load)
    assert 0 < fewer.long.sum() < more.long.sum()
