"""The entry rules of both strategies as tables: edges of bands, RSI, volatility, trend, funding and levels."""

import numpy as np
import pytest

from trading_assets.core.candles import Candles, FloatArray, Funding
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.strategies.base import Strategy, Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets.strategies.fibonacci_bollinger import LEVEL_TIMEFRAMES, FibonacciBollinger
from trading_assets_tests.strategies.series import START_MS, candles_of, ending

NAN = np.nan
UP, DOWN, NO = "long", "short", "none"

NEUTRAL = {"fib_strength": 0.0, "volatility_pct": 10.0, "btc_trend": 0.0, "funding_rate": 0.0}
LOW = {"bb_position": -0.9, "rsi": 40.0}
HIGH = {"bb_position": 0.9, "rsi": 60.0}


def decide(strategy: Strategy, values: dict[str, float]) -> tuple[str, float]:
    """The decision on one bar with these indicators, and its confidence."""
    arrays = {name: np.array([value]) for name, value in values.items()}
    entries = strategy.entries(Values(candles_of(Timeframe.M60, [100.0]), arrays), strategy.parameters)
    assert not (entries.long[0] and entries.short[0])
    side = UP if entries.long[0] else DOWN if entries.short[0] else NO
    return side, float(entries.confidence[0]) if side != NO else NAN


@pytest.mark.parametrize(
    ("position", "rsi", "side", "confidence"),
    [
        # The bands: beyond 0.7, not on it.
        (-0.7, 50, NO, NAN),
        (np.nextafter(-0.7, -1), 50, UP, 60),
        (-3.0, 50, UP, 60),
        (0.7, 50, NO, NAN),
        (np.nextafter(0.7, 1), 50, DOWN, 60),
        (3.0, 50, DOWN, 60),
        (0.0, 50, NO, NAN),
        # RSI 30 to 70, both included.
        (-0.9, 30, UP, 70),
        (-0.9, np.nextafter(30, 0), NO, NAN),
        (-0.9, 70, UP, 60),
        (-0.9, np.nextafter(70, 100), NO, NAN),
        (0.9, 70, DOWN, 70),
        (0.9, np.nextafter(70, 100), NO, NAN),
        (0.9, 30, DOWN, 60),
        (0.9, np.nextafter(30, 0), NO, NAN),
        # Extreme: below 35 for a long, above 65 for a short, not on them.
        (-0.9, 35, UP, 60),
        (-0.9, np.nextafter(35, 0), UP, 70),
        (0.9, 65, DOWN, 60),
        (0.9, np.nextafter(65, 100), DOWN, 70),
        (-0.9, 66, UP, 60),
        (0.9, 34, DOWN, 60),
        # Nothing known, nothing entered.
        (NAN, 50, NO, NAN),
        (-0.9, NAN, NO, NAN),
        (0.9, NAN, NO, NAN),
        (NAN, NAN, NO, NAN),
    ],
)
@pytest.mark.parametrize("kind", [BollingerRsi, FibonacciBollinger])
def test_bands_and_rsi_decide(kind: type[Strategy], position: float, rsi: float, side: str, confidence: float) -> None:
    found = decide(kind(), {**NEUTRAL, "bb_position": position, "rsi": rsi})
    assert found[0] == side
    np.testing.assert_equal(found[1], confidence)


