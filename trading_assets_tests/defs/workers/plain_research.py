"""The project's research without the checks that simulate again with a second engine: seconds of imports in each
process, and no rows of the hourly tables."""

import dagster as dg

from trading_assets.definitions import build_definitions
from trading_assets.defs.checks.lookahead import BACKTEST_CHECKS
from trading_assets.defs.jobs import RESEARCH_GROUPS


def plain_definitions() -> dg.Definitions:
    whole = build_definitions()
    return dg.Definitions(
        assets=whole.assets,
        asset_checks=[check for check in whole.asset_checks or () if check not in BACKTEST_CHECKS],
        jobs=[
            dg.define_asset_job(
                "plain_research", dg.AssetSelection.groups(*RESEARCH_GROUPS), executor_def=dg.in_process_executor
            )
        ],
        resources=whole.resources,
        executor=whole.executor,
    )


defs = plain_definitions()


def research_job() -> dg.JobDefinition:
    """What a backfill of it is of."""
    return defs.resolve_job_def("plain_research")
