"""Kind 7: what was gone and comes back is told again; what concerns the whole account is told by every caller, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from trading_assets.core.messages import Message
from trading_assets_tests.wild_account.proxy import CREATE, INSTRUMENTS, POSITIONS, STOPS, WALLET
from trading_assets_tests.wild_account.scene import Scene, attempt

ACCOUNT_WIDE = {
    10003: "API key is invalid.",
    33004: "Your api key has expired.",
    10005: "Permission denied, please check your API key permissions.",
    10009: "IP has been banned.",
    10010: "Unmatched IP, please check your API key's bound IP addresses.",
    10024: "Compliance rules triggered",
    10028: "The API can only be accessed by unified account users.",
}

PRIVATE = (WALLET, POSITIONS, "/v5/order/realtime", "/v5/order/history", "/v5/execution/list",
           "/v5/position/closed-pnl", CREATE, STOPS, "/v5/position/set-leverage", "/v5/account/info",
           "/v5/account/transaction-log")  # fmt: skip


@pytest.mark.slow
def test_a_persons_position_is_told_each_time_it_comes(scene: Scene) -> None:
    scene.reconcile()
    for _ in range(3):
        scene.order("ADAUSDT", "Buy", "500")
        scene.passes(3)
        assert len(scene.hears("ADAUSDT")) == 1, "once an episode"
        scene.close_by_hand("ADAUSDT")
        scene.passes(1, seconds=3600)
        scene.drain()


def test_a_stop_that_cannot_be_set_is_told_each_time(scene: Scene) -> None:
    for _ in range(3):
        scene.enter("ETHUSDT")
        scene.stops_by_hand("ETHUSDT", stop=0, target=0)
        scene.proxy.refuse(STOPS, 10003, "API key is invalid.")
        scene.try_passes(1)
        assert scene.hears("ETHUSDT", "stop"), "a position without a stop, and nobody is told"
        scene.proxy.clear()
        scene.passes(1)
        assert scene.stop("ETHUSDT") is not None
        scene.close_by_hand("ETHUSDT")
        scene.passes(1, seconds=86_400)
        scene.drain()


def test_an_open_order_of_a_person_is_told_again_after_it_was_gone(scene: Scene) -> None:
    scene.reconcile()
    for _ in range(2):
        order = scene.order("ADAUSDT", "Buy", "100", orderType="Limit", price="0.2", timeInForce="GTC")
        scene.passes(2)
        assert len(scene.hears("ADAUSDT")) == 1
        scene.human.cancel_order(category="linear", symbol="ADAUSDT", orderId=order)
        scene.passes(1)
        scene.drain()


def test_a_difference_that_was_gone_while_another_came_is_told_again(scene: Scene) -> None:
    scene.reconcile()
    for symbol in ("ADAUSDT", "XRPUSDT", "ADAUSDT"):
        scene.order(symbol, "Buy", "200")
        scene.passes(1)
        assert scene.hears(symbol)
        scene.close_by_hand(symbol)
        scene.passes(1)
        scene.drain()


def test_an_alert_outlives_a_restart_and_is_not_repeated_by_it(scene: Scene) -> None:
    scene.reconcile()
    scene.order("ADAUSDT", "Buy", "500")
    scene.passes(1)
    scene.drain()
    scene.restart()
    scene.passes(2)
    assert not scene.hears("ADAUSDT")


def _refuse_all(scene: Scene, code: int) -> None:
    for path in PRIVATE:
        scene.proxy.refuse(path, code, ACCOUNT_WIDE[code])


@pytest.mark.parametrize("code", ACCOUNT_WIDE)
def test_a_refusal_of_the_whole_account_is_told_by_the_reconciler(scene: Scene, code: int) -> None:
    scene.reconcile()
    scene.drain()
    for _ in range(2):
        _refuse_all(scene, code)
        scene.try_passes(3)
        assert len(scene.hears(str(code))) == 1, "one alert an episode"
        scene.proxy.clear()
        scene.passes(1)
        scene.drain()


@pytest.mark.parametrize("code", [10003, 33004, 10010])
def test_a_refusal_of_the_whole_account_is_told_by_the_executor(scene: Scene, code: int) -> None:
    """Also where only reads are refused, and signals wait."""
    scene.reconcile()
    scene.drain()
    identity = scene.signal("ETHUSDT")
    _refuse_all(scene, code)
    for _ in range(3):
        scene.later(20)
        attempt(scene.submit)
    assert len(scene.hears(str(code))) == 1
    scene.proxy.clear()
    attempt(scene.submit)
    assert scene.signal_status(identity) == "executed", "it was alive when the key came back"


@pytest.mark.parametrize("code", [10003, 10005])
def test_a_refusal_of_the_whole_account_at_the_order_is_told_once(scene: Scene, code: int) -> None:
    scene.reconcile()
    scene.drain()
    scene.proxy.refuse(CREATE, code, ACCOUNT_WIDE[code])
    for symbol in ("ETHUSDT", "SOLUSDT", "XRPUSDT"):
        scene.signal(symbol)
    attempt(scene.submit)
    told = [text for text in scene.hears(str(code)) if "order failed" not in text]
    assert len(told) == 1, "of the account one alert, whatever is told of each order"


@pytest.mark.parametrize("code", [10003, 10009])
def test_a_refusal_of_the_whole_account_is_told_by_flatten(scene: Scene, code: int) -> None:
    scene.enter("ETHUSDT")
    _refuse_all(scene, code)
    attempt(scene.flatten)
    assert scene.hears(str(code))


def test_callers_share_an_episode(scene: Scene) -> None:
    """Reconciler and executor meet the same expired key: one alert between them."""
    scene.reconcile()
    scene.drain()
    scene.signal("ETHUSDT")
    _refuse_all(scene, 33004)
    calls: list[Callable[[], object]] = [scene.reconcile, scene.submit, scene.reconcile]
    for call in calls:
        attempt(call)
    assert len(scene.hears("33004")) == 1


@pytest.mark.parametrize(
    ("code", "advice"), [(10010, "address"), (33004, "key"), (10028, "unified"), (10005, "permission")]
)
def test_an_alert_says_what_to_do(scene: Scene, code: int, advice: str) -> None:
    scene.reconcile()
    scene.drain()
    for path in PRIVATE:
        scene.proxy.refuse(path, code, "no")
    scene.try_passes(1)
    assert scene.hears(str(code), advice)


@pytest.mark.parametrize("path", [*PRIVATE, "/v5/order/cancel"])
@pytest.mark.parametrize("stop", [0, 500], ids=["removed", "loosened"])
def test_a_refusal_of_one_route_is_told_once_while_others_go_on(scene: Scene, path: str, stop: int) -> None:
    """The key has lost one permission: what still works ends no episode of what does not."""
    scene.enter("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=stop)
    if path == "/v5/order/cancel":
        scene.proxy.refuse(STOPS, 10016, "not now", times=4)
    scene.proxy.refuse(path, 10005, "Permission denied")
    scene.signal("SOLUSDT")
    for _ in range(4):
        attempt(scene.submit)
        attempt(scene.reconcile)
        scene.later(20)
    was_met = any(request.path == path for request in scene.proxy.seen)
    told = [text for text in scene.hears("10005", "refuses the account") if "order failed" not in text]
    assert len(told) == (1 if was_met and path not in RARE else len(told)) <= 1
    scene.proxy.clear()
    scene.passes(2)
    assert scene.stop("ETHUSDT") not in (None, 500)


RARE = ("/v5/order/history", "/v5/order/cancel", "/v5/account/info")
"""Asked where something else has failed."""


class _DeathError(BaseException):
    """The process is killed."""


def _delivery(scene: Scene) -> None:
    scene.proxy.each_row(INSTRUMENTS, lambda row: row.update(deliveryTime=str(scene.now_ms() + 10**8)))


def _unreadable(scene: Scene) -> None:
    scene.proxy.each_row(INSTRUMENTS, lambda row: row.pop("fundingInterval", None), symbol="")


def _loss(scene: Scene) -> None:
    scene.proxy.rewrite(WALLET, lambda _, answer: answer["result"]["list"][0].update(totalEquity="100"))


DEATHS: dict[str, tuple[Callable[[Scene], None], Callable[[Scene], object], str]] = {
    "a delivery": (_delivery, Scene.reconcile, "delivered"),
    "a contract that cannot be read": (_unreadable, Scene.reconcile, "cannot be read"),
    "a refusal of the account": (lambda scene: _refuse_all(scene, 33004), Scene.reconcile, "33004"),
    "a refusal of the order": (
        lambda scene: scene.proxy.refuse(CREATE, 10005, "Permission denied"),
        Scene.submit,
        "10005",
    ),
    "a halt": (_loss, Scene.reconcile, "halted"),
    "a gate": (_loss, Scene.submit, "refused"),
    "a person's position": (lambda scene: scene.order("ADAUSDT", "Buy", "500"), Scene.reconcile, "ADAUSDT"),
    "an order": (lambda scene: None, Scene.submit, "SOLUSDT"),
    "a rejected order": (
        lambda scene: scene.proxy.refuse(CREATE, 110007, "ab not enough for new order"),
        Scene.submit,
        "order failed",
    ),
    "a lost stop": (
        lambda scene: (
            scene.stops_by_hand("ETHUSDT", stop=0, target=0),
            scene.proxy.refuse(STOPS, 10016, "Internal system error"),
        ),
        Scene.reconcile,
        "no stop",
    ),
}
"""What happens, who meets it, and a word of what is to be told of it."""


@pytest.mark.parametrize("what", DEATHS)
def test_a_death_before_an_alert_was_sent_does_not_lose_it(scene: Scene, what: str) -> None:
    happens, meet, word = DEATHS[what]
    scene.enter("ETHUSDT")
    scene.later()
    scene.reconcile()
    scene.signal("SOLUSDT")
    scene.restart()  # another process: it has read no contracts yet
    happens(scene)
    scene.drain()
    before = _kept(scene)

    def die(message: Message) -> None:
        if word.lower() in f"{message.title}: {message.body}".lower():
            raise _DeathError

    scene.context = replace(scene.context, send=die)
    with pytest.raises(_DeathError):
        meet(scene)
    kept = _kept(scene)[len(before) :]
    assert any(word.lower() in text.lower() for text in kept), kept


def _kept(scene: Scene) -> list[str]:
    """What the ledger keeps to be told, whoever told of it so far."""
    rows = scene.rows("SELECT title, body FROM outbox_messages ORDER BY message_id")
    return [f"{row['title']}: {row['body']}" for row in rows]


def test_a_persons_position_that_is_turned_between_two_passes_is_told_again(scene: Scene) -> None:
    scene.reconcile()
    scene.order("SOLUSDT", "Buy", "5")
    scene.passes(1)
    assert len(scene.hears("books differ", "SOLUSDT Buy 5")) == 1
    scene.order("SOLUSDT", "Sell", "10")
    scene.passes(2)
    assert len(scene.hears("books differ", "SOLUSDT Sell 5")) == 1
