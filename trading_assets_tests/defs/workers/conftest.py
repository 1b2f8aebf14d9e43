"""A real RabbitMQ, or the tests say why they are skipped."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from trading_assets.defs.instance.workers.launcher import WorkersRunLauncher
from trading_assets_tests.conftest import _unavailable
from trading_assets_tests.defs.workers.crew import Crew

BROKER_URL = os.environ.get("TEST_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")


@pytest.fixture(scope="session")
def broker_url() -> str:
    """URL of a broker that answers."""
    try:
        with Connection(BROKER_URL, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except (OperationalError, OSError) as error:
        _unavailable(f"no RabbitMQ at {Connection(BROKER_URL).as_uri()} (TEST_BROKER_URL names another one): {error}")
    return BROKER_URL


@pytest.fixture
def namespace() -> str:
    """Queues of this test alone."""
    return f"test-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def crew(broker_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """Nobody yet; DAGSTER_HOME is this test's directory."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("TRADING_ASSETS_BROKER_URL", broker_url)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    crew = Crew(tmp_path, WorkersRunLauncher(broker_url, namespace))
    yield crew
    crew.dismiss()
