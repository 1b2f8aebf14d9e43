"""Trades simulated many at once are, to the last bit, those of the engine one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from trading_assets.backtesting.engine import Costs, LimitEntry
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.exits import ExitPlan
from trading_assets.core.models import EntryOrder
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.trade_simulation import Entries, EntryPlan, HourPrices, TradeSimulator
from trading_assets.reporting.trade_table import REASONS, Selections, TradeTable
from trading_assets.reporting.trades import DELISTED, DROPPED, OPEN, Ending, ForwardTrade, SelectedStrategy
from trading_assets_tests.reporting.fixtures import COSTS, HOUR, market
from trading_assets_tests.reporting.single_trades import Entry, SingleTrades

COIN = "SOLUSDT"
PLANS = {
    "plain": EntryPlan(2.0),
    "near": EntryPlan(0.2),
    "time": EntryPlan(3.0, ExitPlan(after_bars=7)),
    "trail": EntryPlan(3.0, ExitPlan(trail=0.004, trail_from=0.002)),
    "break even": EntryPlan(3.0, ExitPlan(break_even_from=0.003, break_even_to=0.0015)),
    "roi": EntryPlan(4.0, ExitPlan(roi=((1, 0.02), (5, 0.004), (30, 0.0)))),
    "parts": EntryPlan(3.0, ExitPlan(parts=((0.5, 0.3), (1.0, 0.3)))),
}


@dataclass(frozen=True)
class Holes:
    """A market whose candles have holes, of different hours in each timeframe, and which pays funding each hour."""

    reader: CandleReader
    btc: str = "BTCUSDT"

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        found = self.reader.read(symbol, timeframe, start_ms, end_ms)
        bar = found.start_ms // timeframe.ms
        return found.select((bar % 29 != timeframe.minutes % 29) & (bar % 97 > 4))

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        times = np.arange(-(-start_ms // HOUR_MS) * HOUR_MS, end_ms, HOUR_MS, dtype=np.int64)
        return Funding(times, 0.0001 * np.sin(times / HOUR_MS))


def entries_of(
    reader: CandleReader, timeframe: Timeframe, days: int, plans: list[EntryPlan], count: int = 150
) -> tuple[Entries, list[Entry], Selections, int]:
    """Entries at bars drawn at random, some twice and some at bars that are not there, and the end of the range."""
    rng = np.random.default_rng(timeframe.minutes)
    step, start_ms = timeframe.ms, HOUR // timeframe.ms * timeframe.ms
    bars = days * 24 * 60 // timeframe.minutes
    at = np.sort(rng.integers(1, bars, count))
    closes = start_ms + at * step
    side = rng.choice([-1, 1], count).astype(np.int8)
    fraction = rng.choice([0.001, 0.004, 0.02, 0.2], count, p=[0.3, 0.4, 0.25, 0.05])
    plan = rng.integers(0, len(plans), count).astype(np.int32)
    price = float(np.median(reader.read(COIN, timeframe, start_ms, start_ms + bars * step).close))
    most = np.where(rng.random(count) < 0.3, price, np.inf)
    confidence = 60.0 + rng.integers(0, 40, count)
    chosen = [
        SelectedStrategy(int(close) // HOUR_MS * HOUR_MS, COIN, timeframe.value, "s", str(number), float(limit))
        for number, (close, limit) in enumerate(zip(closes, most, strict=True))
    ]
    entries = Entries(np.arange(count, dtype=np.int32), closes, side, fraction, confidence, most, plan)
    singles = [
        Entry(chosen[i], int(closes[i]), bool(side[i] > 0), float(fraction[i]), plans[plan[i]].reward_risk,
              float(confidence[i]), plans[plan[i]].exits, plans[plan[i]].leaves_ms)
        for i in range(count)
    ]  # fmt: skip
    return entries, singles, Selections.from_rows(chosen), start_ms + bars * step


def compare(
    reader: CandleReader,
    timeframe: Timeframe,
    plans: list[EntryPlan],
    costs: Costs = COSTS,
    days: int = 3,
    ending: Ending | None = None,
) -> Counter[str]:
    """Hold all fields of all trades against the engine's own, under each model of costs; why they ended."""
    entries, singles, chosen, end_ms = entries_of(reader, timeframe, days, plans)
    at = [costs, costs.under("liquidity"), costs.under("stress")]
    one_by_one = SingleTrades(reader, COIN, timeframe, end_ms, KernelEngine(), at, ending)
    expected: list[list[ForwardTrade]] = [[] for _ in at]
    for single in singles:
        for of_costs, trade in zip(expected, one_by_one.trade(single), strict=False):
            of_costs.append(trade)
    marks = HourPrices(int(entries.close_ms[0]), end_ms)
    places, columns = TradeSimulator(reader, COIN, timeframe, end_ms, at, marks, ending).simulate(entries, plans)
    assert len(places) < len(entries), "an entry with a stop beyond the liquidation is none"
    for of_costs, found in zip(expected, columns, strict=True):
        table = TradeTable(selections=chosen, prices=marks.prices, **found)
        batched = table.trades()
        assert len(batched) == len(of_costs) == len(places) > 20
        for one, other in zip(of_costs, batched, strict=True):
            for field in fields(ForwardTrade):
                ours, theirs = getattr(other, field.name), getattr(one, field.name)
                same = np.array_equal(ours, theirs) if field.name == "marks" else ours == theirs
                assert same, (field.name, ours, theirs, one)
    return Counter(one.reason for one in expected[0])


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.M15, Timeframe.M60, Timeframe.M240])
def test_stop_and_target_with_and_without_holes_in_the_candles(timeframe: Timeframe, holes: bool) -> None:
    reader = Holes(market()) if holes else market()
    ended = compare(reader, timeframe, [PLANS["plain"], PLANS["near"]], days=2 if timeframe is Timeframe.M1 else 12)
    assert {"stop", "target"} <= set(ended)


