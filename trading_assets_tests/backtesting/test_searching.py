"""Backtests of a strategy that searches a space: each hour and coin by itself, and every set counts as a try."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from trading_assets.backtesting.selection import with_significance
from trading_assets.backtesting.significance import corrected
from trading_assets.core.candles import FloatArray
from trading_assets.core.schemas import BACKTEST_RESULTS, BacktestResults
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.research import Market as Source
from trading_assets.research import search
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.grids import SearchSpace, Span
from trading_assets.strategies.registry import ConfiguredStrategy, configure, parameter_sets
from trading_assets_tests.backtesting.test_hours_of_a_day import HOURS, Market, rows_of

pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'trading-assets[optuna]'")

SPACE = SearchSpace((("stop_atr", Span(1.0, 4.0)), ("reward_risk", (1.5, 2.0, 3.0))), trials=12, seed=3)
TWO = HOURS[4:6]


class DeepParameters(Parameters):
    bars: int = 100


class Deep(Strategy):
    """Declares more warm-up the more bars it averages, but for 444 bars, which declare more than any corner."""

    name = "deep"
    description = "above its mean"
    Parameters = DeepParameters
    parameters: DeepParameters

    def needs(self) -> DataNeeds:
        bars = self.parameters.bars
        return DataNeeds(warm_up=5_000 if bars == 444 else 2 * bars)

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"mean": indicators.ema(data.candles.close, self.parameters.bars)}

    @staticmethod
    def entries(v: Values, p: DeepParameters) -> Entries:
        return Entries(long=v.close > v.mean, short=v.close < v.mean, confidence=60.0)


class Refuses(Deep):
    """Raises with every set but those of few bars."""

    name = "refuses"
    description = "raises"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        if self.parameters.bars > 200:
            raise ZeroDivisionError("too many")
        return super().indicators(data)


def searching(name: str = "bollinger_rsi", space: SearchSpace = SPACE, pinned: str = "{}") -> ConfiguredStrategy:
    row = {"name": name, "parameters": pinned, "pairs": "[]", "timeframes": "[]", "grid": None}
    found = configure(row)
    assert isinstance(found, ConfiguredStrategy)
    sets = parameter_sets(name, pinned, space)
    return replace(found, sets=sets, search=space, pinned=pinned)


def of_class(kind: type[Strategy], space: SearchSpace) -> ConfiguredStrategy:
    corners = [kind(values) for values in space.corners()]
    return ConfiguredStrategy(kind.name, (kind(), *corners), frozenset(), frozenset(Timeframe), search=space)


@cache
def found() -> pd.DataFrame:
    return rows_of([searching()], Timeframe.M60, TWO)


@pytest.mark.slow
def test_an_hour_and_a_coin_have_the_row_that_they_have_alone_whatever_is_computed_with_them() -> None:
    whole = found()
    BacktestResults.validate(whole.assign(scan_id="scan-20260601-010000"))
    assert set(whole["hour_ms"]) == set(TWO) and whole["symbol"].nunique() >= 4
    fixed = configure({"name": "hyperrsi", "parameters": "{}", "pairs": "[]", "timeframes": "[]", "grid": "described"})
    assert isinstance(fixed, ConfiguredStrategy)
    for hour in TWO:
        alone = rows_of([fixed, searching()], Timeframe.M60, [hour])
        alone = alone[alone["strategy"] == "bollinger_rsi"].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, whole[whole["hour_ms"] == hour].reset_index(drop=True))
    one = rows_of([replace(searching(), pairs=frozenset({"AUSDT"}))], Timeframe.M60, TWO)
    pd.testing.assert_frame_equal(one, whole[whole["symbol"] == "AUSDT"].reset_index(drop=True))
    assert whole.groupby("symbol")["parameters"].nunique().max() == 2  # each hour searches anew


@pytest.mark.slow
def test_nothing_after_an_hour_changes_what_it_has_found() -> None:
    wild = rows_of([searching()], Timeframe.M60, TWO, market=Market(as_of_ms(TWO[0])))
    first = found()["hour_ms"] == TWO[0]
    pd.testing.assert_frame_equal(wild[wild["hour_ms"] == TWO[0]], found()[first])
    assert wild["total_pnl"].tolist() != found()["total_pnl"].tolist()


@pytest.mark.slow
def test_a_row_is_what_a_search_in_a_notebook_finds_and_its_set_has_these_figures_alone() -> None:
    source = Source("random", Market(), SETTINGS, {"AUSDT": (as_of_ms(HOURS[0]) - 50 * DAY_MS, as_of_ms(HOURS[-1]))})
    space = {"stop_atr": (1.0, 4.0), "reward_risk": [1.5, 2.0, 3.0]}
    best = search("bollinger_rsi", "AUSDT", "60m", TWO[0], space=space, trials=12, seed=3, source=source).best
    # In the other hour the scan lets nothing be entered above a price.
    rows = found()[(found()["symbol"] == "AUSDT") & (found()["hour_ms"] == TWO[0])].reset_index(drop=True)
    same = ["parameters", "total_trades", "total_pnl", "in_sample_score", "configurations_tried"]
    rows = rows.rename(columns={"configurations": "configurations_tried"})
    for name in same:
        assert rows[name].tolist() == best[name].tolist(), name
    for row in rows.to_dict("records"):
        pinned = ConfiguredStrategy(
            "bollinger_rsi",
            parameter_sets("bollinger_rsi", row["parameters"], None),
            frozenset({"AUSDT"}),
            frozenset(Timeframe),
        )
        (alone,) = rows_of([pinned], Timeframe.M60, [row["hour_ms"]]).to_dict("records")
        for name in ("total_trades", "total_pnl", "sharpe_ratio", "in_sample_score", "out_of_sample_pnl", "bars"):
            assert row[name] == alone[name], name


SETTINGS = Settings(out_of_sample_pct=25.0)


@pytest.mark.slow
def test_every_set_counts_as_an_independent_try() -> None:
    rows = found()
    assert rows["searched"].between(4, 12).all() and (rows["searched"] == rows["configurations"]).all()
    grid = ConfiguredStrategy(
        "hyperrsi", parameter_sets("hyperrsi", grid="declared"), frozenset(), frozenset(Timeframe)
    )
    of_grid = rows_of([grid], Timeframe.M60, TWO)
    assert of_grid["searched"].isna().all()
    judged = with_significance(pd.concat([rows, of_grid]), pd.concat([rows, of_grid]))
    by_grid = with_significance(of_grid, of_grid).set_index(["hour_ms", "symbol"])["configurations_effective"]
    for row in judged[judged["strategy"] == "bollinger_rsi"].to_dict("records"):
        tries = row["searched"] + by_grid[row["hour_ms"], row["symbol"]]
        # A grid of which nothing traded counts as none, and alone as one.
        assert row["configurations_effective"] in (pytest.approx(tries), row["searched"])
        if row["p_value"] == row["p_value"]:
            assert row["p_value_corrected"] == pytest.approx(
                corrected(pd.Series([row["p_value"]]), pd.Series([row["configurations_effective"]]))[0]
            )
    assert BACKTEST_RESULTS.dtypes["searched"] == np.dtype("float64")


@pytest.mark.slow
def test_a_set_is_computed_behind_its_own_warm_up_and_one_that_needs_more_than_any_corner_is_not_tried() -> None:
    space = SearchSpace((("bars", (60, 444, 300, 240, 500)), ("stop_atr", Span(1.0, 3.0))), trials=16)
    assert of_class(Deep, SearchSpace((("bars", Span(60, 500)),))).needs().warm_up == 1_000
    # The corners of a span do not tell that a value inside it declares more.
    configured = replace(of_class(Deep, space), sets=(Deep(), Deep({"bars": 500})), pairs=frozenset({"AUSDT", "DUSDT"}))
    rows = rows_of([configured], Timeframe.M15, TWO)
    assert len(rows) == 4 and rows["error"].isna().all()
    for row in rows.to_dict("records"):
        values = json.loads(row["parameters"])
        assert values["bars"] != 444 and row["configurations"] < 16
        one = ConfiguredStrategy("deep", (Deep(values),), frozenset({row["symbol"]}), frozenset(Timeframe))
        (alone,) = rows_of([one], Timeframe.M15, [row["hour_ms"]]).to_dict("records")
        assert (row["total_pnl"], row["total_trades"]) == (alone["total_pnl"], alone["total_trades"])


@pytest.mark.slow
def test_sets_that_fail_have_a_row_and_are_tries_and_a_space_without_a_set_says_so() -> None:
    space = SearchSpace((("bars", (60, 100, 300)), ("stop_atr", Span(1.0, 3.0))), trials=12)
    rows = rows_of([replace(of_class(Refuses, space), pairs=frozenset({"AUSDT"}))], Timeframe.M60, [TWO[0]])
    failed, fine = rows[rows["error"].notna()], rows[rows["error"].isna()]
    assert len(failed) == len(fine) == 1
    assert (
        failed["error"].item() == "ZeroDivisionError: too many"
        and json.loads(failed["parameters"].item())["bars"] == 300
    )
    assert json.loads(fine["parameters"].item())["bars"] <= 100 and (rows["configurations"] == rows["searched"]).all()
    nothing = replace(of_class(Deep, SPACE), search=SearchSpace((("stop_atr", (-1.0,)),), trials=3))
    (row,) = rows_of([replace(nothing, pairs=frozenset({"AUSDT"}))], Timeframe.M60, [TWO[0]]).to_dict("records")
    assert row["error"] == "StrategyError: deep allows no set of the space that it searches"
    assert row["configurations"] == 1 and row["total_trades"] == 0


@pytest.mark.slow
def test_young_coins_and_gaps_have_rows_as_with_a_grid() -> None:
    rows, grid = found(), rows_of([replace(searching(), search=None)], Timeframe.M60, TWO)
    both = [frame[["hour_ms", "symbol", "bars"]].drop_duplicates().reset_index(drop=True) for frame in (rows, grid)]
    pd.testing.assert_frame_equal(*both)
    assert (rows["hour_ms"] + HOUR_MS <= as_of_ms(TWO[-1])).all()
