"""The order saga as a table: its states, its steps, what follows what. The one way along it is `advance`.

The executor, recovery and the reconciler move intents through `advance` alone, and `docs/order_saga.md` shows the same
tables. What happens in a step is in `trading.execute.steps`.
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
    """An order intent was to go where the saga's table has no way. Nothing was written: this is a bug."""


class Step(StrEnum):
    """The steps of one order, in their order; `ATTACH` and `EXIT` are taken only for a position without its stop."""

    RESERVE = "reserve"
    LEVERAGE = "leverage"
    CREATE = "create"
    ACKNOWLEDGE = "acknowledge"
    CONFIRM = "confirm"
    PROTECT = "protect"
    ATTACH = "attach"
    EXIT = "exit"
    RECORD = "record"


@dataclass(frozen=True)
class StepRule:
    """What a step does, why doing it again is harmless, what undoes it, and who goes on when the process dies in it."""

    does: str
    again: str
    compensation: str
    after_crash: str


STEPS: Mapping[Step, StepRule] = {
    Step.RESERVE: StepRule(
        "one transaction: signal to `executing`, one of the account's places, the symbol, and the intent with its "
        "`orderLinkId`",
        "the signal is no longer `active`, the symbol is taken: a second reservation is refused",
        "`rejected` or `abandoned` gives symbol and place back",
        "looked up after 30 s; nothing was sent, so `abandoned`",
    ),
    Step.LEVERAGE: StepRule(
        "sets the symbol's leverage",
        'the same value again is "not modified", which is success',
        "none is needed: without a position leverage costs nothing; the intent ends",
        "looked up after 30 s; nothing was sent, so `abandoned`",
    ),
    Step.CREATE: StepRule(
        "one market order with its stop and target attached, at most 10 s after the reservation and before the "
        "signal's end",
        "sent again only where the exchange certainly never saw it, with the same `orderLinkId`, which the exchange "
        "takes once",
        "an answer that leaves the outcome open is looked up, never answered by sending again",
        "looked up by `orderLinkId`: there, or not",
    ),
    Step.ACKNOWLEDGE: StepRule(
        "records the exchange's `orderId`, or that the outcome is open",
        "a record of a state that was left already changes nothing",
        "none is needed",
        "looked up by `orderLinkId`: there, or not",
    ),
    Step.CONFIRM: StepRule(
        "looks the order up until it is final: open and recent orders, then the history, then the position",
        "only reads",
        "nothing filled: `rejected`",
        "looked up again at the next run",
    ),
    Step.PROTECT: StepRule(
        "reads the position and sees its stop",
        "only reads",
        "a position without its stop goes on with `attach`",
        "the order is found filled at the next run, which goes on here",
    ),
    Step.ATTACH: StepRule(
        "sets stop and target on the position, and reads it again",
        'the same stop again is "not modified", which is success',
        "a stop that is refused, or is not seen: `exit`",
        "as `protect`",
    ),
    Step.EXIT: StepRule(
        "closes the position by reduce-only orders, each with an `orderLinkId` of its own, until it is gone",
        "reduce-only never opens; a used `orderLinkId` is passed over",
        "what is left is closed by the next order; a human is told",
        "as `protect`",
    ),
    Step.RECORD: StepRule(
        "records quantity and price; the signal is `executed`",
        "a record of a state that was left already changes nothing",
        "none is needed",
        "the order is found filled at the next run, its position with its stop: recorded then",
    ),
}


@dataclass(frozen=True)
class StateRule:
    """A state of an intent.

    Attributes:
        signal: the status of its signal.
        occupies: it keeps its symbol and one of the account's places.
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
            orders.UNKNOWN: "the answer leaves open whether it was placed",
            orders.CONFIRMED: "looked up after a crash: filled, its position has its stop or was closed",
            orders.REJECTED: "refused, or nothing was filled",
            orders.ABANDONED: "certainly not sent, or not found 30 s later",
        },
    ),
    orders.SUBMITTED: StateRule(
        "the exchange has taken it; its end is not known yet",
        signals.EXECUTING,
        True,
        {
            orders.CONFIRMED: "filled, its position has its stop or was closed",
            orders.REJECTED: "nothing was filled",
            orders.ABANDONED: "10 minutes later the exchange shows neither order nor position",
        },
    ),
    orders.UNKNOWN: StateRule(
        "sent; whether the exchange has taken it is not known",
        signals.EXECUTING,
        True,
        {
            orders.SUBMITTED: "looked up: the exchange has it, not final yet",
            orders.CONFIRMED: "looked up: filled, its position has its stop or was closed",
            orders.REJECTED: "looked up: nothing was filled",
            orders.ABANDONED: "not found 30 s later, and no position either",
        },
    ),
    orders.CONFIRMED: StateRule(
        "filled; the position is open, with its stop",
        signals.EXECUTED,
        True,
        {orders.CLOSED: "the exchange no longer holds the position"},
    ),
    orders.CLOSED: StateRule("filled; the position is gone", signals.EXECUTED, False, {}),
    orders.REJECTED: StateRule(
        "no position came of it: the exchange said no", signals.REJECTED, False, _SHOWN_AFTER_ALL
    ),
    orders.ABANDONED: StateRule("no position came of it: it never got there", signals.FAILED, False, _SHOWN_AFTER_ALL),
}
"""Every state with what may follow it; there is no other way."""


def require(before: str, after: str) -> StateRule:
    """The rule of the state `after`.

    Raises:
        IllegalTransitionError: the table has no way from `before` to it.
    """
    rule = STATES.get(before)
    if rule is None or after not in rule.following:
        ways = ", ".join(rule.following) if rule is not None and rule.following else "none"
        raise IllegalTransitionError(f"an order intent cannot go from {before!r} to {after!r}; ways from there: {ways}")
    return STATES[after]


def advance(
    database: Database, intent: Intent, state: str, *, now_ms: int, wall_ms: int, **details: Any
) -> Intent | None:
    """`advance_in` in a transaction of its own."""
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
) -> Intent | None:
    """Move an intent, and its signal with it; the intent as it is then.

    None where the ledger has it in another state than `intent` says: another process was first, nothing was written.

    Raises:
        IllegalTransitionError: the table has no such way.
    """
    rule = require(intent.status, state)
    details = {"order_id": order_id, "filled_qty": filled_qty, "average_price": average_price}
    known = {name: value for name, value in details.items() if value is not None}
    moved = orders.move(
        connection,
        intent,
        state,
        signal_status=rule.signal,
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


def steps_table() -> str:
    """The steps as a Markdown table."""
    rows = [f"| `{step}` | {r.does} | {r.again} | {r.compensation} | {r.after_crash} |" for step, r in STEPS.items()]
    head = "| step | what it does | why it may be done again | what undoes it | after a crash in it |"
    return "\n".join([head, "|---|---|---|---|---|", *rows]) + "\n"


def states_table() -> str:
    """The states and the ways between them as a Markdown table."""
    rows = []
    for name, rule in STATES.items():
        ways = "<br>".join(f"`{after}`: {why}" for after, why in rule.following.items()) or "the end"
        keeps = "yes" if rule.occupies else "no"
        rows.append(f"| `{name}` | {rule.meaning} | `{rule.signal}` | {keeps} | {ways} |")
    head = "| state | meaning | its signal is | keeps the symbol | what may follow, and when |"
    return "\n".join([head, "|---|---|---|---|---|", *rows]) + "\n"
