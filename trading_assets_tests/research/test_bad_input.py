"""What research is given by mistake: each is told in words, and nothing is computed of something that was not meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trading_assets import research
from trading_assets.core.errors import ConfigurationError, DataError, StrategyError, TradingAssetsError
from trading_assets_tests.research.homes import a_market

START, END = "2026-02-27", "2026-02-28"


def a_backtest(**changes: object) -> object:
    given: dict[str, Any] = {"strategy": "bollinger_rsi", "symbol": "ETHUSDT", "timeframe": "60m"}
    return research.backtest(**{**given, **changes}, source=a_market())


def a_sweep(symbols: Any = "ETHUSDT", **changes: Any) -> object:
    return research.sweep(
        "bollinger_rsi", symbols, "60m", source=a_market(), **{"grid": {"stop_atr": [1.0]}, **changes}
    )


def a_search(symbols: Any = "ETHUSDT", first: str = START, last: str | None = None, **changes: Any) -> object:
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'trading-assets[optuna]'")
    space = {"space": {"stop_atr": (1.0, 2.0)}, "trials": 2, **changes}
    return research.search("bollinger_rsi", symbols, "60m", first, last, source=a_market(), **space)


def a_forward_test(**changes: Any) -> object:
    row = {"hour_ms": 1_772_000_000_000, "symbol": "ETHUSDT", "timeframe": "5m", "strategy": "hyperrsi"}
    return research.forward_test(pd.DataFrame([{**row, "parameters": "{}", **changes}]), source=a_market())


@pytest.mark.parametrize(
    ("ask", "kind", "said"),
    [
        (lambda: a_backtest(symbol=None), ConfigurationError, "None is no symbol"),
        (lambda: a_backtest(symbol=["ETHUSDT"]), ConfigurationError, r"\['ETHUSDT'\] is no symbol"),
        (lambda: a_backtest(symbol=" "), ConfigurationError, "' ' is no symbol"),
        (lambda: a_backtest(strategy=5), StrategyError, "5 is no strategy"),
        (lambda: a_backtest(strategy=dict), StrategyError, "is no strategy; expected its name, its class"),
        (lambda: a_backtest(parameters=["stop_atr"]), StrategyError, "expected values by name"),
        (lambda: a_sweep([]), ConfigurationError, "found no symbol"),
        (lambda: a_sweep(7), ConfigurationError, "7 is no symbol"),
        (lambda: a_sweep(grid={"stop_atr": 2}), StrategyError, "stop_atr: found 2, expected a list of values"),
        (lambda: a_sweep(grid={"stop_atr": "12"}), StrategyError, "stop_atr: found '12', expected a list"),
        (lambda: a_sweep(grid=["stop_atr"]), StrategyError, "expected values by name"),
        (lambda: a_search([]), ConfigurationError, "found no symbol"),
        (lambda: a_search(space={"stop_atr": ("a", "b")}), StrategyError, "expected two numbers"),
        (lambda: a_search(space={"stop_atr": 3}), StrategyError, "expected a list of values"),
        (lambda: a_search(space=None), StrategyError, "has no parameter"),
        (lambda: a_search(first=END, last=START), DataError, "the range of hours is empty"),
        (lambda: a_forward_test(timeframe="7m"), ConfigurationError, "'7m' is no timeframe"),
        (lambda: a_forward_test(hour_ms=np.nan), DataError, "hour_ms of row 0 is no time"),
        (lambda: a_forward_test(symbol="NOPEUSDT"), DataError, "no candles of NOPEUSDT"),
        (lambda: research.forward_test([{"hour_ms": 1}], source=a_market()), DataError, "expected a frame"),  # type: ignore[list-item]
        (lambda: research.from_frames({"ETHUSDT": "eth.csv"}), DataError, "is str, expected a DataFrame"),  # type: ignore[dict-item]
        (lambda: research.candles(3, "60m", source=a_market()), ConfigurationError, "3 is no symbol"),  # type: ignore[arg-type]
        (lambda: research.funding(None, source=a_market()), ConfigurationError, "None is no symbol"),  # type: ignore[arg-type]
    ],
)
def test_what_was_not_meant_is_told(ask: Callable[[], object], kind: type[TradingAssetsError], said: str) -> None:
    with pytest.raises(kind, match=said):
        ask()


def test_a_symbol_that_is_named_twice_is_swept_once_and_counts_once() -> None:
    grid = {"grid": {"stop_atr": [1.0, 2.0]}}
    twice, once = a_sweep(["ETHUSDT", "ethusdt"], **grid), a_sweep("ETHUSDT", **grid)
    assert isinstance(twice, research.Sweep) and isinstance(once, research.Sweep)
    pd.testing.assert_frame_equal(twice.best, once.best)


def test_a_frame_whose_timeframe_was_not_named_is_not_taken_for_minutes() -> None:
    """Fifteen minutes of prices would be known after one."""
    frame = research.candles("ETHUSDT", "15m", START, END, source=a_market())
    with pytest.raises(DataError, match="15 minutes apart or more, so 1m is not their length; name it"):
        research.from_frames({"ETHUSDT": frame})
    assert research.from_frames({"ETHUSDT": frame}, "15m").symbols() == ["ETHUSDT"]
    minutes = research.candles("ETHUSDT", "1m", START, END, source=a_market())
    assert research.from_frames({"ETHUSDT": minutes.iloc[[0, 1, 5, 60, 500]]}).symbols() == ["ETHUSDT"]
