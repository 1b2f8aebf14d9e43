"""The account's commands as a user types them, on an embedded exchange of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from trading_assets.cli.main import cli
from trading_assets.core.errors import ExchangeError, StorageError
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig


def run(*arguments: str, typed: str = "") -> Result:
    """Run the tool in this process, in the test's home."""
    return CliRunner().invoke(cli, arguments, input=typed)


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with serve_in_thread(ServeConfig(symbols=2)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        yield


@pytest.mark.slow
def test_a_person_halts_resumes_and_flattens_with_a_reason(venue: None) -> None:
    assert "is HALTED, was ACTIVE" in run("halt", "exchange", "maintenance").stdout
    again = run("reduce")
    assert again.exit_code == 0 and "stays HALTED" in again.stdout and "exchange maintenance" in again.stdout
    assert "is ACTIVE, was HALTED" in run("resume").stdout
    assert "stays ACTIVE" in run("resume").stdout
    assert "is REDUCING, was ACTIVE" in run("reduce").stdout
    refused = run("flatten", typed="n\n")
    assert refused.exit_code == 1 and "every position of this system" in refused.stdout
    assert "stays REDUCING" in run("reduce").stdout, "nothing was done"
    closed = run("flatten", "--yes", "enough")
    assert closed.exit_code == 0 and closed.stdout.startswith("0 closed; trading is HALTED")
    shown = json.loads(run("portfolio", "--json").stdout)
    assert (shown["state"], shown["state_reason"], shown["equity"]) == ("HALTED", "enough", 10_000)
    assert "HALTED" in run("portfolio").stdout


def test_a_halt_needs_no_exchange_but_a_resume_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:9")
    assert "is HALTED" in run("halt").stdout
    assert isinstance(run("resume").exception, ExchangeError)
    assert "stays HALTED" in run("halt").stdout


@pytest.mark.slow
def test_a_ledger_is_taken_back_and_forward_by_command() -> None:
    assert run("ledger", "revision").stdout.startswith("revision none")
    assert "never read" in run("portfolio").stdout
    assert run("ledger", "downgrade", "0001", typed="n\n").exit_code == 1
    assert run("ledger", "downgrade", "0001", "--yes").exit_code == 0
    assert run("ledger", "revision").stdout.startswith("revision 0001")
    refused = run("ledger", "downgrade", "0002", "--yes").exception
    assert isinstance(refused, StorageError) and "can be taken back to 0001, not to '0002'" in str(refused)
    newest = run("ledger", "revision").stdout.split("newest ")[1].strip()
    assert run("ledger", "upgrade").stdout == f"the ledger is at revision {newest}\n"
    assert run("ledger", "revision").stdout.startswith(f"revision {newest},")
