"""What is asked of the ledger and of the machine for metrics, alarms and the live page: one reading, and no writing.

Money is in USD as floats: these are figures to look at, not to trade on. Moments are UTC ms; a name with `wall` is of
the local clock, every other one of the venue's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trading_assets.accounts import effective
from trading_assets.core.models import FillKind
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, floor_ms, local_ms
from trading_assets.ledger import (
    balance,
    executions,
    leases,
    mirror,
    outbox,
    process_reports,
    risk,
    selections,
    signals,
)
from trading_assets.ledger.database import Database
from trading_assets.ledger.mirror import MirrorState
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.ledger.process_reports import SESSION, ProcessReport
from trading_assets.ledger.risk import StateChange
from trading_assets.ledger.tables import (
    closings,
    dca_buys,
    dca_orders,
    dca_plans,
    entry_signals,
    fills,
    grid_orders,
    grids,
    order_events,
    order_intents,
    positions,
)
from trading_assets.ledger.tables import equity as equity_table
from trading_assets.ledger.tables import reconciliations as reconciliations_table
from trading_assets.notifications.channels import Channel, channels_of
from trading_assets.observability import certificates
from trading_assets.trading import halt_file
from trading_assets.trading.context import trading_lease, why_off

MOST_GATES = 40
"""Most gates that are told apart."""

_GATE = re.compile(r"[a-z][a-z ]{1,31}")
"""What the reason of a signal that a gate has refused begins with, up to its colon."""


@dataclass(frozen=True)
class OpenPosition:
    """A position as the books were read last. USD; `share` of `risk` is its distance to the stop in such units."""

    symbol: str
    side: str
    size: float
    entry: float
    mark: float
    stop: float | None
    target: float | None
    liquidation: float | None
    pnl: float
    opened_ms: int

    @property
    def notional(self) -> float:
        return self.size * self.mark


@dataclass(frozen=True)
class AccountReading:
    """An account at one moment.

    Attributes:
        equity: None before its books were read for the first time, and so are the other figures of money.
        drawdown: of equity to the peak that the risk guard counts from, a fraction, >= 0.
        off: why it is not to be traded; empty where it is.
        books_ms: up to when its books are read.
        venue_now_ms: the venue's time now, by its session; the local clock's where there is none.
        trader: who holds the lease on opening positions; empty where nobody does.
        session: what its session reported last; None where none reports.
        waiting: signals that wait to be executed, or for their price.
        channels: how each channel of messages stands.
    """

    account: str
    settings: Settings
    state: StateChange
    off: str
    halted_by_file: bool
    venue_now_ms: int
    books_ms: int | None = None
    equity: float | None = None
    available: float | None = None
    unrealised: float | None = None
    drawdown: float | None = None
    today: float | None = None
    positions: Sequence[OpenPosition] = ()
    waiting: int = 0
    trader: str = ""
    session: ProcessReport | None = None
    reports: Sequence[ProcessReport] = ()
    channels: Mapping[str, outbox.Backlog] = field(default_factory=dict)

    @property
    def is_traded(self) -> bool:
        """Whether a session should live."""
        return not self.off

    @property
    def unprotected(self) -> list[OpenPosition]:
        """The positions without a stop at the exchange."""
        return [one for one in self.positions if one.stop is None]


@dataclass(frozen=True)
class Reading:
    """Everything at one moment.

    Attributes:
        hours: newest hour that was scanned and selected, UTC ms.
        disk_free: of the home's file system, a fraction.
        certificate_expires_ms: of the server at the UI's URL; None where that is not https, or does not answer.
        mirror: how the mirror in DynamoDB stands; None where it is off.
    """

    wall_ms: int
    accounts: Sequence[AccountReading]
    hours: Mapping[str, int]
    disk_free: float
    certificate_expires_ms: int | None = None
    mirror: MirrorState | None = None


def read(database: Database, settings: Settings, wall_ms: int | None = None) -> Reading:
    """Read everything.

    Args:
        wall_ms: the local clock; default: now.

    Raises:
        StorageError: the ledger cannot be read.
        ConfigurationError: what holds for a named account cannot be used.
    """
    wall_ms = local_ms() if wall_ms is None else wall_ms
    channels = channels_of(settings)
    found = [
        read_account(database, effective.settings_of(database, settings, name, with_keys=False), channels, wall_ms)
        for name in effective.names(database, settings)
    ]
    hours = {"scan": latest_hour_ms(database, MARKET_SCAN), "selection": selections.newest_hour_ms(database)}
    known = {name: ms for name, ms in hours.items() if ms is not None}
    expires_ms = certificates.PROCESS.expires_ms(settings.ui_url)
    return Reading(wall_ms, found, known, disk_free(settings.home), expires_ms, mirror.state(database))


def disk_free(home: Path) -> float:
    """How much of the home's file system is free, a fraction; 1 where that is not known."""
    try:
        usage = shutil.disk_usage(home)
    except OSError:
        return 1.0
    return usage.free / usage.total if usage.total else 1.0


