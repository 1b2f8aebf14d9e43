"""The scan of a range of hours is the scan of each hour, from candles fetched once and closed before its as-of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.models import ContractKind
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market.stages import HourlyScans, scan_hours
from trading_assets.market.store import CandleStore
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.market.sources import T0, CountingSource, candles_of

SYMBOLS = ("AUSDT", "BUSDT", "CUSDT", "DUSDT", "EUSDT")
HOURS = [T0 + i * HOUR_MS for i in range(5)]
LISTED = [
    *(an_instrument(symbol) for symbol in SYMBOLS),
    an_instrument("YOUNGUSDT", listed_ms=T0 - DAY_MS + 3 * HOUR_MS),
    an_instrument("USDCUSDT"),
    an_instrument("BTC-26MAR27", kind=ContractKind.DATED),
    an_instrument("BTCPERP", settle_coin="USDC", quote_coin="USDC"),
    an_instrument("GONEUSDT", status="Closed"),
    an_instrument("HOLEUSDT"),
]


def settings() -> Settings:
    return load_settings(max_symbols=3, min_volume_24h=1_000.0, min_volatility=1.0)


def moving(symbol: str, timeframe: Timeframe, starts: Sequence[int]) -> Candles:
    """Ranges that change from hour to hour, differently for each coin, so that ranks change."""
    made = candles_of(symbol, timeframe, starts)
    swing = 1 + np.abs(np.sin(made.start_ms / HOUR_MS * (1.3 + sum(symbol.encode()) % 7)))
    return replace(made, high=made.high + swing * (1 + sum(symbol.encode()) % 5))


def has(symbol: str, start: int) -> bool:
    if symbol == "YOUNGUSDT":
        return start >= T0 - DAY_MS + 3 * HOUR_MS
    return not (symbol == "HOLEUSDT" and start == T0 - 20 * HOUR_MS)


def source(now_ms: int = HOURS[-1] + 2 * HOUR_MS, **changes: object) -> CountingSource:
    return CountingSource(now_ms, has=has, listed=LISTED, candles=moving, **changes)  # type: ignore[arg-type]


def rows_of(scan: HourlyScans, hour: int) -> pd.DataFrame:
    rows = scan.rows[scan.rows["hour_ms"] == hour]
    return rows.sort_values("rank").reset_index(drop=True)


def test_a_range_is_its_hours_one_by_one_in_any_order(tmp_path: Path) -> None:
    together = scan_hours(source(), CandleStore(tmp_path / "all"), HOURS, settings())
    store = CandleStore(tmp_path / "each")
    for hour in reversed(HOURS):
        alone = scan_hours(source(), store, [hour], settings())
        assert rows_of(alone, hour).equals(rows_of(together, hour))
        assert alone.dropped == {hour: together.dropped[hour]}
    assert len({tuple(rows_of(together, hour)["symbol"]) for hour in HOURS}) > 1, "the ranks change"


def test_an_hour_scanned_late_is_the_hour_scanned_at_once(tmp_path: Path) -> None:
    hour = HOURS[0]
    prompt = scan_hours(source(hour + HOUR_MS + 1), CandleStore(tmp_path / "prompt"), [hour], settings())
    late = scan_hours(source(hour + 30 * DAY_MS), CandleStore(tmp_path / "late"), [hour], settings())
    # But for what the list of contracts was that told them their lots.
    at_once, later = rows_of(prompt, hour), rows_of(late, hour)
    assert set(at_once["contract_rules"]) == {"known"} and set(later["contract_rules"]) == {"assumed"}
    assert at_once.drop(columns="contract_rules").equals(later.drop(columns="contract_rules"))
    assert prompt.dropped == late.dropped


def test_candles_that_closed_after_the_as_of_change_nothing(tmp_path: Path) -> None:
    hour = HOURS[1]

    def poisoned(symbol: str, timeframe: Timeframe, starts: Sequence[int]) -> Candles:
        made = moving(symbol, timeframe, starts)
        return replace(made, high=np.where(made.end_ms > hour + HOUR_MS, 1e9, made.high))

    spoilt = CountingSource(hour + DAY_MS, has=has, listed=LISTED, candles=poisoned)
    store = CandleStore(tmp_path / "spoilt")
    scan_hours(spoilt, store, [hour + 3 * HOUR_MS], settings())
    clean = scan_hours(source(), CandleStore(tmp_path / "clean"), [hour], settings())
    assert rows_of(scan_hours(spoilt, store, [hour], settings()), hour).equals(rows_of(clean, hour))


def test_every_listed_contract_is_a_row_or_has_its_reason(tmp_path: Path) -> None:
    scan = scan_hours(source(), CandleStore(tmp_path), HOURS, settings())
    for hour in HOURS:
        dropped = scan.dropped[hour]
        told = [symbol for symbols in dropped.values() for symbol in symbols]
        assert sorted([*told, *rows_of(scan, hour)["symbol"]]) == sorted(i.symbol for i in LISTED)
        assert dropped["stablecoin"] == ["USDCUSDT"]
        assert dropped["not a perpetual"] == ["BTC-26MAR27"]
        assert dropped["not settled in USDT"] == ["BTCPERP"]
        assert dropped["not trading"] == ["GONEUSDT"]
        hole = dropped.get("incomplete history", [])
        assert ("HOLEUSDT" in hole) is (hour + HOUR_MS - DAY_MS <= T0 - 20 * HOUR_MS)
        young = "YOUNGUSDT" in dropped.get("listed less than 24 h ago", [])
        assert young is (hour + HOUR_MS - DAY_MS < T0 - DAY_MS + 3 * HOUR_MS)


def test_candles_are_fetched_once_and_only_of_eligible_contracts(tmp_path: Path) -> None:
    asked, store = source(), CandleStore(tmp_path)
    told: list[tuple[int, int]] = []
    scan_hours(asked, store, HOURS, settings(), lambda done, of: told.append((done, of)))
    assert {symbol for symbol, *_ in asked.calls} == {*SYMBOLS, "YOUNGUSDT", "HOLEUSDT"}
    assert len(asked.calls) == 7
    assert told[-1] == (7, 7)
    scan_hours(asked, store, HOURS, settings())
    assert len(asked.calls) == 7


def test_a_market_without_any_coin_is_an_empty_scan(tmp_path: Path) -> None:
    scan = scan_hours(CountingSource(T0 + DAY_MS), CandleStore(tmp_path), HOURS[:2], settings())
    assert scan.rows.empty
    assert scan.dropped == {HOURS[0]: {}, HOURS[1]: {}}


def test_an_exchange_that_does_not_answer_is_an_error_not_an_empty_scan(tmp_path: Path) -> None:
    class Silent(CountingSource):
        def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
            raise ExchangeUnavailableError("no answer")

    with pytest.raises(ExchangeUnavailableError):
        scan_hours(Silent(T0 + DAY_MS, listed=LISTED), CandleStore(tmp_path), HOURS, settings())
