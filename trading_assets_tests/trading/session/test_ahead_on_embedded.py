"""What is read ahead, with a real private stream of the embedded exchange that tells, lies, is silent, late or cut.

Somebody opens a position in a coin of ours after it was read. The order of its signal is not sent, that of the other
coin is, by what was read anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.models import OrderRequest, Side
from trading_assets.core.ports import Exchange
from trading_assets.core.streams import AccountEvent, AccountStream
from trading_assets.ledger.database import Database
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading import keeper as keeping
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute import submit
from trading_assets.trading.execute.submit import SubmitReport, submit_orders
from trading_assets.trading.keeper import Keeper
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.ahead import ReadAhead
from trading_assets.venues import open_account_stream, open_exchange
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.fixtures import add_signal_at_100_000, settings
from trading_assets_tests.trading.saga.fault_matrix import SYMBOLS, TwoCoins

OURS, THEIRS = SYMBOLS
TOPICS = ("order", "execution", "position", "wallet")
WITHIN_S = 30.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


class Recorded:
    """An exchange whose requests are remembered by name, in their order."""

    def __init__(self, exchange: Exchange, asked: list[str]) -> None:
        self._exchange, self._asked = exchange, asked

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._exchange, name)
        if not callable(found):
            return found

        def call(*given: Any, **more: Any) -> Any:
            self._asked.append(name)
            return found(*given, **more)

        return call


class Scene:
    """Two coins with a signal each, leverages set and everything read ahead, and a stream that is heard."""

    def __init__(self, running: RunningExchange, database: Database) -> None:
        self.running, self.database = running, database
        self.settings = settings(simulator_url=running.url)
        self.asked: list[str] = []
        self.by_hand = open_exchange(self.settings)
        self.heard: list[AccountEvent] = []
        self.keeper = Keeper(lambda: self.stream.heard_at)
        self.stream: AccountStream = open_account_stream(self.settings, self._hear)
        self.context = ExecutionContext(
            database, Recorded(open_exchange(self.settings), self.asked), self.settings, keeper=self.keeper
        )
        self.context.require_bound()
        reconcile(self.context)
        self.stream.start()
        until(lambda: self.keeper._is_up)
        self.ahead = ReadAhead(self.keeper, lambda: self.context, lambda: SYMBOLS)
        until(self._is_ready)
        now_ms = running.now_ms()
        self.theirs, self.ours = (
            add_signal_at_100_000(database, symbol, now_ms, confidence=confidence)
            for symbol, confidence in ((THEIRS, 90.0), (OURS, 80.0))
        )
        self.asked.clear()

    def _hear(self, event: AccountEvent) -> None:
        self.heard.append(event)
        self.keeper.hear(event)

    def _is_ready(self) -> bool:
        """Leverages and a reading that the echo of setting them has not made void."""
        self.ahead.set_leverages()
        self.ahead.read()
        time.sleep(0.2)
        leverage = self.settings.leverage
        return self.keeper._reading is not None and not self.keeper.without_leverage(SYMBOLS, leverage)

    def fault(self, **rule: Any) -> None:
        self.running.faults.add([FaultRule.model_validate(rule)], self.running.now_ms())

    def somebody_buys(self) -> None:
        self.by_hand.place_order(OrderRequest(THEIRS, Side.BUY, Decimal("0.001"), f"by-hand-{time.monotonic_ns()}"))

    def submit(self) -> SubmitReport:
        return submit_orders(self.context)

    def before_the_first_order(self) -> set[str]:
        return set(self.asked[: next(n for n, name in enumerate(self.asked) if name.startswith("place_order"))])

    def clear(self) -> None:
        self.stream.stop()


@pytest.fixture
def scene(sqlite: Database) -> Iterator[Scene]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), TwoCoins()) as running:
        one = Scene(running, sqlite)
        yield one
        one.clear()


def _tells(scene: Scene) -> None:
    known = len(scene.heard)
    scene.somebody_buys()
    until(lambda: len(scene.heard) > known)


def _lies(scene: Scene) -> None:
    """It says that the coin is flat, and that nothing was filled."""
    flat = {"side": "", "size": "0", "stopLoss": ""}
    scene.fault(where="ws:position", set=flat)
    for topic in ("order", "execution", "wallet"):
        scene.fault(where=f"ws:{topic}", silence=True)
    _tells(scene)


def _tells_of_another_coin(scene: Scene) -> None:
    for topic in ("position", "order", "execution"):
        scene.fault(where=f"ws:{topic}", set={"symbol": OURS})
    scene.fault(where="ws:wallet", silence=True)
    _tells(scene)


def _is_silent_and_the_reading_grows_old(scene: Scene) -> None:
    """Pings are answered all the while: only its age tells that the reading is not to be used."""
    for topic in TOPICS:
        scene.fault(where=f"ws:{topic}", silence=True)
    known = len(scene.heard)
    scene.somebody_buys()
    time.sleep(keeping.READING_AGE_S + 0.1)
    assert len(scene.heard) == known and scene.keeper._is_heard()


def _is_dead_and_nobody_has_noticed(scene: Scene) -> None:
    """Nothing comes any more, not even an answer to a ping, on a connection that still counts as one."""
    for topic in TOPICS:
        scene.fault(where=f"ws:{topic}", silence=True)
    scene.somebody_buys()
    heard_at = time.monotonic() - keeping.HEARD_WITHIN_S - 0.1
    scene.keeper._heard_at = lambda: heard_at


def _is_cut_by_the_fill(scene: Scene) -> None:
    for topic in TOPICS:
        scene.fault(where=f"ws:{topic}", drop=True, times=1)
    known = len(scene.heard)
    scene.somebody_buys()
    until(lambda: len(scene.heard) > known)


def _connects_anew_after_it(scene: Scene) -> None:
    """The fill falls into the gap between two connections, and no snapshot is sent on the new one."""
    ups = sum(type(event).__name__ == "Up" for event in scene.heard)
    _is_cut_by_the_fill(scene)
    scene.running.faults.remove()
    until(lambda: sum(type(event).__name__ == "Up" for event in scene.heard) > ups)


STREAMS = [
    *(_tells, _lies, _tells_of_another_coin, _is_silent_and_the_reading_grows_old, _is_dead_and_nobody_has_noticed),
    *(_is_cut_by_the_fill, _connects_anew_after_it),
]
NAMES = [one.__name__.lstrip("_") for one in STREAMS]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before the signals are looked at", "between decision and send"])
@pytest.mark.parametrize("stream", STREAMS, ids=NAMES)
def test_an_order_never_follows_from_a_reading_that_lacks_a_fill_of_others(
    scene: Scene, stream: Callable[[Scene], None], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if when == "between decision and send":
        real, left = submit.checks.blocked, [stream]

        def late(*given: Any, **more: Any) -> dict[str, str]:
            if left:
                left.pop()(scene)
            return real(*given, **more)

        monkeypatch.setattr(submit.checks, "blocked", late)
    else:
        stream(scene)
    report = scene.submit()
    assert report.executed == [scene.ours]
    assert f"{THEIRS} has an open position" in report.rejected[scene.theirs]
    assert {"positions", "wallet"} <= scene.before_the_first_order(), "they were read anew"
    theirs = scene.by_hand.position(THEIRS)
    assert theirs is not None and theirs.size == Decimal("0.001"), "nothing was added to it"


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS, ids=NAMES)
def test_where_it_cannot_be_read_anew_nothing_is_sent(scene: Scene, stream: Callable[[Scene], None]) -> None:
    scene.context = replace(scene.context, sleep=lambda _s: None)
    stream(scene)
    scene.running.faults.remove()
    scene.fault(where="GET /v5/position/list", http_status=502)
    report = scene.submit()
    assert set(report.refused) == {scene.theirs, scene.ours}
    assert not [name for name in scene.asked if name.startswith("place_order")]


@pytest.mark.slow
def test_without_a_fill_of_others_both_orders_go_by_one_request_and_none_lies_before_it(scene: Scene) -> None:
    """That the tests above see a reading that would have been used."""
    report = scene.submit()
    assert sorted(report.executed) == sorted([scene.ours, scene.theirs])
    assert scene.asked.count("place_orders") == 1 and "place_order" not in scene.asked
    assert not {"positions", "wallet", "tickers", "set_leverage"} & scene.before_the_first_order()
