"""A deadline for a whole HTTP request. `requests` limits single steps: a byte every two seconds passes each of them.

The request runs in a thread of its own, and its connection is cut when the time is over: nothing is sent after that.
What must be signed by a certain time is compared with it here, between its signature and its connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from trading_assets.core.models import SendBy

Result = TypeVar("Result")


class Line:
    """The connections of one HTTP session, which can be cut from another thread. A line that was cut stays so.

    Attributes:
        send_by: by when the request of now must have been signed; None: it may be at any time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._ended: threading.Event | None = None
        self.is_cut = False
        self.send_by: SendBy | None = None

    def mount(self, session: requests.Session) -> None:
        """Have every connection of a session open through this line."""
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self))

    def run(self, call: Callable[[], Result], within_s: float) -> Result:
        """Return what `call` returns, or raise what it raises.

        Raises:
            TimeoutError: it has not ended in time, or was cut; the line is cut.
        """
        ended = self._ended = threading.Event()
        results: list[Result] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001 (raised again by the caller)
                errors.append(error)
            finally:
                ended.set()

        threading.Thread(target=work, name="request", daemon=True).start()
        try:
            in_time = ended.wait(within_s)
        except BaseException:
            self.cut()  # interrupted: the session is not used again
            raise
        if errors:
            raise errors[0]
        if not in_time or not results:
            self.cut()
            raise TimeoutError
        return results[0]

    def cut(self) -> None:
        """Shut every connection down, also one that is only just opened. Who waits for an answer waits no longer."""
        with self._lock:
            self.is_cut = True
            for one in self._sockets:
                _shut(one)
        if self._ended is not None:
            self._ended.set()

    def opened(self, connection: socket.socket) -> socket.socket:
        """Know of a connection; return the handle by which it can be forgotten."""
        handle = connection.dup()  # TLS takes the socket itself away
        with self._lock:
            self._sockets.add(handle)
            if self.is_cut:
                _shut(handle)
        return handle

    def closed(self, handle: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._sockets.discard(handle)
        handle.close()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended
        connection.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    def __init__(self, line: Line) -> None:
        self._line, self._pools = line, _pools(line)
        super().__init__()

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """
        Raises:
            TooLateError: the request, signed by now, may be signed too late.
        """
        if self._line.send_by is not None:
            self._line.send_by.require()
        return super().send(request, *arguments, **named)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **named)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(line: Line) -> dict[str, type[HTTPConnectionPool]]:
    """Pools by scheme whose connections are known to a line."""

    class Known:
        handle: socket.socket | None = None

        def _new_conn(self) -> socket.socket:
            found: socket.socket = super()._new_conn()  # type: ignore[misc]
            self.handle = line.opened(found)
            if line.is_cut:
                found.close()
                raise NewConnectionError(self, "the deadline has passed")  # type: ignore[arg-type]
            return found

        def close(self) -> None:
            super().close()  # type: ignore[misc]
            handle, self.handle = self.handle, None
            if handle is not None:
                line.closed(handle)

    class Plain(Known, HTTPConnection):
        pass

    class Secure(Known, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