@pytest.mark.parametrize(
    ("values", "side", "confidence"),
    [
        # Volatility up to 50 %.
        ({**LOW, "volatility_pct": 50.0}, UP, 60),
        ({**LOW, "volatility_pct": np.nextafter(50.0, 51)}, NO, NAN),
        ({**HIGH, "volatility_pct": 50.0}, DOWN, 60),
        ({**HIGH, "volatility_pct": np.nextafter(50.0, 51)}, NO, NAN),
        # Never against BTC's trend; a bonus along with it.
        ({**LOW, "btc_trend": 1.0}, UP, 70),
        ({**LOW, "btc_trend": -1.0}, NO, NAN),
        ({**HIGH, "btc_trend": -1.0}, DOWN, 70),
        ({**HIGH, "btc_trend": 1.0}, NO, NAN),
        # Funding against the crowd.
        ({**LOW, "funding_rate": -1e-6}, UP, 65),
        ({**LOW, "funding_rate": 1e-6}, UP, 60),
        ({**HIGH, "funding_rate": 1e-6}, DOWN, 65),
        ({**HIGH, "funding_rate": -1e-6}, DOWN, 60),
        # A level, in one timeframe or in all.
        ({**LOW, "fib_strength": 1.0}, UP, 70),
        ({**HIGH, "fib_strength": 4.0}, DOWN, 70),
        # Sums.
        ({**LOW, "fib_strength": 1.0, "funding_rate": -1e-4}, UP, 75),
        ({**LOW, "fib_strength": 1.0, "btc_trend": 1.0}, UP, 80),
        ({**LOW, "rsi": 31.0, "fib_strength": 2.0, "btc_trend": 1.0}, UP, 90),
        ({**LOW, "rsi": 31.0, "fib_strength": 2.0, "btc_trend": 1.0, "funding_rate": -1e-4}, UP, 95),
        ({**HIGH, "rsi": 69.0, "fib_strength": 2.0, "btc_trend": -1.0, "funding_rate": 1e-4}, DOWN, 95),
        # What forbids is never entered while unknown; what only adds is then not added.
        ({**LOW, "volatility_pct": NAN}, NO, NAN),
        ({**HIGH, "volatility_pct": NAN}, NO, NAN),
        ({**LOW, "btc_trend": NAN}, NO, NAN),
        ({**HIGH, "btc_trend": NAN}, NO, NAN),
        ({**LOW, "funding_rate": NAN}, UP, 60),
        ({**HIGH, "funding_rate": NAN}, DOWN, 60),
    ],
)
def test_volatility_trend_funding_and_levels_decide(values: dict[str, float], side: str, confidence: float) -> None:
    found = decide(FibonacciBollinger(), {**NEUTRAL, **values})
    assert found[0] == side
    np.testing.assert_equal(found[1], confidence)


# Indicators of `fibonacci_bollinger` from candles. The one own bar of an hour ends at END.

END = START_MS + 60 * DAY_MS
FLAT = {timeframe: ending(timeframe, np.full(40, 150.0), END - HOUR_MS) for timeframe in LEVEL_TIMEFRAMES}
CALM_BTC = ending(Timeframe.M240, np.full(25, 50_000.0), END)


@pytest.mark.parametrize(
    ("required", "missing", "fulfilled"),
    [
        ("extreme_required", {}, {"rsi": {UP: 34.0, DOWN: 66.0}}),
        ("level_required", {}, {"fib_strength": {UP: 1.0, DOWN: 1.0}}),
        ("trend_required", {}, {"btc_trend": {UP: 1.0, DOWN: -1.0}}),
        ("trend_required", {"btc_trend": NAN}, {"btc_trend": {UP: 1.0, DOWN: -1.0}}),
        ("funding_required", {}, {"funding_rate": {UP: -1e-4, DOWN: 1e-4}}),
        ("funding_required", {"funding_rate": NAN}, {"funding_rate": {UP: -1e-4, DOWN: 1e-4}}),
    ],
)
@pytest.mark.parametrize(("side", "values"), [(UP, LOW), (DOWN, HIGH)])
def test_what_is_a_bonus_becomes_a_condition_where_a_person_says_so(
    side: str,
    values: dict[str, float],
    required: str,
    missing: dict[str, float],
    fulfilled: dict[str, dict[str, float]],
) -> None:
    strict = FibonacciBollinger({required: True})
    without, with_it = {**NEUTRAL, **values, **missing}, {name: of[side] for name, of in fulfilled.items()}
    assert decide(strict, without)[0] == NO
    assert decide(strict, {**without, **with_it}) == decide(FibonacciBollinger(), {**without, **with_it})
    assert decide(strict, {**without, **with_it})[0] == side


def test_a_fifth_timeframe_of_levels_is_the_own_one() -> None:
    own = ending(Timeframe.M60, np.full(31, 150.0), END, high=np.full(31, 200.0), low=np.full(31, 100.0))
    data = StrategyData("AUSDT", own, flat_others(), {Timeframe.M240: ending(Timeframe.M240, np.full(30, 100.0), END)})
    strengths = [
        FibonacciBollinger({"level_timeframes": count}).indicators(data)["fib_strength"][-1] for count in (4, 5)
    ]
    assert strengths == [0, 1]
    assert FibonacciBollinger({"level_timeframes": 5}).needs() == FibonacciBollinger().needs()


