"""The schedule `seal_hourly` asks for a run where a day is due, and the job `seal` seals it; commands say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.configuration import PREFIX
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.definitions import build_definitions
from trading_assets.defs import backfill
from trading_assets.defs.resources import default_resources
from trading_assets.ledger import sealing
from trading_assets.ledger.database import Database
from trading_assets_tests.defs.conftest import run_job
from trading_assets_tests.ledger.test_sealing import DAY, HOURS, NEXT, everything, in_sql, write


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


@pytest.mark.slow
def test_a_day_that_is_due_is_sealed_once_by_the_job_and_what_follows_by_backfill_and_command(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = build_definitions().get_repository_def()

    def tick() -> Any:
        context = dg.build_schedule_context(
            instance=instance,
            repository_def=repository,
            scheduled_execution_time=pd.Timestamp("2026-03-02T02:50:00Z").to_pydatetime(),
            resources=default_resources(),
        )
        return repository.get_schedule_def("seal_hourly").evaluate_tick(context)

    def said(*arguments: str) -> str:
        answer = CliRunner().invoke(cli, ["results", *arguments], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert "nothing was researched yet" in (tick().skip_message or "")
    ledger = Database.of(load_settings())
    write(ledger, [*HOURS, NEXT], "1m")
    assert "that are not sealed" in (tick().skip_message or ""), "two days have not gone by"
    monkeypatch.setenv(f"{PREFIX}SEAL_RESULTS_AFTER_DAYS", "0")
    before = everything(ledger)
    assert "1 days wait to be sealed, the first 2024-10-04" in said("status")
    assert [request.run_key for request in tick().run_requests] == ["seal-2026-03-02T02"]
    assert run_job("seal", instance=instance).success
    assert {key[0] for key in in_sql(ledger)} == {NEXT}
    assert "that are not sealed" in (tick().skip_message or "")
    pd.testing.assert_frame_equal(everything(ledger), before, check_exact=True)
    write(ledger, HOURS[:1], "240m")
    backfill._seal()
    assert [day for day, _ in sealing.files_in_use(ledger)] == [DAY]
    assert len(everything(ledger)) == len(before) + 6
    (path,) = said("files", "--from", "2024-10-04", "--to", "2024-10-04").split()
    assert len(pd.read_parquet(path)) == 36
    assert "36 backtests sealed, 2024-10-04 to 2024-10-04, 1 files" in said("status")
    write(ledger, [NEXT + 24 * HOUR_MS], "1m")
    assert "6 backtests of 1 days sealed" in said("seal", "--after-days", "0", "--compact")
    ledger.close()
    monkeypatch.setenv(f"{PREFIX}SEAL_RESULTS_AFTER_DAYS", "")
    assert "SEAL_RESULTS_AFTER_DAYS is empty" in (tick().skip_message or "")
    assert "SEAL_RESULTS_AFTER_DAYS is empty" in CliRunner().invoke(cli, ["results", "seal"]).output
