"""`halt` works with a silent server, with a locked table, and without any database: by a file in the home."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trading_assets.cli.main import cli
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading import halt_file
from trading_assets.trading.halt_file import FileHalt

WITHIN_S = 60.0
"""It hung for more than that before; now it takes some ten seconds on a busy machine."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def state(database: Database) -> RiskState:
    return in_force(read_history(database, "main"), local_ms()).state


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> object:
    with serve_in_thread(ServeConfig(symbols=2)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        yield running


@pytest.mark.parametrize("is_listening", [True, False])
def test_without_a_database_that_answers_the_file_halts_and_it_is_said(
    is_listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not is_listening:
            silent.close()
        monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", f"postgresql://u:very-secret@127.0.0.1:{port}/x")
        began = time.monotonic()
        said = run("halt", "storm")
        assert time.monotonic() - began < WITHIN_S
    assert said.exit_code == 1
    assert "the ledger was NOT reached" in said.stderr and "very-secret" not in said.stderr
    held = halt_file.found(load_settings())
    assert held is not None and held.reason == "storm"
    looked = run("status")
    assert "HALTED since" in looked.stdout and "storm" in looked.stdout


def test_flatten_halts_by_the_file_before_it_waits_for_a_silent_server(
    exchange: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_CONNECT_TIMEOUT_S", "3")
    seen: list[FileHalt | None] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/x")

        def serve() -> None:
            client, _ = silent.accept()
            seen.append(halt_file.found(load_settings()))
            with client:
                client.recv(1024)  # and never an answer

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        said = run("flatten", "--yes", "storm")
        thread.join(60)
    assert said.exit_code == 1 and "nothing was closed: look at the exchange" in str(said.exception)
    assert seen[0] is not None and seen[0].reason == "storm", "it was halted when the server was asked"
    assert halt_file.found(load_settings()) is not None


@pytest.mark.slow
def test_a_locked_table_does_not_keep_a_person_from_halting(
    postgres_database: Database, exchange: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_database.url.render_as_string(hide_password=False)
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", url)
    with postgres_database.write() as holder:
        holder.exec_driver_sql("LOCK TABLE risk_states, outbox_messages IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        said = run("halt", "storm")
        assert time.monotonic() - began < WITHIN_S
    assert said.exit_code == 1 and "locked" in said.stderr
    assert halt_file.found(load_settings()) is not None and state(postgres_database) is RiskState.ACTIVE
    assert run("halt", "storm").exit_code == 0
    assert state(postgres_database) is RiskState.HALTED
    assert run("resume", "over").exit_code == 0
    assert halt_file.found(load_settings()) is None and state(postgres_database) is RiskState.ACTIVE


def test_a_home_that_cannot_be_written_leaves_the_ledger(exchange: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = halt_file.path_of(load_settings())
    path.mkdir(parents=True)
    (path / "in the way").touch()
    said = run("halt", "storm")
    assert said.exit_code == 0 and "trying the ledger alone" in said.stderr
    assert "is HALTED" in said.stdout


def test_doctor_says_so(exchange: object) -> None:
    assert run("halt", "storm").exit_code == 0
    found = run("doctor")
    assert "file HALTED: HALTED since" in found.stdout.replace("  ", " ") and "storm" in found.stdout


@pytest.mark.slow
def test_a_halt_as_a_person_starts_it_ends_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/x"
        ended = subprocess.run(
            [sys.executable, "-m", "trading_assets.cli.main", "--home", str(tmp_path / "home"), "halt", "storm"],
            env={**os.environ, "TRADING_ASSETS_DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 1 and (tmp_path / "home" / "HALTED").is_file()
