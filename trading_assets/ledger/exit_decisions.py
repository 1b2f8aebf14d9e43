"""What exit plans of open positions have said, each once, and how far it was carried out. No decisions here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.queries import in_parts
from trading_assets.ledger.tables import entry_signals, exit_decisions, fills, order_intents

PARTS, LEVELS = "parts", "levels"
SIGNAL, TIME, ROI, STOP, TARGET = "signal", "time", "roi", "stop", "target"
LEAVING = (SIGNAL, TIME, ROI, STOP, TARGET)
"""Decisions to close the position at the market, in the words of `CloseReason`. `STOP` and `TARGET`: the price has
passed the level before it could be set."""

OPEN, PLACED, DONE = "open", "placed", "done"
"""Of a decision that is to be carried out; whose orders rest at the exchange; that needs nothing more."""


@dataclass(frozen=True)
class ExitDecision:
    """What a plan said at the close of a candle.

    Attributes:
        bar_close_ms, close: of that candle, UTC ms and USDT; of `PARTS` that of the signal.
        stop_loss, take_profit: that are to stand from then on.
    """

    order_link_id: str
    bar_close_ms: int
    kind: str
    close: float
    stop_loss: Decimal
    take_profit: Decimal
    detail: str
    state: str
    time_ms: int

    @property
    def is_leaving(self) -> bool:
        return self.kind in LEAVING


@dataclass(frozen=True)
class Planned:
    """A position with an exit plan: its intent, and what its signal said.

    Attributes:
        opened_ms: close of the signal's bar; `entry` the price of it, from which everything is measured.
        exit_plan: as the signal has it, JSON.
        filled_ms: of an entry that waits its first fill, UTC ms; 0 where the books have none, or for one at the market.
    """

    intent: Intent
    timeframe: Timeframe
    strategy: str
    parameters: str
    opened_ms: int
    entry: float
    stop_loss: float
    take_profit: float
    exit_plan: str
    filled_ms: int = 0


def planned(source: Database | sa.Connection, account: str, links: Iterable[str] | None = None) -> list[Planned]:
    """Return the open positions with an exit plan; of `links`, whatever their state."""
    if isinstance(source, Database):
        with source.read() as connection:
            return planned(connection, account, links)
    wanted = entry_signals.c.exit_plan.is_not(None) & (order_intents.c.account == account)
    if links is None:
        wanted &= order_intents.c.status == orders.CONFIRMED
    else:
        wanted &= order_intents.c.order_link_id.in_(list(links))
    statement = (
        sa.select(entry_signals, order_intents.c.order_link_id.label("link"))
        .join(order_intents, order_intents.c.signal_id == entry_signals.c.signal_id)
        .where(wanted)
        .order_by(order_intents.c.created_ms, order_intents.c.order_link_id)
    )
    rows = {row["link"]: row for row in source.execute(statement).mappings()}
    intents = orders.by_links(source, account, rows)
    waited = [link for link, intent in intents.items() if intent.may_rest]
    first = sa.select(fills.c.order_link_id, sa.func.min(fills.c.time_ms)).group_by(fills.c.order_link_id)
    is_ours = (fills.c.account == account, fills.c.order_link_id.in_(waited))
    filled = {row[0]: int(row[1]) for row in source.execute(first.where(*is_ours))} if waited else {}
    return [
        Planned(
            intents[link],
            Timeframe(row["timeframe"]),
            row["strategy"],
            row["parameters"],
            row["signal_timestamp_ms"],
            row["entry_price"],
            row["stop_loss"],
            row["take_profit"],
            row["exit_plan"],
            filled.get(link, 0),
        )
        for link, row in rows.items()
    ]


def of_intents(connection: sa.Connection, links: Iterable[str]) -> dict[str, list[ExitDecision]]:
    """Return the decisions for these intents, by link, ascending in time."""
    found: dict[str, list[ExitDecision]] = defaultdict(list)
    columns = [exit_decisions.c[field.name] for field in fields(ExitDecision)]
    for part in in_parts(sorted(set(links))):
        statement = sa.select(*columns).where(exit_decisions.c.order_link_id.in_(part))
        for row in connection.execute(statement.order_by(exit_decisions.c.bar_close_ms, exit_decisions.c.time_ms)):
            found[row.order_link_id].append(ExitDecision(**row._mapping))
    return dict(found)


def record(connection: sa.Connection, intent: Intent, decision: ExitDecision) -> bool:
    """Record a decision once. Return False where it, or one to leave, is there already, or the position has ended.

    The intent has its levels from then on.
    """
    known = of_intents(connection, [intent.order_link_id]).get(intent.order_link_id, [])
    if any(one.is_leaving or (one.bar_close_ms, one.kind) == (decision.bar_close_ms, decision.kind) for one in known):
        return False
    levels = {"stop_loss": decision.stop_loss, "take_profit": decision.take_profit}
    is_it = (order_intents.c.order_link_id == intent.order_link_id, order_intents.c.status == orders.CONFIRMED)
    held = (order_intents.c.stop_loss == intent.stop_loss, order_intents.c.take_profit == intent.take_profit)
    changed = sa.update(order_intents).where(*is_it, *held).values(**levels, updated_ms=decision.time_ms)
    if connection.execute(changed).rowcount != 1:
        return False
    connection.execute(sa.insert(exit_decisions).values(**vars(decision)))
    return True


def set_state(connection: sa.Connection, decision: ExitDecision, state: str) -> None:
    """Record how far a decision was carried out; of levels all those before it, too."""
    mine = exit_decisions.c.order_link_id == decision.order_link_id
    same = (exit_decisions.c.kind == decision.kind) & (exit_decisions.c.bar_close_ms <= decision.bar_close_ms)
    connection.execute(sa.update(exit_decisions).where(mine, same).values(state=state))


def pending(source: Database | sa.Connection, account: str) -> list[tuple[Intent, ExitDecision]]:
    """Return what is to be carried out, the oldest first: of open positions, and parts of those that have ended."""
    if isinstance(source, Database):
        with source.read() as connection:
            return pending(connection, account)
    status, state = order_intents.c.status, exit_decisions.c.state
    is_due = sa.or_(
        (state == OPEN) & (status == orders.CONFIRMED),
        (state != DONE) & (exit_decisions.c.kind == PARTS) & (status != orders.CONFIRMED),
    )
    statement = (
        sa.select(exit_decisions)
        .join(order_intents, order_intents.c.order_link_id == exit_decisions.c.order_link_id)
        .where(order_intents.c.account == account, is_due)
        .order_by(exit_decisions.c.time_ms, exit_decisions.c.bar_close_ms)
    )
    found = [ExitDecision(**row) for row in source.execute(statement).mappings()]
    intents = orders.by_links(source, account, [one.order_link_id for one in found])
    return [(intents[one.order_link_id], one) for one in found]


def waiting_parts(connection: sa.Connection, account: str) -> set[str]:
    """Return the links of intents whose parts may rest at the exchange."""
    statement = (
        sa.select(exit_decisions.c.order_link_id)
        .join(order_intents, order_intents.c.order_link_id == exit_decisions.c.order_link_id)
        .where(order_intents.c.account == account, exit_decisions.c.kind == PARTS, exit_decisions.c.state != DONE)
    )
    return set(connection.execute(statement).scalars())


def own_levels(connection: sa.Connection, intent: Intent) -> tuple[set[Decimal], set[Decimal]]:
    """Return the stops and the targets that we have asked for, for a position, at any time."""
    signal = sa.select(entry_signals.c.stop_loss, entry_signals.c.take_profit)
    rows = [*connection.execute(signal.where(entry_signals.c.signal_id == intent.signal_id))]
    stops, targets = ({Decimal(str(row[at])) for row in rows} for at in (0, 1))
    for one in of_intents(connection, [intent.order_link_id]).get(intent.order_link_id, []):
        stops.add(one.stop_loss)
        targets.add(one.take_profit)
    return stops | {intent.stop_loss}, targets | {intent.take_profit}


def left_at(connection: sa.Connection, account: str, signal_ids: Iterable[str]) -> dict[str, ExitDecision]:
    """Return the decision to leave of each of these signals that has one."""
    found: dict[str, ExitDecision] = {}
    for part in in_parts(sorted(set(signal_ids))):
        statement = (
            sa.select(exit_decisions, order_intents.c.signal_id)
            .join(order_intents, order_intents.c.order_link_id == exit_decisions.c.order_link_id)
            .where(
                order_intents.c.account == account,
                order_intents.c.signal_id.in_(part),
                exit_decisions.c.kind.in_(LEAVING),
            )
        )
        for row in connection.execute(statement).mappings():
            found[row["signal_id"]] = ExitDecision(**{name: row[name] for name in ExitDecision.__dataclass_fields__})
    return found
