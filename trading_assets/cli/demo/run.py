"""The demo's walk through the hours: advance the clock, research, trade, reconcile, with the jobs of the UI.

What is launched and when, the pure decisions of `trading.automation` say, as in the sensors.
"""

from __future__ import annotations

import shlex
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pandas as pd
import requests

from trading_assets.backtesting.kernel.kernel_engine import warm_up
from trading_assets.backtesting.run import configurations
from trading_assets.cli.console import open_console
from trading_assets.cli.demo.home import prepare_home
from trading_assets.cli.demo.report import Report
from trading_assets.cli.status import POSITION_COLUMNS
from trading_assets.core.schemas import BACKTEST_RESULTS, CANDLE_COVERAGE, MARKET_SCAN, STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, as_of_ms, iso
from trading_assets.defs.partitions import key_of
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, orders, signals
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.launcher import ensure_running
from trading_assets.trading.automation import Launch, decide_reconcile, decide_trade

START_MS = 1_772_413_200_000
"""2026-03-02 01:00 UTC: the end of the first hour of the demo's market."""

STEP_MS = 5 * MINUTE_MS
"""How far the clock is advanced between two looks for signals."""

AFTER_CLOSE_MS = 5_000
"""The clock stops so long after a candle's end: the exchange has settled it, the signal is fresh."""

LONGEST_WAIT_HOURS = 12
"""After the last researched hour the market goes on at most so long, until a position has closed."""

_QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}

_STAGES = {
    "market_scan": "scan",
    "candles": "candles",
    "funding_rates": "candles",
    "backtest_results": "backtests",
    "strategy_selections": "selection",
    "grid_results": "selection",
    "grid_selections": "selection",
}


