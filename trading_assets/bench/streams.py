"""How many WebSocket messages the embedded exchange delivers to one client, and what each costs the server."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from websockets.sync.client import ClientConnection, connect

from trading_assets.bench.measurement import cpu_s, serving
from trading_assets.simulator.market.contracts import universe

SEED = 7
FIRST_MESSAGES_S = 2.0
"""Snapshots come first; what is measured comes after."""

HASTE = 10_000.0
"""Seconds of market for each real second: every candle is told when it closes, so that there is much to tell."""

TOPICS_IN_A_REQUEST = 200


@dataclass(frozen=True)
class StreamMeasure:
    """One set of topics, of every symbol.

    Attributes:
        speed: seconds of market for each real second.
        server_load: processor time of the server for each second, 1.0 is a whole core.
    """

    name: str
    speed: float
    topics: int
    per_second: float
    server_load: float


def measure_streams(symbols: int, seconds: float) -> tuple[StreamMeasure, ...]:
    """Listen `seconds` to all candles, tickers and books as they come, and to candles of a market in haste.

    Raises:
        ExchangeUnavailableError: the exchange does not start.
    """
    everything = ("kline.1", "tickers", "orderbook.50", "publicTrade")
    hasty = ("kline.1", "kline.3", "kline.5")
    return (
        _measure("market as it is", everything, 1.0, symbols, seconds),
        _measure("market in haste", hasty, HASTE, symbols, seconds),
    )


def _measure(name: str, kinds: tuple[str, ...], speed: float, symbols: int, seconds: float) -> StreamMeasure:
    topics = [f"{kind}.{symbol}" for symbol in universe(SEED, symbols) for kind in kinds]
    with (
        serving(symbols, "--seed", str(SEED), "--clock", "accelerated", "--speed", str(speed)) as (process, port),
        connect(f"ws://127.0.0.1:{port}/v5/public/linear", max_size=None, compression=None) as client,
    ):
        for start in range(0, len(topics), TOPICS_IN_A_REQUEST):
            client.send(json.dumps({"op": "subscribe", "args": topics[start : start + TOPICS_IN_A_REQUEST]}))
        _count(client, FIRST_MESSAGES_S)
        used, began = cpu_s(process), time.perf_counter()
        messages = _count(client, seconds)
        took_s = time.perf_counter() - began
        used = cpu_s(process) - used
    return StreamMeasure(name, speed, len(topics), round(messages / took_s, 1), round(used / took_s, 3))


def _count(client: ClientConnection, seconds: float) -> int:
    until, messages = time.monotonic() + seconds, 0
    while (left := until - time.monotonic()) > 0:
        try:
            client.recv(timeout=left, decode=False)
        except TimeoutError:
            break
        messages += 1
    return messages
