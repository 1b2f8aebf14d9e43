"""What the embedded exchange needs of a market: contracts, and prices of any time. No accounts, no HTTP.

Three markets fulfil it: the seeded one (`seeded.py`), a replay of recorded candles (`replay.py`) and a live one that is
told another exchange's prices (`live.py`). The first two are functions of time: asking never changes them, and the same
question has the same answer in any order and in any process. The live one knows the past only, see `Market.begin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import MINUTE_MS, floor_ms

Bars = npt.NDArray[np.float64]
"""Shape (n, 7), ascending: start_ms, open, high, low, close, volume (base coin), turnover (quote coin).
Prices are multiples of the tick, volumes multiples of the quantity step."""

START, OPEN, HIGH, LOW, CLOSE, VOLUME, TURNOVER = range(7)


@dataclass(frozen=True)
class Contract:
    """A listed contract's rules and profile; the strings of `instruments-info` are made of it."""

    symbol: str
    symbol_id: int
    base_coin: str
    quote_coin: str
    settle_coin: str
    contract_type: str
    """LinearPerpetual or LinearFutures"""
    status: str
    symbol_type: str
    launch_ms: int
    delivery_ms: int
    """0 for what has no end, as perpetuals but those that are delisted"""
    price_scale: int
    tick_size: Decimal
    min_price: Decimal
    max_price: Decimal
    qty_step: Decimal
    min_qty: Decimal
    max_qty: Decimal
    max_market_qty: Decimal
    min_notional: Decimal
    max_leverage: Decimal
    leverage_step: Decimal
    funding_interval_min: int
    funding_cap: Decimal
    price_limit_x: Decimal
    price_limit_y: Decimal
    max_active: int = 500
    max_conditional: int = 10
    """orders of one account that may wait in it"""
    announced_ms: int = 0
    """since when its delivery is told; 0: always"""

    def told_delivery_ms(self, now_ms: int) -> int:
        """When it is delivered, as far as that is announced; else 0."""
        return self.delivery_ms if now_ms >= self.announced_ms else 0


class UnknownPriceError(DataError):
    """The price of a contract is not known, or too old to trade at."""


class Reference(StrEnum):
    """Prices beside the last one that have candles of their own."""

    MARK = "mark"
    INDEX = "index"
    PREMIUM = "premium"


@dataclass(frozen=True)
class PathPoint:
    """A moment and the last traded price at it."""

    time_ms: int
    price: float


@dataclass(frozen=True)
class Stats24h:
    """The 24 hours before a moment: what a ticker shows. `volume` in base coin, `turnover` in quote coin."""

    prev_price_24h: float
    high: float
    low: float
    volume: float
    turnover: float
    prev_price_1h: float


class Market(Protocol):
    """A market as a function of time. Times are UTC ms; an unknown symbol is a KeyError."""

    contracts: Mapping[str, Contract]
    finest_minutes: int
    """Length of the shortest candles that are shown of any contract."""
    keeps_paths: bool
    """Whether the path of any past minute can be asked for: a trailing stop follows it from its begin."""

    def begin(self, settled_ms: int, now_ms: int, followed: Callable[[], Iterable[str]]) -> int:
        """A request is answered at `now_ms`: return how far the account may live, at most to `now_ms`.

        What a live market learns afterwards happens later than that. `followed` gives the contracts in which there are
        positions or orders.
        """
        ...

    def fixed_through(self, time_ms: int) -> int:
        """The last moment, at or after `time_ms`, up to which the path of every contract is known for good."""
        ...

    def require_price(self, symbol: str, now_ms: int) -> None:
        """Call before anything is traded.

        Raises:
            UnknownPriceError: there is no price of `now_ms`.
        """
        ...

    def attend(self, symbol: str) -> None:
        """Somebody looks at this contract: its prices will soon be asked for."""
        ...

    def candles(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """The `bars` that the venue shows: none is shorter than the candles that the market is made of."""
        ...

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """Candles whose start lies in [start_ms, end_ms) as seen at `now_ms`.

        `interval` is Bybit's ("1" "3" ... "720" "D" "W" "M"). A candle still open at `now_ms` is cut there, so
        it agrees with what it will become; candles that start after `now_ms` or end before the launch do not exist.
        The week and month of the launch hold what was traded since.
        """
        ...

    def path(self, symbol: str, minute_ms: int) -> tuple[PathPoint, ...]:
        """The trades of one minute, in time: open, first extreme, second extreme, close. Between two points the
        price moves on a straight line. Times lie in [minute_ms, minute_ms + 60_000)."""
        ...

    def last_price(self, symbol: str, time_ms: int) -> float:
        """Price of the last trade, on the tick."""
        ...

    def index_price(self, symbol: str, time_ms: int) -> float:
        """Of the market behind the contract: smoother than the last price and, for a perpetual, close to it."""
        ...

    def reference_bars(
        self, symbol: str, kind: Reference, interval: str, start_ms: int, end_ms: int, now_ms: int
    ) -> Bars:
        """Candles of the mark price, the index price or the premium, of shape (n, 5): start, open, high, low, close.
        Times as with `bars`; an open candle ends where the price of `now_ms` is."""
        ...

    def stats_24h(self, symbol: str, now_ms: int) -> Stats24h:
        """What a ticker shows, from the minute that was open 24 hours before `now_ms` on."""
        ...

    def mark_price(self, symbol: str, time_ms: int) -> float:
        """On the tick; close to the last price, smoother than it."""
        ...

    def book(self, symbol: str, time_ms: int, depth: int) -> tuple[Bars, Bars]:
        """Bids and asks of shape (<= depth, 2): price, quantity; best first, around the last price."""
        ...

    def funding_rate(self, symbol: str, funding_ms: int) -> float:
        """The rate paid at `funding_ms`, a multiple of the contract's interval; fraction of notional."""
        ...

    def open_interest(self, symbol: str, time_ms: int) -> float:
        """In base coin."""
        ...


class FunctionOfTime:
    """What a market says whose prices are known for all times."""

    keeps_paths = True

    def begin(self, settled_ms: int, now_ms: int, followed: Callable[[], Iterable[str]]) -> int:
        """See `Market.begin`."""
        return now_ms

    def fixed_through(self, time_ms: int) -> int:
        """See `Market.fixed_through`: to the end of the minute, so that steps within a minute search it once."""
        return floor_ms(time_ms, MINUTE_MS) + MINUTE_MS - 1

    def require_price(self, symbol: str, now_ms: int) -> None:
        """See `Market.require_price`."""

    def attend(self, symbol: str) -> None:
        """See `Market.attend`."""
