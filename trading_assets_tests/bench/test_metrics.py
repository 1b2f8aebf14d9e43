"""The trial of the exporter's cost has the accounts that it was asked for."""

from __future__ import annotations

import pytest

from trading_assets.bench.metrics import measure


@pytest.mark.slow
def test_each_account_more_has_lines_of_its_own() -> None:
    one, three = (measure(30, 1, accounts) for accounts in (1, 3))
    assert (one["accounts"], three["accounts"], three["orders"]) == (1, 3, 30)
    assert three["lines"] >= one["lines"] + 2 * 20 and three["later_cpu_s"] > 0
