"""What every step of an order needs: the points that tests and chaos stop at, the venue's time as it goes on, and the
change of a state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from trading_assets.core import logs, trace
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.events import TradeEvent
from trading_assets.core.foreign_text import get_logger
from trading_assets.ledger import signals
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.saga import transitions
from trading_assets.trading.saga.transitions import Step

_log = get_logger(__name__)


@contextmanager
def step(context: ExecutionContext, taken: Step, intent: Intent) -> Iterator[None]:
    """Tell the context's `at` before and after the block. Lines of the log in it are the order's; so is its span."""
    context.at(f"before {taken}")
    about = fields_of(intent)
    with logs.bound(**about), trace.span(f"order.{taken}", **about):
        yield
    context.at(f"after {taken}")


def fields_of(intent: Intent) -> dict[str, str]:
    """What a line of the log, or a span, says of an order."""
    return {
        "account": intent.account,
        "symbol": intent.symbol,
        "signal_id": intent.signal_id,
        "order_link_id": intent.order_link_id,
        "order_id": intent.order_id or "",
        "side": intent.side.value,
        "qty": str(intent.qty),
    }


def log(event: str, intent: Intent, words: str, **figures: object) -> None:
    """One line of the log about an order, where its way goes on."""
    told = fields_of(intent) | figures
    extra = {**told, "event": event}
    _log.info("%s %s %s: %s", intent.side.value, intent.symbol, intent.qty, words, extra=extra)


def end_trace(context: ExecutionContext, intent: Intent, outcome: str) -> None:
    """Export the span above all others of the order: from the end of its signal's candle to what came of it."""
    if not trace.is_on():
        return
    with suppress(TradingAssetsError):
        rows = signals.by_ids(context.database, [intent.signal_id])
        for closed_ms in rows["signal_timestamp_ms"]:
            lasted_s = (venue_ms(context, intent) - int(closed_ms)) / 1000
            about = {**fields_of(intent), "outcome": outcome}
            trace.ended_span("trade", about, signal_id=intent.signal_id, lasted_s=lasted_s, is_root=True)


def venue_ms(context: ExecutionContext, intent: Intent) -> int:
    """Return the venue's time by the local clock's progress: a request could fail when a failure is recorded."""
    return intent.created_ms + max(context.wall_ms() - intent.touched_wall_ms, 0)


def move(
    context: ExecutionContext, intent: Intent, state: str, event: TradeEvent | None = None, **details: Any
) -> Intent | None:
    """Return the intent in its new state; None where another process changed it first.

    Args:
        event: what is told of it: the message is kept in the same transaction.
    """
    now_ms, wall_ms = venue_ms(context, intent), context.wall_ms()
    with context.database.write() as connection:
        moved = transitions.advance_in(connection, intent, state, now_ms=now_ms, wall_ms=wall_ms, **details)
        if moved is not None and event is not None:
            context.keep_event(connection, event)
    if moved is not None and event is None:  # events are logged when they are published
        log(f"order_{state}", moved, f"the order is {state}", reason=details.get("reason"))
    return moved


def move_all(
    context: ExecutionContext, intents: Sequence[tuple[Intent, str | None]], state: str
) -> list[Intent | None]:
    """`move` of several intents, each with the exchange's id of its order, in one transaction."""
    if not intents:
        return []
    wall_ms = context.wall_ms()
    with context.database.write() as connection:
        found = [
            transitions.advance_in(
                connection, intent, state, now_ms=venue_ms(context, intent), wall_ms=wall_ms, order_id=order_id
            )
            for intent, order_id in intents
        ]
    for moved in found:
        if moved is not None:
            log(f"order_{state}", moved, f"the order is {state}")
    return found
