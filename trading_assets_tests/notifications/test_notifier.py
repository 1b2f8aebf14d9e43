"""Telling a human: always logged, never in the way of an order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from trading_assets.notifications.notifier import QUEUE_LENGTH, Notifier


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Opens a messenger that hangs; opened at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


def test_without_a_messenger_there_is_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier([])
    with caplog.at_level(logging.INFO):
        notifier.notify("Buy BTCUSDT", "1 at 100")
    assert "Buy BTCUSDT: 1 at 100" in caplog.text
    assert notifier.flush(60)
    assert threading.active_count() < 50


def test_messages_arrive_in_their_order() -> None:
    arrived: list[tuple[str, str]] = []
    notifier = Notifier([], send=lambda title, body: arrived.append((title, body)))
    for number in range(20):
        notifier.notify(f"title {number}", "body")
    assert notifier.flush(60)
    assert arrived == [(f"title {number}", "body") for number in range(20)]


def test_a_slow_messenger_holds_nobody_up(release: threading.Event) -> None:
    notifier = Notifier([], send=lambda _title, _body: release.wait(300))
    for number in range(50):
        notifier.notify(str(number), "")
    assert not notifier.flush(0.05), "the messenger still holds the first message"
    release.set()
    assert notifier.flush(60)


def test_a_full_queue_drops_the_message_and_says_so(release: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    started, arrived = threading.Event(), []

    def send(title: str, _body: str) -> None:
        started.set()
        release.wait(300)
        arrived.append(title)

    notifier = Notifier([], send=send)
    notifier.notify("first", "")
    assert started.wait(60)
    for number in range(QUEUE_LENGTH + 7):
        notifier.notify(str(number), "")
    assert notifier.dropped == 7
    assert "dropped" in caplog.text
    release.set()
    assert notifier.flush(60)
    assert len(arrived) == 1 + QUEUE_LENGTH
    notifier.notify("after", "")
    assert notifier.flush(60)
    assert arrived[-1] == "after"


@pytest.mark.parametrize("error", [RuntimeError("plugin"), OSError("no route"), ValueError("bad url")])
def test_a_messenger_that_fails_loses_its_message_only(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    arrived: list[str] = []

    def send(title: str, _body: str) -> None:
        if title == "bad":
            raise error
        arrived.append(title)

    notifier = Notifier([], send=send)
    for title in ("one", "bad", "two"):
        notifier.notify(title, "")
    assert notifier.flush(60)
    assert arrived == ["one", "two"]
    assert "a messenger failed: bad" in caplog.text


def test_a_messenger_that_refuses_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier([], send=lambda _title, _body: False)
    notifier.notify("no", "")
    assert notifier.flush(60)
    assert "a messenger refused: no" in caplog.text


def test_a_url_that_no_messenger_knows_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier([SecretStr("nonsense://nowhere")])
    notifier.notify("lost", "")
    assert notifier.flush(20)
    assert "nonsense://" in caplog.text and "nowhere" not in caplog.text


def test_messengers_that_cannot_be_made_lose_their_messages_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _arguments: None)

    def broken(_self: Notifier) -> object:
        raise ImportError("no module named apprise")

    monkeypatch.setattr(Notifier, "_apprise", broken)
    notifier = Notifier([SecretStr("json://127.0.0.1")])
    notifier.notify("lost", "")
    assert notifier.flush(60), "the message was tried and is done with"
    assert "failed" in caplog.text


def test_threads_that_notify_at_once_lose_nothing() -> None:
    arrived: list[str] = []
    notifier = Notifier([], send=lambda title, _body: arrived.append(title))
    threads = [threading.Thread(target=notifier.notify, args=(str(number), "")) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert notifier.flush(60)
    assert sorted(arrived, key=int) == [str(number) for number in range(40)]
