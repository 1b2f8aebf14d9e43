"""The live market: prices as another exchange tells them, kept for a while. No network: `tell` and `fill` bring them.

It knows the past only. A price holds until the next one is told, so the path of a contract is a stair of the prices
that were seen, at the times at which they became known here: what comes late happens late. Where trades were missed,
the candles of that time give the extremes.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import MINUTE_MS, floor_ms, iso
from trading_assets.simulator.market.base import (
    Bars,
    Contract,
    PathPoint,
    Reference,
    Stats24h,
    UnknownPriceError,
)
from trading_assets.simulator.market.quotes import DayRow, Limits, MissedCandle, Quote

CLOSED = "Closed"
LEVELS = 50
KEPT_MS = 10 * MINUTE_MS
"""Prices are kept for so long after the account has lived through them."""

ATTENDED_MS = 10 * MINUTE_MS
"""A contract that somebody has looked at is followed for so long."""

_TRIM_ABOVE = 4000
_CORNERS_MS = (0, 20_000, 40_000, MINUTE_MS - 1)
"""When in its minute a missed candle opens, has its extremes, and closes."""


@dataclass
class _Tape:
    times: list[int] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    volumes: dict[int, float] = field(default_factory=dict)
    day: DayRow | None = None
    rates: dict[int, tuple[float, int]] = field(default_factory=dict)
    """funding by its time: rate, and when it was told"""
    known_ms: int = 0
    """the path is known through this moment"""
    priced_ms: int = 0
    """when the newest price was told"""
    whole_ms: int = 2**62
    """from here to `known_ms` nothing of the path was missed; later than all while it is not followed"""
    waiting: Quote | None = None
    """the newest quote, where it is not on the tape yet"""
    has_gap: bool = False
    """trades were missed since `known_ms`"""
    is_followed: bool = False
    attended_ms: int = -(10**15)


class LiveMarket:
    """Fulfils `trading_assets.simulator.market.base.Market` for the time since it runs. Safe for threads.

    Args:
        now_ms: the other exchange's time.
        limits: see there.

    Raises:
        UnknownPriceError: (methods that give a price) none has been told.
        DataError: (candles) it keeps none.
        KeyError: (methods that take a symbol) there is no such contract.
    """

    finest_minutes = 1
    keeps_paths = False

    def __init__(self, now_ms: Callable[[], int], limits: Limits | None = None) -> None:
        self.contracts: Mapping[str, Contract] = {}
        self._now_ms, self._limits = now_ms, limits or Limits()
        self._tapes: dict[str, _Tape] = {}
        self._followed: set[str] = set()
        self._sealed_ms = 0
        self._behind = ""
        self._heard_ms = self._steady_ms = 0  # anything at all: last, and since when without a break
        self._lock = threading.RLock()

    # What the feed brings

    def list_contracts(self, contracts: Iterable[Contract], now_ms: int) -> None:
        """What is listed now. A contract that is no longer there, or is closed, ends now, at its last price."""
        with self._lock:
            listed = {contract.symbol: contract for contract in contracts}
            for symbol, known in self.contracts.items():
                listed.setdefault(symbol, replace(known, status=CLOSED))
            next_ms = max(now_ms, self._sealed_ms) + 1
            for symbol, contract in listed.items():
                before = self.contracts.get(symbol)
                if before is not None and before.status == CLOSED and contract.status == CLOSED:
                    listed[symbol] = before
                elif contract.status == CLOSED and before is not None:
                    # Not earlier than the account has lived, or nothing would happen to it.
                    listed[symbol] = replace(contract, delivery_ms=max(contract.delivery_ms, next_ms))
            self.contracts = listed
            for symbol in listed:
                self._tapes.setdefault(symbol, _Tape())

    def follow(self, symbol: str, since_ms: int) -> None:
        """The account has something here, and has lived through `since_ms`: nothing after it may be missed."""
        with self._lock:
            tape = self._tapes[symbol]
            if not tape.is_followed:
                self._followed.add(symbol)
                # What was told of it before left out what was between.
                tape.is_followed, tape.known_ms, tape.whole_ms = True, since_ms, since_ms + 1

    def lose(self, symbols: Iterable[str]) -> None:
        """The stream was not there for a while: trades of these contracts may have been missed."""
        with self._lock:
            for symbol in symbols:
                if (tape := self._tapes.get(symbol)) is not None and tape.is_followed:
                    tape.has_gap = True

    def tell(self, symbol: str, moment_ms: int, quote: Quote, day: DayRow | None = None, *, stream: bool) -> None:
        """A price that holds from `moment_ms` on. Only a stream tells all of them: others may have been between."""
        with self._lock:
            tape = self._tapes.get(symbol)
            if tape is None or moment_ms < tape.priced_ms:
                return
            tape.priced_ms = moment_ms
            self._hear(moment_ms)
            if day is not None:
                tape.day = day
                if day.funding_rate is not None:
                    tape.rates[day.next_funding_ms] = (day.funding_rate, moment_ms)
            if tape.is_followed:
                tape.has_gap |= moment_ms - tape.known_ms > self._limits.lag_ms
                if tape.has_gap or not stream:
                    tape.waiting = quote
                    return
            tape.known_ms, tape.waiting = max(tape.known_ms, moment_ms), None
            self._append(tape, moment_ms, quote)

    def trade(self, symbol: str, moment_ms: int, price: float, qty: float) -> None:
        """A trade, as a stream tells it. Below the bid or above the ask it moves that side."""
        with self._lock:
            tape = self._tapes.get(symbol)
            if tape is None or not tape.quotes or tape.has_gap:
                return
            before = tape.quotes[-1]
            bid, ask = min(before.bid, price), max(before.ask, price) if before.ask else 0.0
            self.tell(
                symbol, max(moment_ms, tape.priced_ms), replace(before, last=price, bid=bid, ask=ask), stream=True
            )
            minute = floor_ms(moment_ms, MINUTE_MS)
            tape.volumes[minute] = tape.volumes.get(minute, 0.0) + qty

    def unchanged(self, symbols: Iterable[str], moment_ms: int) -> None:
        """The stream is heard at `moment_ms`: of these contracts it would have told what was new."""
        with self._lock:
            self._hear(moment_ms)
            for symbol in symbols:
                tape = self._tapes.get(symbol)
                if tape is None or not tape.quotes or tape.has_gap:
                    continue
                if moment_ms - tape.known_ms <= self._limits.lag_ms:
                    tape.known_ms = max(tape.known_ms, moment_ms)
                    tape.priced_ms = max(tape.priced_ms, moment_ms)

    def gaps(self) -> dict[str, int]:
        """Followed contracts of whose path something is missing, and the moment through which it is known."""
        with self._lock:
            oldest = self._now_ms() - self._limits.lag_ms
            return {
                symbol: tape.known_ms
                for symbol, tape in self._tapes.items()
                if tape.is_followed and (tape.has_gap or tape.known_ms < oldest) and not self._ended(symbol)
            }

    def followed(self) -> dict[str, int]:
        """Contracts of which nothing may be missed, and the moment through which their path is known."""
        with self._lock:
            return {symbol: self._tapes[symbol].known_ms for symbol in self._followed if not self._ended(symbol)}

    def fill(self, symbol: str, candles: Sequence[MissedCandle], through_ms: int) -> None:
        """The candles of one minute from the gap's begin on, the last one as far as it has come at `through_ms`."""
        with self._lock:
            tape = self._tapes[symbol]
            before = tape.quotes[-1] if tape.quotes else tape.waiting
            if before is None:
                return
            for candle in candles:
                self._fill_one(tape, before, candle, through_ms)
                tape.volumes[candle.start_ms] = max(tape.volumes.get(candle.start_ms, 0.0), candle.volume)
            tape.known_ms, tape.has_gap = max(tape.known_ms, through_ms), False
            tape.priced_ms = max(tape.priced_ms, through_ms)
            if tape.waiting is not None:
                self._append(tape, tape.priced_ms, tape.waiting)
                tape.waiting = None

    def pay(self, symbol: str, funding_ms: int, rate: float) -> None:
        """The rate that was paid, for good."""
        with self._lock:
            self._tapes[symbol].rates[funding_ms] = (rate, 2**62)

    def unpaid(self) -> dict[str, int]:
        """Followed contracts whose due payment has no rate yet, and when it was due."""
        with self._lock:
            if not self._sealed_ms:
                return {}
            now = self._now_ms()
            dues = {symbol: self._first_unpaid(symbol, self._sealed_ms, now) for symbol in self._followed}
            return {symbol: due for symbol, due in dues.items() if due is not None}

    def stream_wanted(self) -> set[str]:
        """Contracts whose every trade should be told: followed ones, and those that somebody looks at."""
        with self._lock:
            now = self._now_ms()
            return {
                symbol
                for symbol, tape in self._tapes.items()
                if (tape.is_followed or now - tape.attended_ms < ATTENDED_MS) and not self._ended(symbol)
            }

    def remembered(self) -> dict[str, tuple[int, Quote]]:
        """The newest quote of each followed contract, and its time: what a restart begins with."""
        with self._lock:
            tapes = {symbol: self._tapes[symbol] for symbol in self._followed}
            return {name: (tape.times[-1], tape.quotes[-1]) for name, tape in tapes.items() if tape.quotes}

    def recall(self, quotes: Mapping[str, tuple[int, Quote]]) -> None:
        """Quotes of before a restart: a position can be valued, and nothing is traded at them."""
        with self._lock:
            for symbol, (at, quote) in quotes.items():
                tape = self._tapes.get(symbol)
                if tape is not None and not tape.quotes:
                    tape.times.append(at)
                    tape.quotes.append(quote)

    # What the account asks

    def begin(self, settled_ms: int, now_ms: int, followed: Callable[[], Iterable[str]]) -> int:
        """See `Market.begin`: to now while what is followed is heard, else to where it was heard last."""
        with self._lock:
            symbols = set(followed())
            for symbol in self._followed - symbols:
                self._tapes[symbol].is_followed, self._tapes[symbol].whole_ms = False, 2**62
            self._followed &= symbols
            for symbol in symbols:
                self.follow(symbol, settled_ms)
            through, self._behind = now_ms, ""
            for symbol in symbols:
                reach = self._reach(symbol, settled_ms, now_ms)
                if reach < through:
                    through, self._behind = reach, symbol
            through = max(through, settled_ms)
            self._sealed_ms = max(self._sealed_ms, through)
            return through

    def fixed_through(self, time_ms: int) -> int:
        """See `Market.fixed_through`: what is behind it is not known yet."""
        return time_ms

    def require_price(self, symbol: str, now_ms: int) -> None:
        """See `Market.require_price`."""
        with self._lock:
            self.attend(symbol)
            tape = self._tapes[symbol]
            age = now_ms - tape.priced_ms
            if not tape.quotes or age > self._limits.stale_ms:
                told = f"the last one is of {iso(tape.priced_ms)}" if tape.quotes else "none has been told yet"
                raise UnknownPriceError(f"no price of {symbol}: {told}, and it is {iso(now_ms)}")
            if self._behind:
                raise UnknownPriceError(f"the prices of {self._behind} are being caught up with; try again")
            self.follow(symbol, now_ms)  # until the next look, when it is known whether something is there

    def attend(self, symbol: str) -> None:
        """See `Market.attend`."""
        with self._lock:
            if symbol in self._tapes:
                self._tapes[symbol].attended_ms = self._now_ms()

    def candles(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """It keeps none."""
        raise DataError("this market keeps no candles: ask the exchange whose prices it has")

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """See `Market.bars`; only minutes, of the last while."""
        if interval != "1":
            raise DataError("this market keeps no candles: ask the exchange whose prices it has")
        with self._lock:
            tape = self._tapes[symbol]
            minutes: dict[int, list[float]] = {}
            first, end = bisect_right(tape.times, start_ms - 1), bisect_right(tape.times, min(end_ms - 1, now_ms))
            for at, quote in zip(tape.times[first:end], tape.quotes[first:end], strict=True):
                minutes.setdefault(floor_ms(at, MINUTE_MS), []).append(quote.last)
            rows = [
                (minute, prices[0], max(prices), min(prices), prices[-1], tape.volumes.get(minute, 0.0), 0.0)
                for minute, prices in minutes.items()
            ]
        return np.array(rows, dtype=np.float64) if rows else np.empty((0, 7))

    def path(self, symbol: str, minute_ms: int) -> tuple[PathPoint, ...]:
        """See `Market.path`: a stair."""
        with self._lock:
            tape = self._tapes[symbol]
            first, end = bisect_right(tape.times, minute_ms - 1), bisect_right(tape.times, minute_ms + MINUTE_MS - 1)
            points: list[PathPoint] = []
            for at, quote in zip(tape.times[first:end], tape.quotes[first:end], strict=True):
                if points and at - 1 > points[-1].time_ms:
                    points.append(PathPoint(at - 1, points[-1].price))
                points.append(PathPoint(at, quote.last))
            return tuple(points)

    def last_price(self, symbol: str, time_ms: int) -> float:
        """See `Market.last_price`."""
        return self._at(symbol, time_ms).last

    def index_price(self, symbol: str, time_ms: int) -> float:
        """See `Market.index_price`."""
        return self._at(symbol, time_ms).index

    def mark_price(self, symbol: str, time_ms: int) -> float:
        """See `Market.mark_price`."""
        return self._at(symbol, time_ms).mark

    def reference_bars(
        self, symbol: str, kind: Reference, interval: str, start_ms: int, end_ms: int, now_ms: int
    ) -> Bars:
        """It keeps none."""
        return self.candles(symbol, interval, start_ms, end_ms, now_ms)

    def stats_24h(self, symbol: str, now_ms: int) -> Stats24h:
        """See `Market.stats_24h`: as told last."""
        return self._day(symbol).stats

    def open_interest(self, symbol: str, time_ms: int) -> float:
        """See `Market.open_interest`: as told last."""
        return self._day(symbol).open_interest

    def book(self, symbol: str, time_ms: int, depth: int) -> tuple[Bars, Bars]:
        """See `Market.book`: the best levels as told. Behind them each level has as much, and is one spread worse."""
        quote, contract = self._at(symbol, time_ms), self.contracts[symbol]
        count, tick, step = min(depth, LEVELS), float(contract.tick_size), float(contract.qty_step)
        spread = max(quote.ask - quote.bid, tick) if quote.bid and quote.ask else tick
        away = np.arange(count) * max(round(spread / tick), 1) * tick

        def side(price: float, size: float, sign: int) -> Bars:
            if price <= 0:
                return np.empty((0, 2))
            prices = price + sign * away
            prices = prices[prices > 0]
            return np.column_stack([prices, np.full(len(prices), max(size, step))])

        return side(quote.bid, quote.bid_size, -1), side(quote.ask, quote.ask_size, 1)

    def funding_rate(self, symbol: str, funding_ms: int) -> float:
        """See `Market.funding_rate`: as paid, or as told last before it."""
        with self._lock:
            rates = self._tapes[symbol].rates
            known = rates.get(funding_ms) or rates.get(max((at for at in rates if at <= funding_ms), default=0))
            return known[0] if known is not None else 0.0

    # Inside

    def _at(self, symbol: str, time_ms: int) -> Quote:
        with self._lock:
            tape = self._tapes[symbol]
            if not tape.quotes:
                raise UnknownPriceError(f"no price of {symbol} has been told yet")
            return tape.quotes[max(bisect_right(tape.times, time_ms) - 1, 0)]

    def _hear(self, moment_ms: int) -> None:
        if moment_ms - self._heard_ms > self._limits.stale_ms:
            self._steady_ms = moment_ms
        self._heard_ms = max(self._heard_ms, moment_ms)

    def _day(self, symbol: str) -> DayRow:
        with self._lock:
            day = self._tapes[symbol].day
            if day is None:
                raise UnknownPriceError(f"no ticker of {symbol} has been told yet")
            return day

    def _append(self, tape: _Tape, moment_ms: int, quote: Quote) -> None:
        at = max(min(moment_ms, max(self._now_ms(), 1)), self._sealed_ms + 1)
        if tape.times:
            at = max(at, tape.times[-1] + 1)
        if not tape.is_followed:
            del tape.times[:-8], tape.quotes[:-8]
        elif len(tape.times) > _TRIM_ABOVE:
            keep = bisect_right(tape.times, min(self._sealed_ms, at) - KEPT_MS)
            keep = max(min(keep, len(tape.times) - 2), 0)
            del tape.times[:keep], tape.quotes[:keep]
            oldest = tape.times[0] - KEPT_MS
            tape.volumes = {minute: volume for minute, volume in tape.volumes.items() if minute > oldest}
        tape.times.append(at)
        tape.quotes.append(quote)

    def _fill_one(self, tape: _Tape, before: Quote, candle: MissedCandle, through_ms: int) -> None:
        """The part of a candle that was not heard. Its first extreme is the one that lies behind its way."""
        start = candle.start_ms
        if start + MINUTE_MS <= tape.known_ms:
            return
        rising = candle.close >= candle.open
        turns = (candle.low, candle.high) if rising else (candle.high, candle.low)
        corners = [candle.open, *turns, candle.close]
        lasted_ms = min(max(through_ms - start, 1), MINUTE_MS) - 1
        moments = [start + within * lasted_ms // _CORNERS_MS[-1] for within in _CORNERS_MS]
        if start <= tape.known_ms:
            # Some of it was heard, and only what lies beyond that is new; if not all before was, nothing can be said.
            first = bisect_right(tape.times, start - 1)
            heard = [quote.last for quote in tape.quotes[max(first - 1, 0) :]]
            is_whole = tape.whole_ms <= start and heard
            corners = [
                *([price for price in turns if price > max(heard) or price < min(heard)] if is_whole else []),
                candle.close,
            ]
            moments = [max(moments[-1] - len(corners) + 1 + place, tape.known_ms + 1) for place in range(len(corners))]
        for at, price in zip(moments, corners, strict=True):
            if tape.quotes and tape.quotes[-1].last == price and len(corners) == 1:
                continue
            self._append(tape, at, before.around(price))

    def _ended(self, symbol: str) -> bool:
        contract = self.contracts.get(symbol)
        return contract is None or 0 < contract.delivery_ms <= self._now_ms()

    def _reach(self, symbol: str, settled_ms: int, now_ms: int) -> int:
        """How far the account may live for this contract."""
        tape, limits = self._tapes[symbol], self._limits
        reach = now_ms
        silent_ms = now_ms - tape.known_ms
        others_ms = self._heard_ms - max(tape.known_ms, self._steady_ms)
        is_alone = others_ms > limits.give_up_ms and now_ms - self._heard_ms < limits.stale_ms
        if self._ended(symbol) and tape.quotes:
            return now_ms
        if not tape.quotes or ((tape.has_gap or silent_ms > limits.lag_ms) and not is_alone):
            reach = tape.known_ms
        due = self._first_unpaid(symbol, settled_ms, reach)
        return reach if due is None else due - 1

    def _first_unpaid(self, symbol: str, after_ms: int, through_ms: int) -> int | None:
        """The first payment in (after, through] whose rate is not known well enough."""
        contract, tape = self.contracts[symbol], self._tapes[symbol]
        interval = contract.funding_interval_min * MINUTE_MS
        if contract.contract_type != "LinearPerpetual" or not interval or self._ended(symbol):
            return None
        due = floor_ms(after_ms, interval) + interval
        while due <= through_ms:
            told = tape.rates.get(due)
            if told is None or told[1] < due - max(MINUTE_MS, 2 * self._limits.lag_ms):
                return due
            due += interval
        return None
