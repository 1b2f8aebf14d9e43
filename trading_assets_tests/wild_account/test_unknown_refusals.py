"""Kind 5: a refusal that is not understood decides nothing; only one about the price leads to an exit at once."""

from __future__ import annotations

import pytest

from trading_assets_tests.wild_account.proxy import CREATE, LEVERAGE, OPEN_ORDERS, ORDER_HISTORY, STOPS, WALLET, Request
from trading_assets_tests.wild_account.scene import Scene, attempt, reaction

PASSING = [10006, 10018]
"""Refusals for the rate: the same may be asked again."""

AMBIGUOUS = [10000, 10014, 10016, 10019, 10429, 10403, 10404, 20003, 20006, 170001, 170005, 170007, 170032, 3100116]
UNKNOWN = [7, 10999, 99999, 110999, 3_499_999]
UNCLEAR = [10403, 10404, 20003, 170007, 3100116, 99999]
"""Some of both."""

REJECTIONS = [10001, 110007, 110094, 110013]


@pytest.mark.slow
@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("path", [CREATE, LEVERAGE])
def test_a_refusal_for_the_rate_costs_no_entry(scene: Scene, code: int, path: str) -> None:
    scene.reconcile()
    scene.proxy.refuse(path, code, "too many visits", times=1)
    identity = scene.signal("SOLUSDT")
    for _ in range(4):
        scene.submit()
        scene.later(20)
    assert scene.signal_status(identity) == "executed" and len(scene.orders_of_ours("SOLUSDT")) == 1


@pytest.mark.parametrize("code", PASSING)
def test_a_refusal_for_the_rate_costs_no_read(scene: Scene, code: int) -> None:
    scene.proxy.refuse(WALLET, code, "too many visits", times=1)
    assert scene.reconcile().equity == 10_000


@pytest.mark.slow
@pytest.mark.parametrize("code", UNCLEAR)
def test_an_unclear_answer_to_an_order_that_was_not_placed_rejects_nothing(scene: Scene, code: int) -> None:
    scene.reconcile()
    scene.proxy.refuse(CREATE, code, "please try again later", times=1)
    identity = scene.signal("SOLUSDT")
    scene.submit()
    assert scene.signal_status(identity) != "rejected"
    for _ in range(3):
        scene.later(60)
        attempt(scene.reconcile)
        attempt(scene.submit)
    orders = scene.orders_of_ours("SOLUSDT")
    placed = scene.signal_status(identity) == "executed"
    assert len(orders) == placed and (scene.size("SOLUSDT") > 0) is placed
    assert (scene.intent(identity)["open_slot"] is not None) is placed, "its end is known by now"


@pytest.mark.parametrize("code", UNCLEAR)
def test_an_unclear_answer_to_an_order_that_was_placed_loses_nothing(scene: Scene, code: int) -> None:
    """The order is there, and the lists do not show it yet."""
    scene.reconcile()
    scene.proxy.refuse(CREATE, code, "please try again later", times=1, processed=True)
    scene.proxy.empty(OPEN_ORDERS, ORDER_HISTORY, times=2, symbol="SOLUSDT")
    identity = scene.signal("SOLUSDT")
    scene.submit()
    assert scene.intent(identity)["open_slot"] is not None and scene.signal_status(identity) != "rejected"
    scene.passes(2)
    assert scene.is_ours(identity) and len(scene.orders_of_ours("SOLUSDT")) == 1


@pytest.mark.parametrize("code", REJECTIONS)
def test_a_clear_rejection_stays_one(scene: Scene, code: int) -> None:
    scene.reconcile()
    scene.proxy.refuse(CREATE, code, "no", times=1)
    identity = scene.signal("SOLUSDT")
    report = scene.submit()
    assert identity in report.rejected and scene.intent(identity)["open_slot"] is None


@pytest.mark.parametrize("code", [10404, 20006, 99999])
def test_an_unclear_answer_to_the_leverage_rejects_nothing_for_good(scene: Scene, code: int) -> None:
    scene.reconcile()
    scene.proxy.refuse(LEVERAGE, code, "please try again later", times=1)
    identity = scene.signal("SOLUSDT")
    for _ in range(3):
        attempt(scene.submit)
        scene.later(20)
    assert scene.signal_status(identity) == "executed"


