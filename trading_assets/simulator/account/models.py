"""The account's records, as they are stored. No behaviour beyond sums of their own fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account.words import OrderStatus

ZERO = Decimal(0)
DEFAULT_LEVERAGE = Decimal(10)
TAKER_FEE = Decimal("0.00055")
MAKER_FEE = Decimal("0.0002")

STOP_LOSS, TAKE_PROFIT = "StopLoss", "TakeProfit"
PARTIAL_STOP_LOSS, PARTIAL_TAKE_PROFIT = "PartialStopLoss", "PartialTakeProfit"
TRAILING_STOP = "TrailingStop"
CONDITIONAL = "Stop"
EXITS = frozenset({STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, PARTIAL_STOP_LOSS, PARTIAL_TAKE_PROFIT})
"""Kinds of `stop_order_type` that only close."""

ONE_WAY, LONG_LEG, SHORT_LEG = 0, 1, 2
"""`position_idx`: the one position of a symbol, or its long and its short in hedge mode."""

CROSS, ISOLATED = "REGULAR_MARGIN", "ISOLATED_MARGIN"
"""`margin_mode`, of all of the account."""

LAST_PRICE, MARK_PRICE, INDEX_PRICE = "LastPrice", "MarkPrice", "IndexPrice"


def position_key(symbol: str, position_idx: int) -> str:
    """Name of a position among all of the account."""
    return symbol if position_idx == ONE_WAY else f"{symbol}/{position_idx}"


@dataclass(frozen=True)
class Amendment:
    """New values of an order; None leaves one as it is, zero takes a stop or target away."""

    qty: Decimal | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None


@dataclass(slots=True)
class Order:
    """An order through its whole life. Times are UTC ms, `sequence` orders what happens in one millisecond.

    Attributes:
        price: for a market order the hidden limit up to which it walks the book.
        parent_order_link_id: link of the order that brought this stop or target.
        stop_order_type: one of `EXITS` of a child order, `CONDITIONAL`, else empty.
        tpsl_mode: Full or Partial where the order is, or has, a stop or target.
        exit_group: stops and targets of one group cancel each other.
        cross_price: a resting limit order is filled when the last price is here or beyond; None if it does not rest.
        resume_ms: a resting limit order is not filled before.
        trailing: distance of a trailing stop from the best price since `trail_ms`, which was `trail_price` then.
        active_price: a trailing stop begins to trail when the last price is here; None: it trails.
        part_qty: at most so much of it is filled in a minute; None: as much as the market gives.
        smp_type: what becomes of it where it would meet an order of the same account; empty: they trade.
        due_ms: a change or cancellation that was accepted takes effect then; 0: none is under way.
        due_change: that change; None: it is to be cancelled.
    """

    order_id: str
    order_link_id: str
    symbol: str
    side: Side
    qty: Decimal
    created_ms: int
    updated_ms: int
    sequence: int
    status: OrderStatus = OrderStatus.NEW
    order_type: str = "Market"
    time_in_force: str = "IOC"
    price: Decimal = ZERO
    reduce_only: bool = False
    close_on_trigger: bool = False
    create_type: str = "CreateByUser"
    stop_order_type: str = ""
    parent_order_link_id: str = ""
    trigger_price: Decimal | None = None
    trigger_direction: int = 0
    trigger_by: str = LAST_PRICE
    position_idx: int = ONE_WAY
    tpsl_mode: str = ""
    tp_trigger_by: str = LAST_PRICE
    sl_trigger_by: str = LAST_PRICE
    tp_limit_price: Decimal | None = None
    sl_limit_price: Decimal | None = None
    exit_group: str = ""
    cross_price: Decimal | None = None
    resume_ms: int = 0
    trailing: Decimal | None = None
    active_price: Decimal | None = None
    trail_ms: int = 0
    trail_price: Decimal = ZERO
    part_qty: Decimal | None = None
    smp_type: str = ""
    due_ms: int = 0
    due_change: Amendment | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    last_price_on_created: Decimal = ZERO
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO
    fee: Decimal = ZERO
    closed_pnl: Decimal = ZERO
    reject_reason: str = "EC_NoError"
    cancel_type: str = "UNKNOWN"

    @property
    def is_open(self) -> bool:
        return not self.status.is_final

    @property
    def is_active(self) -> bool:
        """In the book: neither waiting for its trigger nor ended."""
        return self.status in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)

    @property
    def is_exit(self) -> bool:
        return self.stop_order_type in EXITS

    @property
    def left_qty(self) -> Decimal:
        """What may still be filled."""
        return self.qty - self.filled_qty if self.is_open else ZERO


@dataclass(slots=True)
class Position:
    """A position of a symbol; it stays, flat, after closing. In hedge mode a symbol has two.

    Attributes:
        size: signed, in base coin: long above zero, short below.
        entry_value: sum of price times quantity of what is open, always >= 0.
        open_fee: opening fees of what is open.
        current_realised: realised since it was last flat: gross profit less fees and funding.
        opened_ms: when it last left zero.
        added_margin: margin added by hand; it counts in isolated margin.
    """

    symbol: str
    leverage: Decimal = DEFAULT_LEVERAGE
    position_idx: int = ONE_WAY
    size: Decimal = ZERO
    entry_value: Decimal = ZERO
    open_fee: Decimal = ZERO
    current_realised: Decimal = ZERO
    total_realised: Decimal = ZERO
    stop_loss_id: str = ""
    take_profit_id: str = ""
    trailing_stop_id: str = ""
    created_ms: int = 0
    updated_ms: int = 0
    opened_ms: int = 0
    sequence: int = 0
    added_margin: Decimal = ZERO
    auto_add_margin: bool = False

    @property
    def key(self) -> str:
        return position_key(self.symbol, self.position_idx)

    @property
    def side(self) -> Side | None:
        if self.size == 0:
            return None
        return Side.BUY if self.size > 0 else Side.SELL

    @property
    def entry_price(self) -> Decimal:
        """Average; zero when flat."""
        return self.entry_value / abs(self.size) if self.size else ZERO


@dataclass(slots=True)
class Execution:
    """A fill, or a funding payment (`exec_type` Funding, `fee` above zero means paid).

    Attributes:
        pnl: gross profit that the fill realised.
        wallet: of the settle coin, after it.
    """

    exec_id: str
    order_id: str
    order_link_id: str
    symbol: str
    side: Side
    exec_type: str
    order_type: str
    create_type: str
    stop_order_type: str
    price: Decimal
    qty: Decimal
    value: Decimal
    fee: Decimal
    fee_rate: Decimal
    order_price: Decimal
    order_qty: Decimal
    left_qty: Decimal
    closed_size: Decimal
    mark_price: Decimal
    time_ms: int
    sequence: int
    is_maker: bool = False
    position_idx: int = ONE_WAY
    pnl: Decimal = ZERO
    wallet: Decimal = ZERO


@dataclass(slots=True)
class ClosedPnl:
    """What one closing order realised, over all its fills; `pnl` is gross profit less both fees, without funding."""

    order_id: str
    symbol: str
    side: Side
    order_type: str
    exec_type: str
    order_price: Decimal
    qty: Decimal
    closed_size: Decimal
    entry_value: Decimal
    exit_value: Decimal
    open_fee: Decimal
    close_fee: Decimal
    pnl: Decimal
    fill_count: int
    leverage: Decimal
    created_ms: int
    updated_ms: int
    sequence: int

    @property
    def entry_price(self) -> Decimal:
        return self.entry_value / self.closed_size

    @property
    def exit_price(self) -> Decimal:
        return self.exit_value / self.closed_size


@dataclass(slots=True)
class Balance:
    """The wallet of one coin: deposit, realised profit, fees and funding in one sum."""

    coin: str
    wallet: Decimal = ZERO
    total_realised: Decimal = ZERO


@dataclass(slots=True)
class Transfer:
    """Money that came from outside, or with `amount` below zero went there; `wallet` is that of the coin after it."""

    transfer_id: str
    coin: str
    amount: Decimal
    wallet: Decimal
    time_ms: int
    sequence: int


@dataclass(slots=True)
class Header:
    """The account as a whole.

    Attributes:
        account_id: random name of this account; identifiers of orders and executions are made from it.
        settled_ms: everything up to and including this time has happened.
        hedged: settle coins and symbols in hedge mode; a symbol in `one_way` is not, whatever its coin says.
        deposited: all deposits since the account was opened, in the coins together.
        dcp_windows: seconds after which a disconnected client's orders would be cancelled, by product.
        dcp_due_ms: when orders are cancelled, as no client that asked for it is connected; 0: not.
        margin_mode: `CROSS`, one margin for all positions, or `ISOLATED`, one for each.
        moves_prices: whether a price beyond the band is moved to it; else the order is refused.
    """

    account_id: str
    created_ms: int
    settled_ms: int
    sequence: int = 0
    hedged: list[str] = field(default_factory=list)
    one_way: list[str] = field(default_factory=list)
    deposited: Decimal = ZERO
    margin_mode: str = CROSS
    dcp_windows: dict[str, int] = field(default_factory=dict)
    dcp_due_ms: int = 0
    moves_prices: bool = True


@dataclass(frozen=True)
class OrderCommand:
    """What a client asks for, parsed but not yet checked against the contract."""

    symbol: str
    side: Side
    qty: Decimal
    order_link_id: str = ""
    reduce_only: bool = False
    close_on_trigger: bool = False
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    slippage_type: str = ""
    slippage: Decimal | None = None
    order_type: str = "Market"
    price: Decimal | None = None
    time_in_force: str = ""
    position_idx: int = ONE_WAY
    trigger_price: Decimal | None = None
    trigger_direction: int = 0
    trigger_by: str = LAST_PRICE
    tpsl_mode: str = ""
    tp_trigger_by: str = LAST_PRICE
    sl_trigger_by: str = LAST_PRICE
    tp_limit_price: Decimal | None = None
    sl_limit_price: Decimal | None = None
    smp_type: str = ""


@dataclass(frozen=True)
class OrderFault:
    """What becomes of an order that was acknowledged: rejected for a reason, or filled in parts, one a minute.

    A change or cancellation takes effect `act_after_ms` after it was acknowledged, if it still can.
    """

    reject_reason: str = ""
    fill_parts: int = 1
    act_after_ms: int = 0


NO_ORDER_FAULT = OrderFault()


@dataclass(frozen=True)
class StopCommand:
    """Stops asked for an open position: of its whole size (Full), or one pair more of a part of it (Partial).

    A trailing stop is always of the whole size; `trailing_stop` is its distance, zero takes it away.
    """

    symbol: str
    position_idx: int = ONE_WAY
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    tpsl_mode: str = "Full"
    tp_trigger_by: str = LAST_PRICE
    sl_trigger_by: str = LAST_PRICE
    size: Decimal | None = None
    tp_limit_price: Decimal | None = None
    sl_limit_price: Decimal | None = None
    trailing_stop: Decimal | None = None
    active_price: Decimal | None = None
