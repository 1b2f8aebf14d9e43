"""The research job on the project's own instances, SQLite and PostgreSQL: IO manager, checks, selections, history."""

import dagster as dg
import pandas as pd
import pytest

from trading_assets.defs.run_history import RunHistory
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, run_job, tables
from trading_assets_tests.defs.test_research import assert_same


@pytest.mark.slow
@pytest.mark.parametrize("either_ledger", ["sqlite", "postgresql"], indirect=True)
def test_an_hour_is_the_same_on_either_storage_and_its_history_is_whole(
    installation: dg.DagsterInstance, small: RunningExchange, researched: dict[str, pd.DataFrame]
) -> None:
    result = run_job("research", HOUR_KEY, instance=installation)
    assert_same(researched, tables([HOUR]))
    for name in ("market_scan", "strategy_selections"):
        records = installation.fetch_materializations(dg.AssetKey(name), limit=10).records
        assert [(record.run_id, record.partition_key) for record in records] == [(result.run_id, HOUR_KEY)]
    history = RunHistory()
    # A run of a test is in no queue; nothing else is missing.
    assert {text.split(": ", 1)[1] for text in history.inconsistencies()} == {
        "0 times PIPELINE_ENQUEUED, expected once",
        "0 times PIPELINE_STARTING, expected once",
    }
    assert history.materialisations() == len(result.get_asset_materialization_events()) == 21
    history.close()
