"""What a live market is told: quotes, tickers, candles of what was missed; and how old they may be. No time here."""

from __future__ import annotations

from dataclasses import dataclass

from trading_assets.simulator.market.base import Stats24h

_PLACES = 10
"""Of a price: more than any tick has, and without a binary tail."""


@dataclass(frozen=True)
class Quote:
    """What holds from a moment on. A side of the book without a price is 0."""

    last: float
    mark: float
    index: float
    bid: float
    bid_size: float
    ask: float
    ask_size: float

    def around(self, last: float) -> Quote:
        """The same book and basis around another price."""
        share = last / self.last

        def beside(price: float) -> float:
            return round(max(last + (price - self.last), 0.0), _PLACES) if price else 0.0

        return Quote(
            last,
            round(self.mark * share, _PLACES),
            round(self.index * share, _PLACES),
            min(beside(self.bid), last),
            self.bid_size,
            max(beside(self.ask), last) if self.ask else 0.0,
            self.ask_size,
        )


@dataclass(frozen=True)
class DayRow:
    """The rest of a ticker row: figures of 24 hours, and the next payment of funding."""

    stats: Stats24h
    open_interest: float
    funding_rate: float | None
    next_funding_ms: int


@dataclass(frozen=True)
class MissedCandle:
    """A candle of one minute that was asked for, since its trades were not heard."""

    start_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Limits:
    """How old prices may be, in ms of the other exchange's time.

    Attributes:
        lag_ms: followed closely; what is older has a gap.
        stale_ms: nothing is traded at an older price.
        give_up_ms: a contract that is silent for so long, while others are heard, stands still.
    """

    lag_ms: int = 3_000
    stale_ms: int = 10_000
    give_up_ms: int = 120_000
