"""`chaos accounts` in its small form: traders of two accounts are killed at the same time; books stay apart."""

from __future__ import annotations

import pytest

from trading_assets.chaos.accounts import LIMITS, SECOND, run_accounts
from trading_assets.core.errors import ConfigurationError

KILLS = 5
"""Of each account. The long form is `chaos accounts` as it stands."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("on_postgres", [False, True], ids=["SQLite", "PostgreSQL"])
def test_killed_traders_of_two_accounts_keep_books_limits_and_halts_apart(on_postgres: bool) -> None:
    try:
        report = run_accounts(KILLS, seed=1, on_postgres=on_postgres)
    except ConfigurationError as error:
        if "PostgreSQL" not in str(error):
            raise
        pytest.skip(str(error))
    assert report.broken == []
    assert {name: one["kills"] >= KILLS for name, one in report.accounts.items()} == {"main": True, SECOND: True}
    assert report.second_half["main"] == 0 < report.second_half[SECOND], "one was halted half-way, one went on"
    assert report.sizes == {"main": [100.0], SECOND: [float(LIMITS["position_size"])]}
    figures = {name: (one["orders"], one["closings"]) for name, one in report.accounts.items()}
    assert all(orders and closed for orders, closed in figures.values()), f"orders and closings: {figures}"
