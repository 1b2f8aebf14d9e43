"""The jobs. What a job does stands in its assets and ops."""

import dagster as dg

from trading_assets.defs.ops.reconcile import reconcile_account
from trading_assets.defs.ops.trade import find_entry_signals, submit_orders

LANE = "trading_assets/lane"
"""Tag by which `dagster.yaml` keeps runs of one lane one after the other."""

RESEARCH_GROUPS = ("scan", "market_data", "backtests", "selection")

research = dg.define_asset_job(
    "research",
    selection=dg.AssetSelection.groups(*RESEARCH_GROUPS),
    executor_def=dg.in_process_executor,
    tags={LANE: "research"},
    description="Scan, candles, backtests and selection of an hour, as of its end. One process: imports cost more "
    "than the work.",
)

select = dg.define_asset_job(
    "select",
    selection=dg.AssetSelection.assets("strategy_selections"),
    executor_def=dg.in_process_executor,
    tags={LANE: "research"},
    description="Selects again for an hour whose backtests are newer than its selection.",
)

parity = dg.define_asset_job(
    "parity",
    selection=dg.AssetSelection.assets("live_parity"),
    executor_def=dg.in_process_executor,
    tags={LANE: "research"},
    description="Replays a day's closed candles through the backtest and holds what live did against it.",
)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={LANE: "trade"},
    description="Looks for entry signals of the newest selection on the newest closed candles, and places their "
    "orders with stops attached: once, however often this job runs.",
)
def trade() -> None:
    submit_orders(find_entry_signals())


@dg.job(
    executor_def=dg.in_process_executor,
    tags={LANE: "reconcile"},
    description="Brings the exchange's books into the ledger: fills, positions, closings, balance, open questions.",
)
def reconcile() -> None:
    reconcile_account()
