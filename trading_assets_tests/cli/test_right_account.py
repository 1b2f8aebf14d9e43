"""Commands before other books than those of the living session, typing errors, the switch, and whose the books are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from trading_assets.chaos.orders import run_chaos
from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError, WrongBooksError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases, migrations
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.ledger.tables import equity, order_intents
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.context import trading_lease
from trading_assets.trading.session import registry
from trading_assets_tests.conftest import revision_before


def run(*arguments: str) -> Result:
    """Run the tool in this process, in the test's home."""
    return CliRunner().invoke(cli, arguments)


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=2)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        yield running


@pytest.fixture
def ledger() -> Iterator[Database]:
    """The ledger of the test's home."""
    database = Database(load_settings().resolved_database_url)
    yield database
    database.close()


def state(database: Database) -> RiskState:
    return in_force(read_history(database, "main"), local_ms()).state


@pytest.fixture
def session_elsewhere(tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Starts a session that lives, as other books know it."""
    with ExitStack() as stack:

        def start() -> Database:
            settings = load_settings(home=tmp_path / "checkout", account="real")
            database = Database(settings.resolved_database_url)
            stack.callback(database.close)
            stack.enter_context(registry.registered(settings, database, "run-of-the-session"))
            return database

        yield start


@pytest.mark.slow
@pytest.mark.usefixtures("exchange")
@pytest.mark.parametrize("command", [("flatten", "--yes"), ("resume",)])
def test_a_command_before_the_wrong_books_is_refused(
    command: tuple[str, ...], ledger: Database, session_elsewhere: Callable[[], Database]
) -> None:
    run("reduce")
    elsewhere = session_elsewhere()
    refused = run(*command)
    assert isinstance(refused.exception, WrongBooksError)
    assert "account real" in str(refused.exception) and "checkout" in str(refused.exception)
    assert state(ledger) is RiskState.REDUCING and read_history(elsewhere, "main") == []
    assert run(*command, "--anyway").exit_code == 0
    assert state(ledger) is not RiskState.REDUCING


@pytest.mark.usefixtures("exchange")
@pytest.mark.parametrize("command", ["halt", "reduce"])
def test_a_brake_stops_what_it_sees_and_names_what_it_does_not(
    command: str, ledger: Database, session_elsewhere: Callable[[], Database]
) -> None:
    session_elsewhere()
    said = run(command)
    assert said.exit_code == 1
    assert "NOT reached" in said.stderr and "account real" in said.stderr and "checkout" in said.stderr
    assert state(ledger) is not RiskState.ACTIVE


@pytest.mark.usefixtures("exchange")
def test_a_session_on_these_books_is_reached_whatever_else_lives(
    ledger: Database, session_elsewhere: Callable[[], Database]
) -> None:
    session_elsewhere()
    with registry.registered(load_settings(), ledger, "run-here"):
        assert run("flatten", "--yes").exit_code == 0
        assert state(ledger) is RiskState.HALTED
    assert [session.account for session in registry.living()] == ["real"]


@pytest.mark.usefixtures("exchange")
def test_another_account_of_this_ledger_that_another_machine_trades_is_named(ledger: Database) -> None:
    assert leases.acquire(ledger, trading_lease("second"), "run@hour", ttl_ms=600_000, wall_ms=local_ms())
    said = run("halt")
    assert said.exit_code == 1 and "account second" in said.stderr
    assert isinstance(run("flatten", "--yes").exception, WrongBooksError)


@pytest.mark.slow
def test_what_the_dead_have_left_lives_no_more(session_elsewhere: Callable[[], Database], ledger: Database) -> None:
    script = (
        "import os\n"
        "from trading_assets.core.settings import load_settings\n"
        "from trading_assets.ledger.database import Database\n"
        "from trading_assets.trading.session import registry\n"
        "settings = load_settings()\n"
        "with registry.registered(settings, Database(settings.resolved_database_url), 'run'):\n"
        "    os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert len(list(registry.folder().glob("*.json"))) == 1
    session_elsewhere()
    assert [session.account for session in registry.living()] == ["real"]
    assert len(list(registry.folder().glob("*.json"))) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("exchange", "ledger")
def test_a_command_says_first_what_it_acts_on(tmp_path: Path) -> None:
    config = tmp_path / "mine.env"
    config.write_text("TRADING_ASSETS_ACCOUNT=desk\n")
    environment = dict(os.environ)
    try:
        for command in (("halt",), ("reduce",), ("resume",), ("flatten", "--yes"), ("trading", "off")):
            said = run("--config", str(config), "--home", str(tmp_path / "home"), *command).output.splitlines()[0]
            assert said == f"simulator, account desk, home {tmp_path / 'home'}, settings of {config}"
    finally:
        os.environ.clear()
        os.environ.update(environment)


@pytest.mark.usefixtures("exchange")
def test_a_typing_error_does_not_block_the_brake_but_what_opens(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_MAX_POSITIONSS", "3")
    for command in (("resume",), ("trading", "on"), ("ledger", "bind", "--venue", "simulator", "--yes")):
        refused = run(*command).exception
        assert isinstance(refused, ConfigurationError) and "TRADING_ASSETS_MAX_POSITIONS?" in str(refused)
    for command in (("halt",), ("reduce",), ("flatten", "--yes"), ("status",), ("portfolio",), ("trading", "off")):
        with pytest.warns(UserWarning, match=r"TRADING_ASSETS_MAX_POSITIONS\?"):
            assert run(*command).exit_code == 0, command
    assert state(ledger) is RiskState.HALTED
    with pytest.warns(UserWarning, match=r"MAX_POSITIONS\?"):
        assert "TRADING_ASSETS_MAX_POSITIONS?" in run("doctor").stdout.replace("\n", "")


@pytest.mark.slow
@pytest.mark.usefixtures("exchange")
def test_a_resume_with_the_key_of_another_account_is_refused(ledger: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("resume").exit_code == 0
    with serve_in_thread(ServeConfig(symbols=2)) as other:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", other.url)
        assert isinstance(run("resume").exception, WrongBooksError)
        assert isinstance(run("flatten", "--yes").exception, WrongBooksError)
        assert "are those of account number" in run("doctor").stdout.replace("\n", " ")
        assert run("halt").exit_code == 0
    assert state(ledger) is RiskState.HALTED


@pytest.mark.slow
@pytest.mark.usefixtures("exchange")
def test_rows_of_an_older_version_are_bound_by_command(ledger: Database) -> None:
    with ledger.write() as connection:
        migrations.downgrade(connection, revision_before("whose_books"))
        row = {"account": "main", "time_ms": 1, "transferred": 0}
        names = ("equity", "wallet_balance", "available", "unrealised_pnl", "peak")
        connection.execute(sa.insert(equity).values(**row, **dict.fromkeys(names, 1)))
    assert isinstance(run("resume").exception, WrongBooksError)
    assert "bind" in run("doctor").stdout
    assert run("ledger", "bind", "--venue", "mainnet", "--yes").exit_code == 2
    assert isinstance(run("resume").exception, WrongBooksError)
    bound = run("ledger", "bind", "--venue", "simulator", "--yes")
    assert bound.exit_code == 0 and "are those of account number" in bound.stdout
    assert run("resume").exit_code == 0
    assert run("ledger", "bind", "--venue", "simulator", "--yes").exit_code == 0, "said again, nothing changes"


def test_the_switch_is_in_the_ledger(ledger: Database) -> None:
    assert run("trading", "state").stdout.strip().endswith("is on")
    assert run("trading", "off", "holiday").exit_code == 0
    assert "holiday" in run("trading", "state").stdout
    assert run("trading", "on").exit_code == 0
    assert run("trading", "state").stdout.strip().endswith("is on")


@pytest.mark.slow
def test_chaos_leaves_the_books_that_the_environment_names_alone(
    ledger: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "production.db"
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", f"sqlite:///{real}")
    monkeypatch.setenv("trading_assets_database_url", f"sqlite:///{real}")
    Database(f"sqlite:///{real}").close()
    before = dict(os.environ)
    report = run_chaos(1, 3)
    assert report.intents > 0 and dict(os.environ) == before
    production = Database(f"sqlite:///{real}")
    with production.read() as connection:
        for table in (order_intents, equity):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
    production.close()
