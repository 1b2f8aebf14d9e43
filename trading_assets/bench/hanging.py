"""A messenger on loopback that takes connections and never answers, for measurements beside it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HANGS_S = 60
"""What sends to it waits for so long, where nothing cuts it off sooner."""

_LOOK_S = 0.5


@dataclass
class HangingChannel:
    """
    Attributes:
        url: for `TRADING_ASSETS_NOTIFY_URLS`.
        tries: connections so far, one for each try.
    """

    url: str
    tries: int = 0
    _held: list[socket.socket] = field(default_factory=list)


@contextmanager
def hanging_channel() -> Iterator[HangingChannel]:
    """A channel that hangs, as long as the block lasts."""
    ends = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.settimeout(_LOOK_S)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        found = HangingChannel(f"json://{address}/?rto={HANGS_S}&cto={HANGS_S}")

        def accept() -> None:
            while not ends.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                found.tries += 1
                found._held.append(connection)

        thread = threading.Thread(target=accept, name="hanging-channel", daemon=True)
        thread.start()
        try:
            yield found
        finally:
            ends.set()
            thread.join()
            for connection in found._held:
                connection.close()