@pytest.mark.parametrize("name", [name for name in PLANS if name not in ("plain", "near")])
def test_exits_of_every_plan(name: str) -> None:
    ended = compare(Holes(market()), Timeframe.M5, [PLANS[name], PLANS["plain"]])
    assert ended["stop"] and (name not in ("time", "roi") or ended[name])


def test_exit_conditions_end_a_trade_at_their_closes() -> None:
    closes = HOUR + np.arange(0, 3 * 24 * 60, 35) * MINUTE_MS
    ended = compare(Holes(market()), Timeframe.M5, [PLANS["plain"], EntryPlan(5.0, leaves_ms=closes)])
    assert ended["signal"] > 5


@pytest.mark.parametrize("kind", [kind for kind in EntryOrder if kind is not EntryOrder.MARKET])
@pytest.mark.parametrize("name", ["plain", "parts"])
def test_entries_that_wait(kind: EntryOrder, name: str) -> None:
    waits = LimitEntry(kind, 0.0008, 3, fee=0.0002, deviation=0.003)
    ended = compare(Holes(market()), Timeframe.M5, [PLANS[name]], replace(COSTS, entry=waits))
    assert kind is EntryOrder.CHASE or ended[DROPPED] > 5


@pytest.mark.parametrize("price", [None, 50.0])
@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.M240])
def test_positions_end_with_their_coin(timeframe: Timeframe, price: float | None) -> None:
    ending = Ending(HOUR + 40 * HOUR_MS + 1234, price)
    days = 3 if timeframe is Timeframe.M5 else 20
    if timeframe is Timeframe.M240:
        ending = Ending(HOUR + 300 * HOUR_MS + 1234, price)
    ended = compare(Holes(market()), timeframe, [EntryPlan(8.0)], days=days, ending=ending)
    assert ended[DELISTED] and not ended[OPEN]


def test_a_bar_that_touches_stop_and_target_is_a_stop_and_what_is_open_at_the_end_is_marked() -> None:
    ended = compare(market(), Timeframe.M30, [EntryPlan(1.0), EntryPlan(30.0)], days=6)
    assert ended["stop"] and ended[OPEN]
    assert set(ended) <= set(REASONS)
