"""`bench score` on a small market, and `report score` on a ledger: they end, and say that it is too few."""

from __future__ import annotations

from pathlib import Path

import pytest

from trading_assets.bench import score
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets_tests.conftest import recorded_data


@pytest.mark.slow
def test_a_day_of_a_small_market_is_too_few() -> None:
    told: list[str] = []
    report = score.run(score.seeded(1, 5), Settings(_env_file=None), told.append)  # type: ignore[call-arg]
    assert report.backtests == 24 * 5 * 8 * 3
    assert set(report.by_preset) == {"strict", "volume", "volume_loose"} == set(report.matched)
    cells, earned = report.by_preset["strict"]
    assert {cell.verdict for cell in cells} == {"too few"}
    assert earned[0].selections == sum(one.selections for one in earned if one.group == "timeframe") > 0
    assert [one.value for one in report.by_score] == list(score.SCORES)
    assert report.by_score[0].mean_r == pytest.approx(earned[0].mean_r, nan_ok=True)
    assert told


@pytest.mark.slow
def test_recorded_hours_begin_when_a_window_is_whole_and_no_candle_is_made_up() -> None:
    path = Path(recorded_data("candles_5m.parquet"))
    trial = score.recorded([path], Timeframe.M60)
    assert trial.timeframes[0] is Timeframe.M5 and len(trial.symbols) == 5
    assert trial.first_ms >= 1_758_672_000_000 + 21 * DAY_MS
    assert not len(trial.reader.read("BTCUSDT", Timeframe.M1, trial.first_ms, trial.last_ms))
    assert len(trial.reader.read("BTCUSDT", Timeframe.M15, trial.first_ms, trial.first_ms + DAY_MS)) == 96
    with pytest.raises(ConfigurationError, match="before the window of 240m is whole"):
        score.recorded([Path(recorded_data("candles_1h_universe.parquet"))], Timeframe.M240)
