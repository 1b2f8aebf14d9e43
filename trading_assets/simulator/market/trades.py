"""Public trades of any minute as a function of the market: when, at what price, how much. No matching here.

They add up to the minute's candle: every point of its path is traded, and the quantities sum to its volume.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import NamedTuple

from trading_assets.market.timeframes import MINUTE_MS
from trading_assets.simulator.market.base import VOLUME, Contract, Market

SPACING_MS = 500
"""One trade in each such span of a minute, and one at each point of its path."""


class Trade(NamedTuple):
    """`quantity` in base coin; `direction` is Bybit's tick direction against the trade before."""

    time_ms: int
    price: float
    quantity: float
    side: str
    direction: str
    trade_id: str


def trades_of_minute(market: Market, contract: Contract, minute_ms: int) -> tuple[Trade, ...]:
    """All trades of the minute that starts at `minute_ms`, in time; none where there is no candle.

    A trade's quantity is the volume since the one before, which comes evenly through the minute.
    """
    symbol, step = contract.symbol, float(contract.qty_step)
    bars = market.bars(symbol, "1", minute_ms, minute_ms + 1, minute_ms + MINUTE_MS)
    if not len(bars):
        return ()
    volume = round(float(bars[0, VOLUME]) / step)
    before = market.last_price(symbol, minute_ms - 1)
    trades: list[Trade] = []
    done, rising = 0, True
    moments = _moments(market, symbol, minute_ms)
    for moment in moments:
        reached = volume if moment == moments[-1] else volume * (moment - minute_ms + 1) // MINUTE_MS
        if reached == done:
            continue
        price = market.last_price(symbol, moment)
        moved = price != before
        rising = price > before if moved else rising
        direction = f"{'' if moved else 'Zero'}{'Plus' if rising else 'Minus'}Tick"
        quantity = (reached - done) * step
        side = "Buy" if rising else "Sell"
        trades.append(Trade(moment, price, quantity, side, direction, _trade_id(symbol, moment)))
        done, before = reached, price
    return tuple(trades)


def _moments(market: Market, symbol: str, minute_ms: int) -> list[int]:
    count = MINUTE_MS // SPACING_MS
    noise = hashlib.shake_128(f"trades/{symbol}/{minute_ms}".encode()).digest(2 * count)
    spread = {
        minute_ms + index * SPACING_MS + int.from_bytes(noise[2 * index : 2 * index + 2]) % SPACING_MS
        for index in range(count)
    }
    return sorted(spread | {point.time_ms for point in market.path(symbol, minute_ms)})


def _trade_id(symbol: str, time_ms: int) -> str:
    return str(uuid.UUID(bytes=hashlib.blake2b(f"{symbol}/{time_ms}".encode(), digest_size=16).digest(), version=5))
