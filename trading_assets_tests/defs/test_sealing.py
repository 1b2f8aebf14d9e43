"""The schedule `seal_hourly` asks for a run where a day is due, and the job `seal` seals it; commands say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.configuration import PREFIX
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.definitions import build_definitions
from trading_assets.defs import backfill
from trading_assets.defs.resources import DatabaseResource, default_resources
from trading_assets.ledger import sealing
from trading_assets.ledger.database import Database
from trading_assets_tests.defs.conftest import run_job
from trading_assets_tests.ledger.test_sealing import DAY, HOURS, NEXT, everything, in_sql, write


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def test_a_run_of_a_backfill_seals_its_days_that_will_be_old_enough_from_what_it_has_in_hand(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [DAY + number * DAY_MS for number in range(-1, 4)]
    sealed: list[int] = []

    def research(*_: object, **__: object) -> SimpleNamespace:
        write(DatabaseResource().get(), [day + 23 * HOUR_MS for day in days[1:]], "1m")
        return SimpleNamespace(success=True, run_id="run")

    def seal_day(ledger: Database, _results: object, day: int, *_: object) -> None:
        assert ledger.rows_in_hand is not None
        assert ledger.rows_in_hand.known([day + 23 * HOUR_MS], None)
        sealed.append(day)

    write(DatabaseResource().get(), days[:1], "1m")
    monkeypatch.setattr(backfill, "research_range", research)
    monkeypatch.setattr(sealing, "_seal_day", seal_day)
    job = build_definitions().get_job_def("seal")
    for last_ms, due in ((days[-1] + 23 * HOUR_MS, days[1:3]), (days[-1] + 9 * DAY_MS, days[1:4])):
        sealed.clear()
        given = (DAY, 3 * 24 + 12)  # it ends in a day of which another run has the rest
        assert backfill._run_one(instance, job, given, lambda _: None, False, last_ms).failed is None
        assert sealed == due, "two days before the last hour of all; not the day before, nor one that is not over"
        assert DatabaseResource().get().rows_in_hand is None


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