def read_account(database: Database, settings: Settings, channels: Sequence[Channel], wall_ms: int) -> AccountReading:
    """Read an account. Its settings are those in force for it."""
    name = settings.account
    reports = process_reports.read(database, name)
    living = [one for one in reports if one.role == SESSION and not one.has_ended]
    session = max(living, key=lambda one: one.updated_wall_ms, default=None)
    venue_now_ms = wall_ms
    if session is not None and "venue_ms" in session.gauges:
        venue_now_ms += int(session.gauges["venue_ms"]) - session.updated_wall_ms
    lease = leases.holder_of(database, trading_lease(name), wall_ms=wall_ms)
    with database.read() as connection:
        books_ms = connection.execute(
            sa.select(sa.func.max(reconciliations_table.c.until_ms)).where(reconciliations_table.c.account == name)
        ).scalar()
        newest = connection.execute(
            sa.select(equity_table)
            .where(equity_table.c.account == name)
            .order_by(equity_table.c.equity_id.desc())
            .limit(1)
        ).first()
        held = connection.execute(
            sa.select(positions).where(positions.c.account == name).order_by(positions.c.symbol)
        ).all()
        waiting = connection.execute(
            sa.select(sa.func.count()).where(
                entry_signals.c.account == name, entry_signals.c.status.in_([signals.ACTIVE, signals.EXECUTING])
            )
        ).scalar_one()
    money: dict[str, Any] = {}
    if newest is not None:
        peak, now = balance.peak_equity(database, name), newest.equity
        money = {
            "equity": float(now),
            "available": float(newest.available),
            "unrealised": float(newest.unrealised_pnl),
            "drawdown": max(0.0, float(1 - now / peak)) if peak > 0 else 0.0,
            "today": float(executions.realised(database, name, floor_ms(books_ms or venue_now_ms, DAY_MS))),
        }
    return AccountReading(
        account=name,
        settings=settings,
        state=risk.in_force(risk.read_history(database, name), venue_now_ms),
        off=why_off(database, settings),
        halted_by_file=halt_file.found(settings) is not None,
        venue_now_ms=venue_now_ms,
        books_ms=books_ms,
        positions=[_position(row) for row in held],
        waiting=int(waiting),
        trader=lease.holder if lease is not None else "",
        session=session,
        reports=reports,
        channels={
            channel.name: outbox.backlog(database, name, channel.name, since_wall_ms=wall_ms - DAY_MS)
            for channel in channels
        },
        **money,
    )


def _position(row: sa.Row[Any]) -> OpenPosition:
    def number(value: Any) -> float | None:
        return None if value is None else float(value)

    return OpenPosition(
        symbol=row.symbol,
        side="LONG" if row.side == "Buy" else "SHORT",
        size=float(row.size),
        entry=float(row.entry_price),
        mark=float(row.mark_price),
        stop=number(row.stop_loss),
        target=number(row.take_profit),
        liquidation=number(row.liquidation_price),
        pnl=float(row.unrealised_pnl),
        opened_ms=int(row.opened_ms),
    )


