"""Contracts and their market: instruments, announcements, tickers, the order book."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trading_assets.core.models.rows import Rows
from trading_assets.core.timeframes import DAY_MS


class ContractKind(StrEnum):
    """Kind of a contract."""

    PERPETUAL = "perpetual"
    DATED = "dated"
    INVERSE = "inverse"
    """settled in the coin that it is about"""
    OTHER = "other"


class ContractStatus(StrEnum):
    """Whether a contract is traded. Only `TRADING` takes orders."""

    PRE_LAUNCH = "pre-launch"
    TRADING = "trading"
    SETTLING = "settling"
    CLOSED = "closed"
    OTHER = "other"


@dataclass(frozen=True)
class Instrument:
    """A contract's rules.

    Attributes:
        is_coin: its price is that of a coin, and not of a share, a currency or a commodity.
        listed_ms: its launch, UTC ms.
        funding_interval_min: minutes between funding payments; 0 where the contract has none, as a dated one.
        delivery_ms: when the contract is settled and ends, UTC ms, as far as the venue has announced it.
    """

    symbol: str
    base_coin: str
    quote_coin: str
    settle_coin: str
    kind: ContractKind
    status: ContractStatus
    is_coin: bool
    listed_ms: int
    tick_size: Decimal
    qty_step: Decimal
    min_qty: Decimal
    max_market_qty: Decimal
    min_notional: Decimal
    max_leverage: Decimal
    leverage_step: Decimal
    funding_interval_min: int
    delivery_ms: int | None = None


def is_leaving(delivery_ms: int | None, now_ms: int, within_days: float | None) -> bool:
    """Whether a contract is to be delivered, so that no position is opened in it any more.

    Args:
        delivery_ms: as far as it is announced.
        within_days: only if so soon; None for any announcement.
    """
    return delivery_ms is not None and (within_days is None or delivery_ms - now_ms < within_days * DAY_MS)


@dataclass(frozen=True)
class Announcement:
    """That a contract will be delivered and end; times in UTC ms.

    Attributes:
        seen_ms: from this as-of on the announcement was known.
    """

    symbol: str
    delivery_ms: int
    seen_ms: int

    def is_known(self, as_of_ms: int) -> bool:
        """Whether it was known then, and the contract had not ended yet."""
        return self.seen_ms <= as_of_ms < self.delivery_ms


@dataclass(frozen=True)
class Ticker:
    """Newest prices of a symbol. `turnover_24h` in the settle coin, `change_24h_pct` in percent."""

    symbol: str
    last: Decimal
    mark: Decimal
    bid: Decimal
    ask: Decimal
    turnover_24h: Decimal
    volume_24h: Decimal
    change_24h_pct: Decimal
    funding_rate: Decimal | None
    next_funding_ms: int

    @property
    def spread_pct(self) -> Decimal:
        """(ask - bid) / mid, percent; 100 where a side is missing."""
        if self.bid <= 0 or self.ask <= 0:
            return Decimal(100)
        return (self.ask - self.bid) / ((self.ask + self.bid) / 2) * 100


class Tickers(dict[str, Ticker]):
    """Tickers by symbol.

    Attributes:
        unreadable: rows left out.
    """

    def __init__(self, rows: Rows[Ticker]) -> None:
        super().__init__((ticker.symbol, ticker) for ticker in rows)
        self.unreadable = rows.unreadable


@dataclass(frozen=True)
class OrderBook:
    """Levels as (price, quantity), best first."""

    symbol: str
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    time_ms: int
