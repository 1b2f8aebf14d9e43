"""Backtests of a window: what one strategy or coin does never touches another, and the same data give the same rows."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trading_assets.backtesting.costs import costs_from
from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.kernel.panel import Window
from trading_assets.backtesting.kernel.sweep import MIN_BARS, column_from
from trading_assets.backtesting.run import merged_needs
from trading_assets.backtesting.significance import trades_p_value
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine
from trading_assets.core.candles import Candles, FloatArray, Funding
from trading_assets.core.errors import DataError, StorageError, StrategyError
from trading_assets.core.schemas import BACKTEST_RESULTS, BacktestResults
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import HOUR_MS, WARM_UP_BARS, Timeframe, as_of_ms, floor_ms
from trading_assets.strategies.alignment import funding_as_of_close
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.failures import StrategyFailure
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets.strategies.grids import DECLARED
from trading_assets.strategies.registry import ConfiguredStrategy, parameter_sets
from trading_assets_tests.backtesting.windows import backtest_window
from trading_assets_tests.strategies.series import START_MS, random_data, walk

HOUR = START_MS + 80 * 24 * HOUR_MS
SCANS = {"AUSDT": "scan-20260601-010000", "BUSDT": "scan-20260601-010000", "CUSDT": "scan-20260601-020000"}
SETTINGS = Settings()
TIMEFRAME = Timeframe.M60


class Often(Strategy):
    """Enters long at every bar."""

    name = "often"
    description = "long always"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {}

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        return Entries(long=v.close > 0, short=False, confidence=60.0)


class Raising(Often):
    """Fails on one coin."""

    name = "raising"
    description = "raises"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        if data.symbol == "BUSDT":
            raise ZeroDivisionError("no such price")
        return {}


class Short(Often):
    """Returns an array of the wrong length."""

    name = "short_arrays"
    description = "wrong shape"

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"half": np.ones(len(data.candles) // 2)}


def configured(
    *kinds: type[Strategy], pairs: frozenset[str] = frozenset(), timeframes: frozenset[Timeframe] | None = None
) -> list[ConfiguredStrategy]:
    """Each strategy with its default parameters alone."""
    return [ConfiguredStrategy(kind.name, (kind(),), pairs, timeframes or frozenset({TIMEFRAME})) for kind in kinds]


Load = Callable[[str, Timeframe, DataNeeds], StrategyData]


def loader(bars: Mapping[str, int] | None = None) -> Load:
    """Random data that end at the as-of: a full window with warm-up, or fewer bars where told."""

    def load(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
        end = floor_ms(as_of_ms(HOUR), timeframe.ms)
        wanted = (bars or {}).get(symbol, timeframe.window_bars + WARM_UP_BARS)
        seed = ord(symbol[0])
        rng = np.random.default_rng(seed)
        own = walk(rng, timeframe, end - wanted * timeframe.ms, end, 0.01)
        start = end - timeframe.window_bars * timeframe.ms

        def others(of: int, needed: Mapping[Timeframe, int]) -> dict[Timeframe, Candles]:
            found = {}
            for other, count in needed.items():
                first = floor_ms(start, other.ms)
                longest = walk(np.random.default_rng((of, other.ms)), other, first - 100 * other.ms, end, 0.01)
                found[other] = longest.between(first - count * other.ms, end)
            return found

        btc, funding = others(0, needs.btc), random_data(seed, timeframe, 10).funding
        return StrategyData(symbol, own, others(seed, needs.candles), btc, funding)

    return load


def run(strategies: list[ConfiguredStrategy], load: Load | None = None) -> pd.DataFrame:
    return backtest_window(HOUR, TIMEFRAME, SCANS, load or loader(), strategies, SETTINGS)


def of(frame: pd.DataFrame, strategy: str, symbol: str) -> pd.Series:
    (_, row), *more = frame[(frame["strategy"] == strategy) & (frame["symbol"] == symbol)].iterrows()
    assert not more
    return row


@pytest.mark.slow
def test_each_coin_and_strategy_has_one_row_that_keeps_the_contract() -> None:
    frame = run(configured(Often, BollingerRsi, FibonacciBollinger))
    BacktestResults.validate(frame)
    assert len(frame) == 9
    assert frame.columns.tolist() == BACKTEST_RESULTS.columns
    assert frame["error"].isna().all()
    assert (frame["bars"] == TIMEFRAME.window_bars).all()
    assert set(frame["hour_ms"]) == {HOUR}
    assert set(frame["timeframe"]) == {"60m"}
    assert dict(zip(frame["symbol"], frame["scan_id"], strict=True)) == SCANS
    assert (frame.loc[frame["strategy"] == "often", "total_trades"] > 0).all()
    assert frame[["symbol", "strategy"]].apply(tuple, axis=1).is_monotonic_increasing


@pytest.mark.parametrize(
    ("broken", "symbols", "error"),
    [
        (Raising, ["BUSDT"], "ZeroDivisionError: no such price"),
        (Short, ["AUSDT", "BUSDT", "CUSDT"], "half"),
    ],
)
def test_a_strategy_that_fails_has_an_error_row_and_the_others_are_untouched(
    broken: type[Strategy], symbols: list[str], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    alone = run(configured(Often, BollingerRsi))
    with caplog.at_level(logging.WARNING):
        together = run(configured(broken, Often, BollingerRsi))
    others = together[together["strategy"] != broken.name].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, alone)
    rows = together[together["strategy"] == broken.name].set_index("symbol")
    assert rows.index[rows["error"].notna()].tolist() == symbols
    for symbol in symbols:
        assert error in rows.loc[symbol, "error"]
        assert rows.loc[symbol, "bars"] == rows.loc[symbol, "total_trades"] == 0
    assert sum(broken.name in record.message for record in caplog.records) == 1
    BacktestResults.validate(together)


@pytest.mark.slow
def test_one_failure_of_each_strategy_is_told_with_its_coin_bar_and_set() -> None:
    highest = {symbol: loader()(symbol, TIMEFRAME, DataNeeds()).candles for symbol in SCANS}
    bar = WARM_UP_BARS + 100
    limit = float(highest["BUSDT"].close[bar])

    class Level(Parameters):
        level: float = 1e9

    class AtLevel(Often):
        """Fails once it sees one close of one coin, if its parameter says so."""

        name = "at_level"
        Parameters = Level

        def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
            if np.any(data.candles.close == self.parameters.level):  # type: ignore[attr-defined]
                raise LookupError("here")
            return {}

    sets = tuple(AtLevel({"level": level}) for level in (1e9, limit))
    frame = frozenset({TIMEFRAME})
    told: list[tuple[int, StrategyFailure]] = []
    rows = backtest_window(
        HOUR,
        TIMEFRAME,
        SCANS,
        loader(),
        [ConfiguredStrategy("at_level", sets, frozenset(), frame), *configured(Raising, Often)],
        SETTINGS,
        lambda hour, failure: told.append((hour, failure)),
    )
    assert rows["error"].notna().sum() == 2
    first, second = (failure for _, failure in told)
    assert [hour for hour, _ in told] == [HOUR, HOUR]
    assert (first.strategy, first.symbol, first.timeframe) == ("at_level", "BUSDT", "60m")
    assert json.loads(first.parameters)["level"] == limit
    assert first.bar_ms == highest["BUSDT"].end_ms[bar] and "LookupError: here" in first.traceback
    assert (second.strategy, second.symbol, second.bar_ms) == ("raising", "BUSDT", None)


def test_a_coin_whose_data_cannot_be_put_together_has_error_rows_and_the_others_are_untouched() -> None:
    def load(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
        if symbol == "BUSDT":
            raise DataError("a candle is missing")
        return loader()(symbol, timeframe, needs)

    frame = run(configured(Often, BollingerRsi), load)
    failed = frame[frame["symbol"] == "BUSDT"]
    assert len(failed) == 2
    assert failed["error"].str.contains("a candle is missing").all()
    whole = run(configured(Often, BollingerRsi))
    pd.testing.assert_frame_equal(
        frame[frame["symbol"] != "BUSDT"].reset_index(drop=True),
        whole[whole["symbol"] != "BUSDT"].reset_index(drop=True),
    )


def test_a_store_that_cannot_be_read_stops_the_backtests() -> None:
    def load(_symbol: str, _timeframe: Timeframe, _needs: DataNeeds) -> StrategyData:
        raise StorageError("the disk is gone")

    with pytest.raises(StorageError, match="the disk is gone"):
        run(configured(Often), load)


@pytest.mark.parametrize(
    ("bars", "trades"), [(0, False), (1, False), (MIN_BARS - 1, False), (MIN_BARS, True), (TIMEFRAME.window_bars, True)]
)
def test_a_young_coin_trades_only_with_enough_bars_in_its_window(bars: int, trades: bool) -> None:
    frame = run(configured(Often, BollingerRsi, FibonacciBollinger), loader({"AUSDT": bars}))
    young = of(frame, "often", "AUSDT")
    assert young["bars"] == bars
    assert pd.isna(young["error"])
    assert (young["total_trades"] > 0) == trades
    assert of(frame, "often", "BUSDT")["total_trades"] > 0
    assert frame["error"].isna().all()
    BacktestResults.validate(frame)


def test_the_same_data_give_the_same_rows() -> None:
    strategies = configured(Often, BollingerRsi, FibonacciBollinger)
    first = run(strategies)
    pd.testing.assert_frame_equal(run(strategies), first, check_exact=True)
    pd.testing.assert_frame_equal(run(strategies[::-1]), first, check_exact=True)
    backwards = dict(reversed(SCANS.items()))
    again = backtest_window(HOUR, TIMEFRAME, backwards, loader(), strategies, SETTINGS)
    pd.testing.assert_frame_equal(again, first, check_exact=True)


def test_an_engine_sees_the_window_alone_with_signals_of_the_whole_data() -> None:
    end, bars = as_of_ms(HOUR), TIMEFRAME.window_bars
    for symbol in SCANS:
        data = loader()(symbol, TIMEFRAME, DataNeeds())
        column = column_from(BollingerRsi(), data, Window.from_data(data, end - bars * TIMEFRAME.ms))
        signals = BollingerRsi().signals(data)
        assert column.candles.start_ms[0] == end - bars * TIMEFRAME.ms
        assert column.candles.end_ms[-1] == end
        np.testing.assert_array_equal(column.long, signals.long[-bars:])
        np.testing.assert_array_equal(column.short, signals.short[-bars:])
        np.testing.assert_array_equal(column.confidence, signals.confidence[-bars:])
        distance = column.stop_fraction * column.candles.close
        np.testing.assert_allclose(distance, signals.stop_distance[-bars:], rtol=1e-12)
        assert np.isfinite(column.stop_fraction).all()  # the warm-up has defined it


def test_costs_come_from_the_settings() -> None:
    settings = Settings(taker_fee=0.001, slippage_bps=5.0, backtest_capital=250.0, leverage=20)
    assert costs_from(settings) == Costs(fee=0.001, slippage=0.0005, notional=250.0, liquidation=0.045)


def test_the_newest_part_of_the_window_is_held_back_as_the_settings_say() -> None:
    strategies = configured(Often)
    quarter, nothing, most = (
        backtest_window(HOUR, TIMEFRAME, SCANS, loader(), strategies, Settings(out_of_sample_pct=percent))
        for percent in (25.0, 0.0, 75.0)
    )
    assert (nothing["out_of_sample_trades"] == 0).all()
    pd.testing.assert_series_equal(nothing["in_sample_trades"], nothing["total_trades"], check_names=False)
    assert (quarter["out_of_sample_trades"] > 0).all()
    across = quarter["total_trades"] - quarter["in_sample_trades"] - quarter["out_of_sample_trades"]
    assert across.between(0, 1).all()
    assert (most["out_of_sample_trades"] > quarter["out_of_sample_trades"]).all()
    profitable = (quarter["total_pnl"] > 0) & (quarter["total_trades"] >= 5)
    assert profitable.any() and (quarter["p_value"].notna() == profitable).all()


def test_p_values_are_those_of_the_trades_of_chosen_rows_that_earned_anything() -> None:
    grid = ConfiguredStrategy(
        "bollinger_rsi", parameter_sets("bollinger_rsi", grid=DECLARED), frozenset(), frozenset({TIMEFRAME})
    )
    found = run([grid, *configured(Often)])
    assert found["p_value"].notna().sum() >= 2
    for row in found.to_dict("records"):
        data = loader()(row["symbol"], TIMEFRAME, DataNeeds())
        strategy = Often() if row["strategy"] == "often" else BollingerRsi(json.loads(row["parameters"]))
        window = Window.from_data(data, as_of_ms(HOUR) - TIMEFRAME.window_bars * TIMEFRAME.ms)
        column, costs = column_from(strategy, data, window), costs_from(SETTINGS)
        (trades,) = VectorbtEngine().simulate([column], costs)
        assert trades.closed.sum() == row["total_trades"]
        multiples = trades.pnl[trades.closed] / (column.stop_fraction[trades.entry[trades.closed]] * costs.notional)
        assert row["mean_r"] == pytest.approx(multiples.mean() if len(multiples) else math.nan, nan_ok=True)
        if row["total_pnl"] <= 0 or row["total_trades"] < 5:
            assert math.isnan(row["p_value"]) and math.isnan(row["break_even"])
        else:
            risk = column.stop_fraction[trades.entry[trades.closed]] * costs.notional
            fills = 2 * (costs.fee + costs.slippage) * costs.notional
            expected = trades_p_value(trades.pnl[trades.closed], risk, fills)
            assert (row["p_value"], row["break_even"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_of_a_grid_the_set_that_was_best_in_sample_has_the_row_and_all_sets_are_counted() -> None:
    sets = parameter_sets("bollinger_rsi", grid=DECLARED)
    found = run([ConfiguredStrategy("bollinger_rsi", sets, frozenset(), frozenset({TIMEFRAME}))])
    pinned = [
        run([ConfiguredStrategy("bollinger_rsi", (one,), frozenset(), frozenset({TIMEFRAME}))]).assign(number=number)
        for number, one in enumerate(sets)
    ]
    apart = pd.concat(pinned)
    assert len(found) == len(SCANS) and (found["configurations"] == len(sets)).all()
    for row in found.to_dict("records"):
        of_coin = apart[apart["symbol"] == row["symbol"]]
        enough = of_coin[of_coin["in_sample_trades"] >= 5]
        assert row["in_sample_score"] == (enough if len(enough) else of_coin)["in_sample_score"].max()
        (alone,) = of_coin[of_coin["parameters"] == row["parameters"]].to_dict("records")
        same = set(BACKTEST_RESULTS.columns) - {
            "configurations",
            "configurations_traded",
            "sharpe_mean",
            "sharpe_spread",
        }
        assert {name: row[name] for name in same if row[name] == row[name]} == {
            name: alone[name] for name in same if alone[name] == alone[name]
        }
        traded = of_coin.loc[of_coin["sharpe_ratio"] != 0, "sharpe_ratio"]
        assert row["configurations_traded"] == len(traded)
        assert row["sharpe_mean"] == pytest.approx(traded.mean())
        assert row["sharpe_spread"] == pytest.approx(traded.std(ddof=0))


def test_a_strategy_is_tried_only_on_its_pairs_and_timeframes() -> None:
    assert run(configured(Often, pairs=frozenset({"BUSDT"})))["symbol"].tolist() == ["BUSDT"]
    elsewhere = run(configured(Often, timeframes=frozenset({Timeframe.M15})))
    assert elsewhere.empty
    assert elsewhere.columns.tolist() == BACKTEST_RESULTS.columns


def test_a_coin_that_no_strategy_wants_is_not_even_loaded() -> None:
    asked: list[str] = []

    def load(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
        asked.append(symbol)
        return loader()(symbol, timeframe, needs)

    run(configured(Often, pairs=frozenset({"CUSDT"})), load)
    assert asked == ["CUSDT"]


def test_without_coins_or_strategies_there_are_no_rows() -> None:
    assert run([]).empty
    nothing = backtest_window(HOUR, TIMEFRAME, {}, loader(), configured(Often), SETTINGS)
    assert nothing.dtypes.equals(BACKTEST_RESULTS.empty().dtypes)


def test_the_deepest_need_of_all_strategies_is_loaded_and_funding_always() -> None:
    class Deep(Often):
        def needs(self) -> DataNeeds:
            return DataNeeds(candles={Timeframe.D1: 99, Timeframe.M30: 7}, btc={Timeframe.M240: 3})

    needs = merged_needs(configured(Deep, FibonacciBollinger))
    own = FibonacciBollinger().needs()
    assert needs.candles == {**own.candles, Timeframe.D1: 99, Timeframe.M30: 7}
    assert needs.btc == own.btc
    assert merged_needs(configured(Often)) == DataNeeds(funding=True)


class Crowd(Often):
    """Enters long where funding is negative, and says that it reads it."""

    name = "crowd"

    def needs(self) -> DataNeeds:
        return DataNeeds(funding=True)

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        return {"rate": funding_as_of_close(data.candles, data.funding)}

    @staticmethod
    def entries(v: Values, p: Parameters) -> Entries:
        return Entries(long=v.rate < 0, short=False, confidence=60.0)


class Unsaid(Crowd):
    """The same, and does not say so."""

    name = "unsaid"

    def needs(self) -> DataNeeds:
        return DataNeeds()


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
def test_a_strategy_that_reads_funding_without_declaring_it_fails_and_it_is_a_cost_all_the_same(alone: bool) -> None:
    def load(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
        data = loader()(symbol, timeframe, needs)
        times = np.arange(data.candles.start_ms[0], data.candles.end_ms[-1], 8 * HOUR_MS)
        rates = 1e-3 * np.sign(np.sin(times / HOUR_MS + ord(symbol[0])))
        return replace(data, funding=Funding(times, rates))

    frame = run(configured(Unsaid) if alone else configured(Crowd, Unsaid, Often), load)
    unsaid = frame[frame["strategy"] == "unsaid"]
    assert len(unsaid) and unsaid["error"].str.contains("reads funding rates that it does not declare").all()
    if not alone:
        for name in ("crowd", "often"):
            one = frame[frame["strategy"] == name]
            assert (one["total_trades"] > 0).all() and (one["funding_paid"] != 0).all()
    data = load("AUSDT", TIMEFRAME, DataNeeds())
    assert Crowd().signals(data).long.any()
    for held in (data, replace(data, funding=Funding.empty())):  # as a backtest loads it, and as live does
        with pytest.raises(StrategyError, match="expected needs"):
            Unsaid().signals(held)
