"""Metadata of a run's hours: figures of each, tables and pictures of the newest."""

from dataclasses import dataclass, field

import pandas as pd

from trading_assets.core.timeframes import HOUR_MS
from trading_assets.defs.assets.common import IN_FULL, ByHour, describe_hours
from trading_assets.defs.partitions import key_of

FIRST = 1_772_413_200_000
HOURS = [FIRST + number * HOUR_MS for number in range(26)]


@dataclass
class Told:
    """Stands for the context of an asset."""

    metadata: dict[str, dict[str, object]] = field(default_factory=dict)

    def add_asset_metadata(self, metadata: dict[str, object], *, partition_key: str) -> None:
        self.metadata[partition_key] = metadata


def rows() -> pd.DataFrame:
    """Hour n has n % 3 rows, so some have none."""
    found = [{"hour_ms": hour, "value": float(n)} for n, hour in enumerate(HOURS) for _ in range(n % 3)]
    return pd.DataFrame(found)


def test_each_hour_has_its_own_figures_with_zeros_where_it_has_no_rows() -> None:
    by_hour = ByHour(rows(), HOURS)
    assert by_hour.count() == [n % 3 for n in range(len(HOURS))]
    assert by_hour.total("value") == [float(n * (n % 3)) for n in range(len(HOURS))]
    large = rows()["value"] > 20
    assert by_hour.count(large) == [n % 3 if n > 20 else 0 for n in range(len(HOURS))]
    assert by_hour.total("value", large)[:21] == [0.0] * 21
    assert by_hour.rows(0).empty
    assert by_hour.rows(5)["value"].tolist() == [5.0, 5.0]


def test_a_run_without_rows_has_zeros() -> None:
    by_hour = ByHour(rows().iloc[:0], HOURS[:3])
    assert by_hour.count() == [0, 0, 0]
    assert by_hour.rows(2).empty


def test_the_newest_hours_show_tables_and_every_hour_its_figures() -> None:
    told, by_hour = Told(), ByHour(rows(), HOURS)
    figures = {"number": list(range(len(HOURS)))}
    describe_hours(told, by_hour, figures, lambda at, of_hour: {"table": (at, len(of_hour))})  # type: ignore[arg-type]
    assert list(told.metadata) == [key_of(hour) for hour in HOURS]
    for at, metadata in enumerate(told.metadata.values()):
        assert metadata["number"] == at
        assert metadata["dagster/row_count"] == at % 3
        assert metadata.get("table") == ((at, at % 3) if at >= len(HOURS) - IN_FULL else None)


def test_the_one_hour_of_the_hourly_job_is_shown_in_full() -> None:
    told = Told()
    describe_hours(told, ByHour(rows().iloc[:0], HOURS[:1]), {}, lambda *_: {"table": 1})  # type: ignore[arg-type]
    assert told.metadata == {key_of(HOURS[0]): {"dagster/row_count": 0, "table": 1}}
