"""Each fault as a client sees it, over real connections, and whether the request took effect."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pybit.exceptions
import pytest
import requests

from trading_assets.core.timeframes import floor_ms
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets_tests.polling import until
from trading_assets_tests.simulator.clients import answer, get, post, pybit_session, signed
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket

CREATE = "POST /v5/order/create"
D = Decimal


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket()) as exchange:
        yield exchange


@pytest.fixture
def exchange(running: RunningExchange) -> Iterator[RunningExchange]:
    """Without faults before and after."""
    yield running
    running.faults.remove()


def arm(exchange: RunningExchange, **rule: Any) -> None:
    exchange.faults.add(parse_rules(rule, ENDPOINTS), exchange.now_ms())


def position(exchange: RunningExchange) -> Decimal:
    return D(str(exchange.venue.engine.state.position("BTCUSDT").size))


def buy(exchange: RunningExchange, timeout: float = 60) -> dict[str, Any]:
    session = pybit_session(exchange.url)
    session.timeout = timeout
    return session.place_order(category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.001")


def bought(exchange: RunningExchange, error: type[Exception], timeout: float = 60) -> Decimal:
    """What the order that ended in `error` has added to the position."""
    before = position(exchange)
    with pytest.raises(error) as caught:
        buy(exchange, timeout)
    assert type(caught.value) is error, caught.value
    return position(exchange) - before


def test_a_lost_request_is_a_broken_connection_without_effect(exchange: RunningExchange) -> None:
    arm(exchange, where=CREATE, lost_request=True)
    assert bought(exchange, requests.ConnectionError) == 0


def test_a_lost_answer_is_a_broken_connection_with_effect(exchange: RunningExchange) -> None:
    arm(exchange, where=CREATE, lost_answer=True)
    assert bought(exchange, requests.ConnectionError) == D("0.001")


def test_a_truncated_answer_is_a_chunked_encoding_error_with_effect(exchange: RunningExchange) -> None:
    arm(exchange, where=CREATE, truncated=True)
    assert bought(exchange, requests.exceptions.ChunkedEncodingError) == D("0.001")


def test_a_slow_answer_is_a_read_timeout_with_effect(exchange: RunningExchange) -> None:
    before = position(exchange)
    arm(exchange, where=CREATE, latency_ms=2000, processed=True)
    bought(exchange, requests.ReadTimeout, timeout=0.2)
    until(lambda: position(exchange) - before == D("0.001"))


def test_a_slow_request_may_take_effect_after_its_client_has_given_up(exchange: RunningExchange) -> None:
    before = position(exchange)
    arm(exchange, where=CREATE, latency_ms=2000)
    assert bought(exchange, requests.ReadTimeout, timeout=0.2) == 0
    until(lambda: position(exchange) - before == D("0.001"))


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("processed", [True, False])
def test_a_status_comes_as_a_proxys_page_before_or_after_the_effect(
    exchange: RunningExchange, status: int, processed: bool
) -> None:
    arm(exchange, where=CREATE, http_status=status, processed=processed)
    assert bought(exchange, pybit.exceptions.FailedRequestError) == (D("0.001") if processed else 0)
    response = signed(exchange.url, "POST", "/v5/order/create", "{}")
    assert response.status_code == status and str(status) in response.text and "<html>" in response.text


def test_the_body_of_a_status_may_be_empty_or_given(exchange: RunningExchange) -> None:
    arm(exchange, where="/v5/market/time", calls=1, http_status=502, body="")
    arm(exchange, where="/v5/market/time", calls=2, http_status=403, body="blocked in your country")
    first, second, third = (get(exchange.url, "/v5/market/time") for _ in range(3))
    assert (first.status_code, first.text) == (502, "")
    assert (second.status_code, second.text) == (403, "blocked in your country")
    assert third.json()["retCode"] == 0


def test_a_page_instead_of_json_is_pybits_409(exchange: RunningExchange) -> None:
    arm(exchange, where=CREATE, html=True)
    with pytest.raises(pybit.exceptions.FailedRequestError) as caught:
        buy(exchange)
    assert caught.value.status_code == 409


@pytest.mark.parametrize("processed", [True, False])
def test_a_ret_code_comes_with_bybits_text_before_or_after_the_effect(
    exchange: RunningExchange, processed: bool
) -> None:
    arm(exchange, where=CREATE, ret_code=10000, processed=processed)
    assert bought(exchange, pybit.exceptions.InvalidRequestError) == (D("0.001") if processed else 0)
    exchange.faults.remove()
    arm(exchange, where="/v5/account/info", ret_code=10016, ret_msg="on fire")
    response = signed(exchange.url, "GET", "/v5/account/info")
    assert answer(response)["retCode"] == 10016 and answer(response)["retMsg"] == "on fire"
    assert response.headers["Ret_code"] == "10016"


def test_a_ban_meets_every_request_of_the_address_and_lifts_by_itself(exchange: RunningExchange) -> None:
    arm(exchange, where=CREATE, times=1, ban_s=2.0)
    assert bought(exchange, pybit.exceptions.FailedRequestError) == 0
    banned = get(exchange.url, "/v5/market/time")
    assert (banned.status_code, banned.text) == (403, "access too frequent")
    assert get(exchange.url, "/admin/health").status_code == 200
    until(lambda: get(exchange.url, "/v5/market/time").status_code == 200)


def test_a_skewed_clock_is_skewed_everywhere_a_client_looks(exchange: RunningExchange) -> None:
    arm(exchange, where="*", clock_skew_ms=-7000)
    shown = answer(get(exchange.url, "/v5/market/time"))
    assert shown["time"] == exchange.now_ms() - 7000 == int(shown["result"]["timeNano"]) // 1_000_000
    wall = time.time_ns() // 1_000_000
    assert answer(signed(exchange.url, "GET", "/v5/account/info", timestamp=wall, window="5000"))["retCode"] == 10002
    assert answer(signed(exchange.url, "GET", "/v5/account/info", timestamp=wall - 7000))["retCode"] == 0


def candle_starts(exchange: RunningExchange, query: str) -> list[int]:
    result = answer(get(exchange.url, f"/v5/market/kline?category=linear&symbol=BTCUSDT&{query}"))["result"]
    assert result["symbol"] == "BTCUSDT" and result["category"] == "linear"
    return [int(row[0]) for row in result["list"]]


def test_stale_candles_end_early_but_fill_their_page(exchange: RunningExchange) -> None:
    arm(exchange, where="GET /v5/market/kline", stale_candle=2)
    now = exchange.now_ms()
    assert candle_starts(exchange, "interval=1&limit=3") == [now - k * MINUTE for k in (2, 3, 4)]
    assert candle_starts(exchange, "interval=60&limit=2") == [floor_ms(now, HOUR) - k * HOUR for k in (2, 3)]
    assert candle_starts(exchange, f"interval=1&start={now - 3 * MINUTE}") == [now - 2 * MINUTE, now - 3 * MINUTE]
    old = now - HOUR
    assert candle_starts(exchange, f"interval=1&end={old}&limit=2") == [old, old - MINUTE]
    refused = get(exchange.url, "/v5/market/kline?symbol=BTCUSDT&interval=7").json()
    assert refused["retCode"] == 10001


def test_missing_candles_are_left_out_of_every_interval_that_starts_there(exchange: RunningExchange) -> None:
    now = exchange.now_ms()
    arm(exchange, where="GET /v5/market/kline", missing_candle=[now - MINUTE, now - HOUR])
    assert candle_starts(exchange, "interval=1&limit=3") == [now, now - 2 * MINUTE]
    assert candle_starts(exchange, "interval=60&limit=3") == [now, now - 2 * HOUR]


def test_prices_stand_still_while_time_goes_on(exchange: RunningExchange) -> None:
    def last() -> tuple[str, int]:
        shown = answer(get(exchange.url, "/v5/market/tickers?category=linear&symbol=BTCUSDT"))
        return shown["result"]["list"][0]["lastPrice"], shown["time"]

    arm(exchange, where="GET /v5/market/*", stand_still=True)
    before, since = last()
    exchange.advance(10 * MINUTE)
    assert last() == (before, since + 10 * MINUTE)
    exchange.faults.remove()
    assert last()[0] != before


def test_a_keep_alive_session_goes_on_after_a_fault(exchange: RunningExchange) -> None:
    arm(exchange, where="/v5/market/time", calls=[2, 4], lost_answer=True)
    with requests.Session() as session:
        session.trust_env = False
        outcomes = []
        for _ in range(5):
            try:
                outcomes.append(session.get(f"{exchange.url}/v5/market/time", timeout=60).status_code)
            except requests.ConnectionError:
                outcomes.append(0)
    assert outcomes == [200, 0, 200, 0, 200]


def test_the_admin_face_adds_shows_and_lifts_faults(
    exchange: RunningExchange, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{exchange.url}/admin/faults"
    rule = {"where": "/v5/market/time", "match": {"x": "1"}, "ret_code": 10016}
    (added,) = answer(post(exchange.url, "/admin/faults", rule))["added"]
    with caplog.at_level(logging.WARNING):
        assert get(exchange.url, "/v5/market/time?x=1").json()["retMsg"] == "Server error."
        assert get(exchange.url, "/v5/market/time").json()["retCode"] == 0
    assert f"fault {added} on GET /v5/market/time" in caplog.text
    (shown,) = answer(get(exchange.url, "/admin/faults"))["faults"]
    assert (shown["id"], shown["rule"], shown["calls"], shown["hits"]) == (added, rule, 1, 1)
    assert shown["last_fired"]["time_ms"] == exchange.now_ms()

    assert len(answer(post(exchange.url, "/admin/faults", {"faults": [rule, rule]}))["added"]) == 2
    with requests.Session() as session:
        session.trust_env = False
        assert session.delete(f"{url}/{added}", timeout=60).json() == {"removed": 1}
        again = session.delete(f"{url}/{added}", timeout=60)
        assert again.status_code == 400 and added in again.json()["error"]
        assert session.delete(url, timeout=60).json() == {"removed": 2}
    assert answer(get(exchange.url, "/admin/faults")) == {"faults": []}


@pytest.mark.parametrize("body", [{}, [], {"where": "/v5/market/tim", "html": True}, {"faults": [{"where": "*"}]}])
def test_the_admin_face_refuses_bad_rules_with_a_reason(exchange: RunningExchange, body: object) -> None:
    response = post(exchange.url, "/admin/faults", body)
    assert response.status_code == 400 and response.json()["error"]
    assert answer(get(exchange.url, "/admin/faults")) == {"faults": []}
