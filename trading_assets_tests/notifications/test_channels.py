"""Every kind of message through every channel to a real server: taken, failing, asking for rest, and hanging."""

from __future__ import annotations

import asyncio
import email
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr

from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications import delivery
from trading_assets.notifications.apprise_channel import LONGEST_REST_S, TOO_MANY_REST_S, AppriseChannel
from trading_assets.notifications.channel import Channel, DeliveryError
from trading_assets.notifications.delivery import Round, deliver
from trading_assets.notifications.sns import SnsTopic
from trading_assets.notifications.telegram import TelegramChat
from trading_assets.reporting.daily_summary import picture
from trading_assets.trading.portfolio import performance
from trading_assets_tests.notifications.front import Front, front_of
from trading_assets_tests.notifications.servers import HANG, http_messenger
from trading_assets_tests.service.bot_api import TOKEN, bot_api

NOW_MS = 1_700_000_000_000
NASTY = "2 < 3 & *more* _of_ <!channel> @everyone é 价"
KINDS = [kind.value for kind in Kind]
CHANNELS = ("json", "discord", "slack", "mailto", "tgram", "sns")
_TITLE = re.compile(r"told of (\w+)")


@dataclass
class Wire:
    """A channel and the server at its end.

    Attributes:
        arrived: texts that the server has taken, the oldest first.
        answers: sets what the server answers: an HTTP status, or `HANG`.
        pictures: that arrived.
        front: that server, where it is one of ours that speaks HTTP.
    """

    channel: Channel
    arrived: Callable[[], list[str]]
    answers: Callable[[Any], None]
    pictures: Callable[[], int]
    front: Front = field(default_factory=Front)

    def kinds(self) -> list[str]:
        """Of the messages that arrived."""
        return [found[1] for text in self.arrived() if (found := _TITLE.search(text))]


def of_front(front: Front) -> Callable[[Any], None]:
    def answers(answer: Any) -> None:
        front.answer = answer
        front.release.set() if answer != HANG else front.release.clear()

    return answers


@contextmanager
def http_wire(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A messenger that apprise reaches by HTTP. Hosts of Discord and Slack are in apprise's code."""
    from apprise.plugins.discord import NotifyDiscord
    from apprise.plugins.slack import NotifySlack

    with front_of() as front:
        monkeypatch.setattr(NotifyDiscord, "notify_url", front.url)
        monkeypatch.setattr(NotifySlack, "webhook_url", front.url)
        monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
        url = {
            "json": f"json://127.0.0.1:{front.port}/hook",
            "discord": f"discord://{'1' * 18}/{'a' * 60}/",
            "slack": f"slack://T1JJ3T3L2/A1BRTD4JD/{'a' * 24}/",
        }[kind]
        yield Wire(
            AppriseChannel(SecretStr(url)),
            lambda: [json.dumps(json.loads(one), ensure_ascii=False) for one in front.bodies if one.startswith(b"{")],
            of_front(front),
            lambda: sum(b"\x89PNG" in one or b"iVBORw0KGgo" in one for one in front.bodies),
            front,
        )


class Mailbox:
    """Takes mails by SMTP as a handler of aiosmtpd."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answer: Any = 200

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        while self.answer == HANG:
            await asyncio.sleep(0.01)
            if self.answer != HANG:
                return "421 on demand"
        if self.answer != 200:
            return f"{451 if self.answer == 429 else 554} on demand"
        self.mails.append(email.message_from_bytes(envelope.content, policy=default))  # type: ignore[arg-type]
        return "250 taken"


class Smtp(Controller):
    """A server on a port that the system gives."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_wire() -> Iterator[Wire]:
    from apprise.plugins.email import NotifyEmail

    box, pause = Mailbox(), NotifyEmail.request_rate_per_sec
    NotifyEmail.request_rate_per_sec = 0
    server = Smtp(box, hostname="127.0.0.1", port=0, ready_timeout=60)
    server.start()
    url = f"mailto://127.0.0.1:{server.port}/?from=a@example.com&to=b@example.com&mode=insecure&format=text"
    try:
        yield Wire(
            AppriseChannel(SecretStr(url)),
            lambda: [f"{one['Subject']}\n{_text_of(one)}" for one in box.mails],
            lambda answer: setattr(box, "answer", answer),
            lambda: sum(part.get_content_type() == "image/png" for one in box.mails for part in one.walk()),
        )
    finally:
        NotifyEmail.request_rate_per_sec = pause
        box.answer = 200
        server.stop()


def _text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return "" if body is None else str(body.get_content())


@contextmanager
def telegram_wire() -> Iterator[Wire]:
    with bot_api() as api, front_of(api.url) as front:
        yield Wire(
            TelegramChat(SecretStr(TOKEN), "7", url=front.url),
            api.texts,
            of_front(front),
            lambda: sum("photo" in one for one in api.sent),
        )


@dataclass
class Aws:
    """SNS and SQS of moto by HTTP, and what stands before SNS."""

    url: str
    front: Front
    sns: Any
    sqs: Any

    def topic(self, name: str, **attributes: str) -> str:
        return str(self.sns.create_topic(Name=name, Attributes=attributes)["TopicArn"])

    def queue(self, name: str, topic: str, subscription: dict[str, str] | None = None, **attributes: str) -> str:
        """A queue that has what is published on the topic."""
        url = str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=subscription or {})
        return url

    def read(self, queue: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while rows := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for row in rows:
                found.append(json.loads(row["Body"]))
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=row["ReceiptHandle"])
        return found


