"""A thread that does one kind of work beside the session's loop, when it is asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


class WorkerThread:
    """Does `work` each time it is woken; wakes that come while it works are one more turn.

    Args:
        work: returns after how many seconds it wants another turn, None for none.
        rest_s: shortest time from the beginning of one turn to that of the next.
    """

    def __init__(self, name: str, work: Callable[[], float | None], *, rest_s: float = 0.0) -> None:
        self._work, self._rest_s = work, rest_s
        self._asked, self._ending = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to wait for work."""
        self._thread.start()

    def wake(self) -> None:
        """Ask for a turn, from any thread. Returns at once."""
        self._asked.set()

    @property
    def is_ending(self) -> bool:
        return self._ending.is_set()

    def require(self) -> None:
        """Raise what has ended the thread, if anything has."""
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Let the turn in progress be the last. Returns at once."""
        self._ending.set()
        self._asked.set()

    def finish(self, timeout_s: float) -> bool:
        """Let the turn in progress end, and take no more. Return whether it has ended in time."""
        self.end()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        again_s: float | None = None
        try:
            while True:
                self._asked.wait(again_s)
                if self._ending.is_set():
                    return
                self._asked.clear()
                again_s = self._work()
                if self._rest_s:
                    self._ending.wait(self._rest_s)
        except BaseException as error:  # noqa: BLE001 (raised again by the session's loop)
            self._error = error


def finish_all(workers: Sequence[WorkerThread], timeout_s: float) -> bool:
    """Let the turns in progress end, all at once. Return whether all have ended within this one time."""
    for worker in workers:
        worker.end()
    until = time.monotonic() + timeout_s
    ended = [worker.finish(max(until - time.monotonic(), 0.0)) for worker in workers]
    return all(ended)
