"""Workers on a real RabbitMQ."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.defs.instance.workers.launcher import WorkersRunLauncher
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.conftest import create_database, database_url, drop_database
from trading_assets_tests.defs.workers.processes import WorkerProcesses


@pytest.fixture
def namespace() -> str:
    """Queues of this test alone."""
    return f"test-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def processes(
    broker_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerProcesses]:
    """Nobody yet; DAGSTER_HOME is this test's directory."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("TRADING_ASSETS_BROKER_URL", broker_url)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    processes = WorkerProcesses(tmp_path, WorkersRunLauncher(broker_url, namespace))
    yield processes
    processes.dismiss()


@pytest.fixture
def day(small: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> RunningExchange:
    """An exchange of which a scan keeps two coins."""
    monkeypatch.setenv("TRADING_ASSETS_MAX_SYMBOLS", "2")
    return small


@pytest.fixture
def ledger_url(postgres_url: str, postgres_template: str, namespace: str) -> Iterator[str]:
    """A ledger on PostgreSQL that machines share."""
    name = namespace.replace("-", "_")
    create_database(postgres_url, name, template=postgres_template)
    yield database_url(postgres_url, name)
    drop_database(postgres_url, name)
