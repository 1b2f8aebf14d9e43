"""A folder that is not shared, or a machine with other code, is noticed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trading_assets.core import code_version
from trading_assets.core.errors import WrongBooksError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.ledger import installation, troubles
from trading_assets.ledger.database import Database
from trading_assets.trading import home_mark


def at(home: Path) -> Settings:
    return load_settings(home=home)


def test_the_first_home_is_the_ledgers_and_another_is_refused_until_a_person_says_so(
    database: Database, tmp_path: Path
) -> None:
    ours, theirs = at(tmp_path / "shared"), at(tmp_path / "forgotten to mount")
    assert "not marked yet" in home_mark.describe(database, ours)
    first = home_mark.require_home(database, ours)
    assert home_mark.require_home(database, ours) == first and "is the ledger's" in home_mark.describe(database, ours)
    with pytest.raises(WrongBooksError, match="has no mark: a folder that should be shared is not"):
        home_mark.require_home(database, theirs)
    assert not (theirs.home / home_mark.NAME).exists(), "looking marks nothing"
    home_mark.adopt(database, theirs)
    assert home_mark.require_home(database, theirs).home == str(theirs.home)
    with pytest.raises(WrongBooksError, match="has the mark"):
        home_mark.describe(database, ours)


def test_a_home_that_moved_with_its_file_is_still_the_ledgers(sqlite: Database, tmp_path: Path) -> None:
    first = home_mark.require_home(sqlite, at(tmp_path / "before"))
    (tmp_path / "before").rename(tmp_path / "after")
    assert home_mark.require_home(sqlite, at(tmp_path / "after")) == first


def test_a_home_on_a_file_system_without_hard_links_is_marked(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    settings = at(tmp_path / "home")
    assert home_mark.require_home(sqlite, settings) == home_mark.require_home(sqlite, settings)
    assert [path.name for path in settings.home.iterdir()] == [home_mark.NAME]


def test_many_processes_that_begin_at_once_agree(database: Database, tmp_path: Path) -> None:
    settings, found = at(tmp_path / "home"), list[str]()
    threads = [
        threading.Thread(target=lambda: found.append(home_mark.require_home(database, settings).mark)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8 and len(set(found)) == 1
    assert [path.name for path in settings.home.iterdir()] == [home_mark.NAME]


def test_other_code_than_the_daemons_is_seen_while_it_lasts(sqlite: Database, tmp_path: Path) -> None:
    settings = at(tmp_path / "home")
    held = home_mark.require_home(sqlite, settings)
    assert home_mark.compare_code(sqlite, "main", held) == ""
    installation.say_code(sqlite, "an older one")
    assert "runs the code" in home_mark.compare_code(sqlite, "main", home_mark.require_home(sqlite, settings))
    (trouble,) = troubles.current(sqlite, "main")
    assert trouble.source.startswith("code on ")
    installation.say_code(sqlite, code_version.code_version())
    assert home_mark.compare_code(sqlite, "main", home_mark.require_home(sqlite, settings)) == ""
    assert troubles.current(sqlite, "main") == []
