"""Order intents in the ledger: the durable record written before every order, and its history.

Every order begins with `reserve_all`. Unique constraints admit one process for a signal and one order in a symbol, on
SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.errors import ConflictError
from trading_assets.core.models import Side
from trading_assets.ledger import leases, owners, risk, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.queries import in_parts
from trading_assets.ledger.tables import entry_signals, order_events, order_intents

INTENT, SUBMITTED, UNKNOWN, RESTING = "intent", "submitted", "unknown", "resting"
CONFIRMED, CLOSED = "confirmed", "closed"
REJECTED, ENDED, ABANDONED = "rejected", "ended", "abandoned"
UNRESOLVED = (INTENT, SUBMITTED, UNKNOWN, RESTING)
GIVEN_UP = (REJECTED, ENDED, ABANDONED)
"""What each state means and what may follow it is in `trading.saga.transitions`."""

SIZE = "its size: "
"""So begins the line of an intent's history that tells how its size came about, where it is not that of each."""

AMEND, CANCEL = "amend", "cancel"
"""What may be asked of an order that rests."""


@dataclass(frozen=True)
class Intent:
    """An order that will be, or was, placed.

    Attributes:
        price: of an order that waits, as it was last asked for; None: at the market.
        until_ms: so long it waits.
        chase_price: up to here it follows the market at its end; None: it is dropped then.
        request: `AMEND` or `CANCEL`: what was asked for `requests` times and is not seen done yet, for
            `request_reason`.
        seen_ms: the venue's time of the newest state that was seen of it. What is older is a list that lags.
    """

    order_link_id: str
    signal_id: str
    account: str
    symbol: str
    side: Side
    qty: Decimal
    stop_loss: Decimal
    take_profit: Decimal
    leverage: Decimal
    status: str
    order_id: str | None
    created_ms: int
    touched_wall_ms: int
    filled_qty: Decimal | None = None
    average_price: Decimal | None = None
    reason: str | None = None
    unseen_since_ms: int | None = None
    unprotected_since_ms: int | None = None
    price: Decimal | None = None
    post_only: bool = False
    until_ms: int | None = None
    chase_price: Decimal | None = None
    request: str | None = None
    requests: int = 0
    request_reason: str | None = None
    seen_ms: int | None = None

    @property
    def may_rest(self) -> bool:
        """Whether its order waits at a price."""
        return self.price is not None

    @property
    def left_value(self) -> Decimal:
        """Value of what its order may still fill, at its price; 0 for one at the market."""
        return (self.qty - (self.filled_qty or Decimal(0))) * self.price if self.price is not None else Decimal(0)


def reserve(database: Database, intent: Intent, *, max_open: int, wall_ms: int, lease: Lease | None = None) -> bool:
    """`reserve_all` of one intent. Return whether it was reserved."""
    return bool(reserve_all(database, [intent], max_open=max_open, wall_ms=wall_ms, lease=lease))


def reserve_all(
    database: Database,
    intents: Sequence[Intent],
    *,
    max_open: int,
    wall_ms: int,
    lease: Lease | None = None,
    details: Mapping[str, str] | None = None,
) -> set[str]:
    """Set signals from active to executing and insert their intents, in one transaction and in this order.

    All are of one account. An intent is left out where another process was first, `max_open` symbols are occupied
    already, or the risk guard's state is not ACTIVE.

    Args:
        details: by order link id, a line for the intent's history.

    Returns:
        The order link ids of those that were reserved.

    Raises:
        LeaseLostError: another process has the lease; nothing was reserved.
    """
    if not intents:
        return set()
    (account,) = {intent.account for intent in intents}
    try:
        with database.write(one_at_a_time=f"orders of {account}") as connection:
            if lease is not None:
                leases.guard(connection, lease, wall_ms=wall_ms)
            times = {intent.created_ms for intent in intents}
            allowed = {time_ms for time_ms in times if risk.entries_allowed(connection, account, time_ms)}
            waiting = [intent for intent in intents if intent.created_ms in allowed]
            chosen = _reservable(connection, account, waiting, max_open)
            if chosen:
                _write(connection, chosen, details or {})
            return {intent.order_link_id for intent in chosen}
    except ConflictError:
        if len(intents) == 1:
            return set()
    # One of them was refused, and with it the transaction: each by itself.
    return {
        link
        for intent in intents
        for link in reserve_all(database, [intent], max_open=max_open, wall_ms=wall_ms, lease=lease, details=details)
    }


def _reservable(connection: sa.Connection, account: str, intents: Sequence[Intent], max_open: int) -> list[Intent]:
    """Those whose signal waits and whose symbol no grid or plan has: the first ones, as many as there is room for."""
    planned = owners.planned_symbols(connection, account)
    active = signals.still_active(connection, [intent.signal_id for intent in intents])
    free = [intent for intent in intents if intent.signal_id in active and intent.symbol not in planned]
    return free[: max(max_open - _occupied(connection, account), 0)] if free else []