def flat_others() -> dict[Timeframe, Candles]:
    """Longer candles without a range, so without levels."""
    return {
        timeframe: ending(timeframe, np.full(60, 150.0), END, high=np.full(60, 150.0), low=np.full(60, 150.0))
        for timeframe in LEVEL_TIMEFRAMES
    }


def values_of(
    close: float = 150.0,
    other: dict[Timeframe, Candles] | None = None,
    btc: Candles = CALM_BTC,
    funding: Funding | None = None,
) -> dict[str, float]:
    """Indicators of one own hourly bar that ends at `END`."""
    data = StrategyData(
        "ALTUSDT",
        ending(Timeframe.M60, [close], END),
        {**FLAT, **(other or {})},
        {Timeframe.M240: btc},
        funding or Funding.empty(),
    )
    return {name: float(array[-1]) for name, array in FibonacciBollinger().indicators(data).items()}


def ranging(timeframe: Timeframe, bars: int = 30, end_ms: int = END - HOUR_MS) -> Candles:
    """Candles between 100 and 200: levels at 100, 123.6, 138.2, 150, 161.8, 178.6 and 200."""
    return ending(timeframe, np.full(bars, 150.0), end_ms, high=np.full(bars, 200.0), low=np.full(bars, 100.0))


@pytest.mark.parametrize(
    ("close", "near"),
    [
        # Of a level L it is near from 0.98 L to 1.02 L.
        (97.9, False),
        (98.0, True),
        (102.0, True),
        (102.03, False),
        (121.1, False),
        (121.2, True),
        (126.0, True),
        (126.1, False),
        (135.4, False),
        (135.5, True),
        (140.9, True),
        (141.0, False),
        (146.9, False),
        (147.0, True),
        (153.0, True),
        (153.1, False),
        (158.5, False),
        (158.6, True),
        (165.0, True),
        (165.1, False),
        (175.0, False),
        (175.1, True),
        (182.1, True),
        (182.2, False),
        (195.9, False),
        (196.0, True),
        (204.0, True),
        (204.1, False),
    ],
)
def test_a_level_is_near_within_two_percent_of_the_level(close: float, near: bool) -> None:
    assert values_of(close, {Timeframe.M240: ranging(Timeframe.M240)})["fib_strength"] == near


def test_each_timeframe_with_a_near_level_makes_it_stronger() -> None:
    other: dict[Timeframe, Candles] = {}
    assert values_of(150.0, other)["fib_strength"] == 0  # without a range there are no levels
    for count, timeframe in enumerate(LEVEL_TIMEFRAMES, start=1):
        other[timeframe] = ranging(timeframe)
        assert values_of(150.0, other)["fib_strength"] == count
    assert values_of(145.0, other)["fib_strength"] == 0


@pytest.mark.parametrize("timeframe", LEVEL_TIMEFRAMES)
def test_levels_need_the_whole_window_and_it_ended_before_the_bar_began(timeframe: Timeframe) -> None:
    assert values_of(150.0, {timeframe: ranging(timeframe, 29)})["fib_strength"] == 0
    assert values_of(150.0, {timeframe: ranging(timeframe, 30)})["fib_strength"] == 1
    assert values_of(150.0, {timeframe: ranging(timeframe, 30, END)})["fib_strength"] == 0
    assert values_of(150.0, {timeframe: ranging(timeframe, 60, END)})["fib_strength"] == 1


def test_only_the_last_thirty_bars_span_the_levels() -> None:
    held = ranging(Timeframe.D1, 31)
    held.high[0] = 1000.0
    assert values_of(150.0, {Timeframe.D1: held})["fib_strength"] == 1
    held.high[1] = 1000.0
    assert values_of(150.0, {Timeframe.D1: held})["fib_strength"] == 0


@pytest.mark.parametrize(("high", "volatility"), [(150.0, 50.0), (100.0, 0.0), (151.0, 51.0), (300.0, 200.0)])
def test_volatility_is_the_range_of_a_day_of_hours_in_percent_of_its_low(high: float, volatility: float) -> None:
    tops = np.full(24, 100.0)
    tops[0] = high
    hours = ending(Timeframe.M60, np.full(24, 100.0), END, high=tops)
    assert values_of(100.0, {Timeframe.M60: hours})["volatility_pct"] == volatility


