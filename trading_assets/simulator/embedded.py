"""An embedded exchange inside the own process, in a thread: for notebooks, the demo and tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.simulator.clock import Clock
from trading_assets.simulator.faults.injector import Faults
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.server import ExchangeServer, ServeConfig
from trading_assets.simulator.venue import Venue

READY_TIMEOUT_S = 60.0


class RunningExchange:
    """An exchange that answers at `url` until its context ends."""

    def __init__(self, server: ExchangeServer) -> None:
        self._server = server

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def venue(self) -> Venue:
        return self._server.venue

    @property
    def clock(self) -> Clock:
        return self.venue.clock

    @property
    def faults(self) -> Faults:
        """The fault rules in force."""
        return self._server.faults

    @property
    def key(self) -> str:
        return self.venue.config.credentials.key

    @property
    def secret(self) -> str:
        return self.venue.config.credentials.secret

    def now_ms(self) -> int:
        """The exchange's time."""
        return self.clock.now_ms()

    def advance(self, span_ms: int) -> int:
        """Move a manual clock forward; the account lives through the span. Returns the new time.

        Raises:
            ValueError: the clock is not manual, or `span_ms` is negative.
        """
        return self.venue.advance(lambda now: now + span_ms)

    def set_clock(self, time_ms: int) -> int:
        """Move a manual clock to `time_ms`. Raises as `advance` does."""
        return self.venue.advance(lambda _: time_ms)


@contextmanager
def serve_in_thread(config: ServeConfig | None = None, market: Market | None = None) -> Iterator[RunningExchange]:
    """Serve `config` on the seeded market, or on `market`, while the context lasts.

    Raises:
        ConfigurationError: the account of the home belongs to another market or clock, or is served already.
        ExchangeUnavailableError: the server did not come up.
    """
    with serve_server_in_thread(ExchangeServer(config or ServeConfig(), market)) as running:
        yield running


@contextmanager
def serve_server_in_thread(
    server: ExchangeServer, before_close: Callable[[], None] = lambda: None
) -> Iterator[RunningExchange]:
    """Run a server while the context lasts; `before_close` is called when it ends.

    Raises:
        ExchangeUnavailableError: the server did not come up.
    """
    ready = threading.Event()
    thread = threading.Thread(target=_run(server, ready), name="embedded-exchange", daemon=True)
    thread.start()
    try:
        if not ready.wait(READY_TIMEOUT_S):
            raise ExchangeUnavailableError(
                f"the embedded exchange did not answer within {READY_TIMEOUT_S:.0f} s in its thread: try "
                "again on a less busy machine"
            )
        yield RunningExchange(server)
    finally:
        before_close()
        server.stop()
        thread.join()


def _run(server: ExchangeServer, ready: threading.Event) -> Callable[[], None]:
    return lambda: server.run(ready.set)
