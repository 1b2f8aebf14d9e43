"""What every step of an order needs: the points that tests and chaos stop at, and the venue's time as it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.saga.transitions import Step


@contextmanager
def step(context: ExecutionContext, taken: Step) -> Iterator[None]:
    """Tell the context's `at` before and after the block."""
    context.at(f"before {taken}")
    yield
    context.at(f"after {taken}")


def venue_ms(context: ExecutionContext, intent: Intent) -> int:
    """Return the venue's time by the local clock's progress: a request could fail when a failure is recorded."""
    return intent.created_ms + max(context.wall_ms() - intent.touched_wall_ms, 0)
