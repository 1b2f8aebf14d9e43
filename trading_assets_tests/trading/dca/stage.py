"""A DCA plan on the real embedded exchange: its price runs straight, its clock stands until a test moves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from trading_assets.core.models import Position, Side
from trading_assets.core.ports import Exchange
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.transport import Connection, Transport
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import PlanRow
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.accounting import Accounts, accounts_of
from trading_assets.trading.dca.books import Whose
from trading_assets.trading.dca.control import start
from trading_assets.trading.dca.maintain import maintain
from trading_assets.trading.dca.plans import Plan, plan_of
from trading_assets.trading.dca.report import DcaReport
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import MINUTE, T0
from trading_assets_tests.trading.fixtures import settings

D = Decimal
SYMBOL = "BTCUSDT"
TICK = D("0.1")

A_PLAN = Plan(
    symbol=SYMBOL,
    side=Side.BUY,
    schedule="every 1m",
    anchor_ms=T0,
    amount=D(250),
    max_deployed=D(5000),
    leverage=D(5),
    stop_pct=D(10),
    grace_s=30,
)
"""0.002 each minute around 100000."""

LIMITS = {"max_symbol_exposure_pct": 1000, "max_total_exposure_pct": 1000, "max_leverage": 20}


@dataclass
class Stage:
    """A trader with plans, and the exchange."""

    running: RunningExchange
    database: Database
    exchange: Exchange
    wall: int = 1_000_000
    told: list[tuple[str, str]] = field(default_factory=list)
    at: Callable[[str], None] = lambda _point: None
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> ExecutionContext:
        return ExecutionContext(
            self.database,
            self.exchange,
            settings(**(LIMITS | self.changes)),
            send=lambda one: self.told.append((one.title, one.body)),
            sleep=lambda _s: None,
            wall_ms=lambda: self.wall,
            at=self.at,
        )

    def start(self, plan: Plan = A_PLAN, **changes: Any) -> DcaReport:
        start(self.context, replace(plan, **changes))
        return self.maintain()

    def maintain(self) -> DcaReport:
        report = maintain(self.context)
        assert not report.failed, report.failed
        return report

    def after(self, minutes: float, steps: int = 1) -> None:
        """Time passes in steps; after each the plans are looked after."""
        for _ in range(steps):
            self.advance(minutes / steps)
            self.maintain()

    def advance(self, minutes: float) -> None:
        self.running.advance(round(minutes * MINUTE))
        self.wall += round(minutes * MINUTE)

    def arm(self, where: str, **fault: Any) -> None:
        self.running.faults.add(parse_rules({"where": where, **fault}, ENDPOINTS), self.running.now_ms())

    def row(self, symbol: str = SYMBOL) -> PlanRow:
        (found,) = dca.newest(self.database, "main", symbol)
        return found

    def accounts(self, symbol: str = SYMBOL) -> Accounts:
        with self.database.read() as connection:
            return accounts_of(connection, self.row(symbol))

    def position(self) -> Position | None:
        return self.exchange.position(SYMBOL)

    def held(self) -> Decimal:
        found = self.position()
        return D(0) if found is None else found.size if found.side is Side.BUY else -found.size

    def outcomes(self) -> Counter[str]:
        return Counter(buy.outcome for buy in self.accounts().buys)

    def require_lawful(self) -> None:
        """What holds whenever everything is settled."""
        accounts, row, mark = self.accounts(), self.row(), D(100_000)
        plan, books = plan_of(row), accounts.books
        assert accounts.expected == self.held(), "what is held is the sum of fills"
        due = [buy.due_ms for buy in accounts.buys]
        assert len(due) == len(set(due)), "a scheduled time has one outcome"
        until = min(row.decided_ms, row.ended_ms or row.decided_ms)
        schedule = plan.times.between(max(row.created_ms, plan.anchor_ms) - 1, until, 10**6)
        assert due == schedule, "every scheduled time up to the last decision has its outcome, and no other"
        sent = Counter(order.due_ms for order in accounts.orders if order.purpose == dca.BUY)
        assert not sent or max(sent.values()) == 1, "a scheduled time has one order"
        rows = list(self.exchange.executions(row.created_ms, self.running.now_ms() + 1))
        known = {order.order_link_id for order in accounts.orders}
        ours = [one for one in rows if self.exchange.order_ids.is_ours(one.order_link_id)]
        assert {one.order_link_id for one in ours} <= known, "every order of ours is in the ledger"
        for order in accounts.orders:
            filled = sum((one.qty for one in ours if one.order_link_id == order.order_link_id), D(0))
            assert filled == accounts.filled_by(order)[0], "fills count once"
            assert order.purpose == dca.EXIT or filled <= order.qty, "never more than was wished"
        assert books.value <= plan.max_deployed, "never more than may be deployed"
        position = self.position()
        if position is not None and row.state != dca.ENDED and books.average is not None:
            assert position.stop_loss == plan.stop(books.average, TICK), "what is held has its stop"
            if row.state == dca.RUNNING and not books.foreign:
                assert position.take_profit == plan.target(books.average, TICK)
        if any(whose is Whose.OTHER for whose, _ in accounts.fills):
            return
        cash = sum(
            (one.value if one.side is Side.SELL else -one.value for one in rows if one.kind.moves_position), D(0)
        )
        money = cash - sum((one.fee for one in rows), D(0)) + self.held() * mark
        assert accounts.total(mark) == money, "profit is the change of money"


@contextmanager
def stage_of(database: Database, market: Market, start_ms: int) -> Iterator[Stage]:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, start_ms))
    with serve_in_thread(config, market) as running:
        connection = Connection(running.url, keys=keys_of(running.key, running.secret), recv_window_ms=60_000)
        exchange = BybitExchange(Transport(connection, limited=False), virtual_clock=True)
        yield Stage(running, database, exchange)
        exchange.close()


@contextmanager
def stage_on(database: Database, *prices: float, **more: Any) -> Iterator[Stage]:
    """BTCUSDT runs from each price to the next, a minute each, and rests at the last."""
    with stage_of(database, straight(*prices, **more), T0) as stage:
        yield stage
