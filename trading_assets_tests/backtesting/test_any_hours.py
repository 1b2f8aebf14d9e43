"""A property: whatever is backtested, rows of a range are those of each of its hours alone, to the last bit.

Strategies are of random rules; some raise, depend on later bars, say both sides, or are no function of numbers. Candles
have gaps; coins are young, leave the scan and come again, are refused in some hours, and may not be traded above a
price.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading_assets.backtesting.run import BacktestRunner
from trading_assets.core.candles import Candles, FloatArray, Funding
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.loading import OpenedData, open_strategy_data
from trading_assets.strategies import indicators
from trading_assets.strategies.alignment import as_of_close, funding_as_of_close
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.registry import ConfiguredStrategy
from trading_assets_tests.strategies.series import START_MS, walk

DAY = START_MS + 90 * DAY_MS
DAYS = 2
COINS = ("AUSDT", "BUSDT", "CUSDT", "DUSDT")
TIMEFRAMES = (Timeframe.M15, Timeframe.M60, Timeframe.M240)


class Drawn(Parameters):
    """A weighted sum of numbers of a bar is compared with a level: below zero it says both sides on some bars."""

    period: int = 10
    weights: float = 1.0
    other: float = 0.5
    level: float = 1.0
    limit: float = 100.0


class Sound(Strategy):
    """Any weights, any level; what it reads besides its own candles is funding, and hours of the coin and of BTC."""

    name = "sound"
    description = "random rule"
    Parameters = Drawn
    parameters: Drawn

    def needs(self) -> DataNeeds:
        return DataNeeds(candles={Timeframe.M60: 3}, btc={Timeframe.M60: 2}, funding=True)

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        close, hours, btc = data.candles.close, data.other[Timeframe.M60], data.btc[Timeframe.M60]
        return {
            "change": indicators.change_pct(close, self.parameters.period),
            "away": (close / indicators.sma(close, self.parameters.period) - 1) * 100,
            "hour": (close / as_of_close(data.candles, hours, hours.close) - 1) * 100,
            "btc": as_of_close(data.candles, btc, indicators.change_pct(btc.close, 1)),
            "rate": funding_as_of_close(data.candles, data.funding),
        }

    @staticmethod
    def entries(v: Values, p: Drawn) -> Entries:  # type: ignore[override]
        total = p.weights * v.change + p.other * v.away + v.hour + v.btc + v.rate * 1000
        return Entries(long=total > p.level, short=total < -p.level, confidence=60.0)


class RaisesAtAPrice(Sound):
    """Fails where it sees a close above some price: of some coins, from some hour on."""

    name = "raises_at_a_price"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        if data.candles.close.max(initial=0.0) > self.parameters.limit:
            raise ZeroDivisionError("a price that it cannot take")
        return super().indicators(data)


class OfTheWhole(Sound):
    """Compares with the mean of all that it is given."""

    name = "of_the_whole"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        close = data.candles.close
        mean = close.sum(axis=-1, keepdims=True) / max(len(data.candles), 1)
        return super().indicators(data) | {"away": close / mean * 100 - 100}


class SeesAhead(Sound):
    """Knows the change to the next close."""

    name = "sees_ahead"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        found = super().indicators(data)
        ahead = np.full(found["change"].shape, np.nan)
        ahead[..., :-1] = found["change"][..., 1:]
        return found | {"change": ahead}


class AcrossCoins(Sound):
    """Its mean is that of all coins that happen to be beside each other."""

    name = "across_coins"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return super().indicators(data) | {"away": data.candles.close - data.candles.close.sum() / 1000}


class NoFunctionOfNumbers(Sound):
    """Its rule needs arrays."""

    name = "no_function_of_numbers"

    def entries(self, v: Values, p: Drawn) -> Entries:  # type: ignore[override]
        total = indicators.previous(v.change) + p.other * v.away
        return Entries(long=total > p.level, short=total < -p.level, confidence=60.0)


class OfItsLength(Sound):
    """Returns an array that is too short for some lengths of data."""

    name = "of_its_length"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        found = super().indicators(data)
        return found | ({"rate": found["rate"][1:]} if len(data.candles) % 5 == 0 else {})


class Leaves(Sound):
    """Closes positions by a rule, too."""

    name = "leaves"

    @staticmethod
    def entries(v: Values, p: Drawn) -> Entries:  # type: ignore[override]
        total = p.weights * v.change + p.other * v.away + v.hour + v.btc + v.rate * 1000
        return Entries(
            long=total > p.level, short=total < -p.level, confidence=60.0, exit_long=v.hour < 0, exit_short=v.hour > 0
        )


KINDS: tuple[type[Sound], ...] = (
    Sound,
    RaisesAtAPrice,
    OfTheWhole,
    SeesAhead,
    AcrossCoins,
    NoFunctionOfNumbers,
    OfItsLength,
)
SETTINGS = (
    Settings(out_of_sample_pct=25.0),
    Settings(cost_model="stress"),
    Settings(entry_order="limit", entry_offset_pct=0.3, entry_bars=3),
)


@cache
def drawn_candles(symbol: str, timeframe: Timeframe) -> Candles:
    rng = np.random.default_rng((sum(symbol.encode()), timeframe.ms))
    return walk(rng, timeframe, DAY - 80 * DAY_MS, DAY + DAYS * DAY_MS, 0.012)


@dataclass(frozen=True)
class Coin:
    """
    Attributes:
        scanned, refused: hours in which it is scanned; those of them without data.
        gap: begin, ms from the day on, and length of what is missing of all its candles.
        since_ms: the first candle there is, ms from the day on.
        funded_h: hours between payments.
        limits: the highest price, by hour.
    """

    symbol: str
    scanned: frozenset[int]
    refused: frozenset[int]
    gap: tuple[int, int] | None
    since_ms: int
    funded_h: int
    limits: Mapping[int, float]


@dataclass(frozen=True)
class Market:
    """What is stored of the coins."""

    coins: Mapping[str, Coin]
    btc: str = "BTCUSDT"

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        candles = drawn_candles(symbol, timeframe)
        if symbol in self.coins:
            coin = self.coins[symbol]
            times = candles.start_ms - DAY
            kept = times >= coin.since_ms
            if coin.gap is not None:
                kept &= (times < coin.gap[0]) | (times >= sum(coin.gap))
            # What is fetched of a coin ends with the last hour that wants it.
            kept &= candles.end_ms <= max(coin.scanned, default=DAY) + HOUR_MS
            candles = candles.select(kept)
        return candles.between(start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        times = np.arange(DAY - 60 * DAY_MS, DAY + DAYS * DAY_MS, self.coins[symbol].funded_h * HOUR_MS)
        return Funding(times, 1e-3 * np.sin(times / HOUR_MS + ord(symbol[0]))).between(start_ms, end_ms)


@dataclass(frozen=True)
class Case:
    timeframe: Timeframe
    hours: Sequence[int]
    coins: Sequence[Coin]
    strategies: Sequence[ConfiguredStrategy]
    settings: Settings

    def rows(self, hours: Sequence[int]) -> pd.DataFrame:
        market = Market({coin.symbol: coin for coin in self.coins})

        def opened(symbol: str, timeframe: Timeframe, needs: DataNeeds, of_hours: Sequence[int]) -> OpenedData:
            coin = market.coins[symbol]
            refused = {hour: f"no candles at {hour}" for hour in coin.refused}
            return OpenedData(open_strategy_data(market, symbol, timeframe, needs, of_hours).load, coin.limits, refused)

        scans = {hour: {coin.symbol: f"scan-{hour}" for coin in self.coins if hour in coin.scanned} for hour in hours}
        with BacktestRunner(self.strategies, self.settings, threads=2) as runner:
            return runner.rows(self.timeframe, scans, opened)


@st.composite
def cases(draw: st.DrawFn, kinds: Sequence[type[Sound]], settings: Sequence[Settings], most_hours: int) -> Case:
    timeframe = draw(st.sampled_from(TIMEFRAMES))
    drawn = draw(st.sets(st.integers(0, DAYS * 24 - 1), min_size=2, max_size=most_hours))
    hours = [DAY + hour * HOUR_MS for hour in sorted(drawn)]
    some_hours = st.frozensets(st.sampled_from(hours))
    gaps = st.none() | st.tuples(
        st.integers(-100, DAYS * 24).map(lambda hour: hour * HOUR_MS), st.integers(1, 30).map(lambda h: h * HOUR_MS)
    )
    young = st.integers(-60, 20).map(lambda bars: bars * timeframe.ms)
    coins = [
        Coin(
            symbol,
            scanned=draw(st.just(frozenset(hours)) | some_hours),
            refused=draw(st.just(frozenset()) | some_hours),
            gap=draw(gaps),
            since_ms=draw(st.just(-80 * DAY_MS) | young),
            funded_h=draw(st.sampled_from([4, 4, 8])),
            limits=draw(st.just({}) | st.dictionaries(st.sampled_from(hours), st.sampled_from([0.0, 100.0, math.inf]))),
        )
        for symbol in COINS[: draw(st.integers(1, len(COINS)))]
    ]
    sets = st.builds(
        dict,
        period=st.integers(2, 30),
        weights=st.sampled_from([-1.0, 0.0, 0.5, 2.0]),
        other=st.sampled_from([-0.5, 0.0, 1.0]),
        level=st.sampled_from([-0.05, 0.0, 0.5, 2.0]),
        limit=st.sampled_from([80.0, 110.0, 140.0]),
        stop_atr=st.sampled_from([1.0, 2.5]),
    )
    strategies = [
        ConfiguredStrategy(
            kind.name,
            tuple(kind(one) for one in draw(st.lists(sets, min_size=1, max_size=3, unique_by=str))),
            frozenset(),
            frozenset(Timeframe),
        )
        for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2, unique=True))
    ]
    return Case(timeframe, hours, coins, strategies, draw(st.sampled_from(settings)))


def compare(case: Case) -> None:
    together = case.rows(case.hours)
    parts = [case.rows([hour]) for hour in case.hours]
    some = [part for part in parts if len(part)]
    alone = BACKTEST_RESULTS.conform(pd.concat(some, ignore_index=True)) if some else BACKTEST_RESULTS.empty()
    event(f"trades: {bool((alone['total_trades'] > 0).any())}, errors: {bool(alone['error'].notna().any())}")
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


@hypothesis_settings(max_examples=10)
@given(cases(KINDS, SETTINGS[:1], most_hours=4))
def test_any_hours_in_a_range_have_the_rows_that_each_has_alone(case: Case) -> None:
    compare(case)


@pytest.mark.slow
@hypothesis_settings(max_examples=60)
@given(cases((*KINDS, Leaves), SETTINGS, most_hours=8))
def test_so_have_more_hours_with_orders_that_wait_and_rules_that_leave(case: Case) -> None:
    compare(case)
