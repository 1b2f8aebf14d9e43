"""The face of an exchange as the rest of the project sees it: two protocols, no implementation.

`MarketData` is all that research needs (and what tests of look-ahead poison); `Exchange` adds the account.
Errors are those of `trading_assets.core.errors`; every time is UTC ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import (
    ApiKeyInfo,
    ClosedPnl,
    Execution,
    Instrument,
    Order,
    OrderAck,
    OrderBook,
    OrderRequest,
    Position,
    Ticker,
    Wallet,
)
from trading_assets.core.timeframes import Timeframe


class MarketData(Protocol):
    """Public data of one venue. Reads are retried; an `ExchangeUnavailableError` means they all failed."""

    def now_ms(self) -> int:
        """The venue's time. Virtual on the embedded exchange, else the local clock within its guard."""
        ...

    def instruments(self) -> Sequence[Instrument]:
        """Every linear contract the venue lists, all pages."""
        ...

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Candles that start in [start_ms, end_ms) and have closed, all pages, ascending; may have gaps."""
        ...

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Funding payments in [start_ms, end_ms), all pages, ascending."""
        ...

    def tickers(self) -> dict[str, Ticker]:
        """Newest ticker of every linear symbol."""
        ...

    def ticker(self, symbol: str) -> Ticker: ...

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook: ...


class Exchange(MarketData, Protocol):
    """A venue with an account. Reads retry; writes are sent once."""

    def api_key(self) -> ApiKeyInfo | None:
        """What the venue says of the key in use; None where it does not tell (demo trading)."""
        ...

    def wallet(self) -> Wallet: ...

    def positions(self) -> Sequence[Position]:
        """Every open position settled in USDT, all pages."""
        ...

    def position(self, symbol: str) -> Position | None:
        """The open position of a symbol; None means the venue said flat (a failed read raises)."""
        ...

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Same for both sides; "not modified" is success."""
        ...

    def place_order(self, request: OrderRequest) -> OrderAck:
        """Send once.

        Raises:
            OrderRejectedError: refused; nothing was placed.
            NotSentError: certainly without effect.
            AmbiguousOutcomeError: unknown: ask `find_order` before anything else.
        """
        ...

    def find_order(self, symbol: str, order_link_id: str) -> Order | None:
        """Look in open and recent orders, then in the history; None only when both said "no such order"."""
        ...

    def order(self, symbol: str, order_id: str) -> Order | None:
        """The order of this id, open or past; None when the venue said "no such order"."""
        ...

    def open_orders(self, symbol: str | None = None) -> Sequence[Order]: ...

    def set_stops(self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None) -> None:
        """Attach to the open position; "not modified" is success."""
        ...

    def executions(self, start_ms: int, end_ms: int) -> Sequence[Execution]:
        """Every kind, all pages, ascending in time."""
        ...

    def closed_pnl(self, start_ms: int, end_ms: int) -> Sequence[ClosedPnl]:
        """All pages, ascending in time."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
