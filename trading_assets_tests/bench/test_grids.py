"""`trading-assets bench grids`."""

from __future__ import annotations

import pytest

from trading_assets.bench.grids import measure


@pytest.mark.slow
def test_it_tells_bars_fills_and_time_of_each_number_of_levels() -> None:
    rows = measure(1, [5, 20], 1)
    assert [row["levels"] for row in rows] == [5, 20]
    for row in rows:
        assert (row["bars"], row["fills"] > 0, row["cpu_s"] > 0) == (3 * 1440, True, True)
