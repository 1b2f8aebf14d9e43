"""Candles and funding are asked by a shorter way than pybit's, and the venue sees and says the same."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Mapping

import pytest
import requests

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.exchange.connection import Connection, open_session
from trading_assets.exchange.public_reads import PATHS
from trading_assets_tests.exchange import stub as stubs
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import Reply, Stub, envelope

T0 = 1_767_225_600_000
ROW = [str(T0), "1", "2", "0.5", "1.5", "10", "15"]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000PEPE-PERP", "币安人生USDT", "A&B=C D%20"])
@pytest.mark.parametrize("method", PATHS)
def test_the_venue_is_asked_what_pybit_would_ask(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, method: str, symbol: str
) -> None:
    sent: list[tuple[str | None, Mapping[str, str]]] = []
    send = requests.adapters.HTTPAdapter.send

    def heard(
        adapter: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, **given: object
    ) -> requests.Response:
        sent.append((request.url, dict(request.headers)))
        return send(adapter, request, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", heard)
    stub.answer(envelope({"list": [ROW]}, time_ms=T0))
    session = open_session(Connection(url=stub.url, keys=stubs.KEYS), stub.url)
    params: dict[str, object] = {"category": "linear", "end": T0 + 5, "limit": 1000, "start": T0, "symbol": symbol}
    found = session.public.ask(method, dict(params))
    assert found == getattr(session.http, method)(**params)
    assert sent[0] == sent[1]
    assert stub.requests[0] == stub.requests[1]
    session.http.client.close()


def test_a_proxy_of_the_environment_is_asked_for_candles_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies: list[object] = []

    def send(*_: object, **given: object) -> requests.Response:
        proxies.append(given["proxies"])
        raise requests.ConnectTimeout("nobody is called in a test")

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    session = open_session(Connection(url=None), None)
    with pytest.raises(requests.ConnectTimeout):
        session.public.ask("get_kline", {"symbol": "BTCUSDT"})
    with pytest.raises(requests.ConnectTimeout):
        session.http.get_kline(symbol="BTCUSDT")
    assert proxies[0] == proxies[1] and "http://proxy.test:3128" in str(proxies[0])


@pytest.mark.parametrize(
    "body",
    [
        b'{"retCode": 0, "result": {"list": [%s]}, "time": %d, "odd": NaN}',
        b'{"retCode": 0, "result": {"list": [%s]}, "time": %d, "retMsg": "\\ud800"}',
    ],
)
def test_what_json_is_to_python_alone_is_read_all_the_same(stub: Stub, connect: Connect, body: bytes) -> None:
    stub.answer(Reply(body % (json.dumps(ROW).encode(), T0 + MINUTE_MS)))
    assert connect().candles("BTCUSDT", Timeframe.M1, T0, T0 + MINUTE_MS).start_ms.tolist() == [T0]


@pytest.mark.parametrize("row", [ROW[:6], [*ROW, "1"], ["nan", *ROW[1:]], [*ROW[:6], "1,5"], [*ROW[:6], ""]])
def test_a_row_that_is_no_candle_is_no_answer(stub: Stub, connect: Connect, row: list[str]) -> None:
    stub.answer(envelope({"list": [ROW, row]}, time_ms=T0 + MINUTE_MS))
    with pytest.raises(ExchangeUnavailableError, match="cannot be read"):
        connect().candles("BTCUSDT", Timeframe.M1, T0, T0 + MINUTE_MS)


def test_a_session_that_is_let_go_is_gone_at_once(stub: Stub) -> None:
    """A collection that closes its pools may come in the middle of anything: of a deep recursion, too."""
    stub.answer(envelope({"list": [ROW]}, time_ms=T0))
    gc.disable()
    try:
        session = open_session(Connection(url=stub.url), stub.url)
        session.public.ask("get_kline", {"symbol": "BTCUSDT"})
        client = weakref.ref(session.http.client)
        del session
        assert client() is None
    finally:
        gc.enable()
