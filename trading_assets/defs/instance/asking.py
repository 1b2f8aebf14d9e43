"""How Dagster's processes ask each other: how often whether they live and whether the code is the same, over which
connections, and through which process in between.

Stock opens a connection for each question. `dagster dev` puts a process before its code server that passes every
question on: it can load code that was edited while the old code's runs go on. `make dev` does without.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from trading_assets.defs.instance.dagster_private import PROXY_MANAGER, grpc_of_dagster
from trading_assets.service.quiet_loop import quiet_main_loop

HEARTBEAT_EVERY_S = 5
"""Stock: 1. A code server ends when it has heard nothing for 20 s or more."""

WATCH_EVERY_S = 5
"""Stock: 1. So soon daemon and web server know of code that was loaded again by another process."""

LOOK_FOR_SIGNALS_EVERY_S = 5.0
"""gRPC's servers: 0.1. Signals and the end wake their main thread at once."""

WITHOUT_PROXY_VARIABLE = "DAGSTER_DEV_WITHOUT_PROXY"
"""With this variable set `dagster dev` puts no process before its code server. The UI cannot load edited code then."""

CHANNELS_KEPT = 4

_WEB_SERVER = "dagster_webserver.cli"
_ASKING = (_WEB_SERVER, "dagster._daemon.cli")
"""One of these is loaded in a process that asks."""


def ask_less_often() -> None:
    """For what this process's threads ask from now on. A version of Dagster without these names keeps its own."""
    _replace("grpc._common", "MAXIMUM_WAIT_TIMEOUT", LOOK_FOR_SIGNALS_EVERY_S)
    if os.environ.get(WITHOUT_PROXY_VARIABLE):
        commands = import_module(f"{grpc_of_dagster.__name__}.constants").GrpcServerCommand
        direct = SimpleNamespace(CODE_SERVER_START=commands.API_GRPC)
        _replace(PROXY_MANAGER, "GrpcServerCommand", direct)
    if not any(name in sys.modules for name in _ASKING):
        return  # a run, or a command
    # Dagster imports the watcher only when it begins to watch.
    client, watcher = (import_module(f"{grpc_of_dagster.__name__}.{module}") for module in ("client", "server_watcher"))
    _replace(client.__name__, "CLIENT_HEARTBEAT_INTERVAL", HEARTBEAT_EVERY_S)
    _replace(watcher.__name__, "WATCH_INTERVAL", WATCH_EVERY_S)
    _keep_channels(client.DagsterGrpcClient)
    if _WEB_SERVER in sys.modules:
        import_module("uvicorn").Server.main_loop = quiet_main_loop


def _replace(module: str, name: str, value: object) -> None:
    """Where the module is loaded, and has the name."""
    found = sys.modules.get(module)
    if found is not None and hasattr(found, name):
        setattr(found, name, value)


@dataclass
class _Kept:
    """A channel, the context that opened it, and how many calls use it now."""

    channel: Any
    opened: AbstractContextManager[Any]
    users: int = 0
    is_dropped: bool = False


class Channels:
    """Channels to code servers, each kept until a call over it fails.

    A dropped channel is closed when the last call over it has ended: closing cancels calls.
    """

    def __init__(self, opens: Any) -> None:
        self._opens = opens
        self._kept: dict[object, _Kept] = {}
        self._lock = threading.Lock()

    @contextmanager
    def use(self, client: Any) -> Iterator[Any]:
        """The channel to the client's server, for a call."""
        key = client.host, client.port, client.socket, client.use_ssl
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                opened = self._opens(client)
                found = self._kept[key] = _Kept(opened.__enter__(), opened)
            found.users += 1
            if len(self._kept) > CHANNELS_KEPT:
                self._drop(next(iter(self._kept)))
        try:
            yield found.channel
        except BaseException:
            with self._lock:
                if self._kept.get(key) is found:
                    self._drop(key)
            raise
        finally:
            with self._lock:
                found.users -= 1
                ends = found.is_dropped and not found.users
            if ends:
                found.opened.__exit__(None, None, None)

    def _drop(self, key: object) -> None:
        found = self._kept.pop(key)
        found.is_dropped = True
        if not found.users:
            found.opened.__exit__(None, None, None)


def _keep_channels(client: Any) -> None:
    """Have a class of clients keep its channels; the stock class opens one for each call."""
    stock = getattr(client, "_channel", None)
    if stock is None or hasattr(stock, "keeps"):
        return
    channels = Channels(stock)

    def kept(self: Any) -> AbstractContextManager[Any]:
        return channels.use(self)

    kept.keeps = channels  # type: ignore[attr-defined]
    client._channel = kept
