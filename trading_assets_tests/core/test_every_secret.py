"""Every setting that is secret, in every output that a person or a program can reach without running a job."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from trading_assets.cli.main import cli
from trading_assets.cli.trial import TrialGroup
from trading_assets.core.errors import ConfigurationError, TradingAssetsError
from trading_assets.core.messages import Kind, Message
from trading_assets.core.secret_text import HIDDEN, parts_of_url, without
from trading_assets.core.settings import SECRET_SETTINGS, Settings, load_settings, secret_values
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database, shown, with_driver
from trading_assets.notifications.apprise_channel import AppriseChannel
from trading_assets.notifications.channel import Channel
from trading_assets.notifications.notifier import Notifier
from trading_assets.notifications.telegram import TelegramChat
from trading_assets.reference import settings_page
from trading_assets_tests.otlp import collecting

VALUES = {
    "database_url": "postgresql://trader:hidden-password@127.0.0.1:9/ledger?sslpassword=hidden-too",
    "api_key": "hidden-key-1",
    "api_secret": "hidden-secret-2",
    "encryption_key": "hidden-master-key",
    "ui_token": "hidden-token-of-the-user-interface",
    "telegram_token": "123456:hidden-token-of-the-bot",
    "monitor_token": "hidden-token-of-the-monitor",
    "dashboard_token": "hidden-token-of-the-live-page",
    "notify_urls": '["tgram://123456:hidden-bot-token/42", "json://bob:hidden-hook@127.0.0.1:9/hidden-path"]',
}
NAMES = {"api_key": "BYBIT_API_KEY", "api_secret": "BYBIT_API_SECRET"}


def variable(name: str) -> str:
    return NAMES.get(name, f"TRADING_ASSETS_{name.upper()}")


@pytest.fixture
def _all_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(variable(name), value)
    monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_API_URL", "http://127.0.0.1:9")


def test_the_test_knows_every_secret_setting() -> None:
    assert set(SECRET_SETTINGS) == set(VALUES), "a new secret setting needs a value here"
    sounds = ("password", "token", "secret", "key", "_url")
    told = {name for name in Settings.model_fields if name.endswith(sounds)} - set(SECRET_SETTINGS)
    known = {"dashboard_url", "paper_market_url", "simulator_url", "store_url", "telegram_api_url", "ui_url"}
    assert told == known, "it sounds secret: give it a secret type, or name it here"


@pytest.mark.usefixtures("_all_set")
def test_no_representation_of_the_settings_has_a_secret() -> None:
    settings = load_settings()
    assert len(secret_values(settings)) == 10
    printed = CliRunner().invoke(cli, ["settings"]).output
    told = [
        *(repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json(), printed),
        str(settings_page.current_values(settings)),
        settings_page.env_example(),
    ]
    assert "hidden" not in "".join(told)
    assert "(set)" in printed and "(2 set)" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("_all_set")
@pytest.mark.parametrize("log", ["text", "json"])
@pytest.mark.parametrize("command", ["doctor", "status", "portfolio", "halt", "settings"])
def test_no_command_prints_or_traces_a_secret_when_it_fails(command: str, log: str) -> None:
    """As JSON, with every line that libraries log, and with traces to a collector."""
    with collecting() as collector:
        more = {"TRADING_ASSETS_LOG_FORMAT": "json", "TRADING_ASSETS_LOG_LEVEL": "DEBUG"} if log == "json" else {}
        ended = subprocess.run(
            [sys.executable, "-m", "trading_assets.cli.main", command],
            env={
                **os.environ,
                **more,
                "TRADING_ASSETS_SIMULATOR_SYMBOLS": "2",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert "hidden" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert not any(b"hidden" in body for body in collector.bodies)


def every_command() -> list[tuple[str, ...]]:
    """Each command that reads the user's settings, with something for each argument, and with what asks nothing."""

    def walk(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
        for name, command in sorted(group.commands.items()):
            if isinstance(command, TrialGroup) or (*path, name) in LIVE_ON:
                continue
            if isinstance(command, click.Group):
                yield from walk(command, *path, name)
                continue
            given = [*path, name]
            for one in command.params:
                if isinstance(one, click.Argument):
                    choices = one.type.choices if isinstance(one.type, click.Choice) else ["1"]
                    given.append(str(choices[0]))
                elif one.required:
                    given += [one.opts[0], "mainnet" if "venue" in one.opts[0] else "2026-03-01"]
                elif "--yes" in one.opts:
                    given.append("--yes")
            yield tuple(given)

    return list(walk(cli))


LIVE_ON = {("demo",), ("web",), ("exchange", "serve"), ("reference",), ("accounts", "encryption", "new")}
"""Commands that begin in a configuration of their own, serve until they are stopped, or write into any folder."""


@pytest.mark.slow
@pytest.mark.usefixtures("_all_set")
@pytest.mark.parametrize("venue", ["simulator", pytest.param("demo", marks=pytest.mark.slow)])
def test_no_command_tells_a_secret_in_its_output_its_log_or_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], venue: str
) -> None:
    """Nothing answers: neither the database nor the exchange. So every command fails in its own way."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TRADING_ASSETS_VENUE", venue)
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRADING_ASSETS_REQUEST_TIMEOUT_S", "0.2")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    told = []
    commands = every_command()
    assert len(commands) > 25
    for command in commands:
        done = CliRunner().invoke(cli, command, input="y\n")
        trace = "".join(traceback.format_exception(done.exception)) if done.exception is not None else ""
        told.append(f"{command}: {done.output}{trace}")
    printed = capfd.readouterr()
    told += [f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records] + [printed.out, printed.err]
    assert [text for text in told if "hidden" in text.replace(HIDDEN, "")] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("notify_urls", "tgram://hidden-token/42"),
        ("notify_urls", '["tgram://hidden-token/42"'),
        ("notify_urls", '{"a": "hidden"}'),
        ("notify_urls", "[[1, [2]], 3]hidden"),
        ("ui_token", "hidden-short"),
    ],
)
def test_a_malformed_secret_is_one_line_without_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(ConfigurationError, match=variable(name)) as raised:
        load_settings()
    assert "hidden" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hidden@host:port/db",
        "postgresql://user:p@hidden:x/db",
        "postgresql://user:hidden",
        "nonsense+driver://user:hidden@host/db",
        "hidden",
        "mysql://user:hidden@[::1/db",
        "postgresql://user:hidden@127.0.0.1:9/db?password=hidden",
    ],
)
def test_a_url_that_cannot_be_used_does_not_tell_its_password(url: str) -> None:
    with pytest.raises(TradingAssetsError) as raised:
        Database(url)
    text = "".join(traceback.format_exception(raised.value, chain=False))
    assert "hidden" not in text


def test_where_a_database_is_is_shown_without_what_is_secret() -> None:
    assert shown(with_driver(VALUES["database_url"], "x")) == "postgresql+psycopg2://trader:***@127.0.0.1:9/ledger"


def test_a_messengers_log_has_no_part_of_its_url(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    urls = [
        "json://bob:hidden-hook@127.0.0.1:9/hidden-path?+X-Auth=hidden-header",
        "tgram://hidden:bad-token/",
        "sns://AKIAhiddenkey/hidden-secret-key-of-aws/us-east-1/12025550100",
        "nonsense://hidden-token",
    ]
    ledger = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    channels: list[Channel] = [AppriseChannel(SecretStr(url)) for url in urls]
    channels.append(TelegramChat(SecretStr("123456:hidden-token-of-the-bot"), "42", url="http://127.0.0.1:9"))
    notifier = Notifier(lambda: ledger, "main", channels, max_age_s=3600)
    notifier.notify(Message("a title", "a text", Kind.RUN))
    assert notifier.close(120)
    told = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    kept = outbox.newest(ledger, "main", 9)
    assert [len(one.channels) for one in kept] == [len(channels)]
    told += str(kept) + "".join(channel.name for channel in channels)
    ledger.close()
    assert "a title" in told and HIDDEN in told
    assert "hidden" not in told.replace(HIDDEN, "")


def test_a_secret_is_taken_out_of_a_text() -> None:
    secrets = parts_of_url("tgram://123456:hidden%2Dtoken/42")
    assert {"123456", "hidden%2Dtoken", "hidden-token"} <= secrets and "42" not in secrets
    assert without("POST /bot123456:hidden-token/x", secrets) == f"POST /bot{HIDDEN}:{HIDDEN}/x"