# One statement for many rows: a hundred of their own for the signals of a close would take as long as sending them.
_CLAIM = (
    sa.update(entry_signals)
    .where(entry_signals.c.signal_id == sa.bindparam("of_signal"))
    .values(status=signals.EXECUTING, order_link_id=sa.bindparam("link"), reason=None)
)
_AGAIN = sa.update(order_intents).where(
    order_intents.c.order_link_id == sa.bindparam("link"), order_intents.c.status == ABANDONED
)
_FIRST_STATE = dict.fromkeys(("order_id", "reason", "request", "requests", "request_reason", "seen_ms"))


def _write(connection: sa.Connection, intents: Sequence[Intent], details: Mapping[str, str]) -> None:
    """Reserve these, all of them."""
    links = [intent.order_link_id for intent in intents]
    connection.execute(_CLAIM, [{"of_signal": one.signal_id, "link": one.order_link_id} for one in intents])
    # Its signal was put back: what was certainly not sent has its next turn under the same id.
    put_back = set[str]()
    for part in in_parts(links):
        abandoned = order_intents.c.order_link_id.in_(part) & (order_intents.c.status == ABANDONED)
        put_back |= set(connection.execute(sa.select(order_intents.c.order_link_id).where(abandoned)).scalars())
    again = [
        {"link": link, **_row(one), **_FIRST_STATE}
        for link, one in zip(links, intents, strict=True)
        if link in put_back
    ]
    new = [_row(one) for one in intents if one.order_link_id not in put_back]
    if again:
        connection.execute(_AGAIN, again)
    if new:
        connection.execute(sa.insert(order_intents), new)
    events = list[dict[str, object]]()
    for link, one in zip(links, intents, strict=True):
        told = [None, *([details[link]] if link in details else [])]
        events += [
            {"order_link_id": link, "status": INTENT, "detail": line, "time_ms": one.created_ms} for line in told
        ]
    connection.execute(sa.insert(order_events), events)


def _row(intent: Intent) -> dict[str, object]:
    return {
        "order_link_id": intent.order_link_id,
        "signal_id": intent.signal_id,
        "account": intent.account,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "qty": intent.qty,
        "stop_loss": intent.stop_loss,
        "take_profit": intent.take_profit,
        "leverage": intent.leverage,
        "status": INTENT,
        "open_slot": _slot(intent),
        "created_ms": intent.created_ms,
        "updated_ms": intent.created_ms,
        "touched_wall_ms": intent.touched_wall_ms,
        "price": intent.price,
        "post_only": intent.post_only if intent.may_rest else None,
        "until_ms": intent.until_ms,
        "chase_price": intent.chase_price,
    }


def move(
    connection: sa.Connection,
    intent: Intent,
    status: str,
    *,
    signal_status: str,
    occupies: bool,
    reason: str | None,
    values: Mapping[str, object],
    now_ms: int,
    wall_ms: int,
) -> bool:
    """Change the status of an intent and of its signal. Return False where the ledger has it in another status.

    An intent that occupies its symbol again gets it only where no other intent of ours has taken it.
    """
    # What was reserved and not seen since keeps its symbol: the unique key lets nobody else have it.
    occupies = occupies and (intent.status == INTENT or not _taken_by_another(connection, intent))
    changed = {"status": status, "updated_ms": now_ms, "touched_wall_ms": wall_ms, **values}
    changed["open_slot"] = _slot(intent) if occupies else None
    if reason is not None:
        changed["reason"] = reason
    where = (order_intents.c.order_link_id == intent.order_link_id, order_intents.c.status == intent.status)
    if connection.execute(sa.update(order_intents).where(*where).values(**changed)).rowcount != 1:
        return False
    _record(connection, intent.order_link_id, status, reason, now_ms)
    signal: dict[str, object] = {"status": signal_status}
    if reason is not None:
        signal["reason"] = reason
    if values.get("order_id"):
        signal["order_id"] = values["order_id"]
    price = values.get("average_price")
    if isinstance(price, Decimal):
        signal |= {"executed_at_ms": now_ms, "executed_price": float(price)}
    connection.execute(
        sa.update(entry_signals).where(entry_signals.c.order_link_id == intent.order_link_id).values(**signal)
    )
    return True


def unresolved(database: Database, account: str) -> list[Intent]:
    """Return the intents whose outcome is not settled, the oldest first."""
    return _intents(
        database,
        sa.select(order_intents)
        .where(order_intents.c.account == account, order_intents.c.status.in_(UNRESOLVED))
        .order_by(order_intents.c.created_ms, order_intents.c.order_link_id),
    )


