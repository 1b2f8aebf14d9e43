"""The launcher and the workers' rules, without a broker: who may begin a run, who lives, what is retried."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from kombu.exceptions import OperationalError

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import load_settings
from trading_assets.definitions import build_definitions
from trading_assets.defs.assets.common import backfill_policy
from trading_assets.defs.instance.workers import launcher as launchers
from trading_assets.defs.instance.workers.launcher import QUEUE, TASK_ID, WORKER, WorkersRunLauncher
from trading_assets.defs.instance.workers.queues import RESEARCH, TRADING
from trading_assets.defs.instance.workers.task import RunTask, take
from trading_assets_tests.defs.workers.processes import ROOT, write_dagster_yaml

NOWHERE = "amqp://guest:guest@127.0.0.1:1//"
CHANGES = {"set_strategy", "stop_strategy", "set_setting", "set_flag"}
TRADES = {"trade", "reconcile", "halt", "reduce", "resume", "flatten", "maintain_grids", "maintain_dca", *CHANGES}
STATUS = dg.DagsterRunStatus


@dg.job
def work() -> None: ...


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> WorkersRunLauncher:
    launcher = WorkersRunLauncher(NOWHERE, "unit")
    launcher.register_instance(instance)
    return launcher


def run_of(instance: dg.DagsterInstance, status: STATUS, **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(work, status=status, tags=tags)


def now(instance: dg.DagsterInstance, run: dg.DagsterRun) -> STATUS:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


@pytest.mark.parametrize(
    ("before", "begins", "after"),
    [
        (STATUS.STARTING, True, STATUS.STARTING),
        (STATUS.NOT_STARTED, True, STATUS.NOT_STARTED),
        (STATUS.STARTED, False, STATUS.FAILURE),
        (STATUS.CANCELING, False, STATUS.CANCELED),
        (STATUS.SUCCESS, False, STATUS.SUCCESS),
        (STATUS.FAILURE, False, STATUS.FAILURE),
        (STATUS.CANCELED, False, STATUS.CANCELED),
    ],
)
def test_a_delivered_run_begins_once_and_ends_where_its_worker_was_lost(
    instance: dg.DagsterInstance, before: STATUS, begins: bool, after: STATUS
) -> None:
    run = run_of(instance, before)
    assert take(instance, run.run_id, "other@host") is begins
    assert now(instance, run) is after
    found = instance.get_run_by_id(run.run_id)
    assert found is not None and (found.tags.get(WORKER) == "other@host") is begins


def test_a_run_that_was_deleted_meanwhile_is_not_executed(instance: dg.DagsterInstance) -> None:
    assert not take(instance, "00000000-0000-0000-0000-000000000000", "other@host")


class _Answers:
    def __init__(self, answers: Mapping[str, Mapping[str, Any]] | Exception | None) -> None:
        self._answers = answers

    def query_task(self, _task: str) -> Mapping[str, Mapping[str, Any]] | None:
        if isinstance(self._answers, Exception):
            raise self._answers
        return self._answers


@pytest.mark.parametrize(
    ("answers", "patience_s", "status"),
    [
        ({"w@a": {"task-1": ["active", {}]}}, 0.0, "RUNNING"),
        ({"w@a": {}}, 45.0, "FAILED"),
        (None, 45.0, "RUNNING"),
        (None, 0.0, "FAILED"),
        ({}, 0.0, "FAILED"),
        (OperationalError("refused"), 0.0, "RUNNING"),
    ],
)
def test_a_run_is_lost_when_its_worker_says_so_or_is_silent_for_long(
    instance: dg.DagsterInstance,
    launcher: WorkersRunLauncher,
    monkeypatch: pytest.MonkeyPatch,
    answers: Any,
    patience_s: float,
    status: str,
) -> None:
    monkeypatch.setattr(launchers, "SILENT_FOR_S", patience_s)
    monkeypatch.setattr(launcher.celery.control, "inspect", lambda _nodes, timeout: _Answers(answers))
    run = run_of(instance, STATUS.STARTED, **{WORKER: "w@a", TASK_ID: "task-1"})
    assert launcher.check_run_worker_health(run).status.name == status


def test_a_run_that_no_worker_has_taken_is_not_lost_and_ends_at_once_when_it_is_canceled(
    instance: dg.DagsterInstance, launcher: WorkersRunLauncher
) -> None:
    run = run_of(instance, STATUS.STARTING, **{WORKER: "", TASK_ID: "task-1"})
    assert launcher.check_run_worker_health(run).status.name == "RUNNING"
    assert launcher.terminate(run.run_id) and now(instance, run) is STATUS.CANCELED
    assert not launcher.terminate(run.run_id), "it has ended"
    assert not launcher.supports_resume_run, "a trade run would be begun again"


def test_what_trades_has_its_queue_and_is_never_retried_and_nothing_else_has() -> None:
    jobs = {job.name: job.tags for job in build_definitions().resolve_all_job_defs() if not job.name.startswith("__")}
    assert {name for name, tags in jobs.items() if tags.get(QUEUE) == TRADING} == TRADES
    assert {name for name, tags in jobs.items() if tags.get("dagster/max_retries") == "0"} == TRADES


def test_the_queues_of_two_installations_differ(launcher: WorkersRunLauncher) -> None:
    queues = launcher.celery.amqp.queues
    assert {queues[name].name for name in (RESEARCH, TRADING)} == {"unit.research", "unit.trading"}
    with pytest.raises(KeyError):
        queues["elsewhere"]


@pytest.mark.slow
def test_the_file_of_the_installation_is_complete_and_retries_research_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_BROKER_URL", NOWHERE)
    write_dagster_yaml(tmp_path, "unit")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, WorkersRunLauncher)
        assert instance.run_launcher.broker == NOWHERE
        assert instance.run_retries_enabled and not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled and instance.run_monitoring_max_resume_run_attempts == 0
    content = yaml.safe_load((ROOT / "deploy/celery/dagster.yaml").read_text())
    storage = content["storage"]["custom"]
    assert storage["class"] == "BatchedPostgresStorage"
    assert storage["config"] == {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "DAGSTER_HOME is not set"),
        ("telemetry: {enabled: false}", "is DefaultRunLauncher, expected WorkersRunLauncher"),
    ],
)
def test_a_worker_without_the_installations_file_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, told: str
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    if content is not None:
        (tmp_path / "dagster.yaml").write_text(content)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=told):
        import_module("trading_assets.celery_app")


@pytest.mark.slow
def test_workers_of_research_acknowledge_late_and_those_of_trading_before_a_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_BROKER_URL", NOWHERE)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    write_dagster_yaml(tmp_path, "unit")
    try:
        apps = import_module("trading_assets.celery_app")
    finally:
        sys.modules.pop("trading_assets.celery_app", None)
    for app, queue, late in ((apps.research, "unit.research", True), (apps.trading, "unit.trading", False)):
        task = app.tasks["execute_job"]
        assert isinstance(task, RunTask) and bool(task.acks_late) is late
        assert bool(task.reject_on_worker_lost) is late
        assert list(app.amqp.queues.consume_from) == [queue]
        assert app.conf.worker_prefetch_multiplier == 1


def test_a_backfill_is_one_run_unless_the_setting_says_how_many_hours_a_run_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert backfill_policy(load_settings().backfill_hours_per_run) == dg.BackfillPolicy.single_run()
    monkeypatch.setenv("TRADING_ASSETS_BACKFILL_HOURS_PER_RUN", "6")
    assert backfill_policy(load_settings().backfill_hours_per_run) == dg.BackfillPolicy.multi_run(6)
    monkeypatch.setenv("TRADING_ASSETS_BACKFILL_HOURS_PER_RUN", "")
    assert load_settings().backfill_hours_per_run is None