def test_volatility_is_of_exactly_the_last_day_up_to_the_close() -> None:
    tops = np.full(25, 100.0)
    tops[0] = 500.0
    hours = ending(Timeframe.M60, np.full(25, 100.0), END, high=tops)
    assert values_of(100.0, {Timeframe.M60: hours})["volatility_pct"] == 0
    tops[-1] = 120.0
    hours = ending(Timeframe.M60, np.full(25, 100.0), END, high=tops)
    assert values_of(100.0, {Timeframe.M60: hours})["volatility_pct"] == 20
    assert np.isnan(values_of(100.0, {Timeframe.M60: hours.select(slice(2, None))})["volatility_pct"])


def btc_of(first: float, last: float, bars: int = 21) -> Candles:
    closes = np.full(bars, float(first))
    closes[-1] = last
    return ending(Timeframe.M240, closes, END)


@pytest.mark.parametrize(
    ("btc", "trend"),
    [
        (btc_of(50_000, 51_000.1), 1),
        (btc_of(50_000, 50_999.9), 0),
        (btc_of(50_000, 50_000), 0),
        (btc_of(50_000, 49_000.1), 0),
        (btc_of(50_000, 48_999.9), -1),
        (btc_of(50_000, 60_000, bars=20), NAN),
        (Candles.empty(Timeframe.M240), NAN),
    ],
)
def test_btc_has_a_trend_beyond_two_percent_in_twenty_bars(btc: Candles, trend: float) -> None:
    np.testing.assert_equal(values_of(btc=btc)["btc_trend"], float(trend))


@pytest.mark.parametrize("last", [51_000, 49_000])
def test_a_change_of_btc_by_exactly_two_percent_is_no_trend(last: float) -> None:
    assert values_of(btc=btc_of(50_000, last))["btc_trend"] == 0


def test_the_change_of_btc_spans_exactly_twenty_bars() -> None:
    closes = np.full(22, 50_000.0)
    closes[0], closes[1] = 40_000.0, 50_000.0
    assert values_of(btc=ending(Timeframe.M240, closes, END))["btc_trend"] == 0
    closes[1] = 40_000.0
    assert values_of(btc=ending(Timeframe.M240, closes, END))["btc_trend"] == 1


def test_a_bar_of_btc_that_has_not_ended_is_not_seen() -> None:
    closes = np.full(25, 50_000.0)
    closes[-1] = 90_000.0
    assert values_of(btc=ending(Timeframe.M240, closes, END + 1))["btc_trend"] == 0


def test_the_last_funding_paid_before_the_close_counts() -> None:
    funding = Funding(np.array([END - 2, END - 1, END], dtype=np.int64), np.array([1e-4, -2e-4, 3e-4]))
    assert values_of(funding=funding)["funding_rate"] == -2e-4
    assert np.isnan(values_of(funding=Funding.empty())["funding_rate"])


def test_each_strategy_declares_the_data_it_uses() -> None:
    assert BollingerRsi().needs() == DataNeeds()
    assert FibonacciBollinger().needs() == DataNeeds(
        candles={Timeframe.D1: 30, Timeframe.M240: 30, Timeframe.M60: 30, Timeframe.M15: 30},
        btc={Timeframe.M240: 21},
        funding=True,
    )
    # A day of hours is needed even where the levels need less.
    short = FibonacciBollinger({"level_window": 5, "btc_bars": 3})
    assert short.needs().candles[Timeframe.M60] == 24
    assert short.needs().candles[Timeframe.D1] == 5
    assert short.needs().btc == {Timeframe.M240: 4}


def _sine(count: int) -> FloatArray:
    return 100 + 5 * np.sin(np.arange(count) / 4)


def test_parameters_change_the_decisions() -> None:
    data = StrategyData("ALTUSDT", candles_of(Timeframe.M60, _sine(300)))
    wide = BollingerRsi({"rsi_low": 0, "rsi_high": 100, "band": 0.1}).signals(data)
    usual = BollingerRsi().signals(data)
    assert wide.long.sum() > usual.long.sum()
    assert wide.short.sum() > usual.short.sum()
