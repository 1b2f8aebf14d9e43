"""Forward test: the trades of selections on candles that the selection had not seen.

Signals count from the as-of on, and each trade is simulated to its end, by the functions of the live finder and of the
backtest engine. Which of these trades an account takes, `portfolio_simulation` decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from trading_assets.backtesting.endings import words
from trading_assets.backtesting.engine import Column, Costs, Engine, LimitEntry, Trades, risked, takes_at_once
from trading_assets.backtesting.kernel.sweep import shared_indicators
from trading_assets.backtesting.liquidity import price_before_slippage, slippage_by_bar
from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding, IntArray
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.exits import NO_PLAN, ExitPlan
from trading_assets.core.models import EntryOrder
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import HOUR_MS, LIVE_BARS, Timeframe, as_of_ms
from trading_assets.market import lookback as depth
from trading_assets.market.loading import CachedReader, CandleReader, load_strategy_data
from trading_assets.market.store import Progress
from trading_assets.strategies.registry import make_strategy

STOP, TARGET, OPEN, DROPPED, DELISTED = "stop", "target", "open", "not filled", "delisted"

_FIRST_LOOK_BARS = 256
"""Most trades end within this many bars; for a longer one four times as many are read, and so on."""

_BLOCK_BARS = 1024
"""Candles of trades are read in spans of two blocks, so that they also serve the next trade."""


class SelectedStrategy(NamedTuple):
    """The strategy that was chosen for a coin in an hour; it trades from its as-of to the next one.

    Above `max_price` (USDT) no order of a position's size is accepted.
    """

    hour_ms: int
    symbol: str
    timeframe: str
    strategy: str
    parameters: str
    max_price: float = math.inf

    @property
    def end_ms(self) -> int:
        """End of the hour in which it trades. A bar that closes then still belongs to it; see `run_forward_tests`."""
        return as_of_ms(self.hour_ms) + HOUR_MS


class Ending(NamedTuple):
    """That a contract was delisted: when (UTC ms), and the price of its settlement, as far as it is known."""

    time_ms: int
    price: float | None = None


NO_ENDINGS: Mapping[str, Ending] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ForwardTrade:
    """A trade by the rules of `backtesting.engine`, as if the account had been free to take it. Money in USD.

    One whose entry waited and was not filled never was a position: it kept its coin from `entry_ms` to `exit_ms`.

    Attributes:
        entry_ms: close of the signal's bar.
        exit_ms: end of the bar in which it ends; the end of the range where it is still open.
        direction: 1 long, -1 short.
        size: base coin.
        fees, entry_fee: of both fills (of the entry alone while open); of the entry.
        slippage: what the fills cost more than the prices they were made at.
        funding: paid, negative is received.
        pnl: net of fees and funding; marked at the last close where it is open.
        reason: stop, target or open; not filled; delisted.
        risk: loss at the stop before costs.
        marks: last close at or before each whole hour from the entry until before the exit, shape (k,).
        first_mark_ms: the first of these hours.
        filled_ms: where its entry waited, the end of the bar in which it was filled; else 0.
    """

    selection: SelectedStrategy
    entry_ms: int
    exit_ms: int
    direction: int
    size: float
    entry_price: float
    exit_price: float
    entry_fee: float
    fees: float
    slippage: float
    funding: float
    pnl: float
    reason: str
    confidence: float
    stop_fraction: float
    risk: float
    marks: FloatArray
    first_mark_ms: int
    filled_ms: int = 0

    @property
    def is_filled(self) -> bool:
        return self.reason != DROPPED

    def holds_at(self, time_ms: int) -> bool:
        """Whether a position of it is open at a time before its end."""
        return self.is_filled and time_ms >= self.filled_ms

    @property
    def r(self) -> float:
        """PnL in multiples of the risk."""
        return self.pnl / self.risk

    @property
    def bps(self) -> float:
        """PnL in basis points of the position's value at its entry."""
        return self.pnl / (self.size * self.entry_price) * 10_000

    @property
    def closed(self) -> bool:
        return self.reason != OPEN

    def mark_at(self, time_ms: int) -> float:
        """Price at the last whole hour of its simulator at or before a time; its entry price before the first."""
        index = (time_ms - self.first_mark_ms) // HOUR_MS
        return (
            float(self.marks[min(index, len(self.marks) - 1)]) if index >= 0 and len(self.marks) else self.entry_price
        )

    def open_gain(self, time_ms: int) -> float:
        """PnL of the open trade at a time, the entry's fee included; 0 while its entry waits."""
        if not self.holds_at(time_ms):
            return 0.0
        return self.direction * self.size * (self.mark_at(time_ms) - self.entry_price) - self.entry_fee


