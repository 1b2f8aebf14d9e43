"""Days of runs in compressed time: old ones go with their files, and disk use stops growing."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import Timeframe
from trading_assets.defs.ops.retention import DAY_S, candles_kept_from_ms, delete_runs
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import registry_row, seed_registry, write_row
from trading_assets.market.lookback import other_reach_ms
from trading_assets_tests.defs.conftest import run_job

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with the project's own configuration."""
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def settings(**changes: float | None) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg, arg-type]


@dg.op
def work(context: dg.OpExecutionContext) -> None:
    context.log.info("x" * 200)
    context.log_event(dg.AssetMaterialization("something", metadata={"text": "y" * 2000}))


@dg.job
def reconcile() -> None:
    work()


@dg.job
def research() -> None:
    work()


def run(instance: dg.DagsterInstance, job: dg.JobDefinition, count: int = 1) -> list[str]:
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    return [job.execute_in_process(instance=instance, run_config=quiet).run_id for _ in range(count)]


def left(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def files_of(folder: Path, run_id: str) -> list[str]:
    return [str(path) for path in folder.rglob(f"*{run_id}*")]


@pytest.mark.slow
def test_old_runs_go_with_every_file_but_the_newest_and_the_protected(
    installation: dg.DagsterInstance, tmp_path: Path
) -> None:
    instance = installation
    first, second, third, newest = run(instance, reconcile, 4)
    (research_run,) = run(instance, research)
    later = time.time() + 3 * DAY_S
    wanted = settings(keep_trading_runs_days=2.0, keep_research_runs_days=7.0)
    counted = delete_runs(instance, wanted, later, protected={second}, dry_run=True)
    assert left(instance) == {first, second, third, newest, research_run}
    deleted = delete_runs(instance, wanted, later, protected={second})
    assert deleted == counted
    assert deleted.runs == {"reconcile": 2}
    assert deleted.kept == {"newest of its job": 1, "found an open order": 1}
    assert left(instance) == {second, newest, research_run}
    for gone in (first, third):
        assert files_of(tmp_path, gone) == []
        assert instance.all_logs(gone) == []
    assert instance.all_logs(second)
    assert files_of(tmp_path, newest)


@pytest.mark.slow
def test_none_keeps_runs_for_good_and_nothing_young_is_touched(instance: dg.DagsterInstance) -> None:
    runs = set(run(instance, reconcile, 2) + run(instance, research, 2))
    forever = settings(keep_trading_runs_days=None, keep_research_runs_days=None)
    assert delete_runs(instance, forever, time.time() + 1000 * DAY_S, protected=set()).runs == {}
    assert delete_runs(instance, settings(), time.time() + DAY_S, protected=set()).runs == {}
    assert left(instance) == runs


def a_day_passes(folder: Path) -> None:
    """Every run is a day older."""
    (path,) = folder.rglob("runs.db")
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE runs SET create_timestamp = datetime(create_timestamp, '-1 day')")
    connection.close()


@pytest.mark.slow
def test_disk_use_stops_growing_when_days_pass(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    sizes, wanted = [], settings(keep_trading_runs_days=1.5)
    for _ in range(5):
        run(instance, reconcile, 2)
        delete_runs(instance, wanted, time.time(), protected=set())
        files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".db", ".out", ".err")]
        sizes.append((len(left(instance)), len(files)))
        a_day_passes(tmp_path)
    assert [runs for runs, _ in sizes] == [2, 4, 4, 4, 4]
    assert {files for _, files in sizes[2:]} == {sizes[1][1]}


def test_the_job_runs_and_tells_what_it_did(small: object) -> None:
    result = run_job("retention")
    assert result.success
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    metadata = event.step_output_data.metadata
    assert {"runs", "rows", "candles", "home_mb", "dry_run"} <= set(metadata)
    assert metadata["dry_run"].value is False


def test_candles_stay_as_far_back_as_an_active_row_reads(sqlite: Database) -> None:
    seed_registry(sqlite)
    wanted = load_settings()
    before = candles_kept_from_ms(sqlite, wanted, 0)
    write_row(sqlite, replace(registry_row(sqlite, "hyperrsi"), parameters='{"trend_period":400}'))
    after = candles_kept_from_ms(sqlite, wanted, 0)
    assert after[Timeframe.M240] == -other_reach_ms(Timeframe.M240, Timeframe.D1, 401) < before[Timeframe.M240]
    assert after[Timeframe.M1] == before[Timeframe.M1]
