"""The reports as Dagster runs them: the page, what the metadata shows, and the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner

from trading_assets.accounts import registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError, DataError, NothingYetError
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, first_hour_ms
from trading_assets.definitions import build_definitions
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import entry_signals
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR, run_job
from trading_assets_tests.reporting.test_build import fill
from trading_assets_tests.trading.fixtures import signal_row


@pytest.fixture
def ledger(small: RunningExchange) -> Iterator[Database]:
    database = Database(load_settings().resolved_database_url)
    yield database
    database.close()


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.MetadataValue]:
    [materialization] = result.asset_materializations_for_node("walk_forward_report")
    return dict(materialization.metadata)


@pytest.mark.slow
def test_the_asset_writes_a_page_and_shows_its_numbers(ledger: Database) -> None:
    fill(ledger, 3)
    shown = metadata_of(run_job("reports"))
    page = Path(str(shown["page_path"].value))
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert page.parent == load_settings().home / "reports"
    trades = pd.read_csv(str(shown["trades_path"].value))
    assert shown["dagster/row_count"].value == len(trades)
    assert "data:image/svg+xml" in str(shown["equity"].value)
    assert str(shown["headline"].value).startswith("Selected ")
    again = metadata_of(run_job("reports"))
    assert {name: value.value for name, value in again.items()} == {name: v.value for name, v in shown.items()}


@pytest.mark.slow
def test_a_range_can_be_asked_for(ledger: Database) -> None:
    fill(ledger, 3)
    asked = {"first_hour": "2026-03-02-02:00", "last_hour": "2026-03-02-02:00"}
    shown = metadata_of(run_job("reports", config={"ops": {"walk_forward_report": {"config": asked}}}))
    assert (shown["from"].value, shown["to"].value) == ("2026-03-02T03:00:00Z", "2026-03-02T04:00:00Z")
    with pytest.raises(ConfigurationError, match="'yesterday' is no hour; expected a day such as 2026-03-02"):
        run_job("reports", config={"ops": {"walk_forward_report": {"config": {"first_hour": "yesterday"}}}})


def test_without_selections_the_report_says_what_to_do(ledger: Database) -> None:
    with pytest.raises(DataError, match="backfill strategy_selections first"):
        run_job("reports")


def test_where_no_whole_hour_is_over_yet_nothing_fails_and_there_is_no_report(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_early(*_: object) -> None:
        raise NothingYetError("no whole hour yet")

    monkeypatch.setattr("trading_assets.reporting.build.make_walk_forward", too_early)
    result = run_job("reports")
    assert result.success and not result.asset_materializations_for_node("walk_forward_report")


def test_the_schedule_asks_for_the_last_days_and_waits_for_a_selection(ledger: Database) -> None:
    definitions = build_definitions()
    repository = definitions.get_repository_def()

    def tick(day: str = "2026-03-03") -> dg.ScheduleExecutionData:
        when = pd.Timestamp(f"{day}T00:40:00Z").to_pydatetime()
        with dg.build_schedule_context(
            repository_def=repository, scheduled_execution_time=when, resources=definitions.resources
        ) as context:
            return repository.get_schedule_def("reports_daily").evaluate_tick(context)

    assert "no hour has a selection yet" in str(tick().skip_message)
    fill(ledger, 1)
    [request] = tick().run_requests or []
    assert request.run_key == "2026-03-03"
    assert "no hour since 2026-05-02" in str(tick("2026-06-01").skip_message)
    assert request.run_config["ops"]["walk_forward_report"]["config"] == {"last_days": 30}


def test_performance_is_drawn_each_night_from_the_first_executed_signal_on(ledger: Database) -> None:
    definitions = build_definitions()
    repository = definitions.get_repository_def()

    def tick(day: str) -> dg.ScheduleExecutionData:
        when = pd.Timestamp(f"{day}T00:50:00Z").to_pydatetime()
        with dg.build_schedule_context(
            repository_def=repository, scheduled_execution_time=when, resources=definitions.resources
        ) as context:
            return repository.get_schedule_def("performance_daily").evaluate_tick(context)

    assert "account main has executed no signal yet" in str(tick("2026-03-03").skip_message)
    executed_ms = HOUR + 2 * HOUR_MS + 60_000
    signals.insert(ledger, signal_row(signal_timestamp_ms=executed_ms - 1_000))
    assert tick("2026-03-03").skip_message, "a signal alone is no trade"
    with ledger.write() as connection:
        connection.execute(entry_signals.update().values(executed_at_ms=executed_ms))
    [request] = tick("2026-03-03").run_requests or []
    asked = request.run_config["ops"]["performance_report"]["config"]
    assert asked == {"first_hour": "2026-03-02-03:00"} and request.run_key == "2026-03-03"
    assert first_hour_ms(asked["first_hour"]) == HOUR + 2 * HOUR_MS
    assert "executed no signal since 2026-04-02" in str(tick("2026-05-02").skip_message)

    wanted = AccountDraft("second", "simulator", None, {}, {})
    registry.add(ledger, load_settings(), wanted, actor="a test", reason="to see")
    assert [one.run_key for one in tick("2026-03-03").run_requests or []] == ["2026-03-03"]
    later_ms = executed_ms + HOUR_MS
    row = signal_row(account="second", signal_id="second:1", signal_timestamp_ms=later_ms - 1_000)
    signals.insert(ledger, row)
    with ledger.write() as connection:
        of_second = entry_signals.update().where(entry_signals.c.account == "second")
        connection.execute(of_second.values(executed_at_ms=later_ms))
    first, second = tick("2026-03-03").run_requests or []
    assert (first.run_key, second.run_key) == ("2026-03-03", "2026-03-03-second")
    assert [one.tags["trading_assets/account"] for one in (first, second)] == ["main", "second"]
    asked = second.run_config["ops"]["performance_report"]["config"]
    assert asked == {"first_hour": "2026-03-02-04:00", "account": "second"}


@pytest.mark.slow
def test_the_command_writes_the_page_of_the_asset_and_prints_its_numbers(ledger: Database) -> None:
    fill(ledger, 3)
    shown = metadata_of(run_job("reports"))
    page = Path(str(shown["page_path"].value))
    by_asset = page.read_bytes()
    page.unlink()
    answer = CliRunner().invoke(cli, ["report", "walk-forward", "--from", "2026-03-02", "--to", "2026-03-02T04:00"])
    assert answer.exit_code == 0, answer.output
    assert str(page) in answer.output
    assert f"{shown['return_pct'].value:+.2f}" in answer.output and "Random choice" in answer.output
    assert page.read_bytes() == by_asset
    nothing = CliRunner().invoke(cli, ["report", "performance"])
    assert isinstance(nothing.exception, DataError) and "has not traded" in str(nothing.exception)


@pytest.mark.slow
def test_the_command_says_that_three_hours_are_too_few_for_a_score(ledger: Database, tmp_path: Path) -> None:
    fill(ledger, 3)
    drawn = tmp_path / "score.svg"
    answer = CliRunner().invoke(cli, ["report", "score", "--picture", str(drawn)])
    assert answer.exit_code == 0, answer.output
    assert "too few" in answer.output and "what following its selections earned" in answer.output
    assert drawn.read_text().startswith("<svg")