@dataclass(frozen=True)
class ForwardTestResult:
    """Trades of each selection, in order of entry, and the reason of each selection that failed.

    `also` has the same trades at other costs, as they were asked for.
    """

    trades: Mapping[SelectedStrategy, Sequence[ForwardTrade]]
    failures: Mapping[SelectedStrategy, str]
    also: Sequence[ForwardTestResult] = ()

    def of(self, selections: Iterable[SelectedStrategy], *, unfilled: bool = False) -> list[ForwardTrade]:
        """All trades of some selections, in live's order; `unfilled` also those whose entry was not filled.

        As live, a bar on which two selections decide with the same strategy is one signal, the earlier selection's. Of
        several signals of a moment the most confident goes first, then the one whose identity comes first. At a full
        hour those of the older selection are executed before the new one is there.
        """
        found = [trade for selection in selections for trade in self.trades.get(selection, ())]
        found.sort(key=_live_order)
        signals: dict[tuple[int, str, str, str], ForwardTrade] = {}
        for trade in found:
            selection = trade.selection
            signals.setdefault((trade.entry_ms, selection.symbol, selection.timeframe, selection.strategy), trade)
        return [trade for trade in signals.values() if unfilled or trade.is_filled]


def run_forward_tests(
    reader: CandleReader,
    selections: Iterable[SelectedStrategy],
    *,
    end_ms: int,
    min_confidence: float,
    engine: Engine,
    costs: Costs,
    also: Sequence[Costs] = (),
    entered_by: Mapping[str, LimitEntry | None] = MappingProxyType({}),
    together: bool = False,
    endings: Mapping[str, Ending] = NO_ENDINGS,
    progress: Progress | None = None,
) -> ForwardTestResult:
    """Simulate the trades of selections.

    A selection enters on bars that close from its as-of to the next one: [as-of, as-of + 1 h]. Live decides on the bar
    of a full hour twice: with the older selection as it closes, and with the new one once that is there, which has seen
    this bar but nothing of the trade that begins with its close. Every candle is read once per coin and timeframe for
    hours near each other. A strategy that fails concerns its own selection alone.

    Args:
        end_ms: no candle that closes later is read; trades still open then are marked there.
        also: further costs at which the trades are simulated: entries and exits are the same, what they earn is not.
        entered_by: how the positions of strategies that declare it are entered, by their names; else as `costs` say.
        together: hours of the same strategy and parameters are decided on one series of candles, not each on as many
            as the live finder reads: for many selections a third of the time. The signals are the same
            but where an average that has seen older candles crosses its threshold on another bar.
        endings: contracts that were delisted. A position is settled there, at the price of its settlement or the last
            one, with a taker's fee; nothing is entered later.
        progress: told how many coins and timeframes of how many are done.
    """
    by_coin = _grouped(selections)
    trades: list[dict[SelectedStrategy, list[ForwardTrade]]] = [{} for _ in (costs, *also)]
    failures: dict[SelectedStrategy, str] = {}
    for done, ((symbol, timeframe), chosen) in enumerate(by_coin.items()):
        kinds: dict[LimitEntry | None, _TradeSimulator] = {}
        for strategy in sorted({one.strategy for one in chosen}):
            waits = entered_by.get(strategy, costs.entry)
            if waits not in kinds:
                at = tuple(replace(one, entry=waits) for one in (costs, *also))
                kinds[waits] = _TradeSimulator(reader, symbol, timeframe, end_ms, engine, at, endings.get(symbol))
        for near in _near(chosen, depth.own_reach_ms(timeframe, DataNeeds(), live=True)):
            held = CachedReader(reader, min(near[-1].end_ms, end_ms))
            entries: list[_Entry] = []
            for run in _runs(near, together=together):
                try:
                    entries += _entries(held, run, reader, end_ms)
                except TradingAssetsError as error:
                    failures |= dict.fromkeys(run, str(error))
                except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
                    failures |= dict.fromkeys(run, f"{type(error).__name__}: {error}")
            for of_costs in trades:
                of_costs |= {selection: [] for selection in near if selection not in failures}
            for entry in sorted(entries, key=lambda one: (one.close_ms, one.selection)):
                simulator = kinds[entered_by.get(entry.selection.strategy, costs.entry)]
                found = simulator.trade(entry) if entry.confidence >= min_confidence else ()
                for of_costs, trade in zip(trades, found, strict=False):
                    of_costs[entry.selection].append(trade)
        if progress is not None:
            progress(done + 1, len(by_coin))
    first, *others = (ForwardTestResult(of_costs, failures) for of_costs in trades)
    return replace(first, also=others)


def _live_order(trade: ForwardTrade) -> tuple[int, int, float, str]:
    """As `ledger.signals.active` has waiting signals; all of a moment have the same account and close."""
    chosen = trade.selection
    identity = f"{chosen.symbol}:{chosen.timeframe}:{chosen.strategy}"
    return trade.entry_ms, chosen.hour_ms, -trade.confidence, identity