@dataclass
class _Walk:
    """The state of one demo."""

    settings: Settings
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    database: Database
    report: Report
    url: str
    now_ms: int = START_MS
    handled_ms: int = 0
    reconciled_ms: int | None = None
    timeframes: list[str] = field(default_factory=list)
    hour_ms: int = 0

    def advance_to(self, time_ms: int) -> None:
        """Move the exchange's clock; the market and the account follow."""
        answer = requests.post(f"{self.url}/admin/clock", json={"set_ms": time_ms}, timeout=60)
        answer.raise_for_status()
        self.now_ms = time_ms

    def run(self, job: str, partition_key: str | None = None) -> None:
        """Run a job in this process and add each step's time to its stage."""
        run_id = str(uuid.uuid4())
        self.instance.add_event_listener(run_id, lambda entry: self._follow(job, entry))
        self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_id=run_id, run_config=_QUIET, partition_key=partition_key
        )

    def _follow(self, job: str, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            return
        asset = "" if event.step_key.endswith("SCHEMA") else event.step_key.split("__")[0]
        stage = _STAGES.get(asset, "checks" if job == "research" else job)
        if event.event_type is dg.DagsterEventType.STEP_START:
            self.report.progress(f"{iso(self.now_ms)[:16].replace('T', ' ')}  {event.step_key.replace('__', '/')}")
        elif event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            self.report.add_time(stage, event.step_success_data.duration_ms / 1000)


def run_demo(*, hours: int, as_json: bool, home: Path | None) -> None:
    """Walk through `hours` hours, and on until a position has closed; print what happened.

    Raises:
        ConfigurationError: `home` is not a demo's directory.
        ExchangeUnavailableError: the embedded exchange cannot be started.
    """
    began = time.monotonic()
    report = Report(open_console())
    settings = prepare_home(home)
    warnings.filterwarnings("ignore", module="dagster.*")
    threading.Thread(target=warm_up, daemon=True).start()
    report.say(
        ("trading_assets demo", "bold"), f": {hours} hours of a seeded market on the embedded exchange, offline."
    )
    report.say("The market is random noise: nothing in it can be foreseen, and whatever a strategy earns here is luck.")
    report.say(f"State: {settings.home}")
    report.say()
    with _open_walk(settings, report) as walk:
        for number in range(1, hours + 1):
            _research(walk, START_MS + (number - 2) * HOUR_MS, number, hours)
            _trade_until(walk, walk.now_ms + HOUR_MS, lambda: False)
        if not _closed(walk):
            report.say("No position has closed yet: the market goes on.")
            _trade_until(walk, walk.now_ms + LONGEST_WAIT_HOURS * HOUR_MS, lambda: _closed(walk) > 0)
        _reconcile(walk)
        report.counts.seconds = round(time.monotonic() - began, 1)
        _summary(walk)
    report.say("The same on the live page: trading-assets --home ", shlex.quote(str(settings.home)), " dashboard")
    report.finish(as_json)


@contextmanager
def _open_walk(settings: Settings, report: Report) -> Iterator[_Walk]:
    """Start the exchange with a clock moved by hand and load the definitions; stop it in the end."""
    with report.working("starting the embedded exchange"), report.timed("start-up"):
        url = ensure_running(settings, clock=ClockSpec(ClockMode.MANUAL, start_ms=START_MS + AFTER_CLOSE_MS))
        # The definitions read the settings that `prepare_home` has just put in place.
        from trading_assets.definitions import build_definitions  # noqa: PLC0415

        definitions = build_definitions()
    try:
        # In memory: writing every event to disk would take a third of the demo's time.
        with dg.DagsterInstance.ephemeral() as instance:
            yield _Walk(
                settings=settings,
                instance=instance,
                definitions=definitions,
                database=Database.of(settings),
                report=report,
                url=url,
                now_ms=START_MS + AFTER_CLOSE_MS,
            )
    finally:
        requests.post(f"{url}/admin/stop", timeout=10)


def _research(walk: _Walk, hour_ms: int, number: int, hours: int) -> None:
    before = dict(walk.report.stage_seconds)
    with walk.report.working(f"hour {number} of {hours}"):
        walk.run("research", partition_key=key_of(hour_ms))
    took = {
        stage: walk.report.stage_seconds[stage] - before.get(stage, 0.0)
        for stage in dict.fromkeys((*_STAGES.values(), "checks"))
    }
    counts = walk.report.counts
    scanned = read_partitions(walk.database, MARKET_SCAN, [hour_ms])
    coverage = read_partitions(walk.database, CANDLE_COVERAGE, [hour_ms])
    backtests = read_partitions(walk.database, BACKTEST_RESULTS, [hour_ms])
    selections = read_partitions(walk.database, STRATEGY_SELECTIONS, [hour_ms])
    counts.scanned += len(scanned)
    counts.candles += int(coverage["bars"].sum())
    tried = configurations(backtests)
    counts.backtests += tried
    counts.selections += len(selections)
    walk.timeframes, walk.hour_ms = selections["timeframe"].tolist(), hour_ms
    walk.report.say(
        (iso(as_of_ms(hour_ms))[:16].replace("T", " "), "bold"),
        f"  hour {number} of {hours}: {len(scanned)} coins, {coverage['bars'].sum():,} candles, {tried:,} backtests, "
        f"{len(backtests)} chosen in sample -> {len(selections)} selected",
    )
    walk.report.say("  ", (", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in took.items()), "dim"))


def _trade_until(walk: _Walk, end_ms: int, enough: Callable[[], bool]) -> None:
    """Advance in steps; at each, launch what the sensors would launch."""
    while walk.now_ms < end_ms and not enough():
        walk.advance_to(min(walk.now_ms + STEP_MS, end_ms))
        with walk.report.working(f"trading at {iso(walk.now_ms)}"):
            _look(walk)


def _look(walk: _Walk) -> None:
    account = walk.settings.account
    decision = decide_trade(
        now_ms=walk.now_ms,
        selected_ms=walk.hour_ms,
        timeframes=walk.timeframes,
        handled_ms=walk.handled_ms,
        waiting_signals=len(signals.active(walk.database, account)),
        run_in_progress=False,
    )
    if isinstance(decision, Launch):
        walk.handled_ms = decision.close_ms
        before = {intent.order_link_id for intent in orders.occupying(walk.database, account)}
        walk.run("trade")
        for intent in orders.occupying(walk.database, account):
            if intent.order_link_id not in before:
                walk.report.say(
                    f"  {iso(walk.now_ms)[11:16]}  ",
                    ("order", "green"),
                    f"  {intent.side.value} {intent.qty} {intent.symbol}  stop {intent.stop_loss}  ",
                    f"target {intent.take_profit}  ",
                    (intent.signal_id, "dim"),
                )
    occupied = orders.occupying(walk.database, account)
    unresolved = [intent for intent in occupied if intent.status in orders.UNRESOLVED]
    due = decide_reconcile(
        now_ms=walk.now_ms,
        reconciled_ms=walk.reconciled_ms,
        open_positions=len(occupied) - len(unresolved),
        unresolved=len(unresolved),
        run_in_progress=False,
    )
    if isinstance(due, Launch):
        _reconcile(walk)


def _reconcile(walk: _Walk) -> None:
    known = _closed(walk)
    walk.run("reconcile")
    walk.reconciled_ms = walk.now_ms
    for row in execution_ledger.closing_rows(walk.database, walk.settings.account).iloc[known:].to_dict("records"):
        colour = "green" if row["pnl"] > 0 else "red"
        walk.report.say(
            f"  {iso(int(row['closed_ms']))[11:16]}  ",
            ("closed", colour),
            f" {row['position_side']} {row['symbol']} at its {row['reason']}  ",
            f"{row['entry_price']:g} -> {row['exit_price']:g}  PnL {row['pnl']:+.2f} USD",
        )


def _closed(walk: _Walk) -> int:
    return len(execution_ledger.closing_rows(walk.database, walk.settings.account))


def _summary(walk: _Walk) -> None:
    account, database, report = walk.settings.account, walk.database, walk.report
    selections = read_partitions(database, STRATEGY_SELECTIONS, [walk.hour_ms])
    found = signals.since(database, account, 0)
    executed = found[found["status"] == signals.EXECUTED]
    closings = execution_ledger.closing_rows(database, account)
    counts = report.counts
    counts.signals, counts.orders, counts.closed = len(found), len(executed), len(closings)
    report.say()
    report.frame(
        f"Selections as of {iso(as_of_ms(walk.hour_ms))}: backtests in sample",
        selections.sort_values("score", ascending=False),
        {
            "symbol": "coin",
            "timeframe": "timeframe",
            "strategy": "strategy",
            "score": "score",
            "total_trades": "trades",
            "win_rate": "win %",
            "profit_factor": "profit factor",
            "total_pnl": "PnL $",
        },
    )
    report.say(
        "These backtests are in sample: the best of many tries on the same candles, in a market of noise. They promise "
        "nothing; what was traded afterwards stands below."
    )
    columns = {
        "signal_timestamp_ms": "candle closed",
        "symbol": "coin",
        "timeframe": "timeframe",
        "strategy": "strategy",
        "position_type": "side",
        "confidence": "confidence",
        "status": "status",
        "reason": "why not",
    }
    report.frame("Signals", found.sort_values("signal_timestamp_ms"), columns)
    columns = {
        "signal_timestamp_ms": "candle closed",
        "symbol": "coin",
        "position_type": "side",
        "entry_price": "signal at",
        "executed_price": "filled at",
        "stop_loss": "stop",
        "take_profit": "target",
    }
    report.frame("Orders with their stops", executed.sort_values("signal_timestamp_ms"), columns)
    report.frame("Open positions", account_ledger.position_rows(database, account), POSITION_COLUMNS)
    columns = {
        "closed_ms": "closed",
        "symbol": "coin",
        "position_side": "side",
        "reason": "by",
        "entry_price": "entry",
        "exit_price": "exit",
        "pnl": "PnL $",
    }
    report.frame("Closings", closings, columns)
    equity = balance.equity_rows(database, account)
    report.stages()
    report.say(
        f"Equity {_money(equity, 0)} -> {_money(equity, -1)} USD. Next: ", ("make dev", "bold"), ", and open the UI."
    )


def _money(equity: pd.DataFrame, row: int) -> str:
    return f"{equity['equity'].iloc[row]:,.2f}"
