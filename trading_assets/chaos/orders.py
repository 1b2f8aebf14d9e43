"""`trading-assets chaos orders`: traders are killed at every step of an order and at random, on an exchange that fails.

The driver plays everybody else: it gives signals, breaks the exchange, trades by hand, takes stops away, starts the
next trader or two at once, and holds ledger and exchange against each other when that one is done.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
from pybit.exceptions import InvalidRequestError

from trading_assets.chaos.faults import (
    GROWING,
    REFUSED_STOPS,
    WILD,
    FaultInjector,
    Wildness,
    some_faults,
    some_lags,
    some_odd_rows,
)
from trading_assets.chaos.hands import Hands
from trading_assets.chaos.invariants import Findings, Foreign, compare, compare_sums
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.signal_source import give_signal
from trading_assets.chaos.truth import Truth
from trading_assets.chaos.worker import Worker, WorkerPlan, WorkerSite, connect, run_worker
from trading_assets.core.configuration import trial
from trading_assets.core.models import ContractKind, ContractStatus, Instrument, OrderPurpose, Position
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import closings, leases, order_intents
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.launcher import ensure_running
from trading_assets.trading.saga import steps
from trading_assets.trading.saga.transitions import Step

SYMBOLS = 18
OTHERS = 3
"""Contracts that only the person trades, where one does."""

SPEED = 20.0
"""The exchange's clock runs so fast, so that closings grow, stops are reached and lags end during the trial."""

DEPOSIT = Decimal(1_000_000)
SUMS_EVERY = 10
"""Rounds between two comparisons of all sums."""

COMPARISONS = 3
"""So often a comparison is made again where the market has moved during it."""

POINTS = tuple(f"{edge} {step}" for step in Step for edge in ("before", "after"))
"""Where a trader kills itself, in turn."""

MAX_OPEN = 8
SETTLE_MS = 2_000
"""Executions so shortly before a comparison may not be in the books yet."""

_AGE_MS = steps.RECOVER_AFTER_MS + 5_000
"""The clock of each next trader is so much farther on, as if it were started so much later."""

_REFUSED = frozenset(f"{edge} {Step.EXIT}" for edge in ("before", "after"))
_BARE = _REFUSED | {f"{edge} {Step.ATTACH}" for edge in ("before", "after")}

SLEEPS_AT = tuple(f"before {step}" for step in (Step.RESERVE, Step.LEVERAGE, Step.CREATE))
"""Where a trader that holds the lease falls asleep while another one starts."""

OPEN_GATES: Mapping[str, Any] = {
    "max_positions": 100,
    "max_price_deviation_pct": 50,
    "max_spread_pct": 50,
    "min_entry_volume": 0,
    "max_daily_loss_pct": 100,
    "max_drawdown_pct": 100,
    "max_symbol_exposure_pct": 10_000,
    "max_total_exposure_pct": 10_000,
    "cooldown_after_stop_s": 0,
    "pause_after_stops_s": 0,
    "weak_symbol_hours": 0,
}
"""Settings in which every gate stands open: what is tried here comes after them."""

Progress = Callable[[int], None]


