"""The states of an order intent and the transitions between them. `advance_in` is the only way to change a state.

Order execution, recovery and reconciliation all change intents by it, and `docs/order_saga.md` shows the table of
states. What happens in a step is in `trading.saga.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from trading_assets.core.errors import TradingAssetsError
from trading_assets.ledger import orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.orders import Intent


class IllegalTransitionError(TradingAssetsError):
    """The table has no such transition of an order intent. Nothing was written: this is a bug."""


class Step(StrEnum):
    """The steps of one order, in sequence.

    `FOLLOW`, `AMEND` and `CANCEL` are taken only for an order that rests, `ATTACH` and `EXIT` only for an unprotected
    position, those from `DECIDE` on only for a position with an exit plan.
    """

    RESERVE = "reserve"
    LEVERAGE = "leverage"
    CREATE = "create"
    ACKNOWLEDGE = "acknowledge"
    CONFIRM = "confirm"
    FOLLOW = "follow"
    AMEND = "amend"
    CANCEL = "cancel"
    PROTECT = "protect"
    ATTACH = "attach"
    EXIT = "exit"
    RECORD = "record"
    DECIDE = "decide"
    TIGHTEN = "tighten"
    PART = "part"
    LEAVE = "leave"
    CLEAR = "clear"


@dataclass(frozen=True)
class StateRule:
    """A state of an intent.

    Attributes:
        signal: the status of its signal.
        occupies: whether it keeps its symbol and one of the account's places.
        following: the states that may come next, each with its reason.
    """

    meaning: str
    signal: str
    occupies: bool
    following: Mapping[str, str]


_SHOWN_AFTER_ALL = {
    orders.CONFIRMED: "the exchange shows a fill of it after all, and its position is open",
    orders.CLOSED: "the exchange shows a fill of it after all, and its position is gone",
}

STATES: Mapping[str, StateRule] = {
    orders.INTENT: StateRule(
        "reserved and recorded; it may have been sent",
        signals.EXECUTING,
        True,
        {
            orders.SUBMITTED: "the exchange has taken it",
            orders.RESTING: "looked up after a crash: it waits at its price",
            orders.UNKNOWN: "the answer leaves open whether it was placed",
            orders.CONFIRMED: "looked up after a crash: filled, its position has its stop or was closed",
            orders.REJECTED: "refused, or nothing was filled",
            orders.ENDED: "looked up after a crash: it has waited, and nothing was filled",
            orders.ABANDONED: "certainly not sent, or not found 30 s later",
        },
    ),
    orders.SUBMITTED: StateRule(
        "the exchange has taken it; its end is not known yet",
        signals.EXECUTING,
        True,
        {
            orders.RESTING: "it waits at its price",
            orders.CONFIRMED: "filled, its position has its stop or was closed",
            orders.REJECTED: "nothing was filled",
            orders.ENDED: "it has waited, and nothing was filled",
            orders.ABANDONED: "10 minutes later the exchange shows neither order nor position",
        },
    ),
    orders.UNKNOWN: StateRule(
        "sent; whether the exchange has taken it is not known",
        signals.EXECUTING,
        True,
        {
            orders.SUBMITTED: "looked up: the exchange has it, not final yet",
            orders.RESTING: "looked up: it waits at its price",
            orders.CONFIRMED: "looked up: filled, its position has its stop or was closed",
            orders.REJECTED: "looked up: nothing was filled",
            orders.ENDED: "looked up: it has waited, and nothing was filled",
            orders.ABANDONED: "not found 30 s later, and no position either",
        },
    ),
    orders.RESTING: StateRule(
        "waits at its price; what it has filled has its stop",
        signals.EXECUTING,
        True,
        {
            orders.CONFIRMED: "it has ended, filled wholly or in part",
            orders.REJECTED: "the exchange has taken it back: post-only, or for a rule",
            orders.ENDED: "it has ended with nothing filled: in time, for a halt, or by another hand; or for a day "
            "neither it nor a fill of it is seen",
        },
    ),
    orders.CONFIRMED: StateRule(
        "filled; the position is open, with its stop",
        signals.EXECUTED,
        True,
        {orders.CLOSED: "closings add up to it, or a person says that it is gone"},
    ),
    orders.CLOSED: StateRule(
        "filled; the position is gone",
        signals.EXECUTED,
        False,
        {orders.CONFIRMED: "a person says that its end was a mistake: it is open, and ours"},
    ),
    orders.REJECTED: StateRule(
        "no position came of it: the exchange said no", signals.REJECTED, False, _SHOWN_AFTER_ALL
    ),
    orders.ENDED: StateRule(
        "no position came of it: it has waited at its price, and nothing was filled",
        signals.EXPIRED,
        False,
        _SHOWN_AFTER_ALL,
    ),
    orders.ABANDONED: StateRule(
        "no position came of it: it never got there; certainly not sent, its signal is `active` again",
        signals.FAILED,
        False,
        {orders.INTENT: "its signal waits again and has its next turn, under the same id", **_SHOWN_AFTER_ALL},
    ),
}
"""Every state with its transitions. There are no others."""


def require(before: str, after: str) -> StateRule:
    """Return the rule of the state `after`.

    Raises:
        IllegalTransitionError: the table has no transition from `before` to it.
    """
    rule = STATES.get(before)
    if rule is None or after not in rule.following:
        ways = ", ".join(rule.following) if rule is not None and rule.following else "none"
        raise IllegalTransitionError(f"an order intent cannot go from {before!r} to {after!r}; ways from there: {ways}")
    return STATES[after]


def advance(
    database: Database, intent: Intent, state: str, *, now_ms: int, wall_ms: int, **details: Any
) -> Intent | None:
    """Do `advance_in` in a transaction of its own."""
    with database.write() as connection:
        return advance_in(connection, intent, state, now_ms=now_ms, wall_ms=wall_ms, **details)


def advance_in(
    connection: sa.Connection,
    intent: Intent,
    state: str,
    *,
    now_ms: int,
    wall_ms: int,
    reason: str | None = None,
    order_id: str | None = None,
    filled_qty: Decimal | None = None,
    average_price: Decimal | None = None,
    signal_status: str | None = None,
) -> Intent | None:
    """Change the state of an intent and the status of its signal. Return the intent as it is then.

    Args:
        signal_status: of its signal, where it is not that of the table: one whose order was certainly not sent waits
            again.

    Return None, and write nothing, where the ledger has the intent in another state than `intent` says: another process
    was first.

    Raises:
        IllegalTransitionError: the table has no such transition.
    """
    rule = require(intent.status, state)
    details = {"order_id": order_id, "filled_qty": filled_qty, "average_price": average_price}
    known = {name: value for name, value in details.items() if value is not None}
    moved = orders.move(
        connection,
        intent,
        state,
        signal_status=signal_status or rule.signal,
        occupies=rule.occupies,
        reason=reason,
        values=known,
        now_ms=now_ms,
        wall_ms=wall_ms,
    )
    if not moved:
        return None
    if reason is not None:
        known["reason"] = reason
    return replace(intent, status=state, touched_wall_ms=wall_ms, **known)  # type: ignore[arg-type]


def states_table() -> str:
    """Return the states and their transitions as a Markdown table."""
    rows = []
    for name, rule in STATES.items():
        ways = "<br>".join(f"`{after}`: {why}" for after, why in rule.following.items()) or "the end"
        keeps = "yes" if rule.occupies else "no"
        rows.append(f"| `{name}` | {rule.meaning} | `{rule.signal}` | {keeps} | {ways} |")
    head = "| state | meaning | its signal is | keeps the symbol | what may follow, and when |"
    return "\n".join([head, "|---|---|---|---|---|", *rows]) + "\n"
