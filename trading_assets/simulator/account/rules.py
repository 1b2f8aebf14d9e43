"""What the venue refuses: checks of orders, stops and leverage against contract and account. No changes."""

from __future__ import annotations

import re
from decimal import Decimal

from trading_assets.exchange.models import Side
from trading_assets.simulator.account.margin import AccountFigures, closing_fee, initial_margin
from trading_assets.simulator.account.models import TAKER_FEE, ZERO, OrderCommand, Position
from trading_assets.simulator.account.pricing import is_multiple
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.wire import Refusal, plain

LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
WIRE_PRICE_SCALE = 10_000
"""Bybit writes prices in TP/SL messages times 10^4."""


def check_link(order_link_id: str, taken: bool) -> None:
    if order_link_id and not LINK_ID.fullmatch(order_link_id):
        raise Refusal(10001, "params error: orderLinkId must be at most 36 letters, digits, dashes and underscores")
    if taken:
        raise Refusal(110072, "OrderLinkedID is duplicate")


def check_quantity(contract: Contract, qty: Decimal) -> None:
    """Of a market order."""
    if qty <= 0:
        raise Refusal(10001, "Qty invalid")
    if qty < contract.min_qty:
        raise Refusal(10001, "The number of contracts exceeds minimum limit allowed")
    if not is_multiple(qty, contract.qty_step):
        raise Refusal(10001, "Qty invalid")
    if qty > min(contract.max_market_qty, contract.max_qty):
        raise Refusal(10001, "The number of contracts exceeds maximum limit allowed: too large")


def check_notional(contract: Contract, opening_value: Decimal) -> None:
    """Only what opens or adds counts: closing is exempt."""
    if 0 < opening_value < contract.min_notional:
        raise Refusal(
            110094,
            f"Order does not meet minimum order value {plain(contract.min_notional)}{contract.settle_coin}",
        )


def reduced_quantity(position: Position, side: Side, qty: Decimal) -> Decimal:
    """What a reduce-only order may close."""
    signed = 1 if side is Side.BUY else -1
    if position.size * signed >= 0:
        raise Refusal(110017, "Reduce-only rule not satisfied")
    return min(qty, abs(position.size))


def check_stops(contract: Contract, side: Side, base: Decimal, stop: Decimal | None, target: Decimal | None) -> None:
    """Stop and target on their side of `base`, the last price; `side` is the position's."""
    long = side is Side.BUY
    for name, label, price, must_be_higher in (
        ("stopLoss", "sl", stop, not long),
        ("takeProfit", "tp", target, long),
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
            comparison = "greater" if must_be_higher else "lower"
            raise Refusal(
                10001,
                f"{label}:{price * WIRE_PRICE_SCALE:.0f} set for {side.value} position should {comparison} "
                f"base_price:{base * WIRE_PRICE_SCALE:.0f}??LastPrice",
            )


def check_margin(account: AccountFigures, position: Position, side: Side, qty: Decimal, price: Decimal) -> None:
    """Margin for what an order of `qty` at about `price` opens; what it closes sets margin free."""
    signed = qty if side is Side.BUY else -qty
    closing = min(qty, abs(position.size)) if position.size * signed < 0 else ZERO
    opening = qty - closing
    if opening == 0:
        return
    value = opening * price
    need = initial_margin(value, position.leverage, side) + value * TAKER_FEE
    released = sum(
        (
            item.initial_margin * closing / abs(position.size)
            for item in account.positions
            if closing and item.position.symbol == position.symbol
        ),
        ZERO,
    )
    if need > account.margin_balance - account.initial_margin + released:
        raise Refusal(110007, "ab not enough for new order")


def check_leverage(contract: Contract, current: Decimal, wanted: Decimal) -> None:
    if wanted > contract.max_leverage:
        raise Refusal(
            110013,
            f"cannot set leverage [{wanted * 100:.0f}] gt maxLeverage "
            f"[{contract.max_leverage * 100:.0f}] by risk limit",
        )
    if wanted < 1 or not is_multiple(wanted, contract.leverage_step):
        raise Refusal(10001, "params error: leverage invalid")
    if wanted == current:
        raise Refusal(110043, "Set leverage has not been modified.")


def check_leverage_margin(account: AccountFigures, position: Position, wanted: Decimal) -> None:
    """A lower leverage needs more margin than the position holds now."""
    for item in account.positions:
        if item.position.symbol == position.symbol:
            side = position.side or Side.BUY
            need = item.value / wanted + closing_fee(item.value, wanted, side) - item.initial_margin
            if need > account.margin_balance - account.initial_margin and need > 0:
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
