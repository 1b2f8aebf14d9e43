"""Sessions, threads and the address they share: what a connector keeps between calls."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
import requests

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeUnavailableError,
    MissingKeysError,
    NotSentError,
    OrderRejectedError,
)
from trading_assets.core.models import OrderRequest, Side
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import READ_ATTEMPTS, Transport
from trading_assets.market.store import CandleStore
from trading_assets.venues import open_account_stream, open_candle_stream, open_exchange, open_market_data
from trading_assets.venues.bybit import MAINNET
from trading_assets_tests.exchange import stub as stubs
from trading_assets_tests.exchange import venue_rows
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import DROPPED, Reply, Request, Stub, envelope, server_time

ORDER = OrderRequest("BTCUSDT", Side.BUY, Decimal("0.01"), "link-1")


def echo(request: Request) -> Reply:
    """A ticker that says which symbol was asked for."""
    symbol = request.params["symbol"]
    return envelope({"list": [venue_rows.ticker(symbol, lastPrice=symbol.removesuffix("USDT"))]})


@pytest.mark.slow
def test_many_threads_each_get_their_own_answer(stub: Stub, connect: Connect) -> None:
    stub.script = echo
    exchange = connect(timeout_s=60)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: exchange.ticker(f"{i}USDT"), range(1, 201)))
    assert [ticker.last for ticker in found] == [Decimal(i) for i in range(1, 201)]


def test_threads_that_come_and_go_leave_neither_sessions_nor_log_handlers(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pybit adds a handler to its logger for every session while the root logger has none."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.getLogger("pybit._http_manager"), "handlers", [])
    stub.script = echo
    exchange = BybitExchange(Transport(Connection(url=stub.url), limited=False), virtual_clock=True)
    for _ in range(10):
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(exchange.ticker, ["1USDT"] * 6))
    assert 1 <= len(logging.getLogger("pybit._http_manager").handlers) <= 3
    exchange.close()
    assert exchange.ticker("2USDT").last == 2, "a closed connector opens again on demand"
    exchange.close()


def test_several_threads_that_find_nobody_reconnect_once(stub: Stub, connect: Connect) -> None:
    stub.script = echo
    asked: list[str] = []
    together = threading.Barrier(4)

    def reconnect() -> str:
        asked.append(stub.url)
        return stub.url

    exchange = connect(url="http://127.0.0.1:9", reconnect=reconnect, timeout_s=60)

    def read(i: int) -> Decimal:
        together.wait(60)
        return exchange.ticker(f"{i}USDT").last

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(1, 5))) == [1, 2, 3, 4]
    assert len(asked) == 1


def test_an_exchange_that_is_gone_for_good_is_started_once_not_for_ever(connect: Connect, slept: list[float]) -> None:
    asked: list[bool] = []

    def reconnect() -> str:
        asked.append(True)
        return "http://127.0.0.1:9"

    with pytest.raises(ExchangeUnavailableError):
        connect(url="http://127.0.0.1:9", reconnect=reconnect).tickers()
    assert len(asked) == 1
    assert len(slept) == READ_ATTEMPTS - 2


def test_a_refused_time_lets_the_clock_be_measured_anew(stub: Stub, connect: Connect) -> None:
    offset_ms = [0]
    codes = [0, 10002, 0]

    def script(request: Request) -> Reply:
        if request.path == "/v5/market/time":
            return server_time(time.time_ns() // 1_000_000 + offset_ms[0])
        return envelope({"orderId": "1"}, code=codes.pop(0))

    stub.script = script
    exchange = connect(virtual_clock=False)
    exchange.place_order(ORDER)
    with pytest.raises(ClockSkewError):
        exchange.place_order(ORDER)
    offset_ms[0] = 60_000
    with pytest.raises(ClockSkewError, match="No order was sent"):
        exchange.place_order(ORDER)
    assert len(stub.of("/v5/order/create")) == 2


@pytest.mark.parametrize(("ahead_ms", "refused"), [(25_000, False), (90_000, True)])
def test_a_local_clock_that_runs_ahead_stores_no_false_gaps(
    stub: Stub, connect: Connect, tmp_path: Path, ahead_ms: int, refused: bool
) -> None:
    now = time.time_ns() // 1_000_000 - ahead_ms
    start = now - now % MINUTE_MS - 10 * MINUTE_MS
    rows = [[str(start + i * MINUTE_MS), "1", "2", "0.5", "1.5", "10", "15"] for i in range(11)]
    stub.answer(envelope({"list": rows[::-1]}, time_ms=now))
    exchange, store = connect(virtual_clock=False), CandleStore(tmp_path)
    if refused:
        with pytest.raises(ClockSkewError, match=r"ahead.*synchronise.*Nothing was taken"):
            store.fill(exchange, "BTCUSDT", Timeframe.M1, start, exchange.now_ms())
    else:
        assert store.fill(exchange, "BTCUSDT", Timeframe.M1, start, exchange.now_ms()) == 10
    held = 0 if refused else 10
    assert store.missing("BTCUSDT", Timeframe.M1, start, start + 11 * MINUTE_MS) == [
        (start + held * MINUTE_MS, start + 11 * MINUTE_MS)
    ]


def test_a_code_for_no_such_order_is_no_order(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope(code=110001, message="order not exists or too late to cancel"))
    assert connect().find_order("BTCUSDT", "link-1") is None
    assert [request.path for request in stub.requests] == ["/v5/order/realtime", "/v5/order/history"]


@pytest.mark.parametrize("failing", ["/v5/order/realtime", "/v5/order/history"])
def test_an_order_is_not_missing_while_one_of_both_places_gives_no_answer(
    stub: Stub, connect: Connect, failing: str
) -> None:
    stub.script = lambda request: DROPPED if request.path == failing else envelope({"list": []})
    with pytest.raises(ExchangeUnavailableError):
        connect().find_order("BTCUSDT", "link-1")


def test_a_refusal_other_than_no_such_order_is_told(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope(code=10001, message="params error"))
    with pytest.raises(OrderRejectedError, match="params error"):
        connect().find_order("BTCUSDT", "link-1")


@pytest.mark.parametrize("body", [b'{"retCode": 10001}', b'{"retCode": "0"}', b'{"retCode": null}', b'"text"'])
def test_half_an_envelope_leaves_an_order_open(stub: Stub, connect: Connect, body: bytes) -> None:
    stub.answer(Reply(body))
    with pytest.raises((AmbiguousOutcomeError, OrderRejectedError)) as raised:
        connect().place_order(ORDER)
    assert (type(raised.value) is OrderRejectedError) == (body == b'{"retCode": 10001}')
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("venue", "host"),
    [
        ("demo", "https://api-demo.bybit.com"),
        ("testnet", "https://api-testnet.bybit.com"),
        ("mainnet", "https://api.bybit.com"),
    ],
)
def test_each_venue_has_its_host(venue: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def send(_: requests.Session, request: requests.PreparedRequest, **__: object) -> requests.Response:
        asked.append(str(request.url))
        raise requests.ConnectTimeout("nobody is called in a test")

    monkeypatch.setattr(requests.Session, "send", send)
    settings = load_settings(venue=venue, allow_mainnet=True, api_key=stubs.KEY, api_secret=stubs.SECRET)
    exchange = open_exchange(settings)
    monkeypatch.setattr(exchange._transport, "_sleep", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(ExchangeUnavailableError):
        exchange.wallet()
    assert {url.split("/v5/")[0] for url in asked} == {host}
    exchange.close()


HOSTS = {
    "com": "bybit.com",
    "nl": "bybit.nl",
    "tr": "bybit-tr.com",
    "kz": "bybit.kz",
    "ge": "bybitgeorgia.ge",
    "ae": "bybit.ae",
    "id": "bybit.id",
    "jp": "bybit.jp",
    "eu": "bybit.eu",
}


def test_every_region_of_the_setting_has_its_site() -> None:
    assert get_args(Settings.model_fields["bybit_region"].annotation) == tuple(HOSTS)


@pytest.mark.parametrize("region", HOSTS)
@pytest.mark.parametrize(
    ("venue", "rest", "public", "private"),
    [
        ("mainnet", "api", "stream", "stream"),
        ("testnet", "api-testnet", "stream-testnet", "stream-testnet"),
        ("demo", "api-demo", "stream", "stream-demo"),
    ],
)
def test_each_site_has_its_hosts(
    venue: str, rest: str, public: str, private: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(
        venue=venue, bybit_region=region, allow_mainnet=True, api_key=stubs.KEY, api_secret=stubs.SECRET
    )
    asked: list[str] = []

    def send(_: requests.Session, request: requests.PreparedRequest, **__: object) -> requests.Response:
        asked.append(str(request.url))
        raise requests.ConnectTimeout("nobody is called in a test")

    monkeypatch.setattr(requests.Session, "send", send)
    exchange = open_exchange(settings)
    monkeypatch.setattr(exchange._transport, "_sleep", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(ExchangeUnavailableError):
        exchange.wallet()
    assert {url.split("/v5/")[0] for url in asked} == {f"https://{rest}.{HOSTS[region]}"}
    candles = open_candle_stream(settings, [], lambda _: None)
    account = open_account_stream(settings, lambda _: None)
    assert candles._url() == f"wss://{public}.{HOSTS[region]}/v5/public/linear"  # type: ignore[attr-defined]
    assert account._url() == f"wss://{private}.{HOSTS[region]}/v5/private"  # type: ignore[attr-defined]


def test_a_regional_site_is_asked_under_its_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def send(session: requests.Session, request: requests.PreparedRequest, **__: object) -> requests.Response:
        asked.append((str(request.url), session.trust_env))
        raise requests.ConnectTimeout("nobody is called in a test")

    monkeypatch.setattr(requests.Session, "send", send)
    data = MAINNET.open_market_data(load_settings(bybit_region="ge"))
    monkeypatch.setattr(data._transport, "_sleep", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(ExchangeUnavailableError):
        data.tickers()
    assert {url.split("/v5/")[0] for url, _ in asked} == {"https://api.bybitgeorgia.ge"}
    assert all(by_proxy for _, by_proxy in asked), "a proxy of the environment is used, as for Bybit's own hosts"


def test_public_data_of_a_real_venue_needs_no_key_but_its_account_does() -> None:
    settings = load_settings(venue="demo")
    open_market_data(settings)
    with pytest.raises(MissingKeysError, match="BYBIT_API_KEY"):
        open_exchange(settings)


def stop(url: str) -> None:
    """Stop the embedded exchange at `url` and see that nobody listens there."""
    with requests.Session() as session:
        session.trust_env = False
        session.post(f"{url}/admin/stop", timeout=60)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                session.get(f"{url}/admin/health", timeout=60)
            except requests.ConnectionError:
                return
            time.sleep(0.02)
    pytest.fail("the embedded exchange did not stop")


def test_the_embedded_exchange_is_started_on_first_use_and_again_after_it_stopped() -> None:
    exchange = open_exchange(load_settings(simulator_symbols=5))
    transport = exchange._transport  # type: ignore[attr-defined]
    assert exchange.wallet().equity == 10_000
    stop(transport._url)
    with pytest.raises(NotSentError):
        exchange.place_order(ORDER)
    assert exchange.wallet().equity == 10_000, "a read starts it again"
    stop(transport._url)
    exchange.close()


@pytest.mark.slow
def test_importing_the_venues_starts_and_loads_no_server() -> None:
    code = (
        "import sys; from trading_assets.core.settings import load_settings; load_settings().symbols; "
        "print(sorted({'numpy', 'pybit', 'trading_assets.simulator'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
