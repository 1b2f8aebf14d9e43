"""Orders beside a channel to people that hangs: they do what they do without one, statement for statement, they call
nothing of it, and nothing is locked while it is waited for.

What is compared is counted, not timed: it is the same on every machine.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import sqlalchemy as sa

from trading_assets import notifications
from trading_assets.core.messages import Kind, Message
from trading_assets.ledger import outbox
from trading_assets.ledger.database import Database
from trading_assets.notifications.channel import Channel
from trading_assets.notifications.notifier import Notifier
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on

ROUNDS, COINS = 6, 4
FOLDER = str(Path(notifications.__file__).parent)
TELLERS = ("notifier", "deliver-", "send-")
"""Names of the threads that deliver; every other one is on the order path."""


class Hanging(Channel):
    """It has taken the connection, and does not answer while it is shut."""

    name = "hanging"

    def __init__(self) -> None:
        self.hangs, self.release, self.seen = threading.Event(), threading.Event(), list[str]()

    def check(self) -> None:
        """It can always be tried."""

    def send(self, message: Message) -> None:
        """Wait for the end of the test."""
        self.seen.append(message.title)
        self.hangs.set()
        self.release.wait()


@dataclass
class Seen:
    """What the order path did in a round: SQL statements, calls of the exchange, functions of the notifications."""

    statements: Counter[str]
    calls: Counter[str]
    functions: set[str]


def is_teller() -> bool:
    return threading.current_thread().name.startswith(TELLERS)


@contextmanager
def watched(database: Database) -> Iterator[tuple[Counter[str], set[str]]]:
    """Statements, and functions of the notifications, of every thread that does not deliver."""
    statements, functions = Counter[str](), set[str]()

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not is_teller():
            statements[statement] += 1

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(FOLDER) and not is_teller():
            functions.add(frame.f_code.co_qualname)

    sa.event.listen(database._engine, "before_cursor_execute", before)
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield statements, functions
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        sa.event.remove(database._engine, "before_cursor_execute", before)


def a_round(harness: Harness, notifier: Notifier, symbols: list[str]) -> Seen:
    """Signals become positions, all that is told goes to the notifier."""
    for symbol in symbols:
        add_signal(harness.database, symbol)
    context = replace(harness.context, send=notifier.notify)
    before = Counter(harness.exchange.calls)
    with watched(harness.database) as (statements, functions):
        done = submit_orders(context)
    assert len(done.executed) == len(symbols), (done.rejected, done.refused)
    harness.later(1)
    reconcile(harness.context)
    return Seen(statements, harness.exchange.calls - before, functions)


@pytest.mark.slow
def test_the_order_path_is_the_same_beside_a_channel_that_hangs(sqlite: Database) -> None:
    names = [[f"R{number}C{coin}USDT" for coin in range(COINS)] for number in range(ROUNDS)]
    harness = harness_on(sqlite, *chain.from_iterable(names), max_positions=100, max_exposure_pct=10_000)
    found: dict[bool, list[Seen]] = {False: [], True: []}
    channel = Hanging()
    try:
        for number, symbols in enumerate(names):
            is_beside = number % 2 == 1
            channels = (channel,) if is_beside else ()
            notifier = Notifier(lambda: sqlite, "main", channels, max_age_s=3600)
            if is_beside:
                notifier.notify(Message("before the round", "it hangs from here on", Kind.RUN))
                assert channel.hangs.wait(60)
            seen = a_round(harness, notifier, symbols)
            if number > 1:  # the first of each warms up
                found[is_beside].append(seen)
            notifier.close(0.0)
    finally:
        channel.release.set()
    without, beside = found[False], found[True]
    assert len(without) == len(beside) == ROUNDS // 2 - 1
    assert [one.statements for one in beside] == [one.statements for one in without]
    assert [one.calls for one in beside] == [one.calls for one in without]
    for seen in (*without, *beside):
        assert seen.functions == {"Notifier.notify"}
    assert channel.seen, "something was sent to it all the while"


def test_no_lock_of_the_ledger_is_held_while_a_channel_is_waited_for(sqlite: Database) -> None:
    path = str(sqlite.url.database)
    outcomes: list[str] = []

    class Looks(Hanging):
        def send(self, message: Message) -> None:
            with closing(sqlite3.connect(path, timeout=0.0)) as other:
                other.execute("BEGIN IMMEDIATE")
                outcomes.append("free")
                other.rollback()
            self.hangs.set()

    channel = Looks()
    notifier = Notifier(lambda: sqlite, "main", (channel,), max_age_s=3600)
    notifier.notify(Message("one", "a text", Kind.RUN))
    assert notifier.flush(60) and notifier.close(60)
    assert outcomes == ["free"]
    (kept,) = outbox.newest(sqlite, "main", 9)
    assert [state for state, _, _ in kept.channels.values()] == ["delivered"]


def test_who_tells_something_does_not_wait_for_who_delivers(sqlite: Database) -> None:
    channel = Hanging()
    notifier = Notifier(lambda: sqlite, "main", (channel,), max_age_s=3600)

    def tell(number: int) -> Callable[[], None]:
        return lambda: notifier.notify(Message(f"message {number}", "a text", Kind.RUN))

    try:
        tell(0)()
        assert channel.hangs.wait(60)
        told = [threading.Thread(target=tell(number)) for number in range(1, 9)]
        for thread in told:
            thread.start()
        for thread in told:
            thread.join(60)
        assert not any(thread.is_alive() for thread in told)
        assert not channel.release.is_set() and channel.seen == ["message 0"]
    finally:
        channel.release.set()
        notifier.close(60)


@pytest.fixture(autouse=True)
def _no_channel_hangs_on() -> Iterator[None]:
    """A channel of an earlier test that still hung would be told of as such."""
    from trading_assets.notifications import delivery

    delivery._hanging.clear()
    yield
    delivery._hanging.clear()
