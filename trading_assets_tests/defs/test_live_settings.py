"""The jobs that change settings and flags, and which settings an hour is researched with."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from trading_assets.accounts import changing, effective
from trading_assets.core.flags import Flag
from trading_assets.core.settings import load_settings
from trading_assets.definitions import build_definitions
from trading_assets.defs.research_settings import AS_OF_TAG
from trading_assets.ledger import live_changes
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ChangeKind
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, ResearchedHour, tables


def run(job: str, op: str, /, **config: object) -> dg.ExecuteInProcessResult:
    """Run a job with the config of its op."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = build_definitions().resolve_job_def(job)
        given = {"ops": {op: {"config": config}}, "loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        return made.execute_in_process(instance=instance, raise_on_error=False, run_config=given)


@pytest.mark.slow
def test_the_jobs_change_settings_and_flags_and_refuse_with_the_reason() -> None:
    assert run("set_setting", "change_setting", name="max_positions", value="4", reason="thin").success
    assert run("set_flag", "change_flag", name="entries", value="40%", reason="a trial").success
    refused = run("set_setting", "change_setting", name="venue", value="demo")
    assert not refused.success and "does not change while the system runs" in str(refused.all_events)
    database = Database(load_settings().resolved_database_url)
    held = effective.settings_of(database, load_settings())
    assert held.max_positions == 4 and held.flags.common == {Flag.ENTRIES: "40%"}
    (entry,) = live_changes.history(database, ChangeKind.SETTING, None, None, 9)
    assert entry.reason == "thin" and "Dagster run" in entry.actor
    assert run("set_setting", "change_setting", name="max_positions", unset=True).success
    assert effective.settings_of(database, load_settings()).max_positions == 10
    database.close()


def test_where_money_is_real_the_job_wants_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "mainnet")
    monkeypatch.setenv("TRADING_ASSETS_ALLOW_MAINNET", "true")
    refused = run("set_flag", "change_flag", name="entries", value="off")
    assert not refused.success and "needs a one-time code" in str(refused.all_events)


@pytest.mark.slow
def test_a_selection_is_made_with_todays_settings_or_with_those_of_its_hour(
    small: RunningExchange, researched_hour: ResearchedHour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small.url
    home = tmp_path / "copy"
    shutil.copytree(researched_hour.home, home)
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(home))
    before = tables([HOUR])
    assert all(set(rows["settings_version"]) == {1.0} for rows in before.values() if len(rows))
    database = Database(load_settings().resolved_database_url)
    changing.set_setting(database, load_settings(), "min_trades", "100000", actor="a test", reason="to see")
    job = build_definitions().resolve_job_def("select")

    def select(**tags: str) -> str:
        quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            done = job.execute_in_process(instance=instance, partition_key=HOUR_KEY, tags=tags, run_config=quiet)
            return "\n".join(entry.user_message for entry in instance.all_logs(done.run_id))

    assert "today's settings, version 2" in select()
    assert tables([HOUR])["strategy_selections"].empty
    told = select(**{AS_OF_TAG: "true"})
    assert "settings of each hour: version 1 in 1 hours" in told and "older than the first version" in told
    assert tables([HOUR])["strategy_selections"].equals(before["strategy_selections"])
    database.close()
