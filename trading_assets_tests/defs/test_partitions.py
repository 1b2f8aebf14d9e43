"""The hours of the project are Dagster's, key for key."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from trading_assets.defs.partitions import HoursOfUtc

START = "2026-01-01-00:00"


@pytest.mark.parametrize("now", [None, datetime(2026, 1, 1, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 3, tzinfo=UTC)])
def test_the_hours_are_those_of_dagster_and_may_be_asked_for_again(now: datetime | None) -> None:
    ours, stock = (kind(start_date=START, timezone="UTC") for kind in (HoursOfUtc, dg.HourlyPartitionsDefinition))
    expected = stock.get_partition_keys(now)
    assert ours.get_partition_keys(now) == ours.get_partition_keys(now) == expected
    assert ours == stock and ours.get_last_partition_key() == stock.get_last_partition_key()


def test_hours_that_have_not_begun_are_none() -> None:
    assert HoursOfUtc(start_date="2999-01-01-00:00", timezone="UTC").get_partition_keys() == []