Counts = Mapping[tuple[str, ...], float]
"""By values of labels, the account first."""


@dataclass(frozen=True)
class Totals:
    """Sums of rows that are kept for good: they never fall, but for `won` and money.

    Attributes:
        signals: by account, strategy and side.
        refusals: signals that were rejected, by account and gate.
        orders: by account, symbol and side.
        states: how often an order came into a state, by account and state.
        fills: by account and kind.
        closed: by account and reason; `won` those with a profit, by account.
        realised, fees, funding: USD by account; what is paid is above 0.
        plans: grids and DCA plans that have not ended, by account, kind and state: these do fall.
        plan_orders: their orders, by account, kind and purpose.
        dca_times: scheduled times of DCA plans, by account and outcome.
    """

    signals: Counts
    refusals: Counts
    orders: Counts
    states: Counts
    fills: Counts
    closed: Counts
    won: Counts
    realised: Counts
    fees: Counts
    funding: Counts
    plans: Counts
    plan_orders: Counts
    dca_times: Counts


def totals(database: Database) -> Totals:
    """Count what has happened so far.

    Raises:
        StorageError: the ledger cannot be read.
    """
    s, i, e, f, c = entry_signals.c, order_intents.c, order_events.c, fills.c, closings.c
    with database.read() as connection:

        def grouped(
            value: sa.ColumnElement[Any], *by: sa.ColumnElement[Any], where: Sequence[sa.ColumnElement[bool]] = ()
        ) -> dict[tuple[str, ...], float]:
            rows = connection.execute(sa.select(*by, value).where(*where).group_by(*by))
            return {tuple(map(str, row[:-1])): float(row[-1] or 0) for row in rows}

        def dollars(column: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
            return sa.func.sum(sa.cast(column, sa.Double))

        count = sa.func.count()
        of_order = sa.select(c.account, c.order_id, dollars(c.pnl).label("pnl")).group_by(c.account, c.order_id)
        result = of_order.subquery().c
        return Totals(
            signals=grouped(count, s.account, s.strategy, s.position_type),
            refusals=_by_gate(
                grouped(count, s.account, s.reason, where=[s.status == signals.REJECTED, s.reason.is_not(None)])
            ),
            orders=grouped(count, i.account, i.symbol, i.side),
            states=grouped(count, i.account, e.status, where=[e.order_link_id == i.order_link_id]),
            fills=grouped(count, f.account, f.kind, where=[f.revision == 0]),
            closed=grouped(sa.func.count(sa.distinct(c.order_id)), c.account, c.reason),
            won=grouped(count, result.account, where=[result.pnl > 0]),
            realised=grouped(dollars(c.pnl), c.account),
            fees=grouped(dollars(f.fee), f.account, where=[f.kind != FillKind.FUNDING.value]),
            funding=grouped(dollars(f.fee), f.account, where=[f.kind == FillKind.FUNDING.value]),
            plans={
                (account, kind, state): number
                for kind, table in (("grid", grids), ("dca", dca_plans))
                for (account, state), number in grouped(
                    count, table.c.account, table.c.state, where=[table.c.open_slot.is_not(None)]
                ).items()
            },
            plan_orders={
                (account, kind, purpose): number
                for kind, table in (("grid", grid_orders), ("dca", dca_orders))
                for (account, purpose), number in grouped(count, table.c.account, table.c.purpose).items()
            },
            dca_times=grouped(count, dca_buys.c.account, dca_buys.c.outcome),
        )


def _by_gate(reasons: Counts) -> dict[tuple[str, ...], float]:
    """The same by gate: what a reason begins with, as long as there are few."""
    found: dict[tuple[str, ...], float] = {}
    gates: set[str] = set()
    for (account, reason), number in sorted(reasons.items()):
        gate = reason.partition(":")[0]
        if not _GATE.fullmatch(gate) or (gate not in gates and len(gates) >= MOST_GATES):
            gate = "other"
        gates.add(gate)
        found[account, gate] = found.get((account, gate), 0.0) + number
    return found
