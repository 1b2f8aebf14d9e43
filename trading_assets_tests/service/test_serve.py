"""The process: it delivers and obeys, ends when it is asked to, and two of them do not double."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.messages import Kind, Message
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import chat, outbox
from trading_assets.ledger.chat import State
from trading_assets.ledger.database import Database
from trading_assets.trading import halt_file
from trading_assets_tests.polling import until
from trading_assets_tests.service.bot_api import TOKEN, BotApi, bot_api


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[BotApi]:
    with bot_api() as found:
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_TOKEN", TOKEN)
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_USERS", '{"1": "admin"}')
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_API_URL", found.url)
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:9")
        yield found


@contextmanager
def serving(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "trading_assets.cli.main", "serve"]
    with log.open("wb") as file, subprocess.Popen(command, env=dict(os.environ), stderr=file) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_it_delivers_obeys_and_ends_and_a_second_one_takes_over_from_a_dead_one(api: BotApi, tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    with serving(one) as first:
        until(lambda: "takes commands" in one.read_text() and "delivers messages" in one.read_text())
        with serving(two) as second:
            until(lambda: two.read_text().count("another process does it") == 3)
            database = Database(load_settings().resolved_database_url)
            told = Message("a fill", "2 < 3 & more", Kind.FILL)
            outbox.add_all(database, "main", [(told, local_ms())])
            until(lambda: "a fill\n2 < 3 & more" in api.texts())
            first.kill()
            first.wait()
            api.write("/halt by telephone")
            until(lambda: any("HALTED" in text and "account main" in text.lower() for text in api.texts()))
            assert halt_file.found(load_settings()) is not None
            second.send_signal(signal.SIGTERM)
            assert second.wait(120) == 0
            assert [one.state for one in chat.newest(database, "main", 9)] == [State.DONE]
            database.close()
    assert api.texts().count("a fill\n2 < 3 & more") == 1
    assert "hidden" not in one.read_text() + two.read_text()


def test_without_anything_to_do_it_says_what_is_missing() -> None:
    assert CliRunner().invoke(cli, ["serve", "--if-configured"]).exit_code == 0
    found = CliRunner().invoke(cli, ["serve"])
    assert found.exit_code == 2 and "TRADING_ASSETS_NOTIFY_URLS" in found.output
    assert "expected some of outbox, bot" in CliRunner().invoke(cli, ["serve", "--with", "metrics"]).output
