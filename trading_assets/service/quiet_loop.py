"""The loop of a web server that nobody asks."""

from __future__ import annotations

import asyncio
from typing import Any

LOOK_EVERY_S = 0.5
"""Uvicorn: 0.1. A server that is told to end does so within this time."""


async def quiet_main_loop(server: Any) -> None:
    """Instead of `uvicorn.Server.main_loop`: until the server is to end. Each look also sets the header `Date`."""
    while not await server.on_tick(0):
        await asyncio.sleep(LOOK_EVERY_S)
