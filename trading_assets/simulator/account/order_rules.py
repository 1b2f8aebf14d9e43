"""What the venue refuses: checks of orders, stops and leverage against contract and account. No changes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account.margin import AccountFigures, exposure_of, initial_margin, tier_of
from trading_assets.simulator.account.models import TAKER_FEE, ZERO, Order, OrderCommand, Position, StopCommand
from trading_assets.simulator.account.pricing import is_multiple
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.codec import Refusal, plain
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.risk import tiers

LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
MESSAGE_PRICE_SCALE = 10_000
"""Bybit writes prices in messages about triggers and stops times 10^4."""

_MUST_BE = {
    ("StopLoss", True): "should greater",
    ("StopLoss", False): "should lower than",
    ("TakeProfit", True): "should be higher than",
    ("TakeProfit", False): "should be lower than",
}
"""Kind of exit, whether it must lie higher -> Bybit's words."""

RISE, FALL = 1, 2
MAX_PARTS = 20
"""Partial stops and targets of one position."""


def check_link(order_link_id: str, taken: bool) -> None:
    if order_link_id and not LINK_ID.fullmatch(order_link_id):
        raise Refusal(10001, "params error: orderLinkId must be at most 36 letters, digits, dashes and underscores")
    if taken:
        raise Refusal(110072, "OrderLinkedID is duplicate")


def check_quantity(contract: Contract, qty: Decimal, *, at_market: bool) -> None:
    if qty <= 0:
        raise Refusal(10001, "Qty invalid")
    if qty < contract.min_qty:
        raise Refusal(10001, "The number of contracts exceeds minimum limit allowed")
    if not is_multiple(qty, contract.qty_step):
        raise Refusal(10001, "Qty invalid")
    if qty > (min(contract.max_market_qty, contract.max_qty) if at_market else contract.max_qty):
        raise Refusal(10001, "The number of contracts exceeds maximum limit allowed: too large")


def check_notional(contract: Contract, opening_value: Decimal) -> None:
    """Only what opens or adds counts: closing is exempt."""
    if 0 < opening_value < contract.min_notional:
        raise Refusal(
            110094,
            f"Order does not meet minimum order value {plain(contract.min_notional)}{contract.settle_coin}",
        )


def closable(position: Position, side: Side) -> Decimal:
    """What an order of `side` may close of a position."""
    return abs(position.size) if position.side is side.opposite else ZERO


def reduced_quantity(position: Position, side: Side, qty: Decimal) -> Decimal:
    """What a reduce-only order may close."""
    held = closable(position, side)
    if held == 0:
        if position.size:
            raise Refusal(110017, "Reduce-only rule not satisfied")
        raise Refusal(110017, "current position is zero, cannot fix reduce-only order qty")
    return min(qty, held)


def check_price(contract: Contract, name: str, price: Decimal | None) -> Decimal:
    """A price on the tick, within the contract's bounds."""
    if price is None or price <= 0:
        raise Refusal(10001, f"params error: {name} invalid")
    if not is_multiple(price, contract.tick_size) or not contract.min_price <= price <= contract.max_price:
        raise Refusal(
            10001,
            f"params error: {name} {plain(price)} must be a multiple of tickSize {plain(contract.tick_size)} in "
            f"{plain(contract.min_price)}..{plain(contract.max_price)}",
        )
    return price


def check_exit_limits(contract: Contract, command: OrderCommand | StopCommand) -> None:
    """Limit prices of Partial stops and targets, where there are any."""
    for name, price in (("slLimitPrice", command.sl_limit_price), ("tpLimitPrice", command.tp_limit_price)):
        if price is not None:
            check_price(contract, name, price)


def check_trigger(contract: Contract, price: Decimal, direction: int, now: Decimal, trigger_by: str) -> None:
    """A trigger lies on the side that its direction says."""
    check_price(contract, "triggerPrice", price)
    if direction not in (RISE, FALL):
        raise Refusal(10001, "params error: TriggerDirection invalid")
    scaled = f"trigger_price[{price * MESSAGE_PRICE_SCALE:.0f}]", f"current[{now * MESSAGE_PRICE_SCALE:.0f}]"
    if direction == RISE and price <= now:
        raise Refusal(110092, f"expect Rising, but {scaled[0]} <= {scaled[1]}??{trigger_by}")
    if direction == FALL and price >= now:
        raise Refusal(110093, f"expect Falling, but {scaled[0]} >= {scaled[1]}??{trigger_by}")


def check_room(contract: Contract, orders: Iterable[Order], *, conditional: bool) -> None:
    """So many orders of a symbol may wait at once."""
    waiting = sum(1 for order in orders if not order.is_exit and order.is_active is not conditional)
    if conditional and waiting >= contract.max_conditional:
        raise Refusal(110009, "The number of stop orders exceeds the maximum allowable limit")
    if not conditional and waiting >= contract.max_active:
        raise Refusal(110020, f"Not allowed to have more than {contract.max_active} active orders")


