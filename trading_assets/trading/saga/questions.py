"""Intents that need a person: what ledger and exchange cannot settle by themselves, and what a person has answered.

An answer is one more transition, written with who gave it and why. It changes the ledger alone: what is at the exchange
is compared in the next reconciliation, and protected again where it is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.timeframes import iso
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.orders import Intent
from trading_assets.trading.saga import transitions
from trading_assets.trading.saga.transitions import STATES, IllegalTransitionError

RESTS_TOO_LONG_MS = 600_000
"""An order that still rests so long after its time has a person look at it."""

ANSWERS = (orders.CLOSED, orders.CONFIRMED, orders.ABANDONED)
"""States that a person may put an intent in: its position is gone, it is open and ours, it never came to be."""


class NoSuchIntentError(TradingAssetsError):
    """The ledger has no such intent, or more than one."""


@dataclass(frozen=True)
class Question:
    """An intent that needs a person, or will.

    Attributes:
        why: what is not known.
        since_ms: since when, UTC ms.
        closed_qty: how much of it the ledger has closings of, in coins.
        is_overdue: it is told as a difference already.
    """

    intent: Intent
    why: str
    since_ms: int
    closed_qty: Decimal
    is_overdue: bool


def questions(database: Database, account: str, *, tell_unseen_after_ms: int) -> list[Question]:
    """Return the intents that a person may have to answer for, the longest waiting first.

    Args:
        tell_unseen_after_ms: a position that is not seen for so long is told.
    """
    read_ms = account_ledger.reconciled_until_ms(database, account) or 0
    closings = execution_ledger.own_closings(database, account, 0)
    found = []
    for intent in orders.occupying(database, account):
        closed = sum((one.qty for one in closings if one.signal_id == intent.signal_id), Decimal(0))
        if intent.status == orders.RESTING:
            found.append(_resting(intent, closed, read_ms))
        elif intent.status in orders.UNRESOLVED:
            why = f"what became of its order is not known ({intent.status})"
            found.append(Question(intent, why, intent.created_ms, closed, is_overdue=True))
        if intent.unseen_since_ms is not None and intent.status != orders.RESTING:
            is_overdue = read_ms - intent.unseen_since_ms >= tell_unseen_after_ms
            why = "its position is not seen, and no closing tells its end"
            found.append(Question(intent, why, intent.unseen_since_ms, closed, is_overdue))
        if intent.unprotected_since_ms is not None:
            why = "its position has no stop of its own"
            found.append(Question(intent, why, intent.unprotected_since_ms, closed, is_overdue=True))
    return sorted(found, key=lambda question: question.since_ms)


def _resting(intent: Intent, closed: Decimal, read_ms: int) -> Question:
    why = f"its order waits at {intent.price}, {intent.filled_qty or 0} of {intent.qty} are filled"
    if intent.until_ms is not None:
        why += f", until {iso(intent.until_ms)}"
    if intent.request is not None:
        why += f"; asked to {intent.request} ({intent.requests} times): {intent.request_reason}"
    if intent.unseen_since_ms is not None:
        why += f"; it is not seen since {iso(intent.unseen_since_ms)}"
    end_ms = intent.until_ms if intent.until_ms is not None else read_ms
    is_overdue = intent.unseen_since_ms is not None or read_ms - end_ms >= RESTS_TOO_LONG_MS
    return Question(intent, why, intent.created_ms, closed, is_overdue)


def find(database: Database, account: str, name: str) -> Intent:
    """Return the intent of an order link id or signal id.

    Raises:
        NoSuchIntentError: there is none.
    """
    with database.read() as connection:
        intent = orders.by_name(connection, account, name)
    if intent is None:
        raise NoSuchIntentError(
            f"account {account} has no intent {name!r}; expected an order link id or a signal id, as "
            "trading-assets intents list shows them"
        )
    return intent


def resolve(
    database: Database, intent: Intent, answer: str, *, reason: str, actor: str, now_ms: int, wall_ms: int
) -> Intent:
    """Put an intent in the state that a person says it is in. Its history keeps who and why.

    A position that is confirmed again is looked for anew: it keeps its symbol, unless another one of ours has taken it.

    Raises:
        IllegalTransitionError: the intent cannot get there from its state.
        NoSuchIntentError: another process has changed it meanwhile.
    """
    if answer == intent.status:
        with database.write() as connection:
            orders.set_seen(connection, intent.order_link_id, None)
            orders.note(connection, intent, f"{actor}: {reason}", now_ms)
        return intent
    if intent.status == orders.RESTING:
        raise IllegalTransitionError(
            f"the order of intent {intent.order_link_id} waits at the exchange, and cannot be said to be {answer!r}: "
            "cancel it there, or halt trading; its end is seen then"
        )
    if answer not in ANSWERS or answer not in STATES[intent.status].following:
        ways = ", ".join(way for way in STATES[intent.status].following if way in ANSWERS) or "none"
        raise IllegalTransitionError(
            f"intent {intent.order_link_id} is {intent.status!r}, and cannot be said to be {answer!r}; from there a "
            f"person may say: {ways}"
        )
    with database.write(one_at_a_time=f"books of {intent.account}") as connection:
        moved = transitions.advance_in(
            connection, intent, answer, now_ms=now_ms, wall_ms=wall_ms, reason=f"{actor}: {reason}"
        )
        if moved is not None:
            orders.set_seen(connection, intent.order_link_id, None)
            if answer != orders.CONFIRMED:
                orders.set_unprotected(connection, intent.order_link_id, None)
    if moved is None:
        raise NoSuchIntentError(
            f"intent {intent.order_link_id} is no longer {intent.status!r}: another process has changed it; look again"
        )
    return moved
