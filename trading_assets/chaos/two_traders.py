"""Two traders, or two keepers of grids or of DCA plans, at once: the first one falls asleep while it holds a lease, as
on a machine that sleeps, and a second one starts. Whoever lost the lease must send nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from trading_assets.chaos.points import GRID_SLEEPS_AT, PLAN_SLEEPS_AT, SLEEPS_AT
from trading_assets.chaos.worker import ASLEEP_S, Worker, WorkerPlan, WorkerSite, run_worker
from trading_assets.core.ports import Exchange
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import dca_orders, grid_orders, leases, order_intents
from trading_assets.trading.context import trading_lease
from trading_assets.trading.dca.maintain import dca_lease
from trading_assets.trading.execute.submit import LEASE_MS as TRADES_MS
from trading_assets.trading.grid.maintain import grid_lease
from trading_assets.trading.kept import LEASE_MS as KEPT_MS


@dataclass(frozen=True)
class Role:
    """What two do at once.

    Attributes:
        points: where the first one falls asleep.
        table: of the orders that it writes.
        lease: name of the lease on an account, which is held for `lease_ms` without a word.
    """

    points: tuple[str, ...]
    table: sa.Table
    lease: Callable[[str], str]
    lease_ms: int
    keeps_grids: bool = False
    keeps_plans: bool = False


TRADES = Role(SLEEPS_AT, order_intents, trading_lease, TRADES_MS)
KEEPS_GRIDS = Role(GRID_SLEEPS_AT, grid_orders, grid_lease, KEPT_MS, keeps_grids=True)
KEEPS_PLANS = Role(PLAN_SLEEPS_AT, dca_orders, dca_lease, KEPT_MS, keeps_plans=True)


@dataclass
class TwoTraders:
    """The trial of two at once.

    Attributes:
        age_ms: farther on is the clock of who wakes late, and of who starts late.
        ahead: moves the traders' clock on by so much and returns it.
        killed: is told of a second one, and whether it was killed.
    """

    site: WorkerSite
    exchange: Exchange
    database: Database
    chance: random.Random
    age_ms: int
    ahead: Callable[[int], int]
    killed: Callable[[WorkerPlan, bool], None]
    traders: int = 0
    maintainers: int = 0
    plan_maintainers: int = 0

    def try_it(self, role: Role) -> list[str]:
        """Let two live at once; what the wrong one of them did, in sentences."""
        late = self.chance.random() < 0.6
        whose = WorkerPlan(patient=True, keeps_grids_first=role.keeps_grids, keeps_plans_first=role.keeps_plans)
        sleeps_at, sleeps_ms = self.chance.choice(role.points), self.age_ms if late else 0
        life = replace(whose, sleeps_at=sleeps_at, sleeps_ms=sleeps_ms)
        began = time.monotonic()
        sleeper = Worker(self.site, life, self.ahead(self.age_ms))
        sleeper.wait()
        if not sleeper.sleeps:
            return []
        self.traders += role is TRADES
        self.maintainers += role is KEEPS_GRIDS
        self.plan_maintainers += role is KEEPS_PLANS
        asleep_since = time.monotonic()
        found: list[str] = []
        reserved, fence = self.reserved(role), self._fence(role)
        dies = role.points[0] if late and self.chance.random() < 0.5 else None
        second = replace(whose, dies_at=dies, compares_first=self.chance.random() < 0.3)
        self.killed(second, run_worker(self.site, second, self.ahead(self.age_ms if late else 0)))
        by_second = self.reserved(role) - reserved
        is_quick = (time.monotonic() - began) * 1000 < role.lease_ms  # else it has run out
        if not late and by_second and is_quick:
            found.append(f"a second trader reserved {sorted(by_second)} while the first one held the lease")
        time.sleep(max(0.0, asleep_since + ASLEEP_S - time.monotonic()) if late else 0.0)
        now_reserved, woken_ms = self.reserved(role), self.exchange.now_ms()
        was_taken = self._fence(role) > fence
        sleeper.wake()
        while True:
            sleeper.wait()
            if not sleeper.sleeps:
                break
            sleeper.wake()
        if not late:
            return found
        by_sleeper = self.reserved(role) - now_reserved
        if was_taken and by_sleeper:
            found.append(f"a trader that lost its lease reserved {sorted(by_sleeper)}")
        overdue = self._sent_since(woken_ms, reserved, role)
        if overdue:
            found.append(f"orders were sent {self.age_ms / 1000:.0f} s after their reservation: {overdue}")
        return found

    def reserved(self, role: Role = TRADES) -> set[str]:
        """Links of all orders that were written."""
        table = role.table
        with self.database.read() as connection:
            mine = table.c.account == self.site.settings.account
            return set(connection.execute(sa.select(table.c.order_link_id).where(mine)).scalars())

    def _sent_since(self, woken_ms: int, reserved: set[str], role: Role) -> list[str]:
        """Orders that were reserved before a sleep, and placed after it. One that waited may be filled at any time."""
        rows = self.exchange.open_orders()
        if role is KEEPS_GRIDS:
            return [row.order_link_id for row in rows if row.order_link_id in reserved and row.created_ms >= woken_ms]
        filled = self.exchange.executions(woken_ms, self.exchange.now_ms() + 1)
        asked = {(row.symbol, row.order_link_id) for row in filled} | {(row.symbol, row.order_link_id) for row in rows}
        opens = self.exchange.order_ids.is_entry
        entries = sorted(one for one in asked if one[1] in reserved and (role is KEEPS_PLANS or opens(one[1])))
        found = [self.exchange.find_order(*entry) for entry in entries]
        return [order.order_link_id for order in found if order is not None and order.created_ms >= woken_ms]

    def _fence(self, role: Role) -> int:
        name = role.lease(self.site.settings.account)
        with self.database.read() as connection:
            return int(connection.execute(sa.select(leases.c.fence).where(leases.c.name == name)).scalar() or 0)
