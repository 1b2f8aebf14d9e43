"""The steps of a pass over a DCA plan, in sequence: where a trial may let its process end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from trading_assets.trading.context import ExecutionContext


class DcaStep(StrEnum):
    """A step of a pass; those after the first are taken only where something is to be done."""

    OBSERVE = "dca observe"
    CHANGE = "dca change"
    SKIP = "dca skip"
    CANCEL = "dca cancel"
    STOP = "dca stop"
    RESERVE = "dca reserve"
    CREATE = "dca create"
    ACKNOWLEDGE = "dca acknowledge"


@contextmanager
def dca_step(context: ExecutionContext, taken: DcaStep) -> Iterator[None]:
    """Tell the context's `at` before and after the block."""
    context.at(f"before {taken}")
    yield
    context.at(f"after {taken}")
