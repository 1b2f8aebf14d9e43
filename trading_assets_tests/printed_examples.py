"""The code blocks that pages print between two comments, and a market on which a printed strategy is tried."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trading_assets.strategies as package
from trading_assets.core.candles import Candles
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe, as_of_ms
from trading_assets.ledger import strategies as strategy_rows
from trading_assets.ledger.database import Database
from trading_assets.strategies import registry
from trading_assets_tests.backtesting.windows import backtest_window

ROOT = Path(__file__).resolve().parents[1]
HOUR = 1_772_413_200_000


def example(page: str, name: str, language: str = "python") -> str:
    """The code of a page (a path below the checkout) between its two comments."""
    text = (ROOT / page).read_text()
    found = re.search(
        rf"<!-- example {name}: begin -->\n```{language}\n(.*?)```\n<!-- example {name}: end -->", text, re.S
    )
    assert found is not None
    return found.group(1)


def random_walk(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
    """A random walk over the window and its warm-up."""
    bars = timeframe.window_bars + WARM_UP_BARS
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, bars)))
    open_ = np.concatenate([[100.0], close[:-1]])
    end = as_of_ms(HOUR) - as_of_ms(HOUR) % timeframe.ms
    starts = end - np.arange(bars, 0, -1) * timeframe.ms
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    return StrategyData(symbol, Candles(timeframe, starts, open_, high, low, close, close, close))


def backtests_of(code: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Backtests of a strategy whose module is `code`: discovered, started in a new ledger, and run on 15m bars."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    registry.discover.cache_clear()
    try:
        database = Database(f"sqlite:///{folder / 'ledger.db'}")
        strategy_rows.seed_registry(database)
        strategy_rows.set_active(database, name, True)
        usable = strategy_rows.active_strategies(database).usable
        ours = [strategy for strategy in usable if strategy.name == name]
        assert len(ours) == 1
        coins = {"AUSDT": "scan-20260302-020000"}
        return backtest_window(HOUR, Timeframe.M15, coins, random_walk, ours, load_settings())
    finally:
        registry.discover.cache_clear()
