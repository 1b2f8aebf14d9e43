"""A small market written by hand: each minute's open, extremes and close are given or hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import ClassVar

import numpy as np

from trading_assets.simulator.market.base import Bars, Contract, FunctionOfTime, PathPoint, Reference, Stats24h

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z

BTC = Contract(
    symbol="BTCUSDT",
    symbol_id=5,
    base_coin="BTC",
    quote_coin="USDT",
    settle_coin="USDT",
    contract_type="LinearPerpetual",
    status="Trading",
    symbol_type="",
    launch_ms=T0 - 30 * DAY,
    delivery_ms=0,
    price_scale=2,
    tick_size=Decimal("0.10"),
    min_price=Decimal("0.10"),
    max_price=Decimal("1999999.80"),
    qty_step=Decimal("0.001"),
    min_qty=Decimal("0.001"),
    max_qty=Decimal("1190"),
    max_market_qty=Decimal("500"),
    min_notional=Decimal(5),
    max_leverage=Decimal(100),
    leverage_step=Decimal("0.01"),
    funding_interval_min=480,
    funding_cap=Decimal("0.00375"),
    price_limit_x=Decimal("0.01"),
    price_limit_y=Decimal("0.02"),
)
ALT = replace(
    BTC,
    symbol="ALTUSDT",
    symbol_id=9,
    base_coin="ALT",
    tick_size=Decimal("0.00001"),
    price_scale=5,
    min_price=Decimal("0.00001"),
    max_price=Decimal("199"),
    qty_step=Decimal(10),
    min_qty=Decimal(10),
    max_qty=Decimal(10_000_000),
    max_market_qty=Decimal(5_000_000),
    max_leverage=Decimal(25),
    funding_interval_min=60,
    price_limit_x=Decimal("0.05"),
    price_limit_y=Decimal("0.1"),
)
FUTURE = replace(
    BTC,
    symbol="BTCUSDT-30JAN26",
    symbol_id=11,
    contract_type="LinearFutures",
    delivery_ms=T0 + 29 * DAY + 8 * HOUR,
    funding_interval_min=0,
)
PERP = replace(BTC, symbol="BTCPERP", symbol_id=12, quote_coin="USDC", settle_coin="USDC")


Minute = tuple[float, float, float, float]
"""Open, first extreme, second extreme, close."""


class FakeMarket(FunctionOfTime):
    """Prices from `script` (symbol -> minute start -> four prices), else hashed around a base price."""

    base: ClassVar[dict[str, float]] = {
        "BTCUSDT": 100_000.0,
        "ALTUSDT": 0.05,
        "BTCUSDT-30JAN26": 101_000.0,
        "BTCPERP": 100_000.0,
    }

    finest_minutes = 1

    def __init__(
        self,
        script: Mapping[str, Mapping[int, Minute]] | None = None,
        *,
        level_qty: float = 1000.0,
        funding: float = 0.0001,
        swing: float = 0.01,
        minute_value: float | None = None,
    ) -> None:
        """`minute_value` USDT are traded each minute; without it 12.345 coins, whatever they cost."""
        self.contracts: Mapping[str, Contract] = {c.symbol: c for c in (BTC, ALT, FUTURE, PERP)}
        self.script = script or {}
        self.level_qty = level_qty
        self.funding = funding
        self.swing = swing
        self.minute_value = minute_value

    def _hash(self, symbol: str, minute_ms: int, salt: str) -> float:
        digest = hashlib.blake2b(f"{symbol}/{minute_ms}/{salt}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64 * 2 - 1

    def _tick(self, symbol: str, price: float) -> float:
        tick = self.contracts[symbol].tick_size
        return float((Decimal(repr(price)) / tick).to_integral_value() * tick)

    def _edge(self, symbol: str, minute_ms: int) -> float:
        return self.base[symbol] * (1 + self.swing * self._hash(symbol, minute_ms, "edge"))

    def minute(self, symbol: str, minute_ms: int) -> Minute:
        scripted = self.script.get(symbol, {}).get(minute_ms)
        if scripted is not None:
            return scripted
        if self.script.get(symbol):
            earlier = [m for m in self.script[symbol] if m < minute_ms]
            flat = self.script[symbol][max(earlier)][3] if earlier else self.script[symbol][min(self.script[symbol])][0]
            return flat, flat, flat, flat
        first, last = self._edge(symbol, minute_ms), self._edge(symbol, minute_ms + MINUTE)
        high = max(first, last) * (1 + 0.003 * abs(self._hash(symbol, minute_ms, "high")))
        low = min(first, last) * (1 - 0.003 * abs(self._hash(symbol, minute_ms, "low")))
        extremes = (high, low) if self._hash(symbol, minute_ms, "order") > 0 else (low, high)
        return tuple(self._tick(symbol, price) for price in (first, *extremes, last))  # type: ignore[return-value]

    def path(self, symbol: str, minute_ms: int) -> tuple[PathPoint, ...]:
        prices = self.minute(symbol, minute_ms)
        return tuple(
            PathPoint(minute_ms + at, price) for at, price in zip((0, 17_003, 41_009, 59_001), prices, strict=True)
        )

    def last_price(self, symbol: str, time_ms: int) -> float:
        points = self.path(symbol, time_ms - time_ms % MINUTE)
        times, prices = [p.time_ms for p in points], [p.price for p in points]
        return self._tick(symbol, float(np.interp(time_ms, times, prices)))

    def mark_price(self, symbol: str, time_ms: int) -> float:
        return self.last_price(symbol, time_ms)

    def index_price(self, symbol: str, time_ms: int) -> float:
        return self.last_price(symbol, time_ms)

    def candles(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        return self.bars(symbol, interval, start_ms, end_ms, now_ms)

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        contract = self.contracts[symbol]
        rows = []
        for start, end in self._spans(interval, start_ms, end_ms):
            if start < contract.launch_ms or start > now_ms:
                continue
            minutes = [self._cut(symbol, minute, now_ms) for minute in range(start, min(end, now_ms + 1), MINUTE)]
            prices = np.array(minutes)
            each = 12.345 if self.minute_value is None else self.minute_value / self.base[symbol]
            volume = each * len(minutes)
            rows.append(
                [
                    start,
                    prices[0, 0],
                    prices.max(),
                    prices.min(),
                    prices[-1, 3],
                    volume,
                    round(volume * prices[-1, 3], 4),
                ]
            )
        return np.array(rows, dtype=np.float64).reshape(-1, 7)

    def reference_bars(
        self, symbol: str, kind: Reference, interval: str, start_ms: int, end_ms: int, now_ms: int
    ) -> Bars:
        """Mark and index are the last price here, so the premium is zero."""
        bars = self.bars(symbol, interval, start_ms, end_ms, now_ms)[:, :5]
        if kind is Reference.PREMIUM:
            bars[:, 1:] = 0.0
        return bars

    def _cut(self, symbol: str, minute_ms: int, now_ms: int) -> Minute:
        if now_ms >= minute_ms + MINUTE:
            return self.minute(symbol, minute_ms)
        seen = [p.price for p in self.path(symbol, minute_ms) if p.time_ms <= now_ms]
        last = self.last_price(symbol, now_ms)
        return seen[0], max(*seen, last), min(*seen, last), last

    @staticmethod
    def _spans(interval: str, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        if interval == "M":
            spans, year, month = [], 2020, 1
            while year < 2028:
                following = (year + month // 12, month % 12 + 1)
                start = int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)
                end = int(datetime(*following, 1, tzinfo=UTC).timestamp() * 1000)
                if start_ms <= start < end_ms:
                    spans.append((start, end))
                year, month = following
            return spans
        step = {"D": DAY, "W": 7 * DAY}.get(interval) or int(interval) * MINUTE
        anchor = 4 * DAY if interval == "W" else 0
        first = start_ms + (anchor - start_ms) % step
        return [(start, start + step) for start in range(first, end_ms, step)]

    def book(self, symbol: str, time_ms: int, depth: int) -> tuple[Bars, Bars]:
        tick = float(self.contracts[symbol].tick_size)
        last = self.last_price(symbol, time_ms)
        steps = np.arange(1, min(depth, 40) + 1)
        sizes = np.full(len(steps), self.level_qty)
        return np.column_stack([last - tick * steps, sizes]), np.column_stack([last + tick * steps, sizes])

    def funding_rate(self, symbol: str, funding_ms: int) -> float:
        return self.funding

    def open_interest(self, symbol: str, time_ms: int) -> float:
        return 5000.0

    def stats_24h(self, symbol: str, now_ms: int) -> Stats24h:
        last = self.last_price(symbol, now_ms)
        return Stats24h(last * 0.98, last * 1.01, last * 0.97, 1234.5, 1234.5 * last, last * 0.999)


def rising_then_falling(symbol: str, start_ms: int, prices: list[float]) -> dict[str, dict[int, Minute]]:
    """A script of minutes that run straight from one price to the next."""
    script: dict[int, Minute] = {}
    for index, (here, there) in enumerate(pairwise(prices)):
        script[start_ms + index * MINUTE] = (here, min(here, there), max(here, there), there)
        if here > there:
            script[start_ms + index * MINUTE] = (here, max(here, there), min(here, there), there)
    return {symbol: script}
