"""`trading-assets candles refetch` asks again for what the exchange said it does not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from trading_assets import venues
from trading_assets.cli.candles import candles
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.market.store import CandleStore
from trading_assets_tests.market.sources import T0, CountingSource

GAP = range(T0 + 20 * MINUTE_MS, T0 + 50 * MINUTE_MS)
M1 = Timeframe.M1


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingSource]:
    """An exchange that was in trouble when the store was filled, and is not any more."""
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path))
    store = CandleStore(load_settings().candle_store)
    for symbol in ("AUSDT", "BUSDT"):
        store.fill(CountingSource(T0 + HOUR_MS, has=lambda _, start: start not in GAP), symbol, M1, T0, T0 + HOUR_MS)
    found = CountingSource(T0 + HOUR_MS + MINUTE_MS)
    monkeypatch.setattr(venues, "open_market_data", lambda _settings: found)
    return found


def held(symbol: str) -> int:
    return len(CandleStore(load_settings().candle_store).read(symbol, M1, T0, T0 + HOUR_MS))


def test_what_was_absent_is_asked_for_again_and_nothing_else(source: CountingSource) -> None:
    result = CliRunner().invoke(candles, ["refetch"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "asked again for 2 spans: 60 candles fetched" in result.output
    assert (held("AUSDT"), held("BUSDT")) == (60, 60)
    assert source.asked("AUSDT", M1) == [(GAP.start, GAP.stop)]


def test_one_symbol_can_be_fetched_anew(source: CountingSource) -> None:
    options = ["refetch", "AUSDT", "--timeframe", "1m", "--from", "2026-01-01", "--to", "2026-01-01-00:00", "--all"]
    assert CliRunner().invoke(candles, options, catch_exceptions=False).exit_code == 0
    assert (held("AUSDT"), held("BUSDT")) == (60, 30)
    assert source.asked("AUSDT", M1) == [(T0, T0 + HOUR_MS)]


def test_a_symbol_that_is_not_held_is_told(source: CountingSource) -> None:
    with pytest.raises(ConfigurationError, match="no candles of XUSDT are held; held are AUSDT, BUSDT"):
        CliRunner().invoke(candles, ["refetch", "XUSDT"], catch_exceptions=False)
