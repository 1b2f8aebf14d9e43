"""DCA plans in the ledger: the rows of plans, of their scheduled times, and of their orders. No decisions.

A plan owns its symbol as a grid does, see `ledger.owners`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.models import Side
from trading_assets.ledger.database import Database
from trading_assets.ledger.grids import FillRow, fills_between
from trading_assets.ledger.owners import slot
from trading_assets.ledger.queries import orders_as, recorded
from trading_assets.ledger.tables import dca_buys, dca_orders, dca_plans

RUNNING, PAUSED, BLOCKED, STOPPING, ENDED = "running", "paused", "blocked", "stopping", "ended"
"""States of a plan. Blocked: a person is needed; nothing of it waits at the exchange but its stop and target."""

BUY, SAFETY, TARGET, FLATTEN, EXIT = "buy", "safety", "target", "flatten", "exit"
"""Purposes of orders. Buy: of a scheduled time, whichever its side. Target: a closing at the market where the price has
passed the target. Exit: by the venue, with the position."""

INTENT, UNSENT, UNKNOWN, RESTING, DONE = "intent", "unsent", "unknown", "resting", "ended"
"""States of an order: reserved; certainly not at the exchange, to be sent again under its id; sent, and not known
whether it arrived; seen at the exchange; at its end."""

ORDERED, FILLED, SKIPPED, REFUSED = "ordered", "filled", "skipped", "refused"
"""Outcomes of a scheduled time. Ordered: its order has not ended."""


@dataclass(frozen=True)
class PlanRow:
    """A row of `dca_plans`."""

    plan_id: str
    account: str
    symbol: str
    side: Side
    schedule: str
    anchor_ms: int
    amount: Decimal
    max_deployed: Decimal
    leverage: Decimal
    stop_pct: Decimal | None
    stop_price: Decimal | None
    target_pct: Decimal | None
    safety_orders: int
    safety_step_pct: Decimal
    safety_scale: Decimal
    missed: str
    grace_s: int
    after_target: str
    end_ms: int | None
    state: str
    reason: str | None
    closes: bool
    decided_ms: int
    hands_seen: int
    resumed_ms: int
    differs_since_wall_ms: int | None
    bare_since_wall_ms: int | None
    told: str | None
    read_ms: int
    mark_price: Decimal | None
    created_ms: int
    updated_ms: int
    ended_ms: int | None = None


@dataclass(frozen=True)
class BuyRow:
    """A row of `dca_buys`: a scheduled time, and what became of it."""

    account: str
    plan_id: str
    due_ms: int
    symbol: str
    outcome: str
    reason: str | None
    order_link_id: str | None
    qty: Decimal | None
    value: Decimal | None
    decided_ms: int


@dataclass(frozen=True)
class PlanOrder:
    """A row of `dca_orders`."""

    order_link_id: str
    plan_id: str
    account: str
    symbol: str
    purpose: str
    due_ms: int | None
    round: int
    step: int | None
    attempt: int
    side: Side
    qty: Decimal
    price: Decimal | None
    worth: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    status: str
    order_id: str | None
    filled_qty: Decimal
    cancel: str | None
    reason: str | None
    created_ms: int
    updated_ms: int
    touched_wall_ms: int

    @property
    def opens(self) -> bool:
        return self.purpose in (BUY, SAFETY)


def living(database: Database | sa.Connection, account: str) -> list[PlanRow]:
    """Return the plans that have not ended, the oldest first."""
    where = (dca_plans.c.account == account, dca_plans.c.open_slot.is_not(None))
    return _plans(database, sa.select(dca_plans).where(*where).order_by(dca_plans.c.created_ms, dca_plans.c.plan_id))


def all_of(database: Database | sa.Connection, account: str) -> list[PlanRow]:
    """Return every plan of an account, the newest first."""
    statement = sa.select(dca_plans).where(dca_plans.c.account == account)
    return _plans(database, statement.order_by(dca_plans.c.created_ms.desc(), dca_plans.c.plan_id))


def between(database: Database | sa.Connection, account: str, start_ms: int, end_ms: int) -> list[PlanRow]:
    """Return the plans that lived at some time of [start_ms, end_ms), the oldest first."""
    ended = dca_plans.c.ended_ms
    where = (dca_plans.c.account == account, dca_plans.c.created_ms < end_ms, ended.is_(None) | (ended >= start_ms))
    return _plans(database, sa.select(dca_plans).where(*where).order_by(dca_plans.c.created_ms, dca_plans.c.symbol))


def newest(database: Database | sa.Connection, account: str, symbol: str | None = None) -> list[PlanRow]:
    """Return the newest plan of each symbol, or of one, ended or not, ascending by symbol."""
    found = {one.symbol: one for one in reversed(all_of(database, account))}
    return [found[name] for name in sorted(found) if symbol in (None, name)]


def by_id(connection: sa.Connection, plan_id: str) -> PlanRow:
    (found,) = _plans(connection, sa.select(dca_plans).where(dca_plans.c.plan_id == plan_id))
    return found


def next_id(connection: sa.Connection, account: str, symbol: str) -> str:
    """Return the id of the next plan of a symbol: no two have the same, so that their orders do not either."""
    where = (dca_plans.c.account == account, dca_plans.c.symbol == symbol)
    count = connection.execute(sa.select(sa.func.count()).select_from(dca_plans).where(*where)).scalar_one()
    return f"{account}:{symbol}:dca:{count + 1}"


def add(connection: sa.Connection, plan: PlanRow) -> None:
    """Write a plan.

    Raises:
        ConflictError: a plan has the symbol already.
    """
    connection.execute(sa.insert(dca_plans).values(**_values(plan), open_slot=slot(plan.account, plan.symbol)))


def change(connection: sa.Connection, plan_id: str, now_ms: int, *, was: str | None = None, **values: object) -> bool:
    """Change a plan. With `was`, only where it is in that state; return whether it was."""
    where = [dca_plans.c.plan_id == plan_id]
    if was is not None:
        where.append(dca_plans.c.state == was)
    statement = sa.update(dca_plans).where(*where).values(updated_ms=now_ms, **values)
    return connection.execute(statement).rowcount == 1


def add_buys(connection: sa.Connection, rows: Sequence[BuyRow]) -> None:
    """Write what became of scheduled times.

    Raises:
        ConflictError: one of them has its outcome already.
    """
    if rows:
        connection.execute(sa.insert(dca_buys), [_values(row) for row in rows])


def buys_of(connection: sa.Connection, plan_id: str) -> list[BuyRow]:
    """Return the scheduled times of a plan that have an outcome, ascending."""
    statement = sa.select(dca_buys).where(dca_buys.c.plan_id == plan_id).order_by(dca_buys.c.due_ms)
    return [BuyRow(**row) for row in connection.execute(statement).mappings()]


def set_buy(connection: sa.Connection, order: PlanOrder, **values: object) -> None:
    """Change the outcome of an order's scheduled time."""
    of_order = (dca_buys.c.account == order.account, dca_buys.c.plan_id == order.plan_id)
    statement = sa.update(dca_buys).where(*of_order, dca_buys.c.due_ms == order.due_ms)
    connection.execute(statement.values(**values))


