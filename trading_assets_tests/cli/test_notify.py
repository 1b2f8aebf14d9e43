"""`trading-assets notify test` and what `notify list` shows of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.settings import load_settings
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.outbox import State
from trading_assets_tests.notifications.servers import http_messenger


def test_the_list_shows_a_test_with_what_became_of_it_on_each_channel_and_nothing_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path))
    runner = CliRunner()
    with http_messenger() as takes, http_messenger() as refuses:
        refuses.answer = 404
        monkeypatch.setenv("TRADING_ASSETS_NOTIFY_URLS", json.dumps([takes.url, refuses.url]))
        sent = runner.invoke(cli, ["notify", "test"])
        assert sent.exit_code == 1 and "has taken the message" in sent.output
        listed = runner.invoke(cli, ["notify", "list"])
        assert "trading-assets: a test" in " ".join(listed.output.split())
        settings = load_settings()
        database = Database(settings.resolved_database_url)
        (kept,) = outbox.newest(database, "main", 9)
        assert sorted((state, tries) for state, tries, _ in kept.channels.values()) == [
            (State.DELIVERED, 1),
            (State.GIVEN_UP, 1),
        ]
        (why,) = [error for _, _, error in kept.channels.values() if error]
        assert "404" in why and "secret-path" not in str(kept)
        database.close()
        assert runner.invoke(cli, ["notify", "deliver"]).stdout.startswith("0 delivered, 0 tries failed, 0 given up")
        assert (takes.tried, refuses.tried) == (1, 1)


def test_a_test_needs_no_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", "postgresql://user@127.0.0.1:9/nothing")
    with http_messenger() as takes:
        monkeypatch.setenv("TRADING_ASSETS_NOTIFY_URLS", json.dumps([takes.url]))
        sent = CliRunner().invoke(cli, ["notify", "test"])
    assert sent.exit_code == 0 and takes.titles == ["trading-assets: a test"]
    assert "notify list will not show it" in sent.output
