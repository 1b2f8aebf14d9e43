"""One coin with bad data costs that coin, in that hour: the others are scanned, filled and told as ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from trading_assets.backtesting.exclusions import left_out
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import (
    DataError,
    ExchangeUnavailableError,
    OrderRejectedError,
    SymbolUnavailableError,
    UnreadableAnswerError,
)
from trading_assets.core.models import Instrument
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, WARM_UP_BARS, Timeframe
from trading_assets.market.loading import exclusion_reason
from trading_assets.market.lookback import reach_ms
from trading_assets.market.quality import QualityLimits
from trading_assets.market.stages import fill_candles, fill_funding, scan_hours
from trading_assets.market.store import CandleStore
from trading_assets.strategies.registry import known_strategies
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.market.sources import T0, CountingSource, candles_of

GOOD = ["AUSDT", "BTCUSDT", "CUSDT"]
BAD = "BADUSDT"
LIMITS = QualityLimits(min_candle_coverage_pct=95.0, max_candle_age_bars=2, max_candle_jump_pct=50.0)

Spoil = Callable[[Candles], Candles]


def setting(at: int, **values: float) -> Spoil:
    """Other values at one candle; -1 is the last."""

    def spoil(candles: Candles) -> Candles:
        arrays = {name: getattr(candles, name).copy() for name in values}
        for name, value in values.items():
            arrays[name][at] = value
        return replace(candles, **arrays)

    return spoil


def raising(error: Exception) -> Spoil:
    def spoil(_candles: Candles) -> Candles:
        raise error

    return spoil


FAULTS: dict[str, Spoil] = {
    "a low of zero": setting(12, low=0.0),
    "a negative low": setting(12, low=-1.0),
    "all zero": setting(12, open=0.0, high=0.0, low=0.0, close=0.0),
    "the last close zero": setting(-1, close=0.0),
    "the last close negative": setting(-1, close=-5.0),
    "the last candle all zero": setting(-1, open=0.0, high=0.0, low=0.0, close=0.0),
    "the first open zero": setting(0, open=0.0),
    "a negative turnover": setting(12, turnover=-1e12),
    "a high of a million times the price": setting(12, high=1e8),
    "an infinite high": setting(12, high=np.inf),
    "a close that is no number": setting(12, close=np.nan),
    "a step of a thousand": lambda c: replace(
        c, **{n: getattr(c, n) * np.where(np.arange(len(c)) < 12, 1, 1000) for n in ("open", "high", "low", "close")}
    ),
    "a candle twice": lambda c: c.select(np.sort(np.append(np.arange(len(c)), 12))),
    "out of order": lambda c: c.select(np.append(np.arange(1, len(c)), 0)),
    "off the grid": lambda c: replace(c, start_ms=c.start_ms + 1000),
    "of another time": lambda c: replace(c, start_ms=c.start_ms + 400 * DAY_MS),
    "high and low changed places": lambda c: replace(c, high=c.low, low=c.high),
    "a volume that is no number": setting(12, volume=np.nan),
    "a turnover that is no number": setting(12, turnover=np.nan),
    "a negative volume": setting(-1, volume=-1.0),
    "the newest first": lambda c: c.select(slice(None, None, -1)),
    "every candle twice": lambda c: c.select(np.repeat(np.arange(len(c)), 2)),
    "of the year 1970": lambda c: replace(c, start_ms=c.start_ms - c.start_ms[:1]),
    "all at one time": lambda c: replace(c, start_ms=np.full_like(c.start_ms, c.start_ms[0])),
    "of a longer timeframe": lambda c: c.select(slice(None, None, 4)),
    "an empty answer": lambda c: c.select(slice(0, 0)),
    "a short answer": lambda c: c.select(slice(-3, None)),
    "one candle missing": lambda c: c.select(np.arange(len(c)) != 12),
    "refused": raising(OrderRejectedError("a parameter is wrong", code=10001)),
    "no such symbol": raising(SymbolUnavailableError("no such symbol", code=10001)),
    "unreadable": raising(UnreadableAnswerError("no numbers")),
    "no answer": raising(ExchangeUnavailableError("no answer")),
    "in no form": raising(DataError("no form")),
}


def scaled(by: float, *names: str) -> Spoil:
    return lambda candles: replace(candles, **{name: getattr(candles, name) * by for name in names})


_PRICES = ("open", "high", "low", "close")
EXTREMES: dict[str, Spoil] = {
    "prices of next to nothing": scaled(1e-312, *_PRICES),
    "prices beyond all others": scaled(1e300, *_PRICES),
    "an infinite turnover": scaled(np.inf, "turnover"),
}
"""Numbers with which no one can reckon: figures made with them would break the tables of all coins."""

BEARABLE_IN_A_LONG_WINDOW = {"one candle missing"}


class OneBadCoin(CountingSource):
    """The answers of one coin are spoiled."""

    def __init__(self, spoil: Spoil, now_ms: int = T0 + 3 * HOUR_MS) -> None:
        listed = [an_instrument(symbol, listed_ms=T0 - 400 * DAY_MS) for symbol in (*GOOD, BAD)]
        super().__init__(now_ms, listed=listed)
        self.spoil = spoil

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        made = super().candles(symbol, timeframe, start_ms, end_ms)
        made = replace(made, high=made.high + 5)
        return self.spoil(made) if symbol == BAD and len(made) > 12 else made


def settings() -> Settings:
    return load_settings(max_symbols=3, min_volume_24h=1_000.0, min_volatility=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAULTS | EXTREMES))
def test_a_coin_with_a_bad_hourly_candle_leaves_its_place_in_the_scan_to_another(tmp_path: Path, name: str) -> None:
    scan = scan_hours(OneBadCoin((FAULTS | EXTREMES)[name]), CandleStore(tmp_path), [T0], settings())
    assert sorted(scan.rows["symbol"]) == GOOD
    reasons = [reason for reason, symbols in scan.dropped[T0].items() if BAD in symbols]
    assert len(reasons) == 1
    assert "candles" in reasons[0] or reasons[0] == "incomplete history"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAULTS | EXTREMES))
def test_a_coin_with_a_bad_candle_is_left_out_of_its_timeframe_and_the_others_are_not(
    tmp_path: Path, name: str
) -> None:
    rows = fill_candles(
        OneBadCoin((FAULTS | EXTREMES)[name]),
        CandleStore(tmp_path),
        Timeframe.M15,
        {T0: [*GOOD, BAD]},
        known_strategies(),
        LIMITS,
    ).set_index("symbol")
    assert rows.loc[GOOD, ["fault", "deep_faults"]].isna().all(axis=None)
    assert (rows.loc[GOOD, "coverage_pct"] == 100).all()
    # The faults of single candles are where the deepest strategy alone reads.
    is_good = rows.loc[BAD, ["fault", "deep_faults"]].isna().all()
    assert bool(is_good) is (name in BEARABLE_IN_A_LONG_WINDOW)


def test_a_timeframe_that_the_source_does_not_have_is_told_in_one_row_and_nothing_is_asked(tmp_path: Path) -> None:
    source, store = CountingSource(T0 + DAY_MS), CandleStore(tmp_path, btc="BTCUSDT")
    source.finest = Timeframe.M5
    faults = {}
    for timeframe in (Timeframe.M1, Timeframe.M3):
        rows = fill_candles(source, store, timeframe, {T0: ["AUSDT", "BUSDT"]}, known_strategies(), LIMITS)
        assert sorted(rows["symbol"]) == ["AUSDT", "BTCUSDT", "BUSDT"] and (rows["bars"] == 0).all()
        assert set(rows["fault"]) == {"finer than the source: it has no candles shorter than 5m"}
        faults |= {
            (timeframe.value, symbol): fault for symbol, fault in zip(rows["symbol"], rows["fault"], strict=True)
        }
    assert source.calls == []
    none = pd.DataFrame(columns=["timeframe", "symbol", "strategy", "error"])
    (told,) = left_out(faults, {}, none).to_dict("records")
    assert told == {
        "left_out": "coins AUSDT, BTCUSDT, BUSDT",
        "timeframes": "1m, 3m",
        "why": "finer than the source",
    }
    assert fill_candles(source, store, Timeframe.M5, {T0: ["AUSDT"]}, known_strategies(), LIMITS)["bars"].min() > 0


def test_a_fault_that_is_gone_is_forgotten_with_the_next_filling(tmp_path: Path) -> None:
    source, store = OneBadCoin(FAULTS["a candle twice"]), CandleStore(tmp_path)
    scan_hours(source, store, [T0], settings())
    source.spoil = lambda candles: candles
    again = scan_hours(source, store, [T0], settings())
    assert BAD not in {symbol for symbols in again.dropped[T0].values() for symbol in symbols} or len(again.rows) == 3
    rows = fill_candles(source, store, Timeframe.M60, {T0: [BAD]}, known_strategies(), LIMITS)
    assert rows["fault"].isna().all()


# Funding

FUNDING_FAULTS: dict[str, Callable[[Funding], Funding]] = {
    "twice": lambda f: Funding(np.repeat(f.time_ms, 2), np.repeat(f.rate, 2)),
    "backwards": lambda f: Funding(f.time_ms[::-1], f.rate[::-1]),
    "no number": lambda f: Funding(f.time_ms, np.full(len(f), np.nan)),
    "infinite": lambda f: Funding(f.time_ms, np.full(len(f), np.inf)),
    "of more than everything": lambda f: Funding(f.time_ms, np.full(len(f), 50.0)),
    "yet to come": lambda f: Funding(f.time_ms + 400 * DAY_MS, f.rate),
}


class OneBadFunding(CountingSource):
    def __init__(self, spoil: Callable[[Funding], Funding] | Exception) -> None:
        super().__init__(T0 + 3 * HOUR_MS)
        self._spoil = spoil

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        paid = super().funding(symbol, start_ms, end_ms)
        if symbol != BAD:
            return paid
        if isinstance(self._spoil, Exception):
            raise self._spoil
        return self._spoil(paid)


@pytest.mark.parametrize(
    "spoil",
    [*FUNDING_FAULTS.values(), ExchangeUnavailableError("no answer"), OrderRejectedError("no")],
    ids=[*FUNDING_FAULTS, "no answer", "refused"],
)
def test_a_coin_with_bad_funding_is_told_and_the_others_are_filled(
    tmp_path: Path, spoil: Callable[[Funding], Funding] | Exception
) -> None:
    store = CandleStore(tmp_path)
    rows = fill_funding(OneBadFunding(spoil), store, {T0: [*GOOD, BAD]}).set_index("symbol")
    assert (rows.loc[GOOD, "payments"] > 100).all()
    assert rows.loc[GOOD, "fault"].isna().all()
    assert rows.loc[BAD, "payments"] == 0
    assert str(rows.loc[BAD, "fault"]).startswith("not fetched: ")


# Coverage


def covered(
    hour_ms: int, lost: tuple[int, int], *, listed_ms: int | None, held_before: bool, root: Path
) -> dict[str, object]:
    """The coverage of a coin whose candles in `lost` the exchange has lost."""
    listed: Sequence[Instrument] = [an_instrument("AUSDT", listed_ms=listed_ms)] if listed_ms is not None else ()
    source = CountingSource(
        hour_ms + 2 * HOUR_MS,
        has=lambda _symbol, start: not lost[0] <= start < lost[1],
        listed=listed,
        candles=candles_of,
    )
    store = CandleStore(root)
    if held_before:
        store.fill(source, "AUSDT", Timeframe.M15, hour_ms - 60 * DAY_MS, hour_ms)
    rows = fill_candles(source, store, Timeframe.M15, {hour_ms: ["AUSDT"]}, known_strategies(), LIMITS)
    return dict(rows[rows["symbol"] == "AUSDT"].iloc[0])


HOUR = T0 + 300 * DAY_MS
END = HOUR + HOUR_MS


@pytest.mark.parametrize(
    ("lost", "listed_ms", "held_before", "is_fault"),
    [
        ((0, 0), None, True, False),
        ((END - 9 * DAY_MS, END - 6 * DAY_MS), None, True, True),
        ((END - 59 * DAY_MS, END - 3 * DAY_MS), None, True, True),
        ((END - 59 * DAY_MS, END - 3 * Timeframe.M15.ms), None, True, True),
        ((0, END - 3 * DAY_MS), END - 300 * DAY_MS, False, True),
        ((0, END - 3 * Timeframe.M15.ms), END - 300 * DAY_MS, False, True),
        ((0, END - 3 * DAY_MS), END - 3 * DAY_MS, False, False),
        ((0, END - 3 * DAY_MS), END - 3 * DAY_MS - HOUR_MS, False, False),
        ((0, END - 3 * DAY_MS), None, False, False),
    ],
    ids=[
        "nothing lost", "three days in the middle", "all but three days", "all but three candles",
        "all but three days, by the listing", "all but three candles, by the listing", "a young listing",
        "a young listing that traded an hour late", "nothing known of it",
    ],
)  # fmt: skip
def test_a_loss_at_the_start_of_the_window_is_one_as_in_its_middle(
    tmp_path: Path, lost: tuple[int, int], listed_ms: int | None, held_before: bool, is_fault: bool
) -> None:
    row = covered(HOUR, lost, listed_ms=listed_ms, held_before=held_before, root=tmp_path)
    assert bool(pd.notna(row["fault"])) is is_fault, row["fault"]
    assert row["bars"] + row["missing_bars"] == row["expected_bars"]  # type: ignore[operator]
    if is_fault:
        assert str(row["fault"]).startswith("gap: ")
        assert row["coverage_pct"] < 95  # type: ignore[operator]


@pytest.mark.parametrize("listed_ms", [None, END - 300 * DAY_MS], ids=["listing not known", "listing known"])
def test_a_gap_at_the_start_of_a_window_is_one_in_a_range_of_hours_as_in_the_hour_alone(
    tmp_path: Path, listed_ms: int | None
) -> None:
    reach = reach_ms(Timeframe.M15, known_strategies())
    lost = END - reach, END - reach + 3 * DAY_MS
    hours = [HOUR - 5 * HOUR_MS, HOUR]
    alone = covered(HOUR, lost, listed_ms=listed_ms, held_before=True, root=tmp_path / "alone")
    source = CountingSource(
        HOUR + 2 * HOUR_MS,
        has=lambda _symbol, start: not lost[0] <= start < lost[1],
        listed=[an_instrument("AUSDT", listed_ms=listed_ms)] if listed_ms is not None else (),
        candles=candles_of,
    )
    by_hour = {hour: ["AUSDT"] for hour in hours}
    rows = fill_candles(source, CandleStore(tmp_path / "range"), Timeframe.M15, by_hour, known_strategies(), LIMITS)
    of_range = rows[(rows["symbol"] == "AUSDT") & (rows["hour_ms"] == HOUR)].iloc[0]
    assert "gap: " in f"{alone['fault']} {alone['deep_faults']}"
    np.testing.assert_equal(dict(of_range), alone)


# History that some strategies alone read


class Deep:
    """Reads that many bars before the window, and BTC's 240m candles."""

    def __init__(self, warm_up: int, btc: int = 0) -> None:
        self.warm_up, self.btc = warm_up, btc

    def needs(self) -> DataNeeds:
        return DataNeeds(warm_up=self.warm_up, btc={Timeframe.M240: self.btc} if self.btc else {})


