"""The connector on an embedded exchange that fails by rule: which error it raises, and what has become of the order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    InsufficientBalanceError,
    OrderRejectedError,
    RateLimitedError,
    RulesChangedError,
    SymbolUnavailableError,
)
from trading_assets.core.models import OrderRequest, Side
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import READ_ATTEMPTS, Transport
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.polling import until
from trading_assets_tests.simulator.fake_market import T0, FakeMarket

CREATE = "POST /v5/order/create"
TICKERS = "GET /v5/market/tickers"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket()) as exchange:
        yield exchange


@pytest.fixture
def connector(running: RunningExchange, request: pytest.FixtureRequest) -> Iterator[BybitExchange]:
    """A connector with all the patience in the world, or with the timeout that the test gives as its parameter."""
    keys, timeout_s = keys_of(running.key, running.secret), getattr(request, "param", 60.0)
    connection = Connection(url=running.url, keys=keys, timeout_s=timeout_s, recv_window_ms=60_000)
    transport = Transport(connection, limited=False)
    transport._sleep = lambda _: None  # type: ignore[method-assign]
    exchange = BybitExchange(transport, virtual_clock=True)
    yield exchange
    exchange.close()
    running.faults.remove()


def arm(running: RunningExchange, where: str, **fault: Any) -> None:
    running.faults.add(parse_rules({"where": where, **fault}, ENDPOINTS), running.now_ms())


@pytest.mark.parametrize(
    ("fault", "error", "placed"),
    [
        ({"lost_request": True}, AmbiguousOutcomeError, False),
        ({"lost_answer": True}, AmbiguousOutcomeError, True),
        ({"truncated": True}, AmbiguousOutcomeError, True),
        ({"html": True}, AmbiguousOutcomeError, False),
        ({"html": True, "processed": True}, AmbiguousOutcomeError, True),
        ({"http_status": 502}, AmbiguousOutcomeError, False),
        ({"http_status": 504, "processed": True}, AmbiguousOutcomeError, True),
        ({"http_status": 401}, ExchangeFatalError, False),
        ({"http_status": 404}, ExchangeFatalError, False),
        ({"ret_code": 10000, "processed": True}, AmbiguousOutcomeError, True),
        ({"ret_code": 10016}, AmbiguousOutcomeError, False),
        ({"ret_code": 110072}, AmbiguousOutcomeError, False),
        ({"ret_code": 10006}, RateLimitedError, False),
        ({"ret_code": 10002}, ClockSkewError, False),
        ({"ret_code": 10003}, ExchangeFatalError, False),
        ({"ret_code": 110007}, InsufficientBalanceError, False),
        ({"ret_code": 110094}, RulesChangedError, False),
        ({"ret_code": 110020}, OrderRejectedError, False),
        ({"ret_code": 987654}, AmbiguousOutcomeError, False),
        ({"ret_code": 110074}, SymbolUnavailableError, False),
    ],
)
def test_a_failed_order_is_told_by_its_error_and_found_by_its_link(
    running: RunningExchange, connector: BybitExchange, fault: dict[str, Any], error: type[Exception], placed: bool
) -> None:
    link = f"fault-{time.time_ns()}"
    arm(running, CREATE, **fault)
    with pytest.raises(error) as caught:
        connector.place_order(OrderRequest("BTCUSDT", Side.BUY, Decimal("0.001"), link))
    assert type(caught.value) is error
    assert (connector.find_order("BTCUSDT", link) is not None) is placed


@pytest.mark.parametrize(
    "fault",
    [
        {"lost_answer": True},
        {"truncated": True},
        {"http_status": 503},
        {"html": True},
        {"ret_code": 10016},
        {"ret_code": 10006},
    ],
)
def test_a_read_is_tried_again_until_it_succeeds_or_often_enough(
    running: RunningExchange, connector: BybitExchange, fault: dict[str, Any]
) -> None:
    arm(running, TICKERS, calls="1-2", **fault)
    assert connector.ticker("BTCUSDT").last > 0
    (row,) = running.faults.rows()
    assert (row["calls"], row["hits"]) == (3, 2)


@pytest.mark.parametrize("connector", [1.0], indirect=True)
def test_a_slow_order_is_told_as_ambiguous_and_found_by_its_link(
    running: RunningExchange, connector: BybitExchange
) -> None:
    link = f"fault-{time.time_ns()}"
    arm(running, CREATE, latency_ms=5000, processed=True)
    with pytest.raises(AmbiguousOutcomeError):
        connector.place_order(OrderRequest("BTCUSDT", Side.BUY, Decimal("0.001"), link))
    until(lambda: connector.find_order("BTCUSDT", link) is not None)


@pytest.mark.parametrize("connector", [1.0], indirect=True)
def test_a_slow_read_is_tried_again(running: RunningExchange, connector: BybitExchange) -> None:
    arm(running, TICKERS, calls=1, latency_ms=5000)
    assert connector.ticker("BTCUSDT").last > 0
    assert running.faults.rows()[0]["hits"] == 1


def test_a_read_that_never_succeeds_is_given_up(running: RunningExchange, connector: BybitExchange) -> None:
    arm(running, TICKERS, http_status=502)
    with pytest.raises(ExchangeUnavailableError):
        connector.ticker("BTCUSDT")
    assert running.faults.rows()[0]["hits"] == READ_ATTEMPTS


def test_a_ban_silences_the_connector(running: RunningExchange, connector: BybitExchange) -> None:
    arm(running, TICKERS, ban_s=0.2)
    for _ in range(2):
        with pytest.raises(RateLimitedError) as caught:
            connector.ticker("BTCUSDT")
        assert caught.value.retry_after_s > 60
    assert running.faults.rows()[0]["calls"] == 1, "after the ban nothing is sent"
    time.sleep(0.25)
