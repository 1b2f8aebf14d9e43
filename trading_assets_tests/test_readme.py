"""README.md: its example works as printed, and what it names exists."""

import re
from pathlib import Path

import numpy as np
import pytest

import trading_assets.strategies as package
from trading_assets.backtesting.run import backtest_window
from trading_assets.ledger.database import Database
from trading_assets.market.candles import Candles
from trading_assets.market.timeframes import WARM_UP_BARS, Timeframe, as_of_ms
from trading_assets.settings import load_settings
from trading_assets.strategies import registry
from trading_assets.strategies.base import DataNeeds, StrategyData

ROOT = Path(__file__).resolve().parents[1]
HOUR = 1_772_413_200_000


def walk(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
    """A random walk over the window and its warm-up."""
    bars = timeframe.window_bars + WARM_UP_BARS
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, bars)))
    open_ = np.concatenate([[100.0], close[:-1]])
    end = as_of_ms(HOUR) - as_of_ms(HOUR) % timeframe.ms
    starts = end - np.arange(bars, 0, -1) * timeframe.ms
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    return StrategyData(symbol, Candles(timeframe, starts, open_, high, low, close, close, close))


def test_the_example_strategy_is_found_started_and_backtested_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "README.md").read_text()
    example = re.search(r"<!-- example strategy: begin -->\n```python\n(.*?)```", text, re.S)
    assert example is not None
    (tmp_path / "donchian_breakout.py").write_text(example.group(1))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.discover.cache_clear()
    try:
        database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
        registry.seed_registry(database)
        registry.set_active(database, "donchian_breakout", True)
        usable = registry.active_strategies(database).usable
        example_rows = [strategy for strategy in usable if strategy.name == "donchian_breakout"]
        assert len(example_rows) == 1
        rows = backtest_window(
            HOUR, Timeframe.M15, {"AUSDT": "scan-20260302-020000"}, walk, example_rows, load_settings()
        )
        assert rows["error"].isna().all()
        assert rows["total_trades"].iloc[0] > 5
    finally:
        registry.discover.cache_clear()


def test_every_make_target_and_picture_that_it_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z]+)", text)) - {"sense"} <= targets


def test_every_picture_is_there_small_shown_and_taken_by_the_browser_test() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    shown = {
        (page.parent / picture).resolve()
        for page in pages
        for picture in re.findall(r"\]\(([^)]+\.png)\)", page.read_text())
    }
    assert shown == set((ROOT / "docs" / "images").glob("*.png"))
    assert all(picture.stat().st_size < 200_000 for picture in shown)
    taken = re.findall(r'picture\("(\w+)"', (ROOT / "trading_assets_tests/ui/test_in_the_browser.py").read_text())
    assert {picture.stem for picture in shown} == set(taken)