SHALLOW, LONG, LONGEST = Deep(0), Deep(600), Deep(1500)
STEP = Timeframe.M15.ms


def excluded_by(tmp_path: Path, spoil: Spoil, needed: Sequence[Deep]) -> dict[int, str | None]:
    """Why backtests of the spoiled coin are left out, by the warm-up of the strategy."""
    rows = fill_candles(OneBadCoin(spoil), CandleStore(tmp_path), Timeframe.M15, {T0: [*GOOD, BAD]}, needed, LIMITS)
    assert rows.set_index("symbol").loc[GOOD, ["fault", "deep_faults"]].isna().all(axis=None)
    (row,) = rows[rows["symbol"] == BAD].to_dict("records")
    faults = {("15m", BAD): row["fault"]} if isinstance(row["fault"], str) else {}
    deep = {}
    if isinstance(row["deep_faults"], str):
        deep["15m", BAD] = {int(reach): fault for reach, fault in json.loads(row["deep_faults"]).items()}
    return {one.warm_up: exclusion_reason(BAD, Timeframe.M15, one.needs(), faults, "BTCUSDT", deep) for one in needed}


def at_time(time_ms: int, **values: float) -> Spoil:
    """Other values at the candle of that time, where the answer has it."""

    def spoil(candles: Candles) -> Candles:
        at = np.flatnonzero(candles.start_ms == time_ms)
        return setting(int(at[0]), **values)(candles) if len(at) else candles

    return spoil