def unprotected(database: Database, account: str) -> list[Intent]:
    """Return the intents whose position was seen without its stop, and not with it since."""
    return _intents(
        database,
        sa.select(order_intents)
        .where(order_intents.c.account == account, order_intents.c.unprotected_since_ms.is_not(None))
        .order_by(order_intents.c.unprotected_since_ms, order_intents.c.order_link_id),
    )


def occupying(source: Database | sa.Connection, account: str) -> list[Intent]:
    """Return the intents that occupy a symbol: unresolved, or with an open position."""
    return _intents(
        source,
        sa.select(order_intents)
        .where(order_intents.c.account == account, order_intents.c.open_slot.is_not(None))
        .order_by(order_intents.c.symbol),
    )


def ended_waits(database: Database, account: str, since_ms: int) -> dict[str, int]:
    """By symbol the end of the life (UTC ms, since then) of the last entry that waited and was not filled."""
    until = sa.func.max(order_intents.c.until_ms)
    statement = (
        sa.select(order_intents.c.symbol, until)
        .where(
            order_intents.c.account == account, order_intents.c.status == ENDED, order_intents.c.until_ms >= since_ms
        )
        .group_by(order_intents.c.symbol)
    )
    with database.read() as connection:
        return {str(symbol): int(until_ms) for symbol, until_ms in connection.execute(statement)}


def confirmed(connection: sa.Connection, account: str) -> list[Intent]:
    """Return the intents whose positions are open, as far as the ledger knows."""
    return _intents(
        connection,
        sa.select(order_intents)
        .where(order_intents.c.account == account, order_intents.c.status == CONFIRMED)
        .order_by(order_intents.c.symbol, order_intents.c.created_ms),
    )


def by_links(connection: sa.Connection, account: str, links: Iterable[str]) -> dict[str, Intent]:
    """Return the account's intents that have one of these ids, by id."""
    found = dict[str, Intent]()
    for part in in_parts(sorted(set(links))):
        some = order_intents.c.order_link_id.in_(part)
        rows = _intents(connection, sa.select(order_intents).where(order_intents.c.account == account, some))
        found.update({intent.order_link_id: intent for intent in rows})
    return found


def by_name(connection: sa.Connection, account: str, name: str) -> Intent | None:
    """Return the account's intent that has this order link id or signal id; None where there is none."""
    is_named = (order_intents.c.order_link_id == name) | (order_intents.c.signal_id == name)
    found = _intents(connection, sa.select(order_intents).where(order_intents.c.account == account, is_named))
    return found[0] if found else None


def note(connection: sa.Connection, intent: Intent, detail: str, now_ms: int) -> None:
    """Add a line to the history of an intent whose status stays."""
    _record(connection, intent.order_link_id, intent.status, detail, now_ms)


def of_symbols(
    connection: sa.Connection, account: str, symbols: Iterable[str], since_ms: int
) -> dict[str, list[Intent]]:
    """Return the intents of these symbols that may have, or have had, a position since a time, by symbol.

    Those are all whose position is open, or whose outcome is open, and those that were reserved at or after the time.
    """
    found = dict[str, list[Intent]]()
    for part in in_parts(sorted(set(symbols))):
        statement = (
            sa.select(order_intents)
            .where(
                order_intents.c.account == account,
                order_intents.c.symbol.in_(part),
                order_intents.c.status.in_((CONFIRMED, *UNRESOLVED)) | (order_intents.c.created_ms >= since_ms),
            )
            .order_by(order_intents.c.created_ms)
        )
        for intent in _intents(connection, statement):
            found.setdefault(intent.symbol, []).append(intent)
    return found


def set_filled(connection: sa.Connection, intent: Intent, qty: Decimal, average_price: Decimal, now_ms: int) -> None:
    """Record that an entry has filled more than was known when it was confirmed."""
    values = {"filled_qty": qty, "average_price": average_price, "updated_ms": now_ms}
    link = intent.order_link_id
    connection.execute(sa.update(order_intents).where(order_intents.c.order_link_id == link).values(**values))
    connection.execute(
        sa.update(entry_signals)
        .where(entry_signals.c.order_link_id == link)
        .values(executed_price=float(average_price))
    )
    _record(connection, link, intent.status, f"it has filled {qty}, {intent.filled_qty} were known", now_ms)


def ask(
    connection: sa.Connection,
    intent: Intent,
    request: str,
    reason: str,
    now_ms: int,
    price: Decimal | None = None,
    *,
    chase_price: Decimal | None = None,
) -> bool:
    """Record what is going to be asked of an order that rests. Return False where the ledger has it otherwise by now.

    A request that was made before, and is made again, counts once more.

    Args:
        price: that it is to have.
        chase_price: up to which it follows the market from now on, where the one of before is no price any more.
    """
    is_new = (intent.request, intent.request_reason) != (request, reason)
    values: dict[str, object] = {
        "request": request,
        "request_reason": reason,
        "requests": intent.requests + 1,
        "updated_ms": now_ms,
    }
    if price is not None:
        values["price"] = price
    if chase_price is not None:
        values["chase_price"] = chase_price
    if not _change_resting(connection, intent, values):
        return False
    if is_new:
        to = f" to {price}" if price is not None else ""
        _record(connection, intent.order_link_id, RESTING, f"{request}{to}: {reason}", now_ms)
    return True


