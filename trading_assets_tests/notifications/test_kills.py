"""The process that delivers is killed at every step: nothing is lost, and what was sent and not marked comes twice."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets_tests.notifications.servers import Messenger, http_messenger

NOW_MS = 1_700_000_000_000

_DELIVERS = """
import os, signal, sys
from pydantic import SecretStr
from trading_assets.core.channel_rules import ChannelRule
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications import delivery
from trading_assets.notifications.apprise_channel import AppriseChannel

url, messenger, group_from, step, number, now_ms = sys.argv[1:]
channel, left = AppriseChannel(SecretStr(messenger)), [int(number)]
channel.rule = ChannelRule(per_minute=10_000, group_from=int(group_from))
send, mark = delivery.send_within, outbox.mark_delivered

def dies(at):
    if at == step:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def sending(*arguments):
    dies("before sending")
    send(*arguments)
    dies("between sending and marking")


def marking(connection, one, wall_ms):
    mark(connection, one, wall_ms)
    dies("in the marking, before its commit")

delivery.send_within, outbox.mark_delivered = sending, marking
found = delivery.deliver(Database(url), "main", [channel], max_age_s=3600, within_s=60, wall_ms=lambda: int(now_ms))
dies("after all")
print(found.delivered)
"""

DOUBLING = ("between sending and marking", "in the marking, before its commit")
STEPS = ("before sending", *DOUBLING, "after all")


def texts_of(messenger: Messenger) -> list[list[str]]:
    """Titles of the messages in each text that was taken."""
    pairs = zip(messenger.titles, messenger.bodies, strict=True)
    return [re.findall(r"no \d+", body if "messages" in title else title) for title, body in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("group_from", [0, 3])
def test_a_kill_at_every_step_loses_nothing_and_doubles_what_was_sent_and_not_marked(
    tmp_path: Path, group_from: int
) -> None:
    url, written = f"sqlite:///{tmp_path / 'ledger.db'}", 0
    database = Database(url)

    def put() -> None:
        nonlocal written
        told = [
            Message(f"no {written + number}", "a body", Kind.RUN, Severity.CRITICAL if number == 4 else Severity.INFO)
            for number in range(6)
        ]
        outbox.add_all(database, "main", [(one, NOW_MS) for one in told])
        written += len(told)

    with http_messenger() as messenger:

        def delivers(step: str, number: int) -> int:
            arguments = (url, messenger.url, str(group_from), step, str(number), str(NOW_MS))
            return subprocess.run([sys.executable, "-c", _DELIVERS, *arguments], check=False, timeout=120).returncode

        expected: Counter[str] = Counter()
        for step in STEPS:
            put()  # what comes after a kill may make the next text a larger one
            before = len(texts_of(messenger))
            assert delivers(step, 1 if step == "after all" else 2) == -signal.SIGKILL
            if step in DOUBLING:
                last = texts_of(messenger)[-1]
                assert len(texts_of(messenger)) > before
                expected.update(last)
            with database.write() as connection:  # what it held runs out
                connection.exec_driver_sql("UPDATE leases SET expires_wall_ms = 1")
        put()
        assert delivers("never", 1) == 0
        database.close()
        found = texts_of(messenger)
    every = [f"no {number}" for number in range(written)]
    arrived = Counter(title for text in found for title in text)
    assert list(dict.fromkeys(title for text in found for title in text)) == every, "all, and in order"
    assert {title: count - 1 for title, count in arrived.items() if count > 1} == dict(expected)
    assert any(len(text) > 1 for text in found) == (group_from > 0)
