"""Request limits: the windows with a clock of the test, and headers, 10006 and the ban over real connections."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from trading_assets.simulator import server
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.rate_limits import ACCOUNT_LIMITS, ADDRESS_LIMIT, Limits, RollingWindow
from trading_assets.simulator.server import ROUTES, ServeConfig
from trading_assets_tests.simulator.clients import answer, get, pybit_session, signed
from trading_assets_tests.simulator.fake_market import T0, FakeMarket

LIMITED = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0), limits=True)
LEVERAGE = '{"category":"linear","symbol":"BTCUSDT","buyLeverage":"%d","sellLeverage":"%d"}'


class Hand:
    """A clock of the test, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_window_rolls() -> None:
    window = RollingWindow(3, 1.0)
    assert [window.take(at).left for at in (0.0, 0.4, 0.8)] == [2, 1, 0]
    assert window.take(0.9).wait_s == pytest.approx(0.1)
    assert not window.take(1.0).is_exceeded
    assert window.take(1.3).wait_s == pytest.approx(0.1)
    assert not window.take(1.4).is_exceeded


def test_of_what_counts_for_many_the_window_lets_the_first_through() -> None:
    window = RollingWindow(3, 1.0)
    assert (window.take(0.0, 2).taken, window.take(0.5, 2).taken) == (2, 1)
    assert window.take(0.9, 2).is_exceeded and window.take(0.9, 2).taken == 0
    assert window.take(1.0, 5).taken == 2


def test_each_endpoint_has_its_own_limit() -> None:
    limits = Limits(True, Hand())
    for _ in range(10):
        quota = limits.take("/v5/order/create")
        assert quota is not None and not quota.is_exceeded
    exceeded, other = limits.take("/v5/order/create"), limits.take("/v5/order/cancel")
    assert exceeded is not None and exceeded.is_exceeded
    assert other is not None and other.left == 9
    assert limits.take("/v5/market/kline") is None


def test_every_signed_route_has_a_limit() -> None:
    assert {route.path for route in ROUTES if route.signed} <= ACCOUNT_LIMITS.keys()


def test_an_address_is_banned_for_ten_minutes_after_600_requests_in_5_s() -> None:
    hand = Hand()
    limits = Limits(True, hand)
    for _ in range(ADDRESS_LIMIT):
        assert limits.admits("1.2.3.4")
        hand.now += 4.9 / ADDRESS_LIMIT
    assert not limits.admits("1.2.3.4")
    assert limits.admits("5.6.7.8")
    hand.now += 599
    assert not limits.admits("1.2.3.4")
    hand.now += 1.1
    assert limits.admits("1.2.3.4")


def test_who_keeps_to_the_limit_is_never_refused() -> None:
    hand = Hand()
    limits = Limits(True, hand)
    for _ in range(3 * ADDRESS_LIMIT):
        assert limits.admits("1.2.3.4")
        hand.now += 5.001 / ADDRESS_LIMIT


def test_without_limits_only_bans_count() -> None:
    limits = Limits(False, Hand())
    assert all(limits.admits("a") for _ in range(2 * ADDRESS_LIMIT)) and limits.take("/v5/order/create") is None
    limits.ban("a", 5)
    assert not limits.admits("a")


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    """The clock of the limits of an exchange that is started now."""
    hand = Hand()
    monkeypatch.setattr(server, "Limits", lambda enabled: Limits(enabled, hand))
    return hand


