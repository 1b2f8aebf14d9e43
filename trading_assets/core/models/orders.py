"""Orders from the request to what became of them: fills, and how positions were closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from trading_assets.core.errors import TooLateError


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


class EntryOrder(StrEnum):
    """How a position is entered. The ledger keeps the values."""

    MARKET = "market"
    LIMIT = "limit"
    """at a price that waits for the market; what is not filled in its time is dropped"""
    POST_ONLY = "post-only"
    """the same, and it never takes liquidity: one that would is dropped"""
    CHASE = "chase"
    """as `LIMIT`; what is not filled in its time follows the market, up to the deviation that an entry may have"""


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


class CancelledBy(StrEnum):
    """Who has cancelled an order."""

    REQUEST = "on request"
    """by us, or by a person on the account: only the ledger can tell"""
    DISCONNECTION = "as the connection was lost"
    SELF_MATCH = "as it would have met an order of the same account"
    REDUCE_ONLY = "as there was nothing left to close"
    LIQUIDATION = "before a liquidation"
    ADL = "before auto-deleveraging"
    SETTLEMENT = "as the contract is settled"
    ADMIN = "by the venue"
    OTHER = "for another reason"

    @property
    def may_be_placed_anew(self) -> bool:
        """Whether the market and the account are as they were, so that the same order may be placed again."""
        return self in (CancelledBy.DISCONNECTION, CancelledBy.SELF_MATCH)


@dataclass(frozen=True)
class SendBy:
    """Until when a request may be signed. It travels with the request to where that is done.

    A process may sleep at any moment. So the time is compared after the signature, whose own time is then no later.
    What is sent long after it was signed, the venue refuses: it takes a signature of a few seconds only.

    Attributes:
        time_ms: the last moment, by `clock`.
        clock: the local clock, UTC ms.
        since_ms: when the time began to run. A clock that shows an earlier moment was put back: nobody knows how late
            it is.
    """

    time_ms: int
    clock: Callable[[], int]
    since_ms: int = 0

    @property
    def left_s(self) -> float:
        """Seconds until then, 0 where it has passed."""
        now_ms = self.clock()
        return max(self.time_ms - now_ms, 0) / 1000 if now_ms >= self.since_ms else 0.0

    def require(self) -> None:
        """
        Raises:
            TooLateError: the moment has passed.
        """
        now_ms = self.clock()
        if now_ms < self.since_ms:
            raise TooLateError(
                "the clock was put back while the order was on its way; another process may have settled it meanwhile"
            )
        late_ms = now_ms - self.time_ms
        if late_ms > 0:
            raise TooLateError(
                f"the order took {late_ms} ms too long to be sent; another process may have settled it meanwhile"
            )


@dataclass(frozen=True)
class OrderRequest:
    """An order with its stops. Prices on the tick, quantity on the step: the caller rounds.

    It never trades with another order of the account: one that opens is cancelled where it would, one that only reduces
    lets the other one be cancelled.

    Attributes:
        trigger_price: the order waits until the last price has come to it: a selling one for a fall, a buying one for a
            rise.
        position_idx: the leg that the order is for; 0 in one-way mode.
        price: at this price or a better one, and waits for it until it is cancelled; None: at the market, at once.
        post_only: cancelled where it would be filled at once; only with a price.
        send_by: what is not signed by then is not sent; None: whenever.
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
    price: Decimal | None = None
    post_only: bool = False
    send_by: SendBy | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.post_only and self.price is None:
            raise ValueError("a post-only order needs a price")


@dataclass(frozen=True)
class OrderChange:
    """New values of an order that waits; None leaves one as it is.

    Attributes:
        qty: the whole of it, what is filled already included.
    """

    symbol: str
    order_link_id: str
    qty: Decimal | None = None
    price: Decimal | None = None

    def __post_init__(self) -> None:
        if self.qty is None and self.price is None:
            raise ValueError("a change of an order needs a quantity or a price")


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
        price: of a limit order; None: at the market.
        cancelled_by: None where it was not cancelled, or the venue does not say by whom.
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
    price: Decimal | None = None
    post_only: bool = False
    cancelled_by: CancelledBy | None = None


class FillKind(StrEnum):
    """What moved a position or its balance: only `TRADE` is an ordinary fill. The ledger keeps the values."""

    TRADE = "trade"
    FUNDING = "funding"
    SESSION = "session"
    """profit and loss of a trading session, paid out while the position stays open"""
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    OTHER = "other"

    @property
    def moves_position(self) -> bool:
        """Whether it opens, adds to, reduces or closes a position. Of a kind that is not known, it is taken not to."""
        return self not in (FillKind.FUNDING, FillKind.SESSION, FillKind.OTHER)


class CloseReason(StrEnum):
    """Why a position was closed. The ledger keeps the values; only `STOP` counts as a stop."""

    STOP = "stop"
    TARGET = "target"
    PART = "part"
    """a target with a part of the quantity"""
    SIGNAL = "signal"
    """the strategy's exit condition"""
    TIME = "time"
    """the end of the position's time"""
    ROI = "roi"
    """a close beyond what the ROI table allows"""
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    SESSION = "session"
    """not closed at all: profit and loss of a session were paid out, of a quantity of 0"""
    OTHER = "other"
    """by an order of its own (ours, or a person's), or by a trailing stop, which is a person's"""

    @property
    def told(self) -> str:
        """For a person, after "closed ..."."""
        return _CLOSED_TOLD.get(self, f"at its {self.value}")


_CLOSED_BY_KIND = {
    FillKind.LIQUIDATION: CloseReason.LIQUIDATION,
    FillKind.ADL: CloseReason.ADL,
    FillKind.SETTLEMENT: CloseReason.SETTLEMENT,
    FillKind.SESSION: CloseReason.SESSION,
}


_CLOSED_BY_PURPOSE = {OrderPurpose.STOP: CloseReason.STOP, OrderPurpose.TARGET: CloseReason.TARGET}


_CLOSED_TOLD = {
    CloseReason.PART: "in part, at a target of its plan",
    CloseReason.SIGNAL: "at its strategy's exit condition",
    CloseReason.TIME: "at the end of its time",
    CloseReason.ROI: "at a close beyond its ROI table",
}


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
