"""A range as a person writes it."""

from __future__ import annotations

import pytest

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import HOUR_MS, first_hour_ms, last_hour_ms

DAY = 1_772_409_600_000
"""2026-03-02 00:00 UTC."""


def test_a_day_is_all_of_it_and_both_ends_belong_to_the_range() -> None:
    assert (first_hour_ms("2026-03-02"), last_hour_ms("2026-03-02")) == (DAY, DAY + 23 * HOUR_MS)


@pytest.mark.parametrize("text", ["2026-03-02-05:00", "2026-03-02T05:00", "2026-03-02 05:59"])
def test_an_hour_can_be_written_as_a_partition_or_a_time(text: str) -> None:
    assert first_hour_ms(text) == last_hour_ms(text) == DAY + 5 * HOUR_MS


def test_nothing_is_no_bound_and_anything_else_is_refused() -> None:
    assert first_hour_ms("") is first_hour_ms(None) is last_hour_ms("") is None
    with pytest.raises(ConfigurationError, match="'tomorrow' is no hour"):
        last_hour_ms("tomorrow")
