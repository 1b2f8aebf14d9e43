"""Fixtures shared by all tests: a home of their own, and a database on SQLite and on a real PostgreSQL."""

import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_assets.ledger.database import Database

REQUIRED = os.environ.get("REQUIRE_SERVICES") == "1"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the state of the checkout, whatever the environment says."""
    for name in list(os.environ):
        if name.startswith(("TRADING_ASSETS_", "BYBIT_")) and name != "TRADING_ASSETS_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path_factory.mktemp("home")))


def _unavailable(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"{reason}, and REQUIRE_SERVICES=1 demands it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a real PostgreSQL server, brought by the `pgserver` package."""
    pgserver = pytest.importorskip("pgserver")
    # Not below pytest's own directory: as root the server runs as another user, and the next session of pytest
    # on this machine takes that user's way into the directory away.
    with tempfile.TemporaryDirectory(prefix="trading-assets-postgres-", ignore_cleanup_errors=True) as folder:
        try:
            server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        except (OSError, RuntimeError, AssertionError, subprocess.CalledProcessError) as error:
            _unavailable(f"PostgreSQL does not start here: {error}")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
        server.cleanup()


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """An empty database on the PostgreSQL server."""
    name = f"t{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    database = Database(sa.make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    yield database
    database.close()
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty system of record, on either engine."""
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres_database")
        return
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}", busy_timeout_s=10.0)
    yield database
    database.close()


def recorded_data(name: str) -> Path:
    """A recorded file, or the test is skipped with a reason."""
    folder = Path(os.environ.get("TRADING_ASSETS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = folder / "data" / name
    if not path.is_file():
        _unavailable(f"recorded candles {name} are not beside the project ({folder})")
    return path
