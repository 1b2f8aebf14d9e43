"""What a pass over the grids works with: its report, its lease, what it has to tell, a row of an order."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.models import RejectReason, Side
from trading_assets.ledger import grids, leases
from trading_assets.ledger.grids import Grid, GridOrder, LevelRow
from trading_assets.ledger.leases import Lease
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.grid.levels import ZERO

LETTERS = {grids.OPEN: "go", grids.CLOSE: "gc", grids.GUARD: "gs", grids.FLATTEN: "gf"}
"""Kinds of the order ids of grids."""

MOST_TRIES = 6
"""So many orders of a level in a row that could not rest; then a person is needed."""


@dataclass
class MaintainReport:
    """What a pass did.

    Attributes:
        busy: who keeps the grids meanwhile; empty where it is this process.
        failed: what kept a grid from being looked after, by symbol.
        ended: symbols whose grid ended in this pass.
    """

    busy: str = ""
    grids: int = 0
    placed: int = 0
    cancelled: int = 0
    fills: int = 0
    stops_set: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    @property
    def acted(self) -> bool:
        """Whether anything was changed."""
        return bool(self.placed or self.cancelled or self.fills or self.stops_set or self.ended)

    def __str__(self) -> str:
        if self.busy:
            return f"grids are kept by {self.busy}"
        text = f"{self.grids} grids, {self.fills} fills, {self.placed} orders placed, {self.cancelled} cancelled"
        if self.ended:
            text += f"; ended: {', '.join(self.ended)}"
        return text + "".join(f"; {symbol}: {why}" for symbol, why in self.failed.items())


@dataclass
class Pass:
    """One look at one grid, with what it does that by."""

    context: ExecutionContext
    lease: Lease
    report: MaintainReport
    told: list[Message] = field(default_factory=list)

    def guard(self, connection: sa.Connection) -> None:
        """End the transaction where another process keeps the grids by now."""
        leases.guard(connection, self.lease, wall_ms=self.context.wall_ms())

    def tell(
        self, connection: sa.Connection, title: str, text: str, now_ms: int, severity: Severity = Severity.WARNING
    ) -> None:
        """Keep a message in the transaction of what it tells; it is sent at the end of the pass."""
        self.told.append(self.context.keep(connection, title, text, Kind.ORDER, severity, time_ms=now_ms))

    def count_try(self, connection: sa.Connection, grid: Grid, row: LevelRow, why: str, now_ms: int) -> None:
        """An order of a level could not rest: wait longer each time, and at last for a person."""
        tries = row.tries + 1
        is_market = why == RejectReason.POST_ONLY.value  # it comes and goes by itself
        blocked = why if tries >= MOST_TRIES and not is_market else None
        retry_ms = now_ms + 1000 * min(60, 2**tries)
        grids.set_level(connection, row, tries=tries, retry_ms=retry_ms, blocked=blocked)
        if blocked is not None:
            text = f"level {row.level_index} is not placed any more after {tries} tries: {why}"
            self.tell(connection, f"grid {grid.symbol}", f"{text}: trading-assets grid resume {grid.symbol}", now_ms)

    def block(self, connection: sa.Connection, grid: Grid, why: str, now_ms: int) -> None:
        """Stop a grid until a person has looked: nothing of it waits any more but its stops."""
        if grids.by_id(connection, grid.grid_id).state == grids.BLOCKED:
            return
        grids.change(connection, grid.grid_id, now_ms, state=grids.BLOCKED, reason=why, wanted=None)
        text = f"{why}. Look at the exchange, then: trading-assets grid stop (or resume) {grid.symbol}"
        self.tell(connection, f"grid {grid.symbol} needs a person", text, now_ms, Severity.CRITICAL)


def grid_order_row(
    grid: Grid, link: str, purpose: str, side: Side, qty: Decimal, now_ms: int, wall_ms: int
) -> GridOrder:
    """An order of a grid as it is written first, before it is sent."""
    return GridOrder(
        order_link_id=link,
        grid_id=grid.grid_id,
        account=grid.account,
        symbol=grid.symbol,
        generation=grid.generation,
        level_index=None,
        purpose=purpose,
        round=0,
        side=side,
        qty=qty,
        price=None,
        trigger_price=None,
        status=grids.INTENT,
        order_id=None,
        filled_qty=ZERO,
        cancel=None,
        reason=None,
        created_ms=now_ms,
        updated_ms=now_ms,
        touched_wall_ms=wall_ms,
    )