@pytest.mark.parametrize("code", [10006, 10018, 10429, *UNCLEAR, 110009])
def test_one_refusal_on_attaching_a_stop_closes_no_position(scene: Scene, code: int) -> None:
    (identity,) = scene.enter("ETHUSDT")
    before = scene.stop("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.proxy.refuse(STOPS, code, "please try again later", times=1)
    scene.try_passes(3)
    assert scene.is_ours(identity) and scene.stop("ETHUSDT") == before


@pytest.mark.parametrize(
    "message",
    [
        "StopLoss:2562600000 set for Buy position should lower than base_price:2500000000??LastPrice",
        "sl:2562600000 set for Buy position should lower than base_price:2500000000??MarkPrice",
    ],
)
def test_a_price_beyond_the_stop_closes_the_position_at_once(scene: Scene, message: str) -> None:
    (identity,) = scene.enter("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.proxy.refuse(STOPS, 10001, message)
    scene.passes(2)
    assert scene.size("ETHUSDT") == 0 and scene.intent(identity)["status"] == "closed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "message", ["params error: positionIdx invalid", "Illegal category", "Request parameter error."]
)
def test_another_parameter_error_on_the_stop_closes_nothing_at_once(scene: Scene, message: str) -> None:
    scene.enter("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.proxy.refuse(STOPS, 10001, message)
    scene.try_passes(1, seconds=5)
    assert scene.size("ETHUSDT") > 0


@pytest.mark.slow
@pytest.mark.parametrize("code", [110009, 110061, 99999])
def test_under_a_lasting_refusal_a_conditional_order_stands_in_for_the_stop(scene: Scene, code: int) -> None:
    (identity,) = scene.enter("ETHUSDT")
    stop = scene.stop("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.proxy.refuse(STOPS, code, "The number of stop orders exceeds the maximum allowable limit")
    scene.try_passes(4, seconds=10)
    assert scene.is_ours(identity) and scene.size("ETHUSDT") > 0
    waiting = [row for row in scene.open_orders("ETHUSDT") if row["orderStatus"] == "Untriggered"]
    assert [(row["side"], row["reduceOnly"]) for row in waiting] == [("Sell", True)]
    assert scene.hears("ETHUSDT", "stop")
    assert f"{stop}" in {row["triggerPrice"] for row in waiting}
    assert scene.states()[-1:] == ["REDUCING"]


def test_without_any_stop_the_position_is_closed_after_a_while(make_scene) -> None:  # type: ignore[no-untyped-def]
    """Neither a stop nor an order in its place can be had: not at once, but after UNPROTECTED_MAX_S it is closed."""
    scene: Scene = make_scene(unprotected_max_s=120)
    (identity,) = scene.enter("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.proxy.refuse(STOPS, 99999, "try again later")

    def no_conditional(request: Request) -> dict[str, object] | None:
        if "triggerPrice" not in request.params:
            return None
        return {"retCode": 110009, "retMsg": "too many", "result": {}, "retExtInfo": {}, "time": scene.now_ms()}

    scene.proxy.instead(CREATE, no_conditional)
    scene.try_passes(2, seconds=20)
    assert scene.size("ETHUSDT") > 0 and scene.is_ours(identity)
    scene.try_passes(6, seconds=30)
    assert scene.size("ETHUSDT") == 0 and scene.hears("ETHUSDT")
    assert scene.reasons(identity) and scene.intent(identity)["status"] == "closed"


@pytest.mark.parametrize("code", [10018, 10404, 20003, 99999])
def test_an_unclear_answer_to_an_exit_does_not_end_flatten(scene: Scene, code: int) -> None:
    scene.enter("ETHUSDT", "SOLUSDT")
    scene.proxy.refuse(CREATE, code, "please try again later", times=1)
    report = scene.flatten()
    assert scene.legs() == [] and report.left == {}


def test_the_table_says_of_an_unknown_code_that_it_is_ambiguous() -> None:
    assert {reaction(code) for code in (*AMBIGUOUS, *UNKNOWN)} == {"ambiguous"}
    assert {reaction(code) for code in (10006, 10018)} == {"retry"}
    assert {reaction(code) for code in (10003, 33004, 10005, 10010, 10024)} == {"fatal"}
