"""Bookkeeping of fills and funding: position, wallet, execution and closed-profit rows. It decides nothing.

Every amount that reaches the wallet is rounded to 8 places first and stands in a row, so rows and wallet
agree to the last digit: wallet = deposit + gross profit - fees - funding.
"""

from __future__ import annotations

from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import (
    TAKER_FEE,
    ZERO,
    ClosedPnl,
    Execution,
    Order,
    Position,
    Transfer,
)
from trading_assets.simulator.account.pricing import Fill
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.codec import round8
from trading_assets.simulator.market.base import Contract


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
    is_maker: bool = False,
) -> None:
    """Book fills of one order: executions, position, wallet, and the order's closed-profit row if they closed any."""
    closing = _Closing()
    for fill in fills:
        value = round8(fill.price * fill.qty)
        fee = round8(value * fee_rate)
        order.filled_qty += fill.qty
        order.filled_value += value
        order.fee += fee
        closed_before, gross_before = closing.size, closing.gross
        _book_on_position(state, contract, order, fill, value=value, fee=fee, time_ms=time_ms, closing=closing)
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
                closed_size=closing.size - closed_before,
                mark_price=mark,
                time_ms=time_ms,
                sequence=state.header.sequence,
                is_maker=is_maker,
                position_idx=order.position_idx,
                pnl=closing.gross - gross_before,
                wallet=state.balance(contract.settle_coin).wallet,
            )
        )
        state.touch(state.executions[-1])
    order.updated_ms = time_ms
    state.touch(order)
    if closing.size:
        _book_closing(state, order, closing, exec_type, time_ms)


class _Closing:
    """Sums over what some fills of one order closed."""

    def __init__(self) -> None:
        self.size = self.entry_value = self.exit_value = self.open_fee = self.close_fee = self.gross = ZERO
        self.fill_count = 0

    @property
    def pnl(self) -> Decimal:
        return self.gross - self.open_fee - self.close_fee


def _book_on_position(
    state: AccountState,
    contract: Contract,
    order: Order,
    fill: Fill,
    *,
    value: Decimal,
    fee: Decimal,
    time_ms: int,
    closing: _Closing,
) -> None:
    """Move position and wallet by one fill, and add to `closing` what it closed."""
    position = state.position(contract.symbol, order.position_idx)
    signed = fill.qty if order.side is Side.BUY else -fill.qty
    closed = min(fill.qty, abs(position.size)) if position.size * signed < 0 else ZERO
    opened = fill.qty - closed
    if position.size == 0:
        _begin(position, time_ms)
    closed_value = value if not opened else round8(fill.price * closed)
    closed_fee = fee if not opened else round8(fee * closed / fill.qty)
    gross = ZERO
    if closed:
        whole = closed == abs(position.size)
        entry = position.entry_value if whole else round8(position.entry_value * closed / abs(position.size))
        entry_fee = position.open_fee if whole else round8(position.open_fee * closed / abs(position.size))
        gross = closed_value - entry if position.size > 0 else entry - closed_value
        position.entry_value -= entry
        position.added_margin = ZERO if whole else round8(position.added_margin * (1 - closed / abs(position.size)))
        position.open_fee -= entry_fee
        closing.size += closed
        closing.entry_value += entry
        closing.exit_value += closed_value
        closing.open_fee += entry_fee
        closing.close_fee += closed_fee
        closing.gross += gross
        closing.fill_count += 1
    position.current_realised += gross - closed_fee
    if opened:
        if closed:
            _begin(position, time_ms)
        position.entry_value += value - closed_value
        position.open_fee += fee - closed_fee
        position.current_realised -= fee - closed_fee
    position.size += signed
    position.updated_ms = time_ms
    position.total_realised += gross - fee
    position.sequence = state.next_sequence()
    state.touch(position)
    move_wallet(state, contract.settle_coin, gross - fee)


def _begin(position: Position, time_ms: int) -> None:
    position.opened_ms = time_ms
    position.created_ms = position.created_ms or time_ms
    position.current_realised = ZERO


def move_wallet(state: AccountState, coin: str, amount: Decimal) -> None:
    balance = state.balance(coin)
    balance.wallet += amount
    balance.total_realised += amount
    state.touch(balance)


def transfer(state: AccountState, coin: str, amount: Decimal, time_ms: int) -> None:
    """Money from outside, or with an `amount` below zero back there; it is no profit."""
    balance = state.balance(coin)
    balance.wallet += amount
    state.header.deposited += amount
    state.touch(balance)
    row = Transfer(state.new_id("transfer"), coin, amount, balance.wallet, time_ms, state.header.sequence)
    state.transfers.append(row)
    state.touch(row)


def _book_closing(state: AccountState, order: Order, closing: _Closing, exec_type: str, time_ms: int) -> None:
    """One row for each closing order: later fills are added to it."""
    row = state.closed_by.get(order.order_id)
    if row is None:
        row = ClosedPnl(
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            order_type=order.order_type,
            exec_type="Settle" if exec_type == "Delivery" else exec_type,  # the list knows no Delivery
            order_price=order.price,
            qty=order.qty,
            closed_size=ZERO,
            entry_value=ZERO,
            exit_value=ZERO,
            open_fee=ZERO,
            close_fee=ZERO,
            pnl=ZERO,
            fill_count=0,
            leverage=state.position(order.symbol, order.position_idx).leverage,
            created_ms=time_ms,
            updated_ms=time_ms,
            sequence=state.next_sequence(),
        )
        state.add_closed(row)
    row.closed_size += closing.size
    row.entry_value += closing.entry_value
    row.exit_value += closing.exit_value
    row.open_fee += closing.open_fee
    row.close_fee += closing.close_fee
    row.pnl += closing.pnl
    row.fill_count += closing.fill_count
    row.updated_ms = time_ms
    order.closed_pnl = row.pnl
    state.touch(row)


def book_funding(
    state: AccountState, contract: Contract, position: Position, *, rate: Decimal, mark: Decimal, time_ms: int
) -> None:
    """One funding payment of an open position: longs pay `rate` of the value at mark, shorts receive it."""
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
            position_idx=position.position_idx,
            wallet=state.balance(contract.settle_coin).wallet,
        )
    )
    state.touch(state.executions[-1])
