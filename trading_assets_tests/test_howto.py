"""The examples of docs/howto work as printed."""

import re
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

import trading_assets.strategies as package
from trading_assets.core.candles import Candles
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import WARM_UP_BARS, Timeframe, as_of_ms
from trading_assets.defs.resources import DatabaseResource
from trading_assets.ledger import checks
from trading_assets.ledger import strategies as strategy_rows
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.strategies import registry
from trading_assets_tests.backtesting.windows import backtest_window

HOWTO = Path(__file__).resolve().parents[1] / "docs" / "howto"
HOUR = 1_772_413_200_000


def example(page: str, name: str) -> str:
    """The code of a page between its two comments."""
    text = (HOWTO / page).read_text()
    found = re.search(rf"<!-- example {name}: begin -->\n```python\n(.*?)```\n<!-- example {name}: end -->", text, re.S)
    assert found is not None
    return found.group(1)


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
    (tmp_path / "donchian_breakout.py").write_text(example("add_strategy.md", "strategy"))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.discover.cache_clear()
    try:
        database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
        strategy_rows.seed_registry(database)
        strategy_rows.set_active(database, "donchian_breakout", True)
        usable = strategy_rows.active_strategies(database).usable
        example_rows = [strategy for strategy in usable if strategy.name == "donchian_breakout"]
        assert len(example_rows) == 1
        rows = backtest_window(
            HOUR, Timeframe.M15, {"AUSDT": "scan-20260302-020000"}, walk, example_rows, load_settings()
        )
        assert rows["error"].isna().all()
        assert rows["total_trades"].iloc[0] > 5
    finally:
        registry.discover.cache_clear()


def scanned(coins: int) -> pd.DataFrame:
    """So many rows of `market_scan` for the hour."""
    row = {
        "hour_ms": HOUR,
        "scan_id": "scan-20260302-020000",
        "price": 1.0,
        "volume_24h": 2e6,
        "price_change_24h": 1.0,
        "volatility_24h": 3.0,
        "size_error_pct": 0.0,
        "max_price": 100.0,
        "timestamp_ms": as_of_ms(HOUR),
    }
    return pd.DataFrame([{**row, "rank": at, "symbol": f"A{at:02}USDT"} for at in range(1, coins + 1)])


def execute(check: dg.AssetChecksDefinition) -> Sequence[dg.AssetCheckEvaluation]:
    """What the check alone finds, as when somebody executes it in the UI."""
    definitions = dg.Definitions(
        asset_checks=[check],
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(check))],
        resources={"database": DatabaseResource()},
        executor=dg.in_process_executor,
    )
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("checks")
        result = job.execute_in_process(instance=instance, run_config=quiet, raise_on_error=False)
    return result.get_asset_check_evaluations()


def test_the_example_check_passes_fails_and_shuts_the_hour_as_printed() -> None:
    names: dict[str, object] = {}
    exec(compile(example("add_check.md", "check"), "breadth.py", "exec"), names)
    check = names["scan_is_broad"]
    assert isinstance(check, dg.AssetChecksDefinition)
    database = Database(load_settings().resolved_database_url)
    replace_partitions(database, MARKET_SCAN, scanned(9), [HOUR])
    (narrow,) = execute(check)
    assert not narrow.passed and narrow.blocking
    assert checks.failed(database, [HOUR]) == {
        HOUR: "SCAN_IS_BROAD of market_scan failed: an hour has 9 coins, expected at least 10"
    }
    replace_partitions(database, MARKET_SCAN, scanned(10), [HOUR])
    (broad,) = execute(check)
    assert broad.passed and broad.metadata["fewest"].value == 10
    assert checks.failed(database, [HOUR]) == {}
    database.close()
