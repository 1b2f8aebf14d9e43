"""The rate limiter: all processes of the machine count their requests together, in one small file.

The file is locked for microseconds; the system frees the lock of a process that dies. A write goes beside the state in
force, and the header then points at it: a process that is killed in between leaves the old state. Counting itself is in
`rate_limits`.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import orjson

from trading_assets.core.errors import NotSentError, RateLimitedError, StorageError
from trading_assets.core.private_files import FILE, owned_folder
from trading_assets.exchange.rate_limits import Limit, Permit, RequestBudget, RetryAfter, RollingWindow

_HEADER = struct.Struct("<8sIII")
_MAGIC = b"pacing01"
"""The format of the file, as it was first named."""
_AREAS = (4096, 4096 + (1 << 17))
_LOCK_TRIES, _LOCK_PAUSE_S = 4000, 0.0005
"""Two seconds: more than a thousand times what anybody needs the lock for."""

_MILLISECONDS = 1000

Milliseconds = Callable[[], int]


def boot_ms() -> int:
    """Ms of the machine's own clock: the same in all its processes, and nobody sets it."""
    return time.monotonic_ns() // 1_000_000


class RateLimiter(Protocol):
    """Gives each request its permit; safe for threads."""

    def acquire(
        self, limits: Sequence[Limit], *, lease_s: float, patience_s: float, cost: int = 1
    ) -> Permit | RetryAfter:
        """A permit, or how long to wait before asking again.

        Raises:
            RateLimitedError: nothing may be sent now.
            NotSentError: the count of requests cannot be read.
        """
        ...

    def room(self, limits: Sequence[Limit], most: int) -> int:
        """How much a request may cost and go out now, up to `most`; 0 where none may, or the count cannot be read."""
        ...

    def release(
        self, permit: Permit, limits: Sequence[Limit], *, granted: int | None = None, refused_s: float | None = None
    ) -> None:
        """The request of a permit has its answer, or will have none.

        Args:
            granted: the endpoint's limit, as the answer told it.
            refused_s: the venue refused it under the last of the limits, and wants no request for so long.
        """
        ...

    def refused(self, limits: Sequence[Limit], wait_s: float) -> None:
        """The venue refused a part of an answered request under the last of the limits, and wants none for so long."""
        ...

    def ban(self, seconds: float) -> None:
        """Let nothing out for so long: the venue has banned this address."""
        ...


class NoRateLimiter:
    """For a venue without limits. A ban is known to this process only."""

    def __init__(self, now_ms: Milliseconds = boot_ms) -> None:
        self._now_ms = now_ms
        self._budget = RequestBudget()

    def acquire(
        self, limits: Sequence[Limit], *, lease_s: float, patience_s: float, cost: int = 1
    ) -> Permit | RetryAfter:
        """See `RateLimiter.acquire`."""
        _require_no_ban(self._budget, self._now_ms())
        return Permit("", 0)

    def room(self, limits: Sequence[Limit], most: int) -> int:
        """See `RateLimiter.room`."""
        return 0 if self._budget.ban_left_ms(self._now_ms()) else most

    def release(
        self, permit: Permit, limits: Sequence[Limit], *, granted: int | None = None, refused_s: float | None = None
    ) -> None:
        """Nothing is counted."""

    def refused(self, limits: Sequence[Limit], wait_s: float) -> None:
        """Nothing is counted."""

    def ban(self, seconds: float) -> None:
        """See `RateLimiter.ban`."""
        self._budget.silent_until_ms = self._now_ms() + round(seconds * _MILLISECONDS)


