"""The paper exchange: an embedded exchange on the live market, with the feed beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from trading_assets.simulator.embedded import RunningExchange, serve_server_in_thread
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.market.live import LiveMarket
from trading_assets.simulator.market.quotes import Limits
from trading_assets.simulator.persistence import LIVE, AccountStore
from trading_assets.simulator.server import ExchangeServer, ServeConfig, serve_until_stopped
from trading_assets.simulator.venue import Venue
from trading_assets.venues.paper.feed import CONTRACTS, POLL_S, QUOTES, PaperFeed
from trading_assets.venues.paper.source import Source, SourceTime

SEED, SYMBOLS = 0, 1
"""What the account of a live market is stored with: neither has a meaning there."""


@dataclass(frozen=True)
class PaperConfig:
    """How a paper exchange is run.

    Attributes:
        max_price_age_s: nothing is traded at an older price.
        poll_s: seconds between two looks at all prices.
    """

    source: Source
    serve: ServeConfig
    max_price_age_s: float = 10.0
    poll_s: float = POLL_S


class PaperServer:
    """The exchange and its feed. `close` ends what `open` began."""

    def __init__(self, config: PaperConfig) -> None:
        """
        Raises:
            ConfigurationError: the account is another market's, or is being served already; the port is taken.
            ExchangeError: the source does not answer, and nothing is known of its contracts from before.
            StorageError: the account's file cannot be used.
        """
        source, speed = config.source, config.source.speed or 1.0
        clock = SourceTime(source.speed)
        usual = Limits()
        limits = Limits(
            lag_ms=round(usual.lag_ms * speed),
            stale_ms=round(config.max_price_age_s * 1000 * speed),
            give_up_ms=round(usual.give_up_ms * speed),
        )
        market = LiveMarket(clock.now_ms, limits)
        self.feed = PaperFeed(source, source.open_rows(), clock, market, poll_s=config.poll_s)

        def opened(serve: ServeConfig, _: Market | None) -> Venue:
            store = AccountStore(serve.account_file)
            try:
                contracts, quotes = store.noted(CONTRACTS), store.noted(QUOTES)
            finally:
                store.close()
            self.feed.restore(contracts, quotes)
            venue = Venue(serve, market, LIVE, clock.now_ms, content=source.market)
            self.feed.take_up(venue)
            return venue

        self.server = ExchangeServer(replace(config.serve, seed=SEED, symbols=SYMBOLS), None, opened)
        self.market = market

    def start(self) -> None:
        """Bring prices from now on."""
        self.feed.start()


def serve_paper(config: PaperConfig) -> None:
    """Run a paper exchange in the foreground until it is stopped. Raises as `PaperServer` does."""
    paper = PaperServer(config)
    paper.start()
    try:
        serve_until_stopped(paper.server, before_close=paper.feed.stop)
    finally:
        paper.feed.stop()


@contextmanager
def paper_in_thread(config: PaperConfig) -> Iterator[tuple[RunningExchange, PaperServer]]:
    """Serve while the context lasts. Raises as `PaperServer` does."""
    paper = PaperServer(config)
    with serve_server_in_thread(paper.server, before_close=paper.feed.stop) as running:
        paper.start()
        yield running, paper
