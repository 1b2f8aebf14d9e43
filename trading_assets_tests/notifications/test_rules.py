"""What a channel is to have, and when: kinds, severity, quiet hours, rate, groups, and the user's own words."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pydantic import ValidationError

from trading_assets.core.channel_rules import ChannelRule, rule_of
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.settings import load_settings
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications import templates
from trading_assets.notifications.apprise_channel import discords
from trading_assets.notifications.channel import Channel
from trading_assets.notifications.delivery import SIGNAL_MAX_AGE_MS, Round, deliver
from trading_assets.notifications.templates import Templates

NOON = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 12 * 3_600_000


class Listing(Channel):
    name = "listing-1"

    def __init__(self, **rule: object) -> None:
        self.rule = ChannelRule(**rule)  # type: ignore[arg-type]
        self.taken: list[Message] = []

    def check(self) -> None:
        pass

    def send(self, message: Message) -> None:
        self.taken.append(message)


def put(database: Database, title: str, kind: Kind = Kind.FILL, severity: Severity = Severity.INFO) -> None:
    outbox.add_all(database, "main", [(Message(title, "a body", kind, severity), NOON)])


def go(database: Database, channel: Channel, wall_ms: int = NOON) -> Round:
    clock = itertools.count(wall_ms)  # a text takes time
    return deliver(database, "main", [channel], max_age_s=86_400, within_s=30, wall_ms=lambda: next(clock))


def titles(channel: Listing) -> list[str]:
    return [one.title for one in channel.taken]


def test_kinds_and_severities_that_are_not_wanted_are_left_out_for_good(sqlite: Database) -> None:
    channel = Listing(kinds=[Kind.RISK, Kind.FILL], min_severity="warning", group_from=0)
    put(sqlite, "too little")
    put(sqlite, "another kind", Kind.RUN, Severity.CRITICAL)
    put(sqlite, "wanted", Kind.RISK, Severity.WARNING)
    put(sqlite, "a test", Kind.TEST)
    assert go(sqlite, channel).delivered == 2 and titles(channel) == ["wanted", "a test"]
    channel.rule = ChannelRule()
    assert go(sqlite, channel) == Round()


def test_in_quiet_hours_only_what_is_critical_comes_and_the_rest_afterwards(sqlite: Database) -> None:
    channel = Listing(quiet="11:00-13:00", group_from=0)
    put(sqlite, "later")
    put(sqlite, "now", Kind.RISK, Severity.CRITICAL)
    go(sqlite, channel)
    assert titles(channel) == ["now"]
    go(sqlite, channel, NOON + 3_600_000)
    assert titles(channel) == ["now", "later"]


@pytest.mark.parametrize(
    ("quiet", "hour", "expected"),
    [
        ("22:00-07:00", 23, True),
        ("22:00-07:00", 6, True),
        ("22:00-07:00", 7, False),
        ("13:00-14:00 Europe/Berlin", 12, True),  # winter: one hour ahead
        ("", 12, False),
    ],
)
def test_quiet_hours_are_by_the_clock_of_their_zone(quiet: str, hour: int, expected: bool) -> None:
    assert ChannelRule(quiet=quiet).is_quiet(NOON + (hour - 12) * 3_600_000) is expected


@pytest.mark.parametrize("quiet", ["late", "25:00-07:00", "22:00-07:00 Mars/Olympus"])
def test_quiet_hours_that_cannot_be_read_are_named(quiet: str) -> None:
    with pytest.raises(ValidationError, match=r"expected such as 22:00-07:00"):
        ChannelRule(quiet=quiet)


def test_many_messages_become_one_text_and_what_is_critical_goes_alone(sqlite: Database) -> None:
    channel = Listing(group_from=3)
    for number in range(4):
        put(sqlite, str(number))
    put(sqlite, "halted", Kind.LIMIT, Severity.CRITICAL)
    assert go(sqlite, channel).delivered == 5
    assert titles(channel) == ["4 messages", "halted"]
    assert channel.taken[0].body.splitlines()[3] == "• 12:00 3: a body"


def test_no_more_than_its_share_of_a_minute(sqlite: Database) -> None:
    channel = Listing(per_minute=2, group_from=0)
    for number in range(3):
        put(sqlite, str(number))
    put(sqlite, "halted", Kind.LIMIT, Severity.CRITICAL)
    go(sqlite, channel)
    assert titles(channel) == ["0", "1", "halted"]
    go(sqlite, channel, NOON + 61_000)
    assert titles(channel) == ["0", "1", "halted", "2"]


def test_a_signal_that_comes_late_is_no_news(sqlite: Database) -> None:
    channel = Listing(group_from=0)
    put(sqlite, "the first")
    go(sqlite, channel)  # a new channel gets nothing of long before
    put(sqlite, "a signal", Kind.SIGNAL)
    put(sqlite, "a fill")
    found = go(sqlite, channel, NOON + SIGNAL_MAX_AGE_MS + 1)
    assert titles(channel) == ["the first", "a fill"] and found.given_up == 1


def test_an_event_is_told_once_whoever_tells_it(database: Database) -> None:
    for _ in range(2):
        outbox.add_all(database, "main", [(Message("a day", "", Kind.SUMMARY, key="summary:1"), NOON)])
    assert len(outbox.newest(database, "main", 9)) == 1 and outbox.is_known(database, "main", "summary:1")


def test_a_narrower_rule_changes_a_wider_one() -> None:
    rules = {"*": ChannelRule(quiet="22:00-07:00"), "tgram": ChannelRule(per_minute=3)}
    found = rule_of(rules, "tgram-abc")
    assert (found.quiet, found.per_minute, found.group_from) == ("22:00-07:00", 3, 5)
    assert rule_of(rules, "mailto-abc").per_minute == 20


def test_the_users_words_replace_ours_where_their_facts_are_there(tmp_path: Path) -> None:
    (tmp_path / "fill.txt").write_text("$side $symbol\nat $price for $account")
    words = Templates(tmp_path, "tgram", "main", "simulator")
    told = Message("ours", "our body", Kind.FILL, facts={"side": "Buy", "symbol": "AUSDT", "price": "1"})
    rendered = words.rendered(told, NOON)
    assert (rendered.title, rendered.body) == ("Buy AUSDT", "at 1 for main")
    assert words.rendered(Message("ours", "", Kind.FILL), NOON).title == "ours"
    (tmp_path / "fill.tgram.txt").write_text("by telephone: $title")
    assert words.rendered(told, NOON).title == "by telephone: ours"


@pytest.mark.parametrize(("name", "text"), [("fill.txt", "$nonsense"), ("fill.txt", "100 $"), ("filling.txt", "x")])
def test_a_template_that_cannot_be_used_is_named(name: str, text: str) -> None:
    folder = load_settings().home / templates.FOLDER
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    with pytest.raises(ConfigurationError, match=name):
        templates.check(load_settings())


def test_discord_shows_a_text_unchanged_and_calls_nobody() -> None:
    assert discords("*x* @everyone <@1>") == "\\*x\\* @\u200beveryone \\<@\u200b1\\>"
