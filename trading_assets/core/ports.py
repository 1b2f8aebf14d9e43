"""A venue as the rest of the project sees it: protocols, no implementation.

`MarketData` is all that research needs (and what tests of look-ahead poison); `Exchange` adds the account; a
`VenueAdapter` opens both. Errors are those of `trading_assets.core.errors`; every time is UTC ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from trading_assets.core.candles import Candles, Funding
    from trading_assets.core.errors import ExchangeError
    from trading_assets.core.models import (
        AccountShape,
        Announcement,
        ApiKeyInfo,
        ClosedPnl,
        Execution,
        FeeRate,
        Instrument,
        Order,
        OrderAck,
        OrderBook,
        OrderChange,
        OrderRequest,
        Position,
        Rows,
        SendBy,
        Ticker,
        Tickers,
        Transaction,
        Wallet,
    )
    from trading_assets.core.settings import Settings
    from trading_assets.core.streams import AccountEvent, AccountStream, CandleStream, StreamEvent, Topic
    from trading_assets.core.timeframes import Timeframe

ENTRY = "e"
"""The kind of an order that opens a position. Others: "x", "x2" ... emergency exits, "f1" ... closings by command."""


class MarketData(Protocol):
    """Public data of one venue. Reads are retried; an `ExchangeUnavailableError` means they all failed."""

    def now_ms(self) -> int:
        """The venue's time. Virtual on the embedded exchange, else the local clock within its guard."""
        ...

    def market(self) -> str:
        """Name of the market whose prices these are. Venues with the same prices give the same name."""
        ...

    def finest_timeframe(self) -> Timeframe:
        """The timeframe of the shortest candles that it has of any contract: shorter ones are not to be made up."""
        ...

    def instruments(self) -> Rows[Instrument]:
        """Every linear contract the venue lists, all pages."""
        ...

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Candles that start in [start_ms, end_ms) and have closed, all pages, ascending; may have gaps."""
        ...

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Funding payments in [start_ms, end_ms), all pages, ascending."""
        ...

    def tickers(self) -> Tickers:
        """Newest ticker of every linear symbol."""
        ...

    def ticker(self, symbol: str) -> Ticker: ...

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook: ...


@runtime_checkable
class PastMarket(MarketData, Protocol):
    """A market that has ended: its clock stands, and a list of contracts tells the rules of its own time alone."""

    def rules_known(self, symbol: str, as_of_ms: int) -> bool:
        """Whether tick, lot and leverage of a contract are known for a time; else they are assumed."""
        ...

    def described(self) -> str:
        """Where its prices are from, in one line for a report."""
        ...

    def announcements(self) -> Sequence[Announcement]:
        """Ends of contracts, and since when each was known; those of which that is not known are not told."""
        ...

    def delivery_prices(self) -> Mapping[str, float]:
        """At which price positions were settled at a contract's end, where it is known."""
        ...


class ClientOrderIds(Protocol):
    """The venue's rules for the ids that we give to our orders."""

    def encode(self, signal_id: str, kind: str = ENTRY) -> str:
        """The id of a signal's order: a function of the two alone, so that a restart finds what was sent.

        Ids of other signals or kinds differ. The venue accepts its form, and takes each id only once.
        """
        ...

    def is_ours(self, order_link_id: str) -> bool:
        """Whether an id has the form of one of our orders, of whatever kind."""
        ...

    def is_of(self, order_link_id: str, kind: str) -> bool:
        """Whether an id has the form of one of our orders of a kind."""
        ...

    def is_entry(self, order_link_id: str) -> bool:
        """Whether an id has the form of one of our entries; any program like this one makes such ids."""
        ...