def check_parts(orders: Iterable[Order], new: int) -> None:
    """So many Partial stops and targets may a position have."""
    if sum(1 for order in orders if order.exit_group and order.is_exit) + new > MAX_PARTS:
        raise Refusal(110061, f"Not allowed to have more than {MAX_PARTS} partial TP/SL orders")


def check_stops(contract: Contract, side: Side, base: Decimal, stop: Decimal | None, target: Decimal | None) -> None:
    """Stop and target on their side of `base`, the last or the order's price; `side` is the position's."""
    long = side is Side.BUY
    for name, label, price, must_be_higher in (
        ("stopLoss", "StopLoss", stop, not long),
        ("takeProfit", "TakeProfit", target, long),
    ):
        if price is None:
            continue
        if price < 0 or not is_multiple(price, contract.tick_size) or price > contract.max_price:
            raise Refusal(
                10001,
                f"params error: {name} {plain(price)} must be a multiple of tickSize "
                f"{plain(contract.tick_size)} up to {plain(contract.max_price)}",
            )
        if (price <= base) if must_be_higher else (price >= base):
            comparison = _MUST_BE[label, must_be_higher]
            raise Refusal(
                10001,
                f"{label}:{price * MESSAGE_PRICE_SCALE:.0f} set for {side.value} position {comparison} "
                f"base_price:{base * MESSAGE_PRICE_SCALE:.0f}??LastPrice",
            )


def check_margin(
    state: AccountState,
    account: AccountFigures,
    contract: Contract,
    position: Position,
    side: Side,
    qty: Decimal,
    price: Decimal,
    mark: Decimal,
) -> None:
    """Margin and risk tier for what an order of `qty` at about `price` may open; what it closes sets margin free."""
    if side is Side.SELL:
        price = max(price, mark)  # it is filled at its limit or better, and the position is valued at mark
    now = exposure_of(state, position, mark)
    then = now.with_order(side, qty * price)
    if then.largest <= now.largest:
        return
    if then.largest > _largest_value(contract, position.leverage):
        raise Refusal(
            110090,
            "Order placement failed as your position may exceed the max limit. Please adjust your leverage to "
            f"{plain(_leverage_for(contract, then.largest))} or below to increase the max. position limit.",
        )
    opening = (qty - min(qty, closable(position, side))) * price
    need = initial_margin(then.largest - now.largest, position.leverage, side) + opening * TAKER_FEE
    if need > account.backing - account.initial_margin:
        raise Refusal(110007, "ab not enough for new order")


def _largest_value(contract: Contract, leverage: Decimal) -> Decimal:
    return max((tier.limit for tier in tiers(contract) if tier.max_leverage >= leverage), default=ZERO)


def _leverage_for(contract: Contract, value: Decimal) -> Decimal:
    tier = tier_of(contract, value)
    return tier.max_leverage if tier is not None else Decimal(1)


def check_leverage(contract: Contract, legs: list[Position], wanted: Decimal, value: Decimal) -> None:
    """`value` is the largest of what the symbol's positions and orders may become."""
    tier = tier_of(contract, value)
    highest = tier.max_leverage if tier is not None else Decimal(1)
    if wanted > highest:
        raise Refusal(
            110013,
            f"cannot set leverage [{wanted * 100:.0f}] gt maxLeverage [{highest * 100:.0f}] by risk limit",
        )
    if wanted < 1 or not is_multiple(wanted, contract.leverage_step):
        raise Refusal(10001, "params error: leverage invalid")
    if all(wanted == leg.leverage for leg in legs):
        raise Refusal(110043, "Set leverage has not been modified.")


def check_leverage_margin(before: AccountFigures, after: AccountFigures) -> None:
    """A lower leverage needs more margin than there is."""
    if after.initial_margin > before.initial_margin and after.initial_margin > after.backing:
        raise Refusal(110012, "Insufficient available balance")


def market_limit(command: OrderCommand, limit: Decimal, best: Decimal | None, tick: Decimal) -> Decimal:
    """The hidden limit, drawn in by the client's own slippage tolerance if it gave one."""
    if not command.slippage_type or command.slippage is None:
        return limit
    percent = command.slippage_type == "Percent"
    if command.slippage_type not in ("Percent", "TickSize"):
        raise Refusal(10001, "params error: slippageToleranceType invalid")
    low, high = (Decimal("0.01"), Decimal(10)) if percent else (Decimal(1), Decimal(10_000))
    if not low <= command.slippage <= high:
        raise Refusal(110108 if command.slippage < low else 110109, "slippageTolerance out of range")
    if best is None:
        return limit
    away = best * command.slippage / 100 if percent else command.slippage * tick
    return min(limit, best + away) if command.side is Side.BUY else max(limit, best - away)
