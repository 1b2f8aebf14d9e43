"""A deadline for a whole command. It ends the process, as nothing less ends a call that never returns."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_CODE = 124
"""As of coreutils' `timeout`."""

PARTS = 12
"""A part of something long may take so many times as long as a command."""


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
    with _Watch(seconds, lambda: leave(text)):
        yield


@contextmanager
def interrupted_within(seconds: float, what: str) -> Iterator[None]:
    """Send the main thread SIGTERM if the block takes longer; end the process if it then takes as long once more.

    For a block of the main thread that takes back what it has done. The caller makes an exception of SIGTERM.
    """
    text = (
        f"error: {what} has not ended within {seconds:g} s (TRADING_ASSETS_COMMAND_DEADLINE_S) and is interrupted: "
        "what it did is taken back"
    )

    def interrupt() -> None:
        print(text, file=sys.stderr, flush=True)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    with ends_within(2 * seconds, what), _Watch(seconds, interrupt):
        yield


@contextmanager
def ends_without_progress(
    command_s: float, what: str, *, leave: Callable[[str], None] = _leave
) -> Iterator[Callable[[], None]]:
    """End the process if no part of the block is finished for `PARTS` times as long as a command may take, s.

    Yields: what to call when a part is finished.
    """
    seconds = PARTS * command_s
    text = (
        f"error: {what} has finished nothing for {seconds:g} s ({PARTS} times TRADING_ASSETS_COMMAND_DEADLINE_S) and "
        "was given up: a database or a disk does not answer. Start it again"
    )
    with _Watch(seconds, lambda: leave(text)) as watch:
        yield watch.begin_again


class _Watch:
    """Calls a function once when its time is over. The time can begin again."""

    def __init__(self, seconds: float, late: Callable[[], None]) -> None:
        self._seconds, self._late = seconds, late
        self._until = time.monotonic() + seconds
        self._ended = threading.Event()

    def begin_again(self) -> None:
        self._until = time.monotonic() + self._seconds

    def __enter__(self) -> _Watch:
        threading.Thread(target=self._wait, name="deadline", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _wait(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            if self._ended.wait(left):
                return
        self._late()
