"""One trade after another by the engine that backtests use: what batched trades are held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from trading_assets.backtesting.endings import words
from trading_assets.backtesting.engine import Column, Costs, Engine, Trades, risked, takes_at_once
from trading_assets.backtesting.liquidity import price_before_slippage, slippage_by_bar
from trading_assets.core.candles import Candles, FloatArray, Funding, IntArray
from trading_assets.core.exits import NO_PLAN, ExitPlan
from trading_assets.core.models import EntryOrder
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.trades import (
    DELISTED,
    DROPPED,
    OPEN,
    STOP,
    Ending,
    ForwardTrade,
    SelectedStrategy,
    last_closes,
    whole_hours,
)

_FIRST_LOOK_BARS, _BLOCK_BARS = 256, 1024


class Entry(NamedTuple):
    """A strategy's entry at the close of a bar (UTC ms); the stop as a fraction of the close."""

    selection: SelectedStrategy
    close_ms: int
    long: bool
    stop_fraction: float
    reward_risk: float
    confidence: float
    exits: ExitPlan = NO_PLAN
    leaves_ms: IntArray | None = None


class SingleTrades:
    """Simulates trades of one coin and timeframe from their entry to their end, one after the other."""

    def __init__(
        self,
        reader: CandleReader,
        symbol: str,
        timeframe: Timeframe,
        end_ms: int,
        engine: Engine,
        costs: Sequence[Costs],
        ending: Ending | None = None,
    ) -> None:
        self._costs = costs
        self._reader, self._symbol, self._timeframe = reader, symbol, timeframe
        self._end_ms, self._engine = end_ms, engine
        self._ending = ending if ending is not None and ending.time_ms <= end_ms else None
        if self._ending is not None:
            # The bar in which it ended is the last one: a stop may have been reached in it.
            self._end_ms = min(end_ms, -(-self._ending.time_ms // timeframe.ms) * timeframe.ms)
        waits = costs[0].entry
        self._waits_ms = 0 if waits is None else waits.bars * timeframe.ms
        self._held_until = 0
        self._held = Candles.empty(timeframe)
        self._funding: Funding | None = None

    def trade(self, entry: Entry) -> Sequence[ForwardTrade]:
        """The trade that enters at the close of a bar, at each of the costs; none where the engine takes no such entry.

        Costs move no exit, and all have the same distance of the liquidation: what is no entry at one is none at all.
        """
        if self._ending is not None and entry.close_ms >= self._ending.time_ms:
            return ()
        step, bars = self._timeframe.ms, _FIRST_LOOK_BARS + self._waits_ms // self._timeframe.ms
        while True:
            until = min(entry.close_ms + bars * step, self._end_ms)
            candles = self._candles(entry.close_ms - step, until)
            column = self._column(candles, entry, until)
            [found] = self._engine.simulate([column], self._costs[0])
            if not len(found):
                return self._unfilled(entry, column, candles)
            if bool(found.closed[0]) or until == self._end_ms:
                others = (self._engine.simulate([column], costs)[0] for costs in self._costs[1:])
                return [
                    self._forward_trade(entry, column, trades, costs)
                    for costs, trades in zip(self._costs, (found, *others), strict=True)
                ]
            bars *= 4

    def _unfilled(self, entry: Entry, column: Column, candles: Candles) -> Sequence[ForwardTrade]:
        """What an entry that waited in vain kept its coin for; nothing where there was no such order."""
        costs, direction = self._costs[0], 1 if entry.long else -1
        if costs.entry is None or not any(side.any() for side in column.entries(costs)):
            return ()
        if costs.entry.kind is EntryOrder.POST_ONLY and takes_at_once(candles, 0, direction, costs):
            return ()
        close = float(candles.close[0])
        price = close * (1 - direction * costs.entry.offset)
        size, stop = costs.notional / price, close * (1 - direction * entry.stop_fraction)
        one = ForwardTrade(
            selection=entry.selection,
            entry_ms=entry.close_ms,
            exit_ms=min(entry.close_ms + self._waits_ms, self._end_ms),
            direction=direction,
            size=size,
            entry_price=price,
            exit_price=price,
            entry_fee=0.0,
            fees=0.0,
            slippage=0.0,
            funding=0.0,
            pnl=0.0,
            reason=DROPPED,
            confidence=entry.confidence,
            stop_fraction=entry.stop_fraction,
            risk=size * abs(price - stop),
            marks=np.empty(0),
            first_mark_ms=entry.close_ms,
        )
        return [one for _ in self._costs]

    def _column(self, candles: Candles, entry: Entry, until: int) -> Column:
        leave = None if entry.leaves_ms is None else np.isin(candles.end_ms, entry.leaves_ms)
        column = Column.from_entry(
            candles,
            entry.close_ms,
            exit_long=leave,
            exit_short=leave,
            exits=entry.exits,
            long=entry.long,
            stop_fraction=entry.stop_fraction,
            reward_risk=entry.reward_risk,
            funding=self._payments(entry.close_ms, until),
        )
        return replace(column, max_price=entry.selection.max_price)

    def _candles(self, start_ms: int, until: int) -> Candles:
        """Candles from `start_ms` on that have closed by `until`. Entries ascend, so what was read serves the next."""
        block = _BLOCK_BARS * self._timeframe.ms
        if until > self._held_until or not len(self._held) or start_ms < int(self._held.start_ms[0]):
            first = start_ms // block * block
            self._held_until = min(max(first + 2 * block, until), self._end_ms)
            held = self._reader.read(self._symbol, self._timeframe, first, self._held_until)
            self._held = held.closed_by(self._held_until)
        return self._held.between(start_ms, until).closed_by(until)

    def _payments(self, start_ms: int, until: int) -> Funding:
        if self._funding is None:
            # Selections ascend by hours, so the hour of the first trade reads farthest back.
            first = start_ms // HOUR_MS * HOUR_MS
            self._funding = self._reader.read_funding(self._symbol, first, self._end_ms + 1)
        return self._funding.between(start_ms, until + 1)

    def _forward_trade(self, entry: Entry, column: Column, found: Trades, costs: Costs) -> ForwardTrade:
        candles = column.candles
        first, last, direction = int(found.entry[0]), int(found.exit[0]), int(found.direction[0])
        size, fill, out = float(found.size[0]), float(found.entry_price[0]), float(found.exit_price[0])
        signal = first if found.signal is None else int(found.signal[0])
        closed, close = bool(found.closed[0]), float(candles.close[signal])
        entry_ms = int(candles.end_ms[signal])
        exit_ms = int(candles.end_ms[last]) if closed else self._end_ms
        entry_fee, slippage = size * fill * costs.fee, size * abs(fill - close)
        if costs.entry is not None and found.entry_fee is not None:
            entry_fee, level = float(found.entry_fee[0]), close * (1 - direction * costs.entry.offset)
            at = candles.open if takes_at_once(candles, signal, direction, costs) else candles.close
            slippage = 0.0 if math.isclose(fill, level) else size * abs(fill - float(at[first]))
        reason = OPEN
        if closed:
            worst = float(candles.low[last] if direction > 0 else candles.high[last])
            (reason,) = words(column, found)
            slipped = (
                float(slippage_by_bar(candles.select(slice(last, last + 1)), costs)[0]) if costs.liquidity else None
            )
            overshoot = costs.stop_overshoot if costs.liquidity and reason == STOP else 0.0
            made_at = price_before_slippage(
                out, direction, costs.slippage if slipped is None else slipped, worst, overshoot
            )
            slippage += size * abs(out - made_at)
        pnl, fees = float(found.pnl[0]), float(found.fees[0])
        if not closed and self._ending is not None:
            marked, out = out, self._ending.price or out
            fee = size * out * costs.fee
            reason, exit_ms, closed = DELISTED, max(self._ending.time_ms, entry_ms), True
            pnl, fees = pnl + direction * size * (out - marked) - fee, fees + fee
        hours = whole_hours(entry_ms, exit_ms if closed else exit_ms + 1)
        return ForwardTrade(
            selection=entry.selection,
            entry_ms=entry_ms,
            exit_ms=exit_ms,
            direction=direction,
            size=size,
            entry_price=fill,
            exit_price=out,
            entry_fee=entry_fee,
            fees=fees,
            slippage=slippage,
            funding=float(found.funding[0]),
            pnl=pnl,
            reason=reason,
            confidence=entry.confidence,
            stop_fraction=entry.stop_fraction,
            risk=float(risked(column, found, costs)[0]) * costs.notional
            if costs.entry is not None
            else size * close * entry.stop_fraction,
            marks=self._marks(candles, hours),
            first_mark_ms=hours.start,
            filled_ms=0 if found.signal is None else int(candles.end_ms[first]),
        )

    def _marks(self, candles: Candles, hours: range) -> FloatArray:
        """Prices at whole hours: of hourly candles where the trade's own are longer."""
        marks = last_closes(candles, hours)
        if len(hours) and self._timeframe.ms > HOUR_MS:
            hourly = self._reader.read(self._symbol, Timeframe.M60, hours.start - HOUR_MS, hours[-1])
            finer = last_closes(hourly.closed_by(hours[-1]), hours)
            marks = np.where(np.isfinite(finer), finer, marks)
        return marks