@pytest.mark.slow
@given(age=st.integers(1, 2_500), kind=st.sampled_from(["high", "low", "close"]))
@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bad_candle_costs_the_strategies_that_read_it_and_no_other(tmp_path: Path, age: int, kind: str) -> None:
    time_ms = T0 + HOUR_MS - age * STEP
    bad = {"high": {"high": 1.0}, "low": {"low": -1.0}, "close": {"close": np.nan}}[kind]
    found = excluded_by(tmp_path / f"{age}-{kind}", at_time(time_ms, **bad), [SHALLOW, LONG, LONGEST])
    for one in (SHALLOW, LONG, LONGEST):
        # A day more: the last hour of a day reads as far back as the first.
        reads = age <= Timeframe.M15.window_bars + max(one.warm_up, WARM_UP_BARS) + DAY_MS // STEP
        assert (found[one.warm_up] is not None) is reads
        if reads:
            assert f"15m candles of {BAD}: impossible prices" in str(found[one.warm_up])


def test_a_hole_in_old_candles_costs_the_strategies_that_read_it_and_one_that_came_since_is_careful(
    tmp_path: Path,
) -> None:
    window = Timeframe.M15.window_bars
    newest, oldest = T0 + HOUR_MS - (window + 500) * STEP, T0 + HOUR_MS - (window + 900) * STEP

    def hole(candles: Candles) -> Candles:
        return candles.select((candles.start_ms < oldest) | (candles.start_ms >= newest))

    found = excluded_by(tmp_path, hole, [SHALLOW, LONG, LONGEST])
    assert found[0] is None
    assert "gap: " in str(found[600]) and "gap: " in str(found[1500])
    rows = fill_candles(OneBadCoin(hole), CandleStore(tmp_path), Timeframe.M15, {T0: [BAD]}, [LONGEST], LIMITS)
    (text,) = rows.loc[rows["symbol"] == BAD, "deep_faults"]
    deep = {("15m", BAD): {int(reach): fault for reach, fault in json.loads(text).items()}}
    for warm_up in (600, 3_000):
        needs = DataNeeds(warm_up=warm_up)
        assert exclusion_reason(BAD, Timeframe.M15, needs, {}, "BTCUSDT", deep) is not None
    assert exclusion_reason(BAD, Timeframe.M15, DataNeeds(), {}, "BTCUSDT", deep) is None


def test_what_a_strategy_alone_reads_is_told_under_its_name() -> None:
    deep = {("15m", BAD): {STEP: "jump"}}
    failed = pd.DataFrame(
        [{"timeframe": "15m", "symbol": BAD, "strategy": "long", "error": f"DataError: 15m candles of {BAD}: jump"}]
    )
    (told,) = left_out({}, {}, failed, deep).to_dict("records")
    assert told == {"left_out": "strategy long", "timeframes": "15m", "why": "bad candles that it alone reads"}
