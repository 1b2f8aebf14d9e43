"""Cancels what waits to open at the exchange once trading was halted or reduced. Opens nothing.

Whoever follows those orders cancels them in any case, as trading stands; here it is done at once, and told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from trading_assets.core.errors import TradingAssetsError
from trading_assets.ledger import dca, grids, orders
from trading_assets.ledger.database import Database
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.maintain import maintain as maintain_plans
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.saga.recovery import recover

PASSES = 5
PAUSE_S = 0.3


@dataclass(frozen=True)
class Withdrawal:
    """Symbols of the entries that waited: those that are cancelled, or filled meanwhile, and those that wait still.

    Attributes:
        grids: of which orders that open were cancelled, by symbol; those that close stay.
        open_grids: of which some wait still.
        plans, open_plans: the same of DCA plans.
        why: what kept them from being cancelled now; empty where nothing did.
    """

    ended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    why: str = ""
    grids: dict[str, int] = field(default_factory=dict)
    open_grids: dict[str, int] = field(default_factory=dict)
    plans: dict[str, int] = field(default_factory=dict)
    open_plans: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = []
        if self.ended:
            parts.append(f"{len(self.ended)} entries that waited were cancelled: {', '.join(self.ended)}")
        if self.left:
            parts.append(
                f"{len(self.left)} entries wait still, and are cancelled by the session that trades or the next "
                f"reconciliation: {', '.join(self.left)}" + (f" ({self.why})" if self.why else "")
            )
        if self.grids:
            told = ", ".join(f"{symbol} ({count})" for symbol, count in self.grids.items())
            parts.append(f"orders of grids that would open were cancelled: {told}; those that close stay")
        if self.open_grids:
            told = ", ".join(f"{symbol} ({count})" for symbol, count in self.open_grids.items())
            parts.append(f"orders of grids wait still, and are cancelled by whoever keeps the grids: {told}")
        if self.plans:
            parts.append(f"orders of DCA plans that would open were cancelled: {_counted(self.plans)}")
        if self.open_plans:
            told = _counted(self.open_plans)
            parts.append(f"orders of DCA plans wait still, and are cancelled by whoever keeps the plans: {told}")
        return "; ".join(parts)


def _counted(orders_of: Mapping[str, int]) -> str:
    return ", ".join(f"{symbol} ({count})" for symbol, count in orders_of.items())


def waiting(database: Database, account: str) -> list[str]:
    """Return the symbols in which something of ours waits to open."""
    waits = [intent.symbol for intent in orders.resting(database, account)]
    planned = _openers(database, account) | _planned(database, account)
    return [*waits, *(symbol for symbol in planned if symbol not in waits)]


def _openers(database: Database, account: str) -> dict[str, int]:
    """How many orders of grids that open have not ended, by symbol."""
    found: dict[str, int] = {}
    for order in grids.working_orders(database, account):
        if order.purpose == grids.OPEN:
            found[order.symbol] = found.get(order.symbol, 0) + 1
    return found


def _planned(database: Database, account: str) -> dict[str, int]:
    """How many orders of DCA plans that open have not ended, by symbol."""
    return Counter(order.symbol for order in dca.working_orders(database, account) if order.opens)


def withdraw(context: ExecutionContext) -> Withdrawal:
    """Cancel what waits, where trading stands. What fails is told, and nothing is raised for it."""
    account = context.settings.account
    waited, openers = orders.resting(context.database, account), _openers(context.database, account)
    planned = _planned(context.database, account)
    if not waited and not openers and not planned:
        return Withdrawal()
    why = ""
    try:
        context.require_bound()
        for number in range(1, PASSES + 1):
            recover(context)
            if openers:
                maintain(context)
            if planned:
                maintain_plans(context)
            if not waiting(context.database, account):
                break
            context.sleep(PAUSE_S * number)
    except TradingAssetsError as error:
        why = str(error)
    left, open_plans = _openers(context.database, account), _planned(context.database, account)
    rests = {intent.order_link_id for intent in orders.resting(context.database, account)}
    return Withdrawal(
        [intent.symbol for intent in waited if intent.order_link_id not in rests],
        [intent.symbol for intent in waited if intent.order_link_id in rests],
        why,
        {symbol: count for symbol, count in openers.items() if symbol not in left},
        left,
        {symbol: count for symbol, count in planned.items() if symbol not in open_plans},
        open_plans,
    )
