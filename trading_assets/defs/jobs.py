"""The jobs. What a job does stands in its assets and ops."""

import dagster as dg

from trading_assets.defs.ops.reconcile import reconcile_account
from trading_assets.defs.ops.session import trade_session
from trading_assets.defs.ops.trade import choose_mode, find_entry_signals, submit_orders

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


@dg.job(
    executor_def=dg.in_process_executor,
    tags={LANE: "trade"},
    description="Trades the newest selection: one order a signal, with stops attached, however often this job runs. "
    "A session lives until the next selection and decides the moment a candle closes; cancel it and trading stops. A "
    "run in once mode decides on the newest closed candles and ends.",
)
def trade() -> None:
    session, once = choose_mode()
    trade_session(start=session)
    submit_orders(find_entry_signals(start=once))


@dg.job(
    executor_def=dg.in_process_executor,
    tags={LANE: "reconcile"},
    description="Brings the exchange's books into the ledger: fills, positions, closings, balance, open questions.",
)
def reconcile() -> None:
    reconcile_account()
