"""Requests as such: signature, time, malformed input, unknown routes, the admin face."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.rest.admin import NAME
from trading_assets.simulator.server import ROUTES, ServeConfig
from trading_assets_tests.simulator.clients import answer, get, post, signed
from trading_assets_tests.simulator.fake_market import HOUR, T0, FakeMarket

CLOSED = "/v5/position/closed-pnl"
FLAT = {"BTCUSDT": {T0: (100_000.0,) * 4}}


@pytest.fixture(scope="module")
def virtual() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket(FLAT)) as running:
        yield running


@pytest.fixture(scope="module")
def real() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(), FakeMarket(FLAT)) as running:
        yield running


def test_a_signed_get_is_answered_in_the_envelope(real: RunningExchange) -> None:
    body = answer(signed(real.url, "GET", "/v5/account/info"))
    assert list(body) == ["retCode", "retMsg", "result", "retExtInfo", "time"]
    assert body["retCode"] == 0 and abs(body["time"] - time.time() * 1000) < 60_000


def test_the_raw_query_is_signed_in_its_order_and_encoding(real: RunningExchange) -> None:
    for query in ("category=linear&limit=5", "limit=5&category=linear", "category=linear&baseCoin=%2F"):
        assert answer(signed(real.url, "GET", CLOSED, query))["retCode"] == 0


def test_the_raw_body_is_signed_with_or_without_spaces(virtual: RunningExchange) -> None:
    for body in (
        '{"category":"linear","symbol":"BTCUSDT","mode":0}',
        '{ "category" : "linear", "symbol":"BTCUSDT",\n"mode": 0}',
    ):
        assert answer(signed(virtual.url, "POST", "/v5/position/switch-mode", body))["retCode"] == 110025


def test_a_wrong_secret_is_10004(real: RunningExchange) -> None:
    body = answer(signed(real.url, "GET", "/v5/account/info", secret="wrong"))
    assert body["retCode"] == 10004 and "simulator-secret" not in body["retMsg"]


def test_a_query_changed_after_signing_is_10004(real: RunningExchange) -> None:
    response = signed(real.url, "GET", CLOSED, "category=linear", headers={"X-BAPI-SIGN": "0" * 64})
    assert answer(response)["retCode"] == 10004


def test_a_wrong_key_is_10003(real: RunningExchange) -> None:
    assert answer(signed(real.url, "GET", "/v5/account/info", key="nobody"))["retCode"] == 10003


def test_missing_credentials_are_http_401(real: RunningExchange) -> None:
    response = get(real.url, "/v5/account/info")
    assert response.status_code == 401 and response.json()["retCode"] == 10003


@pytest.mark.parametrize(
    ("offset", "window", "code"), [(-60_000, "5000", 10002), (60_000, "5000", 10002), (-2_000, "60000", 0)]
)
def test_the_receive_window_counts(real: RunningExchange, offset: int, window: str, code: int) -> None:
    stamp = int(time.time() * 1000) + offset
    told = answer(signed(real.url, "GET", "/v5/account/info", timestamp=stamp, window=window))
    assert told["retCode"] == code


def test_the_window_defaults_to_five_seconds_and_may_be_widened(real: RunningExchange) -> None:
    stamp = int(time.time() * 1000) - 7_000
    assert answer(signed(real.url, "GET", "/v5/account/info", timestamp=stamp, window=""))["retCode"] == 10002
    assert answer(signed(real.url, "GET", "/v5/account/info", timestamp=stamp, window="60000"))["retCode"] == 0


def test_a_virtual_exchange_takes_its_own_time_and_the_walls(virtual: RunningExchange) -> None:
    assert answer(signed(virtual.url, "GET", "/v5/account/info"))["retCode"] == 0
    here = virtual.now_ms()
    assert answer(signed(virtual.url, "GET", "/v5/account/info", timestamp=here))["retCode"] == 0
    assert answer(signed(virtual.url, "GET", "/v5/account/info", timestamp=here - 70_000))["retCode"] == 10002
    assert answer(signed(virtual.url, "GET", "/v5/account/info"))["time"] == here


def test_a_real_exchange_takes_only_the_real_time(real: RunningExchange) -> None:
    assert answer(signed(real.url, "GET", "/v5/account/info", timestamp=T0))["retCode"] == 10002


@pytest.mark.parametrize("header", ["X-BAPI-TIMESTAMP", "X-BAPI-RECV-WINDOW"])
def test_a_timestamp_that_is_no_number_is_10001(real: RunningExchange, header: str) -> None:
    assert answer(signed(real.url, "GET", "/v5/account/info", headers={header: "soon"}))["retCode"] == 10001


@pytest.mark.parametrize("path", ["/v5/nothing", "/", "/v5/order/create"])
def test_an_unknown_route_or_method_is_404(real: RunningExchange, path: str) -> None:
    response = get(real.url, path)
    assert response.status_code == 404 and response.json()["retCode"] == 10017


def test_a_get_with_a_body_is_403(real: RunningExchange) -> None:
    session = requests.Session()
    session.trust_env = False
    assert session.get(f"{real.url}/v5/market/time", data="{}", timeout=60).status_code == 403


@pytest.mark.parametrize("body", ["", "{", "[]", '"x"', "null", "5", "{}", '{"category":[]}', "[" * 100_000, "\x00"])
def test_a_malformed_body_is_10001_with_a_message(virtual: RunningExchange, body: str) -> None:
    result = answer(signed(virtual.url, "POST", "/v5/order/create", body))
    assert result["retCode"] == 10001 and result["retMsg"]


STRANGE = ["linear", "BTCUSDT", "spot", "0", "-1", "1e9", "99999999999999999999", "NaN", "null", "D", "M"]
texts = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="&#=+%"), max_size=12),
    st.sampled_from(STRANGE),
    st.integers(-(10**15), 10**15).map(str),
)
names = [
    *(
        "category",
        "symbol",
        "interval",
        "start",
        "end",
        "limit",
        "startTime",
        "endTime",
        "cursor",
        "settleCoin",
    ),
    *(
        "baseCoin",
        "orderId",
        "orderLinkId",
        "openOnly",
        "orderFilter",
        "accountType",
        "coin",
        "status",
        "execType",
    ),
    *(
        "mode",
        "buyLeverage",
        "sellLeverage",
        "side",
        "orderType",
        "qty",
        "takeProfit",
        "stopLoss",
        "positionIdx",
    ),
    *("tpslMode", "reduceOnly", "slippageTolerance", "slippageToleranceType"),
]


@pytest.mark.slow
@settings(max_examples=150)
@given(
    st.sampled_from(ROUTES),
    st.dictionaries(st.sampled_from(names), texts, max_size=8),
    st.booleans(),
)
def test_no_parameters_ever_break_the_server(
    virtual: RunningExchange, route: object, values: dict[str, str], complete: bool
) -> None:
    if complete:
        values = {
            "category": "linear",
            "symbol": "BTCUSDT",
            "interval": "60",
            "accountType": "UNIFIED",
        } | values
    method, path = route.method, route.path  # type: ignore[attr-defined]
    payload = json.dumps(values) if method == "POST" else urlencode(values)
    response = signed(virtual.url, method, path, payload)
    assert response.status_code == 200, response.text
    assert isinstance(response.json()["retCode"], int)


def test_health_tells_who_is_there(virtual: RunningExchange) -> None:
    health = answer(get(virtual.url, "/admin/health"))
    assert health["name"] == NAME and health["clock"] == "manual" and health["now_ms"] == virtual.now_ms()
    assert {"pid", "version", "seed", "symbols", "account"} <= health.keys()
    assert health["account"]["wallet_balance"] == "10000"


def test_the_admin_face_moves_a_manual_clock_forward_only(virtual: RunningExchange) -> None:
    before = virtual.now_ms()
    assert answer(post(virtual.url, "/admin/clock", {"advance_ms": HOUR}))["now_ms"] == before + HOUR
    assert answer(post(virtual.url, "/admin/clock", {"set_ms": before + 2 * HOUR}))["now_ms"] == before + 2 * HOUR
    assert answer(get(virtual.url, "/v5/market/time"))["time"] == before + 2 * HOUR
    refused: tuple[object, ...] = (
        {"set_ms": before},
        {"advance_ms": -1},
        {},
        {"set_ms": 1, "advance_ms": 1},
        {"advance_ms": "x"},
        [],
        {"advance_ms": 10**17},
    )
    for body in refused:
        response = post(virtual.url, "/admin/clock", body)
        assert response.status_code == 400 and response.json()["error"]
    assert virtual.now_ms() == before + 2 * HOUR


def test_an_accelerated_clock_goes_on_at_another_speed_and_any_other_has_none(virtual: RunningExchange) -> None:
    assert "accelerated" in post(virtual.url, "/admin/clock", {"speed": 2}).json()["error"]
    config = ServeConfig(clock=ClockSpec(ClockMode.ACCELERATED, T0, speed=1000.0))
    with serve_in_thread(config, FakeMarket(FLAT)) as running:
        slow = answer(post(running.url, "/admin/clock", {"speed": 0.000001}))["now_ms"]
        assert slow >= T0
        assert running.now_ms() == slow  # it would have gone on by a second in a millisecond
        for speed in (0, -1, "x"):
            assert post(running.url, "/admin/clock", {"speed": speed}).status_code == 400
        assert answer(post(running.url, "/admin/clock", {"speed": 1000}))["now_ms"] >= slow


def test_a_real_clock_cannot_be_set(real: RunningExchange) -> None:
    response = post(real.url, "/admin/clock", {"advance_ms": 1})
    assert response.status_code == 400 and "manual" in response.json()["error"]


def test_admin_stop_ends_the_server() -> None:
    with serve_in_thread(ServeConfig(), FakeMarket(FLAT)) as running:
        assert answer(post(running.url, "/admin/stop", {})) == {"stopping": True}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                get(running.url, "/admin/health")
            except OSError:
                return
            time.sleep(0.05)
        raise AssertionError("the server still answers")


def test_a_body_of_megabytes_is_refused_and_the_connection_goes_on(virtual: RunningExchange) -> None:
    with requests.Session() as session:
        session.trust_env = False
        huge = session.post(f"{virtual.url}/v5/order/create", data=b" " * 5_000_000, timeout=60)
        assert answer(huge)["retCode"] == 10001 and "larger" in answer(huge)["retMsg"]
        assert answer(session.get(f"{virtual.url}/v5/market/time", timeout=60))["retCode"] == 0
