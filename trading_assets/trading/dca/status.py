"""DCA plans for a reader: state, scheduled times and figures, from the ledger alone, as they were seen last."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import PlanRow
from trading_assets.trading.dca.accounting import Accounts, accounts_of
from trading_assets.trading.dca.maintain import next_due_ms
from trading_assets.trading.dca.plans import Plan, plan_of
from trading_assets.trading.dca.schedule import DcaError
from trading_assets.trading.grid.levels import ZERO


@dataclass(frozen=True)
class PlanStatus:
    """A plan as the ledger has it, with figures at the price of the last pass."""

    row: PlanRow
    accounts: Accounts

    @property
    def plan(self) -> Plan:
        return plan_of(self.row)

    @property
    def mark(self) -> Decimal:
        return self.row.mark_price if self.row.mark_price is not None else ZERO

    def level(self, name: str, tick: Decimal = Decimal("1e-8")) -> Decimal | None:
        """The stop or the target of what is held; None while nothing is, or there is none."""
        average = self.accounts.books.average
        if average is None:
            return None
        return self.plan.stop(average, tick) if name == "stop" else self.plan.target(average, tick)

    @property
    def waiting(self) -> int:
        """Orders that have not ended; stop and target at the exchange are none of them."""
        return sum(order.status != dca.DONE for order in self.accounts.orders)

    def as_row(self) -> dict[str, object]:
        """The plan in plain values: text, numbers, None."""
        row, books = self.row, self.accounts.books
        counts = Counter(buy.outcome for buy in self.accounts.buys)
        numbers = {
            "amount": row.amount,
            "max_deployed": row.max_deployed,
            "leverage": row.leverage,
            "mark_price": row.mark_price,
            "held": books.held,
            "deployed": books.value,
            "average_entry": books.average,
            "stop": self.level("stop"),
            "target": self.level("target"),
            "closed_pnl": books.profit,
            "open_pnl": books.unrealised(row.side, self.mark),
            "fees": books.fees_paid,
            "funding": self.accounts.funding,
            "total": self.accounts.total(self.mark),
        }
        return {
            "plan_id": row.plan_id,
            "symbol": row.symbol,
            "side": row.side.value,
            "schedule": row.schedule,
            "state": row.state,
            "reason": row.reason,
            **{name: None if value is None else float(value) for name, value in numbers.items()},
            "rounds": books.rounds,
            **{name: counts[name] for name in (dca.FILLED, dca.SKIPPED, dca.REFUSED, dca.ORDERED)},
            "waiting_orders": self.waiting,
            "next_due_ms": next_due_ms(row),
            "created_ms": row.created_ms,
            "read_ms": row.read_ms,
            "ended_ms": row.ended_ms,
        }

    def buy_rows(self) -> list[dict[str, object]]:
        """The scheduled times in plain values, the newest first."""
        return [
            {
                "due_ms": buy.due_ms,
                "outcome": buy.outcome,
                "qty": None if buy.qty is None else float(buy.qty),
                "price": float(buy.value / buy.qty) if buy.qty and buy.value else None,
                "value": None if buy.value is None else float(buy.value),
                "order_link_id": buy.order_link_id,
                "reason": buy.reason,
            }
            for buy in reversed(self.accounts.buys)
        ]


def status_of(
    database: Database, account: str, symbol: str | None = None, *, ended: bool = True, every: bool = False
) -> list[PlanStatus]:
    """Return the newest plan of each symbol, or of one.

    Args:
        ended: also those that have ended.
        every: not only the newest.

    Raises:
        DcaError: the symbol never had one.
    """
    with database.read() as connection:
        rows = dca.all_of(connection, account) if every else dca.newest(connection, account)
        rows = [row for row in rows if symbol in (None, row.symbol) and (ended or row.state != dca.ENDED)]
        found = [PlanStatus(row, accounts_of(connection, row)) for row in rows]
    if symbol is not None and not found:
        raise DcaError(f"account {account} never had a DCA plan in {symbol}; see trading-assets dca list")
    return found
