"""The research job on the project's own instances, SQLite and PostgreSQL: IO manager, checks, selections, history."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pandas as pd

from trading_assets.defs.lanes import RESEARCH
from trading_assets.defs.run_book import RunBook
from trading_assets.simulator.embedded import RunningExchange
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, run_job, tables
from trading_assets_tests.defs.test_research import assert_same


def test_the_hourly_job_and_a_backfill_write_the_same_hour_at_once_and_it_is_as_if_one_had(
    installation: dg.DagsterInstance, small: RunningExchange, researched: dict[str, pd.DataFrame]
) -> None:
    def research(_: int) -> dg.ExecuteInProcessResult:
        return run_job("research", HOUR_KEY, instance=installation)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(research, range(2)))
    assert all(result.success for result in results)
    assert_same(researched, tables([HOUR]))
    for name in ("market_scan", "strategy_selections"):
        key = dg.AssetKey(name)
        assert installation.get_materialized_partitions(key) == {HOUR_KEY}
        written = installation.fetch_materializations(key, limit=10).records
        assert {record.run_id for record in written} == {result.run_id for result in results}
    book = RunBook()
    # A run without the queue is neither enqueued nor starting; nothing else is missing.
    assert all("PIPELINE_ENQUEUED" in text or "PIPELINE_STARTING" in text for text in book.lost())
    assert book.materialisations() == 2 * len(results[0].get_asset_materialization_events())
    book.close()
    assert RESEARCH.limit == 1, "hours themselves never meet"
