"""A web server in a thread of a process of ours: where it listens, and how it begins and ends. What it answers is not
here.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.request_origin import is_loopback_address, is_loopback_name
from trading_assets.service.quiet_loop import quiet_main_loop

LOOK_EVERY_S = 1.0
"""Whether the server has ended by itself."""

ENDS_WITHIN_S = 10.0


class _Server(uvicorn.Server):
    """One that looks less often whether it is to end."""

    async def main_loop(self) -> None:
        """See `quiet_main_loop`."""
        await quiet_main_loop(self)


class WebServer:
    """A server, in threads of its own.

    Args:
        application: an ASGI application.
        port: 0 takes a free one.
        has_token: whether other machines need a token.
        prefix: of the settings of address and token, for who must change them.

    Raises:
        ConfigurationError: the port cannot be had, or another machine could ask without a token.
    """

    def __init__(self, application: Any, host: str, port: int, *, has_token: bool, prefix: str) -> None:
        self._socket = _listen(host, port, has_token, prefix)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                application,
                proxy_headers=False,  # an address is that of the connection
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=2,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=prefix.lower(), daemon=True
        )

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def is_up(self) -> bool:
        """Whether it answers still."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish open requests and end."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(ENDS_WITHIN_S)
        self._socket.close()

    def serve(self, ends: threading.Event, before_end: Callable[[], None] = lambda: None) -> None:
        """Answer until `ends` is set, or the server has ended.

        Args:
            before_end: called first then, for answers that go on until they are told to end.
        """
        self.start()
        try:
            while self.is_up() and not ends.wait(LOOK_EVERY_S):
                pass
        finally:
            before_end()
            self.stop()


def _listen(host: str, port: int, has_token: bool, prefix: str) -> socket.socket:
    names = f"TRADING_ASSETS_{prefix}"
    if not (is_loopback_address(host) or is_loopback_name(host)) and not has_token:
        raise ConfigurationError(
            f"{names}_HOST is {host!r}, so other machines could ask, and there is no token; expected {names}_TOKEN "
            "besides, or 127.0.0.1"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(64)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened at: {error.strerror or error}; expected a free port in {names}_PORT"
        ) from error
    return found
