"""The candle stream's supervisor on the embedded exchange: silence, breaks, refusals, and what it tells of them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trading_assets.core.settings import Settings
from trading_assets.core.streams import ClosedCandle, Down, StreamEvent, Topic, Up
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.exchange.stream import BybitCandleStream
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.server import ServeConfig
from trading_assets.venues import open_market_data

START = 1_772_413_200_000
SOL: Topic = ("SOLUSDT", Timeframe.M1)
PATH = "/v5/public/linear"
WITHIN_S = 60.0


def config() -> ServeConfig:
    return ServeConfig(symbols=5, clock=ClockSpec(ClockMode.MANUAL, start_ms=START))


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread(config()) as running:
        yield running


class Listener:
    """A stream and what it has told."""

    def __init__(self, url: Callable[[], str], *topics: Topic, silence_s: float = 60.0) -> None:
        self.events: queue.SimpleQueue[StreamEvent] = queue.SimpleQueue()
        self.stream = BybitCandleStream(url, topics, self.events.put, silence_s=silence_s)
        self.stream.start()

    def next(self, kind: type[Any]) -> Any:
        """The next event of a kind; those before it are dropped."""
        until = time.monotonic() + WITHIN_S
        while (left := until - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(event, kind):
                return event
        raise AssertionError(f"no {kind.__name__} within {WITHIN_S:.0f} s")


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(exchange: RunningExchange | Callable[[], str], *topics: Topic, **options: float) -> Listener:
        url = exchange if callable(exchange) else lambda: exchange.url.replace("http", "ws") + PATH
        made.append(Listener(url, *(topics or (SOL,)), **options))
        return made[-1]

    yield make
    for listener in made:
        listener.stream.stop()


def arm(exchange: RunningExchange, **rule: Any) -> None:
    exchange.faults.add([FaultRule.model_validate({"where": "ws:kline.*", **rule})], exchange.now_ms())


def test_each_closed_candle_is_told_once_with_its_values(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    listener = listen(exchange, SOL, ("SOLUSDT", Timeframe.M5))
    assert listener.next(Up) == Up(refused=())
    exchange.advance(5 * MINUTE_MS)
    told = [listener.next(ClosedCandle) for _ in range(6)]
    assert sorted((c.timeframe, c.start_ms) for c in told) == [
        *((Timeframe.M1, START + n * MINUTE_MS) for n in range(5)),
        (Timeframe.M5, START),
    ]
    source = open_market_data(Settings(_env_file=None, simulator_url=exchange.url))  # type: ignore[call-arg]
    by_rest = source.candles("SOLUSDT", Timeframe.M1, START, START + MINUTE_MS)
    source.close()
    first = min(told, key=lambda candle: (candle.timeframe.ms, candle.start_ms))
    columns = (by_rest.open, by_rest.high, by_rest.low, by_rest.close, by_rest.volume, by_rest.turnover)
    assert first.values == tuple(column[0] for column in columns)
    assert listener.stream.venue_ms == exchange.now_ms()


def test_the_heartbeat_is_not_told(exchange: RunningExchange, listen: Callable[..., Listener]) -> None:
    listener = listen(exchange)
    listener.next(Up)
    exchange.advance(2 * MINUTE_MS)
    assert {listener.next(ClosedCandle).symbol for _ in range(2)} == {"SOLUSDT"}
    assert listener.events.empty()


def test_a_silent_line_is_taken_for_dead_and_opened_again(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    # The clock stands, so nothing is told: as silent as a line can be.
    listener = listen(exchange, silence_s=2.0)
    listener.next(Up)
    assert "silent" in listener.next(Down).reason
    listener.next(Up)
    assert listener.stream.counts.connections == 2


def test_a_cut_line_is_opened_again_and_goes_on(exchange: RunningExchange, listen: Callable[..., Listener]) -> None:
    listener = listen(exchange)
    listener.next(Up)
    arm(exchange, drop=True, times=1)
    exchange.advance(MINUTE_MS)
    listener.next(Down)
    listener.next(Up)
    exchange.advance(MINUTE_MS)
    assert listener.next(ClosedCandle).start_ms == START + MINUTE_MS


def test_duplicates_and_disorder_are_told_as_they_come(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    listener = listen(exchange)
    listener.next(Up)
    arm(exchange, where="ws:kline.1.SOLUSDT", duplicate=True)
    exchange.advance(MINUTE_MS)
    assert listener.next(ClosedCandle) == listener.next(ClosedCandle)


def test_a_refused_topic_does_not_take_the_others_with_it(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    gone: Topic = ("DELISTEDUSDT", Timeframe.M15)
    listener = listen(exchange, SOL, gone)
    assert listener.next(Up) == Up(refused=(gone,))
    exchange.advance(MINUTE_MS)
    assert listener.next(ClosedCandle).symbol == "SOLUSDT"


def test_a_stream_that_owes_candles_is_rebuilt_on_demand(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    listener = listen(exchange)
    listener.next(Up)
    listener.stream.rebuild()
    assert "not told" in listener.next(Down).reason
    listener.next(Up)


def test_an_exchange_that_comes_back_elsewhere_is_found(listen: Callable[..., Listener]) -> None:
    urls = ["ws://127.0.0.1:9" + PATH]
    listener = listen(lambda: urls[-1])
    assert listener.next(Down).reason
    with serve_in_thread(config()) as first:
        urls.append(first.url.replace("http", "ws") + PATH)
        listener.next(Up)
    listener.next(Down)
    with serve_in_thread(config()) as second:
        urls.append(second.url.replace("http", "ws") + PATH)
        listener.next(Up)
        second.advance(HOUR_MS)
        assert listener.next(ClosedCandle).start_ms == START


def test_a_malformed_candle_is_counted_and_the_line_lives_on(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    listener = listen(exchange)
    listener.next(Up)
    listener.stream._on_candle(b'{"topic":"kline.1.SOLUSDT","data":[{"confirm":true,"start":"x"}],"ts":1772413200000}')
    assert listener.stream.counts.malformed == 1
    exchange.advance(MINUTE_MS)
    listener.next(ClosedCandle)
