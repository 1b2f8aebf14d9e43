"""A month of operation, added up from what each thing takes."""

from __future__ import annotations

from typing import Any

from trading_assets.bench.home import month
from trading_assets.core.settings import Settings

MEASURED = {
    "candles_first": 17_399_568,
    "candles_day": 5_154_446,
    "ledger_hour": 708_608,
    "research_run": 2_187_264,
    "reconcile_run": 144_794,
    "trade_run": 157_491,
    "tick": 1_311,
    "session_run": 629_965,
}
"""As in docs/retention.md."""


def total_mb(**changes: Any) -> float:
    return sum(part.bytes for part in month(MEASURED, Settings(_env_file=None, **changes))) / 1e6  # type: ignore[call-arg]


def test_the_settings_as_they_are_keep_a_month_under_two_gigabytes() -> None:
    assert 1000 < total_mb() < 2000


def test_what_is_kept_for_good_grows_with_the_month() -> None:
    assert total_mb(keep_trading_runs_days=None) - total_mb(keep_trading_runs_days=29) == 0
    assert total_mb(keep_trading_runs_days=None) > total_mb() + 5000
    assert total_mb(keep_rows_days=1) < total_mb()
