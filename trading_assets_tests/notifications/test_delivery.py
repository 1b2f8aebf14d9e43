"""What the outbox has arrives: at least once, in order, on each channel by itself, or it is seen that it does not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_assets.core.errors import StorageError
from trading_assets.core.messages import Kind, Message
from trading_assets.ledger import leases, outbox
from trading_assets.ledger.database import Database
from trading_assets.ledger.outbox import State
from trading_assets.notifications import delivery
from trading_assets.notifications.apprise_channel import AppriseChannel
from trading_assets.notifications.channel import Channel, DeliveryError
from trading_assets.notifications.delivery import FAILING_FROM, LEASE_MS, Round, deliver
from trading_assets_tests.notifications.servers import HANG, Messenger, http_messenger, smtp_messenger
from trading_assets_tests.polling import until

ACCOUNT = "main"
AGE_S = 3600.0


class Clock:
    """The local clock of a test, UTC ms."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def messenger() -> Iterator[Messenger]:
    with http_messenger() as found:
        yield found


def channel_to(messenger: Messenger) -> AppriseChannel:
    return AppriseChannel(SecretStr(messenger.url))


def put(database: Database, clock: Clock, *titles: str) -> None:
    outbox.add_all(database, ACCOUNT, [(Message(title, "a body", Kind.RUN), clock.ms) for title in titles])


def go(database: Database, clock: Clock, *channels: Channel, within_s: float = 30.0) -> Round:
    return deliver(database, ACCOUNT, channels, max_age_s=AGE_S, within_s=within_s, wall_ms=clock)


def states(database: Database, channel: Channel) -> list[str]:
    """Of each message on the channel, the oldest first."""
    kept = reversed(outbox.newest(database, ACCOUNT, 100))
    return [one.channels[channel.name][0].value for one in kept if channel.name in one.channels]


def test_messages_arrive_once_and_in_order(database: Database, clock: Clock, messenger: Messenger) -> None:
    put(database, clock, "one", "two", "three")
    channel = channel_to(messenger)
    assert go(database, clock, channel).delivered == 3
    assert go(database, clock, channel) == Round()
    assert messenger.titles == ["one", "two", "three"]
    assert states(database, channel) == ["delivered"] * 3


