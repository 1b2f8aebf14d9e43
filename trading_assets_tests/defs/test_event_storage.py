"""The batched storage of events holds what Dagster's own holds, in far fewer transactions."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from trading_assets.defs.event_batches import BATCH_SIZE_VARIABLE

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-01-01-00:00", end_date="2026-01-02-00:00", timezone="UTC")
FIRST, LAST = "2026-01-01-03:00", "2026-01-01-08:00"
RANGE = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST}
KEYS = [f"2026-01-01-{hour:02}:00" for hour in range(3, 9)]


@dg.asset(partitions_def=HOURS, backfill_policy=dg.BackfillPolicy.single_run())
def first(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.add_asset_metadata({"hour": key}, partition_key=key)


@dg.asset(partitions_def=HOURS, backfill_policy=dg.BackfillPolicy.single_run(), deps=[first])
def second() -> None:
    pass


@dg.asset_check(asset=first)
def a_check() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


JOB = dg.Definitions(
    assets=[first, second], asset_checks=[a_check], jobs=[dg.define_asset_job("both")], executor=dg.in_process_executor
).resolve_job_def("both")

CHECK = dg.AssetCheckKey(dg.AssetKey("first"), "a_check")

STOCK = "sqlite: {{base_dir: {folder}}}"
OURS = (
    "custom: {{module: trading_assets.defs.event_storage, class: BatchedSqliteStorage, config: {{base_dir: {folder}}}}}"
)


@pytest.fixture(autouse=True)
def batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage sets the variable for its process: not for the tests after it."""
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "0")
    monkeypatch.delenv(BATCH_SIZE_VARIABLE)


def opened(folder: Path, storage: str) -> dg.DagsterInstance:
    folder.mkdir(exist_ok=True)
    settings = f"telemetry: {{enabled: false}}\nstorage:\n  {storage.format(folder=folder)}\n"
    (folder / "dagster.yaml").write_text(settings)
    return dg.DagsterInstance.from_config(str(folder))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with opened(tmp_path / "ours", OURS) as opened_instance:
        yield opened_instance


def run(instance: dg.DagsterInstance, **tags: str) -> dg.ExecuteInProcessResult:
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    return JOB.execute_in_process(instance=instance, tags=tags or RANGE, run_config=quiet)


def told(instance: dg.DagsterInstance, run_id: str) -> dict[str, object]:
    """What the UI asks of the storage."""
    keys = [dg.AssetKey("first"), dg.AssetKey("second")]
    materialised = {
        key.to_user_string(): [
            (record.partition_key, dict(record.asset_materialization.metadata))
            for record in instance.fetch_materializations(key, limit=100).records
            if record.asset_materialization is not None
        ]
        for key in keys
    }
    newest = {key.to_user_string(): instance.get_latest_materialization_event(key) for key in keys}
    return {
        "materialised": materialised,
        "partitions": {key.to_user_string(): sorted(instance.get_materialized_partitions(key)) for key in keys},
        "newest": {name: event.asset_materialization.partition for name, event in newest.items() if event},  # type: ignore[union-attr]
        "checks": [
            (execution.key.name, execution.status.value)
            for execution in instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=100)
        ],
        "events": sorted(
            (event.dagster_event.event_type_value, event.dagster_event.partition or "")
            for event in instance.all_logs(run_id)
            if event.dagster_event is not None
        ),
    }


def test_a_range_is_told_as_dagsters_own_storage_tells_it_and_each_reads_the_others_files(tmp_path: Path) -> None:
    answers = []
    for name, storage, other in (("stock", STOCK, OURS), ("ours", OURS, STOCK)):
        with opened(tmp_path / name, storage) as instance:
            run_id = run(instance).run_id
            answers.append(told(instance, run_id))
        with opened(tmp_path / name, other) as instance:
            answers.append(told(instance, run_id))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["partitions"] == {"first": KEYS, "second": KEYS}
    assert answers[0]["newest"] == {"first": LAST, "second": LAST}


def test_a_range_takes_few_transactions_however_many_hours_it_has(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commits(last: str) -> int:
        counted: list[object] = []
        listen = counted.append
        sa.event.listen(sa.engine.Engine, "commit", listen)
        run(instance, **{**RANGE, "dagster/asset_partition_range_end": last})
        sa.event.remove(sa.engine.Engine, "commit", listen)
        return len(counted)

    commits(FIRST)
    assert commits("2026-01-01-20:00") == commits("2026-01-01-05:00")
    assert os.environ[BATCH_SIZE_VARIABLE] != "0"


def test_a_history_that_another_process_wiped_is_begun_anew(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run(instance)
    with opened(tmp_path / "ours", STOCK) as another:
        another.wipe()
    run_id = run(instance).run_id
    assert instance.get_materialized_partitions(dg.AssetKey("first")) == set(KEYS)
    assert any(event.dagster_event for event in instance.all_logs(run_id))
