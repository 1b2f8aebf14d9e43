"""The hours of a day share their work: each has the rows that it has alone, and nothing after its end changes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trading_assets.backtesting.kernel.panel import Panel
from trading_assets.backtesting.kernel.sweep import StrategySweep
from trading_assets.backtesting.run import BacktestRunner
from trading_assets.core.candles import Candles, FloatArray, Funding
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.market.loading import CandleReader, OpenedData, open_strategy_data
from trading_assets.strategies.alignment import as_of_close, funding_as_of_close
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.registry import ConfiguredStrategy, parameter_sets
from trading_assets_tests.strategies.biased_strategies import CentredWindow
from trading_assets_tests.strategies.series import START_MS, walk

DAY = START_MS - START_MS % DAY_MS + 60 * DAY_MS
HOURS = [DAY + hour * HOUR_MS for hour in (-2, -1, 0, 3, 4, 11, 18, 22, 23, 24)]
"""Of three days."""

SETTINGS = Settings(out_of_sample_pct=25.0)


class Market:
    """Random candles and funding every four hours; one coin has a gap, one is young. From `wild_ms` on it is another
    market."""

    btc = "BTCUSDT"

    def __init__(self, wild_ms: int | None = None) -> None:
        self._wild_ms = wild_ms
        self._made: dict[tuple[str, Timeframe], Candles] = {}

    def _all(self, symbol: str, timeframe: Timeframe) -> Candles:
        key = symbol, timeframe
        if key not in self._made:
            seed = np.random.default_rng((sum(symbol.encode()), timeframe.ms))
            candles = walk(seed, timeframe, DAY - 60 * DAY_MS, DAY + 2 * DAY_MS, 0.012)
            if symbol == "GAPUSDT":
                away = (candles.start_ms >= DAY + 2 * HOUR_MS) & (candles.start_ms < DAY + 4 * HOUR_MS)
                candles = candles.select(~away)
            if symbol == "NEWUSDT":
                candles = candles.select(candles.start_ms >= DAY + 4 * HOUR_MS - 52 * timeframe.ms)
            if self._wild_ms is not None:
                wild = np.where(candles.end_ms > self._wild_ms, 1.5, 1.0)
                candles = replace(
                    candles,
                    high=candles.high * wild**2,
                    low=candles.low / wild,
                    close=candles.close * wild,
                    turnover=candles.turnover * wild,
                )
            self._made[key] = candles
        return self._made[key]

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        return self._all(symbol, timeframe).between(start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        times = np.arange(DAY - 60 * DAY_MS, DAY + 2 * DAY_MS, 4 * HOUR_MS)
        rates = 1e-3 * np.sin(times / HOUR_MS + ord(symbol[0]))
        if self._wild_ms is not None:
            rates = np.where(times >= self._wild_ms, 0.5, rates)
        return Funding(times, rates).between(start_ms, end_ms)


class Often(Strategy):
    """Reads funding and hours of the coin and of BTC, and trades at every other bar."""

    name = "often"
    description = "often"

    def needs(self) -> DataNeeds:
        return DataNeeds(candles={Timeframe.M60: 3}, btc={Timeframe.M60: 3}, funding=True)

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        own, btc = data.other[Timeframe.M60], data.btc[Timeframe.M60]
        return {
            "rate": funding_as_of_close(data.candles, data.funding),
            "own": as_of_close(data.candles, own, own.close),
            "btc": as_of_close(data.candles, btc, btc.close),
        }

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        return Entries(long=(v.rate > 0) & (v.close > v.own), short=(v.rate < 0) & (v.btc > 0), confidence=60.0)


class RaisesLate(Often):
    """Fails as soon as it sees a close of the hour 18."""

    name = "raises_late"
    description = "raises"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        if data.candles.end_ms[-1] > DAY + 12 * HOUR_MS:
            raise ZeroDivisionError("too late")
        return super().indicators(data)


class BothLate(Often):
    """Is long and short at once from some time on."""

    name = "both_late"
    description = "says both"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        late = (data.candles.end_ms > DAY + 20 * HOUR_MS) & (np.arange(len(data.candles)) % 7 == 0)
        return {"late": np.broadcast_to(late.astype(np.float64), data.candles.close.shape)}

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        return Entries(long=v.close > v.open, short=(v.close < v.open) | (v.late > 0), confidence=60.0)


class OfTheWhole(Often):
    """Looks ahead: enters below the mean of all closes that it is given."""

    name = "of_the_whole"
    description = "looks ahead"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"mean": np.broadcast_to(data.candles.close.mean(axis=-1, keepdims=True), data.candles.close.shape)}

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        return Entries(long=v.close < v.mean, short=False, confidence=60.0)


def tried(kind: type[Strategy], *sets: dict[str, float]) -> ConfiguredStrategy:
    return ConfiguredStrategy(kind.name, tuple(kind(one) for one in sets or ({},)), frozenset(), frozenset(Timeframe))


SHIPPED = [
    ConfiguredStrategy(name, parameter_sets(name, grid=[{"stop_atr": [1.5, 3.0]}]), frozenset(), frozenset(Timeframe))
    for name in ("bollinger_rsi", "fibonacci_bollinger", "hyperrsi")
]
USERS = [tried(Often, {"stop_atr": 1.5}, {"stop_atr": 3.0}), tried(RaisesLate), tried(BothLate)]
BIASED = [tried(OfTheWhole), tried(CentredWindow)]
SCANNED = {
    "AUSDT": HOURS,
    "DUSDT": HOURS,
    "BUSDT": HOURS[:-3],
    "CUSDT": HOURS[3:6],
    "GAPUSDT": HOURS,
    "NEWUSDT": HOURS[4:],
}


def rows_of(
    strategies: Sequence[ConfiguredStrategy],
    timeframe: Timeframe,
    hours: Sequence[int] = HOURS,
    settings: Settings = SETTINGS,
    market: CandleReader | None = None,
) -> pd.DataFrame:
    """Rows of so many hours in one range, of a market that lets no coin be traded above a price in some hours."""
    reader = market or Market()

    def opened(symbol: str, timeframe: Timeframe, needs: DataNeeds, of_hours: Sequence[int]) -> OpenedData:
        prices: Mapping[int, float] = {hour: 100.0 if hour % (4 * HOUR_MS) else math.inf for hour in of_hours}
        return OpenedData(open_strategy_data(reader, symbol, timeframe, needs, of_hours).load, prices)

    scans = {hour: {symbol: f"scan-{hour}" for symbol, at in SCANNED.items() if hour in at} for hour in hours}
    with BacktestRunner(strategies, settings, threads=2) as runner:
        return runner.rows(timeframe, scans, opened)


def alone(
    strategies: Sequence[ConfiguredStrategy], timeframe: Timeframe, hours: Sequence[int] = HOURS, **more: object
) -> pd.DataFrame:
    """Rows of each hour by itself."""
    parts = [rows_of(strategies, timeframe, [hour], **more) for hour in hours]  # type: ignore[arg-type]
    return BACKTEST_RESULTS.conform(pd.concat(parts, ignore_index=True))


def equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_an_hour_has_in_a_range_the_rows_that_it_has_alone() -> None:
    hours = HOURS[2:7]
    together = rows_of(SHIPPED[:1], Timeframe.M15, hours)
    assert (together.groupby("hour_ms")["total_trades"].sum() > 0).all()
    equal(together, alone(SHIPPED[:1], Timeframe.M15, hours))


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", [Timeframe.M15, Timeframe.M240])
def test_each_hour_of_three_days_has_the_rows_that_it_has_alone(timeframe: Timeframe) -> None:
    together = rows_of(SHIPPED, timeframe)
    assert (together.groupby("hour_ms")["total_trades"].sum() > 0).all()
    equal(together, alone(SHIPPED, timeframe))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        Settings(cost_model="stress"),
        Settings(entry_order="limit", entry_offset_pct=0.3, entry_bars=3),
        Settings(entry_order="chase", entry_offset_pct=0.3, entry_bars=3),
    ],
    ids=["market", "stress", "limit", "chase"],
)
def test_so_have_strategies_that_raise_or_say_both_later_in_the_day(settings: Settings) -> None:
    timeframe = Timeframe.M15
    together = rows_of(USERS, timeframe, settings=settings)
    assert together["error"].notna().any() and (together["total_trades"] > 0).any()
    equal(together, alone(USERS, timeframe, settings=settings))


@pytest.mark.slow
def test_a_strategy_that_looks_ahead_has_in_each_hour_what_was_known_then() -> None:
    equal(rows_of(BIASED, Timeframe.M15), alone(BIASED, Timeframe.M15))


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", [Timeframe.M15, Timeframe.M240])
def test_candles_and_payments_after_an_hour_change_nothing_of_it(timeframe: Timeframe) -> None:
    plain = rows_of([*SHIPPED, *USERS], timeframe)
    for hour in (HOURS[3], HOURS[6]):
        wild = rows_of([*SHIPPED, *USERS], timeframe, market=Market(as_of_ms(hour)))
        known, changed = plain["hour_ms"] <= hour, plain["hour_ms"] > hour
        equal(wild[wild["hour_ms"] <= hour].reset_index(drop=True), plain[known].reset_index(drop=True))
        assert not wild[wild["hour_ms"] > hour].reset_index(drop=True).equals(plain[changed].reset_index(drop=True))


def test_the_hours_of_a_day_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[int] = []
    compiled = StrategySweep._compiled

    def counted(self: StrategySweep, panel: object, *more: object) -> object:
        windows.append(len(panel.windows))  # type: ignore[attr-defined]
        return compiled(self, panel, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(StrategySweep, "_compiled", counted)
    rows_of(SHIPPED[:1], Timeframe.M15, HOURS[2:9])
    assert max(windows) >= 7, windows


def test_coins_that_leave_the_scan_share_a_panel_with_those_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    class UntilItLeaves(Market):
        """Nothing is stored of a coin after the last hour that scans it."""

        def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
            candles = super().read(symbol, timeframe, start_ms, end_ms)
            return candles.closed_by(as_of_ms(SCANNED.get(symbol, HOURS)[-1]))

    panels: list[tuple[str, ...]] = []
    compiled = StrategySweep._compiled

    def noted(self: StrategySweep, panel: Panel, *more: object) -> object:
        panels.append(tuple(sorted(member.symbol for member in panel.members)))
        return compiled(self, panel, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(StrategySweep, "_compiled", noted)
    hours = HOURS[:9]
    found = rows_of(SHIPPED[:1], Timeframe.M15, hours, market=UntilItLeaves())
    assert ("AUSDT", "BUSDT", "CUSDT", "DUSDT") in panels
    equal(found, rows_of(SHIPPED[:1], Timeframe.M15, hours))
