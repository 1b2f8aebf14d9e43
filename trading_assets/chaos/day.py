"""`trading-assets chaos day`: the whole system through hours of market in haste, while it is killed and the exchange
fails. Nobody helps it; at the end ledger and exchange are held against each other.

The trial plays the machine (which restarts what has ended), misfortune, and a human who takes stops away.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import requests
import sqlalchemy as sa

from trading_assets.chaos.day_report import FIGURES, DayReport
from trading_assets.chaos.dca_trial import Pace
from trading_assets.chaos.faults import (
    GROWING,
    WILD,
    FaultInjector,
    Wildness,
    some_faults,
    some_lags,
    some_market_faults,
    some_odd_rows,
)
from trading_assets.chaos.findings import Findings
from trading_assets.chaos.hands import Hands
from trading_assets.chaos.installation import Installation, Runs, installed
from trading_assets.chaos.invariants import compare_all
from trading_assets.chaos.kept_apart import KeptApart
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.truth import Truth
from trading_assets.chaos.watch import Watch
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import ContractKind, Instrument, Rows
from trading_assets.core.ports import Exchange
from trading_assets.core.private_files import used_bytes
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, iso
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import closings, entry_signals, risk_events, strategies
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.venues import open_exchange

START_MS = 1_772_409_660_000
"""2026-03-02 00:01 UTC: where the market begins."""

SETTINGS: Mapping[str, object] = {
    "SIMULATOR_SYMBOLS": 40,
    "MAX_SYMBOLS": 24,
    "REQUEST_TIMEOUT_S": 3,
    # Takes more coins: more orders to be lost.
    "SELECTION_PRESET": "volume_loose",
    # A signal is seconds old when its market is minutes on; pauses would only leave less to be tried.
    "MAX_PRICE_DEVIATION_PCT": 5,
    "MAX_SPREAD_PCT": 1,
    "COOLDOWN_AFTER_STOP_S": 0,
    "PAUSE_AFTER_STOPS_S": 0,
    "WEAK_SYMBOL_HOURS": 0,
    # Grids and DCA plans take places and margin beside the signals.
    "SIMULATOR_DEPOSIT": 100_000,
    "MAX_POSITIONS": 20,
}

TIMEFRAMES = ("3m", "5m", "15m")
"""All strategies are tried on these alone: candles close often, so there are orders to be lost."""

KILL_EVERY_MS = 40 * MINUTE_MS
FAULTS_EVERY_MS = 20 * MINUTE_MS
MANUAL_TRADE_EVERY_MS = 60 * MINUTE_MS
HANDS_EVERY_MS = 6 * MINUTE_MS
PLANS_EVERY_MS = 5 * MINUTE_MS
"""On average, in market time; `HANDS_EVERY_MS` of a person who trades beside the system, `PLANS_EVERY_MS` of one who
starts grids and DCA plans and tells them something."""

PACE = Pace(("every 15m", "every 25m", "*/20 * * * *"), grace_s=1200)
"""Of DCA plans: a session looks every ten minutes of the market, and is away for longer where it dies."""

TARGETS: Mapping[str, int] = {"session": 8, "exchange": 6, "worker": 3, "daemon": 2, "everything": 2}
"""How often each of them dies, in proportion. `worker` is a run of research or reconcile, `daemon` leaves its runs
behind, `everything` is the machine."""

SLEEPS_S = 40.0
"""A session that falls asleep wakes after its lease has run out, when another one may trade."""

TICK_S = 0.25
STOPS_EVERY_S = 1.0
TELL_EVERY_S = 5.0
RECOVERS_WITHIN_S = 180.0
BEGINS_WITHIN_S = 1200.0
COMPARISONS = 3
OTHERS = 3
"""Contracts that only the person trades."""


def run_day(
    hours: float,
    speed: float,
    seed: int,
    open_runs: Callable[[], Runs],
    tell: Callable[[str], None],
    *,
    wild: Wildness = WILD,
) -> DayReport:
    """Live through `hours` of market at `speed`, from the first session on. The temporary home is kept where something
    is broken.

    Args:
        open_runs: opens the scheduler's books of the instance that `DAGSTER_HOME` names.
        tell: takes a line of progress every few seconds.

    Raises:
        ExchangeUnavailableError: the embedded exchange does not start, or no session begins.
    """
    folder = Path(tempfile.mkdtemp(prefix="trading-assets-day-"))
    values = {**SETTINGS, "SIMULATOR_SEED": seed}
    report = DayReport(seed, hours, speed, home=str(folder))
    with installed(folder, values, start_ms=START_MS, speed=speed) as one:
        runs = open_runs()
        try:
            _Day(one, runs, report, tell, wild).run()
        finally:
            runs.close()
    if not report.broken:
        shutil.rmtree(folder, ignore_errors=True)
    return report


class _Day:
    """One trial: it waits for the first session, lets misfortune happen, stops trading, compares."""

    def __init__(
        self, one: Installation, runs: Runs, report: DayReport, tell: Callable[[str], None], wild: Wildness
    ) -> None:
        self._one, self._runs, self._report, self._tell, self._wild = one, runs, report, tell, wild
        self._chance = random.Random(report.seed)
        self._database = Database(one.settings.resolved_database_url)
        seed_registry(self._database)
        with self._database.write() as connection:
            connection.execute(sa.update(strategies).values(timeframes=json.dumps(TIMEFRAMES)))
        self._exchange: Exchange = open_exchange(one.settings)
        self._watch = Watch(self._database, self._exchange, one.settings.account, runs.pid_of)
        self._faults, self._manual_trader = FaultInjector(one.url), ManualTrader(one.url)
        listed = [row for row in self._exchange.instruments() if row.settle_coin == "USDT"]
        tickers = self._exchange.tickers()
        listed.sort(key=lambda row: tickers[row.symbol].turnover_24h)  # research leaves out those with the least
        others = listed[:OTHERS]
        self._apart = KeptApart(
            self._exchange,
            self._database,
            one.settings.account,
            [row for row in reversed(listed[OTHERS:]) if row.kind is ContractKind.PERPETUAL],
            self._manual_trader,
            self._chance,
            report.seed,
            self._context,
            PACE,
        )
        self._truth = Truth(self._exchange.order_ids, of_grids=self._apart.symbols)
        self._hands = self._person(listed, others) if wild.hands else None
        self._began, self._began_ms = time.monotonic(), self._exchange.now_ms()
        self._next = {"stops": 0.0, "tell": 0.0}
        self._asleep: tuple[int, float] | None = None
        self._ended_ms = START_MS

    def _context(self) -> ExecutionContext:
        """The driver's own: for what a person commands, and for the passes at the end."""
        return ExecutionContext(self._database, self._exchange, self._one.settings)

    def _person(self, listed: Sequence[Instrument], others: Sequence[Instrument]) -> Hands:
        """Somebody who trades, besides, the contracts with the least turnover."""
        names = [row.symbol for row in others]
        self._truth.hedged.add(names[0])
        everything = {row.symbol: row for row in listed if row.symbol not in self._apart.symbols}
        hands = Hands(
            self._manual_trader, self._exchange, everything, everything.keys() - names, names, names[0], self._chance
        )
        hands.begin()
        return hands

    def run(self) -> None:
        self._one.daemon.start()
        self._wait_for_session()
        # On a loaded machine hours of the market go by before: the trial has its own hours all the same.
        self._report.seconds_to_first_session = round(time.monotonic() - self._began, 1)
        end_ms = self._market_ms() + round(self._report.hours * HOUR_MS)
        plan = {
            self._misfortune: KILL_EVERY_MS,
            self._break_exchange: FAULTS_EVERY_MS,
            self._meddle: MANUAL_TRADE_EVERY_MS,
            self._plan: PLANS_EVERY_MS,
        }
        if self._hands is not None:
            plan[self._trade_by_hand] = HANDS_EVERY_MS
        if self._wild.traders > 1:
            plan[self._fall_asleep] = KILL_EVERY_MS
        due = {act: self._market_ms() + self._after(every) for act, every in plan.items()}
        while (now_ms := self._market_ms()) < end_ms:
            for act, every in plan.items():
                if now_ms >= due[act]:
                    act()
                    due[act] = self._market_ms() + self._after(every)
            self._tick()
        self._ended_ms = end_ms
        self._recover()
        self._finish()

    def _market_ms(self) -> int:
        """The exchange's clock runs on while the exchange is dead, so it is not asked."""
        return self._began_ms + round((time.monotonic() - self._began) * 1000 * self._report.speed)

    def _after(self, mean_ms: int) -> int:
        return round(mean_ms * self._chance.uniform(0.2, 1.8))

    def _tick(self) -> None:
        self._one.supervise()
        if self._asleep is not None and time.monotonic() >= self._asleep[1]:
            self._wake()
        live = self._watch.look_at_session()
        if self._is_time("stops", STOPS_EVERY_S) and self._one.exchange.is_running:
            self._watch.look_at_stops()
        if self._is_time("tell", TELL_EVERY_S):
            self._tell(self._line(live))
        time.sleep(TICK_S)

    def _is_time(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._next[what]:
            return False
        self._next[what] = now + every_s
        return True

    def _line(self, live: bool) -> str:
        with self._database.read() as connection:
            by_status = _counts(connection, entry_signals.c.status)
            closed = connection.execute(sa.select(sa.func.count()).select_from(closings)).scalar_one()
        return (
            f"{iso(self._market_ms())[:16]}  {sum(self._report.kills.values())} kills, "
            f"{by_status.get(signals.EXECUTED, 0)} orders of {sum(by_status.values())} signals, {closed} closings, "
            f"{len(self._watch.sessions)} sessions, {'one' if live else 'none'} lives, "
            f"{len(self._runs.succeeded_partitions('research'))} hours researched"
        )

    def _wait_for_session(self) -> None:
        deadline = time.monotonic() + BEGINS_WITHIN_S
        while not self._watch.sessions:
            if time.monotonic() > deadline:
                raise TradingAssetsError(
                    f"no session began within {BEGINS_WITHIN_S:.0f} s; see {self._one.folder}, failed runs: "
                    f"{self._runs.failures()}"
                )
            self._tick()

    # Misfortune

    def _misfortune(self) -> None:
        target = self._chance.choices(list(TARGETS), list(TARGETS.values()))[0]
        if self._kill(target):
            self._report.kills[target] = self._report.kills.get(target, 0) + 1

    def _kill(self, target: str) -> bool:
        match target:
            case "session":
                return _kill_process(self._watch.session())
            case "worker":
                working = self._runs.live_pids("research", "reconcile")
                return _kill_process(self._chance.choice(working) if working else None)
            case "daemon":
                return self._one.daemon.kill(with_children=False)
            case "exchange":
                self._lift()
                return self._one.exchange.kill(with_children=True)
            case _:
                self._lift()
                killed = self._one.daemon.kill(with_children=True)
                for process in self._one.strays():
                    _kill_process(process.pid)
                return self._one.exchange.kill(with_children=True) and killed

    def _fall_asleep(self) -> None:
        """The session's process stands still, as on a machine that sleeps; its lease runs out meanwhile."""
        pid = self._watch.session()
        if self._asleep is not None or pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._asleep = (pid, time.monotonic() + SLEEPS_S)
            self._report.slept += 1

    def _wake(self) -> None:
        if self._asleep is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._asleep[0], signal.SIGCONT)
            self._asleep = None

    def _break_exchange(self) -> None:
        self._lift()
        if self._chance.random() < 0.3:
            return  # for once it works
        with contextlib.suppress(requests.RequestException):
            rules = [*some_faults(self._chance), *some_market_faults(self._chance)]
            if self._wild.lag:
                rules += [*some_lags(self._chance), dict(GROWING)]
            if self._wild.odd_rows:
                rules += some_odd_rows(self._chance, [row.symbol for row in self._exchange.positions()] or ["*"])
            self._faults.arm(rules)

    def _lift(self) -> None:
        with contextlib.suppress(requests.RequestException):
            self._faults.lift()

    def _meddle(self) -> None:
        """A human closes a position or takes its stop away; on an exchange that works just now."""
        self._lift()
        with contextlib.suppress(Exception):  # the exchange may be dead, or the position's stop quicker
            held = self._exchange.positions()
            self._truth.feed(self._exchange.executions(START_MS - HOUR_MS, self._exchange.now_ms() + 1))
            held = Rows(each for each in held if each.stop_loss is not None and self._truth.left(each.symbol))
            if not held:
                return
            one = self._chance.choice(held)
            if self._chance.random() < 0.3:
                self._manual_trader.close(one)
                self._report.closed_by_hand += 1
            else:
                self._manual_trader.take_stops(one.symbol)
                self._report.stops_taken += 1

    def _plan(self) -> None:
        """A person starts grids and DCA plans, tells them something, and meddles; while the exchange works just now."""
        self._lift()
        with contextlib.suppress(Exception):  # the exchange may be dead, or the market quicker
            self._apart.prepare("")
            if self._wild.hands and self._chance.random() < 0.3:
                self._apart.meddle()

    def _trade_by_hand(self) -> None:
        """A person trades beside the system, the same contracts and others, on an exchange that works just now."""
        if self._hands is None:
            return
        self._lift()
        with contextlib.suppress(Exception):  # the exchange may be dead, or the market quicker
            held = [each for each in self._exchange.positions() if each.symbol not in self._apart.symbols]
            self._truth.feed(self._exchange.executions(START_MS - HOUR_MS, self._exchange.now_ms() + 1))
            self._hands.act(held, self._truth)
            self._hands.tidy(held, self._truth)

    # The end

    def _recover(self) -> None:
        """No more misfortune, no more trading; until the system itself says that its books are in order."""
        self._lift()
        self._wake()
        began = time.monotonic()
        while not self._one.exchange_answers() and time.monotonic() < began + RECOVERS_WITHIN_S:
            self._tick()
        account, halted_ms = self._one.settings.account, self._exchange.now_ms()
        risk_guard.command(
            self._database, account, RiskState.HALTED, reason="the trial ends", actor="chaos day", now_ms=halted_ms
        )
        while time.monotonic() < began + RECOVERS_WITHIN_S:
            self._tick()
            read_ms = account_ledger.reconciled_until_ms(self._database, account) or 0
            settled = not orders.unresolved(self._database, account) and not signals.active(self._database, account)
            if read_ms > halted_ms and settled and self._watch.look_at_session():
                break
        else:
            self._broken("mismatches", f"it had not recovered {RECOVERS_WITHIN_S:.0f} s after the last fault")
        self._report.recovered_in_seconds = round(time.monotonic() - began, 1)

    def _finish(self) -> None:
        report, watch, one = self._report, self._watch, self._one
        report.seconds = round(time.monotonic() - self._began, 1)
        report.hours_expected = (self._ended_ms - START_MS) // HOUR_MS + 1
        report.hours_researched = len(self._runs.succeeded_partitions("research"))
        watch.without_session.end(time.monotonic())
        one.daemon.stop()
        one.slow_down()
        self._compare()
        report.runs, report.failed_runs = self._runs.counts(), self._runs.failures()
        report.dagster_events, report.faults = self._runs.events(), self._faults.fired
        report.restarts = {each.name: each.starts - 1 for each in (one.exchange, one.daemon)}
        report.sessions, report.session_gaps = len(watch.sessions), watch.without_session.count
        report.seconds_without_session = round(watch.without_session.total_s, 1)
        report.longest_gap_seconds = round(watch.without_session.longest_s, 1)
        report.unprotected_seconds_max = round(watch.unprotected_longest_s, 1)
        report.unprotected_seconds_max_of_market = round(watch.unprotected_longest_s * report.speed, 1)
        with self._database.read() as connection:
            report.signals = _counts(connection, entry_signals.c.status)
            report.closings = _counts(connection, closings.c.reason)
            report.risk_events = connection.execute(sa.select(sa.func.count()).select_from(risk_events)).scalar_one()
        report.disk_mb = {child.name: round(used_bytes(child) / 1e6, 1) for child in sorted(one.folder.iterdir())}
        self._database.close()

    def _compare(self) -> None:
        """What the last pass of the reconciler still has to repair counts, too: the system had its time for it."""
        settings, found = self._one.settings, Findings()
        context = ExecutionContext(self._database, self._exchange, settings)
        for attempt in range(COMPARISONS):
            report = reconcile(context)
            if attempt == 0:
                self._report.left_to_repair = len(report.repaired) + report.recovered
                # What a person has left is told as long as it is there; whether rightly, the comparison says.
                told = [] if self._wild.hands else [text for _, text in report.differences]
                for text in [*report.repaired, *told]:
                    self._broken("mismatches", f"left to the last pass: {text}")
            self._truth.feed(self._exchange.executions(START_MS - HOUR_MS, self._exchange.now_ms() + 1))
            moved = {}
            if self._hands is not None:
                self._hands.forget(self._exchange.positions(), self._truth)
                moved = self._hands.moved
            found = compare_all(
                self._database,
                self._exchange,
                settings.account,
                START_MS - HOUR_MS,
                settings.simulator_deposit,
                hedged=self._truth.hedged,
                moved=moved,
                of_grids=self._apart.symbols,
            )
            self._report.open_positions = report.open_positions
            if not found.broken:
                break  # a stop may have been reached between the pass and the comparison
        self._report.orders = len(found.entries)
        by_hand = Counter(self._hands.acts) if self._hands is not None else Counter[str]()
        self._report.by_hand = dict(by_hand + self._apart.acts)
        for name, value in self._apart.figures(START_MS - HOUR_MS).items():
            setattr(self._report, name, value)
        for each in (found, *self._apart.settle()):
            for name, figure in FIGURES.items():
                for text in getattr(each, name):
                    self._broken(figure, text)

    def _broken(self, name: str, text: str) -> None:
        setattr(self._report, name, getattr(self._report, name) + 1)
        self._report.broken.append(text)


def _counts(connection: sa.Connection, column: sa.Column[str]) -> dict[str, int]:
    rows = connection.execute(sa.select(column, sa.func.count()).group_by(column))
    return {str(value): int(count) for value, count in rows}


def _kill_process(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
