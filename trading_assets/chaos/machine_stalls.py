"""How long the machine held this process up: a trial on a clock that runs fast allows what it judges that much more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_EVERY_S = 0.05


class Stalls:
    """The longest time by which a thread that does nothing woke up late."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._ends = threading.Event()

    def _watch(self) -> None:
        while True:
            began = time.monotonic()
            if self._ends.wait(_EVERY_S):
                return
            self.longest_s = max(self.longest_s, time.monotonic() - began - _EVERY_S)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch from now to the end of the block."""
        thread = threading.Thread(target=self._watch, name="stalls", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()
