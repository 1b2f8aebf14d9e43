"""What every connector speaks: frozen records in the field's terms, `Decimal` for money and quantities.

The words are the project's own. A connector translates its exchange's words, codes and numbers into them; where a
venue's own word is kept, it is for a person to read and never compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Self, TypeVar

from trading_assets.core.timeframes import DAY_MS

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class UnreadableRow:
    """A row of a list that cannot be read. `symbol` is None where not even that could be."""

    symbol: str | None
    why: str


class Rows(tuple[_Row, ...]):
    """What a list read gives: the rows that can be read, each once, and those that cannot.

    Attributes:
        unreadable: rows left out; their symbols are to be left alone, and told.
    """

    unreadable: tuple[UnreadableRow, ...]

    def __new__(cls, rows: Iterable[_Row] = (), unreadable: Iterable[UnreadableRow] = ()) -> Self:
        made = super().__new__(cls, tuple(rows))
        made.unreadable = tuple(unreadable)
        return made

    def may_hide(self, symbol: str) -> bool:
        """Whether a row of the symbol may be among those that cannot be read: then its absence says nothing."""
        return any(row.symbol in (None, symbol) for row in self.unreadable)


class Side(StrEnum):
    BUY = "Buy"
    SELL = "Sell"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderStatus(StrEnum):
    """How far an order has come. `DEACTIVATED`: a conditional order was cancelled before its trigger.

    `OTHER` is a word of the venue that the project does not know: not final, so the order is asked for again.
    """

    NEW = "new"
    PARTIALLY_FILLED = "partially filled"
    UNTRIGGERED = "untriggered"
    TRIGGERED = "triggered"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    DEACTIVATED = "deactivated"
    OTHER = "other"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.DEACTIVATED})


class OrderPurpose(StrEnum):
    """Why an order exists."""

    ORDINARY = "ordinary"
    """placed for its own sake: an entry or an exit"""
    CONDITIONAL = "conditional"
    """waits for a price, and belongs to no position"""
    STOP = "stop"
    TARGET = "target"
    TRAILING_STOP = "trailing stop"

    @property
    def is_protective(self) -> bool:
        """Whether the order belongs to a position and ends it."""
        return self in _PROTECTIVE


_PROTECTIVE = frozenset({OrderPurpose.STOP, OrderPurpose.TARGET, OrderPurpose.TRAILING_STOP})


class RejectReason(StrEnum):
    """Why an order ended without being filled in full."""

    NO_LIQUIDITY = "nothing on the other side of the book"
    CANCELLED = "cancelled on request"
    PRICE = "price refused"
    QUANTITY = "quantity refused"
    POST_ONLY = "it would have taken liquidity"
    SELF_MATCH = "it would have met an order of the same account"
    SYMBOL = "the contract cannot be traded now"
    OTHER = "another reason"


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


DOLLARS = ("USDT", "USDC")
"""Coins that count as a dollar each: trades settle in them, and what is paid in or out in them moves the peak."""


@dataclass(frozen=True)
class Wallet:
    """The unified account in USD.

    Attributes:
        available: what new positions may use as margin; None where the venue does not tell it.
        initial_margin, maintenance_margin: of all positions and orders; None likewise.
        balances: of each coin, without open PnL, in the coin; empty where the venue does not tell them.
    """

    equity: Decimal
    wallet_balance: Decimal
    available: Decimal | None
    initial_margin: Decimal | None
    maintenance_margin: Decimal | None
    unrealised_pnl: Decimal
    balances: Mapping[str, Decimal] = field(default_factory=dict)

    def dollars(self) -> Decimal | None:
        """The balance of the coins that count as a dollar each; None where it is not told."""
        held = [balance for coin, balance in self.balances.items() if coin in DOLLARS]
        return sum(held, Decimal(0)) if held else None


@dataclass(frozen=True)
class Position:
    """An open position, or one leg of two in hedge mode.

    Attributes:
        position_idx: 0 in one-way mode; 1 is the long leg and 2 the short leg of hedge mode.
        stop_loss, take_profit: None where the venue holds none.
    """

    symbol: str
    side: Side
    size: Decimal
    entry_price: Decimal
    mark_price: Decimal
    leverage: Decimal
    unrealised_pnl: Decimal
    realised_pnl: Decimal
    liquidation_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    position_idx: int
    opened_ms: int
    updated_ms: int


@dataclass(frozen=True)
class OrderRequest:
    """A market order with its stops. Prices on the tick, quantity on the step: the caller rounds.

    Attributes:
        trigger_price: the order waits until the last price has come to it; only for one that reduces a position.
        position_idx: the leg that the order is for; 0 in one-way mode.
    """

    symbol: str
    side: Side
    qty: Decimal
    order_link_id: str
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    reduce_only: bool = False
    trigger_price: Decimal | None = None
    position_idx: int = 0


@dataclass(frozen=True)
class OrderAck:
    """The venue accepted the request (not yet a fill)."""

    order_id: str
    order_link_id: str


@dataclass(frozen=True)
class Order:
    """An order as the venue knows it.

    Attributes:
        reject_reason: None where the venue gives no reason.
        venue_reason: the venue's own words for it, empty where it gives none.
        venue_status: the venue's own word for the status, where it is `OTHER`.
    """

    symbol: str
    order_id: str
    order_link_id: str
    side: Side
    status: OrderStatus
    purpose: OrderPurpose
    qty: Decimal
    filled_qty: Decimal
    average_price: Decimal | None
    fee: Decimal
    reduce_only: bool
    stop_loss: Decimal | None
    take_profit: Decimal | None
    trigger_price: Decimal | None
    reject_reason: RejectReason | None
    venue_reason: str
    created_ms: int
    updated_ms: int
    venue_status: str = ""


class FillKind(StrEnum):
    """What moved a position or its balance: only `TRADE` is an ordinary fill. The ledger keeps the values."""

    TRADE = "trade"
    FUNDING = "funding"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    OTHER = "other"


class CloseReason(StrEnum):
    """Why a position was closed. The ledger keeps the values; only `STOP` counts as a stop."""

    STOP = "stop"
    TARGET = "target"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    OTHER = "other"
    """by an order of its own (ours, or a person's), or by a trailing stop, which is a person's"""


_CLOSED_BY_KIND = {
    FillKind.LIQUIDATION: CloseReason.LIQUIDATION,
    FillKind.ADL: CloseReason.ADL,
    FillKind.SETTLEMENT: CloseReason.SETTLEMENT,
}
_CLOSED_BY_PURPOSE = {OrderPurpose.STOP: CloseReason.STOP, OrderPurpose.TARGET: CloseReason.TARGET}


def close_reason(kind: FillKind, purpose: OrderPurpose | None) -> CloseReason:
    """Why a position was closed, from what moved it and, for an ordinary fill, the closing order's purpose.

    Args:
        purpose: None where the order is not known.
    """
    if kind in _CLOSED_BY_KIND:
        return _CLOSED_BY_KIND[kind]
    return CloseReason.OTHER if purpose is None else _CLOSED_BY_PURPOSE.get(purpose, CloseReason.OTHER)


@dataclass(frozen=True)
class Execution:
    """One execution row.

    Attributes:
        kind: what it means to the books.
        exec_type: the venue's own word for it, kept in the ledger for a person.
        fee: of a funding row: above 0 was paid, below 0 received.
    """

    exec_id: str
    symbol: str
    order_id: str
    order_link_id: str
    side: Side
    kind: FillKind
    exec_type: str
    price: Decimal
    qty: Decimal
    value: Decimal
    fee: Decimal
    fee_rate: Decimal
    is_maker: bool
    closed_size: Decimal
    purpose: OrderPurpose
    time_ms: int


@dataclass(frozen=True)
class ClosedPnl:
    """One closing order. `side` is the side of the closing order; `pnl` is net of opening and closing fees."""

    symbol: str
    order_id: str
    side: Side
    qty: Decimal
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    open_fee: Decimal
    close_fee: Decimal
    kind: FillKind
    created_ms: int
    updated_ms: int


@dataclass(frozen=True)
class ApiKeyInfo:
    """What the venue says of the key in use.

    Attributes:
        addresses: from which it may be used; empty means any.
        expires_ms: None where it does not expire.
        faults: what else forbids to trade with it, and what to do, in the venue's terms.
    """

    read_only: bool
    may_withdraw: bool
    addresses: tuple[str, ...]
    expires_ms: int | None
    faults: tuple[str, ...] = ()


class MarginMode(StrEnum):
    """What secures a position: the whole account, or its own margin alone."""

    CROSS = "cross"
    ISOLATED = "isolated"
    PORTFOLIO = "portfolio"
    OTHER = "other"


class PositionMode(StrEnum):
    """Whether a contract has one position, or a long and a short leg side by side."""

    ONE_WAY = "one-way"
    HEDGE = "hedge"


@dataclass(frozen=True)
class FeeRate:
    """What the venue takes of an account's fills in a contract, fractions of notional."""

    symbol: str
    taker: Decimal
    maker: Decimal


@dataclass(frozen=True)
class AccountShape:
    """How the account is set up at the venue.

    Attributes:
        user_id: the venue's number of the account; None where it does not tell it (demo trading).
        position_mode: of the contract that was asked about.
    """

    user_id: str | None
    unified: bool
    margin_mode: MarginMode
    position_mode: PositionMode


class TransactionKind(StrEnum):
    """What changed the balance of a coin."""

    TRADE = "trade"
    FUNDING = "funding"
    TRANSFER = "transfer"
    """a deposit, a withdrawal or a transfer: money that was neither earned nor lost"""
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    OTHER = "other"


@dataclass(frozen=True)
class Transaction:
    """A row of the account's transaction log.

    Attributes:
        word: the venue's own word for the kind.
        change: of the coin's balance, in the coin; `balance` is the balance after it.
        fee: above 0 was paid; funding: above 0 was received.
    """

    transaction_id: str
    kind: TransactionKind
    word: str
    coin: str
    symbol: str
    change: Decimal
    balance: Decimal
    fee: Decimal
    funding: Decimal
    order_id: str
    time_ms: int
