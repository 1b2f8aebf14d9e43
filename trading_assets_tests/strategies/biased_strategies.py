"""Strategies that are biased, each in one way, for tests of the bias checks. No test here."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.alignment import as_of_close
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values


class Crossing(Strategy):
    """Long where `line` rises through zero, short where it falls through it."""

    description = "crosses zero"

    def line(self, data: StrategyData) -> FloatArray:
        raise NotImplementedError

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"line": self.line(data)}

    def entries(self, v: Values, p: Parameters) -> Entries:
        before = indicators.previous(v.line)
        return Entries((before <= 0) & (v.line > 0), (before >= 0) & (v.line < 0), 70.0)


class Momentum(Crossing):
    """Not biased."""

    name = "momentum"

    def line(self, data: StrategyData) -> FloatArray:
        return indicators.change_pct(data.candles.close, 10)


class CentredWindow(Crossing):
    """Its mean reaches three bars into the future."""

    name = "centred_window"

    def line(self, data: StrategyData) -> FloatArray:
        close = pd.Series(data.candles.close)
        return (close - close.rolling(7, center=True).mean()).to_numpy()


class NextClose(Crossing):
    """Its signal is the change of the bar to come."""

    name = "next_close"

    def line(self, data: StrategyData) -> FloatArray:
        close = pd.Series(data.candles.close)
        return (close.shift(-1) - close).to_numpy()


class WholeSample(Crossing):
    """Normalised by mean and deviation of all the data."""

    name = "whole_sample"

    def line(self, data: StrategyData) -> FloatArray:
        close = data.candles.close
        return np.asarray((close - close.mean()) / close.std())


class Backfilled(Crossing):
    """Undefined values are filled from the bars after them."""

    name = "backfilled"

    def line(self, data: StrategyData) -> FloatArray:
        change = pd.Series(indicators.change_pct(data.candles.close, 1))
        return change.where(change.abs() > 0.3).bfill().to_numpy()


class UnfinishedHour(Crossing):
    """Reads the hour that its own bar lies in, which has not closed yet."""

    name = "unfinished_hour"

    def needs(self) -> DataNeeds:
        return DataNeeds(candles={Timeframe.M60: 30})

    def line(self, data: StrategyData) -> FloatArray:
        hours = data.other[Timeframe.M60]
        at = np.searchsorted(hours.start_ms, data.candles.start_ms, side="right") - 1
        return np.where(at >= 0, hours.close[at] - hours.open[at], np.nan)


class UnfinishedBtc(UnfinishedHour):
    """The same with BTCUSDT."""

    name = "unfinished_btc"

    def needs(self) -> DataNeeds:
        return DataNeeds(btc={Timeframe.M60: 30})

    def line(self, data: StrategyData) -> FloatArray:
        return super().line(StrategyData(data.symbol, data.candles, other=data.btc))


class NextFunding(Crossing):
    """Knows the funding rate before it is paid."""

    name = "next_funding"

    def needs(self) -> DataNeeds:
        return DataNeeds(funding=True)

    def line(self, data: StrategyData) -> FloatArray:
        funding = data.funding
        at = np.searchsorted(funding.time_ms, data.candles.end_ms)
        return np.append(funding.rate, np.nan)[at]


class OnlyInItsEntries(Crossing):
    """Its indicators are honest; its entries look ahead."""

    name = "only_in_its_entries"

    def line(self, data: StrategyData) -> FloatArray:
        return indicators.change_pct(data.candles.close, 10)

    def entries(self, v: Values, p: Parameters) -> Entries:
        rises = np.append(v.close[1:] > v.close[:-1], False)
        honest = super().entries(v, p)
        return Entries(honest.long & rises, honest.short & ~rises, honest.confidence)


def ema(values: FloatArray, period: int) -> FloatArray:
    return pd.Series(values).ewm(span=period, adjust=False).mean().to_numpy()


class LongAverage(Crossing):
    """Its average remembers far more than the bars of warm-up."""

    name = "long_average"

    def line(self, data: StrategyData) -> FloatArray:
        return data.candles.close - ema(data.candles.close, 500)


class LongWindow(Crossing):
    """Its window is longer than the warm-up: undefined where live needs it."""

    name = "long_window"

    def line(self, data: StrategyData) -> FloatArray:
        return indicators.change_pct(data.candles.close, 260)


class LongHourlyAverage(Crossing):
    """An average of 50 hours from the 20 that it asks for."""

    name = "long_hourly_average"

    def needs(self) -> DataNeeds:
        return DataNeeds(candles={Timeframe.M60: 20})

    def line(self, data: StrategyData) -> FloatArray:
        hours: Candles = data.other[Timeframe.M60]
        return data.candles.close - as_of_close(data.candles, hours, ema(hours.close, 50))


class BarCounter(Crossing):
    """Trades on the number of bars since its data began."""

    name = "bar_counter"

    def line(self, data: StrategyData) -> FloatArray:
        return np.sin(np.arange(len(data.candles)) / 7)


class SinceTheStart(Crossing):
    """No indicator shows it: its entries count the bars since its data began."""

    name = "since_the_start"

    def line(self, data: StrategyData) -> FloatArray:
        return indicators.change_pct(data.candles.close, 10)

    def entries(self, v: Values, p: Parameters) -> Entries:
        honest = super().entries(v, p)
        odd = np.arange(len(v.close)) % 3 == 0
        return Entries(honest.long & odd, honest.short & odd, honest.confidence)


class NeedsMuch(Crossing):
    """Fails on fewer than 700 bars."""

    name = "needs_much"

    def line(self, data: StrategyData) -> FloatArray:
        if len(data.candles) < 700:
            raise ValueError("too few bars")
        return indicators.change_pct(data.candles.close, 10)


PEEKING = [
    CentredWindow,
    NextClose,
    WholeSample,
    Backfilled,
    UnfinishedHour,
    UnfinishedBtc,
    NextFunding,
    OnlyInItsEntries,
    NeedsMuch,
]
FORGETFUL = [LongAverage, LongWindow, LongHourlyAverage, BarCounter, SinceTheStart, NeedsMuch]
