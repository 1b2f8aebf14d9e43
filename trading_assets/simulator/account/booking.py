"""Bookkeeping of fills and funding: position, wallet, execution and closed-profit rows. It decides nothing.

Every amount that reaches the wallet is rounded to 8 places first and stands in a row, so rows and wallet
agree to the last digit: wallet = deposit + gross profit - fees - funding.
"""

from __future__ import annotations

from decimal import Decimal

from trading_assets.exchange.models import OrderStatus, Side
from trading_assets.simulator.account.models import (
    STOP_LOSS,
    TAKER_FEE,
    ZERO,
    ClosedPnl,
    Execution,
    Order,
    Position,
)
from trading_assets.simulator.account.pricing import Fill
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.wire import round8


def book_fills(
    state: AccountState,
    contract: Contract,
    order: Order,
    fills: list[Fill],
    *,
    mark: Decimal,
    time_ms: int,
    exec_type: str = "Trade",
    fee_rate: Decimal = TAKER_FEE,
) -> None:
    """Book the fills of one order: executions, position, wallet, one closed-profit row if it closed any."""
    closed = _Closing()
    for fill in fills:
        value = round8(fill.price * fill.qty)
        fee = round8(value * fee_rate)
        order.filled_qty += fill.qty
        order.filled_value += value
        order.fee += fee
        closed_size = _book_on_position(
            state, contract, order.side, fill, value=value, fee=fee, time_ms=time_ms, closed=closed
        )
        state.executions.append(
            Execution(
                exec_id=state.new_id("execution"),
                order_id=order.order_id,
                order_link_id=order.order_link_id,
                symbol=order.symbol,
                side=order.side,
                exec_type=exec_type,
                order_type=order.order_type,
                create_type=order.create_type,
                stop_order_type=order.stop_order_type,
                price=fill.price,
                qty=fill.qty,
                value=value,
                fee=fee,
                fee_rate=fee_rate,
                order_price=order.price,
                order_qty=order.qty,
                left_qty=order.qty - order.filled_qty,
                closed_size=closed_size,
                mark_price=mark,
                time_ms=time_ms,
                sequence=state.header.sequence,
            )
        )
        state.touch(state.executions[-1])
    order.updated_ms = time_ms
    state.touch(order)
    if closed.size:
        order.closed_pnl = closed.pnl(order.side)
        _add_closed_row(state, order, closed, exec_type, time_ms)


class _Closing:
    """Sums over the fills of one closing order."""

    def __init__(self) -> None:
        self.size = self.entry_value = self.exit_value = self.open_fee = self.close_fee = ZERO
        self.fill_count = 0

    def pnl(self, side: Side) -> Decimal:
        gross = self.exit_value - self.entry_value
        return (gross if side is Side.SELL else -gross) - self.open_fee - self.close_fee


def _book_on_position(
    state: AccountState,
    contract: Contract,
    side: Side,
    fill: Fill,
    *,
    value: Decimal,
    fee: Decimal,
    time_ms: int,
    closed: _Closing,
) -> Decimal:
    """Move position and wallet by one fill; returns the quantity that it closed."""
    position = state.position(contract.symbol)
    signed = fill.qty if side is Side.BUY else -fill.qty
    closing = min(fill.qty, abs(position.size)) if position.size * signed < 0 else ZERO
    opening = fill.qty - closing
    if position.size == 0:
        _begin(position, time_ms)
    closing_value = value if not opening else round8(fill.price * closing)
    closing_fee = fee if not opening else round8(fee * closing / fill.qty)
    gross = ZERO
    if closing:
        whole = closing == abs(position.size)
        entry = position.entry_value if whole else round8(position.entry_value * closing / abs(position.size))
        entry_fee = position.open_fee if whole else round8(position.open_fee * closing / abs(position.size))
        gross = closing_value - entry if position.size > 0 else entry - closing_value
        position.entry_value -= entry
        position.open_fee -= entry_fee
        closed.size += closing
        closed.entry_value += entry
        closed.exit_value += closing_value
        closed.open_fee += entry_fee
        closed.close_fee += closing_fee
        closed.fill_count += 1
    position.current_realised += gross - closing_fee
    if opening:
        if closing:
            _begin(position, time_ms)
        position.entry_value += value - closing_value
        position.open_fee += fee - closing_fee
        position.current_realised -= fee - closing_fee
    position.size += signed
    position.updated_ms = time_ms
    position.total_realised += gross - fee
    position.sequence = state.next_sequence()
    state.touch(position)
    move_wallet(state, contract.settle_coin, gross - fee)
    return closing


