"""The clock guard: orders wait for a right clock, and asking for the time costs one call a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

import pytest

from trading_assets.core.errors import ClockSkewError, NotSentError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.exchange import clock as clock_module
from trading_assets.exchange.clock import REFRESH_S, ExchangeClock
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import DROPPED, Reply, Request, Stub, envelope, server_time

ORDER = OrderRequest("BTCUSDT", Side.BUY, Decimal("0.01"), "link-1")
LOCAL_MS = 1_800_000_000_000


class Time:
    """Wall and monotonic time of the clock module, in ms; they stand until moved."""

    def __init__(self) -> None:
        self.ms = LOCAL_MS

    def move(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def time_ns(self) -> int:
        return self.ms * 1_000_000

    def monotonic(self) -> float:
        return self.ms / 1000


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    moved = Time()
    monkeypatch.setattr(clock_module, "time", moved)
    monkeypatch.setattr(clock_module, "local_ms", lambda: moved.ms)
    return moved


def venue(stub: Stub, offset_ms: int) -> None:
    def script(request: Request) -> Reply:
        if request.path == "/v5/market/time":
            return server_time(time.time_ns() // 1_000_000 + offset_ms)
        return envelope({"orderId": "1", "orderLinkId": "link-1"})

    stub.script = script


@pytest.mark.parametrize("offset_ms", [-1500, 1500, 60_000])
def test_an_order_is_not_sent_while_the_clocks_differ(stub: Stub, connect: Connect, offset_ms: int) -> None:
    venue(stub, offset_ms)
    with pytest.raises(ClockSkewError, match=r"synchronise.*No order was sent") as raised:
        connect(virtual_clock=False).place_order(ORDER)
    assert isinstance(raised.value, NotSentError)
    assert stub.of("/v5/order/create") == []


@pytest.mark.parametrize("offset_ms", [-700, 0, 700])
def test_an_order_is_sent_while_they_agree_and_the_time_is_asked_once(
    stub: Stub, connect: Connect, offset_ms: int
) -> None:
    venue(stub, offset_ms)
    exchange = connect(virtual_clock=False)
    for _ in range(3):
        assert exchange.place_order(ORDER).order_id == "1"
    assert len(stub.of("/v5/market/time")) == 1
    assert len(stub.of("/v5/order/create")) == 3


def test_an_order_whose_clock_cannot_be_checked_is_an_order_not_sent(stub: Stub, connect: Connect) -> None:
    """`Exchange.place_order` promises NotSentError for whatever certainly had no effect."""
    stub.answer(DROPPED)
    with pytest.raises(NotSentError):
        connect(virtual_clock=False).place_order(ORDER)
    assert stub.of("/v5/order/create") == []


def test_a_repeated_question_for_the_time_does_not_invent_a_difference(stub: Stub, connect: Connect, now: Time) -> None:
    """The clocks agree to the millisecond; only the first three questions got no answer."""
    failures = [DROPPED, DROPPED, DROPPED]

    def script(request: Request) -> Reply:
        if request.path != "/v5/market/time":
            return envelope({"orderId": "1", "orderLinkId": "link-1"})
        return failures.pop() if failures else server_time(now.ms)

    def wait(seconds: float) -> None:
        now.move(seconds + 1)  # each attempt took a second to fail

    stub.script = script
    assert connect(virtual_clock=False, sleep=wait).place_order(ORDER).order_id == "1"


def test_a_virtual_clock_is_asked_each_time_and_never_refuses(stub: Stub, connect: Connect) -> None:
    stub.answer(server_time(1), server_time(2), envelope({"orderId": "1"}))
    exchange = connect(virtual_clock=True)
    assert [exchange.now_ms(), exchange.now_ms()] == [1, 2]
    exchange.place_order(ORDER)
    assert len(stub.requests) == 3


def test_the_difference_is_measured_once_a_minute(now: Time) -> None:
    asked = []

    def server_ms() -> int:
        asked.append(now.ms)
        return now.ms + 400

    clock = ExchangeClock(server_ms, virtual=False, max_offset_ms=1000)
    for second in range(0, 200):
        clock.require_close()
        assert clock.offset_ms() == 400, second
        now.move(1)
    assert len(asked) == 4
    assert all(b - a > REFRESH_S * 1000 for a, b in pairwise(asked))


def test_a_clock_set_right_again_lets_orders_through_within_a_minute(now: Time) -> None:
    offset = [5_000]
    clock = ExchangeClock(lambda: now.ms + offset[0], virtual=False, max_offset_ms=1000)
    with pytest.raises(ClockSkewError, match=r"\+5000 ms"):
        clock.require_close()
    offset[0] = 0
    now.move(REFRESH_S + 1)
    clock.require_close()


@pytest.mark.parametrize(("offset_ms", "passes"), [(1000, True), (-1000, True), (1001, False), (-1001, False)])
def test_the_limit_itself_still_passes(now: Time, offset_ms: int, passes: bool) -> None:
    clock = ExchangeClock(lambda: now.ms + offset_ms, virtual=False, max_offset_ms=1000)
    if passes:
        clock.require_close()
        return
    with pytest.raises(ClockSkewError):
        clock.require_close()


def test_the_difference_is_taken_at_the_middle_of_the_round_trip(now: Time) -> None:
    def server_ms() -> int:
        now.move(0.3)
        told = now.ms
        now.move(0.3)
        return told

    assert ExchangeClock(server_ms, virtual=False, max_offset_ms=1000).offset_ms() == 0