def test_too_many_requests_are_10006_with_bybits_headers_and_without_effect(hand: Hand) -> None:
    with serve_in_thread(LIMITED, FakeMarket()) as exchange:
        began_ms = time.time_ns() // 1_000_000
        responses = []
        for leverage in range(20, 31):
            body = LEVERAGE % (leverage, leverage)
            responses.append(signed(exchange.url, "POST", "/v5/position/set-leverage", body))
        codes = [answer(response)["retCode"] for response in responses]
        assert codes == [0] * 10 + [10006]
        last = responses[-1]
        assert last.json()["retMsg"] == "Too many visits. Exceeded the API Rate Limit."
        assert exchange.venue.engine.state.position("BTCUSDT").leverage == 29
        assert [response.headers["X-Bapi-Limit-Status"] for response in responses] == [
            *(str(left) for left in range(9, -1, -1)),
            "0",
        ]
        assert all(response.headers["X-Bapi-Limit"] == "10" for response in responses)
        reset_ms = int(last.headers["X-Bapi-Limit-Reset-Timestamp"])
        assert began_ms + 1000 <= reset_ms <= time.time_ns() // 1_000_000 + 1000
        assert len(last.headers["Traceid"]) == 32 and last.headers["Ret_code"] == "10006"
        assert last.headers["Timenow"] == str(exchange.now_ms())
        hand.now += 1.0
        again = signed(exchange.url, "POST", "/v5/position/set-leverage", LEVERAGE % (40, 40))
        assert answer(again)["retCode"] == 0


def test_a_refused_signature_does_not_use_the_accounts_limit_up(hand: Hand) -> None:
    with serve_in_thread(LIMITED, FakeMarket()) as exchange:
        for _ in range(6):
            assert answer(signed(exchange.url, "GET", "/v5/account/fee-rate", secret="wrong"))["retCode"] == 10004
        good = signed(exchange.url, "GET", "/v5/account/fee-rate", "category=linear")
        assert answer(good)["retCode"] == 0 and good.headers["X-Bapi-Limit-Status"] == "4"


@pytest.mark.slow
def test_a_flood_from_one_address_is_403(hand: Hand) -> None:
    with serve_in_thread(LIMITED, FakeMarket()) as exchange, requests.Session() as session:
        session.trust_env = False
        statuses = [session.get(f"{exchange.url}/v5/market/time", timeout=60).status_code for _ in range(601)]
        assert statuses[:600] == [200] * 600
        assert statuses[600] == 403
        refused = get(exchange.url, "/v5/nothing")
        assert (refused.status_code, refused.text) == (403, "access too frequent")
        assert get(exchange.url, "/admin/health").status_code == 200


def test_the_default_in_process_has_no_limits(tmp_path: Path) -> None:
    with serve_in_thread(ServeConfig(home=tmp_path), FakeMarket()) as exchange:
        session = pybit_session(exchange.url)
        for _ in range(12):
            session.get_fee_rates(category="linear")
        assert "X-Bapi-Limit" not in signed(exchange.url, "GET", "/v5/account/info").headers


def test_each_order_of_a_batch_counts_and_those_beyond_the_limit_are_refused_one_by_one(hand: Hand) -> None:
    with serve_in_thread(LIMITED, FakeMarket()) as exchange:

        def batch(first: int, count: int) -> tuple[dict[str, Any], requests.Response]:
            order = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "price": "90000", "qty": "0.001"}
            wanted = [{**order, "orderLinkId": f"one-{number}"} for number in range(first, first + count)]
            body = json.dumps({"category": "linear", "request": wanted})
            response = signed(exchange.url, "POST", "/v5/order/create-batch", body)
            return answer(response), response

        told, response = batch(0, 7)
        assert [one["code"] for one in told["retExtInfo"]["list"]] == [0] * 7
        assert response.headers["X-Bapi-Limit-Status"] == "3"
        told, response = batch(7, 5)
        assert told["retCode"] == 0
        assert [one["code"] for one in told["retExtInfo"]["list"]] == [0, 0, 0, 10006, 10006]
        assert [row["orderLinkId"] for row in told["result"]["list"]] == [f"one-{number}" for number in range(7, 12)]
        assert [bool(row["orderId"]) for row in told["result"]["list"]] == [True] * 3 + [False] * 2
        assert batch(12, 2)[0]["retCode"] == 10006, "nothing is left: the whole request is refused"
        single = (
            '{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Limit","price":"90000","qty":"0.001"}'
        )
        assert answer(signed(exchange.url, "POST", "/v5/order/create", single))["retCode"] == 0, "a limit of its own"
        assert len(exchange.venue.engine.open_orders()) == 11
        hand.now += 1.0
        assert [one["code"] for one in batch(10, 10)[0]["retExtInfo"]["list"]] == [0] * 10
