"""A user's `dagster.yaml` from before the names changed still works, and says what to write instead."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from trading_assets.defs.instance.concurrency_groups import (
    GROUP_TAG,
    OLD_GROUP_TAG,
    ConcurrencyGroupRunCoordinator,
)

ROOT = Path(__file__).resolve().parents[3]

OLD_NAMES = {
    "trading_assets.defs.event_storage.BatchedSqliteStorage": "storage.BatchedSqliteStorage",
    "trading_assets.defs.postgres_storage.BatchedPostgresStorage": "storage.BatchedPostgresStorage",
    "trading_assets.defs.run_queue.LaneRunCoordinator": "concurrency_groups.ConcurrencyGroupRunCoordinator",
    "trading_assets.defs.workers.launcher.WorkersRunLauncher": "workers.launcher.WorkersRunLauncher",
}


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_an_old_name_is_the_new_class_and_warns(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new = f"trading_assets.defs.instance.{new}"
    module, name = old.rsplit(".", 1)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.warns(FutureWarning, match=f"{old}, which is {new} now"):
        found = getattr(import_module(module), name)
    module, name = new.rsplit(".", 1)
    assert found is getattr(import_module(module), name)


def old_file(home: Path) -> dict[str, Any]:
    """The project's `dagster.yaml` as it was before."""
    text = (ROOT / "dagster.yaml").read_text().replace(GROUP_TAG, OLD_GROUP_TAG)
    content: dict[str, Any] = yaml.safe_load(text)
    content["storage"]["custom"] |= {"module": "trading_assets.defs.event_storage", "class": "BatchedSqliteStorage"}
    content["run_coordinator"] |= {"module": "trading_assets.defs.run_queue", "class": "LaneRunCoordinator"}
    return json.loads(json.dumps(content).replace(".trading_assets", str(home / "state")))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:dagster.yaml names:FutureWarning")
def test_limits_by_the_old_tag_hold_for_every_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "dagster.yaml").write_text(json.dumps(old_file(tmp_path)))
    origin = RemoteJobOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("trading_assets"), "__repository__"), "somebodys_job"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_coordinator, ConcurrencyGroupRunCoordinator)

        def group(**tags: str) -> str:
            run = create_run_for_test(instance, job_name="somebodys_job", tags=tags, remote_job_origin=origin)
            submitted = instance.run_coordinator.submit_run(dg.SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
            found = instance.get_run_by_id(submitted.run_id)
            assert found is not None and found.tags[GROUP_TAG] == found.tags[OLD_GROUP_TAG]
            return found.tags[OLD_GROUP_TAG]

        assert group() == "manual"
        assert group(**{GROUP_TAG: "trade"}) == "trade"
        assert group(**{GROUP_TAG: "research", "dagster/backfill": "b"}) == "backfill"
    warned = [record.getMessage() for record in caplog.records if OLD_GROUP_TAG in record.getMessage()]
    assert warned == [f"dagster.yaml limits runs by the tag {OLD_GROUP_TAG}: write {GROUP_TAG} instead"]
