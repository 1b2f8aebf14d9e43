"""Telling a human: always logged and kept, never in the way of an order."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trading_assets.core.channel_rules import ChannelRule
from trading_assets.core.errors import StorageError
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.settings import load_settings
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications import channel as channels
from trading_assets.notifications import notifier as notifier_module
from trading_assets.notifications.channel import DeliveryError
from trading_assets.notifications.notifier import QUEUE_LENGTH, Notifier, notifying
from trading_assets_tests.notifications.servers import Messenger, http_messenger
from trading_assets_tests.polling import until


def message(title: str, body: str = "") -> Message:
    return Message(title, body, Kind.RUN)


class Channel(channels.Channel):
    """Takes messages into a list; fails or hangs on demand."""

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


_made: list[Notifier] = []


@pytest.fixture(autouse=True)
def _all_are_closed() -> Iterator[None]:
    yield
    while _made:
        assert _made.pop().close(60)


def notifier_on(ledger: Database | Callable[[], Database], *channels: Channel) -> Notifier:
    """A notifier that is closed after the test."""
    opens = (lambda: ledger) if isinstance(ledger, Database) else ledger
    _made.append(Notifier(opens, "main", channels, max_age_s=3600))
    return _made[-1]


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


def test_without_a_ledger_a_channel_gets_what_its_rule_lets_it_have(sqlite: Database) -> None:
    works = [False]

    def ledger() -> Database:
        if not works[0]:
            raise StorageError("the database is locked")
        return sqlite

    runs, critical, sleeps = Channel("runs"), Channel("critical"), Channel("sleeps")
    runs.rule = ChannelRule(kinds=frozenset({Kind.RUN}))
    critical.rule = ChannelRule(min_severity=Severity.CRITICAL)
    sleeps.rule = ChannelRule(quiet="00:00-23:59")
    noon_ms = 12 * 3_600_000
    notifier = Notifier(ledger, "main", (runs, critical, sleeps), max_age_s=10**9, wall_ms=lambda: noon_ms)
    _made.append(notifier)
    told = [
        (Kind.RUN, Severity.INFO, "a run"),
        (Kind.FILL, Severity.INFO, "a fill"),
        (Kind.RISK, Severity.CRITICAL, "bare"),
    ]
    for kind, severity, title in told:
        notifier.notify(Message(title, "", kind, severity))
    assert notifier.flush(60)
    until(lambda: sleeps.titles == critical.titles == ["bare"] and runs.titles == ["a run"])
    works[0], sleeps.rule = True, ChannelRule()
    notifier.notify(Message("the end", "", Kind.RUN))
    assert notifier.flush(60)
    until(lambda: sorted(sleeps.titles) == ["a fill", "a run", "bare", "the end"])
    assert runs.titles == ["a run", "the end"] and critical.titles == ["bare"]


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
    notifier = notifier_on(Broken(sqlite), channel)
    notifier.notify(message("halted"))
    assert notifier.flush(60)
    assert channel.titles == ["halted"]


def test_without_the_ledger_a_channel_that_fails_doubles_nothing_on_another(sqlite: Database, channel: Channel) -> None:
    down = Channel("down")
    down.error = DeliveryError("down")
    notifier = notifier_on(Broken(sqlite), channel, down)
    for title in ("one", "two", "three"):
        notifier.notify(message(title))
        assert notifier.flush(60)
    down.error = None
    notifier.notify(message("four"))
    assert notifier.flush(60)
    assert channel.titles == down.titles == ["one", "two", "three", "four"]


def test_what_was_sent_past_the_ledger_is_kept_when_it_is_back_and_not_sent_again(
    sqlite: Database, channel: Channel
) -> None:
    down, ledger = Channel("down"), Broken(sqlite)
    notifier = notifier_on(ledger, channel, down)
    notifier.notify(message("both have it"))
    assert notifier.flush(60)
    down.error = DeliveryError("down")
    notifier.notify(message("one has it"))
    assert notifier.flush(60)
    ledger.is_broken, down.error = False, None
    notifier.notify(message("new"))
    assert notifier.flush(60)
    assert kept(sqlite) == channel.titles == down.titles == ["both have it", "one has it", "new"]
    assert [outbox.backlog(sqlite, "main", name, since_wall_ms=0).waiting for name in ("test", "down")] == [0, 0]


def test_a_write_that_failed_and_came_through_all_the_same_doubles_nothing(
    database: Database, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that falls silent at the commit, and commits when it is back."""
    write, fails = outbox.add_all, [True]

    def add_all(*args: Any) -> None:
        write(*args)
        if fails:
            raise StorageError("no answer to the commit")

    monkeypatch.setattr(outbox, "add_all", add_all)
    notifier = notifier_on(database, channel)
    notifier.notify(message("one", "a body"))
    assert notifier.flush(60)
    fails.clear()
    notifier.notify(message("two"))
    assert notifier.flush(60)
    assert kept(database) == channel.titles == ["one", "two"]


