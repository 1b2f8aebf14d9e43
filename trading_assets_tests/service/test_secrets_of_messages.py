"""Tokens of the bot and of channels are nowhere in what is written, whatever a messenger answers: each byte below the
home, the log at its most talkative, and what people are told.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.secret_text import HIDDEN
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications.apprise_channel import AppriseChannel
from trading_assets.notifications.channel import Channel
from trading_assets.notifications.delivery import deliver
from trading_assets.notifications.telegram import TelegramChat
from trading_assets.service import journal
from trading_assets_tests.notifications.servers import http_messenger
from trading_assets_tests.service.bot_api import TOKEN, BotApi
from trading_assets_tests.service.test_bot import GROUP, STRANGER, TRADER, Scene, api, scene

__all__ = ["api", "scene"]

PATH = "a-secret-path"
"""Of the messenger's URL (`servers.Messenger.url`)."""


@pytest.mark.slow
def test_no_token_is_written_whatever_the_messengers_answer(
    api: BotApi, scene: Scene, sqlite: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with http_messenger() as messenger:
        messenger.special = {"refused": 404, "too many": 429, "broken": 500}
        channels: list[Channel] = [
            AppriseChannel(SecretStr(messenger.url)),
            AppriseChannel(SecretStr(f"json://bob:{TOKEN.partition(':')[2]}@127.0.0.1:9/{PATH}")),
            TelegramChat(SecretStr(TOKEN), "42", url=api.url),
        ]
        for title in ("refused", "too many", "broken", "well"):
            with sqlite.write() as connection:
                message = Message(title, "a text", Kind.RISK, Severity.CRITICAL)
                outbox.add(connection, "main", message, time_ms=0, wall_ms=1)
        api.fail("sendMessage", 401)
        for wall_ms in range(1_000, 2_000_000, 400_000):
            found = deliver(sqlite, "main", channels, max_age_s=9e9, within_s=60, wall_ms=lambda now=wall_ms: now)
        assert found.failed
    with scene.running():
        for code in (500, 429):
            api.fail("sendMessage", code, times=1)
        assert "ACTIVE" in scene.answer("/status")
        api.fail("getUpdates", 500)
        scene.api.write("/halt", user=STRANGER)
        assert "HALTED" in scene.answer("/halt", user=TRADER, chat=GROUP)
    told = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    told += str(scene.told) + str(journal.newest(sqlite, "main", 999)) + str(outbox.newest(sqlite, "main", 999))
    assert "was not taken by" in told and HIDDEN in told, "it was talkative"
    kept = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert b"refused" in b"".join(kept.values()), "what is searched is there"
    secrets = [TOKEN, TOKEN.partition(":")[2], PATH]
    assert [one for one in secrets if one in told.replace(HIDDEN, "")] == []
    assert [(name, one) for name, text in kept.items() for one in secrets if one.encode() in text] == []
