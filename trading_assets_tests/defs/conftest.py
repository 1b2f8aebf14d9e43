"""One embedded exchange for all tests of the Dagster wing, and homes that see it."""

import functools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from trading_assets.core.schemas import HOURLY_TABLES
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.definitions import build_definitions
from trading_assets.defs.instance.storage import BATCH_SIZE_VARIABLE
from trading_assets.defs.resources import runtime
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.venues import open_exchange

ROOT = Path(__file__).resolve().parents[2]

HOUR = 1_772_413_200_000
"""2026-03-02 01:00 UTC."""

HOUR_KEY = "2026-03-02-01:00"
SYMBOLS = 14


@pytest.fixture(scope="session")
def exchange() -> Iterator[RunningExchange]:
    """A small market whose clock stands three hours after the as-of of `HOUR`."""
    config = ServeConfig(symbols=SYMBOLS, clock=ClockSpec(ClockMode.MANUAL, start_ms=HOUR + 4 * HOUR_MS))
    with serve_in_thread(config) as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def _no_revisions_in_memory() -> Iterator[None]:
    """Dagster stamps its tables in memory with Alembic, 0.1 s of CPU for each instance. Nothing reads the stamp."""
    with pytest.MonkeyPatch.context() as patch:
        for storage in ("runs", "event_log"):
            patch.setattr(f"dagster._core.storage.{storage}.in_memory.stamp_alembic_rev", lambda *_: None)
        yield


@contextmanager
def ledger_after(begins: Callable[[ExecutionContext], object], url: str) -> Iterator[Database]:
    """The ledger after somebody has begun something on the exchange at `url`, which nobody has looked after yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADING_ASSETS_SIMULATOR_URL", url)
        for name in ("MAX_SYMBOL_EXPOSURE_PCT", "MAX_TOTAL_EXPOSURE_PCT"):
            patch.setenv(f"TRADING_ASSETS_{name}", "1000")
        settings = load_settings()
        database, exchange = Database(settings.resolved_database_url), open_exchange(settings)
        begins(ExecutionContext(database, exchange, settings))
        exchange.close()
        yield database
        database.close()


@functools.cache
def definitions() -> dg.Definitions:
    """Those of the project, as they are loaded: making them takes 0.1 s."""
    return build_definitions()


@pytest.fixture
def small(exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> RunningExchange:
    """Settings that point at the exchange and keep three coins."""
    point_at(exchange, monkeypatch)
    return exchange


@pytest.fixture
def installation(
    either_ledger: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance as a user has it: `dagster.yaml` on SQLite, or `deploy/dagster.yaml` on PostgreSQL."""
    home = tmp_path / "dagster-home"
    if either_ledger == "sqlite":
        shutil.copytree(request.getfixturevalue("dagster_home"), home)
    else:
        home.mkdir()
        shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
        # As most write it: without the driver.
        url = request.getfixturevalue("new_history")().replace("postgresql+psycopg2:", "postgresql:")
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.chdir(home)
    # The storage sets it for its process: not for the tests after this one.
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "500")
    with dg.DagsterInstance.get() as instance:
        yield instance


def point_at(exchange: RunningExchange, patch: pytest.MonkeyPatch) -> None:
    """Settings of the small research: this exchange, three coins, a filter that some backtests pass."""
    patch.setenv("TRADING_ASSETS_SIMULATOR_URL", exchange.url)
    patch.setenv("TRADING_ASSETS_MAX_SYMBOLS", "3")
    patch.setenv("TRADING_ASSETS_SELECTION_PRESET", "volume_loose")


def run_job(
    name: str,
    partition: str | None = None,
    *,
    until: str | None = None,
    raise_on_error: bool = True,
    config: Mapping[str, object] | None = None,
    instance: dg.DagsterInstance | None = None,
    **overrides: object,
) -> dg.ExecuteInProcessResult:
    """Run a job of the definitions for a partition, or for the range up to `until`; without an instance, in memory."""
    tags = {}
    if until is not None:
        tags = {"dagster/asset_partition_range_start": partition, "dagster/asset_partition_range_end": until}
        partition = None
    with ExitStack() as stack:
        instance = instance or stack.enter_context(dg.DagsterInstance.ephemeral())
        return (
            (build_definitions(resource_overrides=overrides) if overrides else definitions())
            .resolve_job_def(name)
            .execute_in_process(
                instance=instance,
                partition_key=partition,
                tags=tags,
                raise_on_error=raise_on_error,
                run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}, **(config or {})},
            )
        )


def tables(hours: Sequence[int]) -> dict[str, pd.DataFrame]:
    """Rows of every hourly table in the current home."""
    database = Database(load_settings().resolved_database_url)
    rows = {table.name: read_partitions(database, table, hours) for table in HOURLY_TABLES}
    database.close()
    return rows


@dataclass(frozen=True)
class ResearchedHour:
    """One hour of research.

    Attributes:
        home: its own; a test that changes something there puts it right again.
        rows: of every hourly table.
        passed: names of its checks that passed, everywhere.
    """

    home: Path
    rows: dict[str, pd.DataFrame]
    passed: set[str]


@pytest.fixture(scope="session")
def researched_hour(exchange: RunningExchange, tmp_path_factory: pytest.TempPathFactory) -> ResearchedHour:
    home = tmp_path_factory.mktemp("researched-home")
    with pytest.MonkeyPatch.context() as patch:
        point_at(exchange, patch)
        patch.setenv("TRADING_ASSETS_HOME", str(home))
        patch.delenv("TRADING_ASSETS_DATABASE_URL", raising=False)
        checks = run_job("research", HOUR_KEY).get_asset_check_evaluations()
        runtime.close_notifiers()
        failed = {check.check_name for check in checks if not check.passed}
        return ResearchedHour(home, tables([HOUR]), {check.check_name for check in checks} - failed)


@pytest.fixture(scope="session")
def researched(researched_hour: ResearchedHour) -> dict[str, pd.DataFrame]:
    """The rows of the researched hour."""
    return researched_hour.rows
