"""The private stream's supervisor on the embedded exchange: what it hints at, and what it makes of lies and silence."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pybit.unified_trading import HTTP
from pydantic import SecretStr

from trading_assets.core.settings import Settings
from trading_assets.core.streams import AccountChanged, AccountEvent, Down, Up
from trading_assets.exchange.account_stream import BybitAccountStream
from trading_assets.exchange.keys import ApiKeys
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.venues import open_account_stream, open_market_data
from trading_assets.venues.embedded import account_keys

START = 1_772_413_200_000
WITHIN_S = 30.0


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=5, clock=ClockSpec(ClockMode.MANUAL, start_ms=START))) as running:
        yield running


class Listener:
    """A stream and what it has told."""

    def __init__(self, running: RunningExchange, keys: ApiKeys | None = None, **changes: Any) -> None:
        self.events: queue.SimpleQueue[AccountEvent] = queue.SimpleQueue()
        settings = Settings(_env_file=None, simulator_url=running.url)  # type: ignore[call-arg]
        if keys is None and not changes:
            self.stream: Any = open_account_stream(settings, self.events.put)
        else:
            now_ms = open_market_data(settings).now_ms
            address = running.url.replace("http", "ws", 1) + "/v5/private"
            self.stream = BybitAccountStream(
                lambda: address, keys or account_keys(), self.events.put, now_ms, **changes
            )
        self.stream.start()

    def next(self, kind: type[Any], such: Callable[[Any], bool] = lambda _: True) -> Any:
        """The next event of a kind for which `such` holds; those before it are dropped."""
        until = time.monotonic() + WITHIN_S
        while (left := until - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(event, kind) and such(event):
                return event
        raise AssertionError(f"no such {kind.__name__} within {WITHIN_S:.0f} s")


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def make(*args: Any, **changes: Any) -> Listener:
        made.append(Listener(*args, **changes))
        return made[-1]

    yield make
    for one in made:
        one.stream.stop()


def person(running: RunningExchange) -> HTTP:
    keys = account_keys()
    client = HTTP(api_key=keys.key.get_secret_value(), api_secret=keys.secret.get_secret_value(), recv_window=60_000)
    client.endpoint = running.url
    client.client.trust_env = False
    return client


def test_an_order_hints_at_its_symbol_by_every_topic(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    listener = listen(exchange)
    listener.next(Up)
    person(exchange).place_order(category="linear", symbol="SOLUSDT", side="Buy", orderType="Market", qty="1")
    waiting = {"order", "execution", "position"}
    while waiting:
        event = listener.next(AccountChanged, lambda told: told.kinds != {"wallet"})
        assert event.symbols == {"SOLUSDT"}
        assert event.venue_ms > 0
        waiting -= event.kinds


def test_refused_keys_are_told_and_the_key_is_not(exchange: RunningExchange, listen: Callable[..., Listener]) -> None:
    wrong = ApiKeys(SecretStr("somebody-elses-key"), SecretStr("secret"))
    reason = listen(exchange, keys=wrong).next(Down).reason
    assert "auth was refused" in reason
    assert "somebody-elses-key" not in reason


def test_a_connection_without_any_message_is_given_up_and_made_again(
    exchange: RunningExchange, listen: Callable[..., Listener]
) -> None:
    # Pings are rarer than the silence that is borne, so a quiet account looks like a dead connection.
    listener = listen(exchange, silence_s=1.0)
    listener.next(Up)
    assert "silent" in listener.next(Down).reason
    listener.next(Up)
    assert listener.stream.counts.connections >= 2


@pytest.mark.parametrize(
    "message",
    [b"no json", b"[" * 100_000, b"[]", b'{"topic":"order"}', b'{"topic":"order","data":[{"symbol":null},7]}'],
)
def test_a_message_of_no_use_breaks_nothing(message: bytes) -> None:
    told: list[AccountEvent] = []
    stream = BybitAccountStream(lambda: "", account_keys(), told.append, lambda: START)
    stream._hear(None, message)  # type: ignore[arg-type]
    assert all(isinstance(event, AccountChanged) and not event.symbols for event in told)
