"""Paper trading on recorded and on seeded candles, while the stream has gaps and the paper exchange is killed."""

from __future__ import annotations

import pytest

from trading_assets.chaos.paper import PaperReport, run_paper
from trading_assets_tests.conftest import recorded_data

START_MS = 1_746_372_780_000 + 8 * 86_400_000


def is_well(report: PaperReport) -> None:
    assert report.broken == [], report.home
    assert report.entries > 0
    assert report.fills_compared >= report.entries
    assert report.misfortunes
    assert len(report.exits) >= 6, "signals with exit plans of nearly every kind"
    assert report.unprotected == 0


@pytest.mark.slow
@pytest.mark.recorded
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("in_session", [False, True], ids=["by the driver", "by a session"])
def test_an_hour_of_paper_on_recorded_candles_has_no_wrong_fill_no_missed_stop_and_equal_books(
    in_session: bool,
) -> None:
    """The stream has gaps, and the paper exchange is killed in the middle."""
    candles = [recorded_data("candles_1m.parquet")]
    report = run_paper(candles, 60, 10, 3, lambda line: None, start_ms=START_MS, in_session=in_session)
    is_well(report)
    assert report.misfortunes["paper exchange killed"]
    assert report.closings
    assert report.plan_ends
    assert report.waits
    assert bool(report.session_starts) is in_session


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_on_a_seeded_market() -> None:
    report = run_paper([], 20, 20, 2, lambda line: None)
    is_well(report)
    assert report.kept["grid_fills"]
    assert report.kept["dca_fills"]
