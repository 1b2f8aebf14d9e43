"""`trading-assets backfill`: runs of the research job on the user's own instance, as many as the range needs."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.defs import backfill
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, tables
from trading_assets_tests.defs.test_research import assert_same

NEXT_KEY = "2026-03-02-02:00"


@pytest.fixture
def checkout(small: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a `dagster.yaml`, as the one in which a user types."""
    (tmp_path / "dagster.yaml").write_text((Path(__file__).parents[2] / "dagster.yaml").read_text())
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    # What the command sets is taken back after the test.
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_range_becomes_runs_that_the_ui_shows_and_rows_of_its_hours(
    checkout: Path, researched: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(checkout))
    monkeypatch.setattr(backfill, "HOURS_OF_A_RUN", 1)
    arguments = ["backfill", "--from", HOUR_KEY, "--to", NEXT_KEY, "--processes", str(processes)]
    answer = CliRunner().invoke(cli, arguments)
    assert answer.exit_code == 0, answer.output
    assert f"report walk-forward --from {HOUR_KEY} --to {NEXT_KEY}" in answer.output
    assert_same(researched, tables([HOUR]))
    assert len(tables([HOUR + HOUR_MS])["strategy_selections"])
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(dg.RunsFilter(job_name="research"))
        assert len(runs) == 2 and {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert all(run.run_id in answer.output for run in runs)
        assert instance.get_materialized_partitions(dg.AssetKey("strategy_selections")) == {HOUR_KEY, NEXT_KEY}


@pytest.mark.slow
def test_a_run_that_fails_says_why_and_what_stays(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(checkout))

    def broken(*_arguments: object, **_options: object) -> None:
        raise DataError("no such coin")

    monkeypatch.setattr("trading_assets.defs.assets.scan.scan_hours", broken)
    answer = CliRunner().invoke(cli, ["backfill", "--from", HOUR_KEY, "--to", HOUR_KEY])
    assert isinstance(answer.exception, DataError)
    assert "failed: market_scan: trading_assets.core.errors.DataError: no such coin. What it had" in str(
        answer.exception
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "2025-12-31", "--to", "2026-01-02"], "from 2026-01-01-00:00 .* to 2026-03-02-04:00"),
        (["--from", "2026-03-02-06:00"], "2026-03-02-06:00 to 2026-03-02-04:00 is no range"),
        (["--days", "90"], "TRADING_ASSETS_PARTITIONS_START"),
    ],
)
def test_a_range_that_is_none_is_refused(checkout: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        CliRunner().invoke(cli, ["backfill", *arguments], catch_exceptions=False)


def test_without_an_instance_the_command_says_where_to_go(checkout: Path) -> None:
    (checkout / "dagster.yaml").unlink()
    with pytest.raises(ConfigurationError, match="so the UI would not see the run"):
        CliRunner().invoke(cli, ["backfill", "--from", HOUR_KEY], catch_exceptions=False)
