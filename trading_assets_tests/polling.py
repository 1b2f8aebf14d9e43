"""Waiting for what comes true in another thread or process, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
POLL_S = 0.02


def until(true: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until it is true.

    Raises:
        AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(POLL_S)
