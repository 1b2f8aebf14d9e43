"""A backup has what named accounts need: their embedded exchanges, and their names, so that every one can be halted."""

from __future__ import annotations

import json
import shutil
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trading_assets.accounts import effective, registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.backup import restoring
from trading_assets.backup.create import back_up
from trading_assets.backup.manifest import opened
from trading_assets.cli.main import cli
from trading_assets.core.configuration import PREFIX
from trading_assets.core.errors import DamagedFileError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.simulator import files
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading import halt_file
from trading_assets.trading.context import trading_lease
from trading_assets.venues import open_exchange

DEPOSIT = {"main": Decimal(4_000), "second": Decimal(7_000)}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def equity(settings: Settings, deposit: Decimal) -> Decimal:
    """Of the account in an embedded exchange's home; `deposit` is what a new one would have."""
    with serve_in_thread(ServeConfig(home=settings.simulator_home, symbols=2, deposit=deposit)) as running:
        exchange = open_exchange(settings.model_copy(update={"simulator_url": running.url}))
        try:
            return exchange.wallet().equity
        finally:
            exchange.close()


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Settings]:
    """The settings of two simulated accounts on a SQLite ledger, each with its exchange."""
    monkeypatch.setenv(f"{PREFIX}HOME", str(tmp_path / "home"))
    base = load_settings()
    database = Database(base.resolved_database_url)
    wanted = AccountDraft("second", "simulator", None, {}, {})
    registry.add(database, base, wanted, actor="a test", reason="to see")
    found = {"main": base, "second": effective.settings_of(database, base, "second")}
    database.close()
    for name, settings in found.items():
        assert equity(settings, DEPOSIT[name]) == DEPOSIT[name]
    return found


def named(name: str) -> Settings:
    return load_settings().model_copy(update={"account": name})


def test_each_embedded_exchange_is_as_it_was_and_every_account_is_halted(
    both: dict[str, Settings], tmp_path: Path
) -> None:
    done = run("backup", str(tmp_path / "b.zip"))
    assert done.exit_code == 0 and "an account of the embedded exchange, and those of second" in done.output
    shutil.rmtree(both["main"].home)
    done = run("restore", str(tmp_path / "b.zip"))
    assert done.exit_code == 0, done.output
    assert "account main, second is HALTED" in done.output
    for name, settings in both.items():
        assert equity(settings, Decimal(1)) == DEPOSIT[name]
        assert halt_file.found(named(name)) is not None
    database = Database(both["main"].resolved_database_url)
    for name in both:
        assert in_force(read_history(database, name), local_ms()).state is RiskState.HALTED
    database.close()


def test_after_a_restore_a_halt_without_a_ledger_reaches_every_account(
    both: dict[str, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = back_up(both["main"], tmp_path / "b.zip")
    shutil.rmtree(both["main"].home)
    assert run("restore", str(path)).exit_code == 0
    for name in both:
        halt_file.take_away(named(name))
    monkeypatch.setenv(f"{PREFIX}DATABASE_URL", "postgresql://u:x@127.0.0.1:9/x")
    said = run("halt", "storm")
    assert "the ledger was NOT reached" in said.stderr
    for name in both:
        held = halt_file.found(named(name))
        assert held is not None and held.reason == "storm", name


def test_a_restore_that_dies_in_between_has_halted_every_account(
    both: dict[str, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = back_up(both["main"], tmp_path / "b.zip")
    shutil.rmtree(both["main"].home)

    def dies(*_given: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(restoring, "_halt", dies)
    assert str(run("restore", str(path)).exception) == "killed"
    assert all(halt_file.found(named(name)) is not None for name in both)


def test_a_backup_that_does_not_name_the_accounts_is_taken_and_halts_them(
    both: dict[str, Settings], tmp_path: Path
) -> None:
    path = back_up(both["main"], tmp_path / "b.zip")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts["manifest.json"])
    assert manifest.pop("accounts") == ["main", "second"]
    parts["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    shutil.rmtree(both["main"].home)
    assert "account main, second is HALTED" in run("restore", str(path)).output
    assert effective.remembered_names(load_settings()) == ["main", "second"]


def test_what_was_there_of_a_named_account_is_kept_aside(both: dict[str, Settings], tmp_path: Path) -> None:
    path = back_up(both["main"], tmp_path / "b.zip")
    refused = run("restore", str(path))
    assert str(both["second"].simulator_home) in str(refused.exception)
    database = Database(both["main"].resolved_database_url)
    lease = leases.acquire(database, trading_lease("second"), "far:1", ttl_ms=60_000, wall_ms=local_ms())
    assert lease is not None
    assert "far:1 trades account second" in str(run("restore", "--replace", str(path)).exception)
    leases.release(database, lease)
    database.close()
    assert run("restore", "--replace", str(path)).exit_code == 0
    (aside,) = both["second"].simulator_home.parent.glob("exchange.replaced-*")
    assert (aside / files.ACCOUNT).is_file()


@pytest.mark.parametrize("place", ["accounts/second/ledger.db", "accounts/second/exchange/other.sqlite"])
def test_nothing_else_is_put_among_the_accounts(both: dict[str, Settings], tmp_path: Path, place: str) -> None:
    path = back_up(both["main"], tmp_path / "b.zip")
    with opened(path) as (archive, manifest):
        parts = {name: archive.read(name) for name in manifest.parts}
        told = json.loads(manifest.text())
    mine = "accounts/second/exchange/account.sqlite"
    parts[place], told["parts"][place] = parts.pop(mine), told["parts"].pop(mine)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (parts | {"manifest.json": json.dumps(told).encode()}).items():
            archive.writestr(name, data)
    refused = run("restore", "--replace", str(path))
    assert isinstance(refused.exception, DamagedFileError) and "belongs nowhere" in str(refused.exception)
