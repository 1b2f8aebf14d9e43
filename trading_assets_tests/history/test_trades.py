"""Minutes of trades: whatever the pieces, the same minutes."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.history.rows import COLUMNS
from trading_assets.history.trades import MinuteCandles

TRADES = st.lists(
    st.tuples(st.integers(0, 600_000_000), st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=60
)


def naive(trades: list[tuple[int, int, int]]) -> list[list[float]]:
    """The same by a loop, trades of one moment in the order of the file."""
    ordered = sorted(trades, key=lambda one: one[0])
    rows: list[list[float]] = []
    close = 0.0
    for minute in range(ordered[0][0] // 60_000_000, ordered[-1][0] // 60_000_000 + 1):
        of = [one for one in ordered if one[0] // 60_000_000 == minute]
        if of:
            prices = [float(one[1]) for one in of]
            close = prices[-1]
            values = [prices[0], max(prices), min(prices), close, float(sum(one[2] for one in of))]
            rows.append([minute * 60_000, *values, float(sum(one[1] * one[2] for one in of))])
        else:
            rows.append([minute * 60_000, close, close, close, close, 0.0, 0.0])
    return rows


@given(TRADES, st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=60)
def test_minutes_equal_those_of_a_loop_however_the_file_is_cut(
    trades: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    made = MinuteCandles()
    edges = [0, *sorted(min(cut, len(trades)) for cut in cuts), len(trades)]
    for low, high in pairwise(edges):
        part = trades[low:high]
        times, prices, sizes = (np.array([one[at] for one in part], dtype=np.float64) for at in range(3))
        made.add(times.astype(np.int64), prices, sizes)
    columns, quiet = made.finish()
    expected = naive(trades)
    found = [[float(columns[name][at]) for name in COLUMNS] for at in range(len(columns["start_ms"]))]
    assert found == expected
    assert quiet == sum(row[5] == 0 for row in expected)
