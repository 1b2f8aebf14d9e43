"""Simulates entries of one coin and timeframe to their ends, each by itself, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.kernel.kernel_engine import (
    LIMIT_RECORD_FIELDS,
    RECORD_FIELDS,
    bar_numbers,
    cost_numbers,
    plan_arrays,
)
from trading_assets.backtesting.liquidity import price_before_slippage, slippage_by_bar
from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding, IntArray
from trading_assets.core.exits import NO_PLAN, ExitPlan, ExitReason
from trading_assets.core.models import EntryOrder
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.trade_table import REASONS, Places
from trading_assets.reporting.trades import DELISTED, DROPPED, OPEN, Ending, last_closes, whole_hours

_FIRST_LOOK_BARS = 256
"""Most trades end within this many bars; for a longer one four times as many are read, and so on."""

_BLOCK_BARS = 1024
"""Candles of trades are read in whole blocks, two at least, so that they also serve the next trade."""


class EntryPlan(NamedTuple):
    """By what the end of an entry is decided: the target in stop distances, the plan, and closes at which exit
    conditions of its side hold (UTC ms)."""

    reward_risk: float
    exits: ExitPlan = NO_PLAN
    leaves_ms: IntArray | None = None

    @property
    def is_simple(self) -> bool:
        """Whether nothing but stop and target ends it."""
        return self.leaves_ms is None and not self.exits


@dataclass(frozen=True)
class Entries:
    """Entries of strategies at the close of bars, arrays of shape (k,).

    Attributes:
        selection: place of the selection that decided.
        close_ms: of the bar, ascending.
        direction: 1 long, -1 short.
        stop_fraction: distance of the stop as a fraction of the close.
        max_price: see `SelectedStrategy`.
        plan: place in the plans of the forward test.
    """

    selection: Places
    close_ms: IntArray
    direction: np.ndarray
    stop_fraction: FloatArray
    confidence: FloatArray
    max_price: FloatArray
    plan: Places

    def __len__(self) -> int:
        return len(self.close_ms)

    def take(self, places: IntArray | BoolArray) -> Entries:
        """Some of them, in that order."""
        return Entries(*(getattr(self, name)[places] for name in self.__dataclass_fields__))


class HourPrices:
    """Last closes at the whole hours of a range, of one coin and timeframe, and marks that are not among them."""

    def __init__(self, start_ms: int, end_ms: int) -> None:
        self.hours = whole_hours(start_ms, end_ms + 1)
        self.row = np.full(len(self.hours), np.nan)
        self.own = list[FloatArray]()
        self._own = len(self.row)

    def place(self, times_ms: IntArray) -> IntArray:
        """Places of the first whole hours at or after times."""
        return (-(-times_ms // HOUR_MS) * HOUR_MS - self.hours.start) // HOUR_MS

    def keep(self, start_ms: int, end_ms: int, candles: Candles) -> None:
        """Have the closes at the hours in [start_ms, end_ms] known."""
        hours = whole_hours(max(start_ms, self.hours.start), min(end_ms, self.hours.stop - 1) + 1)
        if not len(hours):
            return
        found = last_closes(candles, hours)
        places = slice((hours.start - self.hours.start) // HOUR_MS, (hours[-1] - self.hours.start) // HOUR_MS + 1)
        self.row[places] = np.where(np.isnan(found), self.row[places], found)

    def keep_apart(self, marks: FloatArray) -> int:
        """Have the marks of one trade, and return their place."""
        self.own.append(marks)
        self._own += len(marks)
        return self._own - len(marks)

    @property
    def prices(self) -> FloatArray:
        """All of them."""
        return np.concatenate([self.row, *self.own])


class _Span(NamedTuple):
    """Candles that have closed by `until_ms`, what was paid meanwhile, and the entries that are looked at on them."""

    candles: Candles
    until_ms: int
    places: IntArray


class TradeSimulator:
    """Simulates entries of one coin and timeframe, whose entries wait alike or do not wait.

    Args:
        costs: at each of them the trades are simulated. They move no exit, and all have the same distance of the
            liquidation: what is no entry at one is none at all.
        marks: receives the marks that the trades need.
    """

    def __init__(
        self,
        reader: CandleReader,
        symbol: str,
        timeframe: Timeframe,
        end_ms: int,
        costs: Sequence[Costs],
        marks: HourPrices,
        ending: Ending | None = None,
    ) -> None:
        self._reader, self._symbol, self._timeframe, self._costs = reader, symbol, timeframe, costs
        self._end_ms, self._marks = end_ms, marks
        self._ending = ending if ending is not None and ending.time_ms <= end_ms else None
        if self._ending is not None:
            # The bar in which it ended is the last one: a stop may have been reached in it.
            self._end_ms = min(end_ms, -(-self._ending.time_ms // timeframe.ms) * timeframe.ms)
        waits = costs[0].entry
        self._waits_ms = 0 if waits is None else waits.bars * timeframe.ms

    def simulate(self, entries: Entries, plans: Sequence[EntryPlan]) -> tuple[IntArray, list[dict[str, np.ndarray]]]:
        """Places of the entries that are trades, or orders that waited in vain, ascending, and columns of
        `TradeTable` of them at each of the costs."""
        found: list[tuple[IntArray, list[dict[str, np.ndarray]]]] = []
        left = np.arange(len(entries))
        if self._ending is not None:
            left = left[entries.close_ms < self._ending.time_ms]
        if not len(left):
            return left, []
        # Selections ascend by hours, so the hour of the first trade reads farthest back.
        first = int(entries.close_ms[left[0]]) // HOUR_MS * HOUR_MS
        funding = self._reader.read_funding(self._symbol, first, self._end_ms + 1)
        look = _FIRST_LOOK_BARS + self._waits_ms // self._timeframe.ms
        while len(left):
            later = []
            for span in self._spans(entries, left, look):
                done, still, columns = self._on(span, funding, entries, plans, look)
                found.append((done, columns))
                later.append(still)
            left = np.concatenate(later)
            look *= 4
        order = np.concatenate([done for done, _ in found])
        sort = np.argsort(order, kind="stable")
        joined = [
            {name: np.concatenate([columns[at][name] for _, columns in found])[sort] for name in found[0][1][at]}
            for at in range(len(self._costs))
        ]
        return order[sort], joined

    def _spans(self, entries: Entries, left: IntArray, look: int) -> Iterator[_Span]:
        """The candles that entries look at, those of entries near each other together."""
        step, block = self._timeframe.ms, _BLOCK_BARS * self._timeframe.ms
        closes = entries.close_ms[left]
        begins = (closes - step) // block * block
        ends = np.minimum(np.maximum(begins + 2 * block, closes + look * step), self._end_ms)
        reached = np.maximum.accumulate(ends)
        cuts = np.flatnonzero(begins[1:] > reached[:-1]) + 1
        for places in np.split(np.arange(len(left)), cuts):
            begin, until = int(begins[places[0]]), int(reached[places[-1]])
            candles = self._reader.read(self._symbol, self._timeframe, begin, until).closed_by(until)
            yield _Span(candles, until, left[places])

    def _on(
        self, span: _Span, funding: Funding, entries: Entries, plans: Sequence[EntryPlan], look: int
    ) -> tuple[IntArray, IntArray, list[dict[str, np.ndarray]]]:
        """Places that are done, those that must look at more candles, and columns of the former at each cost."""
        candles, none = span.candles, np.empty(0, dtype=np.int64)
        places = span.places
        ends = candles.end_ms
        bars = np.searchsorted(ends, entries.close_ms[places])
        there = bars < len(candles)
        if len(candles):
            there &= ends[np.minimum(bars, len(candles) - 1)] == entries.close_ms[places]
        places, bars = places[there], bars[there]
        close, sign = candles.close[bars], entries.direction[places].astype(np.float64)
        first = self._costs[0]
        possible = entries.stop_fraction[places] < first.liquidation
        ordered = close
        if first.entry is not None:
            possible &= first.entry.offset < entries.stop_fraction[places]
            ordered = close * (1 - sign * first.entry.offset)
        possible &= ordered <= entries.max_price[places]
        places, bars = places[possible], bars[possible]
        asked = entries.take(places)
        data = _Followed(candles, funding, look)
        runs = [data.follow(asked, bars, plans, costs) for costs in self._costs]
        # What waited in vain at one of the costs did at all.
        closed = (runs[0]["end"] < len(candles)) | ~runs[0]["is_filled"]
        done = closed | (span.until_ms >= self._end_ms)
        if first.entry is not None and first.entry.kind is EntryOrder.POST_ONLY:
            refused = ~runs[0]["is_filled"] & data.takes_at_once(bars, asked.direction, first)
            kept = done & ~refused
        else:
            kept = done
        columns = []
        for costs, run in zip(self._costs, runs, strict=True):
            of_kept = {name: column[kept] for name, column in run.items()}
            columns.append(self._columns(data, asked.take(kept), bars[kept], of_kept, costs))
        if kept.any():
            at = self._marked(span, asked.take(kept), columns[0])
            columns = [{**one, "marks_at": at} for one in columns]
        else:
            columns = [{**one, "marks_at": none.astype(np.int32)} for one in columns]
        return places[kept], places[~done], columns

    def _columns(
        self, data: _Followed, entries: Entries, bars: IntArray, run: Mapping[str, np.ndarray], costs: Costs
    ) -> dict[str, np.ndarray]:
        """Columns of `TradeTable`, but for the marks."""
        candles, count = data.candles, len(data.candles)
        direction, filled = entries.direction.astype(np.int64), run["is_filled"]
        is_closed = run["end"] < count
        last = np.minimum(run["end"], count - 1)
        close, fraction = candles.close[bars], entries.stop_fraction
        fill, out, bar_in = run["entry_price"], run["exit_price"].copy(), run["entry"]
        level = close
        size = costs.notional / close
        entry_fee, slippage = size * fill * costs.fee, size * np.abs(fill - close)
        risk = size * close * fraction
        filled_ms = np.zeros(len(bars), dtype=np.int64)
        if costs.entry is not None:
            level = close * (1 - direction * costs.entry.offset)
            size = costs.notional / level
            entry_fee = run["entry_fee"]
            at_open = data.takes_at_once(bars, direction, costs)
            made = np.where(at_open, candles.open[bar_in], candles.close[bar_in])
            near = np.abs(fill - level) <= 1e-9 * np.maximum(np.abs(fill), np.abs(level))  # as math.isclose
            slippage = np.where(near, 0.0, size * np.abs(fill - made))
            stop = close * (1 - direction * fraction)
            better = np.maximum(direction * fill, direction * level)
            risk = (better - direction * stop) / level * costs.notional
            filled_ms = candles.end_ms[bar_in]
        worst = np.where(direction > 0, candles.low[last], candles.high[last])
        reason = run["reason"]
        slipped = data.slips(costs)[last] if costs.liquidity else costs.slippage
        stopped = reason == int(ExitReason.STOP)
        overshoot = np.where(stopped, costs.stop_overshoot, 0.0) if costs.liquidity else 0.0
        made_at = price_before_slippage(out, direction, slipped, worst, overshoot)
        slippage = np.where(is_closed, slippage + size * np.abs(out - made_at), slippage)
        pnl, fees, funding = run["pnl"].copy(), run["fees"].copy(), run["funding"]
        exit_ms = np.where(is_closed, candles.end_ms[last], self._end_ms)
        reason = np.where(is_closed, reason, REASONS.index(OPEN)).astype(np.int8)
        if self._ending is not None:
            ended = ~is_closed & filled
            marked = out[ended]
            settled = np.full(len(marked), self._ending.price) if self._ending.price else marked
            fee = size[ended] * settled * costs.fee
            pnl[ended] = pnl[ended] + direction[ended] * size[ended] * (settled - marked) - fee
            fees[ended] = fees[ended] + fee
            out[ended], reason[ended] = settled, REASONS.index(DELISTED)
            exit_ms[ended] = np.maximum(self._ending.time_ms, entries.close_ms[ended])
        found = {
            "selection": entries.selection,
            "entry_ms": entries.close_ms,
            "exit_ms": exit_ms,
            "direction": direction.astype(np.int8),
            "size": size,
            "entry_price": fill,
            "entry_fee": entry_fee,
            "pnl": pnl,
            "reason": reason,
            "confidence": entries.confidence,
            "stop_fraction": fraction,
            "risk": risk,
            "plan": entries.plan,
            "filled_ms": filled_ms,
            "exit_price": out,
            "fees": fees,
            "slippage": slippage,
            "funding": funding,
        }
        if filled.all():
            return found
        # What an entry that waited in vain kept its coin for.
        stop = close * (1 - direction * fraction)
        waited = np.minimum(entries.close_ms + self._waits_ms, self._end_ms)
        unfilled: dict[str, Any] = {
            "exit_ms": waited,
            "entry_price": level,
            "exit_price": level,
            **dict.fromkeys(("entry_fee", "fees", "slippage", "funding", "pnl"), 0.0),
            "reason": np.int8(REASONS.index(DROPPED)),
            "risk": size * np.abs(level - stop),
            "filled_ms": 0,
        }
        for name, value in unfilled.items():
            found[name] = np.where(filled, found[name], value).astype(found[name].dtype)
        return found

    def _marked(self, span: _Span, entries: Entries, columns: Mapping[str, np.ndarray]) -> Places:
        """Have the prices at whole hours while each trade is open, and return where they are.

        Where the trade's own candles are longer than an hour, those of hourly ones.
        """
        marks, candles, first_ms = self._marks, span.candles, int(entries.close_ms[0])
        at = marks.place(entries.close_ms)
        if self._timeframe.ms > HOUR_MS:
            begin = whole_hours(first_ms, 0).start - HOUR_MS
            candles = self._reader.read(self._symbol, Timeframe.M60, begin, span.until_ms).closed_by(span.until_ms)
            self._mark_apart(span, candles, entries, columns, at)
        marks.keep(first_ms, span.until_ms, candles)
        return at.astype(np.int32)

    def _mark_apart(
        self, span: _Span, hourly: Candles, entries: Entries, columns: Mapping[str, np.ndarray], at: IntArray
    ) -> None:
        """Until an hourly candle has come since the entry the trade's own ones count: it has marks of its own."""
        firsts = -(-entries.close_ms // HOUR_MS) * HOUR_MS
        ends = np.where(columns["reason"] == REASONS.index(OPEN), columns["exit_ms"] + 1, columns["exit_ms"])
        late = (firsts < ends) & ~np.isin(firsts, hourly.end_ms) & (columns["reason"] != REASONS.index(DROPPED))
        for place in np.flatnonzero(late).tolist():
            hours = whole_hours(int(firsts[place]), int(ends[place]))
            since = hourly.between(hours.start - HOUR_MS, hours[-1]).closed_by(hours[-1])
            finer, own = last_closes(since, hours), last_closes(span.candles, hours)
            at[place] = self._marks.keep_apart(np.where(np.isfinite(finer), finer, own))


class _Followed:
    """Entries on the candles of a span, at some costs."""

    def __init__(self, candles: Candles, funding: Funding, look: int) -> None:
        self.candles, self._funding, self._look = candles, funding, look
        self._slips: dict[Costs, FloatArray] = {}
        starts, ends = candles.start_ms, candles.end_ms
        self._payments_by = np.empty((2, len(candles)), dtype=np.int32)
        self._payments_by[0] = np.searchsorted(funding.time_ms, starts, "right")
        self._payments_by[1] = np.searchsorted(funding.time_ms, ends, "right")
        self._priced_at = np.searchsorted(ends, funding.time_ms, "right") - 1

    def slips(self, costs: Costs) -> FloatArray:
        """Slippage of a fill in each bar; of no bar where it is the same everywhere."""
        if costs not in self._slips:
            self._slips[costs] = slippage_by_bar(self.candles, costs)
        return self._slips[costs]

    def takes_at_once(self, bars: IntArray, direction: IntArray, costs: Costs) -> BoolArray:
        """`engine.takes_at_once` of many entries."""
        candles = self.candles
        if costs.entry is None or not len(bars):
            return np.zeros(len(bars), dtype=bool)
        after = np.minimum(bars + 1, len(candles) - 1)
        comes = (bars + 1 < len(candles)) & (candles.start_ms[after] == candles.end_ms[bars])
        level = candles.close[bars] * (1 - direction * costs.entry.offset)
        return np.asarray(comes & (direction * (level - candles.open[after]) > 1e-9 * level))

    def follow(
        self, entries: Entries, bars: IntArray, plans: Sequence[EntryPlan], costs: Costs
    ) -> dict[str, np.ndarray]:
        """What the kernel finds of each entry, by name, shapes (k,).

        `end` is the bar of the end (n where nothing ends it), `entry` that of the fill, `reason` an `ExitReason`.
        """
        simple = np.array([plan.is_simple for plan in plans], dtype=bool)[entries.plan]
        found: dict[str, np.ndarray] = {
            "is_filled": np.ones(len(bars), dtype=bool),
            "end": np.zeros(len(bars), dtype=np.int64),
            "entry": np.array(bars, dtype=np.int64),
            "reason": np.zeros(len(bars), dtype=np.int64),
            **{
                name: np.zeros(len(bars))
                for name in ("entry_price", "exit_price", "entry_fee", "pnl", "fees", "funding")
            },
        }
        if costs.entry is None and simple.any():
            self._simply(found, np.flatnonzero(simple), entries, bars, plans, costs)
        planned = np.arange(len(bars)) if costs.entry is not None else np.flatnonzero(~simple)
        for plan in np.unique(entries.plan[planned]).tolist():
            self._planned(found, planned[entries.plan[planned] == plan], entries, bars, plans[plan], costs)
        return found

    def _simply(
        self,
        found: dict[str, np.ndarray],
        which: IntArray,
        entries: Entries,
        bars: IntArray,
        plans: Sequence[EntryPlan],
        costs: Costs,
    ) -> None:
        from trading_assets.reporting import trade_loops  # noqa: PLC0415 (numba: a second)

        candles, slips = self.candles, self.slips(costs)
        bars, sign = bars[which], entries.direction[which].astype(np.float64)
        fraction = entries.stop_fraction[which]
        rewards = np.array([plan.reward_risk for plan in plans], dtype=np.float64)[entries.plan[which]]
        ends, prices, figures = np.empty(len(bars), np.int64), np.empty(len(bars)), np.empty((len(bars), 3))
        trade_loops.follow_entries(
            *_own(bars, sign, fraction, rewards),
            *self._arrays(),
            self._payments_by,
            np.zeros(1),
            np.zeros((2, len(candles)), dtype=np.int32),
            cost_numbers(costs),
            slips,
            np.empty((1, RECORD_FIELDS)),
            ends,
            prices,
            figures,
        )
        close, last = candles.close[bars], np.minimum(ends, len(candles) - 1)
        worst = np.where(sign > 0, candles.low[last], candles.high[last])
        stopped = sign * (worst - close) <= -close * fraction
        ended = np.where(stopped, int(ExitReason.STOP), int(ExitReason.TARGET))
        found["end"][which], found["exit_price"][which] = ends, prices
        found["pnl"][which], found["fees"][which], found["funding"][which] = figures.T
        found["reason"][which] = np.where(ends < len(candles), ended, int(ExitReason.OPEN))
        found["entry_price"][which] = close * (1 + sign * (slips[bars] if costs.liquidity else costs.slippage))

    def _planned(
        self,
        found: dict[str, np.ndarray],
        which: IntArray,
        entries: Entries,
        bars: IntArray,
        plan: EntryPlan,
        costs: Costs,
    ) -> None:
        from trading_assets.reporting import trade_loops  # noqa: PLC0415 (numba: a second)

        candles, slips, waits = self.candles, self.slips(costs), costs.entry
        count, asked = len(candles), len(which)
        bars, sign = bars[which], entries.direction[which].astype(np.float64)
        fraction = entries.stop_fraction[which]
        numbers, roi, parts = plan_arrays([plan.exits])
        codes = np.empty(0, dtype=np.uint8)
        if plan.leaves_ms is not None:
            codes = np.where(np.isin(candles.end_ms, plan.leaves_ms), np.uint8(3), np.uint8(0))
        most = parts.shape[1]
        part_bars, part_prices = np.empty(most, dtype=np.int64), np.empty(most)
        rules = (bar_numbers(candles), codes, numbers[0], roi[0], parts[0], np.empty(count), part_bars, part_prices)
        is_filled = np.empty(asked, dtype=bool)
        ends, reasons = np.empty(asked, np.int64), np.empty(asked, np.int64)
        prices, figures, fills = np.empty(asked), np.empty((asked, 3)), np.empty((asked, 4))
        trade_loops.follow_planned(
            *_own(bars, sign, fraction, np.full(asked, plan.reward_risk)),
            *self._arrays(),
            self._payments_by,
            np.zeros(len(self._funding) + 1),
            cost_numbers(costs),
            slips,
            rules,
            None if waits is None else waits.numbers,
            self._look,
            np.empty(RECORD_FIELDS if waits is None else LIMIT_RECORD_FIELDS),
            is_filled,
            ends,
            prices,
            reasons,
            figures,
            fills,
        )
        found["is_filled"][which], found["reason"][which] = is_filled, reasons
        found["end"][which], found["exit_price"][which] = ends, prices
        found["pnl"][which], found["fees"][which], found["funding"][which] = figures.T
        close = candles.close[bars]
        found["entry_price"][which] = close * (1 + sign * (slips[bars] if costs.liquidity else costs.slippage))
        if waits is not None:
            found["entry"][which] = np.where(is_filled, fills[:, 0], 0).astype(np.int64)
            found["entry_price"][which], found["entry_fee"][which] = fills[:, 2], fills[:, 3]

    def _arrays(self) -> tuple[np.ndarray, ...]:
        """Prices, payments and closes of bars, as the compiled loops take them."""
        candles, funding = self.candles, self._funding
        prices = (candles.open, candles.high, candles.low, candles.close)
        times = (funding.time_ms, candles.end_ms)
        return (
            *(_read_only(one, np.float64) for one in prices),
            *(_read_only(one, np.int64) for one in times),
            _read_only(funding.rate, np.float64),
            self._priced_at,
        )


def _read_only(values: np.ndarray, kind: type) -> np.ndarray:
    """An array as compiled code takes it."""
    found: np.ndarray = np.ascontiguousarray(values, dtype=kind).view()
    found.flags.writeable = False
    return found


def _own(bars: IntArray, *numbers: FloatArray) -> tuple[np.ndarray, ...]:
    whole = np.ascontiguousarray(bars, dtype=np.int64)
    return (whole, *(np.ascontiguousarray(one, dtype=np.float64) for one in numbers))
