"""Means of parts of many trades are numpy's own, to the last bit."""

import numpy as np

from trading_assets.backtesting.kernel.means import mean_multiples
from trading_assets.backtesting.metrics import mean_r


def test_a_mean_of_any_length_has_the_bits_that_numpy_gives_it_alone() -> None:
    rng = np.random.default_rng(5)
    counts = np.array([*range(300), 1000, 1025, 4097, 20_000, 0, 1])
    starts = np.concatenate([[0], np.cumsum(counts[:-1])])
    gains = rng.normal(size=counts.sum()) * rng.choice([1.0, 1e9, 1e-9], counts.sum())
    risks = rng.uniform(1e-3, 0.1, counts.sum())
    order = rng.permutation(len(counts))
    found = mean_multiples(gains, risks, 1000.0, starts[order], counts[order])
    parts = [slice(start, start + count) for start, count in zip(starts[order], counts[order], strict=True)]
    np.testing.assert_array_equal(found, [mean_r(gains[part], risks[part] * 1000.0) for part in parts])
