"""The market in exact numbers: prices of a contract as `Decimal` on its tick. Floats end here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.codec import Refusal, places_of
from trading_assets.simulator.market.base import Contract, Market

BOOK_DEPTHS = (50, 500)
"""Levels asked of the book: the first is enough for ordinary orders, the second is all there is."""


@dataclass(frozen=True)
class Fill:
    price: Decimal
    qty: Decimal


def contract_of(market: Market, symbol: str) -> Contract:
    """The contract of `symbol`, or Bybit's refusal."""
    contract = market.contracts.get(symbol)
    if contract is None:
        raise Refusal(10001, "params error: symbol invalid")
    return contract


def status_of(contract: Contract, now_ms: int) -> str:
    """As listed, but Closed once delivered and PreLaunch until launched."""
    if 0 < contract.delivery_ms <= now_ms:
        return "Closed"
    return "PreLaunch" if now_ms < contract.launch_ms else contract.status


def on_tick(contract: Contract, price: float) -> Decimal:
    """A price of the market, exactly."""
    return Decimal(f"{price:.{places_of(contract.tick_size)}f}")


def last_price(market: Market, contract: Contract, time_ms: int) -> Decimal:
    return on_tick(contract, market.last_price(contract.symbol, time_ms))


def mark_price(market: Market, contract: Contract, time_ms: int) -> Decimal:
    return on_tick(contract, market.mark_price(contract.symbol, time_ms))


def is_multiple(value: Decimal, step: Decimal) -> bool:
    return value % step == 0


def hidden_limit(contract: Contract, side: Side, mark: Decimal) -> Decimal:
    """The limit price that a market order really has: mark x (1 +/- price_limit_x), on the tick inside."""
    sign = 1 if side is Side.BUY else -1
    return snapped(contract, side, mark * (1 + sign * contract.price_limit_x))


def price_band(market: Market, contract: Contract, time_ms: int) -> tuple[Decimal, Decimal]:
    """(highest price of a buy, lowest of a sell) that the venue takes, on the tick inside."""
    mark = mark_price(market, contract, time_ms)
    index = Decimal(repr(market.index_price(contract.symbol, time_ms)))
    near, far = contract.price_limit_x, contract.price_limit_y
    highest = min(mark * (1 + far), max(index, mark * (1 + near)))
    lowest = max(mark * (1 - far), min(index, mark * (1 - near)))
    return snapped(contract, Side.BUY, highest), snapped(contract, Side.SELL, lowest)


def snapped(contract: Contract, side: Side, limit: Decimal) -> Decimal:
    """A limit on the tick, never worse for the order than `limit` and never below one tick."""
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    ticks = (limit / contract.tick_size).to_integral_value(rounding)
    return max(ticks, Decimal(1)) * contract.tick_size


def walk_book(
    market: Market, contract: Contract, side: Side, qty: Decimal, *, limit: Decimal, time_ms: int
) -> list[Fill]:
    """Fills of an order that takes from the book up to `limit`; may be fewer than `qty`, or none.

    Own fills leave the book as it is.
    """
    fills: list[Fill] = []
    for depth in BOOK_DEPTHS:
        bids, asks = market.book(contract.symbol, time_ms, depth)
        levels = asks if side is Side.BUY else bids
        fills, left = [], qty
        for level_price, level_qty in levels.tolist():
            price = on_tick(contract, level_price)
            if left <= 0 or (price > limit if side is Side.BUY else price < limit):
                return fills
            available = Decimal(f"{level_qty:.{places_of(contract.qty_step)}f}")
            taken = min(left, available)
            if taken > 0:
                fills.append(Fill(price, taken))
                left -= taken
        if left <= 0 or len(levels) < depth:
            return fills
    return fills


def best_price(market: Market, contract: Contract, side: Side, time_ms: int) -> Decimal | None:
    """Best price that an order of `side` would meet; None when that side of the book is empty."""
    bids, asks = market.book(contract.symbol, time_ms, BOOK_DEPTHS[0])  # the book that the order then walks
    levels = asks if side is Side.BUY else bids
    return on_tick(contract, float(levels[0, 0])) if len(levels) else None
