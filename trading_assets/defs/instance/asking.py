"""How often Dagster's processes ask each other whether they live, and whether the code is still the same.

Each question is a connection of its own, and behind `dagster dev` it passes a process in between.
"""

from __future__ import annotations

from trading_assets.defs.instance.dagster_private import grpc_of_dagster

HEARTBEAT_EVERY_S = 5
"""Stock: 1. A code server ends when it has heard nothing for 20 s or more."""

WATCH_EVERY_S = 3
"""Stock: 1. So soon daemon and web server know of code that was loaded again by another process."""


def ask_less_often() -> None:
    """For what this process's threads ask from now on. Nothing happens in a process that asks none."""
    for module, name, seconds in (
        ("client", "CLIENT_HEARTBEAT_INTERVAL", HEARTBEAT_EVERY_S),
        ("server_watcher", "WATCH_INTERVAL", WATCH_EVERY_S),
    ):
        asks = getattr(grpc_of_dagster, module, None)
        if hasattr(asks, name):
            setattr(asks, name, seconds)