def add_orders(connection: sa.Connection, rows: Sequence[PlanOrder]) -> None:
    """Write orders before they are sent.

    Raises:
        ConflictError: one of them was written before.
    """
    if rows:
        connection.execute(sa.insert(dca_orders), [_values(row) for row in rows])


def orders_of(connection: sa.Connection, plan_id: str) -> list[PlanOrder]:
    """Return every order of a plan, in the order of their reservation."""
    return _orders(connection, dca_orders.c.plan_id == plan_id)


def order_by_link(connection: sa.Connection, text: str) -> PlanOrder | None:
    """Return the order of an order link id or an exchange's order id; None where no plan has it."""
    named = (dca_orders.c.order_link_id == text) | (dca_orders.c.order_id == text)
    found = _orders(connection, named)
    return found[0] if found else None


def set_order(connection: sa.Connection, link: str, now_ms: int, wall_ms: int, **values: object) -> None:
    statement = sa.update(dca_orders).where(dca_orders.c.order_link_id == link)
    connection.execute(statement.values(updated_ms=now_ms, touched_wall_ms=wall_ms, **values))


def answer_order(connection: sa.Connection, link: str, now_ms: int, wall_ms: int, **values: object) -> bool:
    """Note what the answer to an order's request says. Return False where more is known of it already: an answer that
    comes late brings no order back.
    """
    statement = sa.update(dca_orders).where(dca_orders.c.order_link_id == link, dca_orders.c.status == INTENT)
    return connection.execute(statement.values(updated_ms=now_ms, touched_wall_ms=wall_ms, **values)).rowcount == 1


def ask_to_cancel(connection: sa.Connection, link: str, why: str) -> None:
    """Note that an order is to be cancelled. The time of its last change stays: it tells whether it arrived."""
    statement = sa.update(dca_orders).where(dca_orders.c.order_link_id == link, dca_orders.c.cancel.is_(None))
    connection.execute(statement.values(cancel=why[:500]))


def working_orders(database: Database, account: str) -> list[PlanOrder]:
    """Return the orders of the account's plans that have not ended."""
    with database.read() as connection:
        return _orders(connection, (dca_orders.c.account == account) & (dca_orders.c.status != DONE))


def known_links(connection: sa.Connection, account: str, links: Iterable[str]) -> set[str]:
    """Return which of these order link ids are those of plans."""
    return recorded(connection, account, dca_orders.c.order_link_id, sorted(set(links)))


def fills_of(connection: sa.Connection, plan: PlanRow) -> list[FillRow]:
    """Return what was executed in the plan's symbol from its start to its end, by anybody, ascending."""
    return fills_between(connection, plan.account, plan.symbol, plan.created_ms, plan.ended_ms)


def _values(row: PlanRow | BuyRow | PlanOrder) -> Mapping[str, object]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _orders(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[PlanOrder]:
    return orders_as(PlanOrder, connection, dca_orders, where)


def _plans(database: Database | sa.Connection, statement: sa.Select[tuple[object, ...]]) -> list[PlanRow]:
    if isinstance(database, Database):
        with database.read() as connection:
            return _plans(connection, statement)
    names = [field.name for field in fields(PlanRow)]
    rows = database.execute(statement).mappings()
    return [PlanRow(**{name: row[name] for name in names} | {"side": Side(row["side"])}) for row in rows]
