"""An order has a time by which it must be signed, wherever on its way the process sleeps."""

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import FrameType

import pybit._http_manager
import pytest

from trading_assets.core.errors import AmbiguousOutcomeError, ExchangeError, NotSentError, TooLateError
from trading_assets.core.models import OrderAck, OrderRequest, SendBy, Side
from trading_assets.core.settings import Settings
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.rate_limits import BATCH, Permit, RetryAfter
from trading_assets.exchange.transport import Connection, Transport
from trading_assets.trading import context, kept
from trading_assets.trading.saga import steps
from trading_assets_tests.exchange.stub import DROPPED, KEYS, Reply, Request, Stub, envelope, serving

NIGHT_MS = 35_000
EVERY = 11
"""Each so many calls of a function on the way of an order the process is put to sleep."""


@dataclass
class Clock:
    """The local clock, which a test sets forward: so a process sees the time that it slept."""

    ms: int = 1_800_000_000_000
    stamps: list[int] = field(default_factory=list)

    def now(self) -> int:
        return self.ms

    def stamp(self) -> int:
        """The time that is signed, as pybit asks for it."""
        self.stamps.append(self.ms)
        return self.ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pybit._http_manager._helpers, "generate_timestamp", clock.stamp)
    return clock


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as stub:
        stub.script = _answer
        yield stub


def _answer(request: Request) -> Reply:
    if request.path == "/v5/order/create-batch":
        count = len(request.params["request"])
        body = envelope({"list": [{"orderId": "1"}] * count})
        told = b'"retExtInfo": {"list": [' + b", ".join([b'{"code": 0, "msg": "OK"}'] * count) + b"]}"
        return replace(body, body=body.body.replace(b'"retExtInfo": {}', told))
    return envelope({"orderId": "1"})


def exchange_at(stub: Stub, folder: Path, sleep: Callable[[float], None] = lambda _s: None) -> BybitExchange:
    connection = Connection(url=stub.url, keys=KEYS, timeout_s=30, limits_dir=folder)
    return BybitExchange(Transport(connection, sleep=sleep), virtual_clock=True)


def order(clock: Clock, link: str = "ta-e-1") -> OrderRequest:
    return OrderRequest("BTCUSDT", Side.BUY, Decimal(1), link, send_by=SendBy(clock.ms + 10_000, clock.now))


def _calls_of(place: Callable[[], object], asleep_at: int, clock: Clock) -> int:
    """Do `place`, with the clock set forward at the call of this number. Return how many calls there were."""
    count, lock, here = [0], threading.Lock(), threading.get_ident()

    def call(frame: FrameType, event: str, _argument: object) -> None:
        thread = threading.current_thread()
        if event != "call" or (thread.ident != here and thread.name != "request"):
            return
        with lock:
            count[0] += 1
            if count[0] == asleep_at:
                clock.ms += NIGHT_MS

    threading.setprofile(call)
    sys.setprofile(call)
    try:
        place()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return count[0]


def _set_stop(exchange: BybitExchange, send_by: SendBy, errors: list[ExchangeError]) -> None:
    try:
        exchange.set_stops("BTCUSDT", Decimal(90), None, send_by)
    except ExchangeError as error:
        errors.append(error)


@pytest.mark.slow
def test_a_stop_is_not_signed_late_wherever_the_process_sleeps(stub: Stub, clock: Clock, tmp_path: Path) -> None:
    exchange = exchange_at(stub, tmp_path)
    exchange.set_stops("BTCUSDT", Decimal(90), None, SendBy(clock.ms + 10_000, clock.now))
    calls = _calls_of(lambda: exchange.set_stops("BTCUSDT", Decimal(90), None), 0, clock)
    assert calls > 100
    came, late = 0, 0
    for asleep_at in range(1, calls, EVERY):
        clock.stamps.clear()
        send_by, before = SendBy(clock.ms + 10_000, clock.now), len(stub.requests)
        errors: list[ExchangeError] = []
        _calls_of(functools.partial(_set_stop, exchange, send_by, errors), asleep_at, clock)
        if len(stub.requests) > before:
            came += 1
            assert clock.stamps[-1] <= send_by.time_ms, f"asleep at call {asleep_at} of {calls}"
        else:
            late += 1
            assert isinstance(errors[0], TooLateError)
    assert min(came, late) > 0, "some slept before the signature, some after it"


