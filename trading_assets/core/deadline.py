"""A deadline for a whole command. It ends the process, as nothing less ends a call that never returns."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_CODE = 124
"""As of coreutils' `timeout`."""


def _leave(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


@contextmanager
def ends_within(seconds: float, what: str, *, leave: Callable[[str], None] = _leave) -> Iterator[None]:
    """End the process if the block takes longer, as a kill would; what was sent before stays sent.

    Args:
        leave: ends the process with a text for the person who waits.
    """
    text = (
        f"error: {what} has not ended within {seconds:g} s (TRADING_ASSETS_COMMAND_DEADLINE_S) and was given up: a "
        "database or an exchange does not answer. What was sent stays sent: look at the account, then start it again"
    )
    timer = threading.Timer(seconds, leave, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
