"""The steps of a pass over a grid, in sequence: where a trial may let its process end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from trading_assets.trading.context import ExecutionContext


class GridStep(StrEnum):
    """A step of a pass; those after the first are taken only where something is to be done."""

    OBSERVE = "grid observe"
    CHANGE = "grid change"
    CANCEL = "grid cancel"
    STOP = "grid stop"
    RESERVE = "grid reserve"
    CREATE = "grid create"
    ACKNOWLEDGE = "grid acknowledge"


@contextmanager
def grid_step(context: ExecutionContext, taken: GridStep) -> Iterator[None]:
    """Tell the context's `at` before and after the block."""
    context.at(f"before {taken}")
    yield
    context.at(f"after {taken}")