class SharedRateLimiter:
    """Permits of all processes that name the same file.

    Raises:
        StorageError: the file cannot be made.
    """

    def __init__(self, path: Path, now_ms: Milliseconds = boot_ms) -> None:
        self._path, self._now_ms = path, now_ms
        self._threads = threading.Lock()
        try:
            owned_folder(path.parent)
            os.close(self._open())
        except OSError as error:
            raise StorageError(
                f"{path}, by which processes share the exchange's request limits, cannot be used: {error.strerror}; "
                "choose a writable directory with TRADING_ASSETS_LIMITS_DIR"
            ) from error

    def acquire(
        self, limits: Sequence[Limit], *, lease_s: float, patience_s: float, cost: int = 1
    ) -> Permit | RetryAfter:
        """See `RateLimiter.acquire`."""
        with self._state() as (budget, now_ms):
            _require_no_ban(budget, now_ms)
            return budget.acquire(
                limits, now_ms, round(lease_s * _MILLISECONDS), round(patience_s * _MILLISECONDS), cost
            )

    def room(self, limits: Sequence[Limit], most: int) -> int:
        """See `RateLimiter.room`."""
        try:
            with self._state() as (budget, now_ms):
                return min(budget.room(limits, now_ms), most)
        except NotSentError:
            return 0

    def release(
        self, permit: Permit, limits: Sequence[Limit], *, granted: int | None = None, refused_s: float | None = None
    ) -> None:
        """See `RateLimiter.release`."""
        # Never an error: the request was sent. A permit that is not released ends with its lease.
        with suppress(NotSentError), self._state() as (budget, now_ms):
            budget.release(permit.number, limits, now_ms)
            count = budget.counts.get(limits[-1].name)
            if count is not None and granted:
                count.requests = granted
            if count is not None and refused_s is not None:
                count.refuse(now_ms, round(refused_s * _MILLISECONDS))

    def refused(self, limits: Sequence[Limit], wait_s: float) -> None:
        """See `RateLimiter.refused`."""
        with suppress(NotSentError), self._state() as (budget, now_ms):
            count = budget.counts.get(limits[-1].name)
            if count is not None:
                count.refuse(now_ms, round(wait_s * _MILLISECONDS))

    def ban(self, seconds: float) -> None:
        """See `RateLimiter.ban`."""
        with suppress(NotSentError), self._state() as (budget, now_ms):
            budget.silent_until_ms = max(now_ms + budget.ban_left_ms(now_ms), now_ms + round(seconds * _MILLISECONDS))

    @contextmanager
    def _state(self) -> Iterator[tuple[RequestBudget, int]]:
        """The state of now, written back when the block ends."""
        try:
            with self._threads, self._locked() as file:
                now_ms = self._now_ms()
                budget, area = _read(file, now_ms)
                yield budget, now_ms
                _write(file, budget, 1 - area)
        except OSError as error:
            raise NotSentError(
                f"nothing was sent: {self._path}, by which processes share the exchange's request limits, cannot be "
                f"used ({error})"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        # Opened each time: a lock belongs to the opening, which a forked child would share.
        file = self._open()
        try:
            for attempt in range(_LOCK_TRIES):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if attempt == _LOCK_TRIES - 1:
                        raise
                    time.sleep(_LOCK_PAUSE_S)
            yield file
        finally:
            os.close(file)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE)


def _require_no_ban(budget: RequestBudget, now_ms: int) -> None:
    left_s = budget.ban_left_ms(now_ms) / _MILLISECONDS
    if left_s:
        raise RateLimitedError(
            f"this address is banned for {left_s:.0f} s more; nothing is sent until then",
            code=403,
            retry_after_s=left_s,
        )


def _read(file: int, now_ms: int) -> tuple[RequestBudget, int]:
    """The state in force and the number of its area; an empty one in a new file."""
    header = os.pread(file, _HEADER.size, 0)
    if len(header) < _HEADER.size:
        return RequestBudget(), 1
    magic, area, length, checksum = _HEADER.unpack(header)
    if magic == _MAGIC and area < len(_AREAS):
        body = os.pread(file, length, _AREAS[area])
        if zlib.crc32(body) == checksum:
            stored = orjson.loads(body)
            counts = {name: RollingWindow(**count) for name, count in stored.pop("counts").items()}
            return RequestBudget(**stored, counts=counts), area
    # Damaged: what was sent is not known, so as if a ban had begun that ends with the longest window.
    return RequestBudget(silent_until_ms=now_ms + 5000), 1


def _write(file: int, budget: RequestBudget, area: int) -> None:
    body = orjson.dumps(budget)
    os.pwrite(file, body, _AREAS[area])
    os.pwrite(file, _HEADER.pack(_MAGIC, area, len(body), zlib.crc32(body)), 0)