def test_without_ledger_and_channel_messages_wait_in_memory_for_either(sqlite: Database, channel: Channel) -> None:
    ledger = Broken(sqlite)
    channel.error = DeliveryError("down")
    notifier = notifier_on(ledger, channel)
    notifier.notify(message("one"))
    assert notifier.flush(60)
    ledger.is_broken, channel.error = False, None
    notifier.notify(message("two"))
    assert notifier.flush(60)
    assert kept(sqlite) == channel.titles == ["one", "two"]


@pytest.mark.slow
def test_a_full_queue_drops_the_message_and_says_so(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def opening() -> Database:
        inside.set()
        go_on.wait(300)
        return sqlite

    notifier = notifier_on(opening)
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


def test_a_command_delivers_before_it_ends(
    sqlite: Database, messenger: Messenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "FLUSH_S", 60.0)  # as long as a busy machine needs
    with notifying(load_settings(), lambda: sqlite) as notifier:
        for number in range(3):
            notifier.notify(message(str(number)))
    assert messenger.titles == ["0", "1", "2"]


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "notifier"]


def test_a_notifier_that_is_closed_has_delivered_and_leaves_no_thread(sqlite: Database, channel: Channel) -> None:
    notifier = notifier_on(sqlite, channel)
    assert notifier.close(60), "it was told nothing"
    for number in range(20):
        notifier.notify(message(str(number)))
    assert threads()
    assert notifier.close(60)
    assert channel.titles == kept(sqlite) == [str(number) for number in range(20)]
    assert not threads()


def test_a_closed_notifier_that_is_told_more_begins_anew(sqlite: Database, channel: Channel) -> None:
    notifier = notifier_on(sqlite, channel)
    for title in ("one", "two"):
        notifier.notify(message(title))
        assert notifier.close(60)
    assert channel.titles == ["one", "two"]
    notifier.notify(message("three"))
    assert notifier.flush(60)
    assert threads(), "it does not end by itself"
    assert notifier.close(60)


def test_threads_that_notify_while_it_closes_lose_nothing(sqlite: Database, channel: Channel) -> None:
    notifier = notifier_on(sqlite, channel)
    tellers = [threading.Thread(target=notifier.notify, args=(message(str(number)),)) for number in range(30)]
    for teller in tellers:
        teller.start()
        notifier.close(0.0)
    for teller in tellers:
        teller.join(60)
    assert notifier.close(60)
    assert sorted(channel.titles, key=int) == [str(number) for number in range(30)]
    assert not threads()


def test_a_channel_that_hangs_keeps_a_closing_one_no_longer_than_its_time(sqlite: Database, channel: Channel) -> None:
    channel.gate.clear()
    notifier = notifier_on(sqlite, channel)
    notifier.notify(message("one"))
    assert not notifier.close(0.05)
    channel.gate.set()
    assert notifier.close(60)
    assert channel.titles == ["one"]


def test_a_command_leaves_no_thread(sqlite: Database) -> None:
    with notifying(load_settings(), lambda: sqlite) as notifier:
        notifier.notify(message("one"))
    assert kept(sqlite) == ["one"]
    assert not threads()


def test_when_settings_change_the_notifier_of_before_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, messenger: Messenger
) -> None:
    from trading_assets.defs.resources import NotifierResource, runtime

    first = NotifierResource().get()
    first.notify(message("before"))
    assert NotifierResource().get() is first
    assert first.flush(60)
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path / "other"))
    second = NotifierResource().get()
    assert second is not first
    second.notify(message("after"))
    assert first.close(60) and len(threads()) == 1
    runtime.close_notifiers()
    assert not threads()
    assert messenger.titles == ["before", "after"]


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
