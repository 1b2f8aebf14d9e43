"""How often Dagster's processes ask each other whether they live, and whether the code is still the same.

Each question is a connection of its own, and behind `dagster dev` it passes a process in between.
"""

from __future__ import annotations

import sys
from importlib import import_module

from trading_assets.defs.instance.dagster_private import grpc_of_dagster

HEARTBEAT_EVERY_S = 5
"""Stock: 1. A code server ends when it has heard nothing for 20 s or more."""

WATCH_EVERY_S = 5
"""Stock: 1. So soon daemon and web server know of code that was loaded again by another process."""


_ASKING = ("dagster_webserver.cli", "dagster._daemon.cli")
"""One of these is loaded in a process that asks."""


def ask_less_often() -> None:
    """For what this process's threads ask from now on. A version of Dagster without these names keeps its own."""
    if not any(name in sys.modules for name in _ASKING):
        return  # a run, or a command
    for module, name, seconds in (
        ("client", "CLIENT_HEARTBEAT_INTERVAL", HEARTBEAT_EVERY_S),
        ("server_watcher", "WATCH_INTERVAL", WATCH_EVERY_S),
    ):
        # Dagster imports the watcher only when it begins to watch.
        asks = import_module(f"{grpc_of_dagster.__name__}.{module}")
        if hasattr(asks, name):
            setattr(asks, name, seconds)
