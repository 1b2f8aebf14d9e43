"""One coin with bad data costs that coin, in that hour: the others are scanned, filled and told as ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
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
    "an empty answer": lambda c: c.select(slice(0, 0)),
    "a short answer": lambda c: c.select(slice(-3, None)),
    "one candle missing": lambda c: c.select(np.arange(len(c)) != 12),
    "refused": raising(OrderRejectedError("a parameter is wrong", code=10001)),
    "no such symbol": raising(SymbolUnavailableError("no such symbol", code=10001)),
    "unreadable": raising(UnreadableAnswerError("no numbers")),
    "no answer": raising(ExchangeUnavailableError("no answer")),
    "in no form": raising(DataError("no form")),
}
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


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_coin_with_a_bad_hourly_candle_leaves_its_place_in_the_scan_to_another(tmp_path: Path, name: str) -> None:
    scan = scan_hours(OneBadCoin(FAULTS[name]), CandleStore(tmp_path), [T0], settings())
    assert sorted(scan.rows["symbol"]) == GOOD
    reasons = [reason for reason, symbols in scan.dropped[T0].items() if BAD in symbols]
    assert len(reasons) == 1
    assert "candles" in reasons[0] or reasons[0] == "incomplete history"


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_coin_with_a_bad_candle_is_left_out_of_its_timeframe_and_the_others_are_not(
    tmp_path: Path, name: str
) -> None:
    rows = fill_candles(
        OneBadCoin(FAULTS[name]),
        CandleStore(tmp_path),
        Timeframe.M15,
        {T0: [*GOOD, BAD]},
        known_strategies(),
        LIMITS,
    ).set_index("symbol")
    assert rows.loc[GOOD, "fault"].isna().all()
    assert (rows.loc[GOOD, "coverage_pct"] == 100).all()
    assert bool(pd.isna(rows.loc[BAD, "fault"])) is (name in BEARABLE_IN_A_LONG_WINDOW)


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
    assert str(alone["fault"]).startswith("gap: ")
    assert dict(of_range) == alone
