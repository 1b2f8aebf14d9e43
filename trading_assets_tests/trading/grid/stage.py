"""A grid on the real embedded exchange: its price runs straight, its clock stands until a test moves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from trading_assets.core.models import Position, Side
from trading_assets.core.ports import Exchange
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.ledger.grids import Grid
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.grid.accounting import Accounts, accounts_of
from trading_assets.trading.grid.control import start
from trading_assets.trading.grid.levels import Kind, OutOfRange, Plan, Spacing
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.grid.one_pass import MaintainReport
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import MINUTE, T0
from trading_assets_tests.trading.fixtures import settings

D = Decimal
SYMBOL = "BTCUSDT"

A_PLAN = Plan(
    symbol=SYMBOL,
    kind=Kind.NEUTRAL,
    spacing=Spacing.ARITHMETIC,
    low=D(95_000),
    high=D(105_000),
    levels=10,
    capital=D(500),
    leverage=D(5),
    stop_low=D(93_000),
    stop_high=D(107_000),
    out_of_range=OutOfRange.WAIT,
)
"""Ten levels, 1000 apart, around 100000: 0.002 each."""

LIMITS = {"max_symbol_exposure_pct": 1000, "max_total_exposure_pct": 1000, "max_leverage": 20}


@dataclass
class Stage:
    """A trader with grids, and the exchange."""

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

    def start(self, plan: Plan = A_PLAN, **changes: Any) -> MaintainReport:
        start(self.context, replace(plan, **changes))
        return self.maintain()

    def maintain(self) -> MaintainReport:
        report = maintain(self.context)
        assert not report.failed, report.failed
        return report

    def after(self, minutes: float, steps: int = 1) -> None:
        """Time passes in steps; after each the grids are looked after."""
        for _ in range(steps):
            self.advance(minutes / steps)
            self.maintain()

    def advance(self, minutes: float) -> None:
        self.running.advance(round(minutes * MINUTE))
        self.wall += round(minutes * MINUTE)

    def arm(self, where: str, **fault: Any) -> None:
        self.running.faults.add(parse_rules({"where": where, **fault}, ENDPOINTS), self.running.now_ms())

    def grid(self, symbol: str = SYMBOL) -> Grid:
        (found,) = grids.newest(self.database, "main", symbol)
        return found

    def accounts(self, symbol: str = SYMBOL) -> Accounts:
        with self.database.read() as connection:
            return accounts_of(connection, self.grid(symbol))

    def position(self) -> Position | None:
        return self.exchange.position(SYMBOL)

    def held(self) -> Decimal:
        found = self.position()
        return D(0) if found is None else found.size if found.side is Side.BUY else -found.size

    def ladder(self) -> list[tuple[Decimal, str]]:
        """Price and side of what waits at a price, ascending."""
        rows = [row for row in self.exchange.open_orders(SYMBOL) if row.price and row.trigger_price is None]
        return sorted((row.price, row.side.value) for row in rows if row.price is not None)

    def require_lawful(self) -> None:
        """What holds whenever everything is settled."""
        accounts, grid = self.accounts(), self.grid()
        assert accounts.inventory == self.held(), "inventory is the sum of fills"
        assert accounts.loose == 0 or accounts.exited or grid.state in (grids.ENDED, grids.STOPPING)
        mine = {order.order_link_id: order for order in accounts.orders}
        waiting = [row for row in self.exchange.open_orders(SYMBOL) if not row.purpose.is_protective]
        levels = [mine[row.order_link_id].level_index for row in waiting if row.trigger_price is None]
        assert len(levels) == len(set(levels)), "one order a level"
        buys = [price for price, side in self.ladder() if side == "Buy"]
        sells = [price for price, side in self.ladder() if side == "Sell"]
        assert not buys or not sells or max(buys) < min(sells), "own orders never meet"
        for price in [*buys, *sells]:
            assert grid.low <= price <= grid.high, "no order beyond the bounds"
        position = self.position()
        if position is not None and grid.state != grids.ENDED:
            stop = grid.stop_low if position.side is Side.BUY else grid.stop_high
            assert position.stop_loss == stop, "what is held has its stop"
        rows = self.exchange.executions(grid.created_ms, self.running.now_ms() + 1)
        fees, cash = sum((row.fee for row in rows), D(0)), D(0)
        for row in rows:
            cash += (row.value if row.side is Side.SELL else -row.value) if row.kind.moves_position else D(0)
        mark = D(100_000)
        sums = accounts.sums(mark)
        assert sums.total == cash - fees + self.held() * mark, "profit is the change of money"


def stage_on(database: Database, *prices: float, **more: Any) -> AbstractContextManager[Stage]:
    """BTCUSDT runs from each price to the next, a minute each, and rests at the last."""
    return stage_of(database, straight(*prices, **more), T0)


@contextmanager
def stage_of(database: Database, market: Market, start_ms: int) -> Iterator[Stage]:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, start_ms))
    with serve_in_thread(config, market) as running:
        connection = Connection(running.url, keys=keys_of(running.key, running.secret), recv_window_ms=60_000)
        exchange = BybitExchange(Transport(connection, limited=False), virtual_clock=True)
        yield Stage(running, database, exchange)
        exchange.close()
