"""Kind 13: what cannot be sent yet keeps its place and its own life; a cut is told, and costs no signal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from trading_assets.ledger.database import Database
from trading_assets.trading.context import ExecutionContext
from trading_assets_tests.wild_account.proxy import CREATE, LEVERAGE, Answer, Cut, Relay, Request
from trading_assets_tests.wild_account.scene import MARKET, ROOMY, Play, Scene, attempt, open_scene, until

COINS = [name for name, contract in MARKET.contracts.items() if name.endswith("USDT") and not contract.delivery_ms][:10]


@pytest.fixture
def crowd(make_scene: Callable[..., Scene]) -> Scene:
    """A scene with room for every coin, and books that agree."""
    scene = make_scene(**ROOMY)
    scene.reconcile()
    return scene


def _statuses(scene: Scene, identities: list[str]) -> list[str]:
    return [scene.signal_status(identity) for identity in identities]


def _slow(scene: Scene, seconds: float) -> None:
    """Each order takes so long by every clock, and no clock goes on while another one is on its way to the venue: until
    every lane has its order there, or nothing waits."""
    turn, answered = threading.Lock(), list[str]()
    waiting = "SELECT 1 FROM entry_signals WHERE status = 'active'"

    def wait(request: Request) -> None:
        with turn:
            until(
                lambda: scene.proxy.asked(CREATE) - len(answered) >= scene.context.workers or not scene.rows(waiting),
                within_s=2,
            )
            scene.later(seconds)
            answered.append(request.symbol)

    scene.proxy.instead(CREATE, wait)


def _send_what_waits(scene: Scene, times: int, *, seconds: float = 5) -> None:
    """As a session does: whatever waits is tried again every few seconds."""
    for _ in range(times):
        attempt(scene.submit)
        scene.later(seconds)


@pytest.mark.slow
def test_slow_answers_lose_no_signal(crowd: Scene) -> None:
    """40 s of answers for ten orders; a signal lives for 300 s."""
    scene = crowd
    identities = [scene.signal(symbol) for symbol in COINS]
    _slow(scene, 4)
    _send_what_waits(scene, 3)
    assert _statuses(scene, identities) == ["executed"] * len(COINS)
    assert all(len(scene.orders_of_ours(symbol)) == 1 for symbol in COINS)


@pytest.mark.parametrize("path", [CREATE, LEVERAGE])
def test_the_venues_limit_loses_no_signal(crowd: Scene, path: str) -> None:
    """For 30 s the venue takes no order of any coin."""
    scene = crowd
    until_ms = scene.now_ms() + 30_000
    turn = threading.Lock()

    def limited(_: Request) -> Answer | None:
        with turn:
            if scene.now_ms() >= until_ms:
                return None
            scene.later(0.2)
        return {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "retExtInfo": {}, "time": scene.now_ms()}

    scene.proxy.instead(path, limited)
    identities = [scene.signal(symbol) for symbol in COINS]
    _send_what_waits(scene, 12)
    assert _statuses(scene, identities) == ["executed"] * len(COINS)


def test_the_most_confident_go_first_where_not_all_can_go(crowd: Scene) -> None:
    """A minute an order: some signals die waiting, and they are the least confident ones. None has failed."""
    scene = crowd
    identities = [scene.signal(symbol, confidence=61.0 + 3 * number) for number, symbol in enumerate(COINS)]
    _slow(scene, 60)
    _send_what_waits(scene, 3)
    statuses = _statuses(scene, identities)
    sent = statuses.count("executed")
    assert 3 <= sent < len(COINS)
    assert statuses[-sent:] == ["executed"] * sent and set(statuses[:-sent]) <= {"active", "expired"}


def test_a_signal_that_cannot_be_sent_in_its_life_expires(crowd: Scene) -> None:
    scene = crowd
    identities = [scene.signal(symbol) for symbol in COINS[:3]]
    scene.proxy.refuse(CREATE, 10006, "Too many visits!")
    _send_what_waits(scene, 8, seconds=45)
    assert _statuses(scene, identities) == ["expired"] * 3 and scene.legs() == []


@pytest.mark.parametrize("processed", [False, True], ids=["lost", "answer-lost"])
def test_a_link_that_breaks_at_an_order_loses_no_other_signal(crowd: Scene, processed: bool) -> None:
    """It breaks at the second order, refuses everything for 40 s, and is back."""
    scene = crowd
    orders: list[str] = []

    def breaks(request: Request, *_: object) -> None:
        orders.append(request.symbol)
        if len(orders) == 2:
            threading.Thread(target=scene.proxy.down).start()
            raise Cut

    if processed:
        scene.proxy.rewrite(CREATE, breaks)
    else:
        scene.proxy.instead(CREATE, breaks)
    identities = {symbol: scene.signal(symbol) for symbol in COINS}
    attempt(scene.submit)
    until(lambda: not scene.proxy.is_up)
    scene.later(40)
    attempt(scene.submit)
    scene.proxy.clear()
    scene.proxy.up()
    _send_what_waits(scene, 4, seconds=20)
    scene.passes(1)
    assert all(len(scene.orders_of_ours(symbol)) <= 1 for symbol in COINS)
    for symbol in COINS:
        placed = len(scene.orders_of_ours(symbol)) == 1
        assert (scene.signal_status(identities[symbol]) == "executed") is placed is (scene.size(symbol) > 0)
    # Besides the order that broke it, the link takes with it what the other lanes had on the way just then.
    lost = [symbol for symbol in COINS if scene.signal_status(identities[symbol]) != "executed"]
    assert len(lost) <= ExecutionContext.workers
    assert all(leg.stop is not None for leg in scene.legs())


def test_a_silent_link_at_every_order_fails_nobody(make_scene: Callable[..., Scene]) -> None:
    """No order gets an answer, or arrives: of what the lanes had in hand the end is unknown, all others go out when the
    link speaks again."""
    scene = make_scene(timeout_s=0.2, **ROOMY)
    scene.reconcile()
    arrived: list[str] = []

    def swallow(request: Request) -> None:
        arrived.append(request.symbol)
        time.sleep(0.4)
        raise Cut

    scene.proxy.instead(CREATE, swallow)
    identities = {symbol: scene.signal(symbol) for symbol in COINS}
    attempt(scene.submit)
    lanes = set(arrived[:4])
    scene.proxy.clear()
    _send_what_waits(scene, 6, seconds=20)
    others = [identities[symbol] for symbol in COINS if symbol not in lanes]
    assert _statuses(scene, others) == ["executed"] * len(others)
    assert all(len(scene.orders_of_ours(symbol)) <= 1 for symbol in COINS)


def test_a_link_that_is_down_before_any_order_loses_no_signal(crowd: Scene) -> None:
    scene = crowd
    identities = [scene.signal(symbol) for symbol in COINS]
    scene.proxy.down()
    _send_what_waits(scene, 2, seconds=20)
    scene.proxy.up()
    _send_what_waits(scene, 2)
    assert _statuses(scene, identities) == ["executed"] * len(COINS)


@pytest.fixture
def link(sqlite: Database, tmp_path: Path) -> Iterator[tuple[Play, Relay]]:
    """A session that waits for its first candle, on a link that can be broken."""
    with ExitStack() as stack:
        scene = open_scene(stack, sqlite)
        scene.later(6 * 60)  # later than a signal of the newest candle of 5 minutes would live
        relay = Relay(scene.running.url)
        stack.callback(relay.close)
        play = Play(scene.running, sqlite, tmp_path, relay.url, *COINS[:8], timeframe="60m")
        stack.callback(play.stop)
        assert until(lambda: play.is_trading)
        yield play, relay


def _statuses_of(play: Play) -> set[str]:
    return {status for symbol, status in play.statuses().items() if symbol.endswith("USDT")}


@pytest.mark.slow
def test_a_silent_cut_in_the_middle_of_an_order_is_told_and_outlived(link: tuple[Play, Relay]) -> None:
    play, relay = link
    relay.silent_at = b"POST /v5/order/create"
    play.next_close(minutes=60)
    assert until(lambda: relay.is_silent, within_s=10)
    assert until(lambda: play.hears("down"), within_s=15 + 3), "nobody was told"
    relay.heal()
    assert until(lambda: play.hears("back"), within_s=5 + 5)
    assert until(lambda: "executed" in _statuses_of(play), within_s=60)
    assert "failed" not in _statuses_of(play) and play.error is None


@pytest.mark.slow
def test_a_link_that_refuses_is_told_and_outlived(link: tuple[Play, Relay]) -> None:
    play, relay = link
    relay.cut()
    assert until(lambda: play.hears("down"), within_s=15)
    play.next_close(minutes=60)
    until(lambda: False, within_s=2)
    relay.heal()
    assert until(lambda: _statuses_of(play) == {"executed"}, within_s=60)
    assert play.error is None


def test_a_signal_that_comes_during_a_round_takes_its_place_by_its_confidence(crowd: Scene) -> None:
    """One lane, 15 s an order: the most confident of all comes while the first order is sent."""
    scene = crowd
    scene.context = replace(scene.context, workers=1)
    first, *others = [scene.signal(symbol, confidence=61.0) for symbol in COINS[1:5]]
    sent, late = list[str](), list[str]()

    def comes(request: Request) -> None:
        sent.append(request.symbol)
        if not late:
            late.append(scene.signal(COINS[0], confidence=99.0))
        scene.later(15)

    scene.proxy.instead(CREATE, comes)
    attempt(scene.submit)
    assert sent[1] == COINS[0] and len(sent) == 5
    assert _statuses(scene, [first, *others, *late]) == ["executed"] * 5
