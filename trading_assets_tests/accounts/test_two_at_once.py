"""Two processes add an account of one name at once: one of them has it, the other is told, nothing is mixed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_assets.accounts import effective, master_keys
from trading_assets.core.settings import load_settings
from trading_assets.ledger import live_changes, named_accounts
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ChangeKind
from trading_assets.ledger.tables import named_accounts as table

_ADD = """
import sys, time
from pathlib import Path
from pydantic import SecretStr
from trading_assets.accounts import registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.accounts.sealing import Keys
from trading_assets.core.errors import ConflictError
from trading_assets.core.settings import load_settings
from trading_assets.ledger.database import Database

mine, ready, go = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
settings = load_settings()
database = Database(settings.resolved_database_url)
keys = Keys(SecretStr(f"key-of-{mine}-and-longer"), SecretStr(f"secret-of-{mine}"))
wanted = AccountDraft("second", "demo", keys, {}, {"max_positions": "3" if mine == "one" else "4"})
ready.touch()
while not go.exists():
    time.sleep(0.001)
try:
    registry.add(database, settings, wanted, actor=mine, reason="to see")
except ConflictError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.slow
def test_one_of_two_processes_has_the_name_and_the_other_is_told(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master_keys.put_first(tmp_path / "keys" / "master")
    monkeypatch.setenv("TRADING_ASSETS_ENCRYPTION_KEY_FROM", f"file:{tmp_path / 'keys' / 'master'}")
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", database.url.render_as_string(hide_password=False))
    names, go = ("one", "two"), tmp_path / "go"
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", _ADD, name, str(tmp_path / name), str(go)],
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    try:
        while not all((tmp_path / name).exists() for name in names):
            assert all(process.poll() is None for process in running.values()), "it ended before it was to begin"
            time.sleep(0.01)
        go.touch()
        ends = {name: (*process.communicate(timeout=300), process.returncode) for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    assert sorted(code for *_, code in ends.values()) == [0, 3], ends
    (winner,) = [name for name, (*_, code) in ends.items() if code == 0]
    (loser,) = set(names) - {winner}
    assert "there is an account 'second' already; nothing was written" in ends[loser][0]

    settings = effective.settings_of(database, load_settings(), "second")
    assert settings.api_key is not None and settings.api_secret is not None
    assert settings.api_key.get_secret_value() == f"key-of-{winner}-and-longer"
    assert settings.api_secret.get_secret_value() == f"secret-of-{winner}"
    assert settings.max_positions == {"one": 3, "two": 4}[winner]
    assert [one.name for one in named_accounts.listed(database)] == ["second"]
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 1
    told = [*_history(database, ChangeKind.ACCOUNT), *_history(database, ChangeKind.SETTING)]
    assert set(told) == {winner} and len(told) == 2
    assert effective.remembered_names(load_settings()) == ["main", "second"]


def _history(database: Database, kind: ChangeKind) -> list[str]:
    return [one.actor for one in live_changes.history(database, kind, None, "second", 99)]
