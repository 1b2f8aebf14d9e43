"""Where research reads: frames, files, a home; and that it never takes the unknown for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_assets import research
from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.research.frames import to_moment_ms
from trading_assets_tests.conftest import recorded_data
from trading_assets_tests.reporting.fixtures import HOUR
from trading_assets_tests.research.homes import a_home, a_market, scan_rows, stored


def minutes(days: int = 3) -> pd.DataFrame:
    return research.candles("ETHUSDT", "1m", as_of_ms(HOUR) - days * DAY_MS, as_of_ms(HOUR), source=a_market())


def test_candles_have_a_utc_index_of_opens_and_end_with_the_range() -> None:
    frame = research.candles("ethusdt", "15m", "2026-02-01", "2026-02-02", source=a_market())
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "turnover"]
    assert frame.index.name == "open_time" and str(frame.index.dtype) == "datetime64[ms, UTC]"
    assert frame.index[0] == pd.Timestamp("2026-02-01", tz="UTC") and len(frame) == 96
    days = research.candles("ETHUSDT", "1D", "2026-01-01", "2026-01-04", source=a_market())
    assert len(days) == 3 and days["high"].iloc[0] >= days["close"].iloc[0]
    paid = research.funding("ETHUSDT", "2026-02-01", "2026-02-03", source=a_market())
    assert len(paid) >= 6 and paid.index.tz is not None and paid["rate"].abs().max() < 0.1


@pytest.mark.parametrize(
    "moment", ["2026-03-02", "2026-03-02 00:00", "2026-03-02-00:00", "2026-03-02T01:00+01:00", 1_772_409_600_000]
)
def test_times_are_utc_in_whatever_form(moment: str | int) -> None:
    assert to_moment_ms(moment) == 1_772_409_600_000


def test_what_is_no_time_and_no_timeframe_is_told() -> None:
    with pytest.raises(ConfigurationError, match="'yesterday-ish' is no time"):
        to_moment_ms("yesterday-ish")
    with pytest.raises(ConfigurationError, match="'7m' is no timeframe"):
        research.candles("ETHUSDT", "7m", source=a_market())


def test_frames_of_minutes_give_the_same_backtest_as_the_market_they_came_from() -> None:
    end = as_of_ms(HOUR)
    frame, paid = minutes(), research.funding("ETHUSDT", end - 3 * DAY_MS, end, source=a_market())
    mine = research.from_frames({"ETHUSDT": frame}, "1m", funding={"ETHUSDT": paid})
    start = end - 30 * HOUR_MS
    ours = research.backtest("bollinger_rsi", "ETHUSDT", "5m", start, end, source=mine)
    theirs = research.backtest("bollinger_rsi", "ETHUSDT", "5m", start, end, source=a_market())
    assert len(ours.trades) > 5
    pd.testing.assert_frame_equal(ours.trades, theirs.trades, rtol=1e-6)


def test_frames_that_cannot_be_meant_are_refused_with_what_was_found() -> None:
    frame = minutes(1)
    cases = {
        "lacks close": frame.drop(columns="close"),
        "index of RangeIndex": frame.reset_index(drop=True),
        "ascending times": frame.iloc[::-1],
        "is impossible": frame.assign(high=frame["low"] * 0.5),
    }
    for words, bad in cases.items():
        with pytest.raises(DataError, match=words):
            research.from_frames({"ETHUSDT": bad})


def test_a_range_of_which_nothing_is_known_is_refused_not_shortened() -> None:
    mine = research.from_frames({"ETHUSDT": minutes()}, "1m")
    first = mine.spans["ETHUSDT"][0]
    with pytest.raises(DataError, match="has no 5m candles of ETHUSDT from"):
        research.backtest("bollinger_rsi", "ETHUSDT", "5m", first - DAY_MS, first + DAY_MS, source=mine)
    with pytest.raises(DataError, match="no candles of NOPEUSDT"):
        research.candles("NOPEUSDT", "5m", source=mine)
    with pytest.raises(DataError, match="is empty: start lies not before end"):
        research.candles("ETHUSDT", "5m", "2026-02-02", "2026-02-01", source=a_market())
    with pytest.warns(UserWarning, match="200 of 200 bars of warm-up"):
        research.backtest("bollinger_rsi", "ETHUSDT", "5m", first, first + DAY_MS, source=mine)


def test_a_home_without_fetch_reads_what_it_holds_and_names_what_it_lacks(sqlite: Database, tmp_path: Path) -> None:
    home = a_home(sqlite, tmp_path / "home", fetch=False)
    end = as_of_ms(HOUR)
    with pytest.raises(DataError, match="holds no 15m candles of ETHUSDT"):
        research.backtest("bollinger_rsi", "ETHUSDT", "15m", source=home)
    stored(home, "ETHUSDT", Timeframe.M15, end - 20 * DAY_MS, end)
    replace_partitions(sqlite, MARKET_SCAN, scan_rows(1), [HOUR])
    found = research.backtest("bollinger_rsi", "ETHUSDT", "15m", source=home)
    theirs = research.backtest("bollinger_rsi", "ETHUSDT", "15m", end=end, source=a_market())
    pd.testing.assert_frame_equal(found.trades, theirs.trades)
    with pytest.raises(DataError, match=r"from 2026-01-31T02:00:00Z to 2026-02-10T02:00:00Z.*trading-assets backfill"):
        research.backtest("bollinger_rsi", "ETHUSDT", "15m", end - 30 * DAY_MS, end, source=home)
    # As the pipeline: above the price at which the smallest order is affordable nothing is entered.
    replace_partitions(sqlite, MARKET_SCAN, scan_rows(1, max_price=1.0), [HOUR])
    assert research.backtest("bollinger_rsi", "ETHUSDT", "15m", source=home).trades.empty


def test_settings_change_costs_and_unknown_ones_are_refused() -> None:
    end = as_of_ms(HOUR)
    dear = research.with_settings(a_market(), slippage_bps=20.0)
    ours = research.backtest("bollinger_rsi", "ETHUSDT", "15m", end=end, source=dear)
    cheap = research.backtest("bollinger_rsi", "ETHUSDT", "15m", end=end, source=a_market())
    assert ours.metrics["total_pnl"] < cheap.metrics["total_pnl"] and "20 bp" in ours.made_with
    with pytest.raises(ConfigurationError, match="no setting is called slippage"):
        research.with_settings(a_market(), slippage=3)


@pytest.mark.recorded
@pytest.mark.slow
def test_recorded_files_are_a_source_and_end_where_the_recording_ends() -> None:
    files = research.open_files(recorded_data("candles_5m.parquet"))
    assert {"BTCUSDT", "ETHUSDT"} <= set(files.symbols())
    found = research.backtest("bollinger_rsi", "ETHUSDT", "15m", "2025-10-08", "2025-10-14", source=files)
    assert len(found.trades) > 10 and np.isfinite(found.equity["equity"]).all()
    with pytest.raises(DataError, match="has no 15m candles of ETHUSDT"):
        research.candles("ETHUSDT", "15m", "2025-12-01", "2026-01-01", source=files)
