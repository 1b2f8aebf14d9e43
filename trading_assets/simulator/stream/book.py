"""`orderbook.{depth}.{symbol}`: a snapshot, then the levels that changed; of depth 1 snapshots only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trading_assets.simulator.codec import places_of
from trading_assets.simulator.market.base import Bars, Contract
from trading_assets.simulator.venue import Venue

EVERY_S = {1: 0.05, 50: 0.1, 200: 0.1, 1000: 0.2}
"""Depth -> real seconds between pushes. Bybit's own are 0.01, 0.02, 0.1 and 0.2."""

REPEAT_S = 3.0
"""An unchanged book of depth 1 is told again after so long, with the same `u`."""

Side = dict[float, float]
"""Price -> quantity."""


class BookFeed:
    """One topic's book. `updates` holds the last `u` of every topic, so that it never falls."""

    closes_ms = None

    def __init__(self, venue: Venue, contract: Contract, depth: int, now_ms: int, updates: dict[str, int]) -> None:
        self.topic = f"orderbook.{depth}.{contract.symbol}"
        self.every_s = EVERY_S[depth]
        self._venue, self._contract, self._depth = venue, contract, depth
        self._updates = updates
        self._places = places_of(contract.tick_size), places_of(contract.qty_step)
        quantity = "%.15g" if self._places[1] <= 4 else f"%.{self._places[1]}f"  # no exponents
        self._level = f'["%.{self._places[0]}f","{quantity}"]'
        self._now_ms = now_ms
        self._told_at_s = 0.0
        self._sides = self._look(now_ms)
        updates.setdefault(self.topic, now_ms // 100)
        updates[self.topic] += 1

    def advance(self, now_ms: int, wall_s: float, room: int) -> Sequence[str]:
        sides = self._look(now_ms) if now_ms > self._now_ms else self._sides
        if sides == self._sides:
            if self._depth == 1 and wall_s >= self._told_at_s + REPEAT_S:
                self._told_at_s = wall_s
                return self.snapshot()
            return ()
        before, self._sides, self._now_ms, self._told_at_s = self._sides, sides, now_ms, wall_s
        self._updates[self.topic] += 1
        if self._depth == 1:
            return self.snapshot()
        bids, asks = (_changes(old, new) for old, new in zip(before, sides, strict=True))
        return (self._message("delta", sorted(bids, reverse=True), sorted(asks)),)

    def snapshot(self) -> Sequence[str]:
        bids, asks = self._sides
        return (self._message("snapshot", bids.items(), asks.items()),)

    def _look(self, now_ms: int) -> tuple[Side, Side]:
        bids, asks = self._venue.market.book(self._contract.symbol, now_ms, self._depth)
        return self._side(bids), self._side(asks)

    def _side(self, levels: Bars) -> Side:
        # Rounded here, so that "%.15g" shows no binary tail, and equal levels are equal numbers.
        prices, quantities = (levels[:, column].round(places) for column, places in enumerate(self._places))
        return dict(zip(prices.tolist(), quantities.tolist(), strict=True))

    def _message(self, kind: str, bids: Iterable[tuple[float, float]], asks: Iterable[tuple[float, float]]) -> str:
        return (
            f'{{"topic":"{self.topic}","type":"{kind}","ts":{self._now_ms},"data":{{"s":"{self._contract.symbol}",'
            f'"b":{self._levels(bids)},"a":{self._levels(asks)},"u":{self._updates[self.topic]},'
            f'"seq":{self._now_ms}}},"cts":{self._now_ms}}}'
        )

    def _levels(self, levels: Iterable[tuple[float, float]]) -> str:
        flat = [value for level in levels for value in level]
        return "[" + ",".join([self._level] * (len(flat) // 2)) % tuple(flat) + "]"


def _changes(before: Side, after: Side) -> list[tuple[float, float]]:
    """New and changed levels with their quantity, levels that are gone with zero."""
    changed = [(price, qty) for price, qty in after.items() if before.get(price) != qty]
    return changed + [(price, 0.0) for price in before if price not in after]