@pytest.mark.parametrize(
    ("replies", "error"),
    [([envelope(code=10006, message="too many")], TooLateError), ([DROPPED], AmbiguousOutcomeError)],
    ids=["refused before", "no answer before"],
)
def test_a_stop_is_not_tried_again_late(
    stub: Stub, clock: Clock, tmp_path: Path, replies: list[Reply], error: type[ExchangeError]
) -> None:
    """What a try without an answer has done is not known."""

    def sleep(_seconds: float) -> None:
        clock.ms += NIGHT_MS

    stub.answer(*replies, envelope())
    with pytest.raises(error, match="too long"):
        exchange_at(stub, tmp_path, sleep).set_stops("BTCUSDT", Decimal(90), None, SendBy(clock.ms + 10_000, clock.now))
    assert len(stub.requests) == 1


def _place(exchange: BybitExchange, request: OrderRequest, errors: list[NotSentError]) -> None:
    try:
        exchange.place_order(request)
    except NotSentError as error:
        errors.append(error)


@pytest.mark.slow
def test_a_process_that_sleeps_anywhere_on_the_way_signs_nothing_late(stub: Stub, clock: Clock, tmp_path: Path) -> None:
    """What it signed before it slept, the exchange refuses by its receive window."""
    exchange = exchange_at(stub, tmp_path)
    exchange.place_order(order(clock))  # what is compiled or opened once
    calls = _calls_of(lambda: exchange.place_order(order(clock)), 0, clock)
    assert calls > 100
    came, late = 0, 0
    for asleep_at in range(1, calls, EVERY):
        clock.stamps.clear()
        request, before = order(clock), len(stub.requests)
        assert request.send_by is not None

        errors: list[NotSentError] = []
        _calls_of(functools.partial(_place, exchange, request, errors), asleep_at, clock)
        if len(stub.requests) > before:
            came += 1
            assert clock.stamps[-1] <= request.send_by.time_ms, f"asleep at call {asleep_at} of {calls}"
        else:
            late += 1
            assert isinstance(errors[0], TooLateError)
    assert min(came, late) > 0, "some slept before the signature, some after it"


class _Busy:
    """A limiter that has a permit only after a wait."""

    def __init__(self, clock: Clock, wait_ms: int) -> None:
        self._clock, self._wait_ms, self._waits = clock, wait_ms, 1

    def acquire(self, *_limits: object, **_named: object) -> Permit | RetryAfter:
        self._waits -= 1
        return RetryAfter(self._wait_ms) if self._waits >= 0 else Permit("1", 0)

    def release(self, *_permit: object, **_named: object) -> None:
        """Nothing is counted."""


@pytest.mark.parametrize(("wait_ms", "overslept_ms", "is_sent"), [(3000, 0, True), (4000, 7000, False)])
def test_a_wait_for_the_limiter_counts(
    stub: Stub, clock: Clock, tmp_path: Path, wait_ms: int, overslept_ms: int, *, is_sent: bool
) -> None:
    def sleep(seconds: float) -> None:
        clock.ms += round(seconds * 1000) + overslept_ms

    exchange = exchange_at(stub, tmp_path, sleep)
    exchange._transport._limiter = _Busy(clock, wait_ms)  # type: ignore[assignment]
    if is_sent:
        exchange.place_order(order(clock))
    else:
        with pytest.raises(TooLateError, match="1000 ms too long"):
            exchange.place_order(order(clock))
    assert len(stub.requests) == is_sent


def test_a_wait_that_would_last_longer_is_not_begun(stub: Stub, clock: Clock, tmp_path: Path) -> None:
    slept: list[float] = []
    exchange = exchange_at(stub, tmp_path, slept.append)
    exchange._transport._limiter = _Busy(clock, 4000)  # type: ignore[assignment]
    request = replace(order(clock), send_by=SendBy(clock.ms + 3000, clock.now))
    with pytest.raises(NotSentError, match="no room within 3 s"):
        exchange.place_order(request)
    assert (slept, stub.requests) == ([], [])


def test_the_later_parts_of_a_batch_are_not_sent_late(stub: Stub, clock: Clock, tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        clock.ms += 6_000
        return _answer(request)

    stub.script = answer
    requests = [order(clock, f"ta-g-{number}") for number in range(3 * BATCH)]
    found = exchange_at(stub, tmp_path).place_orders(requests)
    assert [type(one) for one in found] == [OrderAck] * 2 * BATCH + [TooLateError] * BATCH
    assert len(stub.requests) == 2


def test_what_is_signed_at_the_last_moment_is_refused_before_anybody_settles_it() -> None:
    """Send-by, the longest receive window and the largest difference of the clocks end before recovery begins."""
    fields = Settings.model_fields
    window, offset = (
        next(one.le for one in fields[name].metadata if hasattr(one, "le"))
        for name in ("recv_window_ms", "max_clock_offset_ms")
    )
    assert context.SEND_WITHIN_MS + window + offset < steps.RECOVER_AFTER_MS
    assert kept.SEND_WITHIN_MS + window + offset < kept.LOST_AFTER_MS
