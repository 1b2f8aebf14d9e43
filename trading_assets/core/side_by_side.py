"""Reads that do not depend on each other, begun at once. Each takes as long as the exchange; together they take no
longer than the slowest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Answer = TypeVar("_Answer")


def begin(read: Callable[[], _Answer]) -> Future[_Answer]:
    """Begin a read in a thread of its own. `result()` waits for it, and raises what it raised.

    Who is interrupted waits for none: the thread keeps no process alive.
    """
    future: Future[_Answer] = Future()

    def work() -> None:
        try:
            answer = read()
        except BaseException as error:  # noqa: BLE001 (raised again by whoever asks for the result)
            future.set_exception(error)
        else:
            future.set_result(answer)

    threading.Thread(target=work, name="read", daemon=True).start()
    return future


def done(answer: _Answer) -> Future[_Answer]:
    """What `begin` gives, of an answer that is there already."""
    future: Future[_Answer] = Future()
    future.set_result(answer)
    return future
