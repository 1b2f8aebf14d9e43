"""`trading-assets chaos orders`: traders are killed at every step of an order and at random, on an exchange that fails.

The driver plays everybody else: it gives signals, breaks the exchange, closes positions by hand, takes stops away,
starts the next trader, and holds ledger and exchange against each other when that one is done.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import requests
import sqlalchemy as sa

from trading_assets.chaos.faults import REFUSED_STOPS, FaultInjector, some_faults
from trading_assets.chaos.invariants import Foreign, compare
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.signal_source import give_signal
from trading_assets.chaos.worker import WorkerPlan, WorkerSite, connect, run_worker
from trading_assets.core.models import ContractKind, ContractStatus, Instrument, OrderPurpose, Position
from trading_assets.core.settings import Settings
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import order_intents
from trading_assets.simulator.launcher import ensure_running
from trading_assets.trading.saga import steps
from trading_assets.trading.saga.transitions import Step

SYMBOLS = 16
POINTS = tuple(f"{edge} {step}" for step in Step for edge in ("before", "after"))
"""Where a trader kills itself, in turn."""

MAX_OPEN = 8
_AGE_MS = steps.RECOVER_AFTER_MS + 5_000
"""The clock of each next trader is so much farther on, as if it were started so much later."""

_REFUSED = frozenset(f"{edge} {Step.EXIT}" for edge in ("before", "after"))
_BARE = _REFUSED | {f"{edge} {Step.ATTACH}" for edge in ("before", "after")}

Progress = Callable[[int], None]


@dataclass
class ChaosReport:
    """What happened and what was found broken; `broken` has a sentence for each finding.

    `unprotected_seconds_max` counts from the fill (or the loss of a stop) to the new stop or the exit, the time in
    which no trader lived included.
    """

    seed: int
    intents: int = 0
    kills: int = 0
    kills_at_steps: int = 0
    steps_killed_at: int = 0
    faults: int = 0
    orders: int = 0
    duplicates: int = 0
    orphans: int = 0
    unprotected_positions: int = 0
    unprotected_seconds_max: float = 0.0
    mismatches: int = 0
    foreign_touched: int = 0
    stops_lost: int = 0
    closed_by_hand: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)


def run_chaos(kills: int, seed: int, progress: Progress = lambda _done: None) -> ChaosReport:
    """Kill traders until `kills` have died; the embedded exchange and the ledger live in a temporary folder.

    Raises:
        ExchangeUnavailableError: the embedded exchange does not start.
        WorkerBrokeError: a trader ended by an error of its own.
    """
    with tempfile.TemporaryDirectory(prefix="trading-assets-chaos-") as folder:
        settings = _settings(Path(folder), seed)
        url = ensure_running(settings)
        try:
            place = WorkerSite(settings, url, Path(folder) / "worker.log", Database(settings.resolved_database_url))
            seed_registry(place.database)
            return _Trial(place, kills, seed).run(progress)
        finally:
            requests.post(f"{url}/admin/stop", timeout=5, proxies={"http": ""})


def _settings(home: Path, seed: int) -> Settings:
    """Every gate stands open: what is tried here comes after them."""
    return Settings(
        _env_file=None,
        home=home,
        simulator_seed=seed,
        simulator_symbols=SYMBOLS,
        simulator_deposit=Decimal(1_000_000),
        simulator_idle_stop_s=120,
        max_positions=100,
        max_price_deviation_pct=Decimal(50),
        max_spread_pct=Decimal(50),
        min_entry_volume=Decimal(0),
        max_daily_loss_pct=100,
        max_drawdown_pct=100,
        max_symbol_exposure_pct=Decimal(10_000),
        max_total_exposure_pct=Decimal(10_000),
        cooldown_after_stop_s=0,
        pause_after_stops_s=0,
        weak_symbol_hours=0,
    )


class _Trial:
    """One run: rounds of signals, deaths, what happens meanwhile, recovery, and the comparison."""

    def __init__(self, place: WorkerSite, kills: int, seed: int) -> None:
        self._site, self._wanted, self._chance = place, kills, random.Random(seed)
        self._report = ChaosReport(seed)
        self._exchange = connect(place)
        self._database = Database(place.settings.resolved_database_url)
        self._faults, self._manual_trader = FaultInjector(place.exchange_url), ManualTrader(place.exchange_url)
        self._ahead_ms, self._rounds, self._entries = 0, 0, set[str]()
        self._due, self._died_at = deque(POINTS), set[str]()
        self._usual_s = 0.1
        """how long a life takes that ends by itself"""
        traded = (row for row in self._exchange.instruments() if row.status is ContractStatus.TRADING)
        listed = [row for row in traded if row.settle_coin == "USDT"]
        perpetual = sorted((row for row in listed if row.kind is ContractKind.PERPETUAL), key=lambda row: row.symbol)
        self._symbols: Mapping[str, Instrument] = {row.symbol: row for row in perpetual[2:]}
        self._foreign = self._open_foreign(perpetual[:2], perpetual[2])
        for symbol in list(self._symbols)[:3]:
            give_signal(self._database, self._exchange, self._symbols[symbol], place.settings, self._chance)
        place.warm()

    def run(self, progress: Progress) -> ChaosReport:
        """Rounds until enough traders have died; not every one dies, as its step may not come."""
        began, report = time.monotonic(), self._report
        for _ in range(4 * self._wanted + 40):
            if report.kills >= self._wanted:
                break
            self._round()
            progress(min(report.kills, self._wanted))
        report.faults, report.orders = self._faults.fired, len(self._entries)
        report.steps_killed_at = len(self._died_at)
        with self._database.read() as connection:
            report.intents = connection.execute(sa.select(sa.func.count()).select_from(order_intents)).scalar_one()
        report.seconds = round(time.monotonic() - began, 1)
        self._database.close()
        return report

    def _round(self) -> None:
        since_ms = self._exchange.now_ms() - 1
        self._rounds += 1
        point = self._due[0]
        bare = point in _BARE or self._chance.random() < 0.1
        refused = point in _REFUSED or (bare and self._chance.random() < 0.2)
        bare_since: dict[str, int] = {}
        for symbol in self._free(self._chance.choice((1, 1, 2, 3))):
            give_signal(self._database, self._exchange, self._symbols[symbol], self._site.settings, self._chance)
        self._faults.arm([*([REFUSED_STOPS] if refused else []), *some_faults(self._chance)])
        self._run_worker(WorkerPlan(point, loses_stops=bare, compares_first=self._chance.random() < 0.3))
        self._faults.lift()
        if bare:
            bare_since |= self._entered(since_ms)
        bare_since |= self._meanwhile()
        for symbol in self._free(self._chance.choice((0, 1))):
            give_signal(self._database, self._exchange, self._symbols[symbol], self._site.settings, self._chance)
        for _ in range(self._chance.choice((0, 1, 1, 2))):  # the next ones meet faults too, and death at any moment
            self._faults.arm([*([REFUSED_STOPS] if refused else []), *some_faults(self._chance)])
            after_s, first = self._chance.uniform(0, self._usual_s), self._chance.random() < 0.5
            self._run_worker(WorkerPlan(killed_after_s=after_s, compares_first=first))
            self._faults.lift()
        began = time.monotonic()
        self._run_worker(WorkerPlan(patient=True))
        self._usual_s += (time.monotonic() - began - self._usual_s) / 4
        self._compare(since_ms, bare_since)

    def _run_worker(self, life: WorkerPlan) -> None:
        self._ahead_ms += _AGE_MS
        if not run_worker(self._site, life, self._ahead_ms):
            return
        self._report.kills += 1
        if life.dies_at is not None:
            self._report.kills_at_steps += 1
            self._died_at.add(life.dies_at)
            self._due.rotate(-1)

    def _free(self, count: int) -> list[str]:
        """Symbols without a position; when many are open, some are closed by hand first."""
        held = self._ours()
        if len(held) > MAX_OPEN:
            for symbol in self._chance.sample(sorted(held), len(held) // 2):
                self._close(held.pop(symbol))
            self._run_worker(WorkerPlan(patient=True))  # the books learn of it
        free = [symbol for symbol in self._symbols if symbol not in held]
        return self._chance.sample(free, min(count, len(free)))

    def _meanwhile(self) -> dict[str, int]:
        """What others do while no trader lives; symbols that lost their stop, and when."""
        held = self._ours()
        if held and self._chance.random() < 0.25:
            self._close(held.pop(self._chance.choice(sorted(held))))
        guarded = sorted(symbol for symbol, position in held.items() if position.stop_loss is not None)
        if not guarded or self._chance.random() > 0.25:
            return {}
        symbol = self._chance.choice(guarded)
        at_ms = self._exchange.now_ms()
        self._manual_trader.take_stops(symbol)
        self._report.stops_lost += 1
        return {symbol: at_ms}

    def _close(self, position: Position) -> None:
        self._manual_trader.close(position)
        self._report.closed_by_hand += 1

    def _ours(self) -> dict[str, Position]:
        return {row.symbol: row for row in self._exchange.positions() if row.symbol not in self._foreign.sizes}

    def _entered(self, since_ms: int) -> dict[str, int]:
        """Symbols that were entered since then, and when."""
        rows = self._exchange.executions(since_ms, self._exchange.now_ms() + 1)
        return {row.symbol: row.time_ms for row in rows if self._exchange.order_ids.is_entry(row.order_link_id)}

    def _compare(self, since_ms: int, bare_since: Mapping[str, int]) -> None:
        report, account = self._report, self._site.settings.account
        found = compare(self._database, self._exchange, account, self._foreign, since_ms)
        self._entries |= found.entries
        report.duplicates += len(found.duplicates)
        report.orphans += len(found.orphans)
        report.unprotected_positions += len(found.unprotected)
        report.mismatches += len(found.mismatches)
        report.foreign_touched += len(found.foreign)
        report.broken += [f"round {self._rounds}: {text}" for text in found.broken]
        for symbol, at_ms in bare_since.items():
            report.unprotected_seconds_max = max(report.unprotected_seconds_max, self._bare_for_s(symbol, at_ms))

    def _bare_for_s(self, symbol: str, since_ms: int) -> float:
        """How long a position was without its stop: until it got one, or was closed."""
        now_ms = self._exchange.now_ms()
        ends = [
            row.created_ms
            for row in self._exchange.open_orders(symbol)
            if row.purpose is OrderPurpose.STOP and row.created_ms >= since_ms
        ]
        ends += [
            row.time_ms
            for row in self._exchange.executions(since_ms, now_ms + 1)
            if row.symbol == symbol and row.closed_size > 0
        ]
        return (min(ends, default=now_ms) - since_ms) / 1000

    def _open_foreign(self, positions: list[Instrument], order: Instrument) -> Foreign:
        sizes = {row.symbol: self._manual_trader.buy(row, self._exchange.ticker(row.symbol)) for row in positions}
        placed = self._manual_trader.bid_far_below(order, self._exchange.ticker(order.symbol))
        return Foreign(sizes, {placed: order.symbol})


def summary(report: ChaosReport) -> str:
    """The report as one JSON object."""
    return json.dumps(vars(report))