def _begin(position: Position, time_ms: int) -> None:
    position.opened_ms = time_ms
    position.created_ms = position.created_ms or time_ms
    position.current_realised = ZERO


def move_wallet(state: AccountState, coin: str, amount: Decimal) -> None:
    balance = state.balance(coin)
    balance.wallet += amount
    balance.total_realised += amount
    state.touch(balance)


def _add_closed_row(state: AccountState, order: Order, closed: _Closing, exec_type: str, time_ms: int) -> None:
    state.closed.append(
        ClosedPnl(
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            order_type=order.order_type,
            exec_type=exec_type,
            order_price=order.price,
            qty=order.qty,
            closed_size=closed.size,
            entry_value=closed.entry_value,
            exit_value=closed.exit_value,
            open_fee=closed.open_fee,
            close_fee=closed.close_fee,
            pnl=closed.pnl(order.side),
            fill_count=closed.fill_count,
            leverage=state.position(order.symbol).leverage,
            created_ms=time_ms,
            updated_ms=time_ms,
            sequence=state.next_sequence(),
        )
    )
    state.touch(state.closed[-1])


def book_funding(state: AccountState, contract: Contract, *, rate: Decimal, mark: Decimal, time_ms: int) -> None:
    """One funding payment of an open position: longs pay `rate` of the value at mark, shorts receive it."""
    position = state.position(contract.symbol)
    side = position.side
    if side is None:
        return
    size = abs(position.size)
    value = round8(size * mark)
    fee = round8(value * rate) if side is Side.BUY else -round8(value * rate)
    position.current_realised -= fee
    position.total_realised -= fee
    position.updated_ms = time_ms
    state.touch(position)
    move_wallet(state, contract.settle_coin, -fee)
    state.executions.append(
        Execution(
            exec_id=state.new_id("funding"),
            order_id=f"{time_ms // 1000}-{contract.funding_interval_min // 60}-{contract.symbol_id}",
            order_link_id="",
            symbol=position.symbol,
            side=side,
            exec_type="Funding",
            order_type="UNKNOWN",
            create_type="",
            stop_order_type="",
            price=mark,
            qty=size,
            value=value,
            fee=fee,
            fee_rate=rate,
            order_price=ZERO,
            order_qty=ZERO,
            left_qty=ZERO,
            closed_size=ZERO,
            mark_price=mark,
            time_ms=time_ms,
            sequence=state.header.sequence,
        )
    )
    state.touch(state.executions[-1])


def new_stop(
    state: AccountState,
    position: Position,
    kind: str,
    price: Decimal,
    *,
    parent_link: str,
    last: Decimal,
    time_ms: int,
) -> Order:
    """A stop or target of the whole position, waiting for the last price."""
    long = position.size > 0
    order = Order(
        order_id=state.new_id("order"),
        order_link_id="",
        symbol=position.symbol,
        side=Side.SELL if long else Side.BUY,
        qty=abs(position.size),
        created_ms=time_ms,
        updated_ms=time_ms,
        sequence=state.header.sequence,
        status=OrderStatus.UNTRIGGERED,
        reduce_only=True,
        close_on_trigger=True,
        create_type=f"CreateBy{kind}",
        stop_order_type=kind,
        parent_order_link_id=parent_link,
        trigger_price=price,
        trigger_direction=2 if long is (kind == STOP_LOSS) else 1,
        last_price_on_created=last,
    )
    state.add_order(order)
    return order
