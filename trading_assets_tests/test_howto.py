"""The examples of docs/howto work as printed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.kernel.sweep import StrategySweep, column_from
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.core.exits import ExitPlan
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import Timeframe, as_of_ms
from trading_assets.defs.resources import DatabaseResource
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.strategies.base import Strategy
from trading_assets_tests.backtesting.columns import assert_same
from trading_assets_tests.backtesting.kernel.markets import CAPITAL, COSTS, panel_of, seeded
from trading_assets_tests.printed_examples import HOUR, backtests_of, example


@pytest.mark.slow
def test_the_example_strategy_is_found_started_and_backtested_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = example("docs/howto/add_strategy.md", "strategy")
    rows = backtests_of(code, "donchian_breakout", tmp_path, monkeypatch)
    assert rows["error"].isna().all()
    assert rows["total_trades"].iloc[0] > 5


KINDS = (
    ("after_bars",),
    ("trail", "trail_from"),
    ("break_even_from", "break_even_to"),
    ("roi",),
    ("parts",),
)


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


@pytest.mark.slow
def test_the_example_check_passes_fails_and_shuts_the_hour_as_printed() -> None:
    names: dict[str, object] = {}
    exec(compile(example("docs/howto/add_check.md", "check"), "breadth.py", "exec"), names)
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


@pytest.mark.slow
def test_the_example_with_every_kind_of_exit_is_simulated_alike_by_kernel_and_naive_engine() -> None:
    scope: dict[str, Any] = {"__name__": "example_with_exits"}
    exec(compile(example("docs/howto/add_strategy.md", "exits"), "example", "exec"), scope)
    strategy: Strategy = scope["DonchianExits"]({"hold": 12})
    data, window = seeded([strategy], 5, Timeframe.M15)
    column = column_from(strategy, data, window)
    assert column.exit_long is not None and column.exit_long.any()
    assert all(vars(column.exits).values())  # a kind that is added is shown
    [found], [expected] = KernelEngine().simulate([column], COSTS), NaiveEngine().simulate([column], COSTS)
    assert_same(found, expected)
    plan = vars(column.exits)
    alone = [ExitPlan(), *(ExitPlan(**{name: plan[name] for name in kind}) for kind in KINDS)]
    columns = [replace(column, exit_long=None, exit_short=None, exits=one) for one in alone]
    columns.append(replace(column, exits=ExitPlan()))
    results = {trades.pnl.tobytes() for trades in KernelEngine().simulate(columns, COSTS)}
    assert len(results) == len(columns)  # each kind by itself ends trades that the others do not
    outcome = StrategySweep([strategy]).run(panel_of(data), COSTS, CAPITAL)
    assert outcome.figures[0, 0, 0] == found.closed.sum() > 5