@dataclass
class ChaosReport:
    """What happened and what was found broken; `broken` has a sentence for each finding.

    `unprotected_seconds_max` counts from the fill (or the loss of a stop) to the new stop or the exit, the time in
    which no trader lived included, by the clock on the wall. `silent_minutes` counts by the traders' clock for how long
    something differed that was not told.
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
    wrong_levels: int = 0
    misattributed: int = 0
    silent_minutes: float = 0.0
    wrong_sums: int = 0
    second_traders: int = 0
    two_traded: int = 0
    stops_lost: int = 0
    closed_by_hand: int = 0
    by_hand: dict[str, int] = field(default_factory=dict)
    closings: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)


def run_chaos(
    kills: int,
    seed: int,
    progress: Progress = lambda _done: None,
    *,
    wild: Wildness = WILD,
    until_broken: bool = False,
) -> ChaosReport:
    """Kill traders until `kills` have died; the embedded exchange and the ledger live in a temporary folder.

    Args:
        until_broken: end with the first finding.

    Raises:
        ExchangeUnavailableError: the embedded exchange does not start.
        WorkerBrokeError: a trader ended by an error of its own.
    """
    with tempfile.TemporaryDirectory(prefix="trading-assets-chaos-") as folder, trial(Path(folder)):
        settings = _settings(Path(folder), seed)
        url = ensure_running(settings, clock=ClockSpec(ClockMode.ACCELERATED, speed=SPEED))
        try:
            place = WorkerSite(settings, url, Path(folder) / "worker.log", Database(settings.resolved_database_url))
            seed_registry(place.database)
            return _Trial(place, kills, seed, wild).run(progress, until_broken=until_broken)
        finally:
            requests.post(f"{url}/admin/stop", timeout=5, proxies={"http": ""})


def _settings(home: Path, seed: int) -> Settings:
    return Settings(
        _env_file=None,
        home=home,
        simulator_seed=seed,
        simulator_symbols=SYMBOLS,
        simulator_deposit=DEPOSIT,
        simulator_idle_stop_s=120,
        leverage=Decimal(7),  # not what a contract begins with
        **OPEN_GATES,
    )


class _Trial:
    """One run: rounds of signals, deaths, what happens meanwhile, recovery, and the comparison."""

    def __init__(self, place: WorkerSite, kills: int, seed: int, wild: Wildness) -> None:
        self._site, self._wanted, self._chance, self._wild = place, kills, random.Random(seed), wild
        self._report = ChaosReport(seed)
        self._exchange = connect(place)
        self._database = Database(place.settings.resolved_database_url)
        self._faults, self._manual_trader = FaultInjector(place.exchange_url), ManualTrader(place.exchange_url)
        self._ahead_ms, self._rounds, self._entries = 0, 0, set[str]()
        self._due, self._died_at = deque(POINTS), set[str]()
        self._usual_s = 0.1
        """how long a life takes that ends by itself"""
        self._began_ms = self._exchange.now_ms() - HOUR_MS
        traded = (row for row in self._exchange.instruments() if row.status is ContractStatus.TRADING)
        listed = [row for row in traded if row.settle_coin == "USDT"]
        perpetual = sorted((row for row in listed if row.kind is ContractKind.PERPETUAL), key=lambda row: row.symbol)
        others = [row.symbol for row in perpetual[2 : 2 + OTHERS]] if wild.hands else []
        rest = perpetual[2 + len(others) :]
        self._symbols: Mapping[str, Instrument] = {row.symbol: row for row in rest}
        self._truth = Truth(self._exchange.order_ids, hedged=set(others[:1]))
        self._hands: Hands | None = None
        if wild.hands:
            everything = {row.symbol: row for row in perpetual}
            self._hands = Hands(
                self._manual_trader, self._exchange, everything, self._symbols, others, others[0], self._chance
            )
            self._hands.begin()
        self._foreign = self._open_foreign(perpetual[:2], rest[0])
        self._mark()
        for symbol in list(self._symbols)[:3]:
            give_signal(self._database, self._exchange, self._symbols[symbol], place.settings, self._chance)
        place.warm()

    def run(self, progress: Progress, *, until_broken: bool) -> ChaosReport:
        """Rounds until enough traders have died; not every one dies, as its step may not come.

        After an interrupt (Ctrl-C) the report is of the rounds before it.
        """
        began, report, is_whole = time.monotonic(), self._report, False
        with suppress(KeyboardInterrupt):
            for _ in range(4 * self._wanted + 40):
                if report.kills >= self._wanted or (until_broken and report.broken):
                    break
                self._round()
                progress(min(report.kills, self._wanted))
            is_whole = True
        if is_whole and self._rounds % SUMS_EVERY and not (until_broken and report.broken):
            self._compare_sums()
        report.faults, report.orders = self._faults.fired, len(self._entries)
        report.steps_killed_at = len(self._died_at)
        report.by_hand = dict(self._hands.acts) if self._hands is not None else {}
        with self._database.read() as connection:
            report.intents = connection.execute(sa.select(sa.func.count()).select_from(order_intents)).scalar_one()
            report.closings = connection.execute(sa.select(sa.func.count()).select_from(closings)).scalar_one()
        report.seconds = round(time.monotonic() - began, 1)
        self._database.close()
        return report

    def _round(self) -> None:
        since_ms = self._mark()
        self._rounds += 1
        point = self._due[0]
        bare = point in _BARE or self._chance.random() < 0.1
        refused = point in _REFUSED or (bare and self._chance.random() < 0.2)
        unprotected_since: dict[str, int] = {}
        for symbol in self._free(self._chance.choice((1, 1, 2, 3))):
            give_signal(self._database, self._exchange, self._symbols[symbol], self._site.settings, self._chance)
        first = WorkerPlan(point, loses_stops=bare, compares_first=self._chance.random() < 0.3)
        if self._wild.traders > 1 and self._chance.random() < 0.4:
            self._two_traders()
        self._arm_lags()
        self._arm(refused=refused)
        self._run_worker(first)
        self._faults.lift()
        if bare:
            unprotected_since |= self._entered(since_ms)
        unprotected_since |= self._meanwhile()
        for symbol in self._free(self._chance.choice((0, 1))):
            give_signal(self._database, self._exchange, self._symbols[symbol], self._site.settings, self._chance)
        self._arm_lags()  # before the person acts: a list that lags does not show it
        for _ in range(self._chance.choice((0, 1, 1, 2)) if self._hands is not None else 0):
            self._act_by_hand()
        self._arm(refused=refused)
        for _ in range(self._chance.choice((0, 1, 1, 2))):  # the next ones meet faults too, and death at any moment
            after_s, early = self._chance.uniform(0, self._usual_s), self._chance.random() < 0.5
            self._run_worker(WorkerPlan(killed_after_s=after_s, compares_first=early))
            self._faults.lift()
            self._arm_lags()
            self._arm(refused=refused)
        self._faults.lift()
        began = time.monotonic()
        self._settle(since_ms, unprotected_since)
        self._compare_as_sent(since_ms, may_lack_stops=bare)
        self._usual_s += (time.monotonic() - began - self._usual_s) / 4

    def _arm(self, *, refused: bool) -> None:
        rules = [*([REFUSED_STOPS] if refused else []), *some_faults(self._chance)]
        if self._wild.odd_rows:
            rules += some_odd_rows(self._chance, [*self._symbols, *self._foreign.sizes])
        self._faults.arm(rules)

    def _arm_lags(self) -> None:
        if not self._wild.lag:
            return
        rules = some_lags(self._chance) if self._chance.random() < 0.5 else []
        self._faults.arm([*rules, *([GROWING] if self._chance.random() < 0.2 else [])])

    def _mark(self) -> int:
        """From this time on a round's executions are read; what came before is known."""
        now_ms = self._exchange.now_ms()
        self._truth.feed(self._exchange.executions(max(self._began_ms, now_ms - HOUR_MS), now_ms + 1))
        return now_ms - 1

    def _run_worker(self, life: WorkerPlan) -> None:
        self._ahead_ms += _AGE_MS
        killed = run_worker(self._site, life, self._ahead_ms)
        self._count_kill(life, killed=killed)

    def _count_kill(self, life: WorkerPlan, *, killed: bool) -> None:
        if not killed:
            return
        self._report.kills += 1
        if life.dies_at is not None:
            self._report.kills_at_steps += 1
            self._died_at.add(life.dies_at)
            if life.dies_at == self._due[0]:
                self._due.rotate(-1)

    def _two_traders(self) -> None:
        """One falls asleep while it holds the lease; a second one starts at once, or when the lease has run out."""
        late = self._chance.random() < 0.6
        self._ahead_ms += _AGE_MS
        life = WorkerPlan(sleeps_at=self._chance.choice(SLEEPS_AT), sleeps_ms=_AGE_MS if late else 0, patient=True)
        sleeper = Worker(self._site, life, self._ahead_ms)
        sleeper.wait()
        if not sleeper.sleeps:
            return
        self._report.second_traders += 1
        reserved, fence = self._reserved(), self._fence()
        self._ahead_ms += _AGE_MS if late else 0
        dies = SLEEPS_AT[0] if late and self._chance.random() < 0.5 else None
        second = WorkerPlan(dies_at=dies, compares_first=self._chance.random() < 0.3, patient=True)
        self._count_kill(second, killed=run_worker(self._site, second, self._ahead_ms))
        by_second = self._reserved() - reserved
        if not late and by_second:
            self._two(f"a second trader reserved {sorted(by_second)} while the first one held the lease")
        now_reserved, was_taken, woken_ms = self._reserved(), self._fence() > fence, self._exchange.now_ms()
        sleeper.wake()
        while True:
            sleeper.wait()
            if not sleeper.sleeps:
                break
            sleeper.wake()
        if not late:
            return
        by_sleeper = self._reserved() - now_reserved
        if was_taken and by_sleeper:
            self._two(f"a trader that lost its lease reserved {sorted(by_sleeper)}")
        overdue = [
            row.order_link_id
            for row in self._exchange.executions(woken_ms, self._exchange.now_ms() + 1)
            if row.order_link_id in reserved and self._exchange.order_ids.is_entry(row.order_link_id)
        ]
        if overdue:
            self._two(f"orders were sent {_AGE_MS / 1000:.0f} s after their reservation: {overdue}")

    def _two(self, text: str) -> None:
        self._report.two_traded += 1
        self._report.broken.append(f"round {self._rounds}: {text}")

    def _reserved(self) -> set[str]:
        with self._database.read() as connection:
            return set(connection.execute(sa.select(order_intents.c.order_link_id)).scalars())

    def _fence(self) -> int:
        with self._database.read() as connection:
            return int(connection.execute(sa.select(sa.func.max(leases.c.fence))).scalar_one() or 0)

    def _free(self, count: int) -> list[str]:
        """Symbols without a position; when many are open, some are closed by hand first."""
        held = self._open()
        if len(held) > MAX_OPEN:
            for symbol in self._chance.sample(sorted(held), len(held) // 2):
                self._close(held.pop(symbol))
            self._run_worker(WorkerPlan(patient=True))  # the books learn of it
        free = [symbol for symbol in self._symbols if symbol not in held]
        return self._chance.sample(free, min(count, len(free)))

    def _meanwhile(self) -> dict[str, int]:
        """What others do while no trader lives; symbols that lost their stop, and when."""
        self._mark()
        held = {symbol: each for symbol, each in self._open().items() if self._truth.left(symbol)}
        if held and self._chance.random() < 0.25:
            self._close(held.pop(self._chance.choice(sorted(held))))
        guarded = sorted(symbol for symbol, position in held.items() if position.stop_loss is not None)
        if not guarded or self._chance.random() > 0.25:
            return {}
        symbol = self._chance.choice(guarded)
        at_ms = self._exchange.now_ms()
        with suppress(InvalidRequestError):  # its stop was quicker
            self._manual_trader.take_stops(symbol)
            self._report.stops_lost += 1
        return {symbol: at_ms}

    def _act_by_hand(self) -> None:
        """The person sees the account as it is, whatever lists show to others."""
        if self._hands is None:
            return
        held = self._positions_now
        with suppress(InvalidRequestError):  # the market was quicker
            self._hands.act(held, self._truth)
            self._hands.tidy(held, self._truth)

    def _close(self, position: Position) -> None:
        with suppress(InvalidRequestError):
            self._manual_trader.close(position)
            self._report.closed_by_hand += 1

    def _open(self) -> dict[str, Position]:
        """Positions in the contracts that are traded; read while the exchange is truthful."""
        self._positions_now = list(self._exchange.positions())
        return {row.symbol: row for row in self._positions_now if row.symbol in self._symbols}

    def _entered(self, since_ms: int) -> dict[str, int]:
        """Symbols that were entered since then, and when."""
        rows = self._exchange.executions(since_ms, self._exchange.now_ms() + 1)
        return {row.symbol: row.time_ms for row in rows if self._exchange.order_ids.is_entry(row.order_link_id)}

    def _settle(self, since_ms: int, unprotected_since: Mapping[str, int]) -> None:
        """A trader is left to end by itself, and the books are compared; again where the market moved meanwhile."""
        for _ in range(COMPARISONS):
            started_ms = self._exchange.now_ms()
            self._run_worker(WorkerPlan(patient=True))
            found = self._find(since_ms)
            moved = any(row.time_ms >= started_ms for row in self._exchange.executions(started_ms, since_ms + HOUR_MS))
            if not found.broken or not moved:
                break
        self._report_findings(found, since_ms)
        for symbol, at_ms in unprotected_since.items():
            lasted = self._bare_for_s(symbol, at_ms)
            self._report.unprotected_seconds_max = max(self._report.unprotected_seconds_max, lasted)
        if self._rounds % SUMS_EVERY == 0:
            self._compare_sums()

    def _compare_as_sent(self, since_ms: int, *, may_lack_stops: bool) -> None:
        """Entries as the exchange took them: what is put right later was wrong for a while."""
        rows = self._exchange.executions(since_ms, self._exchange.now_ms() + 1)
        links = {row.order_link_id for row in rows if self._exchange.order_ids.is_entry(row.order_link_id)}
        with self._database.read() as connection:
            statement = sa.select(order_intents).where(order_intents.c.order_link_id.in_(sorted(links)))
            intents = list(connection.execute(statement).mappings())
        for intent in intents:
            wanted = tuple(intent[name] for name in ("side", "qty", "stop_loss", "take_profit"))
            for sent in self._manual_trader.orders_of(intent["order_link_id"]):
                levels = [Decimal(sent[name] or 0) for name in ("stopLoss", "takeProfit")]
                if (sent["side"], Decimal(sent["qty"]), *levels) != wanted and (any(levels) or not may_lack_stops):
                    text = f"{intent['order_link_id']} was sent as {sent['side']} {sent['qty']} {levels}, not {wanted}"
                    self._report.wrong_levels += 1
                    self._report.broken.append(f"round {self._rounds}: {text}")

    def _find(self, since_ms: int) -> Findings:
        moved = {}
        if self._hands is not None:
            self._hands.forget(self._exchange.positions(), self._truth)
            moved = self._hands.moved
        account = self._site.settings.account
        return compare(self._database, self._exchange, account, self._truth, self._foreign, since_ms, moved)

    def _compare_sums(self) -> None:
        """All sums from the first moment on; the market may move meanwhile, and then they are taken again."""
        account = self._site.settings.account
        for _ in range(COMPARISONS):
            started_ms = self._mark()
            found = compare_sums(self._database, self._exchange, account, self._truth, self._began_ms, DEPOSIT)
            rows = self._exchange.executions(started_ms - SETTLE_MS, self._exchange.now_ms() + 1)
            if not found.broken or not rows:
                break
            self._run_worker(WorkerPlan(patient=True))
        self._report_findings(found, self._began_ms)

    def _report_findings(self, found: Findings, since_ms: int) -> None:
        report = self._report
        self._entries |= found.entries
        report.duplicates += len(found.duplicates)
        report.orphans += len(found.orphans)
        report.unprotected_positions += len(found.unprotected)
        report.mismatches += len(found.mismatches)
        report.foreign_touched += len(found.foreign)
        report.wrong_levels += len(found.wrong_levels)
        report.misattributed += len(found.misattributed)
        report.wrong_sums += len(found.sums)
        if found.silent:
            # Each trader's clock is farther on than that of the one before; the last was left to end by itself.
            report.silent_minutes += round((self._exchange.now_ms() - since_ms + _AGE_MS) / MINUTE_MS, 2)
        report.broken += [f"round {self._rounds}: {text}" for text in found.broken]

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
        return round((min(ends, default=now_ms) - since_ms) / 1000 / SPEED, 2)

    def _open_foreign(self, positions: list[Instrument], order: Instrument) -> Foreign:
        sizes = {row.symbol: self._manual_trader.buy(row, self._exchange.ticker(row.symbol)) for row in positions}
        placed = self._manual_trader.bid_far_below(order, self._exchange.ticker(order.symbol))
        return Foreign(sizes, {placed: order.symbol})
