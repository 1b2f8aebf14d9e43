"""The stub exchange and connectors onto it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets_tests.exchange import stub as stubs
from trading_assets_tests.exchange.stub import Stub

Connect = Callable[..., BybitExchange]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stubs.serving() as running:
        yield running


@pytest.fixture
def slept() -> list[float]:
    """Seconds that the connector wanted to sleep; it does not really."""
    return []


@pytest.fixture
def connect(stub: Stub, slept: list[float], tmp_path: Path) -> Iterator[Connect]:
    """A connector onto the stub, with keys; its clock is virtual, so that no guard asks for the time."""
    opened: list[BybitExchange] = []

    def open_connector(
        *,
        url: str | None = None,
        virtual_clock: bool = True,
        reconnect: Callable[[], str] | None = None,
        sleep: Callable[[float], None] | None = None,
        limited: bool = False,
        timeout_s: float = 60.0,
        limits_dir: Path | None = None,
    ) -> BybitExchange:
        connection = Connection(
            url=url or stub.url, keys=stubs.KEYS, timeout_s=timeout_s, limits_dir=limits_dir or tmp_path
        )
        transport = Transport(
            connection,
            reconnect=reconnect,
            limited=limited,
            sleep=sleep or slept.append,
            jitter=random.Random(1),
        )
        opened.append(BybitExchange(transport, virtual_clock=virtual_clock))
        return opened[-1]

    yield open_connector
    for connector in opened:
        connector.close()