class Exchange(MarketData, Protocol):
    """A venue with an account. Reads retry; writes are sent once."""

    def repeat_reads(self, older_than: float) -> None:
        """The link is back: ask again what was asked before this moment of `time.monotonic` and has no answer yet.

        Such a question hangs on a connection that died with the link. Orders are never sent a second time by it.
        """
        ...

    def can_connect(self, within_s: float) -> bool:
        """Whether a new connection to the venue can be opened within this time. Nothing is asked on it."""
        ...

    @property
    def order_ids(self) -> ClientOrderIds:
        """How orders are named at this venue."""
        ...

    def clock_offset_ms(self) -> int:
        """The venue's clock minus this machine's, ms; 0 where the venue has a clock of its own that is used instead."""
        ...

    def api_key(self) -> ApiKeyInfo | None:
        """What the venue says of the key in use; None where it does not tell (demo trading)."""
        ...

    def account_shape(self, symbol: str) -> AccountShape:
        """How the account is set up: margin mode, kind of account, and the position mode of a contract."""
        ...

    def fee_rates(self) -> Sequence[FeeRate]:
        """The account's own fees in every linear contract."""
        ...

    def set_one_way(self) -> None:
        """Switch every contract in the venue's settle coin to one-way mode; "not modified" is success.

        Raises:
            AccountShapeError: a position or an order is open.
        """
        ...

    def set_cross_margin(self) -> None:
        """Switch the account to cross margin; "not modified" is success."""
        ...

    def wallet(self) -> Wallet:
        """
        Raises:
            UnreadableAnswerError: the venue leaves equity or balance empty: unknown, not zero.
        """
        ...

    def positions(self) -> Rows[Position]:
        """Every open position and leg, of every settle coin of linear contracts, all pages."""
        ...

    def position(self, symbol: str) -> Position | None:
        """The open position of a symbol in one-way mode; None means the venue said flat (a failed read raises).

        Raises:
            AccountShapeError: the symbol is in hedge mode.
        """
        ...

    def leverage(self, symbol: str) -> Decimal | None:
        """What is set for a symbol, also where nothing is open; None where the venue does not tell."""
        ...

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Same for both sides; "not modified" is success."""
        ...

    def place_order(self, request: OrderRequest) -> OrderAck:
        """Send once, and not at all after the request's `send_by`: it is compared once the request is signed.

        Raises:
            OrderRejectedError: refused; nothing was placed. `PriceRefusedError` and `RulesChangedError` say why.
            AccountShapeError, ExchangeFatalError: refused for the whole account; nothing was placed.
            NotSentError: certainly without effect; `TooLateError`: its time to be sent has passed.
            AmbiguousOutcomeError: unknown: ask `find_order` before anything else.
        """
        ...

    def find_order(self, symbol: str, order_link_id: str) -> Order | None:
        """Look in open and recent orders, then in the history; None only when both said "no such order"."""
        ...

    def order(self, symbol: str, order_id: str) -> Order | None:
        """The order of this id, open or past; None when the venue said "no such order"."""
        ...

    def open_orders(self, symbol: str | None = None) -> Rows[Order]:
        """Orders that wait, of a symbol or of every settle coin, all pages."""
        ...

    def cancel_order(self, symbol: str, order_link_id: str) -> None:
        """Cancel an order of ours; one that has ended already, or that the venue does not know, is success.

        Success means that the request was accepted: the order may still be filled. Look it up.
        """
        ...

    def amend_order(self, change: OrderChange) -> None:
        """Change an order of ours that waits; "not modified" is success.

        Success means that the request was accepted: the order may be filled as it was. Look it up.

        Raises:
            OrderEndedError: it waits no longer.
            OrderRejectedError: refused; the order waits as it was. Its subclasses say why.
        """
        ...

    def orders_at_once(self) -> int:
        """How many orders one request may place now, without waiting for the venue's limits. Nothing is asked."""
        ...

    def place_orders(self, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
        """Send many, each once. The outcome of each by itself, in their order; see `place_order` for the errors.

        What became of a request as a whole is one and the same error object for all of its orders.
        """
        ...

    def amend_orders(self, changes: Sequence[OrderChange]) -> list[ExchangeError | None]:
        """Change many. None for each that was accepted; see `amend_order` for the errors."""
        ...

    def cancel_orders(self, orders: Sequence[tuple[str, str]]) -> list[ExchangeError | None]:
        """Cancel many of ours by (symbol, order link id). None for each that was accepted, or has ended.

        There is no call that cancels all orders of an account: it would take those of others, and every stop.
        """
        ...

    def set_stops(
        self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None, send_by: SendBy | None = None
    ) -> None:
        """Attach to the open position; "not modified" is success. Each try is signed by `send_by`, or not made.

        Whose position is open may change at any time. Who has read that it is ours gives the time from then on; None:
        whenever.

        Raises:
            TooLateError: its time has passed, and nothing was set.
            PriceRefusedError: the price has come to a level already. No other refusal says anything about the price.
        """
        ...

    def executions(self, start_ms: int, end_ms: int) -> Rows[Execution]:
        """Every kind, all pages, ascending in time; those of one moment in the venue's order, where it tells one."""
        ...

    def closed_pnl(self, start_ms: int, end_ms: int) -> Rows[ClosedPnl]:
        """One row for each closing order, in its latest state, all pages, ascending in time. A row grows while its
        order fills."""
        ...

    def transactions(self, start_ms: int, end_ms: int) -> Rows[Transaction]:
        """What changed the balances of the account's coins, all pages, ascending in time."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


@dataclass(frozen=True)
class VenueSymbols:
    """A venue's own names: the perpetual of bitcoin, and the coin in which traded contracts are quoted and settled."""

    btc: str
    settle_coin: str


class VenueAdapter(Protocol):
    """What a setting of `venue` stands for. A module in `trading_assets.venues` holds one; nothing starts on import."""

    @property
    def symbols(self) -> VenueSymbols: ...

    @property
    def is_simulated(self) -> bool:
        """Whether the venue is the project's own: nothing is at stake, so trading is on by default."""
        ...

    @property
    def is_real_money(self) -> bool:
        """Whether orders move real money: a second switch is demanded."""
        ...

    @property
    def candle_folder(self) -> str:
        """Name of the directory of its candles. Venues of one market share it."""
        ...

    def open_market_data(self, settings: Settings) -> MarketData: ...

    def open_exchange(self, settings: Settings) -> Exchange: ...

    def open_candle_stream(
        self, settings: Settings, topics: Sequence[Topic], deliver: Callable[[StreamEvent], None]
    ) -> CandleStream:
        """A stream that is not started yet. `deliver` is called with each event and returns at once."""
        ...

    def open_account_stream(self, settings: Settings, deliver: Callable[[AccountEvent], None]) -> AccountStream:
        """A stream of the account's changes, not started yet. `deliver` is called in its thread; it returns at once."""
        ...
