"""`trading-assets chaos orders`: traders are killed at every step of an order and at random, on an exchange that fails.

The driver plays everybody else: it gives signals, breaks the exchange, trades by hand, takes stops away, starts the
next trader or two at once, and holds ledger and exchange against each other when that one is done.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import requests
import sqlalchemy as sa
from pybit.exceptions import InvalidRequestError

from trading_assets.chaos import planned_exits
from trading_assets.chaos.faults import (
    GROWING,
    REFUSED_STOPS,
    WILD,
    FaultInjector,
    Wildness,
    some_faults,
    some_lags,
    some_late_commands,
    some_odd_rows,
)
from trading_assets.chaos.findings import Findings, Foreign
from trading_assets.chaos.hands import Hands
from trading_assets.chaos.invariants import compare
from trading_assets.chaos.kept_apart import KeptApart
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.orders_report import ChaosReport
from trading_assets.chaos.planned_exits import MOST_BACK, PlannedExit, some_exit
from trading_assets.chaos.points import (
    BARE,
    CLEARS,
    DIES_FIRST,
    KINDS,
    OF_GRIDS,
    OF_PLANS,
    PLANS,
    POINTS,
    REFUSED,
    WAITS,
)
from trading_assets.chaos.sent_orders import sent_otherwise
from trading_assets.chaos.signal_source import Waits, give_signal, some_wait
from trading_assets.chaos.sums import compare_sums
from trading_assets.chaos.trial_settings import DEPOSIT, settings_of
from trading_assets.chaos.truth import Truth
from trading_assets.chaos.two_traders import KEEPS_GRIDS, KEEPS_PLANS, TRADES, TwoTraders
from trading_assets.chaos.worker import WorkerPlan, WorkerSite, connect, run_worker
from trading_assets.core.configuration import trial
from trading_assets.core.models import ContractKind, ContractStatus, Instrument, OrderPurpose, Position
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, local_ms
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import closings, exit_decisions, order_intents
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.launcher import ensure_running
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.kept import LEASE_MS
from trading_assets.trading.saga import steps

OTHERS = 3
"""Contracts that only the person trades, where one does."""

SPEED = 20.0
"""The exchange's clock runs so fast, so that closings grow, stops are reached and lags end during the trial."""

SUMS_EVERY = 10
"""Rounds between two comparisons of all sums."""

QUIET_SPEED = 1.0
"""The exchange's clock runs so fast while sums are compared: else something would happen during each comparison."""

COMPARISONS = 12
"""So often a comparison is made again where the market has moved during it."""

MAX_OPEN = 8
SETTLE_MS = 2_000
"""Executions so shortly before a comparison may not be in the books yet."""

_AGE_MS = max(steps.RECOVER_AFTER_MS, LEASE_MS) + 5_000
"""The clock of each next trader is so much farther on, as if it were started so much later."""

TURNS = 2
"""So often a trader is to die at one point, before the next point is due."""

CANCEL_TYPES = ("CancelByDCP", "CancelByAdmin", "CancelBySmp", "CancelByPrepareLiq")

Progress = Callable[[int], None]


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
    with (
        tempfile.TemporaryDirectory(prefix="trading-assets-chaos-") as folder,
        trial(Path(folder)),
        planned_exits.known(),
    ):
        settings = settings_of(Path(folder), seed)
        url = ensure_running(settings, clock=ClockSpec(ClockMode.ACCELERATED, speed=SPEED))
        try:
            place = WorkerSite(settings, url, Path(folder) / "worker.log", Database(settings.resolved_database_url))
            seed_registry(place.database)
            return Trial(place, kills, seed, wild).run(progress, until_broken=until_broken)
        finally:
            requests.post(f"{url}/admin/stop", timeout=5, proxies={"http": ""})


