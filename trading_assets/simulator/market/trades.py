"""The public trades of a market: each minute's path and volume, cut into trades. No own executions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from trading_assets.core.timeframes import MINUTE_MS
from trading_assets.simulator.market.base import TURNOVER, VOLUME, Market
from trading_assets.simulator.market.grid import Grid
from trading_assets.simulator.market.noise import exponentials, stream, uniforms, words_at

_MOST, _TURNOVER_PER_TRADE = 64, 15_000.0
_LOOK_BACK_MIN = 1440
"""Older trades are never shown."""


@dataclass(frozen=True)
class Trade:
    """One public trade. Quantity in base coin, on the step; `side` is who took; `direction` is Bybit's tick direction,
    against the trade before in the same minute.
    """

    trade_id: str
    time_ms: int
    price: float
    qty: float
    side: str
    direction: str


def recent_trades(market: Market, symbol: str, now_ms: int, count: int) -> list[Trade]:
    """The newest trades up to `now_ms`, newest first, at most `count`, and of the last day only."""
    found: list[Trade] = []
    minute = now_ms // MINUTE_MS * MINUTE_MS
    for ago in range(_LOOK_BACK_MIN):
        begin = minute - ago * MINUTE_MS
        if len(found) >= count or begin + MINUTE_MS <= market.contracts[symbol].launch_ms:
            break
        found += reversed([trade for trade in trades_of_minute(market, symbol, begin) if trade.time_ms <= now_ms])
    return found[:count]


def trades_of_minute(market: Market, symbol: str, minute_ms: int) -> tuple[Trade, ...]:
    """All trades of a minute, in time. They open, touch the extremes and close where its candle does, and sum up to
    its volume; none where it has no candle or no volume.
    """
    bars = market.bars(symbol, "1", minute_ms, minute_ms + 1, minute_ms + MINUTE_MS)
    grid = Grid.of(market.contracts[symbol])
    steps = round(float(bars[0, VOLUME]) / grid.step) if len(bars) else 0
    if not steps:
        return ()
    points = market.path(symbol, minute_ms)
    wanted = len(points) + int(bars[0, TURNOVER] / _TURNOVER_PER_TRADE)
    of = stream(0, "trades", symbol)
    words = words_at(of, minute_ms // MINUTE_MS, 4 * _MOST).reshape(4, _MOST)
    times = {point.time_ms: point.price for point in points}
    for share in uniforms(words[0])[: max(min(wanted, _MOST) - len(times), 0)].tolist():
        at = minute_ms + int(share * (MINUTE_MS - 1))
        times.setdefault(at, market.last_price(symbol, at))
    ordered = _chosen(sorted(times.items()), steps)
    weights = np.cumsum(exponentials(words[1])[: len(ordered)] + 0.05)
    until = np.floor((steps - len(ordered)) * weights / weights[-1]).astype(np.int64)
    until[-1] = steps - len(ordered)
    sizes = 1 + np.diff(until, prepend=0)
    ticks = _ticks([price for _, price in ordered])
    return tuple(
        Trade(str(_identifier(of, at)), at, price, grid.quantity(int(size)), side, direction)
        for (at, price), size, (side, direction) in zip(ordered, sizes.tolist(), ticks, strict=True)
    )


def _chosen(points: list[tuple[int, float]], steps: int) -> list[tuple[int, float]]:
    """No more trades than steps: the extremes, the first and the last go before the others."""
    if len(points) <= steps:
        return points
    prices = [price for _, price in points]
    first = [0, len(points) - 1, prices.index(max(prices)), prices.index(min(prices))]
    kept = list(dict.fromkeys([*first, *range(len(points))]))[:steps]
    return [points[index] for index in sorted(kept)]


def _ticks(prices: list[float]) -> Iterator[tuple[str, str]]:
    """Side and tick direction by the tick rule: a trade above the last other price was a buy, below it a sale."""
    before, rising = prices[0], True
    for price in prices:
        moved = price != before
        rising = price > before if moved else rising
        yield "Buy" if rising else "Sell", f"{'' if moved else 'Zero'}{'Plus' if rising else 'Minus'}Tick"
        before = price


def _identifier(of: int, time_ms: int) -> UUID:
    low, high = (int.from_bytes(words_at(of ^ 1, 2 * time_ms + part, 4).tobytes(), "little") for part in (0, 1))
    return UUID(int=high << 64 | low, version=4)