def last_closes(candles: Candles, times_ms: Sequence[int]) -> FloatArray:
    """Last close at or before each time; NaN before the first, shape (k,)."""
    index = np.searchsorted(candles.end_ms, np.asarray(times_ms, dtype=np.int64), side="right") - 1
    if not len(candles):
        return np.full(len(index), np.nan)
    return np.where(index >= 0, candles.close[np.maximum(index, 0)], np.nan)


def whole_hours(start_ms: int, end_ms: int) -> range:
    """Whole hours in [start_ms, end_ms)."""
    return range(-(-start_ms // HOUR_MS) * HOUR_MS, end_ms, HOUR_MS)


def _grouped(selections: Iterable[SelectedStrategy]) -> dict[tuple[str, Timeframe], list[SelectedStrategy]]:
    """By coin and timeframe, ascending in time; only those with a bar that closes in their hour."""
    with_a_close = {selection for selection in selections if _first_close(selection) <= selection.end_ms}
    ordered = sorted(with_a_close, key=lambda one: (one.symbol, one.timeframe, *one))
    return {
        (symbol, Timeframe(timeframe)): list(chosen)
        for (symbol, timeframe), chosen in groupby(ordered, key=lambda one: (one.symbol, one.timeframe))
    }


def _first_close(selection: SelectedStrategy) -> int:
    """The first close of a bar at or after the as-of."""
    step = Timeframe(selection.timeframe).ms
    return -(-as_of_ms(selection.hour_ms) // step) * step


def _near(selections: Sequence[SelectedStrategy], reach_ms: int) -> Iterator[list[SelectedStrategy]]:
    """Cut where an hour shares no candle with the one before, so that nothing between them is fetched."""
    near: list[SelectedStrategy] = []
    for selection in selections:
        if near and selection.hour_ms - near[-1].hour_ms > reach_ms:
            yield near
            near = []
        near.append(selection)
    if near:
        yield near


def _runs(near: Sequence[SelectedStrategy], *, together: bool) -> Iterator[list[SelectedStrategy]]:
    """Selections that are decided on one series of candles, each ascending in time."""
    if not together:
        yield from ([selection] for selection in near)
        return
    alike: dict[tuple[str, str], list[SelectedStrategy]] = {}
    for selection in near:
        alike.setdefault((selection.strategy, selection.parameters), []).append(selection)
    yield from alike.values()


class _Entry(NamedTuple):
    """A strategy's entry at the close of a bar (UTC ms); the stop as a fraction of the close."""

    selection: SelectedStrategy
    close_ms: int
    long: bool
    stop_fraction: float
    reward_risk: float
    confidence: float
    exits: ExitPlan = NO_PLAN
    leaves_ms: IntArray | None = None


def _entries(held: CachedReader, run: Sequence[SelectedStrategy], reader: CandleReader, end_ms: int) -> list[_Entry]:
    """Entries of selections of one coin, timeframe, strategy and parameter set, and when its exit conditions hold until
    `end_ms`."""
    one, first = run[0], _first_close(run[0])
    strategy, timeframe = make_strategy(one.strategy, one.parameters), Timeframe(one.timeframe)
    # As deep as the live finder looks.
    start_ms = first - LIVE_BARS * timeframe.ms
    data = load_strategy_data(held, one.symbol, timeframe, strategy.needs(), start_ms, run[-1].end_ms)
    if not len(data.candles):
        return []
    with shared_indicators():
        signals = strategy.signals(data)
        if signals.exit_long is not None:  # a position outlives its selection, and so do the conditions that end it
            data = load_strategy_data(reader, one.symbol, timeframe, strategy.needs(), start_ms, end_ms)
            signals = strategy.signals(data)
    ends = data.candles.end_ms
    bars = np.flatnonzero((signals.long | signals.short) & (ends >= first))
    closes = ends[bars]
    found = []
    for selection in run:
        low, high = np.searchsorted(closes, [_first_close(selection), selection.end_ms + 1])
        for bar in bars[low:high].tolist():
            stop_fraction = float(signals.stop_distance[bar]) / float(data.candles.close[bar])
            found.append(
                _Entry(
                    selection,
                    int(ends[bar]),
                    bool(signals.long[bar]),
                    stop_fraction,
                    signals.reward_risk,
                    float(signals.confidence[bar]),
                    signals.exits,
                    _held_at(ends, signals.exit_long if signals.long[bar] else signals.exit_short),
                )
            )
    return found


def _held_at(ends: IntArray, condition: BoolArray | None) -> IntArray | None:
    return None if condition is None else ends[condition]


class _TradeSimulator:
    """Simulates trades of one coin and timeframe from their entry to their end."""

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

    def trade(self, entry: _Entry) -> Sequence[ForwardTrade]:
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

    def _unfilled(self, entry: _Entry, column: Column, candles: Candles) -> Sequence[ForwardTrade]:
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

    def _column(self, candles: Candles, entry: _Entry, until: int) -> Column:
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

    def _forward_trade(self, entry: _Entry, column: Column, found: Trades, costs: Costs) -> ForwardTrade:
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
