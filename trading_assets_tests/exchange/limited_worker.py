"""What a process does that shares the limits: asks as often as it gets a turn."""

from __future__ import annotations

import time
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from trading_assets.core.errors import RateLimitedError
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets_tests.exchange.stub import keys_of


def work(pipe: Pipe, url: str, key: str, secret: str, folder: Path, count: int) -> None:
    """Wait for the word, ask so often, and tell how often it was refused and when it was answered."""
    keys = keys_of(key, secret)
    connection = Connection(url=url, keys=keys, limits_dir=folder, recv_window_ms=60_000, timeout_s=60)
    exchange = BybitExchange(Transport(connection), virtual_clock=True)
    refused, answered = 0, []
    pipe.send("ready")
    pipe.recv()
    for _ in range(count):
        try:
            exchange.set_leverage("BTCUSDT", Decimal(5))
        except RateLimitedError:
            refused += 1
        answered.append(time.monotonic())
    pipe.send((refused, answered))
