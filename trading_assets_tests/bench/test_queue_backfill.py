"""The installation of a backfill over workers: as many runs at once as workers, on queues of its own."""

import json
from pathlib import Path

import dagster as dg
import pytest

from trading_assets.bench.measurement import SQLITE
from trading_assets.bench.queue_backfill import _instance
from trading_assets.defs.instance.concurrency_groups import BACKFILL, GROUP_TAG


def test_its_instance_opens_and_lets_as_many_backfills_run_as_there_are_workers(tmp_path: Path) -> None:
    pytest.importorskip("dagster_celery")
    (tmp_path / "dagster.yaml").write_text(
        json.dumps(_instance(tmp_path, SQLITE, "amqp://nobody@127.0.0.1:1//", "b", 3))
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None and queue.max_concurrent_runs == 3
        assert queue.tag_concurrency_limits == [{"key": GROUP_TAG, "value": BACKFILL.name, "limit": 3}]
        assert type(instance.run_launcher).__name__ == "WorkersRunLauncher"