class Trial:
    """One run on one account: rounds of signals, deaths, what happens meanwhile, recovery, and the comparison."""

    def __init__(self, place: WorkerSite, kills: int, seed: int, wild: Wildness) -> None:
        self._site, self._wanted, self._chance, self._wild = place, kills, random.Random(seed), wild
        self._report = ChaosReport(seed)
        self._exchange = connect(place)
        self._database = Database(place.settings.resolved_database_url)
        self._faults, self._manual_trader = FaultInjector(place.exchange_url), ManualTrader(place.exchange_url)
        self._ahead_ms, self._rounds, self._entries = 0, 0, set[str]()
        self._books_ms = 0
        """when the one began who has read the books last, and was left to end"""
        self._sent_bare = set[str]()
        self._due, self._died_at, self._turns = deque(POINTS), set[str](), 0
        self._usual_s = 0.1
        """how long a life takes that ends by itself"""
        self._began_ms = self._exchange.now_ms() - HOUR_MS
        traded = (row for row in self._exchange.instruments() if row.status is ContractStatus.TRADING)
        listed = [row for row in traded if row.settle_coin == "USDT"]
        perpetual = sorted((row for row in listed if row.kind is ContractKind.PERPETUAL), key=lambda row: row.symbol)
        others = [row.symbol for row in perpetual[2 : 2 + OTHERS]] if wild.hands else []
        rest = perpetual[2 + len(others) :]
        self._apart = KeptApart(
            self._exchange,
            self._database,
            place.settings.account,
            rest[1:],
            self._manual_trader,
            self._chance,
            seed,
            self._context,
        )
        apart = self._apart.symbols
        rest = [row for row in rest if row.symbol not in apart]
        self._symbols: Mapping[str, Instrument] = {row.symbol: row for row in rest}
        self._truth = Truth(self._exchange.order_ids, hedged=set(others[:1]), of_grids=apart)
        self._exits = Counter[str]()
        self._two = TwoTraders(
            place, self._exchange, self._database, self._chance, _AGE_MS, self._age, self._count_kill
        )
        self._hands: Hands | None = None
        if wild.hands:
            everything = {row.symbol: row for row in perpetual if row.symbol not in apart}
            self._hands = Hands(
                self._manual_trader, self._exchange, everything, self._symbols, others, others[0], self._chance
            )
            self._hands.begin()
        self._foreign = self._open_foreign(perpetual[:2], rest[0])
        self._mark()
        for symbol in list(self._symbols)[:3]:
            give_signal(self._database, self._exchange, self._symbols[symbol], place.settings, self._chance)
        place.warm()
        self._apart.begin()

    def run(self, progress: Progress, *, until_broken: bool) -> ChaosReport:
        """Rounds until enough traders have died; not every one dies, as its step may not come.

        After an interrupt (Ctrl-C) the report is of the rounds before it.
        """
        began, report, is_whole = time.monotonic(), self._report, False
        with suppress(KeyboardInterrupt):
            for _ in range(4 * self._wanted + 40):
                if self._is_enough() or (until_broken and report.broken):
                    break
                self._round()
                progress(min(report.kills, self._wanted))
            is_whole = True
        if is_whole and self._rounds % SUMS_EVERY and not (until_broken and report.broken):
            self._compare_sums()
        self._fill_in()
        report.seconds = round(time.monotonic() - began, 1)
        self._database.close()
        return report

    def _is_enough(self) -> bool:
        return self._report.kills >= self._wanted

    def _booked_closings(self) -> int:
        booked = sa.select(sa.func.count()).where(closings.c.account == self._site.settings.account)
        with self._database.read() as connection:
            return connection.execute(booked).scalar_one()

    def _fill_in(self) -> None:
        """Figures of the whole trial."""
        report = self._report
        report.faults, report.orders = self._faults.fired, len(self._entries)
        report.steps_killed_at, report.points = len(self._died_at), len(POINTS)
        report.points_missed = [point for point in POINTS if point not in self._died_at]
        acts = Counter(self._hands.acts) if self._hands is not None else Counter[str]()
        report.by_hand = dict(acts + self._apart.acts)
        report.exits = dict(self._exits)
        report.reached = {
            kind: f"{len(self._died_at.intersection(points))} of {len(points)}" for kind, points in KINDS.items()
        }
        report.second_traders, report.second_maintainers = self._two.traders, self._two.maintainers
        report.second_plan_maintainers = self._two.plan_maintainers
        for name, value in self._apart.figures(self._began_ms).items():
            setattr(report, name, value)
        report.closings = self._booked_closings()
        mine, count = order_intents.c.account == self._site.settings.account, sa.func.count()
        with self._database.read() as connection:
            report.intents = connection.execute(sa.select(count).where(mine)).scalar_one()
            report.waited = connection.execute(
                sa.select(count).where(mine, order_intents.c.price.is_not(None))
            ).scalar_one()
            kinds = sa.select(exit_decisions.c.kind, count).group_by(exit_decisions.c.kind)
            report.exit_decisions = {str(kind): int(number) for kind, number in connection.execute(kinds)}

    def _context(self) -> ExecutionContext:
        """The driver's own, at the traders' clock: for what a person commands, and for passes at rest."""
        return ExecutionContext(
            self._database,
            self._exchange,
            self._site.settings,
            sleep=lambda _s: None,
            wall_ms=lambda: local_ms() + self._ahead_ms,
        )

    def _age(self, by_ms: int) -> int:
        self._ahead_ms += by_ms
        return self._ahead_ms

    def _next_point(self) -> str:
        self._turns += 1
        if self._turns > TURNS:  # its step may not come
            self._due.rotate(-1)
            self._turns = 1
        while self._due[0] in self._died_at and len(self._died_at) < len(POINTS):  # one that nobody died at first
            self._due.rotate(-1)
            self._turns = 1
        return self._due[0]

    def _round(self) -> None:
        since_ms = self._mark()
        self._rounds += 1
        point = self._next_point()
        bare = point in BARE or self._chance.random() < 0.1
        refused = point in REFUSED or (bare and self._chance.random() < 0.2)
        unprotected_since: dict[str, int] = {}
        self._apart.prepare(point)
        for symbol in self._free(self._chance.choice((1, 1, 2, 3))):
            self._give_for(point, symbol)
        first = WorkerPlan(
            DIES_FIRST if point in CLEARS else point,
            loses_stops=bare,
            compares_first=self._chance.random() < 0.3,
            keeps_grids_first=point in OF_GRIDS or self._chance.random() < 0.3,
            keeps_plans_first=point in OF_PLANS,
            sets_ahead=self._rounds % 2 == 0,
        )
        if self._wild.traders > 1 and self._chance.random() < 0.4:
            for text in self._two.try_it(self._chance.choice((TRADES, TRADES, KEEPS_GRIDS, KEEPS_PLANS))):
                self._report.two_traded += 1
                self._report.broken.append(f"round {self._rounds}: {text}")
        self._arm_lags()
        self._arm(refused=refused)
        known = self._two.reserved() if bare else set()
        self._run_worker(first)
        if bare:
            self._sent_bare |= self._two.reserved() - known
        self._faults.lift()
        if bare:
            unprotected_since |= self._entered(since_ms)
        unprotected_since |= self._meanwhile()
        if point in CLEARS:
            self._end_unplaced(point)
        for symbol in self._free(self._chance.choice((0, 1))):
            self._give(symbol, some_wait(self._chance), some_exit(self._chance))
        self._cancel_by_venue()
        self._arm_lags()  # before the person acts: a list that lags does not show it
        for _ in range(self._chance.choice((0, 1, 1, 2)) if self._hands is not None else 0):
            self._act_by_hand()
        self._arm(refused=refused)
        for _ in range(self._chance.choice((0, 1, 1, 2))):  # the next ones meet faults too, and death at any moment
            self._run_worker(self._any_death())
            self._faults.lift()
            self._arm_lags()
            self._arm(refused=refused)
        self._faults.lift()
        began = time.monotonic()
        self._settle(since_ms, unprotected_since)
        self._compare_as_sent(since_ms, may_lack_stops=bare)
        self._settle_apart()
        self._usual_s += (time.monotonic() - began - self._usual_s) / 4

    def _any_death(self) -> WorkerPlan:
        """At any moment, or at an edge at which nobody has died yet."""
        early, grids_first = self._chance.random() < 0.5, self._chance.random() < 0.5
        missed = [point for point in POINTS if point not in self._died_at]
        if missed and self._chance.random() < 0.5:
            point = self._chance.choice(missed)
            return WorkerPlan(
                point, compares_first=early, keeps_grids_first=grids_first, keeps_plans_first=point in OF_PLANS
            )
        after_s = self._chance.uniform(0, self._usual_s)
        return WorkerPlan(killed_after_s=after_s, compares_first=early, keeps_grids_first=grids_first)

    def _give_for(self, point: str, symbol: str) -> None:
        """A signal whose order comes to a point in the life of the trader that sends it, or any other."""
        if point in PLANS:
            self._give(symbol, None, PlannedExit(PLANS[point], MOST_BACK))
        else:
            waits = WAITS.get(point)
            self._give(symbol, waits or some_wait(self._chance), None if waits else some_exit(self._chance))

    def _give(self, symbol: str, waits: Waits | None, planned: PlannedExit | None) -> None:
        more = planned.row(self._exchange.now_ms()) if planned is not None else None
        if planned is not None:
            self._exits[planned.kind.value] += 1
        instrument, settings = self._symbols[symbol], self._site.settings
        give_signal(self._database, self._exchange, instrument, settings, self._chance, waits=waits, more=more)

    def _end_unplaced(self, point: str) -> None:
        """Positions whose parts were decided, and not placed, end by hand; then a trader is to clear them away."""
        self._mark()
        with self._database.read() as connection:
            decided = sa.select(order_intents.c.symbol).join(
                exit_decisions, exit_decisions.c.order_link_id == order_intents.c.order_link_id
            )
            symbols = set(connection.execute(decided.where(exit_decisions.c.state == "open")).scalars())
        for symbol, position in self._open().items():
            if symbol in symbols:
                self._close(position)
        self._run_worker(WorkerPlan(point, compares_first=True))

    def _cancel_by_venue(self) -> None:
        waiting = [row for row in self._exchange.open_orders() if self._exchange.order_ids.is_entry(row.order_link_id)]
        if waiting and self._chance.random() < 0.15:
            order = self._chance.choice(waiting)
            self._faults.cancel(order.symbol, order.order_link_id, self._chance.choice(CANCEL_TYPES))
            self._report.cancelled_by_venue += 1

    def _arm(self, *, refused: bool) -> None:
        rules = [*([REFUSED_STOPS] if refused else []), *some_faults(self._chance), *some_late_commands(self._chance)]
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
        if life.patient:
            self._books_ms = self._exchange.now_ms()
        self._count_kill(life, run_worker(self._site, life, self._ahead_ms))

    def _count_kill(self, life: WorkerPlan, killed: bool) -> None:
        if not killed:
            return
        self._report.kills += 1
        if life.dies_at is not None:
            self._report.kills_at_steps += 1
            self._died_at.add(life.dies_at)
            if life.dies_at == self._due[0]:
                self._due.rotate(-1)
                self._turns = 0

    def _free(self, count: int) -> list[str]:
        """Symbols without a position; when many are open, some are closed by hand first."""
        held = self._open()
        if len(held) > MAX_OPEN:
            for symbol in self._chance.sample(sorted(held), len(held) // 2):
                self._close(held.pop(symbol))
            self._run_worker(WorkerPlan(patient=True))  # the books learn of it
        waiting = {intent.symbol for intent in orders.resting(self._database, self._site.settings.account)}
        free = [symbol for symbol in self._symbols if symbol not in held and symbol not in waiting]
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
        held = [each for each in self._positions_now if each.symbol not in self._apart.symbols]
        with suppress(InvalidRequestError):  # the market was quicker
            if self._chance.random() < 0.35:
                self._apart.meddle()
                return
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
        for text in sent_otherwise(
            self._database,
            self._exchange,
            self._manual_trader,
            since_ms,
            may_lack_stops=may_lack_stops,
            sent_bare=self._sent_bare,
        ):
            self._report.wrong_levels += 1
            self._report.broken.append(f"round {self._rounds}: {text}")

    def _settle_apart(self) -> None:
        self._age(_AGE_MS)  # a lease that a killed one held has run out
        for found in self._apart.settle():
            self._report.count(found, f"round {self._rounds}")

    def _find(self, since_ms: int) -> Findings:
        moved = {}
        if self._hands is not None:
            self._hands.forget(self._exchange.positions(), self._truth)
            moved = self._hands.moved
        account = self._site.settings.account
        return compare(self._database, self._exchange, account, self._truth, self._foreign, since_ms, moved)

    def _compare_sums(self) -> None:
        """All sums from the first moment on, while the market hardly moves; where it moved they are taken again.

        What is found while something was booked at the exchange that the books were not read for is no finding.
        """
        account = self._site.settings.account
        self._set_speed(QUIET_SPEED)
        try:
            for _ in range(COMPARISONS):
                self._run_worker(WorkerPlan(patient=True))
                started_ms = self._mark()
                found = compare_sums(self._database, self._exchange, account, self._truth, self._began_ms, DEPOSIT)
                since_ms = min(started_ms, self._books_ms) - SETTLE_MS
                now_ms = self._exchange.now_ms() + 1
                moved = self._exchange.executions(since_ms, now_ms) or self._exchange.transactions(since_ms, now_ms)
                if not moved or not found.broken:
                    self._report_findings(found, self._began_ms)
                    return
                time.sleep(SETTLE_MS / 1000 / QUIET_SPEED / 4)
            self._report.sums_not_compared += 1
        finally:
            self._set_speed(SPEED)

    def _set_speed(self, speed: float) -> None:
        url = f"{self._site.exchange_url}/admin/clock"
        requests.post(url, json={"speed": str(speed)}, timeout=60, proxies={"http": ""}).raise_for_status()

    def _report_findings(self, found: Findings, since_ms: int) -> None:
        report = self._report
        self._entries |= found.entries
        report.count(found, f"round {self._rounds}")
        if found.silent:
            # Each trader's clock is farther on than that of the one before; the last was left to end by itself.
            report.silent_minutes += round((self._exchange.now_ms() - since_ms + _AGE_MS) / MINUTE_MS, 2)

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
