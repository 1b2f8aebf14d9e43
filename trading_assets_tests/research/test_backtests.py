"""Research finds what the pipeline finds: rows of backtest_results, entries of the live finder, sets of a sweep."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import ClassVar

import numpy as np
import pytest

from trading_assets import research
from trading_assets.backtesting.metrics import Metrics
from trading_assets.core.errors import ConfigurationError, StrategyError
from trading_assets.core.exits import ExitPlan
from trading_assets.core.timeframes import HOUR_MS, LIVE_BARS, Timeframe, as_of_ms, floor_ms
from trading_assets.market.loading import hour_loader, load_strategy_data
from trading_assets.research import seeded
from trading_assets.strategies.base import Entries, Strategy
from trading_assets.strategies.registry import configure, make_strategy
from trading_assets.trading.decide.entry import Signal, decide
from trading_assets_tests.backtesting.windows import backtest_window
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.reporting.fixtures import HOUR, market, settings
from trading_assets_tests.research.homes import a_market

FIGURES = [*(field.name for field in fields(Metrics)), "mean_r", "p_value", "break_even", "bars"]
ROW = {"parameters": "{}", "pairs": "[]", "timeframes": "[]", "grid": "declared"}


class Always(Strategy):
    """Long after each rise, out after so many bars: trades that end at closes."""

    name, description = "always_long_in_tests", "for tests"

    def indicators(self, data):  # type: ignore[no-untyped-def]
        return {"rise": np.diff(data.candles.close, prepend=np.nan)}

    @staticmethod
    def entries(v, p):  # type: ignore[no-untyped-def]
        return Entries(long=v.rise > 0, short=False, confidence=70.0)

    def exits(self) -> ExitPlan:
        return ExitPlan(after_bars=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "timeframe"),
    [("bollinger_rsi", "15m"), ("fibonacci_bollinger", "60m"), ("hyperrsi", "5m"), ("bollinger_rsi", "240m")],
)
def test_a_backtest_is_the_row_of_the_pipeline_of_the_same_hour(strategy: str, timeframe: str) -> None:
    configured = configure({"name": strategy, **ROW})
    symbols = a_market().symbols()[:6] if timeframe == "240m" else ["ETHUSDT", "SOLUSDT"]
    hour = HOUR + 8 * HOUR_MS  # 10:00: two hours after the last close of 240m, when funding was paid
    rows = backtest_window(
        hour,
        Timeframe(timeframe),
        dict.fromkeys(symbols, "scan"),
        hour_loader(market(), hour),
        [configured],  # type: ignore[list-item]
        settings(),
    )
    assert len(rows) == len(symbols) and rows["total_trades"].sum() > 0
    still_open = 0
    for row in rows.to_dict("records"):
        found = research.backtest(
            strategy,
            row["symbol"],
            timeframe,
            end=as_of_ms(hour),
            parameters=json.loads(row["parameters"]),
            source=seeded(7, 12, now=as_of_ms(hour)),
        )
        still_open += int((found.trades["reason"] == "open").sum())
        for name in FIGURES:
            assert found.metrics[name] == pytest.approx(row[name], rel=1e-9, abs=1e-9, nan_ok=True), name
        closed = found.trades[found.trades["reason"] != "open"]
        assert len(closed) == row["total_trades"]
        assert closed["pnl"].sum() == pytest.approx(row["total_pnl"], abs=1e-9)
        assert found.equity["drawdown_pct"].min() == pytest.approx(row["max_drawdown"], abs=1e-9)
    assert timeframe != "240m" or still_open  # such a trade pays up to the last close


@pytest.mark.slow
def test_a_sweep_has_the_pipelines_choice_and_each_of_its_sets() -> None:
    configured = configure({"name": "bollinger_rsi", **ROW})
    (row,) = backtest_window(
        HOUR,
        Timeframe.M15,
        {"ETHUSDT": "scan"},
        hour_loader(market(), HOUR),
        [configured],  # type: ignore[list-item]
        settings(),
    ).to_dict("records")
    found = research.sweep("bollinger_rsi", "ETHUSDT", "15m", end=as_of_ms(HOUR), source=a_market())
    assert found.tries == len(found.table) == 20
    chosen = found.best.iloc[0]
    for name in FIGURES:
        assert chosen[name] == pytest.approx(row[name], rel=1e-9, abs=1e-9, nan_ok=True), name
    wanted = json.loads(row["parameters"])
    at = dict(zip(found.best.index.names, found.best.index[0], strict=True))
    assert {name: wanted[name] for name in found.varied} == {name: at[name] for name in found.varied}
    alone = research.backtest(
        "bollinger_rsi", "ETHUSDT", "15m", end=as_of_ms(HOUR), parameters=wanted, source=a_market()
    )
    assert alone.metrics["total_pnl"] == pytest.approx(chosen["total_pnl"], abs=1e-9)


def test_a_surface_is_the_mean_over_coins_and_refuses_what_was_not_varied() -> None:
    found = research.sweep(
        "bollinger_rsi",
        ["ETHUSDT", "SOLUSDT"],
        "15m",
        end=as_of_ms(HOUR),
        source=a_market(),
        grid={"stop_atr": [1.5, 3.0], "band": [0.7, 0.9]},
    )
    surface = found.surface("stop_atr", "band", "total_pnl")
    cells = found.table.reset_index()
    of_cell = cells[(cells["stop_atr"] == 3.0) & (cells["band"] == 0.9)]["total_pnl"]
    assert len(of_cell) == 2 and surface.loc[0.9, 3.0] == pytest.approx(of_cell.mean())
    assert found.heatmap("stop_atr", "band").data[0].z[1][1] == pytest.approx(
        found.surface("stop_atr", "band").iloc[1, 1]
    )
    with pytest.raises(ConfigurationError, match="found 'stop_atr' and 'rsi_period'"):
        found.surface("stop_atr", "rsi_period")
    sets = found.table.groupby(["stop_atr", "band"])["mean_r"].mean()
    best = sets.idxmax()
    beside = [sets[key] for key in sets.index if sum(a != b for a, b in zip(key, best, strict=True)) == 1]
    expected = np.median(beside) / sets.max() if sets.max() > 0 else math.nan
    assert found.plateau() == pytest.approx(expected, nan_ok=True)


@pytest.mark.slow
def test_results_of_a_sweep_add_up_to_its_equity_and_overfitting_may_have_no_verdict() -> None:
    found = research.sweep(
        "bollinger_rsi",
        ["ETHUSDT", "SOLUSDT"],
        "15m",
        end=as_of_ms(HOUR),
        source=a_market(),
        grid={"stop_atr": [1.5, 2.0, 3.0], "band": [0.7, 0.9]},
    )
    results = found.results("4h")
    assert results.shape[1] == 6 and len(results) == 11 * 6 + 1
    ends = 0.0
    for symbol in ("ETHUSDT", "SOLUSDT"):
        one = research.backtest(
            "bollinger_rsi", symbol, "15m", end=as_of_ms(HOUR), source=a_market(), parameters={"stop_atr": 1.5}
        )
        ends += float(one.equity["equity"].iloc[-1]) - one.capital
    assert results[0].sum() == pytest.approx(ends)
    told = found.overfitting("4h")
    assert told.tries == 6 and told.splits == 252 and 0 <= told.probability <= 1 and not told.reason
    assert found.overfitting("1D").reason.startswith("too few: 12 periods")


def test_signals_are_what_the_live_finder_decides() -> None:
    end = as_of_ms(HOUR)
    decided = research.signals("bollinger_rsi", "ETHUSDT", "15m", end=end, source=a_market())
    strategy = make_strategy("bollinger_rsi", "{}")
    checked = 0
    for moment, row in decided.tail(80).iterrows():
        now_ms = round(moment.timestamp() * 1000) + 300  # type: ignore[union-attr]
        start_ms = floor_ms(now_ms, Timeframe.M15.ms) - LIVE_BARS * Timeframe.M15.ms
        live = decide(
            hour_ms=HOUR,
            strategy=strategy,
            parameters="{}",
            data=load_strategy_data(market(), "ETHUSDT", Timeframe.M15, strategy.needs(), start_ms, now_ms),
            instrument=an_instrument("ETHUSDT"),
            settings=settings(min_confidence=0),
            now_ms=now_ms,
            last_exit_ms=None,
        )
        assert isinstance(live, Signal) == bool(row["long"] or row["short"])
        if isinstance(live, Signal):
            checked += 1
            assert live.row["position_type"] == ("LONG" if row["long"] else "SHORT")
            assert float(str(live.row["entry_price"])) == pytest.approx(row["close"])
            assert float(str(live.row["stop_loss"])) == pytest.approx(row["stop"], rel=1e-4)
    assert checked >= 3


@pytest.mark.slow
def test_a_class_of_a_notebook_is_tested_without_being_registered() -> None:
    found = research.backtest(Always, "ETHUSDT", "15m", end=as_of_ms(HOUR), source=a_market())
    reasons = found.trades["reason"].value_counts()
    assert reasons["time"] > 10 and set(reasons.index) <= {"time", "stop", "target", "open"}
    by_time = found.trades[found.trades["reason"] == "time"]
    assert (by_time["bars"] == 4).all()
    # Left at a close: the whole last bar counts, so the best and the worst enclose the exit.
    assert (found.trades["mae_r"] <= 0).all() and (found.trades["mfe_r"] >= 0).all()
    changed = research.backtest(Always({"stop_atr": 9}), "ETHUSDT", "15m", end=as_of_ms(HOUR), source=a_market())
    assert changed.parameters["stop_atr"] == 9 and "stop" not in set(changed.trades["reason"])


class Failing(Strategy):
    """It fails on data."""

    name: ClassVar[str] = "failing_in_tests"
    description: ClassVar[str] = "for tests"

    def indicators(self, data):  # type: ignore[no-untyped-def]
        raise KeyError("no such thing")

    @staticmethod
    def entries(v, p):  # type: ignore[no-untyped-def]
        return Entries(long=False, short=False, confidence=70.0)


class FailingLate(Failing):
    """It fails once a day of the window is known."""

    name: ClassVar[str] = "failing_late_in_tests"

    def indicators(self, data):  # type: ignore[no-untyped-def]
        if data.candles.end_ms[-1] > as_of_ms(HOUR) - 24 * 3_600_000:
            raise KeyError("no such day")
        return {}


def test_what_a_strategy_raises_names_the_coin_and_is_kept_with_its_traceback() -> None:
    with pytest.raises(StrategyError, match="'failing_in_tests' fails on ETHUSDT 15m: KeyError") as caught:
        research.backtest(Failing, "ETHUSDT", "15m", end=as_of_ms(HOUR), source=a_market())
    assert isinstance(caught.value.__cause__, KeyError) and caught.value.__cause__.__traceback__ is not None
    with pytest.raises(research.StrategyFailedError, match="from the candle on that closes at 2026-") as of_bar:
        research.backtest(FailingLate, "ETHUSDT", "15m", end=as_of_ms(HOUR), source=a_market())
    bar_ms = of_bar.value.failure.bar_ms
    before = research.signals(FailingLate, "ETHUSDT", "15m", end=bar_ms - 1, source=a_market())  # type: ignore[operator]
    assert before.index[-1].value // 1_000_000 == bar_ms - 900_000  # type: ignore[operator]
    with pytest.raises(research.StrategyFailedError, match="closes at") as of_sweep:
        research.sweep(FailingLate, "ETHUSDT", "15m", end=as_of_ms(HOUR), source=a_market())
    assert of_sweep.value.failure.bar_ms == bar_ms and "in indicators\n" in of_sweep.value.failure.traceback
    with pytest.raises(StrategyError, match="unknown strategy 'nothing'"):
        research.backtest("nothing", "ETHUSDT", "15m", source=a_market())


def test_a_comparison_shows_figures_equity_and_trades_in_common() -> None:
    end = as_of_ms(HOUR)
    one = research.backtest("bollinger_rsi", "ETHUSDT", "15m", end=end, source=a_market())
    wide = research.backtest(
        "bollinger_rsi", "ETHUSDT", "15m", end=end, source=a_market(), parameters={"stop_atr": 3.0}
    )
    both = research.compare({"as described": one, "wide": wide})
    assert both.table.loc["total_trades", "wide"] == wide.metrics["total_trades"]
    np.testing.assert_array_equal(both.equity["as described"], one.equity["equity"])
    assert both.shared.loc["wide", "wide"] == 1.0
    mine = set(zip(wide.trades["entry_time"], wide.trades["side"], strict=True))
    theirs = set(zip(one.trades["entry_time"], one.trades["side"], strict=True))
    assert both.shared.loc["wide", "as described"] == pytest.approx(len(mine & theirs) / len(mine))
    with pytest.raises(ConfigurationError, match="names of their own"):
        research.compare([one, wide])


def test_a_backtest_without_a_trade_says_so() -> None:
    class Never(Strategy):
        name, description = "never", "enters never"

        def indicators(self, data):  # type: ignore[no-untyped-def]
            return {}

        @staticmethod
        def entries(v, p):  # type: ignore[no-untyped-def]
            return Entries(long=v.close < 0, short=False, confidence=50.0)

    found = research.backtest(Never, "ETHUSDT", "60m", "2026-02-20", "2026-02-22", source=a_market())
    assert repr(found) == "<Backtest never on ETHUSDT 60m, 2026-02-20 00:00 to 2026-02-22 00:00: no closed trade>"
    assert found.trades.empty and "closed trades" in found.plot().html