@contextmanager
def moto_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIAOFTHETASK",
        "AWS_SECRET_ACCESS_KEY": "of-the-task",
    }.items():
        monkeypatch.setenv(name, value)
    with front_of(url) as front:
        yield Aws(url, front, boto3.client("sns"), boto3.client("sqs"))
    server.stop()


@contextmanager
def sns_wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with moto_aws(monkeypatch) as aws:
        topic = aws.topic("told")
        queue, seen = aws.queue("told", topic), list[str]()

        def arrived() -> list[str]:
            seen.extend(f"{one['Subject']}\n{one['Message']}" for one in aws.read(queue))
            return seen

        channel = SnsTopic(f"{topic}?endpoint={aws.front.url}", "main")
        channel.check()
        yield Wire(channel, arrived, of_front(aws.front), lambda: 0)


@pytest.fixture
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with ExitStack() as stack:
        match request.param:
            case "mailto":
                yield stack.enter_context(mail_wire())
            case "tgram":
                yield stack.enter_context(telegram_wire())
            case "sns":
                yield stack.enter_context(sns_wire(monkeypatch))
            case kind:
                yield stack.enter_context(http_wire(kind, monkeypatch))


def a_picture(database: Database) -> bytes:
    import pandas as pd

    equity = pd.DataFrame({"time_ms": [NOW_MS, NOW_MS + 3_600_000], "equity": [100.0, 101.0]})
    return picture(equity, performance(database, "main", NOW_MS, NOW_MS + 86_400_000), "2023-11-14")


def put_every_kind(database: Database) -> None:
    drawn = a_picture(database)
    told = [
        Message(
            f"told of {kind}", NASTY, kind, list(Severity)[number % 3], picture=drawn if kind is Kind.SUMMARY else None
        )
        for number, kind in enumerate(Kind)
    ]
    outbox.add_all(database, "main", [(one, NOW_MS) for one in told])


