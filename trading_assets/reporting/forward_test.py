"""Forward test: the trades of selections on candles that the selection had not seen.

Signals count from the as-of on, and each trade is simulated to its end, by the functions of the live finder and of the
backtest engine. Which of these trades an account takes, `portfolio_simulation` decides.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from trading_assets.backtesting.engine import Costs, LimitEntry
from trading_assets.backtesting.kernel.sweep import shared_indicators
from trading_assets.backtesting.worker_threads import map_on_workers, threads_by_default
from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import HOUR_MS, LIVE_BARS, Timeframe
from trading_assets.market import lookback as depth
from trading_assets.market.loading import CachedReader, CandleReader, load_strategy_data
from trading_assets.market.store import Progress
from trading_assets.reporting.held_candles import HeldCandles
from trading_assets.reporting.trade_simulation import Entries, EntryPlan, HourPrices, TradeSimulator
from trading_assets.reporting.trade_table import COLUMNS, DETAILS, NO_TRADES, Places, Selections, TradeTable, spread
from trading_assets.reporting.trades import NO_ENDINGS, Ending, ForwardTrade, SelectedStrategy
from trading_assets.strategies.registry import make_strategy


@dataclass(frozen=True)
class ForwardTestResult:
    """Trades of each selection, in order of entry, and the reason of each selection that failed.

    Attributes:
        table: all of them, those of a selection together.
        failed: the same reasons, by place in `table.selections`.
        followed: of each selection that was given its place in `table.selections`; -1 where no bar closes in its hour.
        also: the same trades at other costs, as they were asked for.
    """

    table: TradeTable
    failed: Mapping[int, str]
    followed: IntArray
    also: Sequence[TradeTable] = ()
    _tests: _ForwardTests | None = field(default=None, repr=False)

    @cached_property
    def places(self) -> Mapping[SelectedStrategy, int]:
        """Of each selection its place in the table."""
        return {row: place for place, row in enumerate(self.table.selections.rows())}

    @cached_property
    def trades(self) -> Mapping[SelectedStrategy, Sequence[ForwardTrade]]:
        """Trades of each selection that has a bar in its hour and did not fail, in order of entry."""
        found: dict[SelectedStrategy, list[ForwardTrade]] = {
            row: [] for row, place in self.places.items() if place not in self.failed
        }
        for trade in self.table.trades():
            found[trade.selection].append(trade)
        return found

    @property
    def failures(self) -> Mapping[SelectedStrategy, str]:
        """Why selections could not be followed."""
        return {self.table.selections.row(place): reason for place, reason in self.failed.items()}

    def of(self, selections: Iterable[SelectedStrategy], *, unfilled: bool = False) -> list[ForwardTrade]:
        """All trades of some selections, in live's order; `unfilled` also those whose entry was not filled.

        As live, a bar on which two selections decide with the same strategy is one signal, the earlier selection's. Of
        several signals of a moment the most confident goes first, then the one whose identity comes first. At a full
        hour those of the older selection are executed before the new one is there.
        """
        places = [self.places[one] for one in dict.fromkeys(selections) if one in self.places]
        table = self.table
        found = table.take(table.signals(table.rows_of(np.array(places, dtype=np.int64))))
        return [trade for trade in self.detailed(found).trades() if unfilled or trade.is_filled]

    def detailed(self, table: TradeTable) -> TradeTable:
        """Some of the trades with all that a report shows of them; what was not kept is simulated once more."""
        return table if self._tests is None or len(table.fees) == len(table) else self._tests.again(table)


def run_forward_tests(
    reader: CandleReader,
    selections: Iterable[SelectedStrategy] | Selections,
    *,
    end_ms: int,
    min_confidence: float,
    costs: Costs,
    also: Sequence[Costs] = (),
    entered_by: Mapping[str, LimitEntry | None] = MappingProxyType({}),
    together: bool = False,
    endings: Mapping[str, Ending] = NO_ENDINGS,
    details: bool = True,
    progress: Progress | None = None,
) -> ForwardTestResult:
    """Simulate the trades of selections.

    A selection enters on bars that close from its as-of to the next one: [as-of, as-of + 1 h]. Live decides on the bar
    of a full hour twice: with the older selection as it closes, and with the new one once that is there, which has seen
    this bar but nothing of the trade that begins with its close. Every candle is read once per coin and timeframe for
    hours near each other. A strategy that fails concerns its own selection alone. Coins are spread over threads, which
    ask `reader` at once.

    Args:
        selections: one by one, or as columns; one that is given twice counts once.
        end_ms: no candle that closes later is read; trades still open then are marked there.
        also: further costs at which the trades are simulated: entries and exits are the same, what they earn is not.
        entered_by: how the positions of strategies that declare it are entered, by their names; else as `costs` say.
        together: hours of the same strategy and parameters are decided on one series of candles, not each on as many
            as the live finder reads: for many selections a third of the time. The signals are the same
            but where an average that has seen older candles crosses its threshold on another bar.
        endings: contracts that were delisted. A position is settled there, at the price of its settlement or the last
            one, with a taker's fee; nothing is entered later.
        details: keep what only the rows of a report show, see `ForwardTestResult.detailed`.
        progress: told how many coins and timeframes of how many are done.
    """
    if not isinstance(selections, Selections):
        selections = Selections.from_rows(dict.fromkeys(selections))
    tests = _ForwardTests(reader, end_ms, min_confidence, (costs, *also), entered_by, endings, details=details)
    return tests.run(selections, together=together, progress=progress)


class _ForwardTests:
    """Forward tests at some costs."""

    def __init__(
        self,
        reader: CandleReader,
        end_ms: int,
        min_confidence: float,
        costs: Sequence[Costs],
        entered_by: Mapping[str, LimitEntry | None],
        endings: Mapping[str, Ending],
        *,
        details: bool,
    ) -> None:
        self._source, self._end_ms, self._min_confidence, self._costs = reader, end_ms, min_confidence, costs
        self._entered_by, self._endings, self._details = entered_by, endings, details
        self._plans: list[EntryPlan] = []
        self._known_plans: dict[tuple[float, object], int] = {}
        self._planning = threading.Lock()

    def run(self, given: Selections, *, together: bool, progress: Progress | None) -> ForwardTestResult:
        """The trades of all of them."""
        with_a_close = np.flatnonzero(_first_closes(given) <= given.hour_ms + 2 * HOUR_MS)
        order = with_a_close[given.take(with_a_close).order()]
        followed = np.full(len(given), -1, dtype=np.int64)
        followed[order] = np.arange(len(order))
        chosen = given.take(order)
        failed: dict[int, str] = {}
        parts: list[list[dict[str, np.ndarray]]] = [[] for _ in self._costs]
        prices: list[FloatArray] = []
        held, done, groups = 0, list[int](), _cuts(len(chosen), chosen.symbol, chosen.timeframe)

        def of_coin(its_groups: Sequence[slice]) -> list[_Simulated]:
            reader, found = self._held(chosen), list[_Simulated]()
            for group in its_groups:
                found += self._simulated(
                    reader, chosen, self._entries(reader, chosen, group, failed, together=together)
                )
                done.append(group.start)
            return found

        def tell(_coins: int) -> None:
            if progress is not None:
                progress(len(done), len(groups))

        by_coin: dict[int, list[slice]] = {}
        for group in groups:
            by_coin.setdefault(int(chosen.symbol[group.start]), []).append(group)
        threads = threads_by_default()
        with ThreadPoolExecutor(threads) as pool:
            found = map_on_workers(pool, threads, of_coin, list(by_coin.values()), tell)
        for of_one in found:
            for columns, marks in of_one:
                for of_costs, one in zip(parts, columns, strict=True):
                    kept = one if self._details else {**one, **dict.fromkeys(DETAILS, np.empty(0))}
                    of_costs.append({**kept, "marks_at": one["marks_at"] + np.int32(held)})
                prices.append(marks)
                held += len(marks)
            of_one.clear()
        joined = np.concatenate(prices) if prices else np.empty(0)
        prices.clear()
        table, *others = (_joined(of_costs, chosen, joined) for of_costs in parts)
        return ForwardTestResult(table, failed, followed, others, self)

    def _held(self, chosen: Selections) -> CandleReader:
        """A reader for one thread."""
        return HeldCandles(self._source, int(chosen.hour_ms.min(initial=self._end_ms)), self._end_ms)

    def again(self, table: TradeTable) -> TradeTable:
        """Trades that were found before, with their details."""
        found = {name: np.empty(len(table)) for name in DETAILS}
        chosen = table.selections
        reader = self._held(chosen)
        order = np.lexsort((table.entry_ms, chosen.timeframe[table.selection], chosen.symbol[table.selection]))
        sorted_ = table.take(order)
        coin, timeframe = chosen.symbol[sorted_.selection], chosen.timeframe[sorted_.selection]
        for group in _cuts(len(order), coin, timeframe):
            some = sorted_.take(group)
            entries = Entries(
                some.selection,
                some.entry_ms,
                some.direction,
                some.stop_fraction,
                some.confidence,
                chosen.max_price[some.selection],
                some.plan,
            )
            for (columns, *_), _, places in self._by_entry(reader, chosen, entries):
                for name in DETAILS:
                    found[name][order[group][places]] = columns[name]
        return table.with_columns(found)

    def _simulated(self, reader: CandleReader, chosen: Selections, entries: Entries) -> Iterator[_Simulated]:
        """Trades of one coin and timeframe, those of a selection together, and the prices of their marks."""
        for columns, marks, _ in self._by_entry(reader, chosen, entries):
            order = np.argsort(columns[0]["selection"], kind="stable")
            yield [{name: column[order] for name, column in one.items()} for one in columns], marks

    def _by_entry(
        self, reader: CandleReader, chosen: Selections, entries: Entries
    ) -> Iterator[tuple[list[dict[str, np.ndarray]], FloatArray, IntArray]]:
        """The same in the order of entries, and which entries they are; by how they are entered."""
        if not len(entries):
            return
        one = chosen.row(int(entries.selection[0]))
        strategy_of = chosen.strategy[entries.selection]
        by_kind: dict[LimitEntry | None, list[int]] = {}
        for place in np.unique(strategy_of).tolist():
            waits = self._entered_by.get(chosen.texts["strategy"][place], self._costs[0].entry)
            by_kind.setdefault(waits, []).append(place)
        for waits, strategies in by_kind.items():
            which = np.flatnonzero(np.isin(strategy_of, strategies))
            some = entries.take(which)
            marks = HourPrices(int(some.close_ms[0]), self._end_ms)
            simulator = TradeSimulator(
                reader,
                one.symbol,
                Timeframe(one.timeframe),
                self._end_ms,
                [replace(costs, entry=waits) for costs in self._costs],
                marks,
                self._endings.get(one.symbol),
            )
            places, columns = simulator.simulate(some, self._plans)
            if len(places):
                yield columns, marks.prices, which[places]

    def _entries(
        self, reader: CandleReader, chosen: Selections, group: slice, failed: dict[int, str], *, together: bool
    ) -> Entries:
        """Entries of the selections of one coin and timeframe, ascending."""
        timeframe = Timeframe(chosen.row(group.start).timeframe)
        hours = chosen.hour_ms[group]
        reach = depth.own_reach_ms(timeframe, DataNeeds(), live=True)
        # Cut where an hour shares no candle with the one before, so that nothing between them is fetched.
        cuts = np.flatnonzero(np.diff(hours) > reach) + 1
        parts: list[_Found] = []
        for near in np.split(np.arange(group.start, group.stop), cuts):
            last = int(chosen.hour_ms[near[-1]]) + 2 * HOUR_MS
            held = CachedReader(reader, min(last, self._end_ms))
            for run in _runs(chosen, near, together=together):
                try:
                    parts.append(self._entries_of(reader, held, chosen, run))
                except TradingAssetsError as error:
                    failed |= dict.fromkeys(run.tolist(), str(error))
                except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything; the others go on)
                    failed |= dict.fromkeys(run.tolist(), f"{type(error).__name__}: {error}")
        selection, close_ms, direction, fraction, confidence, plan = (
            np.concatenate(columns) for columns in zip(_NO_ENTRIES, *parts, strict=True)
        )
        entries = Entries(selection, close_ms, direction, fraction, confidence, chosen.max_price[selection], plan).take(
            confidence >= self._min_confidence
        )
        return entries.take(np.lexsort((entries.selection, entries.close_ms)))

    def _entries_of(self, reader: CandleReader, held: CachedReader, chosen: Selections, run: IntArray) -> _Found:
        """Entries of selections of one coin, timeframe, strategy and parameter set, and when their exit conditions hold
        until the end."""
        one = chosen.row(int(run[0]))
        strategy, timeframe = make_strategy(one.strategy, one.parameters), Timeframe(one.timeframe)
        firsts, lasts = _first_closes(chosen.take(run)), chosen.hour_ms[run] + 2 * HOUR_MS
        # As deep as the live finder looks.
        start_ms = int(firsts[0]) - LIVE_BARS * timeframe.ms
        data = load_strategy_data(held, one.symbol, timeframe, strategy.needs(), start_ms, int(lasts[-1]))
        if not len(data.candles):
            return _NO_ENTRIES
        with shared_indicators():
            signals = strategy.signals(data)
            if signals.exit_long is not None:  # a position outlives its selection, and so do the conditions that end it
                needs, until = strategy.needs(), self._end_ms
                data = load_strategy_data(reader, one.symbol, timeframe, needs, start_ms, until)
                signals = strategy.signals(data)
        ends = data.candles.end_ms
        bars = np.flatnonzero((signals.long | signals.short) & (ends >= firsts[0]))
        closes = ends[bars]
        low, high = np.searchsorted(closes, firsts), np.searchsorted(closes, lasts + 1)
        counts = np.maximum(high - low, 0)
        bars = bars[spread(low, counts)]
        long = signals.long[bars]
        plans = np.full(len(bars), -1, dtype=np.int32)
        if signals.exit_long is None:
            plans[:] = self._plan(EntryPlan(signals.reward_risk, signals.exits))
        else:
            for side, condition in ((True, signals.exit_long), (False, signals.exit_short)):
                if (long == side).any():
                    leaves = None if condition is None else ends[condition]
                    plans[long == side] = self._plan(EntryPlan(signals.reward_risk, signals.exits, leaves))
        return (
            np.repeat(run, counts).astype(np.int32),
            ends[bars],
            np.where(long, 1, -1).astype(np.int8),
            signals.stop_distance[bars] / data.candles.close[bars],
            signals.confidence[bars].astype(np.float64),
            plans,
        )

    def _plan(self, plan: EntryPlan) -> int:
        """Its number."""
        with self._planning:
            key = plan.reward_risk, plan.exits if plan.leaves_ms is None else len(self._plans)
            if key not in self._known_plans:
                self._known_plans[key] = len(self._plans)
                self._plans.append(plan)
            return self._known_plans[key]


_Simulated = tuple[list[dict[str, np.ndarray]], FloatArray]
"""Columns of trades at each of the costs, and the prices of their marks."""

_Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Selection, close (UTC ms), direction, stop as a fraction of the close, confidence and plan of entries, each (k,)."""

