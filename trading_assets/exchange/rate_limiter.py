"""Turns for requests, shared by all processes of the machine through one small file. How they are counted: `allowance`.

The file is held locked for microseconds; the system frees the lock of a process that dies. A write goes beside the
state in force and becomes it by its header, so that a process killed inside leaves the old state.
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
from trading_assets.exchange.rate_limits import Limit
from trading_assets.exchange.request_budget import Allowance, Count, Later, Turn

_HEADER = struct.Struct("<8sIII")
_MAGIC = b"pacing01"
_AREAS = (4096, 4096 + (1 << 17))
_LOCK_TRIES, _LOCK_PAUSE_S = 4000, 0.0005
"""Two seconds: more than a thousand times what anybody needs the lock for."""

_MILLISECONDS = 1000

Milliseconds = Callable[[], int]


def boot_ms() -> int:
    """Ms of the machine's own clock: the same in all its processes, and nobody sets it."""
    return time.monotonic_ns() // 1_000_000


class Pacer(Protocol):
    """Gives each request its turn; safe for threads."""

    def take(self, limits: Sequence[Limit], *, lease_s: float, patience_s: float) -> Turn | Later:
        """A turn, or how long to wait before asking again.

        Raises:
            RateLimitedError: nothing may be sent now.
            NotSentError: the turns cannot be read.
        """
        ...

    def answered(
        self, turn: Turn, limits: Sequence[Limit], *, granted: int | None = None, refused_s: float | None = None
    ) -> None:
        """The request of a turn has its answer, or will have none.

        Args:
            granted: the endpoint's limit, as the answer told it.
            refused_s: the venue refused it under the last of the limits, and asks for so long a silence.
        """
        ...

    def silence(self, seconds: float) -> None:
        """Let nothing out for so long."""
        ...


class Unlimited:
    """For a venue without limits. A ban holds for this process."""

    def __init__(self, now_ms: Milliseconds = boot_ms) -> None:
        self._now_ms = now_ms
        self._allowance = Allowance()

    def take(self, limits: Sequence[Limit], *, lease_s: float, patience_s: float) -> Turn | Later:
        """See `Pacer.take`."""
        _require_no_ban(self._allowance, self._now_ms())
        return Turn("", 0)

    def answered(
        self, turn: Turn, limits: Sequence[Limit], *, granted: int | None = None, refused_s: float | None = None
    ) -> None:
        """Nothing is counted."""

    def silence(self, seconds: float) -> None:
        """See `Pacer.silence`."""
        self._allowance.silent_until_ms = self._now_ms() + round(seconds * _MILLISECONDS)


class SharedPacer:
    """Turns of all processes that name the same file.

    Raises:
        StorageError: the file cannot be made.
    """

    def __init__(self, path: Path, now_ms: Milliseconds = boot_ms) -> None:
        self._path, self._now_ms = path, now_ms
        self._threads = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(self._open())
        except OSError as error:
            raise StorageError(
                f"{path}, by which processes share the exchange's request limits, cannot be used: {error.strerror}; "
                "choose a writable directory with TRADING_ASSETS_LIMITS_DIR"
            ) from error

    def take(self, limits: Sequence[Limit], *, lease_s: float, patience_s: float) -> Turn | Later:
        """See `Pacer.take`."""
        with self._state() as (allowance, now_ms):
            _require_no_ban(allowance, now_ms)
            return allowance.take(limits, now_ms, round(lease_s * _MILLISECONDS), round(patience_s * _MILLISECONDS))

    def answered(
        self, turn: Turn, limits: Sequence[Limit], *, granted: int | None = None, refused_s: float | None = None
    ) -> None:
        """See `Pacer.answered`."""
        # Never an error: the request was sent. What is not given back ends with its lease.
        with suppress(NotSentError), self._state() as (allowance, now_ms):
            allowance.answered(turn.number, limits, now_ms)
            count = allowance.counts.get(limits[-1].name)
            if count is not None and granted:
                count.requests = granted
            if count is not None and refused_s is not None:
                count.refuse(now_ms, round(refused_s * _MILLISECONDS))

    def silence(self, seconds: float) -> None:
        """See `Pacer.silence`."""
        with suppress(NotSentError), self._state() as (allowance, now_ms):
            allowance.silent_until_ms = max(
                now_ms + allowance.ban_left_ms(now_ms), now_ms + round(seconds * _MILLISECONDS)
            )

    @contextmanager
    def _state(self) -> Iterator[tuple[Allowance, int]]:
        """The state of now, written back when the block ends."""
        try:
            with self._threads, self._locked() as file:
                now_ms = self._now_ms()
                allowance, area = _read(file, now_ms)
                yield allowance, now_ms
                _write(file, allowance, 1 - area)
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
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _require_no_ban(allowance: Allowance, now_ms: int) -> None:
    left_s = allowance.ban_left_ms(now_ms) / _MILLISECONDS
    if left_s:
        raise RateLimitedError(
            f"this address is banned for {left_s:.0f} s more; nothing is sent until then",
            code=403,
            retry_after_s=left_s,
        )


def _read(file: int, now_ms: int) -> tuple[Allowance, int]:
    """The state in force and the number of its area; an empty one in a new file."""
    header = os.pread(file, _HEADER.size, 0)
    if len(header) < _HEADER.size:
        return Allowance(), 1
    magic, area, length, checksum = _HEADER.unpack(header)
    if magic == _MAGIC and area < len(_AREAS):
        body = os.pread(file, length, _AREAS[area])
        if zlib.crc32(body) == checksum:
            stored = orjson.loads(body)
            counts = {name: Count(**count) for name, count in stored.pop("counts").items()}
            return Allowance(**stored, counts=counts), area
    # Damaged: what was sent is not known, so as if a ban had begun that ends with the longest window.
    return Allowance(silent_until_ms=now_ms + 5000), 1


def _write(file: int, allowance: Allowance, area: int) -> None:
    body = orjson.dumps(allowance)
    os.pwrite(file, body, _AREAS[area])
    os.pwrite(file, _HEADER.pack(_MAGIC, area, len(body), zlib.crc32(body)), 0)
