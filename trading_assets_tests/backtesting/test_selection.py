"""Filters, score, ties and the summary per coin."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.backtesting.parameter_choice import choose_parameters, with_p_values
from trading_assets.backtesting.selection import PRESETS, Limits, coin_summary, score, select_best, with_significance
from trading_assets.backtesting.significance import deflated_sharpe
from trading_assets.market.timeframes import TRADED_TIMEFRAMES
from trading_assets.schemas.tables import BACKTEST_RESULTS, STRATEGY_SELECTIONS
from trading_assets.settings import Settings

HOUR_MS = 1_772_323_200_000
GOOD: dict[str, object] = {
    "hour_ms": HOUR_MS,
    "timeframe": "15m",
    "symbol": "AAAUSDT",
    "strategy": "bollinger_rsi",
    "parameters": "{}",
    "scan_id": "scan-20260301-010000",
    "bars": 1056,
    "total_trades": 20,
    "win_rate": 60.0,
    "profit_factor": 2.0,
    "total_return": 15.0,
    "max_drawdown": -5.0,
    "sharpe_ratio": 1.0,
    "total_pnl": 150.0,
    "confidence_avg": 65.0,
    "fees_paid": 20.0,
    "funding_paid": 0.5,
    "exposure_pct": 30.0,
    "skewness": 0.2,
    "kurtosis": 9.0,
    "in_sample_trades": 14,
    "in_sample_score": 320.0,
    "in_sample_pnl": 110.0,
    "out_of_sample_trades": 6,
    "out_of_sample_pnl": 40.0,
    "p_value": 0.03,
    "error": None,
}


def backtests(*changes: dict[str, object]) -> pd.DataFrame:
    return BACKTEST_RESULTS.conform(pd.DataFrame([{**GOOD, **change} for change in changes]))


@pytest.mark.parametrize(
    ("preset", "change", "passes"),
    [
        ("strict", {"total_trades": 5}, True),
        ("strict", {"total_trades": 4}, False),
        ("strict", {"win_rate": 50.0}, True),
        ("strict", {"win_rate": 49.9}, False),
        ("strict", {"profit_factor": 1.5}, True),
        ("strict", {"profit_factor": 1.49}, False),
        ("strict", {"max_drawdown": -20.0}, True),
        ("strict", {"max_drawdown": -20.1}, False),
        ("strict", {"total_pnl": 1.0}, True),
        ("volume", {"total_trades": 20}, True),
        ("volume", {"total_trades": 19}, False),
        ("volume", {"win_rate": 45.0}, True),
        ("volume", {"win_rate": 44.9}, False),
        ("volume", {"total_pnl": 100.0}, True),
        ("volume", {"total_pnl": 99.9}, False),
        ("volume", {"profit_factor": 1.01, "max_drawdown": -60.0}, True),
        ("volume_loose", {"total_trades": 10, "win_rate": 40.0, "total_pnl": 50.0}, True),
        ("volume_loose", {"total_trades": 9}, False),
        ("volume_loose", {"win_rate": 39.9}, False),
        ("volume_loose", {"total_pnl": 49.9}, False),
        ("strict", {"error": "ValueError: no"}, False),
    ],
)
def test_a_backtest_passes_a_preset_exactly_within_its_limits(
    preset: str, change: dict[str, object], passes: bool
) -> None:
    selection = select_best(HOUR_MS, backtests(change), PRESETS[preset])
    assert selection.passed == len(selection.rows) == len(selection.scores) == int(passes)
    assert bool(selection.failed) is not passes


def test_every_preset_of_the_settings_exists() -> None:
    allowed = Settings.model_fields["selection_preset"].annotation
    assert set(PRESETS) == set(allowed.__args__)


def test_the_score_is_win_rate_times_profit_factor_times_the_log_of_trades_and_one() -> None:
    rows = backtests({"win_rate": 55.0, "profit_factor": 1.7, "total_trades": 12})
    assert score(rows)[0] == pytest.approx(55 * 1.7 * math.log(13))
    assert select_best(HOUR_MS, rows, PRESETS["strict"]).rows["score"][0] == score(rows)[0]


def test_each_coin_has_the_one_row_with_its_highest_score() -> None:
    rows = backtests(
        {"symbol": "BBBUSDT", "win_rate": 70.0},
        {"symbol": "AAAUSDT", "timeframe": "1m"},
        {"symbol": "AAAUSDT", "timeframe": "60m", "win_rate": 80.0},
        {"symbol": "CCCUSDT", "win_rate": 10.0},
    )
    selection = select_best(HOUR_MS, rows, PRESETS["strict"])
    assert selection.rows[["symbol", "timeframe"]].to_numpy().tolist() == [["AAAUSDT", "60m"], ["BBBUSDT", "15m"]]
    assert selection.passed == 3
    assert selection.scores.tolist() == sorted(score(rows).drop(rows.index[rows["symbol"] == "CCCUSDT"]), reverse=True)
    assert selection.failed == {"win rate below 50 %": 1}
    STRATEGY_SELECTIONS.model.validate(selection.rows)


MORE = {"total_trades": 255, "profit_factor": 2.0}
FEWER = {"total_trades": 15, "profit_factor": 4.0}
"""ln 256 is twice ln 16: the scores are equal."""


@pytest.mark.parametrize(
    ("rivals", "winner"),
    [
        ([{**FEWER, "timeframe": "1m", "strategy": "a"}, {**MORE, "timeframe": "240m", "strategy": "z"}], 1),
        ([{"timeframe": "120m", "strategy": "a"}, {"timeframe": "30m", "strategy": "b"}], 1),
        ([{"timeframe": "30m", "strategy": "b"}, {"timeframe": "30m", "strategy": "a"}], 1),
        ([{"parameters": '{"b":1}'}, {"parameters": '{"a":1}'}], 1),
    ],
    ids=["more trades", "then the shorter timeframe", "then the name", "then the parameters"],
)
def test_ties_are_broken_the_same_way_always(rivals: list[dict[str, object]], winner: int) -> None:
    for order in (rivals, rivals[::-1]):
        rows = pd.DataFrame([{**GOOD, **rival} for rival in order])
        assert score(rows).nunique() == 1
        best = select_best(HOUR_MS, rows, PRESETS["strict"]).rows.iloc[0]
        assert {name: best[name] for name in rivals[winner]} == rivals[winner]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(6)))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    rows = backtests(*({"symbol": f"{s}USDT", "timeframe": t} for s in ("A", "B") for t in ("1m", "30m", "240m")))
    expected = select_best(HOUR_MS, rows, PRESETS["strict"]).rows
    shuffled = rows.iloc[order].reset_index(drop=True)
    pd.testing.assert_frame_equal(select_best(HOUR_MS, shuffled, PRESETS["strict"]).rows, expected)
    pd.testing.assert_frame_equal(coin_summary(shuffled), coin_summary(rows))


def test_failures_are_counted_by_filter_and_an_error_fails_no_filter_besides() -> None:
    rows = backtests(
        {"symbol": "A", "total_trades": 1, "win_rate": 10.0},
        {"symbol": "B", "total_trades": 2},
        {"symbol": "C", "total_trades": 0, "win_rate": 0.0, "profit_factor": 0.0, "error": "ValueError: no"},
        {"symbol": "D"},
    )
    selection = select_best(HOUR_MS, rows, PRESETS["strict"])
    assert selection.failed == {"fewer than 5 trades": 2, "win rate below 50 %": 1, "failed with an error": 1}
    assert selection.passed == 1


WORSE = {"parameters": '{"set":1}', "in_sample_score": 100.0}
BETTER = {"parameters": '{"set":2}', "in_sample_score": 200.0}


def test_the_parameter_set_is_the_one_that_was_best_in_sample_whatever_came_later() -> None:
    for lucky_later in (-500.0, 0.0, 500.0):
        rows = backtests({**WORSE, "win_rate": 90.0, "out_of_sample_pnl": lucky_later}, BETTER)
        (row,) = select_best(HOUR_MS, rows, PRESETS["strict"]).rows.to_dict("records")
        assert row["parameters"] == BETTER["parameters"]
        assert row["score"] == pytest.approx(60 * 2 * math.log(21))


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ({**BETTER, "in_sample_trades": 4}, WORSE, WORSE),
        ({**BETTER, "in_sample_trades": 4}, {**WORSE, "in_sample_trades": 1}, BETTER),
        ({**BETTER, "in_sample_score": 100.0, "in_sample_pnl": 1.0}, {**WORSE, "in_sample_pnl": 2.0}, WORSE),
        ({**BETTER, "in_sample_score": 100.0}, WORSE, WORSE),
        ({**BETTER, "error": "ValueError: no"}, WORSE, WORSE),
    ],
    ids=["too few trades", "both too few", "larger PnL", "first by text", "failed"],
)
def test_the_choice_of_a_parameter_set(first: dict, second: dict, chosen: dict) -> None:
    for rows in (backtests(first, second), backtests(second, first)):
        assert choose_parameters(rows)["parameters"].tolist() == [chosen["parameters"]]


def test_a_set_is_chosen_for_each_coin_timeframe_and_strategy_apart() -> None:
    apart = [{}, {"symbol": "BBBUSDT"}, {"timeframe": "60m"}, {"strategy": "hyperrsi"}]
    rows = backtests(*({**one, **which} for one in apart for which in (WORSE, BETTER)))
    chosen = choose_parameters(rows)
    assert len(chosen) == 4 and set(chosen["parameters"]) == {BETTER["parameters"]}
    pd.testing.assert_frame_equal(chosen, rows.loc[chosen.index])


def test_a_selection_tells_how_many_configurations_were_tried_on_its_coin_and_corrects_for_them() -> None:
    def deflated(extra: int) -> pd.Series:
        tried = [{**WORSE, "parameters": f"{number:02}", "sharpe_ratio": 0.3 * number} for number in range(extra)]
        others = [{"symbol": "BBBUSDT"}, {**WORSE, "error": "ValueError: no"}]
        rows = backtests({**BETTER, "sharpe_ratio": 9.0, "kurtosis": 3.0}, *tried, *others)
        return select_best(HOUR_MS, rows, PRESETS["strict"]).rows.iloc[0]

    few, many = deflated(3), deflated(30)
    assert (few["configurations_tried"], many["configurations_tried"]) == (4, 31)
    assert 0.5 < many["deflated_sharpe"] < few["deflated_sharpe"] < 1
    # By hand: four trials at 1056 bars of 15m, of which one has a Sharpe ratio of 0 and so never traded.
    spread = np.std([9.0, 0.3, 0.6], ddof=1) / math.sqrt(35040)
    by_hand = deflated_sharpe(9 / math.sqrt(35040), 1056, 0.2, 3.0, trials=4, spread_of_trials=spread)
    assert few["deflated_sharpe"] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("drag", [0.0, -8.0], ids=["no edge anywhere", "short timeframes eaten up by costs"])
def test_the_best_of_a_coins_timeframes_is_no_discovery_where_none_has_an_edge(drag: float) -> None:
    rng = np.random.default_rng(8)
    timeframes = [timeframe for timeframe in TRADED_TIMEFRAMES for _ in range(4)]
    found = rng.normal(size=(200, len(timeframes)))
    found[:, : len(timeframes) // 2] += drag
    tried = backtests(
        *(
            {
                "symbol": f"C{coin:03}USDT",
                "timeframe": timeframe.value,
                "parameters": f"{number:02}",
                "bars": timeframe.window_bars,
                "sharpe_ratio": found[coin, number] * math.sqrt(timeframe.bars_per_year / timeframe.window_bars),
                "skewness": 0.0,
                "kurtosis": 3.0,
            }
            for coin in range(len(found))
            for number, timeframe in enumerate(timeframes)
        )
    )
    statistic = [found[int(row.symbol[1:4]), int(row.parameters)] for row in tried.itertuples()]
    best = tried.loc[pd.Series(statistic).groupby(tried["symbol"]).idxmax()]
    deflated = with_significance(best, tried)["deflated_sharpe"]
    assert 0.3 < deflated.mean() < 0.55
    assert (deflated > 0.95).mean() < 0.05


def test_configurations_that_differ_by_more_than_luck_make_the_best_one_no_less_certain() -> None:
    def deflated(worst: float) -> float:
        tried = [{**WORSE, "parameters": f"{number:02}", "sharpe_ratio": worst * number} for number in range(1, 20)]
        rows = backtests({**BETTER, "sharpe_ratio": 20.0}, *tried)
        return float(select_best(HOUR_MS, rows, PRESETS["strict"]).rows["deflated_sharpe"].iloc[0])

    # t statistics that spread by far more than luck does, and by next to nothing.
    assert deflated(-10.0) == deflated(-100.0)
    assert 0.5 < deflated(-10.0) < deflated(-0.01) < 1


@pytest.mark.parametrize(
    ("limits", "change", "passes"),
    [
        (Limits(), {"p_value": np.nan, "sharpe_ratio": -9.0}, True),
        (Limits(max_p_value=0.03), {"p_value": 0.03}, True),
        (Limits(max_p_value=0.03), {"p_value": 0.031}, False),
        (Limits(max_p_value=1.0), {"p_value": np.nan}, False),
        (Limits(min_deflated_sharpe=0.5), {"sharpe_ratio": 0.001}, True),
        (Limits(min_deflated_sharpe=0.5), {"sharpe_ratio": -0.001}, False),
    ],
)
def test_limits_against_luck_filter_only_where_they_are_set(limits: Limits, change: dict, passes: bool) -> None:
    selection = select_best(HOUR_MS, backtests(change), PRESETS["strict"], limits)
    assert selection.passed == len(selection.rows) == int(passes)
    assert list(selection.failed.values()) == ([] if passes else [1])


def test_p_values_are_those_of_profitable_chosen_rows_and_come_from_the_key_of_the_row() -> None:
    pnl = np.random.default_rng(3).normal(0.5, 2.0, (5, 40))
    asked: list[int] = []

    def pnl_of(row: int) -> np.ndarray:
        asked.append(row)
        return pnl[row]

    rows = backtests(
        {"symbol": "A", **WORSE},
        {"symbol": "A", **BETTER},
        {"symbol": "B", "total_pnl": -1.0},
        {"symbol": "C"},
        {"symbol": "D", "error": "ValueError: no"},
    )
    found = with_p_values(rows, pnl_of)
    assert asked == [1, 3]
    assert np.isfinite(found["p_value"]).tolist() == [False, True, False, True, False]
    again = with_p_values(rows.iloc[[3]], lambda _: pnl[3])
    assert again["p_value"].iloc[0] == found["p_value"].iloc[3]
    assert with_p_values(rows.iloc[[3]].assign(hour_ms=0), lambda _: pnl[3])["p_value"].iloc[0] != found["p_value"][3]


def test_nothing_to_select_from_is_an_empty_table() -> None:
    for rows in (BACKTEST_RESULTS.empty(), backtests({"win_rate": 1.0})):
        selection = select_best(HOUR_MS, rows, PRESETS["strict"])
        assert selection.rows.empty
        assert list(selection.rows.columns) == STRATEGY_SELECTIONS.columns
        assert selection.passed == 0


def test_the_summary_of_a_coin_names_its_best_timeframe_and_the_best_of_each() -> None:
    rows = backtests(
        {"timeframe": "1m", "strategy": "a", "total_pnl": 40.0, "win_rate": 55.0},
        {"timeframe": "1m", "strategy": "b", "total_pnl": 70.0, "win_rate": 51.0},
        {"timeframe": "60m", "strategy": "a", "total_pnl": 99.6, "win_rate": 64.0},
        {"symbol": "ZZZUSDT", "timeframe": "5m", "total_pnl": 500.0},
        {"symbol": "NONEUSDT", "total_trades": 0},
    )
    summary = coin_summary(rows)
    assert summary["symbol"].tolist() == ["ZZZUSDT", "AAAUSDT"]
    coin = summary.iloc[1]
    assert (coin["optimal_timeframe"], coin["optimal_pnl"], coin["optimal_win_rate"]) == ("60m", 99.6, 64.0)
    assert (coin["1m"], coin["60m"], coin["5m"]) == ("b $70 51 %", "a $100 64 %", "")


def test_the_summary_of_no_trades_is_empty() -> None:
    assert coin_summary(BACKTEST_RESULTS.empty()).empty
    assert coin_summary(backtests({"total_trades": 0})).empty
