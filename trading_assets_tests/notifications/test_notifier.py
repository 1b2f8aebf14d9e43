"""Telling a human: always logged and kept, never in the way of an order."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.core.errors import StorageError
from trading_assets.core.messages import Kind, Message
from trading_assets.core.settings import load_settings
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications.channels import DeliveryError
from trading_assets.notifications.notifier import QUEUE_LENGTH, Notifier, notifying
from trading_assets_tests.notifications.servers import Messenger, http_messenger
from trading_assets_tests.polling import until


def message(title: str, body: str = "") -> Message:
    return Message(title, body, Kind.RUN)


class Channel:
    """Takes messages into a list; fails or hangs on demand."""

    shown = "a channel of a test"

    def __init__(self, name: str = "test") -> None:
        self.name = name
        self.titles: list[str] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def check(self) -> None:
        pass

    def send(self, message: Message) -> None:
        self.gate.wait(300)
        if self.error is not None:
            raise self.error
        self.titles.append(message.title)


@pytest.fixture
def channel() -> Iterator[Channel]:
    found = Channel()
    yield found
    found.gate.set()


def notifier_on(database: Database | None, *channels: Channel) -> Notifier:
    return Notifier(None if database is None else lambda: database, "main", channels, max_age_s=3600)


def kept(database: Database) -> list[str]:
    return [one.message.title for one in reversed(outbox.newest(database, "main", 1000))]


def test_without_a_channel_there_are_the_log_and_the_ledger(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    notifier = notifier_on(sqlite)
    with caplog.at_level(logging.INFO):
        notifier.notify(message("Buy BTCUSDT", "1 at 100"))
    assert "Buy BTCUSDT: 1 at 100" in caplog.text
    assert notifier.flush(60)
    assert kept(sqlite) == ["Buy BTCUSDT"]


def test_messages_arrive_in_their_order(sqlite: Database, channel: Channel) -> None:
    notifier = notifier_on(sqlite, channel)
    for number in range(20):
        notifier.notify(message(f"title {number}"))
    assert notifier.flush(60)
    assert channel.titles == [f"title {number}" for number in range(20)]


def test_a_channel_that_hangs_holds_nobody_up_and_nothing_is_lost(sqlite: Database, channel: Channel) -> None:
    channel.gate.clear()
    notifier = notifier_on(sqlite, channel)
    for number in range(50):
        notifier.notify(message(str(number)))
    assert not notifier.flush(0.05), "the channel still holds the first message"
    until(lambda: outbox.newest(sqlite, "main", 1000))
    channel.gate.set()
    notifier.notify(message("50"))
    assert notifier.flush(60)
    until(lambda: len(channel.titles) == 51)
    assert channel.titles == [str(number) for number in range(51)]


def test_what_the_ledger_has_already_is_delivered_once(sqlite: Database, channel: Channel) -> None:
    with sqlite.write() as connection:
        outbox.add(connection, "main", message("kept with its event"), time_ms=1, wall_ms=2**41)
    notifier = notifier_on(sqlite, channel)
    notifier.notify(Message("kept with its event", "", Kind.RUN, is_kept=True))
    assert notifier.flush(60)
    assert kept(sqlite) == channel.titles == ["kept with its event"]


class Broken:
    """A ledger that cannot be used, until it can."""

    def __init__(self, database: Database) -> None:
        self.database, self.is_broken = database, True

    def __call__(self) -> Database:
        if self.is_broken:
            raise StorageError("the ledger is gone")
        return self.database


def test_without_the_ledger_messages_are_sent_from_memory(sqlite: Database, channel: Channel) -> None:
    notifier = Notifier(Broken(sqlite), "main", [channel], max_age_s=3600)
    notifier.notify(message("halted"))
    assert notifier.flush(60)
    assert channel.titles == ["halted"]


def test_without_the_ledger_a_channel_that_fails_doubles_nothing_on_another(sqlite: Database, channel: Channel) -> None:
    down = Channel("down")
    down.error = DeliveryError("down")
    notifier = Notifier(Broken(sqlite), "main", [channel, down], max_age_s=3600)
    for title in ("one", "two", "three"):
        notifier.notify(message(title))
        assert notifier.flush(60)
    down.error = None
    notifier.notify(message("four"))
    assert notifier.flush(60)
    assert channel.titles == down.titles == ["one", "two", "three", "four"]


def test_without_ledger_and_channel_messages_wait_in_memory_for_either(sqlite: Database, channel: Channel) -> None:
    ledger = Broken(sqlite)
    channel.error = DeliveryError("down")
    notifier = Notifier(ledger, "main", [channel], max_age_s=3600)
    notifier.notify(message("one"))
    assert notifier.flush(60)
    ledger.is_broken, channel.error = False, None
    notifier.notify(message("two"))
    assert notifier.flush(60)
    assert kept(sqlite) == channel.titles == ["one", "two"]


def test_a_full_queue_drops_the_message_and_says_so(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def opening() -> Database:
        inside.set()
        go_on.wait(300)
        return sqlite

    notifier = Notifier(opening, "main", [], max_age_s=3600)
    notifier.notify(message("first"))
    assert inside.wait(60)
    for number in range(QUEUE_LENGTH + 6):
        notifier.notify(message(str(number)))
    assert notifier.dropped == 7
    assert "dropped" in caplog.text
    go_on.set()
    assert notifier.flush(60)
    assert len(kept(sqlite)) == QUEUE_LENGTH


def test_a_fault_of_a_channel_ends_its_message_only(sqlite: Database) -> None:
    faulty, good = Channel("faulty"), Channel("good")
    faulty.error = RuntimeError("plugin")
    notifier = notifier_on(sqlite, faulty, good)
    notifier.notify(message("one"))
    notifier.notify(message("two"))
    assert notifier.flush(60)
    assert good.titles == ["one", "two"]
    assert outbox.backlog(sqlite, "main", "faulty", since_wall_ms=0).attempts == 1


def test_threads_that_notify_at_once_lose_nothing(sqlite: Database, channel: Channel) -> None:
    notifier = notifier_on(sqlite, channel)
    threads = [threading.Thread(target=notifier.notify, args=(message(str(number)),)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert notifier.flush(60)
    assert sorted(channel.titles, key=int) == [str(number) for number in range(40)]


@pytest.fixture
def messenger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Messenger]:
    """A messenger that the settings name."""
    with http_messenger() as found:
        monkeypatch.setenv("TRADING_ASSETS_NOTIFY_URLS", f'["{found.url}"]')
        yield found


def test_a_command_delivers_before_it_ends(sqlite: Database, messenger: Messenger) -> None:
    with notifying(load_settings(), lambda: sqlite) as notifier:
        for number in range(3):
            notifier.notify(message(str(number)))
    assert messenger.titles == ["0", "1", "2"]


_JOB = """
import dagster as dg
from trading_assets.core.messages import Kind, Message
from trading_assets.defs.resources import NotifierResource

@dg.op
def tells(notifier: NotifierResource) -> None:
    for number in range(3):
        notifier.get().notify(Message(f"of the job {number}", "", Kind.RUN))

@dg.job(resource_defs={"notifier": NotifierResource()}, executor_def=dg.in_process_executor)
def telling() -> None:
    tells()

assert telling.execute_in_process().success
"""


@pytest.mark.slow
def test_all_that_a_job_tells_at_its_end_arrives_although_its_process_ends(
    messenger: Messenger, tmp_path: Path
) -> None:
    done = subprocess.run([sys.executable, "-c", _JOB], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    assert messenger.titles == ["of the job 0", "of the job 1", "of the job 2"]
