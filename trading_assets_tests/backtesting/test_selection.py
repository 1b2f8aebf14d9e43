"""Filters, score, ties and the summary per coin."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.backtesting.selection import (
    PRESETS,
    Preset,
    Selection,
    SignificanceLimits,
    coin_summary,
    score,
    select_best,
    with_significance,
)
from trading_assets.backtesting.significance import deflated_sharpe, effective_trials
from trading_assets.core.schemas import BACKTEST_RESULTS, STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe

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
    "break_even": 0.4,
    "mean_r": 0.3,
    "configurations": 1,
    "configurations_traded": 1,
    "sharpe_mean": 1.0,
    "sharpe_spread": 0.0,
    "error": None,
}


def backtests(*changes: dict[str, object]) -> pd.DataFrame:
    """Rows of strategies with one parameter set each, unless the changes tell otherwise."""
    rows = [{**GOOD, "sharpe_mean": change.get("sharpe_ratio", 1.0), **change} for change in changes]
    return BACKTEST_RESULTS.conform(pd.DataFrame(rows))


@pytest.mark.slow
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
    selection = select_best(backtests(change), PRESETS[preset])
    assert selection.passed.get(HOUR_MS, 0) == len(selection.rows) == int(passes)
    assert bool(selection.failed) is not passes


def test_every_preset_of_the_settings_exists() -> None:
    allowed = Settings.model_fields["selection_preset"].annotation
    assert set(PRESETS) == set(allowed.__args__)


def test_the_score_is_win_rate_times_profit_factor_times_the_log_of_trades_and_one() -> None:
    rows = backtests({"win_rate": 55.0, "profit_factor": 1.7, "total_trades": 12})
    assert score(rows)[0] == pytest.approx(55 * 1.7 * math.log(13))
    assert select_best(rows, PRESETS["strict"]).rows["score"][0] == score(rows)[0]


def test_each_coin_has_the_one_row_with_its_highest_score() -> None:
    rows = backtests(
        {"symbol": "BBBUSDT", "win_rate": 70.0},
        {"symbol": "AAAUSDT", "timeframe": "1m"},
        {"symbol": "AAAUSDT", "timeframe": "60m", "win_rate": 80.0},
        {"symbol": "CCCUSDT", "win_rate": 10.0},
    )
    selection = select_best(rows, PRESETS["strict"])
    assert selection.rows[["symbol", "timeframe"]].to_numpy().tolist() == [["AAAUSDT", "60m"], ["BBBUSDT", "15m"]]
    assert selection.passed == {HOUR_MS: 3}
    assert selection.failed == {HOUR_MS: {"win rate below 50 %": 1}}
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
        best = select_best(rows, PRESETS["strict"]).rows.iloc[0]
        assert {name: best[name] for name in rivals[winner]} == rivals[winner]


@pytest.mark.slow
@settings(max_examples=15)
@given(order=st.permutations(range(6)))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    rows = backtests(*({"symbol": f"{s}USDT", "timeframe": t} for s in ("A", "B") for t in ("1m", "30m", "240m")))
    expected = select_best(rows, PRESETS["strict"]).rows
    shuffled = rows.iloc[order].reset_index(drop=True)
    pd.testing.assert_frame_equal(select_best(shuffled, PRESETS["strict"]).rows, expected)
    pd.testing.assert_frame_equal(coin_summary(shuffled), coin_summary(rows))


def test_failures_are_counted_by_filter_and_an_error_fails_no_filter_besides() -> None:
    rows = backtests(
        {"symbol": "A", "total_trades": 1, "win_rate": 10.0},
        {"symbol": "B", "total_trades": 2},
        {"symbol": "C", "total_trades": 0, "win_rate": 0.0, "profit_factor": 0.0, "error": "ValueError: no"},
        {"symbol": "D"},
    )
    selection = select_best(rows, PRESETS["strict"])
    assert selection.failed == {
        HOUR_MS: {"fewer than 5 trades": 2, "win rate below 50 %": 1, "failed with an error": 1}
    }
    assert selection.passed == {HOUR_MS: 1}


def of_sets(sharpe: list[float], **change: object) -> dict[str, object]:
    """The row of a strategy whose first parameter set was chosen of all."""
    traded = [ratio for ratio in sharpe if ratio != 0]
    return {
        "sharpe_ratio": sharpe[0],
        "kurtosis": 3.0,
        "configurations": len(sharpe),
        "configurations_traded": len(traded),
        "sharpe_mean": np.mean(traded) if traded else 0.0,
        "sharpe_spread": np.std(traded) if traded else 0.0,
        **change,
    }


UNCOUNTED = ({"symbol": "BBBUSDT", "configurations": 7}, {"strategy": "failed", "error": "ValueError: no"})


def test_a_selection_tells_how_many_configurations_were_tried_on_its_coin_and_corrects_for_them() -> None:
    def selected(extra: int) -> pd.Series:
        rows = backtests(of_sets([9.0, *(9.0 * number for number in range(extra))]), *UNCOUNTED)
        return select_best(rows, PRESETS["strict"]).rows.iloc[0]

    few, many = selected(3), selected(30)
    assert (few["configurations_tried"], many["configurations_tried"]) == (4, 31)
    assert 1 < few["configurations_effective"] < many["configurations_effective"] <= 30
    assert 0 < many["deflated_sharpe"] < few["deflated_sharpe"] < 1
    assert few["p_value"] < few["p_value_corrected"] < many["p_value_corrected"] < 1
    assert few["least_trades"] < many["least_trades"]
    # By hand: 1056 bars of 15m; of four sets one has a Sharpe ratio of 0 and so never traded.
    variance = np.var([9.0, 9.0, 18.0], ddof=1) * 1056 / 35040
    tries = float(effective_trials(3, variance))
    assert few["configurations_effective"] == pytest.approx(tries)
    by_hand = deflated_sharpe(9 / math.sqrt(35040), 1056, 0.2, 3.0, trials=tries, spread_of_trials=1 / math.sqrt(1056))
    assert few["deflated_sharpe"] == pytest.approx(by_hand, rel=1e-12)
    # The hour has another coin, with one try.
    assert few["p_value_hour"] == pytest.approx(1 - (1 - few["p_value"]) ** (tries + 1))


def test_configurations_of_all_timeframes_and_strategies_of_a_coin_count_together() -> None:
    apart = {"15m": [2.0, -1.0, 0.5], "60m": [4.0, 0.0, -3.0], "240m": [0.0, 0.0, 0.0]}
    rows = backtests(*(of_sets(sharpe, timeframe=timeframe) for timeframe, sharpe in apart.items()))
    tries = 0.0
    for timeframe, sharpe in apart.items():
        traded = [ratio * math.sqrt(1056 / Timeframe(timeframe).bars_per_year) for ratio in sharpe if ratio]
        tries += float(effective_trials(len(traded), np.var(traded, ddof=1))) if traded else 0.0
    for row in with_significance(rows, rows).to_dict("records"):
        assert row["configurations_tried"] == 9
        assert row["configurations_effective"] == pytest.approx(tries)


def test_few_trades_have_no_deflated_sharpe_ratio() -> None:
    def of(trades: int) -> pd.Series:
        return select_best(backtests({"total_trades": trades}), PRESETS["strict"]).rows.iloc[0]

    assert math.isnan(of(19)["deflated_sharpe"]) and of(20)["deflated_sharpe"] > 0


def test_where_wins_are_small_beside_losses_luck_alone_gives_records_of_wins_so_more_trades_are_needed() -> None:
    def of(trades: int) -> pd.Series:
        tries = {"configurations": 60, "configurations_traded": 60, "sharpe_spread": 99.0}
        return select_best(
            backtests({"total_trades": trades, "break_even": 0.86, **tries}), PRESETS["strict"]
        ).rows.iloc[0]

    least = int(of(20)["least_trades"])
    assert least > 40
    assert math.isnan(of(least - 1)["deflated_sharpe"]) and of(least)["deflated_sharpe"] > 0


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


def test_what_differs_by_costs_makes_the_best_one_no_less_certain() -> None:
    def deflated(worst: float) -> float:
        rows = backtests(of_sets([20.0, *(worst * number for number in range(1, 20))]))
        return float(select_best(rows, PRESETS["strict"]).rows["deflated_sharpe"].iloc[0])

    assert 0.5 < deflated(-10.0) == deflated(-100.0) < 1


@pytest.mark.parametrize(
    ("limits", "change", "passes"),
    [
        (SignificanceLimits(), {"p_value": np.nan, "sharpe_ratio": -9.0}, True),
        (SignificanceLimits(max_p_value=0.03), {"p_value": 0.03}, True),
        (SignificanceLimits(max_p_value=0.03), {"p_value": 0.031}, False),
        (
            SignificanceLimits(max_p_value=0.03),
            {"p_value": 0.03, "configurations_traded": 2, "sharpe_spread": 9},
            False,
        ),
        (SignificanceLimits(max_p_value=1.0), {"p_value": np.nan}, False),
        (SignificanceLimits(min_deflated_sharpe=0.1), {"total_trades": 19}, False),
        (SignificanceLimits(min_deflated_sharpe=0.5), {"sharpe_ratio": 0.001}, True),
        (SignificanceLimits(min_deflated_sharpe=0.5), {"sharpe_ratio": -0.001}, False),
    ],
)
def test_limits_against_luck_filter_only_where_they_are_set(
    limits: SignificanceLimits, change: dict, passes: bool
) -> None:
    selection = select_best(backtests(change), PRESETS["strict"], limits)
    assert selection.passed.get(HOUR_MS, 0) == len(selection.rows) == int(passes)
    assert [list(counts.values()) for counts in selection.failed.values()] == ([] if passes else [[1]])


def test_nothing_to_select_from_is_an_empty_table() -> None:
    for rows in (BACKTEST_RESULTS.empty(), backtests({"win_rate": 1.0})):
        selection = select_best(rows, PRESETS["strict"])
        assert selection.rows.empty
        assert list(selection.rows.columns) == STRATEGY_SELECTIONS.columns
        assert selection.passed == {}


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


def test_hours_selected_together_are_the_hours_selected_apart() -> None:
    rng = np.random.default_rng(3)
    hours = [HOUR_MS + number * 3_600_000 for number in range(4)]
    rows = backtests(
        *(
            {
                **of_sets(rng.normal(1, 2, 5).tolist(), timeframe=timeframe, symbol=symbol, hour_ms=hour),
                "total_trades": int(rng.integers(0, 40)),
                "win_rate": float(rng.uniform(40, 80)),
                "error": "ValueError: no" if rng.random() < 0.1 else None,
            }
            for hour in hours[:3]
            for timeframe in ("1m", "15m", "240m")
            for symbol in ("AAAUSDT", "BBBUSDT", "CCCUSDT")
        )
    )
    for limits in (SignificanceLimits(), SignificanceLimits(min_deflated_sharpe=0.5)):
        together = select_best(rows, PRESETS["strict"], limits)
        apart = Selection.concat(
            [select_best(rows[rows["hour_ms"] == hour], PRESETS["strict"], limits) for hour in hours]
        )
        pd.testing.assert_frame_equal(together.rows, apart.rows, check_exact=True)
        assert (together.passed, together.failed) == (apart.passed, apart.failed)
        assert together.rows["hour_ms"].nunique() > 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, PRESETS["strict"]),
        ({"selection_preset": "volume"}, Preset(trades=20, win_rate=45.0, total_pnl=10.0)),
        ({"selection_preset": "volume", "sizing": "margin"}, Preset(trades=20, win_rate=45.0, total_pnl=100.0)),
        ({"selection_preset": "volume", "position_size": 50}, Preset(trades=20, win_rate=45.0, total_pnl=5.0)),
        ({"selection_preset": "volume_loose", "backtest_capital": 2000}, Preset(10, 40.0, total_pnl=100.0)),
        ({"selection_preset": "volume", "min_pnl": 3.5}, Preset(trades=20, win_rate=45.0, total_pnl=3.5)),
        ({"min_pnl": -5.0, "min_trades": 8}, Preset(8, 50.0, 1.5, -20.0, -5.0)),
        ({"min_win_rate": 0, "min_profit_factor": 0, "max_backtest_drawdown_pct": 100}, Preset(5, 0.0, 0.0, -100.0)),
        ({"max_backtest_drawdown_pct": 7.5}, Preset(5, 50.0, 1.5, -7.5)),
    ],
)
def test_thresholds_are_settings_beside_the_presets_and_money_is_in_proportion_to_the_trades(
    changes: dict[str, object], expected: Preset
) -> None:
    assert Preset.from_settings(Settings(**changes)) == expected  # type: ignore[arg-type]


def test_money_of_backtests_is_money_of_live_positions_unless_a_person_says_otherwise() -> None:
    assert Settings().backtest_notional == float(Settings().target_notional) == 100.0
    assert Settings(sizing="margin").backtest_notional == 1000.0
    assert Settings(backtest_capital=250.0).backtest_notional == 250.0


@pytest.mark.slow
@given(scale=st.sampled_from([50.0, 100.0, 1000.0, 2500.0]), pnl=st.floats(-200, 400), name=st.sampled_from([*PRESETS]))
def test_the_size_of_a_trade_decides_no_selection(scale: float, pnl: float, name: str) -> None:
    found = []
    for notional in (1000.0, scale):
        row = {"total_pnl": pnl * notional / 1000, "win_rate": 55.0, "total_trades": 25}
        preset = Preset.from_settings(Settings(selection_preset=name, backtest_capital=notional))  # type: ignore[arg-type]
        found.append(len(select_best(backtests(row), preset).rows))
    assert found[0] == found[1] or abs(pnl - (PRESETS[name].total_pnl or 0)) < 1e-9
