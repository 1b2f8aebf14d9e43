"""The session's clock: when it takes what was asked before for lost."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import cast

import pytest

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.streams import CandleStream
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.session.clock import DEAD_AFTER_S, VenueClock
from trading_assets.trading.session.log import SessionLog


class Venue:
    """Answers, or does not; knows what it was told of the link."""

    def __init__(self) -> None:
        self.is_dead = False
        self.repeated: list[float] = []
        self.knocks: list[bool] = []

    def now_ms(self) -> int:
        if self.is_dead:
            raise ExchangeUnavailableError("no answer")
        return 1

    def ticker(self, _symbol: str) -> None:
        self.now_ms()

    def can_connect(self, _within_s: float) -> bool:
        return self.knocks.pop(0)

    def repeat_reads(self, older_than: float) -> None:
        self.repeated.append(older_than)


def clock_of(venue: Venue, stream: SimpleNamespace) -> VenueClock:
    context = SimpleNamespace(
        exchange=venue, notify=lambda *_: None, settings=SimpleNamespace(symbols=SimpleNamespace(btc="BTCUSDT"))
    )
    return VenueClock(cast(ExecutionContext, context), cast(CandleStream, stream), SessionLog(lambda _: None))


@pytest.mark.parametrize(
    ("silent_s", "stream_silent_s", "is_repeated"),
    [
        (DEAD_AFTER_S + 1, DEAD_AFTER_S + 1, True),
        (DEAD_AFTER_S - 1, DEAD_AFTER_S - 1, False),
        (DEAD_AFTER_S + 1, DEAD_AFTER_S - 1, False),
        (DEAD_AFTER_S - 1, DEAD_AFTER_S + 1, False),
    ],
)
def test_the_first_answer_after_a_silence_has_what_was_asked_before_asked_again(
    monkeypatch: pytest.MonkeyPatch, silent_s: float, stream_silent_s: float, is_repeated: bool
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    venue, stream = Venue(), SimpleNamespace(heard_at=0.0, venue_ms=0)
    clock = clock_of(venue, stream)
    now[0] += 100.0
    clock._answered_at, stream.heard_at = now[0] - silent_s, now[0] - stream_silent_s
    venue.is_dead = True
    clock._ask_once(now[0], stream_silent_s)
    assert venue.repeated == []
    venue.is_dead = False
    asked_at = now[0]
    now[0] += 0.5
    clock._ask_once(asked_at, stream_silent_s)
    assert venue.repeated == ([asked_at] if is_repeated else [])
    now[0] += 0.5
    clock._ask_once(now[0], stream_silent_s)
    assert len(venue.repeated) == is_repeated, "once a silence"


@pytest.mark.parametrize(("knocks", "heard_after"), [([False, False, True], None), ([True], None), ([False] * 9, 4)])
def test_a_connection_that_opens_after_a_silence_has_what_was_asked_before_asked_again(
    monkeypatch: pytest.MonkeyPatch, knocks: list[bool], heard_after: int | None
) -> None:
    """An answer tells the same, and comes later. So does the stream, where no connection can be tried."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    venue, stream = Venue(), SimpleNamespace(heard_at=900.0, venue_ms=0)
    clock = clock_of(venue, stream)
    clock._answered_at = 900.0
    venue.knocks, waits = list(knocks), [0]

    def wait(seconds: float) -> bool:
        now[0] += seconds
        waits[0] += 1
        if waits[0] == heard_after:
            stream.heard_at = now[0]
        return False

    monkeypatch.setattr(clock._ending, "wait", wait)
    clock._knock(900.0)
    assert venue.repeated == [now[0]]
    assert waits[0] == (heard_after if heard_after is not None else len(knocks) - 1)


def test_who_ends_knocks_no_more() -> None:
    venue = Venue()
    clock = clock_of(venue, SimpleNamespace(heard_at=0.0, venue_ms=0))
    clock.stop()
    clock._knock(clock._answered_at)
    assert venue.repeated == []
