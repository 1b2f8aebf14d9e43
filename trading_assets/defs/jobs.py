"""The jobs. What a job does stands in its assets and ops."""

import dagster as dg

from trading_assets.defs.instance.concurrency_groups import DAILY, MANUAL, RECONCILE, RESEARCH, RISK, TRADE
from trading_assets.defs.ops.dca import keep_dca
from trading_assets.defs.ops.grids import keep_grids
from trading_assets.defs.ops.live_settings import change_flag, change_setting
from trading_assets.defs.ops.reconcile import reconcile_account
from trading_assets.defs.ops.retention import delete_what_is_old
from trading_assets.defs.ops.risk import close_all_positions, halt_trading, reduce_trading, resume_trading
from trading_assets.defs.ops.sealing import seal_old_results
from trading_assets.defs.ops.session import trade_session
from trading_assets.defs.ops.strategies import change_row, check_and_start, switch_off
from trading_assets.defs.ops.trade import choose_mode, find_entry_signals, submit_orders

TRADING = {"dagster-celery/queue": "trading", "dagster/max_retries": "0"}
"""Tags of what trades. Celery workers of its own take it where there are some, and nothing but a sensor's decision or a
person starts it: whatever retries Dagster is told to make, they are not for an order."""

RESEARCH_GROUPS = ("scan", "market_data", "backtests", "selection", "grids")

research = dg.define_asset_job(
    "research",
    selection=dg.AssetSelection.groups(*RESEARCH_GROUPS),
    executor_def=dg.in_process_executor,
    tags=RESEARCH.tags,
    description="Scan, candles, backtests and selection of an hour, as of its end; its schedule and sensor do it for "
    "each new hour. By hand: Materialize all, then the latest partition, or a range of older ones: a walk-forward "
    "backfill, which becomes one run.",
)

select = dg.define_asset_job(
    "select",
    selection=dg.AssetSelection.assets("strategy_selections"),
    executor_def=dg.in_process_executor,
    tags=RESEARCH.tags,
    description="Selects again for an hour whose backtests are newer than its selection: somebody has materialised "
    "backtests alone.",
)

parity = dg.define_asset_job(
    "parity",
    selection=dg.AssetSelection.assets("live_parity"),
    executor_def=dg.in_process_executor,
    tags=DAILY.tags,
    description="Replays a day's closed candles through the backtest and holds what live did against it.",
)

reports = dg.define_asset_job(
    "reports",
    selection=dg.AssetSelection.assets("walk_forward_report"),
    executor_def=dg.in_process_executor,
    tags=DAILY.tags,
    description="Draws the walk-forward report again. Its range stands in the launchpad; by default every hour that "
    "has selections. The page is linked in the metadata of walk_forward_report.",
)


performance = dg.define_asset_job(
    "performance",
    selection=dg.AssetSelection.assets("performance_report"),
    executor_def=dg.in_process_executor,
    tags=DAILY.tags,
    description="Draws the performance report again: what was really traded, beside the walk-forward of the same "
    "hours. Its range stands in the launchpad; by default from the first executed signal on.",
)


@dg.job(
    executor_def=dg.in_process_executor,
    tags=TRADE.tags | TRADING,
    description="Trades the newest selection: one order a signal, with stops attached, however often this job runs. "
    "A session lives until the next selection and decides the moment a candle closes; cancel it and trading stops. A "
    "run in once mode decides on the newest closed candles and ends.",
)
def trade() -> None:
    session, once = choose_mode()
    trade_session(account=session)
    submit_orders(may_execute=find_entry_signals(account=once), account=once)


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RECONCILE.tags | TRADING,
    description="Brings the exchange's books into the ledger: fills, positions, closings, balance, open questions.",
)
def reconcile() -> None:
    reconcile_account()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RECONCILE.tags | TRADING,
    description="Looks after the account's grids once: books what was filled, places, cancels, sets stops. A session "
    "does it by itself; while it does, or another run, this one does nothing.",
)
def maintain_grids() -> None:
    keep_grids()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RECONCILE.tags | TRADING,
    description="Looks after the account's DCA plans once: buys what is due, books what was filled, sets stops and "
    "targets. A session does it by itself; while it does, or another run, this one does nothing.",
)
def maintain_dca() -> None:
    keep_dca()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=DAILY.tags,
    description="Deletes runs, rows and candles that are older than the settings say. Orders, fills and what they came "
    "from stay. Set `dry_run: true` in the launchpad to see first what would go.",
)
def retention() -> None:
    delete_what_is_old()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=DAILY.tags,
    description="Seals backtests of days that ended long enough ago: from SQL into a Parquet file a day. Those "
    "selected or traded stay in SQL, too. May run at any time, beside anything.",
)
def seal() -> None:
    seal_old_results()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    description="Opens nothing and rejects waiting signals from now on, until `resume`. Open positions keep their "
    "stops. Give the reason in the launchpad.",
)
def halt() -> None:
    halt_trading()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    description="Opens no new position from now on, until `resume`; waiting signals wait for the rest of their life.",
)
def reduce() -> None:
    reduce_trading()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    config={"ops": {"resume_trading": {"config": {"confirmation": "", "reason": "no reason given"}}}},
    description="Trades again after `halt`, `reduce` or a limit of loss; a loss that had halted trading is accepted "
    "and counted anew from now on. Needs the code of `trading-assets confirm resume` in the launchpad.",
)
def resume() -> None:
    resume_trading()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    config={"ops": {"close_all_positions": {"config": {"confirmation": "", "reason": "flatten", "foreign": False}}}},
    description="Halts trading and closes every position of ours at the market, reduce-only; positions opened by "
    "others are left alone and named. Needs the code of `trading-assets confirm flatten` in the launchpad. May be "
    "started again at any time.",
)
def flatten() -> None:
    close_all_positions()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=MANUAL.tags,
    description="Checks a strategy for look-ahead and warm-up, then backtests and trades it from the next hour on. "
    "What looks ahead is refused. Give its name in the launchpad; `dry_run: true` checks alone.",
)
def start_strategy() -> None:
    check_and_start()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    description="Opens nothing more with a strategy from now on; open positions keep their stops. Give its name in the "
    "launchpad.",
)
def stop_strategy() -> None:
    switch_off()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    description="Changes what a strategy is tried on and with, from the next hour on: parameters, grid, pairs, "
    "timeframes. Set `dry_run: true` in the launchpad to see first what would change.",
)
def set_strategy() -> None:
    change_row()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    description="Changes a setting while the system runs, for every account or one: limits, sizes, presets. What must "
    "not change is refused with the reason. The history has who and why: trading-assets config history.",
)
def set_setting() -> None:
    change_setting()


@dg.job(
    executor_def=dg.in_process_executor,
    tags=RISK.tags | TRADING,
    description="Turns a flag on, off, or on for a part of the symbols, for every account or one.",
)
def set_flag() -> None:
    change_flag()


LIVE_JOBS = (set_setting, set_flag)

STRATEGY_JOBS = (start_strategy, stop_strategy, set_strategy)

RISK_JOBS = (halt, reduce, resume, flatten)
