"""What the connector speaks: frozen records in the field's terms, `Decimal` for money and quantities.

No exchange error code, JSON key or string number passes this module upwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    BUY = "Buy"
    SELL = "Sell"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderStatus(StrEnum):
    NEW = "New"
    PARTIALLY_FILLED = "PartiallyFilled"
    UNTRIGGERED = "Untriggered"
    TRIGGERED = "Triggered"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"
    DEACTIVATED = "Deactivated"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.DEACTIVATED})


@dataclass(frozen=True)
class Instrument:
    """A contract's rules. `listed_ms` is its launch; `funding_interval_min` minutes between payments."""

    symbol: str
    base_coin: str
    quote_coin: str
    settle_coin: str
    contract_type: str
    status: str
    symbol_type: str
    listed_ms: int
    tick_size: Decimal
    qty_step: Decimal
    min_qty: Decimal
    max_market_qty: Decimal
    min_notional: Decimal
    max_leverage: Decimal
    leverage_step: Decimal
    funding_interval_min: int


@dataclass(frozen=True)
class Ticker:
    """Newest prices of a symbol. `turnover_24h` in USDT, `change_24h_pct` in percent."""

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


@dataclass(frozen=True)
class OrderBook:
    """Levels as (price, quantity), best first."""

    symbol: str
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    time_ms: int


@dataclass(frozen=True)
class Wallet:
    """The unified account in USD. `available` is what new positions may use as margin."""

    equity: Decimal
    wallet_balance: Decimal
    available: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    unrealised_pnl: Decimal


@dataclass(frozen=True)
class Position:
    """An open position. `stop_loss` and `take_profit` are None where the venue holds none."""

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
    """A market order with its stops. Prices on the tick, quantity on the step: the caller rounds."""

    symbol: str
    side: Side
    qty: Decimal
    order_link_id: str
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True)
class OrderAck:
    """The venue accepted the request (not yet a fill)."""

    order_id: str
    order_link_id: str


@dataclass(frozen=True)
class Order:
    """An order as the venue knows it. `stop_order_type` is StopLoss, TakeProfit ... or empty."""

    symbol: str
    order_id: str
    order_link_id: str
    side: Side
    status: OrderStatus
    order_type: str
    stop_order_type: str
    create_type: str
    qty: Decimal
    filled_qty: Decimal
    average_price: Decimal | None
    fee: Decimal
    reduce_only: bool
    stop_loss: Decimal | None
    take_profit: Decimal | None
    trigger_price: Decimal | None
    reject_reason: str
    cancel_type: str
    created_ms: int
    updated_ms: int


class FillKind(StrEnum):
    """What moved a position or its balance: only `TRADE` is an ordinary fill."""

    TRADE = "trade"
    FUNDING = "funding"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    OTHER = "other"


_KINDS = {
    "Trade": FillKind.TRADE,
    "Funding": FillKind.FUNDING,
    "BustTrade": FillKind.LIQUIDATION,
    "AdlTrade": FillKind.ADL,
    "SessionSettlePnL": FillKind.SETTLEMENT,
    "Settle": FillKind.SETTLEMENT,
    "Delivery": FillKind.SETTLEMENT,
}


@dataclass(frozen=True)
class Execution:
    """One execution row. `exec_type` is the venue's word, `kind` what it means to the books.

    For funding rows `fee` > 0 means paid.
    """

    exec_id: str
    symbol: str
    order_id: str
    order_link_id: str
    side: Side
    exec_type: str
    price: Decimal
    qty: Decimal
    value: Decimal
    fee: Decimal
    fee_rate: Decimal
    is_maker: bool
    closed_size: Decimal
    create_type: str
    stop_order_type: str
    time_ms: int

    @property
    def kind(self) -> FillKind:
        return _KINDS.get(self.exec_type, FillKind.OTHER)


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
    exec_type: str
    created_ms: int
    updated_ms: int


@dataclass(frozen=True)
class ApiKeyInfo:
    """What the venue says of the key in use.

    Attributes:
        permissions: as `ContractTrade.Order`.
        addresses: from which it may be used; empty means any.
        expires_ms: None where it does not expire.
    """

    read_only: bool
    permissions: frozenset[str]
    addresses: tuple[str, ...]
    expires_ms: int | None
    unified: bool
