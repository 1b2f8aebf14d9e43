"""The run that `bench backfill` measures is a backfill's, and its seconds add up."""

from pathlib import Path

import dagster as dg
import pytest

from trading_assets.bench.research import report_line, stages, table
from trading_assets.bench.run_process import measure
from trading_assets.defs.instance.storage import BATCH_SIZE_VARIABLE
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY

NEXT_KEY = "2026-03-02-02:00"


@pytest.mark.slow
def test_a_range_is_measured_step_by_step_on_an_instance_on_disk(
    small: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "500")
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    root = Path(__file__).parents[2]
    (tmp_path / "dagster.yaml").write_text((root / "dagster.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    report = measure(HOUR, 2)
    assert report["rows"] | {"strategy_selections": 0} == {
        "market_scan": 2 * 3,
        "candle_coverage": report["rows"]["candle_coverage"],
        "funding_coverage": 2 * 3,
        "backtest_results": 2 * 3 * 8 * 3,
        "strategy_selections": 0,
    }
    assert report["materialisations"] == 2 * 21
    assert report["peak_mb"] > 0 and report["cpu_s"] > 0
    assert report["disk"]["days_sealed"] == 0, "its day has not ended"
    assert report["disk"]["ledger_mb"] > 0
    by_stage = stages(report["steps"], report)
    assert set(by_stage) == {
        *("scan", "candles", "funding", "backtests", "grids", "selections"),
        *("schema checks", "backtest checks", "between steps"),
    }
    assert sum(stage["wall_s"] for stage in by_stage.values()) == pytest.approx(report["wall_s"], abs=0.2)
    shown = table({**report, "exchange_cpu_s": 0.0, "stages": by_stage}, "two hours")
    assert shown.row_count == len(by_stage)
    with dg.DagsterInstance.get() as instance:
        for key in ("market_scan", "strategy_selections", "backtest_results/240m"):
            assert instance.get_materialized_partitions(dg.AssetKey(key.split("/"))) == {HOUR_KEY, NEXT_KEY}


def test_what_the_report_of_a_backfill_took_is_told_in_a_line() -> None:
    took = {"wall_s": 12.4, "cpu_s": 11.0, "start_up_cpu_s": 2.1, "peak_mb": 605, "trades": 171}
    told = report_line({**took, "files_mb": {"page": 5.0, "trades": 0.1}})
    assert "12 s of wall time, 11 s of CPU" in told and "peak 605 MB; 171 trades; MB: page 5.0, trades 0.1" in told
