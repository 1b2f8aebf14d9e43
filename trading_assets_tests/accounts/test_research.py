"""Versions of the settings of research: recorded where they change, and found again for an hour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trading_assets.accounts import changing, research
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import load_settings
from trading_assets.ledger import strategies
from trading_assets.ledger.database import Database

T1, T2, T3 = 1_000_000, 2_000_000, 3_000_000


def put(database: Database, name: str, text: str) -> None:
    changing.set_setting(database, load_settings(), name, text, actor="a test", reason="to see")


def test_each_change_is_a_version_and_an_hour_finds_its_own(database: Database) -> None:
    strategies.seed_registry(database)
    base = load_settings()
    with pytest.raises(ConfigurationError, match="no settings of research were recorded"):
        research.as_of(database, base, T1)
    first = research.of_now(database, base, T1)
    assert research.of_now(database, base, T1 + 5).version == first.version == 1
    put(database, "max_positions", "3")
    assert research.of_now(database, base, T1 + 6).version == 1, "research does not depend on it"
    put(database, "selection_preset", "volume")
    put(database, "min_trades", "7")
    assert research.of_now(database, base, T2).version == 2
    row = next(one for one in strategies.registry_rows(database) if one.is_active)
    strategies.write_row(database, replace(row, is_active=False))
    third = research.of_now(database, base, T3)
    assert third.version == 3
    active = {one.name for one in third.strategies().usable}
    then = research.as_of(database, base, T2 - 1)
    assert (then.version, then.settings.selection_preset, then.settings.min_trades) == (1, "strict", None)
    assert {one.name for one in then.strategies().usable} == active | {row.name} and not then.is_earlier
    assert then.settings.max_positions == 3, "what is no setting of research is that of now"
    assert research.as_of(database, base, T3 - 1).settings.min_trades == 7
    assert research.as_of(database, base, T3).version == 3
    earlier = research.as_of(database, base, T1 - 1)
    assert earlier.version == 1 and earlier.is_earlier


def test_a_change_by_the_environment_is_a_version_too(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert research.of_now(database, load_settings(), T1).version == 1
    monkeypatch.setenv("TRADING_ASSETS_TAKER_FEE", "0.001")
    assert research.of_now(database, load_settings(), T2).version == 2
    monkeypatch.delenv("TRADING_ASSETS_TAKER_FEE")
    assert research.of_now(database, load_settings(), T3).version == 3
    assert research.as_of(database, load_settings(), T2).settings.taker_fee == 0.001


def test_a_file_of_parameters_that_was_changed_is_said(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "grid.toml"
    file.write_text("")
    monkeypatch.setenv("TRADING_ASSETS_PARAMETERS", str(file))
    assert research.of_now(database, load_settings(), T1).version == 1
    file.write_text("# other\n")
    assert research.of_now(database, load_settings(), T2).version == 2
    research.as_of(database, load_settings(), T1)
    assert "is other than it was in version 1" in caplog.text