@pytest.mark.slow
@pytest.mark.parametrize("wire", CHANNELS, indirect=True)
def test_every_kind_arrives_once_though_its_server_fails_asks_for_rest_and_hangs(
    sqlite: Database, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, send, hangs = wire.channel.name, delivery.send_within, list[bool]()

    def send_within(channel: Channel, message: Message) -> None:
        send(channel, message, 0.2 if hangs and channel.name == name else 60)

    monkeypatch.setattr(delivery, "send_within", send_within)
    now_ms = NOW_MS
    with http_messenger() as other:
        healthy = AppriseChannel(SecretStr(other.url))

        def go() -> Round:
            return deliver(
                sqlite, "main", [wire.channel, healthy], max_age_s=3600, within_s=120, wall_ms=lambda: now_ms
            )

        put_every_kind(sqlite)
        for number, answer in enumerate((500, 429, HANG)):
            wire.answers(answer)
            hangs[:] = [True] if answer == HANG else []
            found = go()
            assert found.failed == 1 and found.delivered == (0 if number else len(KINDS)), "the other has them all"
            head = outbox.next_waiting(sqlite, "main", name)
            assert head is not None and head.attempts == number + 1 and head.message.kind.value == KINDS[0]
            assert wire.kinds() == []
            now_ms = head.due_wall_ms
        wire.answers(200)
        hangs.clear()
        delivery._hanging[name].thread.join(60)
        assert go() == Round(delivered=len(KINDS))
        assert go() == Round()
        assert [title.removeprefix("told of ") for title in other.titles] == KINDS
    assert sorted(wire.kinds()) == sorted(KINDS), "each once"
    if not name.startswith("sns"):  # a standard queue keeps no order
        assert wire.kinds() == KINDS
    shown = next(text for text in wire.arrived() if "told of fill" in text)
    assert "é 价" in shown
    as_text = {"slack": "&lt;!channel&gt;", "discord": "\\<!channel\\> @\u200beveryone"}
    assert as_text.get(name.partition("-")[0], "<!channel> @everyone") in shown.replace("\\\\", "\\")
    assert wire.pictures() == (0 if name.startswith(("sns", "slack")) else 1)


@pytest.mark.slow
def test_a_topic_tells_subscribers_what_they_may_filter_by(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_aws(monkeypatch) as aws:
        topic = aws.topic("filtered")
        policy = {"FilterPolicy": json.dumps({"severity": ["critical"], "symbol": ["BTCUSDT"]})}
        everything, few = aws.queue("everything", topic), aws.queue("few", topic, policy)
        channel = SnsTopic(f"sns:{topic}", "mine")
        facts = {"symbol": "BTCUSDT", "side": "Buy"}
        channel.send(Message("a fill", "", Kind.FILL, facts=facts))
        channel.send(Message("no stop – look", "x" * 300_000, Kind.RISK, Severity.CRITICAL, facts=facts))
        (found,) = aws.read(few)
        values = {name: one["Value"] for name, one in found["MessageAttributes"].items()}
        assert values == {"kind": "risk", "severity": "critical", "account": "mine", **facts}
        assert found["Subject"] == "no stop ? look" and len(found["Message"].encode()) < 256 * 1024
        assert len(aws.read(everything)) == 2


@pytest.mark.slow
def test_a_topic_is_published_on_in_a_role_with_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_aws(monkeypatch) as aws:
        topic = aws.topic("of-another")
        queue = aws.queue("of-another", topic)
        role = "arn:aws:iam::123456789012:role/tells"
        channel = SnsTopic(f"{topic}?role={role}&endpoint={aws.front.url}", "main")
        channel.check()
        channel.send(Message("one", "", Kind.TEST))
        channel.send(Message("two", "", Kind.TEST))
        assert sorted(one["Subject"] for one in aws.read(queue)) == ["one", "two"]
        assert len(aws.front.headers) == 3
        for headers in aws.front.headers:
            assert "x-amz-security-token" in headers and "AKIAOFTHETASK" not in headers["authorization"]


def test_a_fifo_topic_keeps_the_order_and_two_messages_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_aws(monkeypatch) as aws:
        topic = aws.topic("in-order.fifo", FifoTopic="true")
        queue = aws.queue("in-order.fifo", topic, FifoQueue="true")
        channel = SnsTopic(topic, "main")
        for title in ("one", "two", "two", "three"):
            channel.send(Message(title, "the same", Kind.FILL))
        assert [one["Subject"] for one in aws.read(queue)] == ["one", "two", "two", "three"]


@pytest.mark.slow
def test_the_picture_of_a_day_is_a_png_that_telegram_and_mail_take(sqlite: Database) -> None:
    drawn = a_picture(sqlite)
    assert drawn.startswith(b"\x89PNG") and len(drawn) < 1_000_000
    told = Message("a day", "1 < 2\n" + "& more " * 400, Kind.SUMMARY, picture=drawn)
    with mail_wire() as mail, telegram_wire() as chat:
        for one in (mail, chat):
            one.channel.send(told)
            assert one.pictures() == 1 and "a day\n1 < 2" in one.arrived()[0]


@pytest.mark.parametrize(
    ("kind", "header", "body", "rest_s"),
    [
        ("slack", "7", b"rate_limited", 7.0),
        ("discord", "3", b'{"message": "You are being rate limited.", "retry_after": 2.6, "global": false}', 3.0),
        ("discord", None, b'{"message": "You are being rate limited.", "retry_after": 2.6, "global": true}', 2.6),
        ("json", None, b"", TOO_MANY_REST_S),
        ("slack", "Wed, 21 Oct 2026 07:28:00 GMT", b"", TOO_MANY_REST_S),
        ("slack", "-1", b"", TOO_MANY_REST_S),
        ("slack", "1e99", b"", LONGEST_REST_S),
    ],
)
def test_a_messenger_that_has_had_too_much_is_given_the_rest_that_it_asks_for(
    kind: str, header: str | None, body: bytes, rest_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_wire(kind, monkeypatch) as wire:
        wire.front.asks_for, wire.front.wants = header, body
        for answer, rest in ((429, rest_s), (500, None)):
            wire.answers(answer)
            before = wire.front.tried
            with pytest.raises(DeliveryError) as raised:
                wire.channel.send(Message("a title", "a body", Kind.FILL))
            assert (raised.value.retry_after_s, wire.front.tried - before) == (rest, 1), "apprise does not try it again"
