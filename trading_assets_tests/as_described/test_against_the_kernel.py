"""The strategies as described, written a second time, give every trade of the kernel: seeded and recorded candles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from trading_assets.backtesting.costs import costs_from
from trading_assets.backtesting.kernel.panel import Panel, Window
from trading_assets.backtesting.kernel.sweep import StrategySweep, column_from
from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.run import production_engine
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, WARM_UP_BARS, Timeframe
from trading_assets.market.loading import CandleReader, load_strategy_data, resample
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import parameter_sets
from trading_assets_tests.as_described import spec
from trading_assets_tests.as_described.spec import Bar, Entry, Market
from trading_assets_tests.conftest import recorded_data

NAMES = ("bollinger_rsi", "fibonacci_bollinger", "hyperrsi")
SEEDED_AS_OF_MS = 1_772_323_200_000
"""2026-03-01 00:00 UTC."""

CRASH_MS = 1_760_130_900_000
"""2025-10-10 21:15 UTC."""

EARLIER_DAYS = 35
"""Days of candles before the window: the longest level needs thirty."""

_COLUMNS = ("open", "high", "low", "close", "volume", "turnover")


def described(strategy: Strategy) -> Callable[[Market], list[Entry]]:
    """The description of a strategy, with the parameters that it leaves open."""
    if strategy.name != "hyperrsi":
        return {"bollinger_rsi": spec.bollinger_rsi, "fibonacci_bollinger": spec.fibonacci_bollinger}[strategy.name]
    given = strategy.parameters.model_dump()
    return partial(spec.hyperrsi, period=given["rsi_period"], low=given["rsi_low"], high=given["rsi_high"])


def plain(candles: Candles) -> list[Bar]:
    columns = (getattr(candles, name).tolist() for name in ("open", "high", "low", "close"))
    starts = candles.start_ms.tolist()
    return [Bar(start, start + candles.timeframe.ms, *prices) for start, *prices in zip(starts, *columns, strict=True)]


def market_of(
    reader: CandleReader, base: Timeframe, longer: Timeframe, symbol: str, timeframe: Timeframe, as_of_ms: int
) -> Market:
    """The same coin and window for the description, its bars made of shorter ones by its own code.

    Args:
        base: of which its own bars are made; those of other lengths are made of `longer` ones.
    """
    end = as_of_ms // timeframe.ms * timeframe.ms
    start = end - timeframe.window_bars * timeframe.ms
    first = start - WARM_UP_BARS * timeframe.ms
    early = start - EARLIER_DAYS * spec.DAY_MS
    minutes = timeframe.ms // spec.MINUTE_MS
    own = spec.bars_of(plain(reader.read(symbol, base, first, as_of_ms)), minutes, as_of_ms)
    held = plain(reader.read(symbol, longer, early, as_of_ms))
    of_btc = plain(reader.read(reader.btc, longer, early, as_of_ms))
    lengths = {*spec.LEVEL_MINUTES, spec.TREND_MINUTES[minutes]}
    paid = reader.read_funding(symbol, early, as_of_ms)
    return Market(
        minutes,
        own,
        next((index for index, bar in enumerate(own) if bar.start >= start), len(own)),
        {length: spec.bars_of(held, length, as_of_ms) for length in lengths},
        spec.bars_of(of_btc, 240, as_of_ms),
        list(zip(paid.time_ms.tolist(), paid.rate.tolist(), strict=True)),
    )


def differences(
    reader: CandleReader, base: Timeframe, longer: Timeframe, symbol: str, timeframe: Timeframe, as_of_ms: int
) -> tuple[int, list[str]]:
    """How many trades there were of all strategies and described sets, and where the kernel differs."""
    settings = load_settings()
    costs = costs_from(settings)
    market = market_of(reader, base, longer, symbol, timeframe, as_of_ms)
    engine, count, found = production_engine(), 0, list[str]()
    start = as_of_ms // timeframe.ms * timeframe.ms - timeframe.window_bars * timeframe.ms
    for name in NAMES:
        sets = parameter_sets(name)
        needs = DataNeeds.deepest([*(one.needs() for one in sets), DataNeeds(funding=True)])
        data = load_strategy_data(reader, symbol, timeframe, needs, start, as_of_ms)
        swept = StrategySweep(sets).run(Panel.from_members([data], start, 25.0), costs, costs.notional)
        assert not swept.failures
        for index, strategy in enumerate(sets):
            plain_costs = spec.Costs(costs.fee, costs.slippage, costs.notional, costs.liquidation)
            wanted = spec.trades_of(market, described(strategy)(market), plain_costs)
            column = column_from(strategy, data, Window.from_data(data, start))
            [trades] = engine.simulate([column], costs)
            where = f"{symbol} {timeframe.value} {name} set {index}"
            mine = [(one.entry - market.first, one.exit - market.first, one.side, one.closed) for one in wanted]
            theirs = zip(
                *(part.tolist() for part in (trades.entry, trades.exit, trades.direction, trades.closed)), strict=True
            )
            if mine != list(theirs):
                found.append(f"{where}: {len(mine)} trades described, {len(trades)} of the kernel")
                continue
            for what in ("entry_price", "exit_price", "pnl", "confidence"):
                ours = np.array([getattr(one, what) for one in wanted])
                if not np.allclose(ours, getattr(trades, what), rtol=1e-9, atol=1e-9):
                    found.append(f"{where}: {what} differs")
            figures = dict(zip(Metrics.__dataclass_fields__, swept.figures[0, index].tolist(), strict=True))
            closed = [one for one in wanted if one.closed]
            told = (len(closed), sum(one.pnl for one in closed))
            if told != pytest.approx((figures["total_trades"], figures["total_pnl"]), rel=1e-9, abs=1e-9):
                found.append(f"{where}: the sweep has {figures['total_trades']} trades, PnL {figures['total_pnl']}")
            count += len(wanted)
    return count, found


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", TRADED_TIMEFRAMES)
@pytest.mark.parametrize("place", [0, 7])
def test_every_trade_of_the_kernel_is_the_described_one_on_the_seeded_market(timeframe: Timeframe, place: int) -> None:
    market = SeededMarket(7, 20)
    symbol = list(market.contracts)[place]
    base = Timeframe.M15 if timeframe.ms >= Timeframe.M15.ms else Timeframe.M1
    count, found = differences(MarketReader(market), base, Timeframe.M15, symbol, timeframe, SEEDED_AS_OF_MS)
    assert found == []
    assert count > 20


class Recorded:
    """Recorded candles of one length as a reader; longer ones are made of them."""

    btc = "BTCUSDT"

    def __init__(self, name: str, base: Timeframe, exchange: str) -> None:
        self._base = base
        rows = pq.read_table(recorded_data(f"{name}.parquet")).to_pandas().sort_values(["symbol", "start_ms"])
        self._candles = {str(symbol): self._of(part) for symbol, part in rows.groupby("symbol")}
        funding = pq.read_table(recorded_data("funding.parquet")).to_pandas().sort_values("funding_ms")
        funding = funding[funding["exchange"].str.lower() == exchange]
        self._funding: Mapping[str, pd.DataFrame] = {str(name): part for name, part in funding.groupby("symbol")}

    def _of(self, rows: pd.DataFrame) -> Candles:
        arrays = (rows[column].to_numpy(dtype=np.float64) for column in _COLUMNS)
        return Candles(self._base, rows["start_ms"].to_numpy(dtype=np.int64), *arrays)

    @property
    def symbols(self) -> Sequence[str]:
        return sorted(self._candles)

    def end_ms(self, symbol: str) -> int:
        return int(self._candles[symbol].end_ms[-1])

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        held = self._candles[symbol].between(start_ms, end_ms)
        return held if timeframe is self._base else resample(held, timeframe, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        rows = self._funding.get(symbol)
        if rows is None:
            return Funding.empty()
        held = rows[(rows["funding_ms"] >= start_ms) & (rows["funding_ms"] < end_ms)]
        return Funding(held["funding_ms"].to_numpy(dtype=np.int64), held["funding_rate"].to_numpy(dtype=np.float64))


recorded = lru_cache(Recorded)


@pytest.mark.slow
@pytest.mark.recorded
@pytest.mark.parametrize("timeframe", [one for one in TRADED_TIMEFRAMES if one.ms >= Timeframe.M5.ms])
@pytest.mark.parametrize("symbol", ["AAVEUSDT", "APEUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_every_trade_of_the_kernel_is_the_described_one_through_the_crash_and_after(
    symbol: str, timeframe: Timeframe
) -> None:
    reader = recorded("candles_5m", Timeframe.M5, "bybit")
    count, found = 0, list[str]()
    for as_of_ms in (CRASH_MS // spec.DAY_MS * spec.DAY_MS + 2 * spec.DAY_MS, reader.end_ms(symbol)):
        trades, differs = differences(reader, Timeframe.M5, Timeframe.M5, symbol, timeframe, as_of_ms)
        count, found = count + trades, found + differs
    assert found == []
    assert count > 20


@pytest.mark.slow
@pytest.mark.recorded
@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.M3])
def test_every_trade_of_the_kernel_is_the_described_one_on_recorded_minutes(timeframe: Timeframe) -> None:
    reader = recorded("candles_1m", Timeframe.M1, "binance")
    for symbol in reader.symbols:
        count, found = differences(reader, Timeframe.M1, Timeframe.M1, symbol, timeframe, reader.end_ms(symbol))
        assert found == []
        assert count > 100
