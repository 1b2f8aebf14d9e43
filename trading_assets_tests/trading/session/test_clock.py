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

    def now_ms(self) -> int:
        if self.is_dead:
            raise ExchangeUnavailableError("no answer")
        return 1

    def ticker(self, _symbol: str) -> None:
        self.now_ms()

    def repeat_reads(self, older_than: float) -> None:
        self.repeated.append(older_than)


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
    context = SimpleNamespace(
        exchange=venue, notify=lambda *_: None, settings=SimpleNamespace(symbols=SimpleNamespace(btc="BTCUSDT"))
    )
    clock = VenueClock(cast(ExecutionContext, context), cast(CandleStream, stream), SessionLog(lambda _: None))
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
