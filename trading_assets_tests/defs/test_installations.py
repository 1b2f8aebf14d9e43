"""The research jobs on the project's own instances, SQLite and PostgreSQL: IO manager, checks, selections, history."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pandas as pd

from trading_assets.defs.run_book import RunBook
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, run_job, tables
from trading_assets_tests.defs.test_research import assert_same

WRITERS = 3


def test_an_hour_is_the_same_on_either_storage_and_when_several_runs_write_it_at_once(
    installation: dg.DagsterInstance, small: RunningExchange, researched: dict[str, pd.DataFrame]
) -> None:
    first = run_job("research", HOUR_KEY, instance=installation)
    assert_same(researched, tables([HOUR]))
    scans = installation.fetch_materializations(dg.AssetKey("market_scan"), limit=10).records
    assert [(record.run_id, record.partition_key) for record in scans] == [(first.run_id, HOUR_KEY)]

    def select(_: int) -> dg.ExecuteInProcessResult:
        return run_job("select", HOUR_KEY, instance=installation)

    with ThreadPoolExecutor(WRITERS) as pool:
        others = list(pool.map(select, range(WRITERS)))
    assert all(result.success for result in others)
    assert_same(researched, tables([HOUR]))
    key = dg.AssetKey("strategy_selections")
    assert installation.get_materialized_partitions(key) == {HOUR_KEY}
    written = installation.fetch_materializations(key, limit=10).records
    assert {record.run_id for record in written} == {first.run_id, *(result.run_id for result in others)}
    book = RunBook()
    # A run of a test is in no queue; nothing else is missing.
    assert all("PIPELINE_ENQUEUED" in text or "PIPELINE_STARTING" in text for text in book.lost())
    assert book.materialisations() == len(first.get_asset_materialization_events()) + WRITERS
    book.close()