_NO_ENTRIES: _Found = (
    np.empty(0, np.int32),
    np.empty(0, np.int64),
    np.empty(0, np.int8),
    np.empty(0),
    np.empty(0),
    np.empty(0, np.int32),
)


def _first_closes(chosen: Selections) -> IntArray:
    """The first close of a bar at or after each as-of, shape (n,)."""
    of_timeframe = [Timeframe(one).ms for one in chosen.texts["timeframe"]]
    steps = np.array(of_timeframe, dtype=np.int64)[chosen.timeframe]
    return np.asarray(-(-(chosen.hour_ms + HOUR_MS) // steps) * steps)


def _cuts(count: int, *keys: Places) -> list[slice]:
    """Spans of equal keys, which stand together."""
    if not count:
        return []
    changes = np.zeros(count - 1, dtype=bool)
    for key in keys:
        changes |= key[1:] != key[:-1]
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), count]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def _runs(chosen: Selections, near: IntArray, *, together: bool) -> Iterator[IntArray]:
    """Selections that are decided on one series of candles, each ascending in time."""
    if not together:
        yield from near[:, None]
        return
    sets = len(chosen.texts["parameters"])
    _, run_of = np.unique(chosen.strategy[near].astype(np.int64) * sets + chosen.parameters[near], return_inverse=True)
    order = np.argsort(run_of, kind="stable")
    yield from np.split(near[order], np.flatnonzero(np.diff(run_of[order])) + 1)


def _joined(parts: list[dict[str, np.ndarray]], chosen: Selections, prices: FloatArray) -> TradeTable:
    """All parts as one, column by column: each part is given up as it goes in."""
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in COLUMNS if parts}
    return TradeTable(selections=chosen, prices=prices, **(columns or NO_TRADES))
