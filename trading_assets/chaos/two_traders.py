"""Two traders, or two keepers of grids, at once: the first one falls asleep while it holds a lease, as on a machine
that sleeps, and a second one starts. Whoever lost the lease must send nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.chaos.points import GRID_SLEEPS_AT, SLEEPS_AT
from trading_assets.chaos.worker import ASLEEP_S, Worker, WorkerPlan, WorkerSite, run_worker
from trading_assets.core.ports import Exchange
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import grid_orders, leases, order_intents
from trading_assets.trading.context import trading_lease
from trading_assets.trading.execute.submit import LEASE_MS as TRADES_MS
from trading_assets.trading.grid.maintain import LEASE_MS as GRIDS_MS
from trading_assets.trading.grid.maintain import grid_lease


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

    def try_it(self, *, of_grids: bool) -> list[str]:
        """Let two live at once; what the wrong one of them did, in sentences."""
        late = self.chance.random() < 0.6
        points = GRID_SLEEPS_AT if of_grids else SLEEPS_AT
        life = WorkerPlan(
            sleeps_at=self.chance.choice(points),
            sleeps_ms=self.age_ms if late else 0,
            patient=True,
            keeps_grids_first=of_grids,
        )
        began = time.monotonic()
        sleeper = Worker(self.site, life, self.ahead(self.age_ms))
        sleeper.wait()
        if not sleeper.sleeps:
            return []
        if of_grids:
            self.maintainers += 1
        else:
            self.traders += 1
        asleep_since = time.monotonic()
        found: list[str] = []
        reserved, fence = self.reserved(of_grids=of_grids), self._fence(of_grids=of_grids)
        dies = points[0] if late and self.chance.random() < 0.5 else None
        second = WorkerPlan(
            dies_at=dies, compares_first=self.chance.random() < 0.3, patient=True, keeps_grids_first=of_grids
        )
        self.killed(second, run_worker(self.site, second, self.ahead(self.age_ms if late else 0)))
        by_second = self.reserved(of_grids=of_grids) - reserved
        is_quick = (time.monotonic() - began) * 1000 < (GRIDS_MS if of_grids else TRADES_MS)  # else it has run out
        if not late and by_second and is_quick:
            found.append(f"a second trader reserved {sorted(by_second)} while the first one held the lease")
        time.sleep(max(0.0, asleep_since + ASLEEP_S - time.monotonic()) if late else 0.0)
        now_reserved, woken_ms = self.reserved(of_grids=of_grids), self.exchange.now_ms()
        was_taken = self._fence(of_grids=of_grids) > fence
        sleeper.wake()
        while True:
            sleeper.wait()
            if not sleeper.sleeps:
                break
            sleeper.wake()
        if not late:
            return found
        by_sleeper = self.reserved(of_grids=of_grids) - now_reserved
        if was_taken and by_sleeper:
            found.append(f"a trader that lost its lease reserved {sorted(by_sleeper)}")
        overdue = self._sent_since(woken_ms, reserved, of_grids=of_grids)
        if overdue:
            found.append(f"orders were sent {self.age_ms / 1000:.0f} s after their reservation: {overdue}")
        return found

    def reserved(self, *, of_grids: bool = False) -> set[str]:
        """Links of all orders that were written."""
        table = grid_orders if of_grids else order_intents
        with self.database.read() as connection:
            mine = table.c.account == self.site.settings.account
            return set(connection.execute(sa.select(table.c.order_link_id).where(mine)).scalars())

    def _sent_since(self, woken_ms: int, reserved: set[str], *, of_grids: bool) -> list[str]:
        """Orders that were reserved before a sleep, and placed after it. One that waited may be filled at any time."""
        rows = self.exchange.open_orders()
        if of_grids:
            return [row.order_link_id for row in rows if row.order_link_id in reserved and row.created_ms >= woken_ms]
        filled = self.exchange.executions(woken_ms, self.exchange.now_ms() + 1)
        asked = {(row.symbol, row.order_link_id) for row in filled} | {(row.symbol, row.order_link_id) for row in rows}
        entries = sorted(one for one in asked if one[1] in reserved and self.exchange.order_ids.is_entry(one[1]))
        found = [self.exchange.find_order(*entry) for entry in entries]
        return [order.order_link_id for order in found if order is not None and order.created_ms >= woken_ms]

    def _fence(self, *, of_grids: bool) -> int:
        account = self.site.settings.account
        name = grid_lease(account) if of_grids else trading_lease(account)
        with self.database.read() as connection:
            return int(connection.execute(sa.select(leases.c.fence).where(leases.c.name == name)).scalar() or 0)
