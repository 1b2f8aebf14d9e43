"""The definitions: they load light, name what they should, and trade by themselves on the simulator only."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.scheduler.instigation import InstigatorType, TickStatus

from trading_assets.core.timeframes import TRADED_TIMEFRAMES
from trading_assets.definitions import build_definitions
from trading_assets.defs.checks.lookahead import AGREES, NO_LOOK_AHEAD, SURVIVES, WARM_UP_SUFFICES
from trading_assets.defs.checks.parity import EXPLAINED
from trading_assets.defs.checks.quality import QUALITY
from trading_assets.defs.checks.schema import CHECK_NAME
from trading_assets.defs.instance.concurrency_groups import ConcurrencyGroupRunCoordinator

ROOT = Path(__file__).resolve().parents[2]

REPORTS = {"walk_forward_report", "performance_report"}
"""Pages about a range: they have no partitions and no table."""

_LOOK = """
import json, sys, warnings
warnings.simplefilter("ignore")
from trading_assets.definitions import defs
repository = defs.get_repository_def()
print(json.dumps({
    "heavy": [name for name in ("vectorbt", "numba", "scipy", "matplotlib", "plotly") if name in sys.modules],
    "running": sorted(
        x.name for x in [*repository.schedule_defs, *repository.sensor_defs] if x.default_status.value == "RUNNING"
    ),
}))
"""


def look(**environment: str) -> dict[str, list[str]]:
    """Load the definitions in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-c", _LOOK],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
    )
    return dict(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_loading_imports_nothing_heavy_and_automates_the_simulator() -> None:
    found = look()
    assert found["heavy"] == []
    assert found["running"] == [
        "deliver_messages",
        "end_stuck_runs",
        "notify_of_failed_runs",
        "parity_daily",
        "performance_daily",
        "reconcile_books",
        "reports_daily",
        "research_blocked_hours",
        "research_catch_up",
        "research_hourly",
        "retention_daily",
        "seal_hourly",
        "selection_every_minute",
        "trade_when_candles_close",
    ]


@pytest.mark.slow
def test_nothing_that_can_trade_is_on_by_default_on_another_venue() -> None:
    found = look(TRADING_ASSETS_VENUE="demo")
    assert found["running"] == ["deliver_messages", "end_stuck_runs", "notify_of_failed_runs"]


def test_every_stage_is_there_with_its_check() -> None:
    definitions = build_definitions()
    graph = definitions.get_repository_def().asset_graph
    research = {
        "market_scan",
        "funding_rates",
        "strategy_selections",
        *(f"{name}/{timeframe.value}" for name in ("candles", "backtest_results") for timeframe in TRADED_TIMEFRAMES),
    }
    written, shown = research | {"live_parity"}, REPORTS | {"dca_state", "grid_state"}
    grids = {"grid_results", "grid_selections"}  # without a check: one that blocks would block the hour's trading
    assert {key.to_user_string() for key in graph.materializable_asset_keys} == written | shown | grids
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == written | shown | grids | {"entry_signals"}
    checks = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    backtests = {name for name in research if name.startswith("backtest_results/")}
    assert checks == {
        *((name, CHECK_NAME) for name in written),
        ("live_parity", EXPLAINED),
        *((name, check) for name in backtests for check in (AGREES, NO_LOOK_AHEAD, WARM_UP_SUFFICES)),
        ("strategy_selections", SURVIVES),
        *((name, QUALITY) for name in research if name.startswith("candles/")),
    }
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.description
        assert spec.blocking is (key.name not in (SURVIVES, EXPLAINED, QUALITY))
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        if key.to_user_string() not in shown:
            assert node.metadata["dagster/column_schema"], "the page of an asset shows its columns"
        assert node.group_name and node.owners and node.kinds and node.description
        if key.to_user_string() not in shown:
            assert node.partitions_def is not None
            assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_the_pipeline_reads_from_left_to_right() -> None:
    graph = build_definitions().get_repository_def().asset_graph

    def parents(name: str) -> set[str]:
        return {key.to_user_string() for key in graph.get(dg.AssetKey(name.split("/"))).parent_keys}

    assert parents("market_scan") == set()
    assert parents("candles/1m") == {"market_scan"}
    # `fibonacci_bollinger` reads levels of four timeframes, its own, and the funding rates.
    assert parents("backtest_results/1m") == {
        "market_scan",
        "candles/1m",
        "candles/15m",
        "candles/60m",
        "candles/240m",
        "funding_rates",
    }
    assert parents("strategy_selections") == {f"backtest_results/{tf.value}" for tf in TRADED_TIMEFRAMES}
    assert parents("entry_signals") == {"strategy_selections"}
    assert parents("live_parity") == {"entry_signals", "strategy_selections"}
    assert parents("walk_forward_report") == {"strategy_selections"}
    assert parents("performance_report") == {"entry_signals", "strategy_selections"}


def test_every_schedule_and_sensor_says_what_it_does_and_when_it_skips() -> None:
    repository = build_definitions().get_repository_def()
    for automation in [*repository.schedule_defs, *repository.sensor_defs]:
        assert automation.description
        if not isinstance(automation, dg.RunStatusSensorDefinition):
            assert "skips" in automation.description.lower(), automation.name


def test_every_job_and_op_says_what_it_does() -> None:
    repository = build_definitions().get_repository_def()
    for job in repository.get_all_jobs():
        if job.name.startswith("__"):
            continue  # Dagster's own
        assert job.description, job.name
        if not job.asset_layer.executable_asset_keys:
            assert all(node.definition.description for node in job.nodes), job.name


def test_the_instance_configurations_are_valid(installation: dg.DagsterInstance) -> None:
    limits = installation.get_concurrency_config().run_queue_config
    assert limits is not None and {limit["value"] for limit in limits.tag_concurrency_limits} >= {"trade", "backfill"}
    assert isinstance(installation.run_coordinator, ConcurrencyGroupRunCoordinator)
    assert not installation.telemetry_enabled
    assert installation.run_monitoring_enabled
    assert installation.run_monitoring_start_timeout_seconds == 60
    assert not installation.run_retries_enabled, "a run that may have placed an order is never started again"
    assert installation.get_tick_retention_settings(InstigatorType.SENSOR)[TickStatus.SKIPPED] == 1


def test_a_url_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)
    (tmp_path / "dagster.yaml").write_text((ROOT / "deploy" / "dagster.yaml").read_text())
    with pytest.raises(Exception, match="DAGSTER_POSTGRES_URL"), dg.DagsterInstance.from_config(str(tmp_path)) as one:
        one.get_runs()


def test_the_workspace_files_name_the_definitions() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"]["module_name"] == "trading_assets.definitions"
    cloud = yaml.safe_load((ROOT / "dagster_cloud.yaml").read_text())
    assert cloud["locations"][0]["code_source"]["module_name"] == "trading_assets.definitions"