def observe(
    connection: sa.Connection,
    intent: Intent,
    *,
    filled_qty: Decimal,
    average_price: Decimal | None,
    seen_ms: int,
    is_amended: bool,
    now_ms: int,
) -> bool:
    """Record what was seen of an order that rests. Return False where the ledger has it otherwise by now.

    Args:
        is_amended: the amendment that was asked for is done.
    """
    values: dict[str, object] = {"seen_ms": seen_ms, "unseen_since_ms": None}
    if is_amended:
        values |= {"request": None, "request_reason": None}
    has_filled = filled_qty > (intent.filled_qty or 0)
    if has_filled:
        values |= {"filled_qty": filled_qty, "average_price": average_price, "updated_ms": now_ms}
    if not _change_resting(connection, intent, values):
        return False
    if has_filled:
        _record(connection, intent.order_link_id, RESTING, f"{filled_qty} of {intent.qty} are filled", now_ms)
    return True


def _change_resting(connection: sa.Connection, intent: Intent, values: Mapping[str, object]) -> bool:
    link, request = order_intents.c.order_link_id == intent.order_link_id, order_intents.c.request
    same = request.is_(None) if intent.request is None else request == intent.request
    where = (link, order_intents.c.status == RESTING, same)
    return connection.execute(sa.update(order_intents).where(*where).values(**values)).rowcount == 1


def resting(source: Database | sa.Connection, account: str) -> list[Intent]:
    """Return the intents whose orders rest at the exchange, the oldest first."""
    return _intents(
        source,
        sa.select(order_intents)
        .where(order_intents.c.account == account, order_intents.c.status == RESTING)
        .order_by(order_intents.c.created_ms, order_intents.c.order_link_id),
    )


def set_seen(connection: sa.Connection, link: str, unseen_since_ms: int | None) -> None:
    """Record since when the position of an intent is not seen; None where it is seen."""
    connection.execute(
        sa.update(order_intents).where(order_intents.c.order_link_id == link).values(unseen_since_ms=unseen_since_ms)
    )


def set_unprotected(connection: sa.Connection, link: str, since_ms: int | None) -> None:
    """Record since when the position of an intent is without its stop; None where it has it."""
    connection.execute(
        sa.update(order_intents).where(order_intents.c.order_link_id == link).values(unprotected_since_ms=since_ms)
    )


def _slot(intent: Intent) -> str:
    return f"{intent.account}:{intent.symbol}"


def _taken_by_another(connection: sa.Connection, intent: Intent) -> bool:
    taken = sa.select(order_intents.c.order_link_id).where(
        order_intents.c.open_slot == _slot(intent), order_intents.c.order_link_id != intent.order_link_id
    )
    return connection.execute(taken).first() is not None


def _occupied(connection: sa.Connection, account: str) -> int:
    return connection.execute(
        sa.select(sa.func.count()).where(order_intents.c.account == account, order_intents.c.open_slot.is_not(None))
    ).scalar_one()


def _record(connection: sa.Connection, link: str, status: str, detail: str | None, now_ms: int) -> None:
    connection.execute(sa.insert(order_events).values(order_link_id=link, status=status, detail=detail, time_ms=now_ms))


def _intents(source: Database | sa.Connection, statement: sa.Select[tuple[object, ...]]) -> list[Intent]:
    if isinstance(source, Database):
        with source.read() as connection:
            return _intents(connection, statement)
    return [
        Intent(
            order_link_id=row["order_link_id"],
            signal_id=row["signal_id"],
            account=row["account"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            qty=row["qty"],
            stop_loss=row["stop_loss"],
            take_profit=row["take_profit"],
            leverage=row["leverage"],
            status=row["status"],
            order_id=row["order_id"],
            created_ms=row["created_ms"],
            touched_wall_ms=row["touched_wall_ms"],
            filled_qty=row["filled_qty"],
            average_price=row["average_price"],
            reason=row["reason"],
            unseen_since_ms=row["unseen_since_ms"],
            unprotected_since_ms=row["unprotected_since_ms"],
            price=row["price"],
            post_only=bool(row["post_only"]),
            until_ms=row["until_ms"],
            chase_price=row["chase_price"],
            request=row["request"],
            requests=row["requests"] or 0,
            request_reason=row["request_reason"],
            seen_ms=row["seen_ms"],
        )
        for row in source.execute(statement).mappings().all()
    ]
