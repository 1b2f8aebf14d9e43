"""The ladder of risk tiers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest

from trading_assets.simulator.market.risk import tiers
from trading_assets_tests.simulator.fake_market import BTC


def test_the_lowest_tier_of_bitcoin_is_the_venues() -> None:
    lowest = tiers(BTC)[0]
    assert (lowest.id, lowest.limit, lowest.max_leverage) == (1, 2_000_000, 100)
    assert (lowest.maintenance_rate, lowest.initial_rate, lowest.deduction) == (Decimal("0.005"), Decimal("0.01"), 0)


@pytest.mark.parametrize("leverage", ["1", "1.5", "5", "12.5", "25", "50", "75", "100", "150"])
def test_the_maintenance_margin_is_continuous_and_everything_gets_stricter(leverage: str) -> None:
    ladder = tiers(replace(BTC, max_leverage=Decimal(leverage)))
    assert ladder[0].max_leverage == Decimal(leverage)
    assert ladder[0].maintenance_rate == 1 / (2 * Decimal(leverage))
    for lower, upper in pairwise(ladder):
        edge = lower.limit
        here, there = (edge * tier.maintenance_rate - tier.deduction for tier in (lower, upper))
        assert abs(here - there) < Decimal("1e-15")
        assert upper.id == lower.id + 1
        assert upper.limit > lower.limit and upper.max_leverage < lower.max_leverage
        assert upper.maintenance_rate > lower.maintenance_rate and upper.initial_rate > lower.initial_rate
    assert all(tier.max_leverage >= 1 and tier.initial_rate <= 1 for tier in ladder)
    assert all(tier.max_leverage % BTC.leverage_step == 0 for tier in ladder)
    assert all(0 <= tier.initial_rate * tier.max_leverage <= 1 for tier in ladder)
