"""Whatever a user has exported, no command of bench, chaos or demo sees it: no key, no ledger, no home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trading_assets.chaos.orders import run_chaos
from trading_assets.cli.bench import bench
from trading_assets.cli.chaos import chaos
from trading_assets.cli.demo.home import prepare_home
from trading_assets.core import configuration
from trading_assets.core.settings import Settings, load_settings
from trading_assets_tests.core.test_configuration import everything_exported

COMMANDS = [(group, name) for group in (bench, chaos) for name in sorted(group.commands)]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user whose environment and configuration file have every name that means something."""
    folder = tmp_path / "real"
    folder.mkdir()
    user = everything_exported(tmp_path) | {"TRADING_ASSETS_DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}"}
    (folder / ".env").write_text("\n".join(f"{name}={value}" for name, value in user.items()))
    monkeypatch.setattr(configuration, "checkout", lambda: folder)
    monkeypatch.chdir(folder)
    before, directory = dict(os.environ), Path.cwd()
    configuration.enter({**before, **user})
    yield folder
    configuration.enter(before)
    os.chdir(directory)
    assert sorted(path.name for path in folder.iterdir()) == [".env"], "nothing was written there"


@pytest.mark.parametrize(("group", "name"), COMMANDS, ids=[f"{group.name} {name}" for group, name in COMMANDS])
def test_a_command_begins_in_an_empty_configuration(
    real: Path, group: click.Group, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []
    environment: dict[str, str] = {}

    def look(**_: object) -> None:
        seen.append(load_settings())
        assert seen[0] == Settings(_env_file=None, home=seen[0].home), "all at their defaults"
        environment.update(os.environ)

    monkeypatch.setattr(group.commands[name], "callback", look)
    before = dict(os.environ)
    done = CliRunner().invoke(group, [name], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (found,) = seen
    assert not found.home.exists()
    assert not [one for one in environment.items() if str(real) in one[1]]
    assert dict(os.environ) == before


def test_the_demo_begins_in_one_too(real: Path, tmp_path: Path) -> None:
    found = prepare_home(tmp_path / "demo")
    assert (found.home, found.database_url, found.venue.value) == (tmp_path / "demo", None, "simulator")
    assert not [one for one in os.environ.items() if str(real) in one[1]]


@pytest.mark.slow
def test_chaos_leaves_the_books_of_the_user_alone_when_it_is_called_as_a_function(real: Path) -> None:
    assert run_chaos(1, 3).broken == []
    assert not (real / "ledger.db").exists()