@pytest.mark.parametrize(
    ("answer", "rests"),
    [(500, [2_000, 4_000, 8_000]), (404, [2_000, 4_000, 8_000]), (429, [30_000] * 3)],
)
def test_a_failure_is_seen_and_tried_again_after_a_growing_rest_or_that_of_a_messenger_that_has_had_too_much(
    sqlite: Database,
    clock: Clock,
    messenger: Messenger,
    answer: int,
    rests: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel = channel_to(messenger)
    put(sqlite, clock, "one", "two")
    messenger.answer = answer
    due = []
    for _ in range(3):
        assert go(sqlite, clock, channel).failed == 1
        assert go(sqlite, clock, channel) == Round(), "it rests"
        head = outbox.next_waiting(sqlite, ACCOUNT, channel.name)
        assert head is not None and str(answer) in str(head.error)
        due.append(head.due_wall_ms - clock.ms)
        clock.ms = head.due_wall_ms
    assert due == rests
    held = outbox.backlog(sqlite, ACCOUNT, channel.name, since_wall_ms=0)
    assert (held.waiting, held.attempts) == (2, 3)
    assert "was not taken by" in caplog.text and "secret" not in caplog.text
    messenger.answer = 200
    assert go(sqlite, clock, channel).delivered == 2
    assert messenger.titles == ["one", "two"]


@pytest.mark.slow
def test_a_messenger_that_hangs_delays_no_other(sqlite: Database, clock: Clock, messenger: Messenger) -> None:
    with http_messenger() as other:
        messenger.answer = HANG
        put(sqlite, clock, "one", "two")
        began = time.monotonic()
        found = go(sqlite, clock, channel_to(messenger), channel_to(other), within_s=10.0)
        assert found.delivered == 2 and other.titles == ["one", "two"]
        assert time.monotonic() - began < 60


class Hanging(Channel):
    """A channel that never returns, until it is let go."""

    name = "hanging"

    def __init__(self) -> None:
        self.release = threading.Event()
        self.calls = 0

    def check(self) -> None:
        pass

    def send(self, message: Message) -> None:
        self.calls += 1
        self.release.wait(120)


def test_a_message_that_never_returns_has_failed_and_the_process_does_not_pile_up_more(
    sqlite: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery.send_within, "__defaults__", (0.05,))
    channel = Hanging()
    try:
        put(sqlite, clock, "one")
        assert go(sqlite, clock, channel).failed == 1
        clock.ms += 3_600_000 - 1
        assert go(sqlite, clock, channel).failed == 1
        assert channel.calls == 1
        head = outbox.next_waiting(sqlite, ACCOUNT, channel.name)
        assert head is not None and "hangs" in str(head.error)
    finally:
        channel.release.set()


def test_what_is_taken_after_its_deadline_is_not_sent_again(
    sqlite: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery.send_within, "__defaults__", (0.05,))
    channel = Hanging()
    channel.name = "slow"
    put(sqlite, clock, "one")
    assert go(sqlite, clock, channel).failed == 1
    channel.release.set()
    until(lambda: not delivery._hanging[channel.name].thread.is_alive())
    clock.ms += 300_000
    assert go(sqlite, clock, channel).delivered == 1
    assert channel.calls == 1


def test_mail_arrives_and_a_refused_one_is_seen(sqlite: Database, clock: Clock) -> None:
    with smtp_messenger() as mail:
        url = f"mailto://127.0.0.1:{mail.port}/?from=a@example.com&to=b@example.com&mode=insecure&format=text"
        channel = AppriseChannel(SecretStr(url))
        mail.answer = 554
        put(sqlite, clock, "a mail")
        assert go(sqlite, clock, channel).failed == 1
        mail.answer = 200
        clock.ms += 10_000
        assert go(sqlite, clock, channel).delivered == 1
        assert mail.titles == ["a mail"]


def test_each_channel_has_its_own_state(sqlite: Database, clock: Clock, messenger: Messenger) -> None:
    with http_messenger() as other:
        first, second = channel_to(messenger), channel_to(other)
        messenger.answer = 500
        put(sqlite, clock, "one")
        go(sqlite, clock, first, second)
        assert (states(sqlite, first), states(sqlite, second)) == (["waiting"], ["delivered"])
        messenger.answer = 200
        clock.ms += 10_000
        go(sqlite, clock, first, second)
        assert (messenger.titles, other.titles) == (["one"], ["one"])


def test_what_is_too_old_is_given_up_and_can_be_sent_again(
    sqlite: Database, clock: Clock, messenger: Messenger
) -> None:
    channel = channel_to(messenger)
    messenger.answer = 500
    put(sqlite, clock, "one")
    go(sqlite, clock, channel)
    clock.ms += int(AGE_S * 1000) + 1
    messenger.answer = 200
    assert go(sqlite, clock, channel).given_up == 1
    held = outbox.backlog(sqlite, ACCOUNT, channel.name, since_wall_ms=0)
    assert (held.waiting, held.given_up) == (0, 1) and "too old" in str(held.why) and "500" in str(held.why)
    assert held.newest_given_up is not None
    outbox.resend(sqlite, ACCOUNT, held.newest_given_up, [channel.name], clock.ms)
    assert go(sqlite, clock, channel).delivered == 1
    assert messenger.titles == ["one"] and "it comes late" in messenger.bodies[0]


def test_a_message_that_alone_is_refused_does_not_hold_the_others_back_for_ever(
    sqlite: Database, clock: Clock, messenger: Messenger
) -> None:
    channel = channel_to(messenger)
    messenger.special["bad"] = 400
    put(sqlite, clock, "bad", "good", "better")
    for _ in range(FAILING_FROM):
        go(sqlite, clock, channel)
        clock.ms += 300_000
    assert messenger.titles == ["good", "better"]
    assert states(sqlite, channel) == ["given up", "delivered", "delivered"]


class Listed(Channel):
    """A channel that takes all but what its table answers."""

    name = "listed"

    def __init__(self, **answers: DeliveryError) -> None:
        self.answers, self.titles = answers, list[str]()

    def check(self) -> None:
        pass

    def send(self, message: Message) -> None:
        if message.title in self.answers:
            raise self.answers[message.title]
        self.titles.append(message.title)


def test_a_message_that_is_refused_for_good_says_nothing_of_the_one_before_it(sqlite: Database, clock: Clock) -> None:
    channel = Listed(first=DeliveryError("down"), never=DeliveryError("refused", is_final=True))
    put(sqlite, clock, "first", "never")
    for _ in range(FAILING_FROM + 2):
        go(sqlite, clock, channel)
        clock.ms += 300_000
    assert states(sqlite, channel) == ["waiting", "given up"], "nothing arrived after the first: it is not given up"
    put(sqlite, clock, "never", "good")
    go(sqlite, clock, channel)
    assert states(sqlite, channel) == ["given up", "given up", "given up", "delivered"]
    assert channel.titles == ["good"]


def test_a_refusal_for_good_is_passed_at_once(sqlite: Database, clock: Clock) -> None:
    channel = Listed(never=DeliveryError("refused", is_final=True))
    put(sqlite, clock, "never", "good")
    assert go(sqlite, clock, channel) == Round(delivered=1, failed=1, given_up=1)
    assert channel.titles == ["good"]


def test_what_a_channel_took_while_the_ledger_failed_is_not_sent_again(
    sqlite: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, mark, fails = Listed(), outbox.mark_delivered, [True]

    def mark_delivered(connection: sa.Connection, one: outbox.Delivery, wall_ms: int) -> None:
        if fails:
            raise StorageError("the ledger is gone")
        mark(connection, one, wall_ms)

    monkeypatch.setattr(outbox, "mark_delivered", mark_delivered)
    put(sqlite, clock, "one")
    for _ in range(2):
        with pytest.raises(StorageError):
            go(sqlite, clock, channel)
    fails.clear()
    assert go(sqlite, clock, channel).delivered == 1
    assert channel.titles == ["one"] and states(sqlite, channel) == ["delivered"]


def test_a_channel_that_fails_is_told_on_the_others(sqlite: Database, clock: Clock, messenger: Messenger) -> None:
    with http_messenger() as other:
        first, second = channel_to(messenger), channel_to(other)
        messenger.answer = 500
        put(sqlite, clock, "one")
        for _ in range(FAILING_FROM + 2):
            go(sqlite, clock, first, second)
            clock.ms += 300_000
        assert other.titles == ["one", f"channel {first.name} fails"]


def test_one_process_at_a_time_delivers_to_a_channel(sqlite: Database, clock: Clock, messenger: Messenger) -> None:
    channel = channel_to(messenger)
    put(sqlite, clock, "one")
    name = f"notify:{ACCOUNT}:{channel.name}"
    held = leases.acquire(sqlite, name, "another", ttl_ms=LEASE_MS, wall_ms=clock.ms)
    assert held is not None
    assert go(sqlite, clock, channel) == Round() and messenger.tried == 0
    clock.ms += LEASE_MS
    assert go(sqlite, clock, channel).delivered == 1, "the other one has died"


@pytest.mark.slow
def test_many_at_once_deliver_each_message_once(database: Database, clock: Clock, messenger: Messenger) -> None:
    put(database, clock, *(f"no {number}" for number in range(20)))
    channel = channel_to(messenger)
    found: list[Round] = []
    threads = [threading.Thread(target=lambda: found.append(go(database, clock, channel))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sum(one.delivered for one in found) == 20
    assert messenger.titles == [f"no {number}" for number in range(20)]


def test_a_message_that_is_written_late_under_a_small_number_is_not_skipped(
    database: Database, clock: Clock, messenger: Messenger
) -> None:
    """Two transactions take numbers in one order and commit in the other."""
    channel = channel_to(messenger)
    put(database, clock, "first")
    go(database, clock, channel)
    if database.dialect == "postgresql":
        with database.write() as slow:
            outbox.add(slow, ACCOUNT, Message("slow", "", Kind.RUN), time_ms=0, wall_ms=clock.ms)
            put(database, clock, "quick")
            go(database, clock, channel)
    else:
        put(database, clock, "quick", "slow")
    go(database, clock, channel)
    assert sorted(messenger.titles) == ["first", "quick", "slow"]


def test_a_new_channel_gets_what_is_new_not_the_whole_past(
    sqlite: Database, clock: Clock, messenger: Messenger
) -> None:
    put(sqlite, clock, "of yesterday")
    clock.ms += 86_400_000
    put(sqlite, clock, "of now")
    go(sqlite, clock, channel_to(messenger))
    assert messenger.titles == ["of now"]


def test_another_account_of_the_ledger_keeps_its_messages_for_itself(
    sqlite: Database, clock: Clock, messenger: Messenger
) -> None:
    outbox.add_all(sqlite, "other", [(Message("theirs", "", Kind.RUN), clock.ms)])
    put(sqlite, clock, "ours")
    go(sqlite, clock, channel_to(messenger))
    assert messenger.titles == ["ours"]


def test_a_wrong_url_is_an_error_without_its_secrets(
    sqlite: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    channel = AppriseChannel(SecretStr("nonsense://hidden-token"))
    put(sqlite, clock, "one")
    assert go(sqlite, clock, channel).failed == 1
    head = outbox.next_waiting(sqlite, ACCOUNT, channel.name)
    assert head is not None and "no messenger knows" in str(head.error)
    assert "hidden" not in caplog.text + str(head.error) + channel.name


class Final(Channel):
    """A channel that will never take a message."""

    name = "final"

    def check(self) -> None:
        pass

    def send(self, message: Message) -> None:
        raise DeliveryError("the key was revoked", is_final=True)


def test_what_will_never_be_taken_is_given_up_at_once(sqlite: Database, clock: Clock) -> None:
    put(sqlite, clock, "one", "two")
    found = go(sqlite, clock, Final())
    assert found.given_up == 2 and states(sqlite, Final()) == ["given up"] * 2


def test_old_messages_are_deleted_with_what_became_of_them(
    sqlite: Database, clock: Clock, messenger: Messenger
) -> None:
    put(sqlite, clock, "old")
    go(sqlite, clock, channel_to(messenger))
    clock.ms += 1000
    put(sqlite, clock, "new")
    assert outbox.delete_before(sqlite, clock.ms, dry_run=True) == 1
    assert outbox.delete_before(sqlite, clock.ms) == 1
    assert [one.message.title for one in outbox.newest(sqlite, ACCOUNT, 9)] == ["new"]
    assert outbox.newest(sqlite, ACCOUNT, 9, state=State.DELIVERED) == []


@pytest.mark.parametrize("minutes", [-600, -10, 10, 600])
def test_a_clock_that_is_put_makes_no_message_wait(
    sqlite: Database, clock: Clock, messenger: Messenger, minutes: int
) -> None:
    channel = channel_to(messenger)
    put(sqlite, clock, "before")
    messenger.answer = 500
    go(sqlite, clock, channel)
    messenger.answer = 200
    clock.ms += minutes * 60_000
    put(sqlite, clock, "after")
    go(sqlite, clock, channel)
    # Ten hours are more than a message of this channel may wait.
    assert messenger.titles == (["after"] if minutes == 600 else ["before", "after"])
